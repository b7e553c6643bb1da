// The open files and folders of one machine's mount. A handle's text tells what it is for, so that a server that does
// not know it, because the one that opened the file is gone, opens the file again.
import { closeSync, constants, fstatSync, openSync } from 'node:fs';
import { platform } from 'node:os';
import { fileSystemError } from './sftp-status.ts';
import type { SharedTree } from './shared-tree.ts';

export type OpenFile = {
  readonly kind: 'file';
  readonly machinePath: string;
  readonly descriptor: number;
  readonly isAppending: boolean;
  readonly isReadOnly: boolean;
  /** Calls that have not ended, such as a sync. The file is closed after them. */
  pendingCalls: number;
  isClosed: boolean;
};

export type OpenFolder = {
  readonly kind: 'folder';
  readonly machinePath: string;
  /** Names that were not sent yet, in order; undefined before the first request. */
  names: string[] | undefined;
  /** The last name that was sent. */
  lastName: string;
};

type OpenItem = OpenFile | OpenFolder;

export type OpenFiles = {
  addFile(machinePath: string, flags: number, file: Pick<OpenFile, 'descriptor' | 'isReadOnly'>): string;
  addFolder(machinePath: string): string;
  requireFile(handle: string): OpenFile;
  requireFolder(handle: string): OpenFolder;
  close(handle: string): void;
  /** Tells which name of a folder a previous server sent last. */
  setLastName(handle: string, name: string): void;
  closeAll(): void;
};

/** A file that nobody used for longest is closed, and opened again when it is used. */
const MAX_OPEN = 2048;
/** O_ACCMODE, which Node does not name. */
const ACCESS_MODE = constants.O_RDONLY | constants.O_WRONLY | constants.O_RDWR;
const HANDLE = /^[0-9a-f]+-\d{1,16};(f;(\d{1,10});(\d{1,20})|d);(\/.*)$/s;

export function createOpenFiles(tree: SharedTree, serverId: string): OpenFiles {
  const items = new Map<string, OpenItem>();
  const lastNames = new Map<string, string>();
  let count = 0;
  const nextId = (): string => `${serverId}-${(count += 1)}`;
  const add = <Item extends OpenItem>(handle: string, item: Item): Item => {
    const [oldest] = items;
    if (items.size >= MAX_OPEN && oldest !== undefined) closeItem(items, ...oldest);
    items.set(handle, item);
    return item;
  };
  const reopen = (handle: string): OpenItem => {
    const [, kind, flags = '', inode = '', machinePath] = HANDLE.exec(handle) ?? [];
    if (machinePath === undefined) throw fileSystemError('EBADF');
    if (kind === 'd') return add(handle, newFolder(machinePath, lastNames.get(handle) ?? ''));
    const kept = Number(flags) & (ACCESS_MODE | constants.O_APPEND);
    const opened = openRegularFile(tree, machinePath, kept);
    // Another file has its name now.
    if (inodeOf(opened.descriptor) !== inode) {
      closeSync(opened.descriptor);
      throw fileSystemError('EIO');
    }
    return add(handle, newFile(machinePath, kept, opened));
  };
  const require = <Kind extends OpenItem['kind']>(handle: string, kind: Kind): OpenItem & { readonly kind: Kind } => {
    const item = items.get(handle) ?? reopen(handle);
    if (item.kind !== kind) throw fileSystemError('EBADF');
    // What was used last is at the end.
    items.delete(handle);
    items.set(handle, item);
    return item as OpenItem & { readonly kind: Kind };
  };
  return {
    addFile(machinePath, flags, opened) {
      const handle = `${nextId()};f;${flags};${inodeOf(opened.descriptor)};${machinePath}`;
      add(handle, newFile(machinePath, flags, opened));
      return handle;
    },
    addFolder(machinePath) {
      const handle = `${nextId()};d;${machinePath}`;
      add(handle, newFolder(machinePath, ''));
      return handle;
    },
    requireFile: (handle) => require(handle, 'file'),
    requireFolder: (handle) => require(handle, 'folder'),
    close(handle) {
      lastNames.delete(handle);
      const item = items.get(handle);
      // A server that was started since may not have used it.
      if (item !== undefined) closeItem(items, handle, item);
      else if (!HANDLE.test(handle)) throw fileSystemError('EBADF');
    },
    setLastName(handle, name) {
      const known = items.get(handle);
      if (known?.kind === 'folder') Object.assign(known, newFolder(known.machinePath, name));
      else if (lastNames.size < MAX_OPEN) lastNames.set(handle, name);
    },
    closeAll() {
      for (const [handle, item] of items) closeItem(items, handle, item);
      lastNames.clear();
    },
  };
}

const newFolder = (machinePath: string, lastName: string): OpenFolder => ({
  kind: 'folder',
  machinePath,
  names: undefined,
  lastName,
});

const newFile = (
  machinePath: string,
  flags: number,
  opened: Pick<OpenFile, 'descriptor' | 'isReadOnly'>,
): OpenFile => ({
  kind: 'file',
  machinePath,
  ...opened,
  isAppending: (flags & constants.O_APPEND) !== 0,
  pendingCalls: 0,
  isClosed: false,
});

const inodeOf = (descriptor: number): string => String(fstatSync(descriptor, { bigint: true }).ino);

function closeItem(items: Map<string, OpenItem>, handle: string, item: OpenItem): void {
  items.delete(handle);
  if (item.kind === 'folder') return;
  item.isClosed = true;
  if (item.pendingCalls === 0) closeSync(item.descriptor);
}

/** Runs a call that takes long, such as a sync, and keeps the file's descriptor open until it has ended. */
export function callInBackground(
  file: OpenFile,
  call: (descriptor: number, done: (error: Error | null) => void) => void,
  done: (error: Error | null) => void,
): void {
  file.pendingCalls += 1;
  call(file.descriptor, (error) => {
    file.pendingCalls -= 1;
    if (file.isClosed && file.pendingCalls === 0) closeSync(file.descriptor);
    done(error);
  });
}

/**
 * Opens a file and refuses what is not one. A pipe or a device would hold up this process, or do something when it is
 * opened; `O_NONBLOCK` means nothing for a file.
 */
export function openRegularFile(
  tree: SharedTree,
  machinePath: string,
  flags: number,
  mode = 0o666,
): Pick<OpenFile, 'descriptor' | 'isReadOnly'> {
  const { path, isReadOnly, isSecret } = tree.locate(machinePath);
  const writes = (flags & (ACCESS_MODE | constants.O_CREAT | constants.O_TRUNC)) !== constants.O_RDONLY;
  if (isSecret) throw fileSystemError('EACCES');
  if (isReadOnly && writes) throw fileSystemError('EROFS');
  const descriptor = openSync(path, flags | SAFE_FLAGS, mode);
  if (fstatSync(descriptor).isFile()) return { descriptor, isReadOnly };
  closeSync(descriptor);
  throw fileSystemError('EPERM');
}

// Windows has neither of them.
const { O_NOFOLLOW = 0, O_NONBLOCK = 0, O_NOCTTY = 0 } = constants;
/** macOS' O_NOFOLLOW_ANY, which Node does not name: no component of the path may be a link. */
const NO_LINK_ANYWHERE = platform() === 'darwin' ? 0x20_00_00_00 : 0;
const SAFE_FLAGS = (NO_LINK_ANYWHERE || O_NOFOLLOW) | O_NONBLOCK | O_NOCTTY;
