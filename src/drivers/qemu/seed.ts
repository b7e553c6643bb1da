import { createHash } from 'node:crypto';
import { createTar } from 'nanotar';
import type { FirstBootConfig } from '../contract.ts';

export type GuestIdentity = {
  readonly name: string;
  readonly id: string;
  readonly user: string;
  readonly boot: FirstBootConfig;
};

/** A disk whose content is a tar archive, which the guest's initial RAM disk unpacks into its root; and what names it. */
export type Seed = { readonly bytes: Uint8Array; readonly id: string; readonly files: FirstBootConfig['files'] };

/**
 * All that makes a guest this machine, laid before its systemd starts. A tar needs no file system, no tool and no root on any
 * computer, and unpacks in a fraction of what cloud-init takes to start. The same machine has the same seed, byte by byte.
 */
export function seedOf({ name, id, user, boot }: GuestIdentity): Seed {
  const files: FirstBootConfig['files'] = [
    { path: '/etc/hostname', mode: '644', content: `${name}\n`, live: true },
    { path: '/etc/hosts', mode: '644', content: formatHostsFile(name), live: true },
    { path: MACHINE_ID_FILE, mode: '444', content: `${id.replaceAll('-', '')}\n` },
    { path: '/etc/ssh/ssh_host_ed25519_key', mode: '600', content: boot.hostKey.private },
    { path: '/etc/ssh/ssh_host_ed25519_key.pub', mode: '644', content: `${boot.hostKey.public}\n` },
    { path: '/etc/slipway/user', mode: '644', content: `${user}\n` },
    { path: '/etc/slipway/authorized_keys', mode: '644', content: `${boot.authorizedKey}\n` },
    ...boot.files,
  ];
  const tar = createTar(
    files.map(({ path, mode, content }) => ({
      name: path.slice(1),
      data: content,
      attrs: { mode, uid: 0, gid: 0, mtime: 0, user: 'root', group: 'root' },
    })),
  );
  // The two empty blocks that end an archive: what reads a disk to its end would take the next bytes for a file.
  return {
    bytes: Buffer.concat([tar, Buffer.alloc(1024)]),
    id: createHash('sha256').update(tar).digest('hex').slice(0, 16),
    files,
  };
}

/** What a seed lays, by path, as it can be compared without keeping what is secret in it. */
export function fileDigestsOf({ files }: Pick<Seed, 'files'>): Readonly<Record<string, string>> {
  return Object.fromEntries(files.map((file) => [file.path, digestOf(file)]));
}

function digestOf({ mode, content }: FirstBootConfig['files'][number]): string {
  return createHash('sha256').update(`${mode} ${content}`).digest('hex').slice(0, 32);
}

/**
 * What a machine that has taken another seed has to be told to be that of this one, and whether it is all the same then. The id by
 * which its own programs know it stays: no other machine has it.
 */
export function diffSeedFiles(
  { files }: Pick<Seed, 'files'>,
  born: Readonly<Record<string, string>>,
): { readonly told: readonly FirstBootConfig['files'][number][]; readonly same: boolean } {
  const other = files.filter((file) => file.path !== MACHINE_ID_FILE && born[file.path] !== digestOf(file));
  const paths = new Set(files.map(({ path }) => path));
  return {
    told: other.filter(({ live }) => live === true),
    same: other.every(({ live }) => live === true) && Object.keys(born).every((path) => paths.has(path)),
  };
}

const MACHINE_ID_FILE = '/etc/machine-id';

function formatHostsFile(name: string): string {
  return `127.0.0.1 localhost\n127.0.1.1 ${name}\n::1 localhost ip6-localhost ip6-loopback\n`;
}
