import { createHash } from 'node:crypto';
import { createTar } from 'nanotar';
import type { FirstBootConfig, Target } from '../contract.ts';
import type { QemuOptions } from './options.ts';

/** Everything that turns a guest into a certain machine. */
export type GuestIdentity = {
  readonly name: string;
  readonly id: string;
  readonly user: string;
  readonly boot: FirstBootConfig;
};

type SeedFile = FirstBootConfig['files'][number];

/**
 * The content of a disk that gives a guest its identity: a tar archive, which the guest's initial RAM disk unpacks into
 * its root. `id` is a digest of it.
 */
export type Seed = { readonly bytes: Uint8Array; readonly id: string; readonly files: readonly SeedFile[] };

/**
 * An archive ends with two empty blocks: otherwise a program that reads the disk to its end would take the next bytes
 * for a file.
 */
const END_OF_ARCHIVE_BYTES = 1024;
const MACHINE_ID_FILE = '/etc/machine-id';

export function guestIdentityOf({ id, name, options }: Target<QemuOptions>, boot: FirstBootConfig): GuestIdentity {
  return { id, name, user: options.sshUser, boot };
}

/**
 * Returns the seed of a machine, whose files are in place before the guest's systemd starts. A tar needs no file
 * system, no tool and no root on any computer, and unpacks in a fraction of the time that cloud-init takes to start.
 * The same identity gives the same bytes.
 */
export function seedOf({ name, id, user, boot }: GuestIdentity): Seed {
  const files: readonly SeedFile[] = [
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
  return {
    bytes: Buffer.concat([tar, Buffer.alloc(END_OF_ARCHIVE_BYTES)]),
    id: createHash('sha256').update(tar).digest('hex').slice(0, 16),
    files,
  };
}

function formatHostsFile(name: string): string {
  return `127.0.0.1 localhost\n127.0.1.1 ${name}\n::1 localhost ip6-localhost ip6-loopback\n`;
}

/** Returns a digest of each file of a seed, by path: enough to compare seeds, without the secrets in them. */
export function fileDigestsOf({ files }: Pick<Seed, 'files'>): Readonly<Record<string, string>> {
  return Object.fromEntries(files.map((file) => [file.path, digestOf(file)]));
}

function digestOf({ mode, content }: SeedFile): string {
  return createHash('sha256').update(`${mode} ${content}`).digest('hex').slice(0, 32);
}

/**
 * Compares a seed with the files that a guest has applied before. `liveFiles` are those to replace while it runs;
 * `isSufficient` is whether the guest then matches the seed. Ignores the machine id: programs in the guest already use
 * the one that it has, and no other machine has that id.
 */
export function diffSeedFiles(
  { files }: Pick<Seed, 'files'>,
  appliedDigests: Readonly<Record<string, string>>,
): { readonly liveFiles: readonly SeedFile[]; readonly isSufficient: boolean } {
  const changed = files.filter((file) => file.path !== MACHINE_ID_FILE && appliedDigests[file.path] !== digestOf(file));
  const paths = new Set(files.map(({ path }) => path));
  const hasAllApplied = Object.keys(appliedDigests).every((path) => paths.has(path));
  return {
    liveFiles: changed.filter(({ live }) => live === true),
    isSufficient: changed.every(({ live }) => live === true) && hasAllApplied,
  };
}
