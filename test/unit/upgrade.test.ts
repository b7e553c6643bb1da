import { describe, expect, test } from 'vitest';
import { upgradeResult } from '../../src/cli/commands/upgrade.ts';
import type { Facts } from '../../src/provision/facts.ts';
import { planUpgrade, summarizeUpgrade } from '../../src/provision/upgrade-plan.ts';
import { createMachine } from '../../src/operations/create.ts';
import { upgradeMachine } from '../../src/operations/upgrade.ts';
import type { MachineSpec } from '../../src/machine/model.ts';
import { catchError, catchRejection } from '../fakes/catch-error.ts';
import { createTemporaryFolder } from '../fakes/temporary-folder.ts';
import { startFakeHost, type FakeHost } from '../fakes/fake-host.ts';
import { readyMachine, specNamed } from '../fakes/sample-machine.ts';
import { recordingProgress, worldIn } from '../fakes/test-world.ts';
import { bareHost, engineSpec, factsWith, hostWithEngine } from './host-facts.ts';

const factsWithPackages = (packages: Readonly<Record<string, string>>): Facts =>
  factsWith(hostWithEngine, {
    packages: Object.fromEntries(
      Object.entries(packages).map(([name, version]) => [name, { state: 'installed', version }]),
    ),
  });
const planFor = (facts: Facts, version?: string) => planUpgrade(engineSpec({ version }), facts, '192.0.2.10');
const refusalOf = (facts: Facts): string => {
  const error = catchError(() => planFor(facts));
  return `${error?.code}: ${error?.message} → ${error?.hint}`;
};

describe('planUpgrade', () => {
  test('upgrades the installed packages of the engine, and no others', () => {
    const host = factsWith(factsWithPackages({ 'docker.io': '20.10', runc: '1.1', containerd: '1.6' }));
    const gone = { ...host.packages, 'docker-ce': { state: 'config-files', version: '5:28' } };
    expect(planFor(factsWith(host, { packages: gone }))).toEqual([
      {
        id: 'upgrade-engine',
        title: "Upgrade the engine (the distribution's package)",
        template: 'install-engine.debian.sh',
        scripts: [
          'init/systemd/services.sh',
          'engine-info.sh',
          'restart-engine.sh',
          'distros/debian/apt.sh',
          'distros/debian/install-engine.sh',
        ],
        variables: {
          SOURCE: 'present',
          VERSION: '',
          VERSION_PATTERN: '',
          PACKAGES: 'docker.io runc containerd',
          MODE: 'install',
        },
        files: [],
        previewVariables: { MODE: 'preview' },
      },
    ]);
  });

  test('upgrades to the requested version', () => {
    expect(
      planFor(factsWithPackages({ 'docker-ce': '5:26.1.4-1', 'docker-ce-cli': '5:26.1.4-1' }), '27.3'),
    ).toMatchObject([
      {
        title: "Upgrade the engine (Docker's repository, version 27.3)",
        variables: { SOURCE: 'present', VERSION: '27.3', PACKAGES: 'docker-ce docker-ce-cli' },
      },
    ]);
  });

  test("refuses an engine that the package manager can't upgrade", () => {
    expect(refusalOf(bareHost)).toMatchInlineSnapshot(
      `"ENGINE_MISSING: 192.0.2.10 has no engine to upgrade → To install one: slipway provision NAME"`,
    );
    expect(
      refusalOf(factsWith(hostWithEngine, { packages: { runc: { state: 'installed', version: '1' } } })),
    ).toMatchInlineSnapshot(
      `"ENGINE_MISSING: /usr/sbin/dockerd on 192.0.2.10 belongs to no package of docker.io or docker-ce → Upgrade it the way it was installed: slipway ssh NAME"`,
    );
    expect(refusalOf(factsWith(hostWithEngine, { packageManager: undefined }))).toMatch(/^OS_UNSUPPORTED/);
  });
});

describe('summarizeUpgrade', () => {
  const summarize = (
    before: Readonly<Record<string, string>>,
    after: Readonly<Record<string, string>>,
    version?: string,
  ) =>
    upgradeResult(
      'web',
      {
        plan: [],
        url: 'tcp://192.0.2.10:2376',
        summary: summarizeUpgrade(factsWithPackages(before), factsWithPackages(after)),
      },
      version,
    );
  const oldPackages = {
    'docker-ce': '5:26.1.4-1~debian.12~bookworm',
    'docker-ce-cli': '5:26.1.4-1~debian.12~bookworm',
  };
  const newPackages = {
    'docker-ce': '5:27.3.1-1~debian.12~bookworm',
    'docker-ce-cli': '5:27.3.1-1~debian.12~bookworm',
  };

  test("states upstream's versions", () => {
    expect(summarize(oldPackages, newPackages)).toEqual({
      json: {
        name: 'web',
        url: 'tcp://192.0.2.10:2376',
        engine: '27.3.1',
        engineBefore: '26.1.4',
        packages: Object.keys(oldPackages).map((name) => ({
          name,
          from: oldPackages['docker-ce'],
          to: newPackages['docker-ce'],
        })),
      },
      text: 'web: engine 26.1.4 -> 27.3.1',
    });
  });

  test('says so where nothing is newer', () => {
    expect(summarize(oldPackages, oldPackages)).toMatchObject({
      json: { engine: '26.1.4', engineBefore: null, packages: [] },
      text: 'web: engine 26.1.4 is the newest version in its package repository',
    });
    expect(summarize(oldPackages, oldPackages, '26').text).toBe(
      'web: engine 26.1.4 is the newest 26 version in its package repository',
    );
  });

  test('shows package versions where only those differ', () => {
    const debian = (build: string) => ({ 'docker.io': `26.1.5+dfsg1-9+${build}` });
    expect(summarize(debian('b9'), debian('deb13u1')).text).toBe(
      'web: engine 26.1.5+dfsg1-9+b9 -> 26.1.5+dfsg1-9+deb13u1',
    );
  });

  test('lists changed packages with their own versions, and leaves out new ones', () => {
    expect(
      summarize(
        { ...oldPackages, 'containerd.io': '1.7.22-1' },
        { ...newPackages, 'containerd.io': '1.7.27-1', runc: '1' },
      ).text,
    ).toBe('web: engine 26.1.4 -> 27.3.1, containerd.io 1.7.22-1 -> 1.7.27-1');
    expect(
      summarize({ ...oldPackages, 'containerd.io': '1.7.22-1' }, { ...oldPackages, 'containerd.io': '1.7.27-1' }).text,
    ).toBe('web: engine 26.1.4 is the newest version in its package repository, containerd.io 1.7.22-1 -> 1.7.27-1');
  });
});

describe('upgrade', () => {
  const specOn = (host: FakeHost, version?: string): MachineSpec => {
    const spec = specNamed('web', { options: { ipAddress: host.address, sshUser: 'root', sshPort: 22 } });
    return { ...spec, engine: { ...spec.engine, port: host.port, version } };
  };
  const setVersion = (version: string | undefined) => (spec: MachineSpec) => ({
    ...spec,
    engine: { ...spec.engine, version },
  });

  test('takes one connection, one run of the package manager, and facts afterwards', async () => {
    await using home = await createTemporaryFolder();
    await using host = await startFakeHost({ engine: true });
    const ready = await createMachine(specOn(host), worldIn(home.path, { connect: host.connect }));
    host.executions.length = 0;
    host.expectedHostKeys.length = 0;
    const progress = recordingProgress();
    const world = worldIn(home.path, { connect: host.connect, progress });
    const { summary, url } = await upgradeMachine('web', { changeSpec: undefined, isDryRun: false }, world);
    expect([summary?.engine, summary?.engineBefore, url]).toEqual(['20.10', undefined, ready.endpoint.url]);
    expect(progress.ids).toEqual(['connect', 'facts', 'upgrade-engine', 'verify']);
    expect(host.executions).toEqual(['facts.sh', 'install-engine.debian.sh', 'facts.sh']);
    expect(host.expectedHostKeys).toEqual([host.hostKey]);
    expect(await world.store.read('web')).toEqual(ready);
  });

  test('refuses a pinned machine without a version before it connects', async () => {
    await using home = await createTemporaryFolder();
    await using host = await startFakeHost({ engine: true });
    const world = worldIn(home.path, { connect: host.connect });
    const ready = await createMachine(specOn(host, '20'), world);
    host.expectedHostKeys.length = 0;
    expect(
      await catchRejection(upgradeMachine('web', { changeSpec: undefined, isDryRun: false }, world)),
    ).toMatchObject({
      code: 'USAGE',
      message: 'Machine "web" is pinned to engine version 20',
    });
    expect(host.expectedHostKeys).toEqual([]);
    expect(await world.store.read('web'), 'no failure of the machine').toEqual(ready);

    host.executions.length = 0;
    const { plan } = await upgradeMachine('web', { changeSpec: setVersion('28'), isDryRun: true }, world);
    expect(plan[0]?.variables.VERSION).toBe('28');
    expect(plan[0]?.preview?.packages).toEqual([{ name: 'docker.io', change: 'upgrade', from: '20.10', to: '28.0' }]);
    expect(host.executions).toEqual(['facts.sh', 'install-engine.debian.sh']);
    expect(await world.store.read('web')).toEqual(ready);

    await upgradeMachine('web', { changeSpec: setVersion(undefined), isDryRun: false }, world);
    expect((await world.store.read('web')).spec.engine.version).toBeUndefined();
  });

  test('refuses a host that belongs to another machine now', async () => {
    await using home = await createTemporaryFolder();
    await using host = await startFakeHost({ engine: true });
    const world = worldIn(home.path, { connect: host.connect });
    await createMachine(specOn(host), world);
    host.files.set('/etc/docker/slipway/state.json', { content: '{"id":"x","name":"theirs"}', mode: '600' });
    host.executions.length = 0;
    expect(
      (await catchRejection(upgradeMachine('web', { changeSpec: undefined, isDryRun: false }, world)))?.message,
    ).toBe('Host 127.0.0.1 now belongs to machine "theirs"');
    expect(host.executions).toEqual(['facts.sh']);
  });

  test('requires a ready machine with SSH', async () => {
    await using home = await createTemporaryFolder();
    const world = worldIn(home.path, {
      connect: async () => {
        throw new Error('this test must not connect');
      },
    });
    const errorCodeOf = async (name: string): Promise<string | undefined> =>
      (await catchRejection(upgradeMachine(name, { changeSpec: undefined, isDryRun: false }, world)))?.code;
    await world.store.write({ version: 1, phase: 'creating', spec: specNamed('half') });
    await world.store.write(
      readyMachine('far', { spec: specNamed('far'), host: { address: 'x', engine: { url: 'tcp://x:2376' } } }),
    );
    expect([await errorCodeOf('half'), await errorCodeOf('far'), await errorCodeOf('free')]).toEqual([
      'MACHINE_NOT_READY',
      'DRIVER_UNSUPPORTED',
      'MACHINE_NOT_FOUND',
    ]);
  });
});
