import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { openStore } from '../../src/machine/store.ts';
import { createTemporaryFolder } from '../fakes/temporary-folder.ts';
import { readyMachine, specNamed } from '../fakes/sample-machine.ts';
import { runProgram, type ProgramResult } from '../fakes/run-program.ts';

const slipwayProgram = fileURLToPath(new URL('../../dist/slipway.js', import.meta.url));

type FleetHome = AsyncDisposable & {
  readonly home: string;
  readonly store: ReturnType<typeof openStore>;
  runSlipway(...argv: readonly string[]): Promise<ProgramResult>;
};

/** Creates a home that is also the current folder, with this text as machines.yaml. */
async function createFleetHome(text: string | Uint8Array): Promise<FleetHome> {
  const folder = await createTemporaryFolder();
  await writeFile(join(folder.path, 'machines.yaml'), text);
  return {
    home: folder.path,
    store: openStore(join(folder.path, '.slipway')),
    runSlipway: (...argv) =>
      runProgram(process.execPath, [slipwayProgram, ...argv], {
        env: { PATH: process.env.PATH, HOME: folder.path },
        cwd: folder.path,
      }),
    [Symbol.asyncDispose]: () => folder[Symbol.asyncDispose](),
  };
}

const TWO_MACHINES = `machines:
  web: { generic: { ipAddress: 192.0.2.10 } }
  db: { generic: { ipAddress: 192.0.2.11 } }
`;
const READY_MACHINE = readyMachine('web', { spec: specNamed('web') });

describe('plan', () => {
  test('shows planned changes and applies none of them', async () => {
    await using fixture = await createFleetHome(TWO_MACHINES.replace('192.0.2.10', '192.0.2.12'));
    await fixture.store.write(READY_MACHINE);
    expect(await fixture.runSlipway('plan')).toEqual({
      code: 0,
      stderr: '',
      stdout: `machines.yaml: planned changes
  ± replace  web  generic: the host itself and its engine stay as they are; it was not created from this file
      generic.ipAddress: 192.0.2.10 -> 192.0.2.12  (replaces the machine)
  + create   db   generic
`,
    });
    expect(await readdir(join(fixture.home, '.slipway/machines'))).toEqual(['web']);
  });

  test('prints one JSON document that names each changed field', async () => {
    await using fixture = await createFleetHome(TWO_MACHINES.replace('10 }', '10, sshUser: ops }'));
    await fixture.store.write(READY_MACHINE);
    const { stdout, code } = await fixture.runSlipway('plan', '--json');
    expect([JSON.parse(stdout), code]).toEqual([
      {
        file: 'machines.yaml',
        fleet: join(fixture.home, 'machines.yaml'),
        todo: 2,
        machines: [
          {
            name: 'web',
            driver: 'generic',
            action: 'change',
            changes: [{ field: 'generic.sshUser', from: 'root', to: 'ops', how: 'live' }],
            notes: [],
          },
          { name: 'db', driver: 'generic', action: 'create', changes: [], notes: [] },
        ],
      },
      0,
    ]);
  });

  test('with --exit-code ends with 1 when changes are planned, and with 0 when none are', async () => {
    await using fixture = await createFleetHome(TWO_MACHINES);
    await fixture.store.write(READY_MACHINE);
    expect((await fixture.runSlipway('plan', '--exit-code')).code).toBe(1);
    expect(await fixture.runSlipway('plan', '--exit-code', 'web')).toEqual({
      code: 0,
      stderr: '',
      stdout: '1 machine matches machines.yaml\n',
    });
  });

  test('prints the published schema with --schema', async () => {
    await using fixture = await createFleetHome('');
    const published = await readFile(new URL('../../machines.schema.json', import.meta.url), 'utf8');
    expect(JSON.parse((await fixture.runSlipway('plan', '--schema')).stdout)).toEqual(JSON.parse(published));
  });
});

describe('an invalid call', () => {
  const CALLS: readonly (readonly [string, readonly string[], RegExp])[] = [
    ['names a file that does not exist', ['plan', '-f', 'none.yaml'], /none.yaml does not exist\n→ Create it/],
    ['names a folder', ['plan', '--file', '/tmp'], /\/tmp is a folder\n→ Name the file in it: -f \/tmp\/machines.yaml/],
    ['names a device', ['plan', '-f', '/dev/zero'], /\/dev\/zero is not a file/],
    ['misspells a machine', ['plan', 'wbe'], /defines no machine "wbe"\n→ Did you mean web\?/],
    ['sets the concurrency to 0', ['apply', '--concurrency', '0'], /--concurrency must be at least 1, got 0/],
  ];
  test.each(CALLS)('that %s ends with 2 and says why', async (_title, argv, message) => {
    await using fixture = await createFleetHome(TWO_MACHINES);
    const { code, stderr } = await fixture.runSlipway(...argv);
    expect(stderr).toMatch(message);
    expect(code).toBe(2);
  });

  test('with mistakes in the file shows the position of each, even with --json', async () => {
    await using fixture = await createFleetHome('machines:\n  web: { drivr: generic }\n  db: { driver: generic }\n');
    const { code, stderr, stdout } = await fixture.runSlipway('apply', '--json');
    expect([code, stderr.split('\n').slice(0, 3)]).toEqual([
      2,
      [
        '✗ machines.yaml has 2 errors',
        '  │ machines.yaml:2:10: unknown key "drivr" in machines.web (did you mean driver?)',
        '  │ machines.yaml:3:7: machines.db.generic.ipAddress is missing',
      ],
    ]);
    expect(JSON.parse(stdout)).toMatchObject({ error: { code: 'USAGE', detail: expect.arrayContaining([]) } });
  });

  test('with a file that is not text says so', async () => {
    await using fixture = await createFleetHome(new Uint8Array([0x6d, 0xff, 0xfe, 0x00]));
    expect((await fixture.runSlipway('plan')).stderr).toContain('machines.yaml is not UTF-8 text');
  });
});

describe('apply without a terminal', () => {
  test('replaces and removes nothing without --yes, and shows the planned changes', async () => {
    await using fixture = await createFleetHome('machines: {}');
    const file = join(fixture.home, 'machines.yaml');
    await fixture.store.write({ ...READY_MACHINE, spec: { ...READY_MACHINE.spec, fleet: file } });
    const { code, stderr } = await fixture.runSlipway('apply', '--prune');
    expect([code, stderr.split('\n')]).toEqual([
      2,
      [
        'machines.yaml: planned changes',
        '  - remove   web  generic: no longer in the file',
        '✗ Confirmation is required to replace or remove web',
        '→ To confirm, add --yes. Nothing was changed',
        '',
      ],
    ]);
    expect(await fixture.store.listNames()).toEqual(['web']);
    expect(await fixture.runSlipway('apply', '--prune', '--yes')).toMatchObject({
      code: 0,
      stdout: 'web is removed\n',
    });
    expect(await fixture.store.listNames()).toEqual([]);
  });

  test('continues after a machine that fails, and ends with the status of the first failure', async () => {
    await using fixture = await createFleetHome(`machines:
  broken: { generic: { ipAddress: 192.0.2.1 } }
  nokey: { generic: { ipAddress: 192.0.2.1, sshKey: ./none } }
  web: { generic: { ipAddress: 192.0.2.10 } }
`);
    await fixture.store.write(readyMachine('broken'));
    await fixture.store.write(READY_MACHINE);
    await writeFile(fixture.store.paths('broken').record, '{');
    const { code, stdout, stderr } = await fixture.runSlipway('apply', '--json');
    expect(code).toBe(3);
    expect(stderr).toContain(`nokey: ✗ The SSH key ${fixture.home}/none can't be read`);
    expect(JSON.parse(stdout)).toMatchObject({
      machines: [
        { name: 'broken', action: 'broken', done: false, error: { code: 'RECORD_BROKEN' } },
        { name: 'nokey', action: 'create', done: false, error: { code: 'USAGE' } },
        { name: 'web', action: 'nothing', done: null },
      ],
    });
  });

  test('prints the output of plan with --dry-run', async () => {
    await using fixture = await createFleetHome(TWO_MACHINES);
    const [plan, dry] = await Promise.all([fixture.runSlipway('plan'), fixture.runSlipway('apply', '--dry-run')]);
    expect(dry).toEqual(plan);
    expect(await fixture.store.listNames()).toEqual([]);
  });
});
