import { createHash } from 'node:crypto';
import { createServer } from 'node:net';
import type { Computer } from '../../computer/computer.ts';
import { readVm, vmFolder, listVmIds } from './vm.ts';

// Below the ports that systems hand out for outgoing connections, which would take one while its VM is stopped.
const FIRST_PORT = 20_000;
const PORT_COUNT = 12_000;

/** Ports that nobody has, nor any VM that is stopped just now. They begin at a place of the machine's own. */
export async function findFreePorts(
  id: string,
  count: number,
  avoid: readonly number[],
  computer: Computer,
): Promise<readonly number[]> {
  const kept = new Set([...avoid, ...(await listPortsOfOtherVms(id, computer))]);
  const start = createHash('sha256').update(id).digest().readUInt32BE(0);
  const found: number[] = [];
  for (let index = 0; found.length < count && index < PORT_COUNT; index += 1) {
    const port = FIRST_PORT + ((start + index) % PORT_COUNT);
    if (!kept.has(port) && (await isPortFree(port))) found.push(port);
  }
  if (found.length < count)
    throw new Error(`no ${count} of the ports ${FIRST_PORT} to ${FIRST_PORT + PORT_COUNT} of 127.0.0.1 are free`);
  return found;
}

/** Tried, since nothing else tells for sure. */
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
      // A VM that is broken keeps its ports from nobody.
      .map((other) => readVm(vmFolder(computer, other)).catch(() => undefined)),
  );
  return others.flatMap((vm) =>
    vm ? [vm.ports.ssh, vm.ports.engine, ...(vm.monitorPort ? [vm.monitorPort] : [])] : [],
  );
}
