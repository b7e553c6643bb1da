// Turns paths that a machine sends into places on this computer, and lets none lead out of a shared folder. No symbolic
// link is ever followed here: a machine resolves links itself, and asks for each component of the result.
//
// On Linux, a folder is opened component by component, and what happens in it is addressed by its descriptor
// (/proc/self/fd/7/name). So a folder that another program replaces by a link between check and use changes nothing.
// Elsewhere, Node can't address by descriptors: components are checked before each use.
import {
  closeSync,
  constants,
  existsSync,
  fstatSync,
  lstatSync,
  openSync,
  readlinkSync,
  realpathSync,
  statSync,
  type BigIntStats,
} from 'node:fs';
import { platform } from 'node:os';
import { posix } from 'node:path';
import { foldName } from './secret-folders.ts';
import { fileSystemError } from './sftp-status.ts';
import { isWindowsName } from './windows-paths.ts';

/** A folder of this computer and the path at which a machine sees it. */
export type SharedFolder = {
  readonly folder: string;
  /** An absolute path with slashes. */
  readonly machinePath: string;
  readonly isReadOnly: boolean;
};

/** Where a file is. It is valid until the tree's `trim`. */
export type Place = {
  /** What file system calls take. Only its last component can be a symbolic link. */
  readonly path: string | Buffer;
  readonly isReadOnly: boolean;
  /** A secret folder itself. Its attributes may be told, and nothing else. */
  readonly isSecret: boolean;
  /** Moving this place would move a secret folder to where it is not known as one. */
  readonly holdsSecret: boolean;
};

export type SharedTree = {
  /** Returns the place of a path without following its last component. */
  locate(machinePath: string): Place;
  /** Returns a path for the files in a folder, which ends with a slash. */
  locateEntries(machinePath: string): string;
  /** Closes folders that it need not keep open. Each request begins with it, because a place needs its folder open. */
  trim(): void;
  /** Closes all folders. They are opened again when they are needed. */
  releaseFolders(): void;
};

type Root = {
  readonly machinePath: string;
  /** The real path on this computer, in bytes. */
  readonly folder: string;
  readonly isReadOnly: boolean;
};

/** Linux' O_PATH, which Node does not name: a descriptor that only addresses. It needs no permission to read. */
const OPEN_PATH_ONLY = 0o10_000_000;
const KEPT_FOLDERS = 64;
const SECRETS_MS = 1000;
const MAX_PATH_BYTES = 4096;

const isWindows = platform() === 'win32';
const hasDescriptorPaths = platform() === 'linux' && existsSync('/proc/self/fd');

/** Returns the bytes of a path as one character per byte. */
export function toByteString(path: string): string {
  const slashes = isWindows ? path.replaceAll('\\', '/') : path;
  return Buffer.from(slashes, 'utf8').toString('latin1');
}

// oxlint-disable-next-line no-control-regex -- These are the bytes of ASCII.
const isAscii = (path: string): boolean => !/[^\x00-\x7f]/.test(path);

/** Returns what file system calls take for a path in bytes. */
export function toSystemPath(path: string): string | Buffer {
  if (isAscii(path)) return path;
  const bytes = Buffer.from(path, 'latin1');
  return isWindows ? bytes.toString('utf8') : bytes;
}

export function createSharedTree(folders: readonly SharedFolder[], secretFolders: readonly string[]): SharedTree {
  const roots: readonly Root[] = folders
    .map(({ folder, machinePath, isReadOnly }) => ({
      machinePath: machinePath === '/' ? '' : toByteString(machinePath),
      folder: withoutFinalSlash(toByteString(realpathSync.native(folder))),
      isReadOnly,
    }))
    .toSorted((a, b) => b.machinePath.length - a.machinePath.length);
  const secrets = createSecrets(secretFolders);
  const entries = hasDescriptorPaths ? createDescriptorPaths(roots, secrets) : createCheckedPaths(roots, secrets);

  const resolve = (machinePath: string): { readonly root: Root; readonly path: string } => {
    const path = requireSafePath(machinePath);
    const root = roots.find((one) => path === one.machinePath || path.startsWith(`${one.machinePath}/`));
    if (root === undefined) throw fileSystemError('EACCES');
    return { root, path: root.folder + path.slice(root.machinePath.length) };
  };
  return {
    locate(machinePath) {
      const { root, path } = resolve(machinePath);
      if (path === root.folder) {
        // Nothing moves or removes the shared folder itself.
        const { isReadOnly } = root;
        return { path: toSystemPath(`${entries.pathOf(path, root)}.`), isReadOnly, isSecret: false, holdsSecret: true };
      }
      const cut = path.lastIndexOf('/');
      const parent = entries.pathOf(path.slice(0, cut), root);
      return {
        path: toSystemPath(parent + path.slice(cut + 1)),
        isReadOnly: root.isReadOnly,
        isSecret: secrets.isNamed(path),
        get holdsSecret() {
          return secrets.isHolder(path, this.path);
        },
      };
    },
    locateEntries(machinePath) {
      const { root, path } = resolve(machinePath);
      return entries.pathOf(path, root);
    },
    trim: () => entries.trim(KEPT_FOLDERS),
    releaseFolders: () => entries.trim(0),
  };
}

const withoutFinalSlash = (path: string): string => (path.endsWith('/') ? path.slice(0, -1) : path);

/** Returns the path without a slash at its end. Machines send no `..`, so a path that has one is refused. */
function requireSafePath(machinePath: string): string {
  const path = withoutFinalSlash(machinePath);
  if (path.length > MAX_PATH_BYTES) throw fileSystemError('ENAMETOOLONG');
  if (path !== '' && !path.startsWith('/')) throw fileSystemError('EACCES');
  if (path.includes('\0') || /\/(?:\.{0,2}\/|\.{1,2}$)/.test(path)) throw fileSystemError('EACCES');
  if (isWindows && !path.split('/').every(isWindowsName)) throw fileSystemError('EACCES');
  return path;
}

type Secrets = {
  isNamed(path: string): boolean;
  isHolder(path: string, systemPath: string | Buffer): boolean;
  isIdentity(status: BigIntStats): boolean;
};

const identityOf = ({ dev, ino }: BigIntStats): string => `${dev}:${ino}`;

/**
 * Knows secret folders by their names and, because file systems have several names for one folder and a secret folder
 * can be a link, by what they are.
 */
function createSecrets(folders: readonly string[]): Secrets {
  const fold = (path: string): string => foldName(Buffer.from(path, 'latin1').toString('utf8'));
  const namesOf = (folder: string): string => fold(withoutFinalSlash(toByteString(folder)));
  const realPathOf = (folder: string): readonly string[] => {
    try {
      return [realpathSync.native(folder)];
    } catch {
      // It does not exist, or can't be read; its name alone is secret.
      return [];
    }
  };
  let known = {
    until: 0,
    names: new Set<string>(),
    lastNames: new Set<string>(),
    secrets: new Set<string>(),
    holders: new Set<string>(),
  };
  const refresh = (): typeof known => {
    if (Date.now() < known.until) return known;
    // A home folder can itself be reached by a link, and roots are real paths.
    const paths = folders.flatMap((folder) => [folder, ...realHomeOf(folder), ...realPathOf(folder)]);
    const idsOf = (list: readonly string[]): Set<string> =>
      new Set(list.flatMap((path) => identitiesAt(path).map(identityOf)));
    const names = new Set(paths.map(namesOf));
    known = {
      until: Date.now() + SECRETS_MS,
      names,
      lastNames: new Set([...names].map((name) => name.slice(name.lastIndexOf('/') + 1))),
      secrets: idsOf(paths),
      holders: idsOf(paths.flatMap(parentsOf)),
    };
    return known;
  };
  return {
    isNamed(path) {
      const { names, lastNames } = refresh();
      const last = path.slice(path.lastIndexOf('/') + 1);
      // Most names are decided here: this is asked for every file.
      if (isAscii(last) && !lastNames.has(last.toLowerCase())) return false;
      return names.has(fold(path));
    },
    isHolder(path, systemPath) {
      const { names, secrets, holders } = refresh();
      const folded = `${fold(path)}/`;
      if ([...names].some((name) => name.startsWith(folded))) return true;
      const ids = identitiesAt(systemPath, lstatSync).map(identityOf);
      return ids.some((id) => secrets.has(id) || holders.has(id));
    },
    isIdentity: (status) => refresh().secrets.has(identityOf(status)),
  };
}

function realHomeOf(folder: string): readonly string[] {
  const path = folder.replaceAll('\\', '/');
  // The deepest parent that exists has a real path; what follows does not exist, and is a name.
  for (const parent of parentsOf(path)) {
    try {
      return [posix.join(realpathSync.native(parent), path.slice(parent.length))];
    } catch {
      // Its own parent may exist.
    }
  }
  return [];
}

/** Returns the folders above a path, the nearest one first. */
function parentsOf(path: string): readonly string[] {
  const parts = path.replaceAll('\\', '/').split('/');
  return parts.slice(0, -1).map((_, index) => parts.slice(0, parts.length - 1 - index).join('/') || '/');
}

function identitiesAt(path: string | Buffer, read: typeof lstatSync | typeof statSync = statSync): BigIntStats[] {
  try {
    const status = read(path, { bigint: true, throwIfNoEntry: false });
    return status === undefined || !status.isDirectory() ? [] : [status];
  } catch {
    return [];
  }
}

type FolderPaths = {
  /** Returns a path that ends with a slash, for the files in a folder. */
  pathOf(folder: string, root: Root): string;
  /** Keeps at most so many folders open. */
  trim(kept: number): void;
};

/** Addresses folders by descriptors, which it keeps for a while. */
function createDescriptorPaths(roots: readonly Root[], secrets: Secrets): FolderPaths {
  const kept = new Map<string, number>();
  const rootFolders = new Set(roots.map(({ folder }) => folder));
  const unneeded: number[] = [];
  const isAt = (descriptor: number, folder: string): boolean =>
    // Node's types have no `latin1` here; Node does.
    readlinkSync(`/proc/self/fd/${descriptor}`, 'latin1' as 'utf8') === (folder || '/');
  const open = (folder: string, root: Root): number => {
    const flags = OPEN_PATH_ONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW;
    const cut = folder.lastIndexOf('/');
    const path = rootFolders.has(folder)
      ? folder || '/'
      : `/proc/self/fd/${descriptorOf(folder.slice(0, cut), root)}${folder.slice(cut)}`;
    const descriptor = openSync(toSystemPath(path), flags);
    try {
      // A part of the path above a root can have become a link.
      if (!isAt(descriptor, folder)) throw fileSystemError('ENOENT');
      if (secrets.isIdentity(fstatSync(descriptor, { bigint: true })) || secrets.isNamed(folder)) {
        throw fileSystemError('EACCES');
      }
    } catch (error) {
      closeSync(descriptor);
      throw error;
    }
    return descriptor;
  };
  const descriptorOf = (folder: string, root: Root): number => {
    const found = kept.get(folder);
    if (found !== undefined) {
      if (isAt(found, folder)) return found;
      unneeded.push(found);
      kept.delete(folder);
    }
    const descriptor = open(folder, root);
    kept.set(folder, descriptor);
    return descriptor;
  };
  return {
    pathOf: (folder, root) => `/proc/self/fd/${descriptorOf(folder, root)}/`,
    trim(count) {
      for (const descriptor of unneeded.splice(0)) closeSync(descriptor);
      for (const [folder, descriptor] of kept) {
        if (kept.size <= count) return;
        kept.delete(folder);
        closeSync(descriptor);
      }
    },
  };
}

/** Checks each component for a link before a use, where a folder can't be addressed by a descriptor. */
function createCheckedPaths(roots: readonly Root[], secrets: Secrets): FolderPaths {
  const rootFolders = new Set(roots.map(({ folder }) => folder));
  const check = (folder: string): void => {
    if (!rootFolders.has(folder)) check(folder.slice(0, folder.lastIndexOf('/')));
    const status = lstatSync(toSystemPath(folder || '/'), { bigint: true });
    if (!status.isDirectory()) throw fileSystemError(status.isSymbolicLink() ? 'EACCES' : 'ENOTDIR');
    if (secrets.isIdentity(status) || secrets.isNamed(folder)) throw fileSystemError('EACCES');
  };
  return {
    pathOf(folder) {
      check(folder);
      return `${folder}/`;
    },
    trim() {},
  };
}
