/**
 * The guards of all operations: each throws the error that explains why an operation is not possible, so that each
 * sentence exists once. Guards check only their arguments: none queries a provider or a host. `requireReady` is in
 * machine/, for commands that answer from files alone.
 */
import type { DriverManifest } from '../drivers/contract.ts';
import { SlipwayError } from '../errors.ts';
import type { Machine, MachineSpec, ReadyMachine, ShutdownBehavior, SshTarget } from '../machine/model.ts';
import { formatList } from '../machine/options.ts';
import { continueOrUndoHint, machineExistsMessage } from '../machine/require-machine.ts';
import type { ClientPaths, Profile } from '../profiles/profile.ts';
import { formatTime, hasEnded } from './deadline.ts';
import type { SpecDiff } from './diff-specs.ts';

// --- the state of a machine ------------------------------------------------------------------------------------------

/** Refuses to create a machine under the name of a ready one. */
export function requireNoReadyMachine(machine: Machine | undefined): void {
  if (machine?.phase !== 'ready') return;
  const { name } = machine.spec;
  throw new SlipwayError('MACHINE_EXISTS', machineExistsMessage(name), {
    hint: `To bring it up to date: slipway provision ${name}. To remove it: slipway rm ${name}`,
  });
}

/** Refuses to import a machine under the name of another one. The same machine passes: its import was interrupted. */
export function requireNameFree(present: Machine | undefined, { spec: { id, name } }: Machine): void {
  if (!present || present.spec.id === id) return;
  throw new SlipwayError('MACHINE_EXISTS', machineExistsMessage(name), {
    hint: `Two machines can't share a name. To see the existing one: slipway status ${name}. To remove it: slipway rm ${name}`,
  });
}

/** Refuses to start a machine after its deadline: its own timer would stop it again without a message. */
export function requireNotEnded(machine: Machine, now: Date): void {
  if (!hasEnded(machine, now)) return;
  const { name } = machine.spec;
  const message = `Machine "${name}" ended at its deadline, ${formatTime(machine.deadline ?? '')}`;
  throw new SlipwayError('MACHINE_ENDED', message, {
    hint: `For more time: slipway extend ${name} 2h. For no deadline: slipway extend ${name} never`,
  });
}

// --- what a driver can do --------------------------------------------------------------------------------------------

/** Refuses a lifetime where Slipway runs nothing on the host that could end or stop the machine. */
export function requireAutoStopSupported(
  { name, lifetime }: Pick<MachineSpec, 'name' | 'lifetime'>,
  driver: DriverManifest,
): void {
  if (lifetime === undefined || driver.shutdownBehavior) return;
  const message = `Machine "${name}" can't end or stop by itself: the driver ${driver.name} does not support it`;
  throw new SlipwayError('DRIVER_UNSUPPORTED', message, {
    hint: 'Omit --ttl and --idle-stop, and unset SLIPWAY_TTL and SLIPWAY_IDLE_STOP',
  });
}

/** Refuses an idle stop where the provider removes a machine that shuts itself down: the machine would be lost. */
export function requireIdleStopSupported(
  { name, lifetime }: MachineSpec,
  onShutdown: ShutdownBehavior | undefined,
  { name: driver }: DriverManifest,
): void {
  if (lifetime?.idleStop === undefined || onShutdown !== 'removed') return;
  const message = `Machine "${name}" can't stop when it is idle: ${driver} removes it when it shuts down`;
  throw new SlipwayError('USAGE', message, {
    hint: `To create a machine that stops and is kept, where ${driver} supports it: slipway create NAME --ttl … --idle-stop ${lifetime.idleStop}`,
  });
}

/** Refuses a start, stop, kill, suspend or restart that the machine's driver does not offer. */
export function requireActionSupported(
  action: string,
  isSupported: boolean,
  { spec: { name, driver } }: Machine,
): void {
  if (isSupported) return;
  throw new SlipwayError('DRIVER_UNSUPPORTED', `The driver ${driver} can't ${action} machine "${name}"`, {
    hint: `Use the provider's own tools. To see its state: slipway status ${name}`,
  });
}

/** Refuses to suspend a machine whose new options wait for a restart: resumed, it would still run with the old ones. */
export function requireNoPendingRestart({ pendingRestart, spec: { name } }: Machine): void {
  if (pendingRestart === undefined) return;
  throw new SlipwayError('USAGE', `Machine "${name}" can't be suspended: its new options need a restart`, {
    hint: `To apply them: slipway restart ${name}`,
  });
}

/** Returns the machine's SSH target; `purpose` says in the error what SSH is required for. */
export function requireSsh({ host, spec: { name } }: ReadyMachine, purpose: string, hint: string): SshTarget {
  if (host.ssh) return host.ssh;
  throw new SlipwayError('DRIVER_UNSUPPORTED', `Machine "${name}" has no SSH access, which is required to ${purpose}`, {
    hint,
  });
}

/** Refuses to upgrade a machine past the version that it is pinned to, unless the user names a version. */
export function requireNoPinnedVersion({ name, engine }: MachineSpec): void {
  if (engine.version === undefined) return;
  throw new SlipwayError('USAGE', `Machine "${name}" is pinned to engine version ${engine.version}`, {
    hint: `For another version: slipway upgrade ${name} --engine-version VERSION. For the newest: slipway upgrade ${name} --engine-version=`,
  });
}

// --- changes of a spec -----------------------------------------------------------------------------------------------

/** Refuses another port for an engine that clients reach through a port forwarded to the old one. */
export function requireSameEnginePort(diff: SpecDiff, name: string): void {
  const change = diff.find(({ section, key }) => section === 'engine' && key === 'port');
  if (change?.effect !== 'replace') return;
  const message = `The engine port of machine "${name}" can't change from ${String(change.from)}: a port of this computer is forwarded to it`;
  throw new SlipwayError('USAGE', message, { hint: 'Omit --engine-port: clients use the forwarded port in any case' });
}

/**
 * Refuses options that need another machine. If a region were changed in the record alone, the record would describe no
 * machine, or somebody else's.
 */
export function requireChangeInPlace(diff: SpecDiff, name: string, driver: DriverManifest): void {
  const options = replacingOptions(diff);
  if (driver.kind === 'existing' || options.length === 0) return;
  const message = `Machine "${name}" can't change ${formatList(options)} of ${driver.name}: these options are fixed at creation`;
  throw new SlipwayError('USAGE', message, {
    hint: `Create another machine with them, or remove this one first: slipway rm ${name}`,
  });
}

/** Refuses to continue an interrupted creation with another driver: its resources belong to the first one. */
export function requireSameDriver(before: Machine | undefined, driver: string | undefined): void {
  if (!before || driver === undefined || before.spec.driver === driver) return;
  const { name } = before.spec;
  const message = `Machine "${name}" is incomplete and uses the driver ${before.spec.driver}, not ${driver}`;
  throw new SlipwayError('MACHINE_EXISTS', message, { hint: continueOrUndoHint(name) });
}

/**
 * Refuses to continue an interrupted creation with options that need another machine, once a provider may have received
 * the request: it finds the machine by its id, and in another zone it would create a second one.
 */
export function requireSameCreateOptions(before: Machine | undefined, diff: SpecDiff, driver: DriverManifest): void {
  if (!before || driver.kind === 'existing' || (before.phase === 'creating' && before.lastRequest === undefined))
    return;
  const options = replacingOptions(diff);
  if (options.length === 0) return;
  const { name } = before.spec;
  const message = `Machine "${name}" is incomplete and has other options of ${driver.name}: ${formatList(options)}`;
  throw new SlipwayError('USAGE', message, { hint: continueOrUndoHint(name) });
}

function replacingOptions(diff: SpecDiff): readonly string[] {
  return diff.filter(({ section, effect }) => section === 'options' && effect === 'replace').map(({ key }) => key);
}

// --- conflicts with others -------------------------------------------------------------------------------------------

/** Refuses client profiles that would overwrite what another machine or another tool has under this name. */
export async function requireNoConflicts(
  { id, name }: MachineSpec,
  profiles: readonly Profile[],
  paths: ClientPaths,
): Promise<void> {
  for (const profile of profiles) {
    const conflict = await profile.findConflict(name, id, paths);
    if (conflict) throw conflict;
  }
}

/** Refuses to change a host that has since been provisioned as another machine. */
export function requireOwnHost(
  owner: { readonly id: string; readonly name: string } | undefined,
  { id, name }: MachineSpec,
  address: string,
): void {
  if (!owner || owner.id === id) return;
  throw new SlipwayError('MACHINE_NOT_READY', `Host ${address} now belongs to machine "${owner.name}"`, {
    hint: `To take it back: slipway provision ${name}`,
  });
}
