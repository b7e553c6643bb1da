/**
 * The layout (every folder 0700, every file 0600 but the certificates that are public by nature):
 *
 *   ~/.slipway/machines/NAME/machine.json     the record: one machine, one phase, no secret
 *                            lock.N           who works on it (lock.ts)
 *                            known_hosts      its pinned SSH host key
 *                            ca/              ca-key.pem, which never leaves this folder
 *                            server/          cert.pem key.pem, copies of what lies on the host
 *                            tls/             ca.pem cert.pem key.pem: what DOCKER_CERT_PATH wants
 */
import { mkdir, readdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { localFileError, readIfThere, writeWhole } from './changes.ts';
import { SlipwayError, systemCode } from './errors.ts';
import { takeLock } from './lock.ts';
import { isMachineName, type Machine } from './machine.ts';

export type MachinePaths = {
  readonly folder: string;
  readonly record: string;
  readonly knownHosts: string;
  readonly ca: string;
  readonly server: string;
  readonly tls: string;
};

/** A record as listed: either whole, or broken with the reason in words. */
export type Listed =
  { readonly name: string; readonly machine: Machine } | { readonly name: string; readonly broken: SlipwayError };

export type Store = {
  /** The machine, or undefined where the name is free. RECORD_BROKEN when there is one that can't be read. */
  find(name: string): Promise<Machine | undefined>;
  /** As `find`, but a free name is MACHINE_NOT_FOUND with the names that exist. */
  read(name: string): Promise<Machine>;
  /** Sorted by name, as people sort; one bad record is one row. */
  list(): Promise<readonly Listed[]>;
  names(): Promise<readonly string[]>;
  /** Whole or not at all. Takes the name by making its folder. */
  write(machine: Machine): Promise<void>;
  /** The record first becomes invisible, then goes: a kill in between leaves no half machine behind. */
  remove(name: string): Promise<void>;
  /** For one command; MACHINE_BUSY names the process that has it. */
  lock(name: string): Promise<AsyncDisposable>;
  paths(name: string): MachinePaths;
};

export function openStore(home: string): Store {
  const root = join(home, 'machines');

  function paths(name: string): MachinePaths {
    if (!isMachineName(name)) throw badName(name);
    const folder = join(root, name);
    return {
      folder,
      record: join(folder, 'machine.json'),
      knownHosts: join(folder, 'known_hosts'),
      ca: join(folder, 'ca'),
      server: join(folder, 'server'),
      tls: join(folder, 'tls'),
    };
  }

  async function find(name: string): Promise<Machine | undefined> {
    const { record } = paths(name);
    const text = await readIfThere(record);
    return text === undefined ? undefined : parseRecord(name, record, text);
  }

  async function names(): Promise<readonly string[]> {
    const entries = await readdir(root).catch((error: unknown) => {
      if (systemCode(error) === 'ENOENT') return [];
      throw error;
    });
    return entries.filter(isMachineName).toSorted(new Intl.Collator('en', { numeric: true }).compare);
  }

  return {
    paths,
    find,
    names,
    async read(name) {
      const machine = await find(name);
      if (machine) return machine;
      throw notFound(name, await recorded(root, await names()));
    },
    async list() {
      const all = await Promise.all(
        (await names()).map(async (name): Promise<Listed | undefined> => {
          try {
            const machine = await find(name);
            return machine && { name, machine };
          } catch (error) {
            if (error instanceof SlipwayError) return { name, broken: error };
            return {
              name,
              broken: new SlipwayError('RECORD_BROKEN', `${paths(name).record} can't be read`, { cause: error }),
            };
          }
        }),
      );
      return all.filter((item) => item !== undefined);
    },
    async write(machine) {
      await writeWhole(paths(machine.spec.name).record, `${JSON.stringify(machine, null, 2)}\n`, 0o600);
    },
    async remove(name) {
      const { folder } = paths(name);
      // A name that no machine can have, so that `names` passes it over whatever happens next.
      const grave = join(root, `.removed-${name}-${process.pid}`);
      await rename(folder, grave).catch((error: unknown) => {
        if (systemCode(error) !== 'ENOENT') throw error;
      });
      await rm(grave, { recursive: true, force: true });
    },
    async lock(name) {
      const { folder } = paths(name);
      await mkdir(folder, { recursive: true, mode: 0o700 }).catch((error: unknown) => {
        throw localFileError(folder, error);
      });
      return takeLock(folder, name);
    },
  };
}

export function badName(name: string): SlipwayError {
  return new SlipwayError('USAGE', `${JSON.stringify(name)} can't be a machine name`, {
    hint: 'Use letters, digits, dots and hyphens, starting with a letter or digit, 63 at most: web-1',
  });
}

function notFound(name: string, names: readonly string[]): SlipwayError {
  return new SlipwayError('MACHINE_NOT_FOUND', `There is no machine named "${name}"`, {
    hint: names.length > 0 ? `You have: ${names.join(', ')}` : `Make it: slipway create ${name}`,
  });
}

/** Leaves out folders in which a create was stopped before its first record. */
async function recorded(root: string, names: readonly string[]): Promise<readonly string[]> {
  const found = await Promise.all(
    names.map(async (name) => (await readIfThere(join(root, name, 'machine.json'))) !== undefined),
  );
  return names.filter((_, index) => found[index]);
}

function parseRecord(name: string, path: string, text: string): Machine {
  const broken = (why: string, cause?: unknown): SlipwayError =>
    new SlipwayError('RECORD_BROKEN', `The record of "${name}" can't be used: ${why} (${path})`, {
      hint: `Mend the file, or forget the machine: slipway rm --force ${name}`,
      cause,
    });
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw broken(text.trim() === '' ? 'it is empty' : 'it is not JSON', error);
  }
  const record = value as Partial<Machine> | null;
  if (typeof record !== 'object' || record === null) throw broken('it is not a record');
  if (typeof record.version === 'number' && record.version > 1) throw broken('a newer Slipway wrote it');
  if (record.version !== 1 || typeof record.spec?.driver !== 'string') throw broken('it is not a record');
  if (record.spec.name !== name) throw broken(`it is of a machine named "${record.spec.name}"`);
  const complete =
    record.phase === 'creating' ||
    (record.phase === 'created' && record.host !== undefined) ||
    (record.phase === 'ready' && record.host !== undefined && record.endpoint !== undefined);
  if (!complete) throw broken(`its phase ${JSON.stringify(record.phase)} lacks what belongs to it`);
  return record as Machine;
}
