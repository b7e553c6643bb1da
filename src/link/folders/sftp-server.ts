// Serves shared folders to machines: SFTP version 3 over any stream, for sshfs in the machine. Requests are executed in
// order and, but for a sync, at once: sshfs sends several without waiting and expects their order.
//
// A machine's mount outlives its connections. slipway-dial in the machine keeps what was not answered and sends it over
// the next connection, possibly to another process; see open-files.ts and replayed-requests.ts.
import { randomBytes } from 'node:crypto';
import {
  chmodSync,
  closeSync,
  constants,
  fchmodSync,
  fstatSync,
  fsync,
  ftruncateSync,
  futimesSync,
  linkSync,
  lstatSync,
  lutimesSync,
  mkdirSync,
  openSync,
  readdirSync,
  readlinkSync,
  readSync,
  renameSync,
  rmdirSync,
  statfsSync,
  symlinkSync,
  unlinkSync,
  writeSync,
  type Stats,
} from 'node:fs';
import { platform } from 'node:os';
import { posix } from 'node:path';
import type { Duplex } from 'node:stream';
import { callInBackground, createOpenFiles, openRegularFile, type OpenFile, type OpenFiles } from './open-files.ts';
import {
  isFileMadeBefore,
  isFolderMadeBefore,
  isHardLinkMadeBefore,
  isMovedBefore,
  isRemovedBefore,
  isSymlinkMadeBefore,
  replayWindow,
  unwrittenPart,
  type ReplayWindow,
} from './replayed-requests.ts';
import {
  ANSWER,
  createAnswerWriter,
  createPacketReader,
  createPacketSplitter,
  MalformedPacketError,
  OPEN_FLAG,
  REQUEST,
  secondsOf,
  type AnswerWriter,
  type PacketReader,
  type RequestedAttributes,
} from './sftp-packets.ts';
import { fileSystemError, STATUS, statusOfError } from './sftp-status.ts';
import { createSharedTree, toSystemPath, type Place, type SharedFolder, type SharedTree } from './shared-tree.ts';

export type FolderServer = {
  /** Serves the folders until the stream ends. */
  serve(stream: Duplex): void;
  /** Ends all connections and closes all files. */
  close(): void;
};

export type FolderServerOptions = {
  readonly folders: readonly SharedFolder[];
  /** Absolute paths of folders whose contents are never served. */
  readonly secretFolders: readonly string[];
};

/** What lasts longer than a connection: one mount of one machine. */
type Mount = {
  readonly files: OpenFiles;
  stream: Duplex | undefined;
  /** Ends the mount some time after its connection did. */
  expiry: NodeJS.Timeout | undefined;
};

const PROTOCOL_VERSION = 3;
/** slipway-dial answers for the server while there is no connection, so it has the same list. */
const EXTENSIONS = [
  ['posix-rename@openssh.com', '1'],
  ['statvfs@openssh.com', '2'],
  ['hardlink@openssh.com', '1'],
  ['fsync@openssh.com', '1'],
] as const;

/** sshfs takes answers of at most 128 KiB and reads at most 64 KiB at once. */
const MAX_READ_BYTES = 96 * 1024;
const MAX_LIST_BYTES = 64 * 1024;
/** What is sent at once, while more requests wait. */
const BATCH_BYTES = 128 * 1024;
/** How many bytes of answers may wait for a machine that does not read them. */
const MAX_UNSENT_BYTES = 4 * 1024 * 1024;
const MAX_MOUNTS = 64;
const MOUNT_KEPT_MS = 10 * 60_000;
const FOLDERS_KEPT_MS = 2000;
/** set-user-ID and set-group-ID are never set: a machine must not make programs that run as this computer's user. */
const MODE_BITS = 0o1777;

export function createFolderServer({ folders, secretFolders }: FolderServerOptions): FolderServer {
  const tree = createSharedTree(folders, secretFolders);
  const serverId = randomBytes(6).toString('hex');
  const mounts = new Map<string, Mount>();
  const connections = new Set<Duplex>();
  let releaseTimer: NodeJS.Timeout | undefined;
  let hasWorked = false;

  const createMount = (): Mount => ({ files: createOpenFiles(tree, serverId), stream: undefined, expiry: undefined });
  const endMount = (id: string, { files, expiry }: Mount): void => {
    clearTimeout(expiry);
    files.closeAll();
    mounts.delete(id);
  };
  const attachMount = (id: string, stream: Duplex): Mount => {
    const mount = mounts.get(id) ?? createMount();
    clearTimeout(mount.expiry);
    // The machine has given up the connection before this one, even where it does not look closed from here.
    if (mount.stream !== stream) mount.stream?.destroy();
    mount.stream = stream;
    mounts.delete(id);
    const [oldest] = mounts;
    if (mounts.size >= MAX_MOUNTS && oldest !== undefined) {
      oldest[1].stream?.destroy();
      endMount(...oldest);
    }
    mounts.set(id, mount);
    stream.once('close', () => {
      if (mount.stream !== stream || mounts.get(id) !== mount) return;
      mount.stream = undefined;
      mount.expiry = setTimeout(() => endMount(id, mount), MOUNT_KEPT_MS).unref();
    });
    return mount;
  };
  // A folder that is open can't be unmounted, so none stays open without need.
  const keepFolders = (): void => {
    hasWorked = true;
    releaseTimer ??= setInterval(() => {
      if (!hasWorked) {
        clearInterval(releaseTimer);
        releaseTimer = undefined;
        tree.releaseFolders();
      }
      hasWorked = false;
    }, FOLDERS_KEPT_MS).unref();
  };

  return {
    serve(stream) {
      connections.add(stream);
      stream.once('close', () => connections.delete(stream));
      serveConnection({ stream, tree, createMount, attachMount, keepFolders });
    },
    close() {
      for (const stream of connections) stream.destroy();
      for (const [id, mount] of mounts) endMount(id, mount);
      clearInterval(releaseTimer);
      tree.releaseFolders();
    },
  };
}

type Connection = {
  readonly stream: Duplex;
  readonly tree: SharedTree;
  readonly createMount: () => Mount;
  readonly attachMount: (id: string, stream: Duplex) => Mount;
  readonly keepFolders: () => void;
};

/** What a request is executed with. */
type SftpRequest = {
  readonly tree: SharedTree;
  readonly files: OpenFiles;
  readonly answers: AnswerWriter;
  readonly id: number;
  readonly request: PacketReader;
  /** Set if the request may have been executed before. */
  readonly replay: ReplayWindow | undefined;
  /** Sends an answer that was not ready when the request's turn ended. */
  readonly answerLater: (status: number) => void;
};

function serveConnection({ stream, tree, createMount, attachMount, keepFolders }: Connection): void {
  const input = createPacketSplitter();
  const answers = createAnswerWriter();
  const ownMount = createMount();
  let mount = ownMount;
  let replay: ReplayWindow | undefined;
  let replaysLeft = 0;
  const unsentLimit = Math.max(MAX_UNSENT_BYTES, stream.writableHighWaterMark);

  const flush = (): void => {
    const bytes = answers.take();
    if (bytes !== undefined && stream.writable) stream.write(bytes);
  };
  const begin = (request: PacketReader): void => {
    const { sessionId, replays, lastNames } = readInit(request);
    if (sessionId !== undefined) mount = attachMount(sessionId, stream);
    for (const [handle, name] of lastNames) mount.files.setLastName(handle, name);
    replaysLeft = replays?.count ?? 0;
    if (replays !== undefined) replay = replayWindow(Date.now(), replays.sentSeconds, replays.lostSeconds);
    answers.begin(ANSWER.version, PROTOCOL_VERSION);
    for (const text of EXTENSIONS.flat()) answers.addText(text);
    answers.end();
  };
  const execute = (packet: Buffer): void => {
    const request = createPacketReader(packet);
    const type = request.readByte();
    if (type === REQUEST.init) return begin(request);
    const id = request.readNumber();
    const isReplay = replaysLeft > 0;
    if (isReplay) replaysLeft -= 1;
    const answerLater = (status: number): void => {
      addStatus(answers, id, status);
      flush();
    };
    const { files } = mount;
    tree.trim();
    executeRequest(type, { tree, files, answers, id, request, replay: isReplay ? replay : undefined, answerLater });
  };
  const work = (): void => {
    keepFolders();
    try {
      while (stream.writableLength < unsentLimit) {
        const packet = input.next();
        if (packet === undefined) break;
        execute(packet);
        if (answers.pendingBytes() >= BATCH_BYTES) flush();
      }
    } catch (error) {
      // What follows a packet that can't be read can't be read either.
      if (!(error instanceof MalformedPacketError)) throw error;
      stream.destroy();
      return;
    }
    flush();
    if (stream.writableLength >= unsentLimit) stream.pause();
  };
  stream.on('data', (chunk: Buffer) => {
    input.add(chunk);
    work();
  });
  stream.on('drain', () => {
    work();
    if (stream.writableLength < unsentLimit) stream.resume();
  });
  stream.on('error', () => stream.destroy());
  stream.on('end', () => stream.end());
  stream.once('close', () => ownMount.files.closeAll());
}

type Init = {
  readonly sessionId: string | undefined;
  readonly replays: { readonly count: number; readonly sentSeconds: number; readonly lostSeconds: number } | undefined;
  readonly lastNames: readonly (readonly [handle: string, name: string])[];
};

/** Reads what slipway-dial adds to the first packet of a connection. */
function readInit(request: PacketReader): Init {
  request.readNumber();
  let init: Init = { sessionId: undefined, replays: undefined, lastNames: [] };
  while (!request.isAtEnd()) {
    const name = request.readText();
    const value = request.readText();
    if (name === 'session@slipway' && /^[0-9a-f]{16,64}$/.test(value)) init = { ...init, sessionId: value };
    if (name === 'replay@slipway') {
      const [count = 0, sentSeconds = 0, lostSeconds = 0] = value.split(' ').map((part) => Number(part) || 0);
      init = { ...init, replays: { count, sentSeconds, lostSeconds } };
    }
    if (name === 'listed@slipway') {
      const cut = value.indexOf('\0');
      init = { ...init, lastNames: [...init.lastNames, [value.slice(0, cut), value.slice(cut + 1)]] };
    }
  }
  return init;
}

function addStatus(answers: AnswerWriter, id: number, status: number): void {
  answers.begin(ANSWER.status, id);
  answers.addNumber(status);
  answers.addText('');
  answers.addText('');
  answers.end();
}

/** Executes a request and writes its answer, which is a status if anything fails. */
function executeRequest(type: number, context: SftpRequest): void {
  const { answers, id } = context;
  try {
    const status = (HANDLERS.get(type) ?? refuseUnknown)(context);
    if (status !== undefined) addStatus(answers, id, status);
  } catch (error) {
    answers.cancel();
    addStatus(answers, id, error instanceof MalformedPacketError ? STATUS.badMessage : statusOfError(error));
  }
}

/** Returns a status, or undefined if the answer was written or comes later. */
type Handler = (context: SftpRequest) => number | undefined;

const refuseUnknown: Handler = () => STATUS.unsupported;

const HANDLERS: ReadonlyMap<number, Handler> = new Map<number, Handler>([
  [REQUEST.open, answerOpen],
  [REQUEST.close, answerClose],
  [REQUEST.read, answerRead],
  [REQUEST.write, answerWrite],
  [REQUEST.lstat, answerStat],
  // Links are the machine's to follow, so that no answer depends on what is outside a shared folder.
  [REQUEST.stat, answerStat],
  [REQUEST.fstat, answerFileStat],
  [REQUEST.setstat, answerSetStat],
  [REQUEST.fsetstat, answerFileSetStat],
  [REQUEST.opendir, answerOpenFolder],
  [REQUEST.readdir, answerReadFolder],
  [REQUEST.remove, answerRemove],
  [REQUEST.mkdir, answerMakeFolder],
  [REQUEST.rmdir, answerRemoveFolder],
  [REQUEST.realpath, answerRealPath],
  [REQUEST.rename, (context) => answerRename(context, false)],
  [REQUEST.readlink, answerReadLink],
  [REQUEST.symlink, answerSymlink],
  [REQUEST.extended, answerExtended],
]);

/** Returns the place of a path whose name or contents the request changes. */
function locateForChange(tree: SharedTree, machinePath: string): Place {
  const place = tree.locate(machinePath);
  if (place.isSecret) throw fileSystemError('EACCES');
  if (place.isReadOnly) throw fileSystemError('EROFS');
  return place;
}

function answerOpen({ tree, files, answers, id, request, replay }: SftpRequest): undefined {
  const machinePath = request.readText();
  const flags = systemFlags(request.readNumber());
  const { mode = 0o666 } = request.readAttributes();
  const open = (openFlags: number): Pick<OpenFile, 'descriptor' | 'isReadOnly'> =>
    openRegularFile(tree, machinePath, openFlags, mode & MODE_BITS);
  let opened;
  try {
    opened = open(flags);
  } catch (error) {
    const isMade = replay !== undefined && isFileMadeBefore(error, tree.locate(machinePath).path, replay);
    if (!isMade) throw error;
    opened = open(flags & ~constants.O_EXCL);
  }
  answers.begin(ANSWER.handle, id);
  answers.addText(files.addFile(machinePath, flags, opened));
  answers.end();
}

function systemFlags(flags: number): number {
  const access =
    (flags & 3) === (OPEN_FLAG.read | OPEN_FLAG.write)
      ? constants.O_RDWR
      : flags & OPEN_FLAG.write
        ? constants.O_WRONLY
        : constants.O_RDONLY;
  const set = (flag: number, systemFlag: number): number => (flags & flag ? systemFlag : 0);
  return (
    access |
    set(OPEN_FLAG.append, constants.O_APPEND) |
    set(OPEN_FLAG.create, constants.O_CREAT) |
    set(OPEN_FLAG.truncate, constants.O_TRUNC) |
    set(OPEN_FLAG.exclusive, constants.O_EXCL)
  );
}

function answerClose({ files, request }: SftpRequest): number {
  files.close(request.readText());
  return STATUS.ok;
}

function answerRead({ files, answers, id, request }: SftpRequest): number | undefined {
  const { descriptor } = files.requireFile(request.readText());
  const offset = request.readLargeNumber();
  const length = Math.min(request.readNumber(), MAX_READ_BYTES);
  answers.begin(ANSWER.data, id);
  const read = answers.addFilled(length, (buffer, position) => readSync(descriptor, buffer, position, length, offset));
  if (read > 0 || length === 0) return void answers.end();
  answers.cancel();
  return STATUS.endOfFile;
}

function answerWrite({ files, request, replay }: SftpRequest): number {
  const file = files.requireFile(request.readText());
  const offset = request.readLargeNumber();
  const data = request.readBytes();
  if (!file.isAppending) writeAll(file.descriptor, data, offset);
  else writeAll(file.descriptor, replay === undefined ? data : unappendedPart(file, data, offset), null);
  return STATUS.ok;
}

function writeAll(descriptor: number, data: Buffer, offset: number | null): void {
  for (let written = 0; written < data.length;) {
    const position = offset === null ? null : offset + written;
    written += writeSync(descriptor, data, written, data.length - written, position);
  }
}

/** How far behind the end that a machine saw another program can have written, at most. */
const MAX_TAIL_BYTES = 1024 * 1024;

/** The descriptor of an append can't read, so the file is opened again. */
function unappendedPart({ descriptor }: OpenFile, data: Buffer, offset: number): Buffer {
  const length = Math.min(fstatSync(descriptor).size - offset, MAX_TAIL_BYTES + data.length);
  if (length <= 0 || platform() !== 'linux') return data;
  const reader = openSync(`/proc/self/fd/${descriptor}`, constants.O_RDONLY);
  try {
    const tail = Buffer.alloc(length);
    return unwrittenPart(data, tail.subarray(0, readSync(reader, tail, 0, length, offset)));
  } finally {
    closeSync(reader);
  }
}

function answerAttributes({ answers, id }: SftpRequest, status: Stats): undefined {
  answers.begin(ANSWER.attributes, id);
  answers.addAttributes(status);
  answers.end();
}

/** A secret folder looks like one that nobody may open. */
function hidden(status: Stats): Stats {
  return Object.assign(Object.create(status) as Stats, { mode: status.mode & constants.S_IFMT, nlink: 1 });
}

function answerStat(context: SftpRequest): number | undefined {
  const { path, isSecret } = context.tree.locate(context.request.readText());
  // No exception: most of these questions are whether a file exists.
  const status = lstatSync(path, { throwIfNoEntry: false });
  if (status === undefined) return STATUS.noSuchFile;
  return answerAttributes(context, isSecret ? hidden(status) : status);
}

function answerFileStat(context: SftpRequest): undefined {
  const { descriptor } = context.files.requireFile(context.request.readText());
  return answerAttributes(context, fstatSync(descriptor));
}

function answerSetStat({ tree, request }: SftpRequest): number {
  const machinePath = request.readText();
  const attributes = request.readAttributes();
  const { path } = locateForChange(tree, machinePath);
  const status = lstatSync(path);
  const { size, mode } = attributes;
  if (size !== undefined) {
    const { descriptor } = openRegularFile(tree, machinePath, constants.O_WRONLY);
    try {
      ftruncateSync(descriptor, size);
    } finally {
      closeSync(descriptor);
    }
  }
  // sshfs sends the mode of a link to the link; links have none.
  if (mode !== undefined && !status.isSymbolicLink()) changeMode(path, mode & MODE_BITS);
  const times = changedTimes(attributes, status);
  if (times !== undefined) lutimesSync(path, ...times);
  return STATUS.ok;
}

/** Changes the mode of what is at a path, which may have become a link since it was checked. */
function changeMode(path: string | Buffer, mode: number): void {
  if (platform() !== 'linux') return chmodSync(path, mode);
  const descriptor = openSync(path, OPEN_PATH_ONLY | constants.O_NOFOLLOW);
  try {
    if (!fstatSync(descriptor).isSymbolicLink()) chmodSync(`/proc/self/fd/${descriptor}`, mode);
  } finally {
    closeSync(descriptor);
  }
}

/** Linux' O_PATH, which Node does not name. */
const OPEN_PATH_ONLY = 0o10_000_000;

/**
 * Returns the times to set. SFTP has whole seconds: a machine that sets a time which it has read must not round it, and
 * a machine that only touches a file, so that programs there notice a change, changes nothing.
 */
function changedTimes({ accessed, modified }: RequestedAttributes, status: Stats): [number, number] | undefined {
  if (accessed === undefined || modified === undefined || modified === secondsOf(status.mtimeMs)) return undefined;
  return [accessed, modified];
}

function answerFileSetStat({ files, request }: SftpRequest): number {
  const { descriptor, isReadOnly } = files.requireFile(request.readText());
  const attributes = request.readAttributes();
  if (isReadOnly) throw fileSystemError('EROFS');
  if (attributes.size !== undefined) ftruncateSync(descriptor, attributes.size);
  if (attributes.mode !== undefined) fchmodSync(descriptor, attributes.mode & MODE_BITS);
  const times = changedTimes(attributes, fstatSync(descriptor));
  if (times !== undefined) futimesSync(descriptor, ...times);
  return STATUS.ok;
}

function answerOpenFolder({ tree, files, answers, id, request }: SftpRequest): undefined {
  const machinePath = request.readText();
  // Tells at once whether it is a folder that may be read.
  tree.locateEntries(machinePath);
  answers.begin(ANSWER.handle, id);
  answers.addText(files.addFolder(machinePath));
  answers.end();
}

/**
 * Answers with some entries. The long name of the first one, which sshfs ignores, is the last name of the answer:
 * slipway-dial remembers it, so that another server can go on after it. This is why names have an order.
 */
function answerReadFolder({ tree, files, answers, id, request }: SftpRequest): number | undefined {
  const folder = files.requireFolder(request.readText());
  const prefix = tree.locateEntries(folder.machinePath);
  folder.names ??= readNames(prefix).filter((name) => name > folder.lastName);
  const entries = takeEntries(folder.names, prefix, (name) => tree.locate(`${folder.machinePath}/${name}`).isSecret);
  const last = entries.at(-1);
  if (last === undefined) return STATUS.endOfFile;
  folder.lastName = last.name;
  answers.begin(ANSWER.name, id);
  answers.addNumber(entries.length);
  for (const [index, { name, status }] of entries.entries()) {
    answers.addText(name);
    answers.addText(index === 0 ? last.name : '');
    answers.addAttributes(status);
  }
  answers.end();
  return undefined;
}

function readNames(folder: string): string[] {
  // Node's types have no `latin1` here; Node does.
  return readdirSync(toSystemPath(folder), 'latin1' as 'utf8')
    .toSorted(compareBytes)
    .toReversed();
}

const compareBytes = (a: string, b: string): number => (a < b ? -1 : Number(a > b));

/** Takes names from the end of a list until their entries fill an answer. */
function takeEntries(
  names: string[],
  prefix: string,
  isSecret: (name: string) => boolean,
): { readonly name: string; readonly status: Stats }[] {
  const entries = [];
  let bytes = 0;
  while (bytes < MAX_LIST_BYTES) {
    const name = names.pop();
    if (name === undefined) break;
    const status = lstatSync(toSystemPath(prefix + name), { throwIfNoEntry: false });
    // It was deleted since the folder was read.
    if (status === undefined) continue;
    entries.push({ name, status: status.isDirectory() && isSecret(name) ? hidden(status) : status });
    bytes += name.length + 44;
  }
  return entries;
}

function answerRemove({ tree, request, replay }: SftpRequest): number {
  const { path } = locateForChange(tree, request.readText());
  return executeUnlessDone(() => unlinkSync(path), replay !== undefined && isRemovedBefore);
}

function answerMakeFolder({ tree, request, replay }: SftpRequest): number {
  const { path } = locateForChange(tree, request.readText());
  const { mode = 0o777 } = request.readAttributes();
  return executeUnlessDone(
    () => mkdirSync(path, { mode: mode & MODE_BITS }),
    replay !== undefined && ((error) => isFolderMadeBefore(error, path, replay)),
  );
}

function answerRemoveFolder({ tree, request, replay }: SftpRequest): number {
  const place = locateForChange(tree, request.readText());
  if (place.holdsSecret) throw fileSystemError('EACCES');
  return executeUnlessDone(() => rmdirSync(place.path), replay !== undefined && isRemovedBefore);
}

/** Executes a change; an error for which `isDone` is true means that the change was made by an earlier attempt. */
function executeUnlessDone(change: () => void, isDone: false | ((error: unknown) => boolean)): number {
  try {
    change();
  } catch (error) {
    if (isDone === false || !isDone(error)) throw error;
  }
  return STATUS.ok;
}

function answerRename({ tree, request, replay }: SftpRequest, replaces: boolean): number {
  const source = locateForChange(tree, request.readText());
  const target = locateForChange(tree, request.readText());
  if (source.holdsSecret || target.holdsSecret) throw fileSystemError('EACCES');
  if (!replaces && replay === undefined && lstatSync(target.path, { throwIfNoEntry: false }) !== undefined) {
    throw fileSystemError('EEXIST');
  }
  return executeUnlessDone(
    () => renameSync(source.path, target.path),
    replay !== undefined && ((error) => isMovedBefore(error, target.path, replay)),
  );
}

function answerReadLink({ tree, answers, id, request }: SftpRequest): undefined {
  const { path, isSecret } = tree.locate(request.readText());
  if (isSecret) throw fileSystemError('EACCES');
  const target = readlinkSync(path, 'buffer').toString('latin1');
  answers.begin(ANSWER.name, id);
  answers.addNumber(1);
  answers.addText(target);
  answers.addText(target);
  answers.addAttributes(lstatSync(path));
  answers.end();
}

/** OpenSSH's order, which all clients use: the target comes first. */
function answerSymlink({ tree, request, replay }: SftpRequest): number {
  const target = request.readBytes();
  const { path } = locateForChange(tree, request.readText());
  return executeUnlessDone(
    () => symlinkSync(toSystemPath(target.toString('latin1')), path),
    replay !== undefined && ((error) => isSymlinkMadeBefore(error, path, target)),
  );
}

/** A path is the same after it was resolved, because links are the machine's to follow. */
function answerRealPath({ answers, id, request }: SftpRequest): undefined {
  const path = request.readText();
  answers.begin(ANSWER.name, id);
  answers.addNumber(1);
  answers.addText(path === '' || path === '.' ? '/' : path);
  answers.addText('');
  answers.addNumber(0);
  answers.end();
}

function answerExtended(context: SftpRequest): number | undefined {
  const name = context.request.readText();
  if (name === 'posix-rename@openssh.com') return answerRename(context, true);
  if (name === 'hardlink@openssh.com') return answerHardLink(context);
  if (name === 'fsync@openssh.com') return answerSync(context);
  if (name === 'statvfs@openssh.com') return answerFileSystem(context);
  return STATUS.unsupported;
}

function answerHardLink({ tree, request, replay }: SftpRequest): number {
  const existing = locateForChange(tree, request.readText());
  const link = locateForChange(tree, request.readText());
  return executeUnlessDone(
    () => linkSync(existing.path, link.path),
    replay !== undefined && ((error) => isHardLinkMadeBefore(error, existing.path, link.path)),
  );
}

function answerSync({ files, request, answerLater }: SftpRequest): undefined {
  const file = files.requireFile(request.readText());
  callInBackground(file, fsync, (error) => answerLater(error === null ? STATUS.ok : statusOfError(error)));
}

function answerFileSystem({ tree, answers, id, request }: SftpRequest): undefined {
  const machinePath = request.readText();
  const { path, isReadOnly } = tree.locate(machinePath);
  const folder = lstatSync(path).isDirectory() ? machinePath : posix.dirname(machinePath);
  const status = statfsSync(toSystemPath(tree.locateEntries(folder)));
  const { bsize, blocks, bfree, bavail, files, ffree } = status;
  const maxNameBytes = 255;
  answers.begin(ANSWER.extended, id);
  for (const value of [bsize, bsize, blocks, bfree, bavail, files, ffree, ffree, 0, Number(isReadOnly), maxNameBytes]) {
    answers.addLargeNumber(value);
  }
  answers.end();
}
