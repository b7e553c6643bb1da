/**
 * Imports machines from another store, the drop-in's or the old tool's. The original stays until the import is
 * complete.
 */
import { join, relative } from 'node:path';
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { listFolderIfExists, readFileIfExists, writeFileAtomic } from '../computer/files.ts';
import { drivers, getDriver, loadDriver, targetOf } from '../drivers/registry.ts';
import { SlipwayError } from '../errors.ts';
import { instanceGoneError } from './resolve-host.ts';
import type { ClientCertificates, Host, Machine, ReadyMachine, SshTarget } from '../machine/model.ts';
import { daysUntilFirstExpiry } from '../provision/certificates.ts';
import { defaultProfiles, profilesNamed } from '../profiles/registry.ts';
import type { MachinePaths, Store } from '../machine/store.ts';
import { tagExisting } from './tag-existing.ts';
import { connectToHost } from './host-session.ts';
import { writeClientProfiles } from './client-profiles.ts';
import { verifyEndpoint } from './verify-engine.ts';
import { writeClientCertificates } from './credentials.ts';
import { incompleteMessage } from '../machine/require-machine.ts';
import { requireNameFree, requireNoConflicts } from './guards.ts';
import { inspectMachine } from './power.ts';
import { driverCallFor, type World } from './world.ts';

export type ImportSource = {
  readonly store: Store;
  /** Reads the key of the CA that signed the machine's certificates, if it is outside the machine's own folder. */
  readonly readCaKey: (name: string) => Promise<string | undefined>;
  /** Returns whether the other store only shows a machine of this one. */
  readonly isViewOf: (machine: Machine) => boolean;
};

export type ImportResult = {
  readonly machine: ReadyMachine;
  /** Why the engine did not answer, and what to type; undefined if it did. */
  readonly engineProblem: string | undefined;
};

/** The engine of an imported machine is running already, so it answers soon or not at all. */
const IMPORT_TIMEOUT_SECONDS = 5;

/** Returns why a machine can't be imported; undefined if it can. */
export function notImportableError(
  machine: Machine,
  { isViewOf }: Pick<ImportSource, 'isViewOf'>,
): SlipwayError | undefined {
  const { name, driver } = machine.spec;
  if (isViewOf(machine))
    return new SlipwayError('USAGE', `Machine "${name}" belongs to Slipway already: the other store only shows it`, {
      hint: `To see it: slipway status ${name}`,
    });
  if (!drivers.some((known) => known.name === driver))
    return new SlipwayError(
      'DRIVER_UNKNOWN',
      `Machine "${name}" uses the driver ${driver}, which Slipway does not have`,
      {
        hint: 'If you can reach its host over SSH, use the host itself: slipway create NAME --driver generic --generic-ip-address …',
      },
    );
  if (machine.phase !== 'ready')
    return new SlipwayError('MACHINE_NOT_READY', incompleteMessage(name), {
      hint: `Continue it with docker-machine create, or undo it: docker-machine rm ${name}`,
    });
  const parsed = getDriver(driver).options.safeParse(machine.spec.options);
  const [issue] = parsed.success ? [] : parsed.error.issues;
  if (!issue) return undefined;
  return new SlipwayError(
    'RECORD_BROKEN',
    `Machine "${name}" can't be imported: its driver's option ${issue.path.join('.')} is invalid: ${issue.message}`,
    {
      hint: `Create it again: slipway create ${name}`,
    },
  );
}

/**
 * Imports a machine. Connects to its host before it writes anything, and removes the original, unless `keep` is set,
 * only when the import is complete. Killed at any moment, it leaves the original as it was, and the same command
 * continues.
 */
export async function importMachine(
  name: string,
  from: ImportSource,
  { keep }: { readonly keep: boolean },
  world: World,
): Promise<ImportResult> {
  const { store, progress } = world;
  requireImportable(await from.store.read(name), from);
  requireNameFree(await store.find(name), await from.store.read(name));
  await using _newLock = await store.lock(name);
  await using _oldLock = await from.store.lock(name);
  const old = requireImportable(await from.store.read(name), from);
  requireNameFree(await store.find(name), old);
  const [oldPaths, newPaths] = [from.store.paths(name), store.paths(name)];
  const imported = withLocalPaths(old, oldPaths, newPaths, await checkImportFiles(old, oldPaths));
  await requireNoConflicts(imported.spec, profilesNamed(imported.spec.profiles), world.clientPaths);
  const pinned = await connectAndPin(old, imported, world);
  const tls = await readTlsFiles(oldPaths);
  const engineProblem = await findEngineProblem(pinned.machine, tls, pinned.visited, world);
  const machine = await progress.step('import', `Import ${name}`, async (log) => {
    await copyFiles(from, name, oldPaths, newPaths, tls);
    await store.write(pinned.machine);
    const driver = await loadDriver(pinned.machine.spec.driver);
    await driver.machines.onImported?.(targetOf(driver, pinned.machine.spec), driverCallFor(world, log));
    return pinned.machine;
  });
  const tagged = await tagExisting(machine, world);
  await writeClientProfiles({ machine: tagged, tls }, world);
  if (!keep) await progress.step('forget', `Remove ${name} from the old store`, async () => from.store.remove(name));
  return { machine: tagged, engineProblem };
}

function requireImportable(machine: Machine, from: ImportSource): ReadyMachine {
  const error = notImportableError(machine, from);
  if (error) throw error;
  return machine as ReadyMachine;
}

// --- files -----------------------------------------------------------------------------------------------------------

type ImportFiles = { readonly hasTls: boolean };

/**
 * Returns whether the machine has a client's certificates. Throws LOCAL_FILES for an engine that Slipway does not run,
 * if some of them are missing: they can't be created again, and without them the engine would count as open.
 */
async function checkImportFiles({ spec, host }: ReadyMachine, { tls }: MachinePaths): Promise<ImportFiles> {
  const files = ['ca', 'cert', 'key'].map((file) => join(tls, `${file}.pem`));
  const texts = await Promise.all(files.map((file) => readFileIfExists(file)));
  const missing = files.filter((_file, index) => texts[index] === undefined);
  if (!host.ssh && missing.length > 0 && missing.length < files.length)
    throw new SlipwayError(
      'LOCAL_FILES',
      `Machine "${spec.name}" can't be imported: ${missing.join(', ')} is missing`,
      {
        hint: `Restore the file, or remove the other certificates there if the engine needs none: ls ${tls}`,
      },
    );
  return { hasTls: missing.length === 0 };
}

async function readTlsFiles({ tls }: MachinePaths): Promise<ClientCertificates | undefined> {
  const [ca, cert, key] = await Promise.all(
    ['ca', 'cert', 'key'].map((file) => readFileIfExists(join(tls, `${file}.pem`))),
  );
  return ca === undefined || cert === undefined || key === undefined ? undefined : { ca, cert, key };
}

/** Returns the record for this store: paths into the old folder become paths into the new one. */
function withLocalPaths(
  machine: ReadyMachine,
  oldPaths: MachinePaths,
  newPaths: MachinePaths,
  { hasTls }: ImportFiles,
): ReadyMachine {
  const { host, spec, endpoint } = machine;
  const keyFile = host.ssh?.keyFile;
  const localKeyFile = keyFile === undefined ? undefined : localPathFor(keyFile, oldPaths, newPaths);
  const { sshKey } = spec.options;
  const options = {
    ...spec.options,
    ...(typeof sshKey === 'string' ? { sshKey: localPathFor(sshKey, oldPaths, newPaths) } : {}),
  };
  const profiles = spec.profiles.length > 0 ? spec.profiles : defaultProfiles;
  if (host.ssh)
    return {
      ...machine,
      spec: { ...spec, options, profiles },
      host: { ...host, ssh: { ...host.ssh, ...(localKeyFile === undefined ? {} : { keyFile: localKeyFile }) } },
    };
  // Slipway does not run this engine: its certificates are files beside its record.
  if (!hasTls) return { ...machine, spec: { ...spec, profiles }, endpoint: { ...endpoint, tls: false } };
  const [ca, cert, key] = ['ca', 'cert', 'key'].map((file) => join(newPaths.tls, `${file}.pem`)) as [
    string,
    string,
    string,
  ];
  return {
    ...machine,
    spec: { ...spec, options: { ...options, tlsCa: ca, tlsCert: cert, tlsKey: key }, profiles },
    host: { address: host.address, engine: { url: endpoint.url, tls: { ca, cert, key } } },
    endpoint: { ...endpoint, tls: true },
  };
}

/**
 * Returns the new path of a file: a file in the old folder moves to the keys, any other is the user's own and stays.
 */
function localPathFor(path: string, oldPaths: MachinePaths, newPaths: MachinePaths): string {
  const within = relative(oldPaths.folder, path);
  if (within.startsWith('..') || within === path) return path;
  return join(newPaths.ssh, relative('ssh', within).replace(/^(\.\.[/\\])+/, ''));
}

async function copyFiles(
  from: ImportSource,
  name: string,
  oldPaths: MachinePaths,
  newPaths: MachinePaths,
  tls: ClientCertificates | undefined,
): Promise<void> {
  const machine = await from.store.read(name);
  const keyFile = machine.host?.ssh?.keyFile;
  const ownKeys =
    keyFile !== undefined && localPathFor(keyFile, oldPaths, newPaths) !== keyFile ? [keyFile, `${keyFile}.pub`] : [];
  const keys = [...(await listFolderIfExists(oldPaths.ssh)).map((entry) => join(oldPaths.ssh, entry)), ...ownKeys];
  for (const path of keys) await copyFileIfExists(path, localPathFor(path, oldPaths, newPaths));
  const caKey = (await readFileIfExists(join(oldPaths.ca, 'ca-key.pem'))) ?? (await from.readCaKey(name));
  if (tls && caKey !== undefined && isKeyOf(caKey, tls.ca))
    await writeFileAtomic(join(newPaths.ca, 'ca-key.pem'), caKey, 0o600);
  await copyFileIfExists(oldPaths.serverCert, newPaths.serverCert);
  await copyFileIfExists(oldPaths.serverKey, newPaths.serverKey);
  if (tls) await writeClientCertificates(tls, newPaths);
}

async function copyFileIfExists(from: string, to: string): Promise<void> {
  const text = await readFileIfExists(from);
  if (text !== undefined) await writeFileAtomic(to, text, 0o600);
}

function isKeyOf(key: string, cert: string): boolean {
  try {
    return new X509Certificate(cert).checkPrivateKey(createPrivateKey(key));
  } catch {
    // An unreadable key signs nothing.
    return false;
  }
}

// --- first connection -----------------------------------------------------------------------------------------------

/** Finds the machine's present address and pins its host key, so that no other key is accepted from then on. */
async function connectAndPin(
  old: ReadyMachine,
  imported: ReadyMachine,
  world: World,
): Promise<{ readonly machine: ReadyMachine; readonly visited: boolean }> {
  const instance = await inspectMachine(old, world);
  if (instance?.state === 'missing') {
    throw instanceGoneError(old, `Remove its record: docker-machine rm ${old.spec.name}`, undefined);
  }
  if (instance && instance.state !== 'running') {
    if (old.host.ssh?.hostKey === undefined)
      world.progress.note(`Machine "${old.spec.name}" is stopped: its first slipway start pins its host key`);
    return { machine: imported, visited: false };
  }
  // Connects with the old record's paths: the login key is still in the old folder.
  const { ssh } = old.host;
  if (!ssh) return { machine: imported, visited: false };
  const address = instance?.host.address ?? ssh.address;
  const target: SshTarget = { ...ssh, address, port: instance?.host.ssh?.port ?? ssh.port };
  const { session, ssh: pinned } = await connectToHost(target, world, async () => {});
  await session[Symbol.asyncDispose]();
  return { machine: withPinnedHost(imported, instance?.host, pinned), visited: true };
}

function withPinnedHost(
  machine: ReadyMachine,
  current: Host | undefined,
  { address, port, hostKey, jump }: SshTarget,
): ReadyMachine {
  const { host, endpoint } = machine;
  if (!host.ssh) return machine;
  const ssh = {
    ...host.ssh,
    address,
    port,
    ...(hostKey === undefined ? {} : { hostKey }),
    ...(jump === undefined ? {} : { jump }),
  };
  const hasMoved = current !== undefined && current.address !== host.address;
  const url = hasMoved ? endpoint.url.replace(host.address, current.address) : endpoint.url;
  return {
    ...machine,
    host: { ...host, address: hasMoved ? current.address : host.address, ssh },
    endpoint: { ...endpoint, url },
  };
}

/**
 * Returns why the engine does not answer; undefined if it does. Throws if the host was not reached either, since the
 * machine may not exist; if it was reached, `provision` can fix the engine.
 */
async function findEngineProblem(
  { endpoint, spec, host }: ReadyMachine,
  tls: ClientCertificates | undefined,
  visited: boolean,
  world: World,
): Promise<string | undefined> {
  if (host.ssh && !visited) return undefined;
  const fix = `to fix it: slipway provision ${spec.name}`;
  if (endpoint.tls && tls === undefined) return `its certificates are missing; ${fix}`;
  try {
    await verifyEndpoint(endpoint, endpoint.tls ? tls : undefined, IMPORT_TIMEOUT_SECONDS, world);
    return undefined;
  } catch (error) {
    if (!(error instanceof SlipwayError) || error.code === 'CANCELED' || !visited) throw error;
    const expired = tls !== undefined && daysUntilFirstExpiry([tls.ca, tls.cert], world.now()) < 0;
    return `${expired ? 'its certificates have expired' : error.message}; ${fix}`;
  }
}
