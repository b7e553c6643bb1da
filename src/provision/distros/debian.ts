import type { EngineSpec } from '../../machine/model.ts';
import { formatAptLogin } from '../../url-login.ts';
import type { Facts } from '../facts.ts';
import type { RemoteFileChange } from '../step.ts';
import { findDockerSources, fingerprintsOf, parseAptSources, type AptSource } from './apt-sources.ts';
import type { Conflict, Distro, EngineInstall } from './distro.ts';
import { isVersionNamed, versionPattern } from './version-pattern.ts';

/** The fingerprint of "Docker Release (CE deb)", from Docker's installation page. */
const DOCKER_KEY = '9DC858229FC7DD38854AE2D88D81803C0EBFCD88';
const DOCKER_REPOSITORY = 'https://download.docker.com/linux';

/** The files with which Slipway adds Docker's repository to a host that does not have it. */
const OWN_LISTING = '/etc/apt/sources.list.d/slipway-docker.sources';
const OWN_KEY = '/etc/apt/keyrings/slipway-docker.asc';

const INSTALL_SCRIPT = {
  template: 'install-engine.debian.sh',
  scripts: ['distros/debian/apt.sh', 'distros/debian/install-engine.sh'],
} as const;

/** Debian's family: the distributions whose package manager is apt. */
export const debian: Distro = {
  name: 'debian',
  label: 'Debian, Ubuntu and their derivatives',
  factsScript: 'distros/debian/facts.sh',
  isRecognized: ({ os, packageManager }) =>
    packageManager === 'apt' && [os.id, ...os.idLike].some((id) => id === 'debian' || id === 'ubuntu'),
  enginePackages: { 'docker.io': 'distro', 'docker-ce': 'docker' },
  packageStateOf(state) {
    // dpkg also lists removed packages whose configuration files are left.
    if (state === 'not-installed' || state === 'config-files') return 'absent';
    return state === 'installed' ? 'installed' : 'incomplete';
  },
  isVersionMatch: isVersionNamed,
  // `5:27.3.1-1~debian.12~bookworm` -> `27.3.1`
  upstreamVersionOf: (version) => version.replace(/^\d+:/, '').replace(/[-+~].*$/, ''),
  installKib: 600 * 1024,
  limitationOf: () => undefined,
  conflictOf: (install) => (install.source === 'docker' ? findSourceConflict(install) : undefined),
  sourceFilesFor: (engine, facts) => [loginFile(engine), ...superfluousFiles(engine, facts)],
  checkScript: (install) => ({
    ...INSTALL_SCRIPT,
    template: 'check-packages.debian.sh',
    variables: { ...installVariables(install), MODE: 'check' },
  }),
  installScript: (install) => ({ ...INSTALL_SCRIPT, variables: { ...installVariables(install), MODE: 'install' } }),
  upgradeScript: (packages, version) => ({
    ...INSTALL_SCRIPT,
    variables: { SOURCE: 'present', ...versionVariables(version), PACKAGES: packages.join(' '), MODE: 'install' },
  }),
  previewVariables: { MODE: 'preview' },
};

/**
 * Returns the file with which apt logs in to the repository, and Slipway's script to the server of an install script;
 * other users of the host can't read it.
 */
function loginFile({ source, repositoryUrl, repositoryLogin, installUrl, installLogin }: EngineSpec): RemoteFileChange {
  const path = '/etc/apt/auth.conf.d/slipway.conf';
  const [url = '', login] =
    source === 'docker' ? [repositoryUrl, repositoryLogin] : source === 'url' ? [installUrl, installLogin] : [];
  if (login === undefined) return { path, content: undefined };
  return { path, mode: '600', content: formatAptLogin(url, login) };
}

/** Two entries for one repository with different keys, and apt reads no list any more. */
function superfluousFiles({ repositoryUrl }: EngineSpec, facts: Facts): readonly RemoteFileChange[] {
  if (!usableSourceOf(facts, repositoryUrl)) return [];
  return [OWN_LISTING, OWN_KEY].map((path) => ({ path, content: undefined }));
}

function installVariables({ engine, source, facts }: EngineInstall): Readonly<Record<string, string>> {
  const { os } = facts;
  return {
    SOURCE: source,
    ...versionVariables(engine.version ?? ''),
    DISTRIBUTION: os.id === 'ubuntu' || os.idLike.includes('ubuntu') ? 'ubuntu' : 'debian',
    CODENAME: os.codename,
    REPOSITORY_URL: engine.repositoryUrl ?? DOCKER_REPOSITORY,
    REPOSITORY_KEY: wantedKeyOf(engine),
    LISTING: source === 'docker' ? (usableSourceOf(facts, engine.repositoryUrl)?.path ?? '') : '',
    INSTALL_URL: engine.installUrl ?? '',
  };
}

function versionVariables(version: string): Readonly<Record<string, string>> {
  return { VERSION: version, VERSION_PATTERN: version === '' ? '' : versionPattern(version) };
}

function wantedKeyOf({ repositoryKey }: EngineInstall['engine']): string {
  return (repositoryKey ?? DOCKER_KEY).toUpperCase();
}

/** Returns the sources of Docker's repository that somebody else added to the host. */
function foreignSourcesOf(facts: Facts, repositoryUrl: string | undefined): readonly AptSource[] {
  return findDockerSources(parseAptSources(facts), repositoryUrl).filter(({ path }) => path !== OWN_LISTING);
}

function usableSourceOf(facts: Facts, repositoryUrl: string | undefined): AptSource | undefined {
  return foreignSourcesOf(facts, repositoryUrl).find(({ isEnabled }) => isEnabled);
}

/**
 * Returns why Docker's repository, as the host has it, can't be used: apt reads no list any more if a second entry
 * names another key, so Slipway adds none beside it.
 */
function findSourceConflict({ engine, facts }: EngineInstall): Conflict | undefined {
  const sources = foreignSourcesOf(facts, engine.repositoryUrl);
  const source = sources.find(({ isEnabled }) => isEnabled);
  if (!source) {
    const [disabled] = sources;
    return disabled && !(OWN_LISTING in facts.files)
      ? {
          message: `Docker's repository in ${disabled.path} is disabled`,
          hint: `To use it, remove "Enabled: no" from that file. For the distribution's own package: --engine-source distro`,
        }
      : undefined;
  }
  const fingerprints = fingerprintsOf(source, facts);
  const wanted = wantedKeyOf(engine);
  if (fingerprints.some((fingerprint) => fingerprint.length >= 16 && wanted.endsWith(fingerprint))) return undefined;
  const keys = fingerprints.length === 0 ? 'a key that could not be read' : `the key ${fingerprints.join(', ')}`;
  return {
    message: `Docker's repository in ${source.path} is verified with ${keys}, not with ${wanted}`,
    hint: `${fingerprints.length === 1 ? `If you trust that key: --engine-repository-key ${fingerprints[0]}. ` : ''}For the distribution's own package: --engine-source distro`,
  };
}
