import type { Facts } from '../facts.ts';
import { primaryFingerprintsOf } from './openpgp-key.ts';

/** One repository in a host's lists for apt: a line of a `.list` file, or a paragraph of a `.sources` file. */
export type AptSource = {
  readonly path: string;
  readonly isEnabled: boolean;
  readonly uris: readonly string[];
  readonly suites: readonly string[];
  readonly components: readonly string[];
  /** Paths of keyrings and fingerprints, or one armored key; empty if apt uses the keys that it trusts for all. */
  readonly signedBy: readonly string[];
};

/** Parses the lists of package repositories in a host's facts. */
export function parseAptSources({ packageSources }: Pick<Facts, 'packageSources'>): readonly AptSource[] {
  return Object.entries(packageSources).flatMap(([path, text]) =>
    path.endsWith('.sources') ? parseParagraphs(path, text) : parseLines(path, text),
  );
}

/** `deb [arch=amd64 signed-by=/etc/apt/keyrings/docker.asc] https://… bookworm stable` */
function parseLines(path: string, text: string): readonly AptSource[] {
  return text.split('\n').flatMap((line) => {
    const [, options = '', rest = ''] = /^\s*deb\s+(?:\[([^\]]*)\]\s*)?([^#]+)/.exec(line) ?? [];
    const [uri, suite, ...components] = rest.trim().split(/\s+/);
    if (uri === undefined || suite === undefined) return [];
    const signedBy = /(?:^|\s)signed-by\s*=\s*(\S+)/i.exec(options)?.[1];
    return [{ path, isEnabled: true, uris: [uri], suites: [suite], components, signedBy: signedBy?.split(',') ?? [] }];
  });
}

/** The format of deb822: fields, whose continuation lines begin with a space; empty lines between paragraphs. */
function parseParagraphs(path: string, text: string): readonly AptSource[] {
  const withoutComments = text.replaceAll(/^#.*\n?/gm, '');
  return withoutComments.split(/\n[ \t]*\n/).flatMap((paragraph) => {
    const fields = new Map(
      [...paragraph.matchAll(/^([\w-]+):((?:.*)(?:\n[ \t].*)*)/gm)].map(([, name = '', value = '']) => [
        name.toLowerCase(),
        value,
      ]),
    );
    const words = (name: string): readonly string[] => (fields.get(name) ?? '').split(/\s+/).filter(Boolean);
    if (!words('types').includes('deb')) return [];
    return [
      {
        path,
        isEnabled: !/^(no|false|without|off|disable|0)$/i.test((fields.get('enabled') ?? '').trim()),
        uris: words('uris'),
        suites: words('suites'),
        components: words('components'),
        signedBy: parseSignedBy(fields.get('signed-by') ?? ''),
      },
    ];
  });
}

function parseSignedBy(value: string): readonly string[] {
  if (!value.includes('-----BEGIN')) return value.split(/[\s,]+/).filter(Boolean);
  // In a field, each line is indented, and a dot stands for an empty one.
  return [
    value
      .replaceAll(/^[ \t]+/gm, '')
      .replaceAll(/^\.$/gm, '')
      .trim(),
  ];
}

/**
 * Returns the sources that are Docker's repository, as Docker's page, an Ansible role or an administrator sets it up:
 * by the address, if the user gave one, or else by what the lists of the repository have in common.
 */
export function findDockerSources(
  sources: readonly AptSource[],
  repositoryUrl: string | undefined,
): readonly AptSource[] {
  const wanted = repositoryUrl === undefined ? undefined : withoutScheme(repositoryUrl);
  return sources.filter((source) => {
    const uris = source.uris.map(withoutScheme);
    if (wanted !== undefined) return uris.some((uri) => uri === wanted || uri.startsWith(`${wanted}/`));
    const isNamed = uris.some((uri) => /docker/i.test(uri)) || /\/[^/]*docker[^/]*$/i.test(source.path);
    return isNamed && source.components.some((component) => /^(stable|test|nightly|edge)$/.test(component));
  });
}

function withoutScheme(uri: string): string {
  return uri.replace(/^[a-z0-9+]+:\/\/(?:[^/@]*@)?/i, '').replace(/\/+$/, '');
}

/** Returns the fingerprints of the keys with which apt verifies a source. */
export function fingerprintsOf(
  { signedBy }: AptSource,
  { packageKeys }: Pick<Facts, 'packageKeys'>,
): readonly string[] {
  const keyFiles =
    signedBy.length > 0 ? signedBy : Object.keys(packageKeys).filter((path) => path.startsWith('/etc/apt/trusted.gpg'));
  return keyFiles.flatMap((key) => {
    if (key.startsWith('-----')) return primaryFingerprintsOf(Buffer.from(key));
    if (key.startsWith('/')) return primaryFingerprintsOf(Buffer.from(packageKeys[key] ?? '', 'base64'));
    return [key.replace(/!$/, '').toUpperCase()];
  });
}
