import { createServer } from 'node:http';
import { once } from 'node:events';
import { mkdir, readdir, readFile, readlink, realpath, rm, stat, writeFile } from 'node:fs/promises';
import { userInfo } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { beforeAll, describe, expect, test, vi } from 'vitest';
import type { z } from 'zod';
import type { CommandResult } from '../../src/cli/command.ts';
import { create } from '../../src/cli/commands/create.ts';
import { doctor } from '../../src/cli/commands/doctor.ts';
import { drivers } from '../../src/cli/commands/drivers.ts';
import { installMissing } from '../../src/terminal/install-programs.ts';
import { createPlainView, createProgress } from '../../src/terminal/progress-views.ts';
import type { Driver } from '../../src/drivers/contract.ts';
import { inspections, boatPrograms } from '../fakes/boat-driver.ts';
import { catchRejection } from '../fakes/catch-error.ts';
import { createFakeCli } from '../fakes/fake-cli.ts';
import { createTemporaryFolder } from '../fakes/temporary-folder.ts';
import { hasProgram, runProgram, type ProgramResult } from '../fakes/run-program.ts';
import { worldIn } from '../fakes/test-world.ts';

// One local driver beside those that are built.
vi.mock('../../src/drivers/all.ts', async (original) => ({
  ...(await original<object>()),
  boat: (await import('../fakes/boat-driver.ts')).boatDriver,
}));
// Root needs no sudo, and these tests may be root.
vi.mock('node:os', async (original) => ({ ...(await original<object>()), userInfo: () => ({ uid: 1000 }) }));

const realUser = vi.hoisted(() => ({ uid: process.getuid?.() }));
/** Programs of the drivers that the built Slipway has: what these tests say of it holds whatever those are. */
const driverPrograms = Object.values(await vi.importActual<Record<string, Driver>>('../../src/drivers/all.ts')).flatMap(
  (driver) =>
    driver.programs?.({ platform: 'linux', arch: process.arch, env: {}, templates: '/nowhere', home: '' }) ?? [],
);
const driverCommands = driverPrograms.map(({ command }) => command);
const slipwayProgram = fileURLToPath(new URL('../../dist/slipway.js', import.meta.url));

beforeAll(async () => {
  await stat(slipwayProgram).catch(() => {
    throw new Error('dist/ is missing: run npm run build');
  });
  expect(userInfo().uid).toBe(1000);
});

/** A computer with these programs and no others; what it installs comes from a shelf, and each call is recorded. */
async function createComputer(...names: readonly string[]) {
  const folder = await createTemporaryFolder();
  const at = (...parts: readonly string[]): string => join(folder.path, ...parts);
  const scripts: Record<string, string> = {
    'apt-get': `echo "apt-get $* [$DEBIAN_FRONTEND]" >> ${at('calls')}
echo "reading lists"; read answer && echo "was told $answer" >> ${at('calls')}
[ ! -e ${at('broken')} ] || { echo 'E: no such package' >&2; exit 100; }
case $* in install*) /bin/mv ${at('shelf')}/* ${at('bin')}/ ;; esac`,
    sudo: `echo "sudo $*" >> ${at('calls')}
[ "$1" != -v ] || { : > ${at('awake')}; exit 0; }
[ ! -e ${at('asleep')} ] || [ -e ${at('awake')} ] || { echo 'sudo: a password is required' >&2; exit 1; }
[ "$1" = -n ] && shift
case $1 in *=*) unset DEBIAN_FRONTEND; export "$1"; shift ;; esac
exec "$@"`,
    docker: `case $* in
--version) echo 'Docker version 99.1, build fake' ;;
'compose version') echo 'Docker Compose version v9.9' ;;
*) exit 1 ;;
esac`,
  };
  const write = (place: string, name: string): Promise<void> =>
    writeFile(at(place, name), `#!/bin/sh\n${scripts[name] ?? 'exit 0'}\n`, { mode: 0o755 });
  await mkdir(at('bin'));
  await mkdir(at('shelf'));
  for (const name of names) await write('bin', name);
  for (const name of ['docker', 'ssh', 'boat-hull', 'boat-sail', ...driverCommands])
    if (!names.includes(name)) await write('shelf', name);
  const env = { PATH: at('bin'), HOME: folder.path };
  const said: string[] = [];
  const world = worldIn(folder.path, {
    connect: async () => {
      throw new Error('nothing here is far away');
    },
    computer: { platform: 'linux', arch: 'x64', env, templates: '/nowhere', home: at('.slipway') },
    progress: createProgress(createPlainView((line) => said.push(line))),
  });
  const cli = createFakeCli(world, { env, say: (line) => said.push(line) });
  return {
    at,
    env,
    said,
    cli,
    calls: async (): Promise<readonly string[]> =>
      (await readFile(at('calls'), 'utf8').catch(() => '')).split('\n').filter(Boolean),
    slipway: (...argv: readonly string[]): Promise<ProgramResult> =>
      runProgram(process.execPath, [slipwayProgram, ...argv], { env }),
    doctor: (args: Partial<{ fix: boolean; yes: boolean }> = {}): Promise<CommandResult> =>
      doctor.run({ positionals: [], args: { fix: false, yes: false, ...args }, flags: {} }, cli),
    create: (more: Partial<z.output<typeof create.args>> = {}): Promise<CommandResult> =>
      create.run({ positionals: ['dev'], args: { ...create.args.parse({}), ...more }, flags: {} }, cli),
    [Symbol.asyncDispose]: () => folder[Symbol.asyncDispose](),
  };
}

const INSTALL_COMMAND = 'apt-get install --yes --no-install-recommends';
const manualInstallCommand = (packages: string): string => `sudo apt-get update && sudo ${INSTALL_COMMAND} ${packages}`;
const expectedCalls = (packages: string): readonly string[] => [
  'sudo -n DEBIAN_FRONTEND=noninteractive apt-get update',
  'apt-get update [noninteractive]',
  `sudo -n DEBIAN_FRONTEND=noninteractive ${INSTALL_COMMAND} ${packages}`,
  `${INSTALL_COMMAND} ${packages} [noninteractive]`,
];

describe('slipway doctor, as it is built', () => {
  const prefix = realUser.uid === 0 ? '' : 'sudo ';

  test('says what is there, with its version, and changes nothing', async () => {
    await using here = await createComputer('apt-get', 'sudo', 'docker', 'ssh', ...driverCommands);
    const { code, stdout, stderr } = await here.slipway('doctor');
    expect([code, stderr]).toEqual([0, '']);
    expect(stdout).toMatch(/^docker client +✔ ok +Docker version 99\.1, build fake \(.*\/bin\/docker\)$/m);
    expect(stdout).toMatch(/^docker compose +✔ ok +Docker Compose version v9\.9$/m);
    expect(stdout).toMatch(/^docker buildx +• optional /m);
    expect(stdout).toMatch(/^Package manager +✔ ok +apt$/m);
    // What a cloud needs is told, and nothing that must be mended.
    const others = stdout.split('\n').filter((line) => !/^driver (ec2|gce) +• optional /.test(line));
    expect(others.join('\n')).not.toContain('fix it');
    expect(await here.calls()).toEqual([]);
    expect((await readdir(here.at())).toSorted()).toEqual(['bin', 'shelf']);
  });

  test('says what is missing, and the command that mends it all', async () => {
    await using here = await createComputer('apt-get', 'sudo', ...driverCommands);
    const { code, stdout } = await here.slipway('doctor', '--json');
    expect(code).toBe(1);
    const { ready, rows, missing, fix } = JSON.parse(stdout);
    expect([ready, missing]).toEqual([false, ['docker', 'ssh']]);
    expect(rows).toContainEqual({
      what: 'docker client',
      state: 'missing',
      detail: 'not found: docker, which connects to engines',
    });
    expect(rows).toContainEqual(expect.objectContaining({ what: 'ssh client', state: 'optional' }));
    expect(fix).toMatch(
      new RegExp(`^${prefix}apt-get update && ${prefix}${INSTALL_COMMAND} docker(\\.io|-cli) openssh-client$`),
    );
    expect((await here.slipway('doctor')).stdout).toContain(
      `To fix it: ${fix}\nOr let Slipway do it: slipway doctor --fix\n`,
    );
    expect(await here.calls()).toEqual([]);
  });

  test('--fix touches nothing where nobody can agree', async () => {
    await using here = await createComputer('apt-get', 'sudo', ...driverCommands);
    const { code, stdout, stderr } = await here.slipway('doctor', '--fix');
    expect([code, stdout]).toEqual([11, '']);
    expect(stderr).toContain(
      '✗ Missing on this computer: docker, which connects to engines; and ssh, which opens shells',
    );
    expect(stderr).toContain('Or let Slipway do it: slipway doctor --fix --yes');
    expect(await here.calls()).toEqual([]);
  });

  test('--fix --yes installs, then checks again', async () => {
    await using here = await createComputer('apt-get', 'sudo', ...driverCommands);
    const { code, stdout, stderr } = await here.slipway('doctor', '--fix', '--yes');
    expect(code, stderr).toBe(0);
    expect(stdout).toMatch(/^docker client +✔ ok /m);
    expect(stderr).toMatch(/^Install docker(\.io|-cli) and openssh-client \(apt\): done in /m);
    const calls = (await here.calls()).filter((call) => call.startsWith('apt-get'));
    // Its input is closed, or there would be an answer.
    expect(calls).toEqual([
      'apt-get update [noninteractive]',
      expect.stringMatching(/^apt-get install .* docker(\.io|-cli) openssh-client \[noninteractive\]$/),
    ]);
    expect((await here.slipway('doctor', '--fix')).code).toBe(0);
    expect((await here.calls()).filter((call) => call.startsWith('apt-get'))).toEqual(calls);
  });

  test('--fix --yes --json ends with the document', async () => {
    await using here = await createComputer('apt-get', 'sudo', ...driverCommands);
    const { code, stdout } = await here.slipway('doctor', '--fix', '--yes', '--json');
    const events = stdout
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line));
    expect(code).toBe(0);
    expect(events[0]).toMatchObject({ event: 'step', id: 'install-programs', state: 'started' });
    expect(events).toContainEqual({ event: 'output', id: 'install-programs', line: 'reading lists' });
    expect(events.at(-1)).toMatchObject({ event: 'result', result: { ready: true, missing: [], fix: null } });
  });

  test('names the page where nothing can be installed', async () => {
    await using here = await createComputer();
    const { code, stderr } = await here.slipway('doctor', '--fix', '--yes');
    expect(code).toBe(11);
    expect(stderr).toContain('get docker from https://docs.docker.com/engine/install/');
    expect(stderr).not.toContain('let Slipway');
  });
});

describe('the programs of a driver', () => {
  test('are installed with sudo on --yes, and the engine is taken for ready', async () => {
    await using here = await createComputer('apt-get', 'sudo', 'docker');
    await using socket = await startEngineAt(here.at('socket'));
    const { text } = await create.run(
      { positionals: ['dev'], args: { ...create.args.parse({}), yes: true }, flags: { 'boat-socket': socket.path } },
      here.cli,
    );
    expect(await here.calls()).toEqual(expectedCalls('boat-hull-bin boat-sail-bin'));
    expect(here.said).toContain('Install boat-hull-bin and boat-sail-bin (apt) …');
    expect(text).toBe(`dev is ready: unix://${socket.path}\nTry: docker --context dev ps`);
  });

  test('are installed at a terminal once sudo has its password, which is asked for while the terminal is free', async () => {
    await using here = await createComputer('apt-get', 'sudo', 'true', 'boat-hull');
    await writeFile(here.at('asleep'), '');
    const consent = { yes: true, consentCommand: '' };
    expect(await catchRejection(installMissing(boatPrograms, consent, here.cli))).toMatchObject({
      detail: ['sudo: a password is required'],
    });
    expect(await here.calls()).toEqual(['sudo -n DEBIAN_FRONTEND=noninteractive apt-get update']);
    await rm(here.at('calls'));
    await installMissing(boatPrograms, consent, { ...here.cli, interactive: true });
    expect(await here.calls()).toEqual(['sudo -n true', 'sudo -v', ...expectedCalls('boat-sail-bin')]);
  });

  test('that are missing are an error before anything exists, where nobody can agree', async () => {
    await using here = await createComputer('apt-get', 'sudo', 'boat-sail');
    inspections.times = 0;
    expect(await catchRejection(here.create())).toMatchObject({
      code: 'PROGRAM_MISSING',
      message: 'Missing on this computer: boat-hull, which runs local boats',
      hint: `To install it: ${manualInstallCommand('boat-hull-bin')}. Or let Slipway do it: slipway create dev --driver boat --yes`,
    });
    expect(here.said).toEqual(['Driver: boat (a local boat). To choose another: --driver NAME']);
    expect([await here.calls(), inspections.times]).toEqual([[], 0]);
    expect((await readdir(here.at())).toSorted()).toEqual(['bin', 'shelf']);
  });

  test('are not installed for a plan, even with --yes', async () => {
    await using here = await createComputer('apt-get', 'sudo');
    expect(await catchRejection(here.create({ dryRun: true, yes: true }))).toMatchObject({ code: 'PROGRAM_MISSING' });
    expect(await here.calls()).toEqual([]);
  });

  test("that can't be installed: what the package manager said last, and nothing exists", async () => {
    await using here = await createComputer('apt-get', 'sudo');
    await writeFile(here.at('broken'), '');
    expect(await catchRejection(here.create({ yes: true }))).toMatchObject({
      code: 'PROGRAM_MISSING',
      message: 'Installation failed: "sudo apt-get update" exited with status 100',
      detail: expect.arrayContaining(['E: no such package', 'reading lists']),
    });
    expect(await here.calls()).toHaveLength(2);
    expect((await readdir(here.at())).includes('.slipway')).toBe(false);
  });

  test('that no package brought are said to be missing still', async () => {
    await using here = await createComputer('apt-get', 'sudo');
    await rm(here.at('shelf', 'boat-sail'));
    const consent = { yes: true, consentCommand: '' };
    expect(await catchRejection(installMissing(boatPrograms, consent, here.cli))).toMatchObject({
      code: 'PROGRAM_MISSING',
      message: "The packages were installed, but boat-sail can't be found",
    });
  });

  test('make the driver unusable, and drivers says what mends it', async () => {
    await using here = await createComputer('apt-get', 'sudo', 'boat-hull');
    const { json } = await drivers.run({ positionals: [], args: {}, flags: {} }, here.cli);
    expect(json).toContainEqual({
      name: 'boat',
      summary: 'a local boat',
      usable: false,
      reason: 'no boat-sail',
      fix: manualInstallCommand('boat-sail-bin'),
      missing: ['boat-sail'],
    });
  });

  test('stand in doctor, with what the driver finds when they are there', async () => {
    await using here = await createComputer('apt-get', 'sudo', 'docker', 'ssh', 'boat-hull');
    const before = await here.doctor();
    expect(before.status).toBe(1);
    expect(before.text).toMatch(/^driver boat +✗ missing +requires boat-sail$/m);
    expect(before.text).toContain(`To fix it: ${manualInstallCommand('boat-sail-bin')}`);
    expect(before.text).not.toContain('from the west');
    const after = await here.doctor({ fix: true, yes: true });
    expect(after.status).toBe(0);
    expect(after.text).toMatch(/^ {2}boat-sail +✔ ok +\S+\/bin\/boat-sail$/m);
    expect(after.text).toMatch(/^ {2}wind +• note +from the west$/m);
  });
});

describe.skipIf(!hasProgram('tmux'))('at a terminal, doctor --fix', () => {
  test.each([
    ['n', 11, []],
    ['y', 0, ['apt-get update [noninteractive]', expect.stringContaining('apt-get install --yes')]],
  ] as const)('shows the command and asks; the answer %s ends with %i', async (key, status, calls) => {
    await using here = await createComputer('apt-get', 'sudo', ...driverCommands);
    const tmux = async (...argv: readonly string[]): Promise<string> =>
      (await runProgram('tmux', ['-S', here.at('tmux'), ...argv])).stdout;
    const words = [process.execPath, slipwayProgram, 'doctor', '--fix'].join(' ');
    await tmux('-f', '/dev/null', 'new-session', '-d', '-x', '200', '-y', '50', '/bin/sh');
    try {
      await tmux('send-keys', `PATH=${here.at('bin')} HOME=${here.at()} ${words}; echo "status $?"`, 'Enter');
      const shows = (text: string) =>
        vi.waitFor(async () => expect(await tmux('capture-pane', '-p')).toContain(text), { timeout: 20_000 });
      await shows('Run this now?');
      await shows('Missing on this computer: docker, which connects to engines');
      await shows('apt-get install --yes --no-install-recommends docker');
      expect(await here.calls()).toEqual([]);
      await tmux('send-keys', key, 'Enter');
      if (status === 0) {
        // The docker client is there now, and could have one command more.
        await shows('Create the link now?');
        await shows(`ln -s ${await realpath(slipwayProgram.replace(/slipway\.js$/, 'docker-machine.js'))} `);
        await tmux('send-keys', 'y', 'Enter');
      }
      await shows(`status ${status}`);
      expect(await readlink(here.at('.docker', 'cli-plugins', 'docker-machine')).catch(() => 'none')).toMatch(
        status === 0 ? /docker-machine\.js$/ : /^none$/,
      );
      expect((await here.calls()).filter((call) => call.startsWith('apt-get'))).toEqual(calls);
    } finally {
      await tmux('kill-server');
    }
  });
});

test('without the docker client a machine is made all the same, and how to get it is said', async () => {
  await using here = await createComputer('apt-get', 'sudo', 'boat-hull', 'boat-sail');
  await using socket = await startEngineAt(here.at('socket'));
  const { text } = await create.run(
    { positionals: ['dev'], args: create.args.parse({}), flags: { 'boat-socket': socket.path } },
    here.cli,
  );
  expect(text).toMatch(
    /^dev is ready: .*\nThe docker client is not installed. To install it: sudo apt-get update && sudo /,
  );
  expect(text).not.toContain('Try:');
  expect(await here.calls()).toEqual([]);
});

/** An engine that knows its version, on a socket. */
async function startEngineAt(path: string) {
  const server = createServer((_request, response) =>
    response.end(JSON.stringify({ Version: '28.2.2', ApiVersion: '1.50', Os: 'linux', Arch: 'amd64' })),
  );
  await once(server.listen(path), 'listening');
  return {
    path,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
}
