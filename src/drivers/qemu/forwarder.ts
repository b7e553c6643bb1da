/** QEMU's own forwarding of ports: data takes no way through Slipway, and the forwards last as long as the VM runs. */
import type { Forward, Forwarder } from '../../machine/forward.ts';
import { tryPort } from '../../machine/try-port.ts';
import type { DriverCall, Target } from '../contract.ts';
import type { Monitor } from './monitor.ts';
import { openVmMonitor } from './qemu-process.ts';
import { requireVm } from './require-vm.ts';
import type { Vm } from './vm.ts';

/** The guest's address in QEMU's user-mode network. A port that is open only on the guest's loopback has none here. */
const GUEST_ADDRESS = '10.0.2.15';
const ANY_ADDRESS = '0.0.0.0';

/**
 * Opens the forwarder of a VM. Each call connects to the monitor for some milliseconds: QEMU serves one client at a
 * time, and other commands must not find the monitor in use.
 */
export async function openForwarder(target: Target<unknown>, call: DriverCall): Promise<Forwarder> {
  // The VM is read again for each call, since a start may give it other ports.
  const withMonitor = async <T>(use: (monitor: Monitor, vm: Vm) => Promise<T>): Promise<T> => {
    const { folder, vm } = await requireVm(target, call);
    await using monitor = await openVmMonitor(folder, vm);
    if (!monitor) throw new Error(`the QEMU process of "${vm.name}" does not answer`);
    return await use(monitor, vm);
  };
  return {
    list: () =>
      withMonitor(async (monitor, vm) =>
        parseForwards(await runMonitorLine(monitor, 'info usernet')).filter((forward) => !isOwnPort(forward, vm)),
      ),
    async add(forward) {
      if (!canForward(forward))
        return { reason: 'refused', detail: 'QEMU forwards only IPv4, and not to addresses within the guest' };
      // QEMU does not tell a port that is taken from one that the user may not open.
      const refusal = await tryPort(forward, call);
      if (refusal) return refusal;
      const rule = `${hostSide(forward)}-${GUEST_ADDRESS}:${forward.target.port}`;
      // QEMU returns errors of this command as text, and nothing after a success.
      const answer = await withMonitor((monitor) => runMonitorLine(monitor, `hostfwd_add net ${rule}`));
      return answer === '' ? undefined : { reason: 'refused', detail: answer };
    },
    async remove(forward) {
      if (canForward(forward))
        await withMonitor(async (monitor, vm) => {
          if (!isOwnPort(forward, vm)) await runMonitorLine(monitor, `hostfwd_remove net ${hostSide(forward)}`);
        });
    },
  };
}

async function runMonitorLine(monitor: Monitor, line: string): Promise<string> {
  const answer = await monitor.execute('human-monitor-command', { 'command-line': line });
  return String(answer).trim();
}

function canForward({ listen, target }: Forward): boolean {
  return !listen.address.includes(':') && [ANY_ADDRESS, GUEST_ADDRESS].includes(target.address);
}

function hostSide({ protocol, listen }: Forward): string {
  return `${protocol}:${listen.address}:${listen.port}`;
}

/** Returns whether a forward is one of the two that QEMU starts with, to the guest's SSH server and its engine. */
function isOwnPort({ protocol, listen }: Forward, { ports }: Vm): boolean {
  return protocol === 'tcp' && [ports.ssh, ports.engine].includes(listen.port);
}

/** Pure. Returns the forwards in QEMU's list: `TCP[HOST_FORWARD]  13  127.0.0.1 8080  10.0.2.15 8080`. */
export function parseForwards(text: string): readonly Forward[] {
  const row = /^\s*(TCP|UDP)\[HOST_FORWARD\]\s+\d+\s+(\S+)\s+(\d+)\s+\S+\s+(\d+)/gm;
  return [...text.matchAll(row)].map(([, protocol, address = '', port, guestPort]) => ({
    protocol: protocol === 'TCP' ? 'tcp' : 'udp',
    listen: { address: address === '*' ? ANY_ADDRESS : address, port: Number(port) },
    target: { address: ANY_ADDRESS, port: Number(guestPort) },
  }));
}
