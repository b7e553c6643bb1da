/**
 * What the user's own OpenSSH knows: hosts by name, and keys. For suggestions alone; nothing here decides how we
 * connect.
 */
import { join } from 'node:path';
import { listFolderIfExists, readFileIfExists } from '../computer/files.ts';
import type { Computer } from '../computer/computer.ts';

/** A host that has a name of its own in `~/.ssh/config`. */
export type SshConfigHost = {
  readonly alias: string;
  readonly address: string;
  readonly user: string | undefined;
  readonly port: number | undefined;
  readonly keyFile: string | undefined;
  /** As ssh writes it: [user@]host[:port]. Of a chain of several, nothing: we go through one. */
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

/** The names that an ssh_config has a Host for; patterns are none. */
export function parseHostNames(text: string): readonly string[] {
  const names = [...text.matchAll(/^\s*Host\s*(?:\s|=)\s*(.+)$/gim)].flatMap(([, words = '']) =>
    words.split(/\s+/).filter((word) => /^[\w.-]+$/.test(word)),
  );
  return [...new Set(names)];
}

type ComputedSshConfig = Readonly<Record<string, string | string[]>>;

function toSshConfigHost(alias: string, values: ComputedSshConfig, computer: Computer): SshConfigHost {
  const one = (key: string): string | undefined => {
    const value = values[key];
    return (Array.isArray(value) ? value[0] : value) || undefined;
  };
  const jump = one('ProxyJump');
  const key = one('IdentityFile');
  return {
    alias,
    address: (one('HostName') ?? alias).replaceAll('%h', alias),
    user: one('User'),
    port: Number(one('Port')) || undefined,
    keyFile:
      key === undefined || key.includes('%') ? undefined : key.replace(/^~(?=\/)/, join(sshFolder(computer), '..')),
    jump: jump === undefined || jump === 'none' || jump.includes(',') ? undefined : jump,
  };
}

/** Private keys in `~/.ssh`: those that have their public half beside them. */
export async function listSshKeys(computer: Computer): Promise<readonly string[]> {
  const folder = sshFolder(computer);
  const names = await listFolderIfExists(folder);
  return names.filter((name) => names.includes(`${name}.pub`)).map((name) => join(folder, name));
}
