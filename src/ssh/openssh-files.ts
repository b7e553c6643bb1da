/**
 * Reads hosts and keys from the user's own OpenSSH files. Slipway only suggests them to the user; they never change how
 * it connects.
 */
import { basename, dirname, join, resolve } from 'node:path';
import { listFolderIfExists, readUserFileIfExists } from '../computer/files.ts';
import type { Computer } from '../computer/computer.ts';
import { expandHome } from '../computer/expand-home.ts';

/** A host with its own name in `~/.ssh/config`. */
export type SshConfigHost = {
  readonly alias: string;
  readonly address: string;
  readonly user: string | undefined;
  readonly port: number | undefined;
  readonly keyFile: string | undefined;
  /** [user@]host[:port], as in ProxyJump. Undefined for a chain of jump hosts, since Slipway supports only one. */
  readonly jump: string | undefined;
  /** What of the host's route Slipway does not support: `several jump hosts` or `ProxyCommand`. */
  readonly unsupportedRoute?: string;
};

function sshFolder({ env, platform }: Computer): string {
  return join((platform === 'win32' ? env.USERPROFILE : env.HOME) ?? '', '.ssh');
}

export async function listSshConfigHosts(computer: Computer): Promise<readonly SshConfigHost[]> {
  const text = await readSshConfig(join(sshFolder(computer), 'config'));
  if (text === '') return [];
  const { default: SSHConfig } = await import('ssh-config');
  const config = SSHConfig.parse(text);
  return parseHostNames(text).map((alias) => toSshConfigHost(alias, config.compute(alias), computer));
}

/** As deep as ssh follows files that include each other. */
const MAX_INCLUDE_DEPTH = 16;

/**
 * Returns the text of the user's ssh_config, with the text of each included file in place of the line that includes it.
 * Leaves out an included file that can't be read; a missing file has no text.
 */
export async function readSshConfig(path: string): Promise<string> {
  return withIncludedFiles((await readUserFileIfExists(path)) ?? '', dirname(path), 0);
}

async function withIncludedFiles(text: string, sshHome: string, depth: number): Promise<string> {
  const lines = text.replace(/^\uFEFF/, '').split(/\r?\n/);
  const expanded = lines.map(async (line) => {
    const [, words] = /^\s*include(?:\s+|\s*=\s*)(.+)$/i.exec(line) ?? [];
    if (words === undefined) return line;
    if (depth === MAX_INCLUDE_DEPTH) return '';
    const patterns = [...words.matchAll(/"([^"]*)"|(\S+)/g)].map(([, quoted, bare]) => quoted ?? bare ?? '');
    const files = await Promise.all(patterns.map(async (pattern) => filesMatching(resolveInclude(pattern, sshHome))));
    const texts = files.flat().map(async (file) => (await readUserFileIfExists(file).catch(() => undefined)) ?? '');
    return withIncludedFiles((await Promise.all(texts)).join('\n'), sshHome, depth + 1);
  });
  return (await Promise.all(expanded)).join('\n');
}

function resolveInclude(pattern: string, sshHome: string): string {
  return resolve(sshHome, expandHome(pattern, dirname(sshHome)));
}

/** Returns the files that match a pattern with `*` and `?` in its last part, sorted as ssh reads them. */
async function filesMatching(pattern: string): Promise<readonly string[]> {
  const name = basename(pattern);
  if (!/[*?]/.test(name)) return [pattern];
  const source = name
    .replaceAll(/[.+^${}()|[\]\\]/g, String.raw`\$&`)
    .replaceAll('*', '.*')
    .replaceAll('?', '.');
  const matcher = new RegExp(`^(?!\\.)${source}$`);
  const names = await listFolderIfExists(dirname(pattern)).catch(() => []);
  return names
    .filter((candidate) => matcher.test(candidate))
    .toSorted()
    .map((candidate) => join(dirname(pattern), candidate));
}

/** Returns the host names in an ssh_config file, without patterns. */
export function parseHostNames(text: string): readonly string[] {
  const names = [...text.matchAll(/^\s*Host\s*(?:\s|=)\s*(.+)$/gim)].flatMap(([, words = '']) =>
    words.split(/\s+/).flatMap((word) => /^"?([\w.-]+)"?$/.exec(word)?.[1] ?? []),
  );
  return [...new Set(names)];
}

type ComputedSshConfig = Readonly<Record<string, string | string[]>>;

function toSshConfigHost(alias: string, values: ComputedSshConfig, computer: Computer): SshConfigHost {
  const firstValue = (key: string): string | undefined => {
    const value = values[key];
    return (Array.isArray(value) ? value[0] : value) || undefined;
  };
  const jump = firstValue('ProxyJump');
  const key = firstValue('IdentityFile');
  return {
    alias,
    address: (firstValue('HostName') ?? alias).replaceAll('%h', alias),
    user: firstValue('User'),
    port: Number(firstValue('Port')) || undefined,
    keyFile: key === undefined || key.includes('%') ? undefined : expandHome(key, dirname(sshFolder(computer))),
    jump: jump === undefined || jump === 'none' || jump.includes(',') ? undefined : jump,
    ...(jump?.includes(',') === true
      ? { unsupportedRoute: 'several jump hosts' }
      : (firstValue('ProxyCommand') ?? 'none') !== 'none' && { unsupportedRoute: 'ProxyCommand' }),
  };
}

/** Lists the private keys in `~/.ssh`: the files next to a `.pub` file of the same name. */
export async function listSshKeys(computer: Computer): Promise<readonly string[]> {
  const folder = sshFolder(computer);
  const names = await listFolderIfExists(folder);
  return names.filter((name) => names.includes(`${name}.pub`)).map((name) => join(folder, name));
}
