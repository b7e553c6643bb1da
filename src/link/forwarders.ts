import type { Driver } from '../drivers/contract.ts';
import { targetOf } from '../drivers/registry.ts';
import type { Forwarder, PortRefusal } from '../machine/forward.ts';
import type { ReadyMachine } from '../machine/model.ts';
import { openSession } from '../operations/host-session.ts';
import { driverCallFor, type World } from '../operations/world.ts';
import type { SshSession } from '../ssh/session.ts';
import { createLinkConnection, type LinkConnection } from './link-connection.ts';
import { createSshForwarder } from './ssh-forwarder.ts';

/** All the ways in which ports of a machine are forwarded, as one. */
export type MachineForwarder = Forwarder &
  AsyncDisposable & {
    /** Drops connections that may be dead, such as those from before the computer slept. */
    readonly reset: () => void;
  };

/**
 * Opens the forwarder of a machine: that of its driver, if it has one, and SSH for what the driver refuses.
 * `findMachine` returns the machine as it is now, since a start may give it another address.
 */
export async function openMachineForwarder(
  machine: ReadyMachine,
  findMachine: () => Promise<ReadyMachine>,
  driver: Driver,
  world: World,
): Promise<MachineForwarder> {
  const own = await driver.openForwarder?.(targetOf(driver, machine.spec, machine), driverCallFor(world, world.debug));
  let opened: LinkConnection | undefined;
  const connect = (): LinkConnection =>
    (opened ??= createLinkConnection({
      open: async (signal) => openMachineSession(await findMachine(), signal, world),
    }));
  // A VM whose ports QEMU forwards needs no SSH connection, until somebody connects to a port that it refused.
  if (!own) connect();
  const bySsh = createSshForwarder({
    session: (options) => connect().session(options),
    computer: world.computer,
    signal: world.signal,
  });
  return {
    ...combineForwarders(own ? [own, bySsh] : [bySsh]),
    reset: () => opened?.reset(),
    async [Symbol.asyncDispose]() {
      await bySsh[Symbol.asyncDispose]();
      await opened?.[Symbol.asyncDispose]();
    },
  };
}

async function openMachineSession(
  { host, spec }: ReadyMachine,
  signal: AbortSignal,
  world: World,
): Promise<SshSession> {
  if (!host.ssh) throw new Error(`machine "${spec.name}" has no SSH access`);
  return (await openSession(host.ssh, { ...world, signal })).session;
}

/** Combines forwarders to one: what the first one can't forward, the next one does. */
export function combineForwarders(forwarders: readonly Forwarder[]): Forwarder {
  return {
    async list() {
      return (await Promise.all(forwarders.map((forwarder) => forwarder.list()))).flat();
    },
    async add(forward) {
      let refusal: PortRefusal | undefined;
      for (const forwarder of forwarders) {
        refusal = await forwarder.add(forward);
        // A port that is taken, or that the user may not open, is so in every way.
        if (refusal?.reason !== 'refused') return refusal;
      }
      return refusal;
    },
    async remove(forward) {
      for (const forwarder of forwarders) await forwarder.remove(forward);
    },
  };
}
