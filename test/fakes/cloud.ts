import { z } from 'zod';
import type { Boot, Driver, Owned, Target } from '../../src/drivers/contract.ts';
import { defineDriver } from '../../src/drivers/contract.ts';
import { SlipwayError } from '../../src/errors.ts';
import type { Connect } from '../../src/ssh/connection.ts';
import { startFakeHost, type FakeHost } from './host.ts';

type Made = { readonly id: string; readonly index: number | undefined; readonly host: FakeHost; shows: string };

/** A cloud in memory, whose driver makes hosts in memory: each shows the key of its user data until it is given another. */
export type FakeCloud = AsyncDisposable & {
  readonly driver: Driver;
  readonly connect: Connect;
  readonly boots: readonly Boot[];
  readonly calls: readonly string[];
  readonly targets: Target<unknown>[];
  readonly made: readonly Made[];
  /** What the next connections meet instead of a host. */
  readonly meets: SlipwayError[];
  /** The key that new hosts show instead of the one they were given. */
  stranger: string | undefined;
  /** What `createMany` answers, when set. */
  refuses: SlipwayError | undefined;
  owned: readonly Owned[];
  readonly discarded: Owned[];
  /** Readies a host for the next machine, and tells where its engine will listen: hosts in memory share an address. */
  port(): Promise<number>;
};

export function fakeCloud(): FakeCloud {
  const boots: Boot[] = [];
  const calls: string[] = [];
  const targets: Target<unknown>[] = [];
  const made: Made[] = [];
  const meets: SlipwayError[] = [];
  const discarded: Owned[] = [];
  const spare: FakeHost[] = [];
  const find = ({ id, batch }: Target<unknown>): Made | undefined =>
    made.find((one) => one.id === id || (batch !== undefined && one.id === batch.id && one.index === batch.index));
  async function make(id: string, index: number | undefined, boot: Boot): Promise<void> {
    const at = spare.findIndex(({ port }) => port === boot.enginePort);
    const host = at >= 0 ? spare.splice(at, 1)[0] : spare.shift();
    made.push({
      id,
      index,
      host: host ?? (await startFakeHost({ engine: true })),
      shows: cloud.stranger ?? boot.hostKey.public,
    });
  }
  const driver = defineDriver({
    name: 'sky',
    summary: 'a cloud of the test’s own',
    bootIsReadable: true,
    options: z.object({ region: z.string().optional() }),
    reach: ['region'],
    async health() {
      return { usable: true };
    },
    async settle({ options }) {
      calls.push('settle');
      return { region: options.region ?? 'north' };
    },
    async create(target, boot, call) {
      calls.push('create');
      targets.push(target);
      boots.push(boot);
      if (!find(target)) {
        await call.asking('instance');
        await make(target.id, undefined, boot);
      }
      return { laid: false };
    },
    async createMany(many, boot, call) {
      calls.push(`create ${many.length}`);
      targets.push(...many);
      boots.push(boot);
      if (cloud.refuses) throw cloud.refuses;
      await call.asking('instances');
      for (const { batch } of many)
        if (batch && !made.some(({ id, index }) => id === batch.id && index === batch.index))
          await make(batch.id, batch.index, boot);
    },
    async admit() {
      calls.push('admit');
    },
    async inspect(target) {
      const one = find(target);
      if (!one) return { state: 'missing' };
      const ssh = { address: one.host.address, port: 10_000 + made.indexOf(one), user: 'admin' };
      return { state: 'running', host: { address: one.host.address, ssh, enginePort: one.host.port } };
    },
    async remove(target) {
      calls.push('remove');
      targets.push(target);
      const one = find(target);
      if (one) made.splice(made.indexOf(one), 1);
      await one?.host[Symbol.asyncDispose]();
    },
    async owned({ home }) {
      return cloud.owned.filter((thing) => home === undefined || thing.home === home);
    },
    async discard(things) {
      discarded.push(...things);
    },
  });
  const cloud: FakeCloud = {
    driver: driver as unknown as Driver,
    boots,
    calls,
    targets,
    made,
    meets,
    stranger: undefined,
    refuses: undefined,
    owned: [],
    discarded,
    async port() {
      const host = await startFakeHost({ engine: true });
      spare.push(host);
      return host.port;
    },
    async connect(target, side, onHostKey) {
      const met = meets.shift();
      if (met) throw met;
      const one = made[target.port - 10_000];
      if (!one) throw new Error('nobody is there');
      if (one.shows !== target.hostKey && one.shows !== target.birthKey)
        throw new SlipwayError('HOST_KEY', `${target.address} showed another key`);
      one.host.hostKey = one.shows;
      const session = await one.host.connect(target, side, onHostKey);
      return {
        ...session,
        hostKey: one.shows,
        async exec(command, how) {
          if (how.label !== 'host-key.sh') return session.exec(command, how);
          const [, key = ''] =
            /(ssh-ed25519 [^ \n]+)[^\n]*\n\0/.exec(Buffer.from(how.stdin ?? '').toString('latin1')) ?? [];
          one.host.executions.push('host-key.sh');
          one.shows = key;
          return { code: 0, stdout: '', stderr: '' };
        },
      };
    },
    async [Symbol.asyncDispose]() {
      for (const host of [...spare, ...made.map((one) => one.host)]) await host[Symbol.asyncDispose]();
    },
  };
  return cloud;
}
