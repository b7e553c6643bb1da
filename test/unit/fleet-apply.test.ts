import { describe, expect, test, vi } from 'vitest';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { applyFileChanges } from '../../src/computer/files.ts';
import type { CloudDriver, Driver } from '../../src/drivers/contract.ts';
import { SlipwayError } from '../../src/errors.ts';
import { applyFleetPlan, type FleetItemResult } from '../../src/fleet/apply-fleet.ts';
import { planFleet, type FleetPlan } from '../../src/fleet/plan-fleet.ts';
import { readFleet } from '../../src/fleet/read-fleet.ts';
import { createMachine } from '../../src/operations/create.ts';
import { provisionMachine } from '../../src/operations/provision-machine.ts';
import { stopMachine } from '../../src/operations/power.ts';
import type { World } from '../../src/operations/world.ts';
import { profilesNamed } from '../../src/profiles/registry.ts';
import { readContextOwner } from '../../src/profiles/docker-context.ts';
import { z } from 'zod';
import { fakeCloud } from '../fakes/fake-cloud-driver.ts';
import { registeredDrivers } from '../fakes/registered-drivers.ts';
import { createTemporaryFolder } from '../fakes/temporary-folder.ts';
import { startFakeHost, type FakeHost } from '../fakes/fake-host.ts';
import { fakeLocalMachine } from '../fakes/fake-local-driver.ts';
import { readyMachine, specNamed } from '../fakes/sample-machine.ts';
import { KILLED, recordingProgress, worldIn } from '../fakes/test-world.ts';

vi.mock('../../src/drivers/registry.ts', async (importOriginal) =>
  (await import('../fakes/registered-drivers.ts')).mockDriverRegistry(importOriginal, 'all drivers'),
);

type FleetBench = AsyncDisposable & {
  readonly path: string;
  world(more?: Partial<World>): World;
  /** Reads this text as machines.yaml, plans and applies it. */
  apply(
    text: string,
    how?: { readonly prune?: boolean; readonly world?: World; readonly concurrency?: number },
  ): Promise<readonly FleetItemResult[]>;
  plan(text: string, prune?: boolean): Promise<FleetPlan>;
};

/** Creates a home folder for a machines.yaml, whose machines are reached over these connections. */
async function openFleetBench(connect: World['connect']): Promise<FleetBench> {
  const home = await createTemporaryFolder();
  let pairs = 0;
  const world = (more: Partial<World> = {}): World =>
    worldIn(home.path, {
      connect,
      newKeyPair: async (comment) => {
        pairs += 1;
        return { private: `PRIVATE ${pairs}\n`, public: `ssh-ed25519 KEY${pairs} ${comment}` };
      },
      ...more,
    });
  const plan = async (text: string, prune = false): Promise<FleetPlan> => {
    const file = join(home.path, 'machines.yaml');
    await writeFile(file, text);
    const fleet = await readFleet(file, { env: {}, home: home.path });
    return planFleet(fleet, await world().store.list(), { prune, now: new Date() });
  };
  return {
    path: home.path,
    world,
    plan,
    async apply(text, { prune = false, world: applyWorld = world(), concurrency = 2 } = {}) {
      const planned = await plan(text, prune);
      return await applyFleetPlan(planned, {
        world: applyWorld,
        worldFor: () => applyWorld,
        onMachineDone: () => {},
        concurrency,
      });
    },
    [Symbol.asyncDispose]: () => home[Symbol.asyncDispose](),
  };
}

/** Starts hosts in memory, which differ in their SSH ports, and counts connections. */
async function startHosts(count: number) {
  const all = await Promise.all(Array.from({ length: count }, () => startFakeHost({ engine: true })));
  let connections = 0;
  const connect: World['connect'] = async (target, side, onHostKey) => {
    connections += 1;
    const host = all[target.port - 1];
    if (!host) throw new SlipwayError('SSH_UNREACHABLE', `nothing listens on ${target.port}`);
    return host.connect(target, side, onHostKey);
  };
  return {
    all,
    connect,
    connections: () => connections,
    async [Symbol.asyncDispose]() {
      for (const host of all) await host[Symbol.asyncDispose]();
    },
  };
}

const yamlEntry = (name: string, host: FakeHost | undefined, at: number, engine = ''): string =>
  `  ${name}: { driver: generic, generic: { ipAddress: 127.0.0.1, sshPort: ${at} }, engine: { port: ${host?.port ?? 1}${engine} } }\n`;
const outcomeLines = (results: readonly FleetItemResult[]): readonly string[] =>
  results.map(({ item, error }) => `${item.action} ${item.name}${error ? ` ${error.code}` : ''}`);

describe('apply on hosts that answer SSH', () => {
  test('creates what is missing, and a second apply makes no connection and writes nothing', async () => {
    await using hosts = await startHosts(3);
    await using here = await openFleetBench(hosts.connect);
    const text = `machines:\n${hosts.all.map((host, at) => yamlEntry(`web-${at + 1}`, host, at + 1)).join('')}`;
    expect(outcomeLines(await here.apply(text))).toEqual(['create web-1', 'create web-2', 'create web-3']);
    expect(hosts.connections()).toBe(3);
    const records = await here.world().store.list();
    const secondApply = await here.apply(text, { world: here.world({ connect: failOnConnect }) });
    expect(secondApply).toEqual([]);
    expect(await here.world().store.list()).toEqual(records);
  });

  test('changes only the machine whose label differs, with one restart of its engine', async () => {
    await using hosts = await startHosts(2);
    await using here = await openFleetBench(hosts.connect);
    const [one, two] = hosts.all;
    const text = (label: string): string =>
      `machines:\n${yamlEntry('one', one, 1, `, label: [${label}]`)}${yamlEntry('two', two, 2)}`;
    await here.apply(text('a=1'));
    expect(outcomeLines(await here.apply(text('a=2')))).toEqual(['change one']);
    expect([one?.engineStarts(), two?.engineStarts(), hosts.connections()]).toEqual([2, 1, 3]);
    expect(one?.files.get('/etc/docker/daemon.json')?.content).toContain('a=2');
    expect((await here.plan(text('a=2'))).items.map(({ action }) => action)).toEqual(['nothing', 'nothing']);
  });

  test('continues after one machine fails, and reports that one', async () => {
    await using hosts = await startHosts(2);
    await using here = await openFleetBench(hosts.connect);
    const text = `machines:\n${yamlEntry('one', hosts.all[0], 1)}${yamlEntry('gone', undefined, 9)}${yamlEntry('two', hosts.all[1], 2)}`;
    expect(outcomeLines(await here.apply(text))).toEqual(['create one', 'create gone SSH_UNREACHABLE', 'create two']);
    const planned = await here.plan(text);
    expect(planned.items.map(({ action }) => action)).toEqual(['nothing', 'finish', 'nothing']);
  });

  test('is completed by the next apply after a kill at any step', async () => {
    for (const id of ['connect', 'facts', 'configure-engine', 'verify', 'profiles']) {
      await using hosts = await startHosts(2);
      await using here = await openFleetBench(hosts.connect);
      const text = `machines:\n${hosts.all.map((host, at) => yamlEntry(`web-${at + 1}`, host, at + 1)).join('')}`;
      const killedWorld = here.world({ progress: recordingProgress({ when: 'after', id }) });
      // One at a time: a real kill would also end the others, but here they would continue and hold their locks.
      await expect(here.apply(text, { world: killedWorld, concurrency: 1 })).rejects.toBe(KILLED);
      const results = await here.apply(text);
      expect(
        results.filter(({ error }) => error),
        id,
      ).toEqual([]);
      expect(
        (await here.plan(text)).items.map(({ action }) => action),
        id,
      ).toEqual(['nothing', 'nothing']);
      expect(
        hosts.all.map((host) => host.engineStarts()),
        id,
      ).toEqual([1, 1]);
    }
  });

  test('completes a change that was killed in the middle', async () => {
    await using hosts = await startHosts(1);
    await using here = await openFleetBench(hosts.connect);
    const text = (label: string): string => `machines:\n${yamlEntry('one', hosts.all[0], 1, `, label: [${label}]`)}`;
    await here.apply(text('a=1'));
    const killedWorld = here.world({ progress: recordingProgress({ when: 'after', id: 'configure-engine' }) });
    await expect(here.apply(text('a=2'), { world: killedWorld })).rejects.toBe(KILLED);
    expect(outcomeLines(await here.apply(text('a=2')))).toEqual(['change one']);
    expect((await here.plan(text('a=2'))).items.map(({ action }) => action)).toEqual(['nothing']);
    expect(hosts.all[0]?.engineStarts()).toBe(2);
  });

  test('starts no further machine after it is canceled', async () => {
    await using hosts = await startHosts(4);
    await using here = await openFleetBench(hosts.connect);
    const stop = new AbortController();
    const text = `machines:\n${hosts.all.map((host, at) => yamlEntry(`web-${at + 1}`, host, at + 1)).join('')}`;
    const connect: World['connect'] = async (...call) => {
      stop.abort();
      return hosts.connect(...call);
    };
    const results = await here.apply(text, { world: here.world({ connect, signal: stop.signal }) });
    // Machines that were not started are no failures, and are not among the results.
    expect(outcomeLines(results)).toEqual(['create web-1 CANCELED', 'create web-2 CANCELED']);
    expect(await here.world().store.find('web-4')).toBeUndefined();
  });

  test('removes machines last, and only if all others were created', async () => {
    await using hosts = await startHosts(2);
    await using here = await openFleetBench(hosts.connect);
    const [one, two] = hosts.all;
    await here.apply(`machines:\n${yamlEntry('old', one, 1)}`);
    const failed = await here.apply(`machines:\n${yamlEntry('gone', undefined, 9)}`, { prune: true });
    expect(outcomeLines(failed)).toEqual(['create gone SSH_UNREACHABLE']);
    expect(await here.world().store.listNames()).toEqual(['gone', 'old']);
    const order: string[] = [];
    const world = here.world();
    const planned = await here.plan(`machines:\n${yamlEntry('gone', two, 2)}`, true);
    const onMachineDone = (name: string): void => void order.push(name);
    const results = await applyFleetPlan(planned, { world, worldFor: () => world, onMachineDone, concurrency: 2 });
    expect([outcomeLines(results), order]).toEqual([
      ['finish gone', 'remove old'],
      ['gone', 'old'],
    ]);
    expect(await here.world().store.listNames()).toEqual(['gone']);
  });

  test('does not replace a machine whose docker context belongs to another', async () => {
    await using hosts = await startHosts(1);
    await using here = await openFleetBench(hosts.connect);
    const at = (address: string, profiles: string): string =>
      `machines: { one: { generic: { ipAddress: ${address}, sshPort: 1 }, engine: { port: ${hosts.all[0]?.port} }, profiles: ${profiles} } }`;
    await here.apply(at('127.0.0.1', '[]'));
    const stranger = readyMachine('one', { spec: specNamed('one', { id: 'another' }) });
    const tls = { ca: '', cert: '', key: '' };
    const { clientPaths, store } = here.world();
    await applyFileChanges(
      profilesNamed(['docker-context']).flatMap(({ changesToAdd }) =>
        changesToAdd({ machine: stranger, tls, clientPaths }),
      ),
    );
    const before = await store.read('one');
    const results = await here.apply(at('localhost', '[docker-context]'));
    expect(outcomeLines(results)).toEqual(['replace one CONTEXT_TAKEN']);
    expect(await store.read('one')).toEqual(before);
  });

  test('prunes machines that it created and that have left the file, but none that were created by hand', async () => {
    await using hosts = await startHosts(3);
    await using here = await openFleetBench(hosts.connect);
    const [one, two, three] = hosts.all;
    await here.apply(`machines:\n${yamlEntry('one', one, 1)}${yamlEntry('two', two, 2)}`);
    const { engine } = specNamed('hand');
    const hand = specNamed('hand', {
      options: { ipAddress: '127.0.0.1', sshPort: 3 },
      engine: { ...engine, port: three?.port ?? 0 },
    });
    await createMachine(hand, here.world());
    const less = `machines:\n${yamlEntry('one', one, 1)}${yamlEntry('hand', three, 3)}`;
    expect(await here.apply(less)).toEqual([]);
    expect(outcomeLines(await here.apply(less, { prune: true }))).toEqual(['remove two']);
    expect(outcomeLines(await here.apply('machines: {}', { prune: true }))).toEqual(['remove one']);
    expect(await here.world().store.listNames()).toEqual(['hand']);
  });

  test('removes profiles that are no longer wanted, and replaces a machine whose address changes', async () => {
    await using hosts = await startHosts(1);
    await using here = await openFleetBench(hosts.connect);
    const at = (address: string, more = ''): string =>
      `machines: { one: { generic: { ipAddress: ${address}, sshPort: 1 }, engine: { port: ${hosts.all[0]?.port} }${more} } }`;
    await here.apply(at('127.0.0.1'));
    const first = (await here.world().store.read('one')).spec.id;
    expect(await readContextOwner('one', here.world().clientPaths)).toBe(first);
    expect(outcomeLines(await here.apply(at('127.0.0.1', ', profiles: []')))).toEqual(['change one']);
    expect(await readContextOwner('one', here.world().clientPaths)).toBeUndefined();
    expect(outcomeLines(await here.apply(at('localhost')))).toEqual(['replace one']);
    const { spec } = await here.world().store.read('one');
    expect([spec.options.ipAddress, spec.id === first]).toEqual(['localhost', false]);
    expect(await readContextOwner('one', here.world().clientPaths)).toBe(spec.id);
    const refused = at('127.0.0.1').replace('sshPort: 1', 'sshPort: 1, sshKey: /none');
    expect(outcomeLines(await here.apply(refused))).toEqual(['replace one USAGE']);
    expect((await here.world().store.read('one')).spec, "a machine that can't be replaced is kept").toEqual(spec);
  });
});

describe('apply in a cloud', () => {
  async function startCloud() {
    const cloud = fakeCloud();
    const provider: Driver = { ...cloud.driver, changeKindOf: (key) => (key === 'tag' ? 'live' : 'replace') };
    registeredDrivers.push(provider);
    return cloud;
  }
  const text = (ports: readonly number[], more = ''): string =>
    `machines:\n${ports.map((port, at) => `  m${at}: { driver: sky, engine: { port: ${port} }${more} }\n`).join('')}`;

  test('creates all machines of a count in one call', async () => {
    await using cloud = await startCloud();
    await using here = await openFleetBench(cloud.connect);
    const port = await cloud.prepareHost();
    const batch = `machines: { web: { count: 3, driver: sky, engine: { port: ${port} } } }`;
    // Hosts in memory share an address, so only the first one's engine can answer at its port.
    await here.apply(batch);
    expect(cloud.calls.filter((call) => /^(resolveOptions|create)/.test(call))).toEqual(['resolveOptions', 'create 3']);
    const { spec } = await here.world().store.read('web-2');
    expect(spec).toMatchObject({ options: { region: 'north' }, userOptions: {}, batch: { index: 1, size: 3 } });
  });

  test('keeps options that the provider resolved, without a call or a connection', async () => {
    await using cloud = await startCloud();
    await using here = await openFleetBench(cloud.connect);
    const ports = [await cloud.prepareHost(), await cloud.prepareHost()];
    expect(outcomeLines(await here.apply(text(ports)))).toEqual(['create m0', 'create m1']);
    const calls = cloud.calls.length;
    expect(await here.apply(text(ports), { world: here.world({ connect: failOnConnect }) })).toEqual([]);
    expect(await here.apply(text(ports, ', sky: { region: north }'))).toEqual([]);
    expect(cloud.calls.length).toBe(calls);
    expect((await here.plan(text(ports, ', sky: { region: south }'))).items.map(({ action }) => action)).toEqual([
      'replace',
      'replace',
    ]);
  });

  test('completes an interrupted machine in the region that was resolved for it', async () => {
    await using cloud = await startCloud();
    await using here = await openFleetBench(cloud.connect);
    const ports = [await cloud.prepareHost()];
    const killedWorld = here.world({ progress: recordingProgress({ when: 'before', id: 'connect' }) });
    await expect(here.apply(text(ports), { world: killedWorld })).rejects.toBe(KILLED);
    expect(outcomeLines(await here.apply(text(ports)))).toEqual(['finish m0']);
    expect(cloud.createdHosts).toHaveLength(1);
    expect(cloud.targets.map(({ options }) => options)).toEqual([{ region: 'north' }, { region: 'north' }]);
    expect((await here.world().store.read('m0')).spec).toMatchObject({
      userOptions: {},
      fleet: join(here.path, 'machines.yaml'),
    });
  });

  test('limits concurrency, even for machines that one call creates', async () => {
    await using cloud = await startCloud();
    let most = 0;
    let now = 0;
    const connect: World['connect'] = async () => {
      now += 1;
      most = Math.max(most, now);
      await sleep(200);
      now -= 1;
      throw new SlipwayError('USAGE', 'this test must not connect');
    };
    await using here = await openFleetBench(connect);
    const batch = `machines:\n  web: { count: 4, driver: sky }\n  db: { count: 3, driver: sky }\n  one: { driver: sky }\n`;
    expect(await here.apply(batch, { concurrency: 2 })).toHaveLength(8);
    expect([most, cloud.calls.filter((call) => call.startsWith('create')).toSorted()]).toEqual([
      2,
      ['create', 'create 3', 'create 4'],
    ]);
  });

  test('starts none of a batch if it was canceled before', async () => {
    await using cloud = await startCloud();
    await using here = await openFleetBench(cloud.connect);
    const stop = new AbortController();
    stop.abort();
    const batch = 'machines: { web: { count: 3, driver: sky } }';
    expect(await here.apply(batch, { world: here.world({ signal: stop.signal }) })).toEqual([]);
    expect([cloud.calls, await here.world().store.listNames()]).toEqual([[], []]);
  });

  test('completes an interrupted batch with the current engine options and profiles', async () => {
    await using cloud = await startCloud();
    await using here = await openFleetBench(cloud.connect);
    const port = await cloud.prepareHost();
    const batch = (more: string, other = ''): string =>
      `machines: { web: { count: 2, driver: sky, engine: { port: ${port}${more} }${other} } }`;
    const killedWorld = here.world({ progress: recordingProgress({ when: 'after', id: 'create' }) });
    await expect(here.apply(batch(''), { world: killedWorld })).rejects.toBe(KILLED);
    const results = await here.apply(batch(', label: [a=b]', ', profiles: []'));
    expect(outcomeLines(results)[0]).toBe('finish web-1');
    expect(cloud.calls.filter((call) => call.startsWith('create'))).toEqual(['create 2', 'create 2']);
    const { spec } = await here.world().store.read('web-1');
    expect(spec).toMatchObject({ options: { region: 'north' }, profiles: [], engine: { label: ['a=b'] } });
    expect(cloud.createdHosts[0]?.host.files.get('/etc/docker/daemon.json')?.content).toContain('a=b');
  });

  test('sends live changes to the provider, and records the options that the user gave', async () => {
    await using cloud = await startCloud();
    const changes: unknown[] = [];
    const changeable: CloudDriver = {
      ...cloud.driver,
      options: z.object({ region: z.string().optional(), tag: z.string().optional() }),
      cloud: {
        ...cloud.driver.cloud,
        resolveOptions: async ({ options }) => ({ ...options, region: options.region ?? 'north' }),
      },
      changeKindOf: (key) => (key === 'tag' ? 'live' : 'replace'),
      changes: { apply: async ({ options }, before) => void changes.push([before, options]) },
    };
    registeredDrivers[0] = changeable;
    await using here = await openFleetBench(cloud.connect);
    const ports = [await cloud.prepareHost()];
    await here.apply(text(ports));
    expect(outcomeLines(await here.apply(text(ports, ', sky: { tag: a }')))).toEqual(['change m0']);
    expect(changes).toEqual([[{ region: 'north' }, { region: 'north', tag: 'a' }]]);
    expect((await here.world().store.read('m0')).spec).toMatchObject({
      options: { region: 'north', tag: 'a' },
      userOptions: { tag: 'a' },
    });
    expect(await here.apply(text(ports, ', sky: { tag: a }'))).toEqual([]);
    const other = provisionMachine(
      'm0',
      (spec) => ({ ...spec, options: { ...spec.options, region: 'south' } }),
      here.world(),
    );
    await expect(other).rejects.toThrow("can't change region of sky");
  });
});

describe("a replacement that can't be created keeps the old machine", () => {
  const refusal = new SlipwayError('PROVIDER_REFUSED', 'there is no such thing');
  const REFUSALS: readonly (readonly [string, (driver: CloudDriver) => Partial<CloudDriver>, string])[] = [
    [
      'the provider has no such image',
      ({ cloud }) => ({ cloud: { ...cloud, resolveOptions: () => Promise.reject(refusal) } }),
      'PROVIDER_REFUSED',
    ],
    [
      'the image does not match its digest',
      ({ machines }) => ({ machines: { ...machines, prepare: () => Promise.reject(refusal) } }),
      'PROVIDER_REFUSED',
    ],
    [
      'it would be removed at a shutdown instead of stopped',
      () => ({ shutdownBehavior: () => ({ byItself: 'removed', costs: '' }) }),
      'USAGE',
    ],
  ];
  test.each(REFUSALS)('if %s', async (_why, more, code) => {
    await using cloud = fakeCloud();
    await using here = await openFleetBench(cloud.connect);
    const driver: CloudDriver = { ...cloud.driver, shutdownBehavior: () => ({ byItself: 'stopped', costs: '' }) };
    registeredDrivers.push(driver);
    const port = await cloud.prepareHost();
    const text = (region: string): string =>
      `machines: { m: { driver: sky, sky: { region: ${region} }, idleStop: 1h, engine: { port: ${port} } } }`;
    await here.apply(text('north'));
    const before = await here.world().store.read('m');
    registeredDrivers[0] = { ...driver, ...more(driver) };
    expect(outcomeLines(await here.apply(text('south')))).toEqual([`replace m ${code}`]);
    expect(cloud.calls).not.toContain('remove');
    expect(await here.world().store.read('m')).toEqual(before);
  });

  test('and one that can is resolved once, before the old machine is removed', async () => {
    await using cloud = fakeCloud();
    await using here = await openFleetBench(cloud.connect);
    registeredDrivers.push(cloud.driver);
    const [one, two] = [await cloud.prepareHost(), await cloud.prepareHost()];
    const text = (port: number, more = ''): string =>
      `machines: { m: { driver: sky, engine: { port: ${port} }${more} } }`;
    await here.apply(text(one));
    const from = cloud.calls.length;
    expect(outcomeLines(await here.apply(text(two, ', sky: { region: south }')))).toEqual(['replace m']);
    expect(cloud.calls.slice(from)).toEqual(['resolveOptions', 'remove', 'create']);
    expect((await here.world().store.read('m')).spec).toMatchObject({
      options: { region: 'south' },
      userOptions: { region: 'south' },
    });
  });
});

describe('apply to a machine whose options change at its start', () => {
  async function startLocalMachine() {
    const host = await startFakeHost({ engine: true });
    const fake = fakeLocalMachine(host);
    const { power } = fake.driver;
    if (!power) throw new Error('the fake driver has no power');
    const sizes: unknown[] = [];
    registeredDrivers.push({
      ...fake.driver,
      options: z.object({ memory: z.int().default(1), image: z.string().default('a') }),
      changeKindOf: (key) => (key === 'memory' ? 'restart' : 'replace'),
      power: {
        ...power,
        start: async (target, call) => {
          sizes.push(target.options.memory);
          await power.start(target, call);
        },
      },
    });
    const here = await openFleetBench(host.connect);
    const text = (memory: number, engine = ''): string =>
      `machines: { dev: { local: { memory: ${memory} }, engine: { port: ${host.port}${engine} } } }`;
    return {
      host,
      fake,
      sizes,
      here,
      text,
      async [Symbol.asyncDispose]() {
        await here[Symbol.asyncDispose]();
        await host[Symbol.asyncDispose]();
      },
    };
  }

  test('restarts a running machine once', async () => {
    await using fixture = await startLocalMachine();
    const { fake, sizes, here, text } = fixture;
    await here.apply(text(1));
    const before = fake.calls.length;
    expect(outcomeLines(await here.apply(text(2)))).toEqual(['change dev']);
    expect(fake.calls.slice(before)).toEqual(['stop in 60', 'start', 'waitUntilBooted']);
    expect(sizes).toEqual([2]);
    expect(await here.apply(text(2))).toEqual([]);
  });

  test('leaves a stopped machine stopped, and the change takes effect at its start', async () => {
    await using fixture = await startLocalMachine();
    const { fake, sizes, here, text } = fixture;
    await here.apply(text(1));
    await stopMachine('dev', 1, here.world());
    const before = fake.calls.length;
    expect(outcomeLines(await here.apply(text(2)))).toEqual(['change dev']);
    expect([fake.calls.slice(before), sizes]).toEqual([[], []]);
    expect((await here.world().store.read('dev')).spec.options.memory).toBe(2);
    expect(await here.apply(text(2))).toEqual([]);
  });

  test.each(
    ['before', 'after'].flatMap((when) => ['stop', 'start', 'boot', 'verify', 'profiles'].map((id) => ({ when, id }))),
  )('completes a restart that was killed $when $id', async ({ when, id }) => {
    await using fixture = await startLocalMachine();
    const { fake, sizes, here, text } = fixture;
    await here.apply(text(1));
    const killedWorld = here.world({ progress: recordingProgress({ when: when as 'before', id }) });
    await expect(here.apply(text(2), { world: killedWorld })).rejects.toBe(KILLED);
    expect(outcomeLines(await here.apply(text(2)))).toEqual(['change dev']);
    expect(sizes.at(-1)).toBe(2);
    expect(fake.calls.at(-1)).toBe('waitUntilBooted');
    expect(await here.apply(text(2))).toEqual([]);
  });

  test('completes the restart even after a provision in between', async () => {
    await using fixture = await startLocalMachine();
    const { fake, here, text } = fixture;
    await here.apply(text(1));
    const killedWorld = here.world({ progress: recordingProgress({ when: 'before', id: 'stop' }) });
    await expect(here.apply(text(2), { world: killedWorld })).rejects.toBe(KILLED);
    await provisionMachine('dev', (spec) => spec, here.world());
    const before = fake.calls.length;
    expect(outcomeLines(await here.apply(text(2)))).toEqual(['change dev']);
    expect(fake.calls.slice(before)).toEqual(['stop in 60', 'start', 'waitUntilBooted']);
  });

  test('also changes its engine, after the start', async () => {
    await using fixture = await startLocalMachine();
    const { host, here, text } = fixture;
    await here.apply(text(1));
    expect(outcomeLines(await here.apply(text(2, ', label: [a=b]')))).toEqual(['change dev']);
    expect(host.files.get('/etc/docker/daemon.json')?.content).toContain('a=b');
    expect(await here.apply(text(2, ', label: [a=b]'))).toEqual([]);
  });
});

const failOnConnect: World['connect'] = async () => {
  throw new Error('this test must not connect');
};
