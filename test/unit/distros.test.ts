import { describe, expect, test, vi } from 'vitest';
import type { Distro } from '../../src/provision/distros/distro.ts';
import type { Facts } from '../../src/provision/facts.ts';
import { readFactsScript } from '../../src/provision/facts-script.ts';
import type { ServiceManager } from '../../src/provision/init/service-manager.ts';
import { planProvision } from '../../src/provision/plan.ts';
import { planUpgrade, summarizeUpgrade } from '../../src/provision/upgrade-plan.ts';
import { catchError } from '../fakes/catch-error.ts';
import { bareHost, engineSpec, factsWith, planInput } from './host-facts.ts';

vi.mock('../../src/provision/distros/registry.ts', async (importActual) => {
  const { distros } = await importActual<{ readonly distros: readonly Distro[] }>();
  const { toyLinux } = await import('../fakes/toy-families.ts');
  return { distros: [...distros, toyLinux] };
});

vi.mock('../../src/provision/init/registry.ts', async (importActual) => {
  const actual = await importActual<{ readonly serviceManagers: readonly ServiceManager[] }>();
  const { toyInit } = await import('../fakes/toy-families.ts');
  return { ...actual, serviceManagers: [...actual.serviceManagers, toyInit] };
});

const toyHost = factsWith(bareHost, {
  os: { id: 'toy', idLike: [], codename: '', version: '1', name: 'Toy Linux 1' },
  packageManager: 'toypkg',
});
const toyHostWithEngine = (version: string): Facts =>
  factsWith(toyHost, {
    dockerd: '/usr/bin/dockerd',
    packages: { moby: { state: 'whole', version } },
    engineService: { isActive: true, isEnabled: true, definition: 'exec /usr/bin/dockerd' },
  });

describe('a distribution that is added to the registry', () => {
  test('gets its own installation step, with the functions of the service manager', () => {
    const [configure, install] = planProvision(planInput(toyHost, { source: 'distro', version: '28' }));
    expect(configure?.id).toBe('configure-engine');
    expect(install).toEqual({
      id: 'install-engine',
      title: "Install the engine (the distribution's package)",
      template: 'install-engine.toy.sh',
      scripts: ['init/systemd/services.sh', 'engine-info.sh', 'restart-engine.sh', 'distros/toy/install-engine.sh'],
      variables: { SOURCE: 'distro', VERSION: '28' },
      files: [],
    });
  });

  test("refuses what it can't do with a message of its own", () => {
    const error = catchError(() => planProvision(planInput(toyHost, { source: 'docker' })));
    expect(`${error?.code}: ${error?.message}`).toBe(
      "OS_UNSUPPORTED: 192.0.2.10: Docker's repository has no packages for Toy Linux",
    );
  });

  test('is named among the supported ones', () => {
    const error = catchError(() => planProvision(planInput(factsWith(bareHost, { packageManager: 'other' }))));
    expect(error?.message).toContain('Slipway supports Debian, Ubuntu and their derivatives; Toy Linux');
  });

  test('decides by its own packages whether an engine is installed, and how it is upgraded', () => {
    const host = toyHostWithEngine('28.1-r0');
    expect(planProvision(planInput(host, { version: '28.1' })).map(({ id }) => id)).toEqual(['configure-engine']);
    expect(planProvision(planInput(host, { version: '29', source: 'distro' })).at(-1)?.title).toBe(
      'Install engine 29 over 28.1-r0',
    );
    expect(planUpgrade(engineSpec(), host, '192.0.2.10')[0]?.variables).toEqual({ PACKAGES: 'moby' });
    expect(summarizeUpgrade(host, toyHostWithEngine('28.2-r0'))).toMatchObject({
      engineBefore: '28.1',
      engine: '28.2',
    });
  });
});

test('a service manager that is added to the registry gets its own drop-in and its own functions', () => {
  const host = factsWith(toyHostWithEngine('28.1-r0'), { serviceManager: 'toyinit' });
  const [step] = planProvision(planInput(host));
  expect(step?.scripts).toEqual(['init/toyinit/services.sh', 'engine-info.sh', 'restart-engine.sh', 'configure.sh']);
  expect(step?.files.map(({ path }) => path)).toContain('/etc/toyinit/docker.conf');
  expect(
    planProvision(planInput(factsWith(toyHost, { serviceManager: 'toyinit' }), { source: 'distro' })),
  ).toHaveLength(2);
});

test('the facts of all families are gathered by one script', async () => {
  const script = await readFactsScript(async (name) => `# ${name}`, 2376);
  expect(script).toBe(`# facts.sh
main <<'AS_ROOT'
FAMILIES='systemd toyinit debian toy'
ENGINE_PORT='2376'
# engine-info.sh
# init/systemd/facts.sh
# init/toyinit/facts.sh
# distros/debian/facts.sh
# distros/toy/facts.sh
# other-engines.sh
# facts-as-root.sh
AS_ROOT
`);
});
