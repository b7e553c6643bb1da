/**
 * Reads hosts and keys from the user's own OpenSSH files. Slipway only suggests them to the user; they never change how
 * it connects.
 */
import { join } from 'node:path';
import { listFolderIfExists, readFileIfExists } from '../computer/files.ts';
import type { Computer } from '../computer/computer.ts';

/** A host with its own name in `~/.ssh/config`. */
export type SshConfigHost = {
  readonly alias: string;
  readonly address: string;
  readonly user: string | undefined;
  readonly port: number | undefined;
  readonly keyFile: string | undefined;
  /** [user@]host[:port], as in ProxyJump. Undefined for a chain of jump hosts, since Slipway supports only one. */
  readonly jump: string | undefined;
};

function sshFolder({ env, platform }: Computer): string {
  return join((platform === 'win32' ? env.USERPROFILE : env.HOME) ?? '', '.ssh');
}

export async function listSshConfigHosts(computer: Computer): Promise<readonly SshConfigHost[]> {
  const text = await readFileIfExists(join(sshFolder(computer), 'config'));
  if (text === undefined) return [];
  const { default: SSHConfig } = await import('ssh-config');
  const config = SSHConfig.parse(text);
  return parseHostNames(text).map((alias) => toSshConfigHost(alias, config.compute(alias), computer));
}

/** Returns the host names in an ssh_config file, without patterns. */
export function parseHostNames(text: string): readonly string[] {
  const names = [...text.matchAll(/^\s*Host\s*(?:\s|=)\s*(.+)$/gim)].flatMap(([, words = '']) =>
    words.split(/\s+/).filter((word) => /^[\w.-]+$/.test(word)),
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
    keyFile:
      key === undefined || key.includes('%') ? undefined : key.replace(/^~(?=[\\/])/, join(sshFolder(computer), '..')),
    jump: jump === undefined || jump === 'none' || jump.includes(',') ? undefined : jump,
  };
}

/** Lists the private keys in `~/.ssh`: the files next to a `.pub` file of the same name. */
export async function listSshKeys(computer: Computer): Promise<readonly string[]> {
  const folder = sshFolder(computer);
  const names = await listFolderIfExists(folder);
  return names.filter((name) => names.includes(`${name}.pub`)).map((name) => join(folder, name));
}
