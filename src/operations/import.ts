/** Machines of another store become this one's: the drop-in's, or the old tool's. What they were stays until they are here. */
import { join, relative } from 'node:path';
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { listFolderIfExists, readFileIfExists, writeFileAtomic } from '../computer/files.ts';
import { drivers, getDriver, loadDriver, targetOf } from '../drivers/registry.ts';
import { SlipwayError } from '../errors.ts';
import type { ClientCertificates, Host, Machine, ReadyMachine, SshTarget } from '../machine/model.ts';
import { daysUntilFirstExpiry } from '../provision/certificates.ts';
import { defaultProfiles, profilesNamed } from '../profiles/registry.ts';
import type { MachinePaths, Store } from '../machine/store.ts';
import { tagExisting } from './tag-existing.ts';
import { connectToHost } from './host-session.ts';
import { writeClientProfiles } from './client-profiles.ts';
import { verifyEndpoint } from './verify-engine.ts';
import { writeClientCertificates } from './credentials.ts';
import { requireNameFree, requireNoConflicts } from './guards.ts';
import { inspectMachine } from './power.ts';
import { driverCallFor, type World } from './world.ts';

export type ImportSource = {
  readonly store: Store;
  /** The key of the CA that has signed for this machine, where it lies elsewhere than in the machine's own folder. */
  readonly readCaKey: (name: string) => Promise<string | undefined>;
  /** Whether that store only shows a machine that is here already. */
  readonly isViewOf: (machine: Machine) => boolean;
};

export type ImportResult = {
  readonly machine: ReadyMachine;
  /** Why its engine has not answered, and what to type; undefined where it has. */
  readonly engineProblem: string | undefined;
};

/** It runs already, so what does not answer soon does not answer. */
const ENGINE_TIMEOUT_SECONDS = 5;

/** Why a machine can't be taken over; undefined where it can. */
export function notImportableError(
  machine: Machine,
  { isViewOf }: Pick<ImportSource, 'isViewOf'>,
): SlipwayError | undefined {
  const { name, driver } = machine.spec;
  if (isViewOf(machine))
    return new SlipwayError('USAGE', `"${name}" is a machine of Slipway already; that store only shows it`, {
      hint: `Use it: slipway status ${name}`,
    });
  if (!drivers.some((known) => known.name === driver))
    return new SlipwayError(
      'DRIVER_UNKNOWN',
      `"${name}" was made by the driver ${driver}, which Slipway does not have`,
      {
        hint: 'Where its host lets you in over SSH, take that over: slipway create NAME --driver generic --generic-ip-address …',
      },
    );
  if (machine.phase !== 'ready')
    return new SlipwayError('MACHINE_NOT_READY', `The making of "${name}" was stopped before its end`, {
      hint: `Finish or undo it where it was begun: docker-machine rm ${name}`,
    });
  const parsed = getDriver(driver).options.safeParse(machine.spec.options);
  const [issue] = parsed.success ? [] : parsed.error.issues;
  if (!issue) return undefined;
  return new SlipwayError(
    'RECORD_BROKEN',
    `"${name}" can't be taken over: ${issue.path.join('.')} of its driver: ${issue.message}`,
    {
      hint: `Make it anew: slipway create ${name}`,
    },
  );
}

/**
 * Takes one over. Asked first, and only when its host has let us in is anything written here; only when it is here whole does the old
 * one go. Killed at any moment, the old one is as it was, and the same command goes on.
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
  await using _here = await store.lock(name);
  await using _there = await from.store.lock(name);
  const old = requireImportable(await from.store.read(name), from);
  requireNameFree(await store.find(name), old);
  const [there, here] = [from.store.paths(name), store.paths(name)];
  const moved = withLocalPaths(old, there, here, await checkImportFiles(there));
  await requireNoConflicts(moved.spec, profilesNamed(moved.spec.profiles), world.clientPaths);
  const met = await connectAndPin(old, moved, world);
  const tls = await readTlsFiles(there);
  const engineProblem = await findEngineProblem(met.machine, tls, met.visited, world);
  const machine = await progress.step('import', `Take over ${name}`, async (log) => {
    await copyFiles(from, name, there, here, tls);
    await store.write(met.machine);
    const driver = await loadDriver(met.machine.spec.driver);
    await driver.machines.onImported?.(targetOf(driver, met.machine.spec), driverCallFor(world, log));
    return met.machine;
  });
  const ours = await tagExisting(machine, world);
  await writeClientProfiles({ machine: ours, tls }, world);
  if (!keep) await progress.step('forget', `Forget ${name} in the old store`, async () => from.store.remove(name));
  return { machine: ours, engineProblem };
}

function requireImportable(machine: Machine, from: ImportSource): ReadyMachine {
  const error = notImportableError(machine, from);
  if (error) throw error;
  return machine as ReadyMachine;
}

// --- files -----------------------------------------------------------------------------------------------------------

type ImportFiles = { readonly hasTls: boolean };

async function checkImportFiles({ tls }: MachinePaths): Promise<ImportFiles> {
  const files = await Promise.all(['ca', 'cert', 'key'].map((file) => readFileIfExists(join(tls, `${file}.pem`))));
  return { hasTls: files.every((text) => text !== undefined) };
}

async function readTlsFiles({ tls }: MachinePaths): Promise<ClientCertificates | undefined> {
  const [ca, cert, key] = await Promise.all(
    ['ca', 'cert', 'key'].map((file) => readFileIfExists(join(tls, `${file}.pem`))),
  );
  return ca === undefined || cert === undefined || key === undefined ? undefined : { ca, cert, key };
}

/** The record as it is to be here: paths into the old folder lead into the new one. */
function withLocalPaths(
  machine: ReadyMachine,
  there: MachinePaths,
  here: MachinePaths,
  { hasTls }: ImportFiles,
): ReadyMachine {
  const { host, spec, endpoint } = machine;
  const keyFile = host.ssh?.keyFile;
  const moved = keyFile === undefined ? undefined : localPathFor(keyFile, there, here);
  const { sshKey } = spec.options;
  const options = {
    ...spec.options,
    ...(typeof sshKey === 'string' ? { sshKey: localPathFor(sshKey, there, here) } : {}),
  };
  const profiles = spec.profiles.length > 0 ? spec.profiles : defaultProfiles;
  if (host.ssh)
    return {
      ...machine,
      spec: { ...spec, options, profiles },
      host: { ...host, ssh: { ...host.ssh, ...(moved === undefined ? {} : { keyFile: moved }) } },
    };
  // An engine of somebody else's: its certificates are files that were put beside its record.
  if (!hasTls) return { ...machine, spec: { ...spec, profiles }, endpoint: { ...endpoint, tls: false } };
  const [ca, cert, key] = ['ca', 'cert', 'key'].map((file) => join(here.tls, `${file}.pem`)) as [
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

/** A file of the old folder has its place among the keys; one that lies elsewhere is the user's own and stays there. */
function localPathFor(path: string, there: MachinePaths, here: MachinePaths): string {
  const within = relative(there.folder, path);
  if (within.startsWith('..') || within === path) return path;
  return join(here.ssh, relative('ssh', within).replace(/^(\.\.[/\\])+/, ''));
}

async function copyFiles(
  from: ImportSource,
  name: string,
  there: MachinePaths,
  here: MachinePaths,
  tls: ClientCertificates | undefined,
): Promise<void> {
  const machine = await from.store.read(name);
  const keyFile = machine.host?.ssh?.keyFile;
  const own =
    keyFile !== undefined && localPathFor(keyFile, there, here) !== keyFile ? [keyFile, `${keyFile}.pub`] : [];
  const keys = [...(await listFolderIfExists(there.ssh)).map((entry) => join(there.ssh, entry)), ...own];
  for (const path of keys) await copyFileIfExists(path, localPathFor(path, there, here));
  const caKey = (await readFileIfExists(join(there.ca, 'ca-key.pem'))) ?? (await from.readCaKey(name));
  if (tls && caKey !== undefined && isKeyOf(caKey, tls.ca))
    await writeFileAtomic(join(here.ca, 'ca-key.pem'), caKey, 0o600);
  await copyFileIfExists(there.serverCert, here.serverCert);
  await copyFileIfExists(there.serverKey, here.serverKey);
  if (tls) await writeClientCertificates(tls, here);
}

async function copyFileIfExists(from: string, to: string): Promise<void> {
  const text = await readFileIfExists(from);
  if (text !== undefined) await writeFileAtomic(to, text, 0o600);
}

function isKeyOf(key: string, cert: string): boolean {
  try {
    return new X509Certificate(cert).checkPrivateKey(createPrivateKey(key));
  } catch {
    // What can't be read signs nothing.
    return false;
  }
}

// --- the first meeting -----------------------------------------------------------------------------------------------

/** Where it is now, and who it is: from then on no other host key is taken for it. */
async function connectAndPin(
  old: ReadyMachine,
  moved: ReadyMachine,
  world: World,
): Promise<{ readonly machine: ReadyMachine; readonly visited: boolean }> {
  const instance = await inspectMachine(old, world);
  if (instance?.state === 'missing') {
    throw new SlipwayError('MACHINE_NOT_FOUND', `What ${old.spec.driver} made for "${old.spec.name}" is gone`, {
      hint: `Forget it where it was made: docker-machine rm ${old.spec.name}`,
    });
  }
  if (instance && instance.state !== 'running') {
    if (old.host.ssh?.hostKey === undefined)
      world.progress.note(
        `"${old.spec.name}" is stopped: its host key is pinned when it is met first, by slipway start`,
      );
    return { machine: moved, visited: false };
  }
  // Its key lies in the old folder as yet.
  const { ssh } = old.host;
  if (!ssh) return { machine: moved, visited: false };
  const address = instance?.host.address ?? ssh.address;
  const target: SshTarget = { ...ssh, address, port: instance?.host.ssh?.port ?? ssh.port };
  const { session, ssh: pinned } = await connectToHost(target, world, async () => {});
  await session[Symbol.asyncDispose]();
  return { machine: withPinnedHost(moved, instance?.host, pinned), visited: true };
}

function withPinnedHost(
  machine: ReadyMachine,
  now: Host | undefined,
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
  const moved = now !== undefined && now.address !== host.address;
  const url = moved ? endpoint.url.replace(host.address, now.address) : endpoint.url;
  return {
    ...machine,
    host: { ...host, address: moved ? now.address : host.address, ssh },
    endpoint: { ...endpoint, url },
  };
}

/** An engine of which nobody has heard is no machine to keep; where its host has let us in, all of that can be mended here. */
async function findEngineProblem(
  { endpoint, spec, host }: ReadyMachine,
  tls: ClientCertificates | undefined,
  visited: boolean,
  world: World,
): Promise<string | undefined> {
  if (host.ssh && !visited) return undefined;
  const mend = `bring it up to date: slipway provision ${spec.name}`;
  if (endpoint.tls && tls === undefined) return `it has no certificates; ${mend}`;
  try {
    await verifyEndpoint(endpoint, endpoint.tls ? tls : undefined, ENGINE_TIMEOUT_SECONDS, world);
    return undefined;
  } catch (error) {
    if (!(error instanceof SlipwayError) || error.code === 'CANCELED' || !visited) throw error;
    const expired = tls !== undefined && daysUntilFirstExpiry([tls.ca, tls.cert], world.now()) < 0;
    return `${expired ? 'its certificates have expired' : error.message}; ${mend}`;
  }
}
