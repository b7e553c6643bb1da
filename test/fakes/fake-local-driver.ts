import { z } from 'zod';
import type { FirstBootConfig, InstanceStatus, LocalDriver } from '../../src/drivers/contract.ts';
import { defineDriver } from '../../src/drivers/contract.ts';
import type { FakeHost } from './fake-host.ts';

/** A driver whose machine is a host in memory: the first-boot files are there before anything starts. */
export type FakeLocalMachine = {
  readonly driver: LocalDriver;
  /** The arguments of each `create`. */
  readonly boots: readonly FirstBootConfig[];
  readonly calls: readonly string[];
  /** The address of the machine after its next start. */
  address: string;
  /** Why the machine is paused, if it is. */
  pausedReason: string | undefined;
  /** What happens when the machine shuts itself down. */
  onShutdown: 'removed' | 'stopped';
  /** Removes the machine, as a provider does after its own shutdown, or for a reason that it gives. */
  vanish(reason?: string): void;
  /** The error of the machine's boot, if it fails. */
  bootError: Error | undefined;
};

export function fakeLocalMachine(host: FakeHost, name = 'local'): FakeLocalMachine {
  const boots: FirstBootConfig[] = [];
  const calls: string[] = [];
  let state: 'missing' | 'stopped' | 'running' = 'missing';
  let address = host.address;
  let goneReason: string | undefined;
  const run = async (): Promise<void> => {
    if (state === 'running') return;
    state = 'running';
    address = local.address;
    await host.boot();
  };
  const halt = async (): Promise<void> => {
    if (state === 'running') state = 'stopped';
    await host.halt();
  };
  const inspect = async (): Promise<InstanceStatus> => {
    if (local.pausedReason !== undefined) return { state: 'paused', reason: local.pausedReason };
    if (state === 'missing') return { state, ...(goneReason === undefined ? {} : { reason: goneReason }) };
    if (state !== 'running') return { state };
    const ssh = { address, port: 20_022, user: 'slipway' };
    return { state, host: { address, ssh, enginePort: host.port } };
  };
  const driver = defineDriver({
    kind: 'local',
    name,
    summary: "a machine of the test's own",
    options: z.object({}),
    shutdownBehavior: () => ({ byItself: local.onShutdown, costs: 'its disk stays' }),
    machines: {
      async prepare() {
        calls.push('prepare');
      },
      async create(_target, boot) {
        calls.push('create');
        boots.push(boot);
        if (state === 'missing') {
          state = 'stopped';
          for (const { path, content, mode } of boot.files) host.files.set(path, { content, mode });
        }
        await run();
        return { bootApplied: JSON.stringify(boots[0]) === JSON.stringify(boot) };
      },
      async waitUntilBooted() {
        calls.push('waitUntilBooted');
        if (local.bootError) throw local.bootError;
      },
      inspect,
      async remove() {
        calls.push('remove');
        await halt();
        state = 'missing';
      },
    },
    power: {
      async start() {
        calls.push('start');
        await run();
      },
      async stop(_target, { seconds }) {
        calls.push(`stop in ${seconds}`);
        await halt();
      },
      async kill() {
        calls.push('kill');
        await halt();
      },
    },
    cost: { describeResources: () => 'one host in memory' },
  });
  const local: FakeLocalMachine = {
    driver: driver as unknown as LocalDriver,
    boots,
    calls,
    address: host.address,
    pausedReason: undefined,
    onShutdown: 'stopped',
    vanish(reason) {
      goneReason = reason;
      state = 'missing';
    },
    bootError: undefined,
  };
  return local;
}
