/**
 * The store's layout. Folders have mode 0700, files 0600, except for certificates, which are public:
 *
 *   ~/.slipway/machines/NAME/machine.json     the record: one machine, one phase, no secret
 *                            engine-env.X.json  values of --engine-env: a proxy's URL may contain a password. The
 *                                             record names the file: values and record change together
 *                            repository-login  the login of --engine-repository-url, if it has one
 *                            install-login    the same for --engine-install-url
 *                            lock.N           the command that holds its lock (lock.ts)
 *                            link/            the process that forwards its ports: lock.N, state.json, link.log
 *                            known_hosts      its pinned SSH host key
 *                            ca/              ca-key.pem, which never leaves this folder
 *                            server/          cert.pem key.pem, copies of the files on the host
 *                            ssh/             of machines that Slipway created: id_ed25519, the key for logging in,
 *                                             and host_ed25519, the host's own key
 *                            tls/             ca.pem cert.pem key.pem: for DOCKER_CERT_PATH
 */
import { randomBytes } from 'node:crypto';
import { mkdir, stat } from 'node:fs/promises';
import { platform } from 'node:os';
import { dirname, join, sep } from 'node:path';
import {
  applyFileChanges,
  deleteFile,
  type FileChange,
  listFolderIfExists,
  localFileError,
  readFileIfExists,
  writeFileAtomic,
} from '../computer/files.ts';
import { SlipwayError, systemCode } from '../errors.ts';
import type { HeldLock } from '../computer/lock.ts';
import { emptyTrash, moveToTrash } from '../computer/trash.ts';
import { ENGINE_LOGINS, withoutLogins } from './engine-logins.ts';
import { isMachineName, isWindowsDeviceName, sortNames, type Machine } from './model.ts';
import { decodeMachine, encodeMachine, type MachineRecord } from './record-format.ts';

export type MachinePaths = {
  readonly folder: string;
  readonly record: string;
  readonly knownHosts: string;
  readonly ca: string;
  readonly serverCert: string;
  readonly serverKey: string;
  readonly ssh: string;
  readonly tls: string;
  readonly link: string;
};

/** The layout of a machine's folder. The drop-in `docker-machine` uses that of Docker Machine, whose tools read it. */
export type StoreLayout = {
  /** Returns the paths of the client's certificates and the engine's. */
  paths(folder: string): Pick<MachinePaths, 'tls' | 'serverCert' | 'serverKey'>;
  /** Reads the machine that the other tool stored in a folder without a record; undefined if it stored none. */
  readForeign(name: string, folder: string): Promise<Machine | undefined>;
  /** Returns the files that the other tool reads, to be written after each record. */
  foreignFileChanges(machine: Machine, folder: string): Promise<readonly FileChange[]>;
};

const RECORD_FILE = 'machine.json';
/** Values of the engine's variables, as a JSON list of `NAME=value`. */
const VALUES_FILE = /^engine-env(\.[0-9a-f]+)?\.json$/;
/** The file that records of earlier versions use without naming it. */
const EARLIER_VALUES_FILE = 'engine-env.json';

/** The content of machine.json: the record, and the file with what it leaves out. */
type StoredRecord = MachineRecord & { readonly engineEnv?: string };

const DEFAULT_LAYOUT: StoreLayout = {
  paths: (folder) => ({
    tls: join(folder, 'tls'),
    serverCert: join(folder, 'server', 'cert.pem'),
    serverKey: join(folder, 'server', 'key.pem'),
  }),
  readForeign: async () => undefined,
  foreignFileChanges: async () => [],
};

/** An entry of `list`: a machine, or the reason why its record can't be used. */
export type ListedMachine =
  { readonly name: string; readonly machine: Machine } | { readonly name: string; readonly broken: SlipwayError };

export type Store = {
  /** Reads the machine; undefined if the name is free. Throws RECORD_BROKEN if its record can't be used. */
  find(name: string): Promise<Machine | undefined>;
  /** Reads the machine; throws MACHINE_NOT_FOUND, with the names that exist, if the name is free. */
  read(name: string): Promise<Machine>;
  /** Reads all machines, sorted by `sortNames`. A broken record is an entry with its error. */
  list(): Promise<readonly ListedMachine[]>;
  listNames(): Promise<readonly string[]>;
  /** Returns the names of the machines in `list`, without opening their records. */
  listRecordedNames(): Promise<readonly string[]>;
  /**
   * Writes the record completely or not at all. Creates the machine's folder, which reserves the name. Throws
   * MACHINE_BUSY if this command had the machine's lock, and another one took it over.
   */
  write(machine: Machine): Promise<void>;
  /** Moves the folder to the trash, then deletes it: a kill in between leaves no incomplete machine. */
  remove(name: string): Promise<void>;
  /** Locks the machine for this command; throws MACHINE_BUSY with the process that holds the lock. */
  lock(name: string): Promise<AsyncDisposable>;
  paths(name: string): MachinePaths;
};

/** Opens the store of a home folder; no file is created before the first `write` or `lock`. */
export function openStore(home: string, layout: StoreLayout = DEFAULT_LAYOUT): Store {
  const root = join(home, 'machines');
  const paths = (name: string): MachinePaths => pathsOf(root, name, layout);
  const find = async (name: string): Promise<Machine | undefined> =>
    readEngineLogins(await readMachine(name, paths(name), layout), paths(name));
  const listNames = (): Promise<readonly string[]> => listMachineNames(root);
  const listRecordedNames = async (): Promise<readonly string[]> => keepRecordedNames(root, await listNames(), find);
  const heldLocks = new Map<string, HeldLock>();
  return {
    paths,
    find,
    listNames,
    listRecordedNames,
    async read(name) {
      const machine = await find(name);
      if (machine) return machine;
      throw machineNotFoundError(name, await listRecordedNames());
    },
    async list() {
      const rows = await Promise.all((await listNames()).map((name) => readRow(name, find)));
      return rows.filter((row) => row !== undefined);
    },
    async write(machine) {
      const { name } = machine.spec;
      await heldLocks.get(name)?.requireHeld();
      await writeEngineLogins(machine, paths(name));
      await writeMachine(machine, paths(name), layout);
    },
    async remove(name) {
      const { folder } = paths(name);
      await heldLocks.get(name)?.requireHeld();
      // The lock goes with the folder.
      heldLocks.delete(name);
      await moveToTrash(folder);
      await emptyTrash(root);
    },
    async lock(name) {
      const lock = await lockFolder(paths(name).folder, name);
      heldLocks.set(name, lock);
      return {
        async [Symbol.asyncDispose]() {
          if (heldLocks.get(name) === lock) heldLocks.delete(name);
          await lock[Symbol.asyncDispose]();
        },
      };
    },
  };
}

function pathsOf(root: string, name: string, layout: StoreLayout): MachinePaths {
  if (!isMachineName(name)) throw invalidNameError(name);
  if (platform() === 'win32' && isWindowsDeviceName(name)) throw windowsNameError(name);
  const folder = join(root, name);
  return {
    folder,
    record: join(folder, RECORD_FILE),
    knownHosts: join(folder, 'known_hosts'),
    ca: join(folder, 'ca'),
    ssh: join(folder, 'ssh'),
    link: join(folder, 'link'),
    ...layout.paths(folder),
  };
}

/**
 * Reads a record and, if the engine has variables, their values; undefined if neither Slipway nor the other tool has
 * it.
 */
async function readMachine(
  name: string,
  { folder, record }: MachinePaths,
  layout: StoreLayout,
): Promise<Machine | undefined> {
  const read = (path: string): Promise<string | undefined> =>
    readFileIfExists(path).catch((error: unknown) => {
      throw unreadableRecordError(name, path, error);
    });
  for (let text = await read(record); text !== undefined;) {
    const { engineEnv, ...members } = parseRecord(name, record, text);
    if (members.spec.name !== name) throw await wrongNameError(name, members.spec.name, folder, record);
    const machine = decodeMachine(members);
    const variables = machine.spec.engine.env;
    if (variables.length === 0) return machine;
    const valuesFile = join(folder, engineEnv ?? EARLIER_VALUES_FILE);
    const values = await read(valuesFile);
    // Without a lock, another command may just have replaced both files.
    const current = values === undefined ? await read(record) : text;
    if (current === text)
      return withEngineEnv(machine, mergeValues(variables, parseValues(name, valuesFile, variables, values)));
    text = current;
  }
  return layout.readForeign(name, folder).catch((error: unknown) => {
    throw error instanceof SlipwayError || systemCode(error) === undefined
      ? error
      : unreadableRecordError(name, folder, error);
  });
}

/** Returns the variables that the record names, with their values as `NAME=value`. */
function mergeValues(variables: readonly string[], pairs: readonly string[]): readonly string[] {
  return variables.map((variable) => pairs.find((pair) => variableName(pair) === variable) ?? `${variable}=`);
}

async function readRow(name: string, find: Store['find']): Promise<ListedMachine | undefined> {
  try {
    const machine = await find(name);
    return machine && { name, machine };
  } catch (error) {
    if (error instanceof SlipwayError) return { name, broken: error };
    throw error;
  }
}

async function listMachineNames(root: string): Promise<readonly string[]> {
  return sortNames((await listFolderIfExists(root)).filter(isMachineName));
}

/** Leaves out folders in which `create` was interrupted before it wrote a record. */
async function keepRecordedNames(
  root: string,
  names: readonly string[],
  find: Store['find'],
): Promise<readonly string[]> {
  const recorded = await Promise.all(
    names.map((name) =>
      // With a thousand machines, `join` takes longer than `stat`.
      stat(`${root}${sep}${name}${sep}${RECORD_FILE}`).then(
        () => true,
        // A record that can't be read counts as a record.
        async (error: unknown) => systemCode(error) !== 'ENOENT' || (await find(name).then(Boolean, () => true)),
      ),
    ),
  );
  return names.filter((_, index) => recorded[index]);
}

/**
 * Writes the values of the engine's variables to a new file, then the record that names it, then deletes the file of
 * the record before. Until the record is replaced, the old record and its values are complete, and after that the new
 * ones are. The file's name is random: a digest in the record would let its readers guess a value.
 */
async function writeMachine(machine: Machine, { folder, record }: MachinePaths, layout: StoreLayout): Promise<void> {
  const { env } = machine.spec.engine;
  const engineEnv = env.length > 0 ? await writeValues(env, folder, record) : undefined;
  const content = { ...toPublicRecord(machine), ...(engineEnv === undefined ? {} : { engineEnv }) };
  await writeFileAtomic(record, toJsonText(content), 0o600);
  for (const file of await listFolderIfExists(folder))
    if (VALUES_FILE.test(file) && file !== engineEnv) await deleteFile(join(folder, file));
  await applyFileChanges(await layout.foreignFileChanges(machine, folder));
}

/** Returns the name of the file with these values: that of the present record, if its values are the same. */
async function writeValues(env: readonly string[], folder: string, record: string): Promise<string> {
  const text = toJsonText(env);
  const present = await readValuesFileName(record);
  if (present !== undefined && (await readFileIfExists(join(folder, present))) === text) return present;
  const file = `engine-env.${randomBytes(6).toString('hex')}.json`;
  await writeFileAtomic(join(folder, file), text, 0o600);
  return file;
}

/** Returns the file that a record names; undefined for a record that is missing, broken, or of an earlier version. */
async function readValuesFileName(record: string): Promise<string | undefined> {
  const text = await readFileIfExists(record);
  if (text === undefined) return undefined;
  try {
    const { engineEnv } = JSON.parse(text) as StoredRecord;
    return typeof engineEnv === 'string' && VALUES_FILE.test(engineEnv) ? engineEnv : undefined;
  } catch {
    return undefined;
  }
}

function toJsonText(value: unknown): string {
  return `${JSON.stringify(value, null, 2)}\n`;
}

async function lockFolder(folder: string, name: string): Promise<HeldLock> {
  // Imported only when needed: the quick commands read machines and lock none.
  const { takeLock } = await import('../computer/lock.ts');
  for (;;) {
    try {
      await mkdir(folder, { recursive: true, mode: 0o700 });
      return await takeLock(folder, `Machine "${name}"`);
    } catch (error) {
      // ENOENT: another command removed the machine and with it the folder.
      if (systemCode(error) !== 'ENOENT') throw localFileError(folder, error);
    }
  }
}

async function readEngineLogins(machine: Machine | undefined, { folder }: MachinePaths): Promise<Machine | undefined> {
  let read = machine;
  for (const { urlKey, loginKey, file } of ENGINE_LOGINS) {
    if (read?.spec.engine[urlKey] === undefined) continue;
    const { spec } = read;
    const path = join(folder, file);
    const login = await readFileIfExists(path).catch((error: unknown) => {
      throw unreadableRecordError(spec.name, path, error);
    });
    if (login !== undefined) read = { ...read, spec: { ...spec, engine: { ...spec.engine, [loginKey]: login } } };
  }
  return read;
}

/** Called before the record is written, which names the URLs. */
async function writeEngineLogins({ spec }: Machine, { folder }: MachinePaths): Promise<void> {
  for (const { loginKey, file } of ENGINE_LOGINS) {
    const path = join(folder, file);
    const login = spec.engine[loginKey];
    if (login === (await readFileIfExists(path))) continue;
    if (login === undefined) await deleteFile(path);
    else await writeFileAtomic(path, login, 0o600);
  }
}

/**
 * Returns the record for files and output. It contains the names of the engine's variables, but not their values, and
 * no login.
 */
export function toPublicRecord(machine: Machine): MachineRecord {
  return encodeMachine(withoutEngineLogins(withEngineEnv(machine, machine.spec.engine.env.map(variableName))));
}

function withEngineEnv(machine: Machine, env: readonly string[]): Machine {
  return { ...machine, spec: { ...machine.spec, engine: { ...machine.spec.engine, env } } };
}

function withoutEngineLogins(machine: Machine): Machine {
  return { ...machine, spec: { ...machine.spec, engine: withoutLogins(machine.spec.engine) } };
}

function variableName(pair: string): string {
  return pair.split('=', 1)[0] ?? '';
}

export function invalidNameError(name: string): SlipwayError {
  return new SlipwayError('USAGE', `${JSON.stringify(name)} can't be a machine name`, {
    hint: 'Use letters, digits, dots and hyphens, starting with a letter or digit, 63 at most: web-1',
  });
}

function windowsNameError(name: string): SlipwayError {
  return new SlipwayError('USAGE', `${JSON.stringify(name)} can't be a machine name on Windows`, {
    hint: 'Use a name that is no device (con, nul, aux, com1 …) and does not end with a dot: web-1',
  });
}

/**
 * Returns the error for a record of another machine. On Windows and macOS, `Web` and `web` are one folder: that record
 * is not broken, and must not be removed in its place.
 */
async function wrongNameError(name: string, existing: string, folder: string, record: string): Promise<SlipwayError> {
  const isOwnFolder = (await listFolderIfExists(dirname(folder))).includes(name);
  if (isOwnFolder || existing.toLowerCase() !== name.toLowerCase())
    return brokenRecordError(name, record, `it belongs to a machine named "${existing}"`);
  return new SlipwayError('USAGE', `Machine "${name}" does not exist, but "${existing}" does`, {
    hint: `On this computer, upper and lower case make no different names: type ${existing}, or choose another name`,
  });
}

function machineNotFoundError(name: string, names: readonly string[]): SlipwayError {
  return new SlipwayError('MACHINE_NOT_FOUND', `Machine "${name}" does not exist`, {
    hint: names.length > 0 ? `Existing machines: ${names.join(', ')}` : `To create it: slipway create ${name}`,
  });
}

function brokenRecordError(
  name: string,
  path: string,
  why: string,
  { cause, fix = 'Fix the file' }: { readonly cause?: unknown; readonly fix?: string } = {},
): SlipwayError {
  return new SlipwayError('RECORD_BROKEN', `The record of "${name}" can't be used: ${why} (${path})`, {
    hint: `${fix}, or remove the record: slipway rm --force ${name}`,
    cause,
  });
}

function unreadableRecordError(name: string, path: string, error: unknown): SlipwayError {
  return brokenRecordError(name, path, `it can't be read (${systemCode(error) ?? String(error)})`, { cause: error });
}

function parseValues(
  name: string,
  path: string,
  variables: readonly string[],
  text: string | undefined,
): readonly string[] {
  const pairs = variables.map((variable) => `${variable}=VALUE`);
  const unusable = (why: string, cause?: unknown): SlipwayError =>
    brokenRecordError(name, path, why, { cause, fix: `Write the values to that file again: ${JSON.stringify(pairs)}` });
  if (text === undefined) throw unusable("the file with the values of the engine's variables is missing");
  try {
    const values = JSON.parse(text) as unknown;
    if (Array.isArray(values) && values.every((value) => typeof value === 'string')) return values;
  } catch (error) {
    throw unusable("the values of the engine's variables are not JSON", error);
  }
  throw unusable("the values of the engine's variables are not a list of NAME=value");
}

function parseRecord(name: string, path: string, text: string): StoredRecord {
  const unusable = (why: string, cause?: unknown): SlipwayError => brokenRecordError(name, path, why, { cause });
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw unusable(text.trim() === '' ? 'it is empty' : 'it is not JSON', error);
  }
  const record = value as Partial<StoredRecord> | null;
  if (typeof record !== 'object' || record === null) throw unusable('it is not a record');
  if (typeof record.version === 'number' && record.version > 1) throw unusable('a newer version of Slipway wrote it');
  if (record.version !== 1 || typeof record.spec?.driver !== 'string' || !Array.isArray(record.spec.engine?.env))
    throw unusable('it is not a record');
  if (record.engineEnv !== undefined && !VALUES_FILE.test(record.engineEnv))
    throw unusable(
      `it names ${JSON.stringify(record.engineEnv)} as the file with the values of the engine's variables`,
    );
  const complete =
    record.phase === 'creating' ||
    (record.phase === 'created' && record.host !== undefined) ||
    (record.phase === 'ready' && record.host !== undefined && record.endpoint !== undefined);
  if (!complete) throw unusable(`its phase ${JSON.stringify(record.phase)} requires members that are missing`);
  return record as StoredRecord;
}
