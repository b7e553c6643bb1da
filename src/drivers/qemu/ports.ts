import { createHash } from 'node:crypto';
import { createServer } from 'node:net';
import type { Computer } from '../../computer/computer.ts';
import { SlipwayError } from '../../errors.ts';
import type { DriverCall } from '../contract.ts';
import type { QemuOptions } from './options.ts';
import { readVm } from './vm-record.ts';
import { vmFolder, listVmIds, type Vm } from './vm.ts';

// Below the ports that systems use for outgoing connections, which could take the port of a stopped VM.
const FIRST_PORT = 20_000;
const PORT_COUNT = 12_000;

/**
 * Finds ports that no program listens on and no other VM owns, not even a stopped one. The search begins at a port that
 * follows from the id, so that a machine created again most often gets the same ones.
 */
export async function findFreePorts(
  id: string,
  count: number,
  avoid: readonly number[],
  computer: Computer,
): Promise<readonly number[]> {
  const reserved = new Set([...avoid, ...(await listPortsOfOtherVms(id, computer))]);
  const start = createHash('sha256').update(id).digest().readUInt32BE(0);
  const found: number[] = [];
  for (let index = 0; found.length < count && index < PORT_COUNT; index += 1) {
    const port = FIRST_PORT + ((start + index) % PORT_COUNT);
    if (!reserved.has(port) && (await isPortFree(port))) found.push(port);
  }
  if (found.length < count)
    throw new Error(`no ${count} of the ports ${FIRST_PORT} to ${FIRST_PORT + PORT_COUNT} of 127.0.0.1 are free`);
  return found;
}

/** Returns whether a port is free, by listening on it for a moment: no other way is reliable. */
export function isPortFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen({ host: '127.0.0.1', port, exclusive: true }, () => server.close(() => resolve(true)));
  });
}

async function listPortsOfOtherVms(id: string, computer: Computer): Promise<readonly number[]> {
  const others = await Promise.all(
    (await listVmIds(computer))
      .filter((other) => other !== id)
      // A VM whose record is broken reserves no ports.
      .map((other) => readVm(vmFolder(computer, other)).catch(() => undefined)),
  );
  return others.flatMap((vm) =>
    vm ? [vm.ports.ssh, vm.ports.engine, ...(vm.monitorPort ? [vm.monitorPort] : [])] : [],
  );
}

/** The ports that options can fix, with the flag of each. */
export function portOptions({ sshPort, enginePort }: QemuOptions): readonly {
  readonly use: keyof Vm['ports'];
  readonly port: number | undefined;
  readonly flag: string;
}[] {
  return [
    { use: 'ssh', port: sshPort, flag: '--qemu-ssh-port' },
    { use: 'engine', port: enginePort, flag: '--qemu-engine-port' },
  ];
}

/** Chooses the ports of a VM that is about to be created; keeps those that options fix. */
export async function choosePorts(
  id: string,
  { sshPort, enginePort }: QemuOptions,
  computer: Computer,
): Promise<{ readonly ports: Vm['ports']; readonly monitorPort: number }> {
  const fixed = [sshPort, enginePort].filter((port) => port !== undefined);
  const [ssh = 0, engine = 0, monitorPort = 0] = await findFreePorts(id, 3, fixed, computer);
  return { ports: { ssh: sshPort ?? ssh, engine: enginePort ?? engine }, monitorPort };
}

/**
 * Returns the VM with ports that are free now: replaces a port that another program took in the meantime, and throws
 * PORT_TAKEN if the user fixed that port.
 */
export async function assignFreePorts<V extends Vm>(
  vm: V,
  options: QemuOptions,
  { computer, note }: DriverCall,
): Promise<V> {
  // The user has seen the ports of a machine that ran before; those of a spare that is about to become one, never.
  const isKnownToUser = vm.seedApplied && !vm.spareFiles;
  const ports = { ssh: options.sshPort ?? vm.ports.ssh, engine: options.enginePort ?? vm.ports.engine };
  for (const { use, port: fixed, flag } of portOptions(options)) {
    const collides = ports.ssh === ports.engine && fixed === undefined;
    if (!collides && (await isPortFree(ports[use]))) continue;
    if (fixed !== undefined) throw portTakenError(vm.name, fixed, flag, isKnownToUser);
    const [free = 0] = await findFreePorts(vm.id, 1, Object.values(ports), computer);
    if (isKnownToUser)
      note(`Port ${ports[use]} of 127.0.0.1 is in use by another program, so "${vm.name}" uses port ${free} now`);
    ports[use] = free;
  }
  return { ...vm, ports };
}

export function portTakenError(name: string, port: number, flag: string, exists: boolean): SlipwayError {
  return new SlipwayError(
    'PORT_TAKEN',
    `Port ${port} of 127.0.0.1, which "${name}" needs (${flag}), is in use by another program`,
    {
      hint: exists
        ? 'Stop that program, then run the same command again'
        : `Stop that program, or choose another port: slipway create ${name} ${flag} PORT`,
    },
  );
}
