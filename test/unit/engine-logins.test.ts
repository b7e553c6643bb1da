import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { toYaml } from '../../src/fleet/to-yaml.ts';
import { resolveSpec } from '../../src/machine-options/spec-from-flags.ts';
import type { MachineSpec } from '../../src/machine/model.ts';
import { toArgv } from '../../src/machine/options.ts';
import { engineOptionSpecs } from '../../src/machine/spec.ts';
import { openStore, toPublicRecord } from '../../src/machine/store.ts';
import { diffSpecs } from '../../src/operations/diff-specs.ts';
import { getDriver } from '../../src/drivers/registry.ts';
import { parseImageReference } from '../../src/images/image-reference.ts';
import { hideLogins } from '../../src/url-login.ts';
import { planDeprovision, planProvision } from '../../src/provision/plan.ts';
import { toPlannedSteps } from '../../src/provision/step.ts';
import { catchError } from '../fakes/catch-error.ts';
import { readMode } from '../fakes/file-modes.ts';
import { readyMachine } from '../fakes/sample-machine.ts';
import { createTemporaryFolder } from '../fakes/temporary-folder.ts';
import { bareHost, factsAfter, factsWith, planInput } from './host-facts.ts';

const SECRET = 't%40ken';
const URL_WITH_LOGIN = `https://me:${SECRET}@mirror.example/docker`;
const LOGIN_FILE = '/etc/apt/auth.conf.d/slipway.conf';

const specFrom = (flags: Record<string, unknown>, before?: MachineSpec): MachineSpec =>
  resolveSpec({
    name: 'web',
    driver: 'generic',
    flags: { 'generic-ip-address': '192.0.2.10', ...flags },
    env: {},
    before,
    profiles: [],
  });

describe('a login in --engine-repository-url', () => {
  const spec = specFrom({ 'engine-repository-url': URL_WITH_LOGIN });

  test('is separated from the URL, and stays until the URL changes', () => {
    expect(spec.engine).toMatchObject({
      repositoryUrl: 'https://mirror.example/docker',
      repositoryLogin: `me:${SECRET}`,
    });
    expect(specFrom({ 'engine-label': ['a=b'] }, spec).engine.repositoryLogin).toBe(`me:${SECRET}`);
    expect(specFrom({ 'engine-repository-url': 'https://other.example' }, spec).engine).not.toHaveProperty(
      'repositoryLogin',
    );
    expect(specFrom({}).engine).not.toHaveProperty('repositoryLogin');
    for (const login of ['me', 'me:', ':secret', 'me:a%20b'])
      expect(catchError(() => specFrom({ 'engine-repository-url': `https://${login}@mirror.example` }))?.code).toBe(
        'USAGE',
      );
  });

  test('is in no record, command line or plan, but comes back from the store', async () => {
    await using home = await createTemporaryFolder();
    const store = openStore(home.path);
    const machine = readyMachine('web', { spec });
    await store.write(machine);
    expect((await store.read('web')).spec.engine).toEqual(spec.engine);
    const { folder } = store.paths('web');
    const found = await Promise.all(
      (await readdir(folder)).map(async (file) => [file, await readFile(join(folder, file), 'utf8')]),
    );
    expect(found.filter(([, text]) => text?.includes(SECRET)).map(([file]) => file)).toEqual(['repository-login']);
    expect(await readMode(join(folder, 'repository-login'), '600')).toBe('600');
    expect(JSON.stringify(toPublicRecord(machine))).not.toContain(SECRET);
    expect(toArgv(engineOptionSpecs, spec.engine).join(' ')).not.toContain(SECRET);
    expect(toYaml(spec)).not.toContain(SECRET);
    const plan = planProvision({ ...planInput(bareHost), engine: spec.engine });
    expect(JSON.stringify(plan.map(({ variables }) => variables))).not.toMatch(/t%40ken|t@ken/);
    expect(JSON.stringify(toPlannedSteps(plan))).not.toMatch(/t%40ken|t@ken/);

    const { repositoryLogin: _gone, ...engine } = spec.engine;
    await store.write(readyMachine('web', { spec: { ...spec, engine } }));
    expect(await readdir(folder)).not.toContain('repository-login');
  });

  test('reaches apt in a file that only root can read, before the lists are fetched', () => {
    const plan = planProvision({ ...planInput(bareHost), engine: spec.engine });
    expect(plan.map(({ id }) => id)).toEqual([
      'package-sources',
      'check-packages',
      'configure-engine',
      'install-engine',
    ]);
    expect(plan[0]?.files).toEqual([
      { path: LOGIN_FILE, mode: '600', content: 'machine mirror.example/docker login me password t@ken\n' },
    ]);
    const now = factsAfter(bareHost, plan);
    expect(planProvision({ ...planInput(now), engine: spec.engine })).toEqual([]);
    expect(planDeprovision(now, 'web').flatMap(({ files }) => files)).toContainEqual({
      path: LOGIN_FILE,
      content: undefined,
    });
    const { repositoryLogin: _gone, ...engine } = spec.engine;
    expect(planProvision({ ...planInput(factsWith(now)), engine })[0]?.files).toEqual([
      { path: LOGIN_FILE, content: undefined },
    ]);
    const plain = { ...spec.engine, repositoryUrl: 'http://mirror.example:8080/docker' };
    expect(planProvision({ ...planInput(bareHost), engine: plain })[0]?.files[0]?.content).toContain(
      'machine http://mirror.example:8080/docker login',
    );
  });

  test('is a change that needs no restart', () => {
    const wanted = specFrom({ 'engine-repository-url': 'https://me:other@mirror.example/docker' }, spec);
    expect(diffSpecs({ spec }, wanted, getDriver('generic')).map(({ key, effect }) => `${key} ${effect}`)).toEqual([
      'repositoryLogin live',
    ]);
  });
});

describe('a login in --engine-install-url', () => {
  const spec = specFrom({ 'engine-install-url': `https://me:${SECRET}@scripts.example/install.sh` });

  test('is separated from the URL, and removed with it', () => {
    expect(spec.engine).toMatchObject({
      source: 'url',
      installUrl: 'https://scripts.example/install.sh',
      installLogin: `me:${SECRET}`,
    });
    expect(specFrom({ 'engine-label': ['a=b'] }, spec).engine.installLogin).toBe(`me:${SECRET}`);
    expect(specFrom({ 'engine-source': 'distro' }, spec).engine).not.toHaveProperty('installLogin');
    expect(specFrom({ 'engine-install-url': 'https://me:a@b@scripts.example/x' }).engine).toMatchObject({
      installUrl: 'https://scripts.example/x',
      installLogin: 'me:a@b',
    });
  });

  test('is in no record, command line or plan, but comes back from the store', async () => {
    await using home = await createTemporaryFolder();
    const store = openStore(home.path);
    const machine = readyMachine('web', { spec });
    await store.write(machine);
    expect((await store.read('web')).spec.engine).toEqual(spec.engine);
    const { folder } = store.paths('web');
    const found = await Promise.all(
      (await readdir(folder)).map(async (file) => [file, await readFile(join(folder, file), 'utf8')]),
    );
    expect(found.filter(([, text]) => text?.includes(SECRET)).map(([file]) => file)).toEqual(['install-login']);
    expect(await readMode(join(folder, 'install-login'), '600')).toBe('600');
    expect(JSON.stringify(toPublicRecord(machine))).not.toContain(SECRET);
    expect(toArgv(engineOptionSpecs, spec.engine).join(' ')).not.toContain(SECRET);
    expect(toYaml(spec)).not.toContain(SECRET);
  });

  test('reaches the host in a file that only root can read, before the script is fetched', () => {
    const plan = planProvision({ ...planInput(bareHost), engine: spec.engine });
    expect(JSON.stringify(plan.map(({ variables }) => variables))).not.toMatch(/t%40ken|t@ken/);
    expect(JSON.stringify(toPlannedSteps(plan))).not.toMatch(/t%40ken|t@ken/);
    expect(plan[0]?.files).toEqual([
      { path: LOGIN_FILE, mode: '600', content: 'machine scripts.example/install.sh login me password t@ken\n' },
    ]);
    expect(plan.findIndex(({ id }) => id === 'install-engine')).toBeGreaterThan(0);
  });
});

describe('a login in another URL', () => {
  test.each([
    [
      'engine-registry-mirror',
      ['https://me:t0ken@mirror.example'],
      '--engine-registry-mirror must be a URL without a login',
    ],
    ['engine-opt', ['http-proxy=http://me:t0ken@proxy.example:3128'], '--engine-env HTTPS_PROXY=http://USER'],
    [
      'engine-opt',
      ['proxies={"https-proxy":"http://me:t0ken@proxy.example"}'],
      '--engine-opt must be an option without',
    ],
    ['engine-install-url', 'https://me:t0/ken@scripts.example/x', 'special characters of a password as %XX'],
    ['engine-repository-url', 'https://me:t0/ken@mirror.example', 'special characters of a password as %XX'],
  ])('in --%s %j is refused, and not repeated', (flag, value, sentence) => {
    const error = catchError(() => specFrom({ [flag]: value }));
    expect(error).toMatchObject({ code: 'USAGE', message: expect.stringContaining(sentence) });
    expect(error?.message).not.toMatch(/t0|ken@/);
  });

  test.each([
    ['qemu', { image: 'https://me:t0ken@images.example/disk.qcow2' }, 'a URL without a login'],
    ['ec2', { 'ec2-endpoint': 'https://me:t0ken@ec2.example' }, 'a URL without a login'],
    ['ec2', { 'ec2-endpoint': 'me:t0ken@ec2.example' }, 'a URL without a login'],
    ['gce', { 'gce-endpoint': 'https://me:t0ken@gce.example/' }, 'a URL without a login'],
  ])('of the driver %s is refused, and not repeated: %j', (driver, flags, sentence) => {
    const error = catchError(() =>
      resolveSpec({ name: 'web', driver, flags, env: {}, before: undefined, profiles: [] }),
    );
    expect(error).toMatchObject({ code: 'USAGE', message: expect.stringContaining(sentence) });
    expect(error?.message).not.toContain('t0ken');
  });

  test('of an image that is pulled is refused, and not repeated', () => {
    const error = catchError(() => parseImageReference('https://me:t0ken@images.example/disk.qcow2'));
    expect(error).toMatchObject({ code: 'USAGE', hint: expect.stringContaining('use the file') });
    expect(error?.message).not.toContain('t0ken');
  });

  test('is no mistake where the URL has none', () => {
    expect(
      specFrom({
        'engine-registry-mirror': ['https://mirror.example/@scope/'],
        'engine-opt': ['log-opt=tag={{.Name}}@{{.ID}}'],
      }).engine.registryMirror,
    ).toEqual(['https://mirror.example/@scope/']);
  });
});

test('hides each login in a text', () => {
  expect(hideLogins('got "https://me:p@ss@a.example/x" and http://b:c@d, mail me@x')).toBe(
    'got "https://…@a.example/x" and http://…@d, mail me@x',
  );
});
