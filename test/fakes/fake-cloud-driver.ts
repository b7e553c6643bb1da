import { z } from 'zod';
import type { FirstBootConfig, CloudDriver, CloudResource, Target } from '../../src/drivers/contract.ts';
import { defineDriver } from '../../src/drivers/contract.ts';
import { SlipwayError } from '../../src/errors.ts';
import type { ConnectSsh } from '../../src/ssh/connection.ts';
import { startFakeHost, type FakeHost } from './fake-host.ts';

type CreatedHost = {
  readonly id: string;
  readonly index: number | undefined;
  readonly host: FakeHost;
  shownHostKey: string;
};

/**
 * A cloud in memory, whose driver creates hosts in memory. Each host shows the host key of its user data until it gets
 * another one.
 */
export type FakeCloud = AsyncDisposable & {
  readonly driver: CloudDriver;
  readonly connect: ConnectSsh;
  readonly boots: readonly FirstBootConfig[];
  readonly calls: readonly string[];
  readonly targets: Target<unknown>[];
  readonly createdHosts: readonly CreatedHost[];
  /** The errors of the next connections, which then reach no host. */
  readonly connectErrors: SlipwayError[];
  /** The key that new hosts show instead of their own. */
  wrongHostKey: string | undefined;
  /** The refusal of the next requests for one machine, after which nothing exists. */
  createError: SlipwayError | undefined;
  /** The error that `remove` throws, if set. */
  removeError: Error | undefined;
  /** The error that `createMany` throws, if set. */
  createManyError: SlipwayError | undefined;
  resources: readonly CloudResource[];
  readonly deletedResources: CloudResource[];
  /** Prepares a host for the next machine and returns its engine's port, because hosts in memory share an address. */
  prepareHost(): Promise<number>;
};

export function fakeCloud(): FakeCloud {
  const boots: FirstBootConfig[] = [];
  const calls: string[] = [];
  const targets: Target<unknown>[] = [];
  const createdHosts: CreatedHost[] = [];
  const connectErrors: SlipwayError[] = [];
  const deletedResources: CloudResource[] = [];
  const preparedHosts: FakeHost[] = [];
  const find = ({ id, batch }: Target<unknown>): CreatedHost | undefined =>
    createdHosts.find(
      (one) => one.id === id || (batch !== undefined && one.id === batch.id && one.index === batch.index),
    );
  async function createHost(id: string, index: number | undefined, boot: FirstBootConfig): Promise<void> {
    const at = preparedHosts.findIndex(({ port }) => port === boot.enginePort);
    const host = at >= 0 ? preparedHosts.splice(at, 1)[0] : preparedHosts.shift();
    createdHosts.push({
      id,
      index,
      host: host ?? (await startFakeHost({ engine: true })),
      shownHostKey: cloud.wrongHostKey ?? boot.hostKey.public,
    });
  }
  const driver = defineDriver({
    kind: 'cloud',
    name: 'sky',
    summary: "a cloud of the test's own",
    options: z.object({ region: z.string().optional() }),
    userDataIsPublic: true,
    account: { options: ['region'] },
    machines: {
      async create(target, boot, call) {
        calls.push('create');
        targets.push(target);
        boots.push(boot);
        if (!find(target)) {
          await call.recordRequest('instance');
          if (cloud.createError) {
            await call.clearRequest();
            throw cloud.createError;
          }
          await createHost(target.id, undefined, boot);
        }
        return { bootApplied: false };
      },
      async inspect(target) {
        const one = find(target);
        if (!one) return { state: 'missing' };
        const ssh = { address: one.host.address, port: 10_000 + createdHosts.indexOf(one), user: 'admin' };
        return { state: 'running', host: { address: one.host.address, ssh, enginePort: one.host.port } };
      },
      async remove(target) {
        calls.push('remove');
        if (cloud.removeError) throw cloud.removeError;
        targets.push(target);
        const one = find(target);
        if (one) createdHosts.splice(createdHosts.indexOf(one), 1);
        await one?.host[Symbol.asyncDispose]();
      },
    },
    cloud: {
      async resolveOptions({ options }) {
        calls.push('resolveOptions');
        return { region: options.region ?? 'north' };
      },
      async createMany(many, boot, call) {
        calls.push(`create ${many.length}`);
        targets.push(...many);
        boots.push(boot);
        if (cloud.createManyError) throw cloud.createManyError;
        await call.recordRequest('instances');
        for (const { batch } of many)
          if (batch && !createdHosts.some(({ id, index }) => id === batch.id && index === batch.index))
            await createHost(batch.id, batch.index, boot);
      },
      async allowCallerIp() {
        calls.push('allowCallerIp');
      },
      describeLeftovers: ({ id, options: { region } }) => ({
        resources: `one host (${id}) in ${region}`,
        search: 'Look at the sky',
        command: 'slipway gc --driver sky',
      }),
      async listResources({ home }) {
        return cloud.resources.filter((resource) => home === undefined || resource.home === home);
      },
      async deleteResources(resources) {
        deletedResources.push(...resources);
      },
    },
    cost: { describeResources: () => 'one host in memory' },
  });
  const cloud: FakeCloud = {
    driver: driver as unknown as CloudDriver,
    boots,
    calls,
    targets,
    createdHosts,
    connectErrors,
    wrongHostKey: undefined,
    createManyError: undefined,
    createError: undefined,
    removeError: undefined,
    resources: [],
    deletedResources,
    async prepareHost() {
      const host = await startFakeHost({ engine: true });
      preparedHosts.push(host);
      return host.port;
    },
    async connect(target, side, onHostKey) {
      const connectError = connectErrors.shift();
      if (connectError) throw connectError;
      const one = createdHosts[target.port - 10_000];
      if (!one) throw new Error('no host has this port');
      if (one.shownHostKey !== target.hostKey && one.shownHostKey !== target.bootstrapHostKey)
        throw new SlipwayError('HOST_KEY', `${target.address} showed another key`);
      one.host.hostKey = one.shownHostKey;
      const session = await one.host.connect(target, side, onHostKey);
      return {
        ...session,
        hostKey: one.shownHostKey,
        async exec(command, how) {
          if (how.label !== 'host-key.sh') return session.exec(command, how);
          const [, key = ''] =
            /(ssh-ed25519 [^ \n]+)[^\n]*\n\0/.exec(Buffer.from(how.stdin ?? '').toString('latin1')) ?? [];
          one.host.executions.push('host-key.sh');
          one.shownHostKey = key;
          return { code: 0, stdout: '', stderr: '' };
        },
      };
    },
    async [Symbol.asyncDispose]() {
      for (const host of [...preparedHosts, ...createdHosts.map((one) => one.host)]) await host[Symbol.asyncDispose]();
    },
  };
  return cloud;
}
