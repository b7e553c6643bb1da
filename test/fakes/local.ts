import { z } from 'zod';
import type { Boot, Driver, Instance } from '../../src/drivers/contract.ts';
import { defineDriver } from '../../src/drivers/contract.ts';
import type { FakeHost } from './host.ts';

/** A driver that makes its machine of a host in memory: what a boot brings lies there before anything starts. */
export type FakeLocal = {
  readonly driver: Driver;
  /** What `create` was given, each time. */
  readonly boots: readonly Boot[];
  readonly calls: readonly string[];
  /** Where its machine is from its next start on. */
  address: string;
  /** What stands in the way of running, if anything does. */
  paused: string | undefined;
  /** What becomes of it when it shuts itself down. */
  ending: 'removed' | 'stopped';
  /** As a provider removes what has shut itself down. */
  vanish(): void;
  /** What the machine says instead of that it has started. */
  fails: Error | undefined;
};

export function fakeLocal(host: FakeHost, name = 'local'): FakeLocal {
  const boots: Boot[] = [];
  const calls: string[] = [];
  let state: 'missing' | 'stopped' | 'running' = 'missing';
  let address = host.address;
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
  const inspect = async (): Promise<Instance> => {
    if (local.paused !== undefined) return { state: 'paused', reason: local.paused };
    if (state !== 'running') return { state };
    const ssh = { address, port: 20_022, user: 'slipway' };
    return { state, host: { address, ssh, enginePort: host.port } };
  };
  const driver = defineDriver({
    name,
    summary: 'a machine of the test’s own',
    options: z.object({}),
    ends: () => ({ byItself: local.ending, costs: 'its disk stays' }),
    async health() {
      return { usable: true };
    },
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
      return { laid: JSON.stringify(boots[0]) === JSON.stringify(boot) };
    },
    async booted() {
      calls.push('booted');
      if (local.fails) throw local.fails;
    },
    inspect,
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
    async remove() {
      calls.push('remove');
      await halt();
      state = 'missing';
    },
  });
  const local: FakeLocal = {
    driver: driver as unknown as Driver,
    boots,
    calls,
    address: host.address,
    paused: undefined,
    ending: 'stopped',
    vanish() {
      state = 'missing';
    },
    fails: undefined,
  };
  return local;
}
