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

/** A home that is also the current folder, with this text as machines.yaml. */
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
  test('shows what would be done and does none of it', async () => {
    await using place = await createFleetHome(TWO_MACHINES.replace('192.0.2.10', '192.0.2.12'));
    await place.store.write(READY_MACHINE);
    expect(await place.runSlipway('plan')).toEqual({
      code: 0,
      stderr: '',
      stdout: `machines.yaml: planned changes
  ± replace  web  generic: the host itself and its engine stay as they are; it was not created from this file
      generic.ipAddress: 192.0.2.10 -> 192.0.2.12  (replaces the machine)
  + create   db   generic
`,
    });
    expect(await readdir(join(place.home, '.slipway/machines'))).toEqual(['web']);
  });

  test('prints one document with --json, which names each field', async () => {
    await using place = await createFleetHome(TWO_MACHINES.replace('10 }', '10, sshUser: ops }'));
    await place.store.write(READY_MACHINE);
    const { stdout, code } = await place.runSlipway('plan', '--json');
    expect([JSON.parse(stdout), code]).toEqual([
      {
        file: 'machines.yaml',
        fleet: join(place.home, 'machines.yaml'),
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

  test('ends with 1 where scripts ask and something is to be done, and with 0 where nothing is', async () => {
    await using place = await createFleetHome(TWO_MACHINES);
    await place.store.write(READY_MACHINE);
    expect((await place.runSlipway('plan', '--exit-code')).code).toBe(1);
    expect(await place.runSlipway('plan', '--exit-code', 'web')).toEqual({
      code: 0,
      stderr: '',
      stdout: '1 machine matches machines.yaml\n',
    });
  });

  test('prints the schema that is published', async () => {
    await using place = await createFleetHome('');
    const published = await readFile(new URL('../../machines.schema.json', import.meta.url), 'utf8');
    expect(JSON.parse((await place.runSlipway('plan', '--schema')).stdout)).toEqual(JSON.parse(published));
  });
});

describe("a call that can't be right", () => {
  const CALLS: readonly (readonly [string, readonly string[], RegExp])[] = [
    ['names a file that is not there', ['plan', '-f', 'none.yaml'], /none.yaml does not exist\n→ Create it/],
    ['names a folder', ['plan', '--file', '/tmp'], /\/tmp is a folder\n→ Name the file in it: -f \/tmp\/machines.yaml/],
    ['names a device', ['plan', '-f', '/dev/zero'], /\/dev\/zero is not a file/],
    ['misspells a machine', ['plan', 'wbe'], /defines no machine "wbe"\n→ Did you mean web\?/],
    ['asks for no work at a time', ['apply', '--concurrency', '0'], /--concurrency must be at least 1, got 0/],
  ];
  test.each(CALLS)('that %s ends with 2 and says why', async (_title, argv, says) => {
    await using place = await createFleetHome(TWO_MACHINES);
    const { code, stderr } = await place.runSlipway(...argv);
    expect(stderr).toMatch(says);
    expect(code).toBe(2);
  });

  test('of a file with mistakes shows each by its place, with --json too', async () => {
    await using place = await createFleetHome('machines:\n  web: { drivr: generic }\n  db: { driver: generic }\n');
    const { code, stderr, stdout } = await place.runSlipway('apply', '--json');
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

  test('of a file that is no text says so', async () => {
    await using place = await createFleetHome(new Uint8Array([0x6d, 0xff, 0xfe, 0x00]));
    expect((await place.runSlipway('plan')).stderr).toContain('machines.yaml is not UTF-8 text');
  });
});

describe('apply where nobody can be asked', () => {
  test('replaces and removes nothing without --yes, and says what it would have', async () => {
    await using place = await createFleetHome('machines: {}');
    const mark = join(place.home, 'machines.yaml');
    await place.store.write({ ...READY_MACHINE, spec: { ...READY_MACHINE.spec, fleet: mark } });
    const { code, stderr } = await place.runSlipway('apply', '--prune');
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
    expect(await place.store.listNames()).toEqual(['web']);
    expect(await place.runSlipway('apply', '--prune', '--yes')).toMatchObject({ code: 0, stdout: 'web is removed\n' });
    expect(await place.store.listNames()).toEqual([]);
  });

  test("goes on past a machine that fails, and ends with the first one's status", async () => {
    await using place = await createFleetHome(`machines:
  broken: { generic: { ipAddress: 192.0.2.1 } }
  nokey: { generic: { ipAddress: 192.0.2.1, sshKey: ./none } }
  web: { generic: { ipAddress: 192.0.2.10 } }
`);
    await place.store.write(readyMachine('broken'));
    await place.store.write(READY_MACHINE);
    await writeFile(place.store.paths('broken').record, '{');
    const { code, stdout, stderr } = await place.runSlipway('apply', '--json');
    expect(code).toBe(3);
    expect(stderr).toContain(`nokey: ✗ The SSH key ${place.home}/none can't be read`);
    expect(JSON.parse(stdout)).toMatchObject({
      machines: [
        { name: 'broken', action: 'broken', done: false, error: { code: 'RECORD_BROKEN' } },
        { name: 'nokey', action: 'create', done: false, error: { code: 'USAGE' } },
        { name: 'web', action: 'nothing', done: null },
      ],
    });
  });

  test('with --dry-run is plan', async () => {
    await using place = await createFleetHome(TWO_MACHINES);
    const [plan, dry] = await Promise.all([place.runSlipway('plan'), place.runSlipway('apply', '--dry-run')]);
    expect(dry).toEqual(plan);
    expect(await place.store.listNames()).toEqual([]);
  });
});
