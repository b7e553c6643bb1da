/**
 * The layout (every folder 0700, every file 0600 but the certificates that are public by nature):
 *
 *   ~/.slipway/machines/NAME/machine.json     the record: one machine, one phase, no secret
 *                            engine-env.json  values of --engine-env: a proxy's address may hold a password
 *                            lock.N           who works on it (lock.ts)
 *                            known_hosts      its pinned SSH host key
 *                            ca/              ca-key.pem, which never leaves this folder
 *                            server/          cert.pem key.pem, copies of what lies on the host
 *                            ssh/             id_ed25519, which it lets in, and host_ed25519, its own: of machines that we made
 *                            tls/             ca.pem cert.pem key.pem: what DOCKER_CERT_PATH wants
 */
import { mkdir, readdir, rename, rm, stat } from 'node:fs/promises';
import { join, sep } from 'node:path';
import {
  applyFileChanges,
  type FileChange,
  localFileError,
  readFileIfExists,
  writeFileAtomic,
} from '../computer/files.ts';
import { SlipwayError, systemCode } from '../errors.ts';
import { takeLock } from '../computer/lock.ts';
import { isMachineName, sortNames, type Machine } from './model.ts';

export type MachinePaths = {
  readonly folder: string;
  readonly record: string;
  readonly engineEnv: string;
  readonly knownHosts: string;
  readonly ca: string;
  readonly serverCert: string;
  readonly serverKey: string;
  readonly ssh: string;
  readonly tls: string;
};

/** How the folder of a machine looks where another tool reads it too: the drop-in `docker-machine` has the old tool's. */
export type StoreLayout = {
  /** Where the client's certificates and the engine's lie. */
  paths(folder: string): Pick<MachinePaths, 'tls' | 'serverCert' | 'serverKey'>;
  /** The machine that the folder tells of where there is no record of ours; undefined where it tells of none. */
  readForeign(name: string, folder: string): Promise<Machine | undefined>;
  /** What that tool reads of a machine, written after each record. */
  foreignFileChanges(machine: Machine, folder: string): Promise<readonly FileChange[]>;
};

const RECORD_FILE = 'machine.json';

const DEFAULT_LAYOUT: StoreLayout = {
  paths: (folder) => ({
    tls: join(folder, 'tls'),
    serverCert: join(folder, 'server', 'cert.pem'),
    serverKey: join(folder, 'server', 'key.pem'),
  }),
  readForeign: async () => undefined,
  foreignFileChanges: async () => [],
};

/** A record as listed: either whole, or broken with the reason in words. */
export type ListedMachine =
  { readonly name: string; readonly machine: Machine } | { readonly name: string; readonly broken: SlipwayError };

export type Store = {
  /** The machine, or undefined where the name is free. RECORD_BROKEN when there is one that can't be read. */
  find(name: string): Promise<Machine | undefined>;
  /** As `find`, but a free name is MACHINE_NOT_FOUND with the names that exist. */
  read(name: string): Promise<Machine>;
  /** Sorted by name, as people sort; one bad record is one row. */
  list(): Promise<readonly ListedMachine[]>;
  listNames(): Promise<readonly string[]>;
  /** The names in `list`, for which no record is opened. */
  listRecordedNames(): Promise<readonly string[]>;
  /** Whole or not at all. Takes the name by making its folder. */
  write(machine: Machine): Promise<void>;
  /** The record first becomes invisible, then goes: a kill in between leaves no half machine behind. */
  remove(name: string): Promise<void>;
  /** For one command; MACHINE_BUSY names the process that has it. */
  lock(name: string): Promise<AsyncDisposable>;
  paths(name: string): MachinePaths;
};

export function openStore(home: string, layout: StoreLayout = DEFAULT_LAYOUT): Store {
  const root = join(home, 'machines');

  function paths(name: string): MachinePaths {
    if (!isMachineName(name)) throw invalidNameError(name);
    const folder = join(root, name);
    return {
      folder,
      record: join(folder, RECORD_FILE),
      engineEnv: join(folder, 'engine-env.json'),
      knownHosts: join(folder, 'known_hosts'),
      ca: join(folder, 'ca'),
      ssh: join(folder, 'ssh'),
      ...layout.paths(folder),
    };
  }

  async function find(name: string): Promise<Machine | undefined> {
    const { folder, record, engineEnv } = paths(name);
    const unreadable = (path: string, error: unknown): SlipwayError =>
      brokenRecordError(name, path, `it can't be read (${systemCode(error) ?? String(error)})`, error);
    const read = (path: string): Promise<string | undefined> =>
      readFileIfExists(path).catch((error: unknown) => {
        throw unreadable(path, error);
      });
    const text = await read(record);
    if (text === undefined)
      return await layout.readForeign(name, folder).catch((error: unknown) => {
        throw error instanceof SlipwayError || systemCode(error) === undefined ? error : unreadable(folder, error);
      });
    const machine = parseRecord(name, record, text);
    if (machine.spec.engine.env.length === 0) return machine;
    const values = parseEngineEnv(name, engineEnv, await read(engineEnv));
    return withEngineEnv(
      machine,
      machine.spec.engine.env.map(
        (variable) => values.find((pair) => variableName(pair) === variable) ?? `${variable}=`,
      ),
    );
  }

  async function names(): Promise<readonly string[]> {
    const entries = await readdir(root).catch((error: unknown) => {
      if (systemCode(error) === 'ENOENT') return [];
      throw localFileError(root, error);
    });
    return sortNames(entries.filter(isMachineName));
  }

  /** Leaves out folders in which a create was stopped before its first record. */
  async function recorded(): Promise<readonly string[]> {
    const all = await names();
    const there = await Promise.all(
      all.map(async (name) =>
        // Of a thousand paths, joining takes longer than looking.
        stat(`${root}${sep}${name}${sep}${RECORD_FILE}`).then(
          () => true,
          // One that can't be read is one that is there.
          async (error: unknown) => systemCode(error) !== 'ENOENT' || (await find(name).then(Boolean, () => true)),
        ),
      ),
    );
    return all.filter((_, index) => there[index]);
  }

  return {
    paths,
    find,
    listNames: names,
    listRecordedNames: recorded,
    async read(name) {
      const machine = await find(name);
      if (machine) return machine;
      throw machineNotFoundError(name, await recorded());
    },
    async list() {
      const all = await Promise.all(
        (await names()).map(async (name): Promise<ListedMachine | undefined> => {
          try {
            const machine = await find(name);
            return machine && { name, machine };
          } catch (error) {
            if (error instanceof SlipwayError) return { name, broken: error };
            throw error;
          }
        }),
      );
      return all.filter((item) => item !== undefined);
    },
    async write(machine) {
      const { folder, record, engineEnv } = paths(machine.spec.name);
      const { env } = machine.spec.engine;
      // First the values, then the record that names them.
      if (env.length > 0) await writeFileAtomic(engineEnv, `${JSON.stringify(env, null, 2)}\n`, 0o600);
      await writeFileAtomic(record, `${JSON.stringify(toPublicRecord(machine), null, 2)}\n`, 0o600);
      if (env.length === 0) await rm(engineEnv, { force: true });
      await applyFileChanges(await layout.foreignFileChanges(machine, folder));
    },
    async remove(name) {
      const { folder } = paths(name);
      // A name that no machine can have, so that `names` passes it over whatever happens next.
      await rename(folder, join(root, `.removed-${name}-${process.pid}`)).catch((error: unknown) => {
        if (systemCode(error) !== 'ENOENT') throw error;
      });
      // Those that a kill left, too: a key is in each.
      const graves = await readdir(root).catch((error: unknown) => {
        if (systemCode(error) === 'ENOENT') return [];
        throw error;
      });
      for (const grave of graves.filter((entry) => entry.startsWith('.removed-'))) {
        await rm(join(root, grave), { recursive: true, force: true });
      }
    },
    async lock(name) {
      const { folder } = paths(name);
      for (;;) {
        try {
          await mkdir(folder, { recursive: true, mode: 0o700 });
          return await takeLock(folder, name);
        } catch (error) {
          // The folder went with the machine that another command was removing.
          if (systemCode(error) !== 'ENOENT') throw localFileError(folder, error);
        }
      }
    },
  };
}

/** The machine as it may be shown and kept: variables of the engine by their names alone. */
export function toPublicRecord(machine: Machine): Machine {
  return withEngineEnv(machine, machine.spec.engine.env.map(variableName));
}

function withEngineEnv(machine: Machine, env: readonly string[]): Machine {
  return { ...machine, spec: { ...machine.spec, engine: { ...machine.spec.engine, env } } };
}

function variableName(pair: string): string {
  return pair.split('=', 1)[0] ?? '';
}

export function invalidNameError(name: string): SlipwayError {
  return new SlipwayError('USAGE', `${JSON.stringify(name)} can't be a machine name`, {
    hint: 'Use letters, digits, dots and hyphens, starting with a letter or digit, 63 at most: web-1',
  });
}

function machineNotFoundError(name: string, names: readonly string[]): SlipwayError {
  return new SlipwayError('MACHINE_NOT_FOUND', `There is no machine named "${name}"`, {
    hint: names.length > 0 ? `You have: ${names.join(', ')}` : `Make it: slipway create ${name}`,
  });
}

function brokenRecordError(name: string, path: string, why: string, cause?: unknown): SlipwayError {
  return new SlipwayError('RECORD_BROKEN', `The record of "${name}" can't be used: ${why} (${path})`, {
    hint: `Mend the file, or forget the machine: slipway rm --force ${name}`,
    cause,
  });
}

function parseEngineEnv(name: string, path: string, text: string | undefined): readonly string[] {
  if (text === undefined) throw brokenRecordError(name, path, "the values of its engine's variables are gone");
  try {
    return JSON.parse(text) as readonly string[];
  } catch (error) {
    throw brokenRecordError(name, path, "the values of its engine's variables are not JSON", error);
  }
}

function parseRecord(name: string, path: string, text: string): Machine {
  const unusable = (why: string, cause?: unknown): SlipwayError => brokenRecordError(name, path, why, cause);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw unusable(text.trim() === '' ? 'it is empty' : 'it is not JSON', error);
  }
  const record = value as Partial<Machine> | null;
  if (typeof record !== 'object' || record === null) throw unusable('it is not a record');
  if (typeof record.version === 'number' && record.version > 1) throw unusable('a newer Slipway wrote it');
  if (record.version !== 1 || typeof record.spec?.driver !== 'string' || !Array.isArray(record.spec.engine?.env))
    throw unusable('it is not a record');
  if (record.spec.name !== name) throw unusable(`it is of a machine named "${record.spec.name}"`);
  const complete =
    record.phase === 'creating' ||
    (record.phase === 'created' && record.host !== undefined) ||
    (record.phase === 'ready' && record.host !== undefined && record.endpoint !== undefined);
  if (!complete) throw unusable(`its phase ${JSON.stringify(record.phase)} lacks what belongs to it`);
  return record as Machine;
}
