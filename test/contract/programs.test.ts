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

// Adds a local driver to the built ones.
vi.mock('../../src/drivers/all.ts', async (original) => ({
  ...(await original<object>()),
  boat: (await import('../fakes/boat-driver.ts')).boatDriver,
}));
// Root needs no sudo, and these tests may run as root.
vi.mock('node:os', async (original) => ({ ...(await original<object>()), userInfo: () => ({ uid: 1000 }) }));

const realUser = vi.hoisted(() => ({ uid: process.getuid?.() }));
const builtDrivers = Object.values(await vi.importActual<Record<string, Driver>>('../../src/drivers/all.ts'));
const cloudNames = builtDrivers.filter(({ kind }) => kind === 'cloud').map(({ name }) => name);
/** Programs of all drivers in the built Slipway, so that the tests do not depend on which drivers exist. */
const driverPrograms = builtDrivers.flatMap(
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

/** Creates a computer with only these programs. It installs others from a shelf folder, and each call is recorded. */
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
  const writeProgram = (folderName: string, name: string): Promise<void> =>
    writeFile(at(folderName, name), `#!/bin/sh\n${scripts[name] ?? 'exit 0'}\n`, { mode: 0o755 });
  await mkdir(at('bin'));
  await mkdir(at('shelf'));
  for (const name of names) await writeProgram('bin', name);
  for (const name of ['docker', 'ssh', 'boat-hull', 'boat-sail', ...driverCommands])
    if (!names.includes(name)) await writeProgram('shelf', name);
  const env = { PATH: at('bin'), HOME: folder.path };
  const output: string[] = [];
  const world = worldIn(folder.path, {
    connect: async () => {
      throw new Error('no SSH connection is expected');
    },
    computer: { platform: 'linux', arch: 'x64', env, templates: '/nowhere', home: at('.slipway') },
    progress: createProgress(createPlainView((line) => output.push(line))),
  });
  const cli = createFakeCli(world, { env, say: (line) => output.push(line) });
  return {
    at,
    env,
    output,
    cli,
    readCalls: async (): Promise<readonly string[]> =>
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

describe('the built slipway doctor', () => {
  const prefix = realUser.uid === 0 ? '' : 'sudo ';

  test('lists programs with their versions, and changes nothing', async () => {
    await using computer = await createComputer('apt-get', 'sudo', 'docker', 'ssh', ...driverCommands);
    const { code, stdout, stderr } = await computer.slipway('doctor');
    expect([code, stderr]).toEqual([0, '']);
    expect(stdout).toMatch(/^docker client +✔ ok +Docker version 99\.1, build fake \(.*\/bin\/docker\)$/m);
    expect(stdout).toMatch(/^docker compose +✔ ok +Docker Compose version v9\.9$/m);
    expect(stdout).toMatch(/^docker buildx +• optional /m);
    expect(stdout).toMatch(/^Package manager +✔ ok +apt$/m);
    // The programs of clouds are listed as optional, and nothing must be fixed.
    const optionalCloud = new RegExp(`^driver (${cloudNames.join('|')}) +• optional `);
    const others = stdout.split('\n').filter((line) => !optionalCloud.test(line));
    expect(others.join('\n')).not.toContain('fix it');
    expect(await computer.readCalls()).toEqual([]);
    expect((await readdir(computer.at())).toSorted()).toEqual(['bin', 'shelf']);
  });

  test('lists missing programs, and one command that installs them all', async () => {
    await using computer = await createComputer('apt-get', 'sudo', ...driverCommands);
    const { code, stdout } = await computer.slipway('doctor', '--json');
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
    expect((await computer.slipway('doctor')).stdout).toContain(
      `To fix it: ${fix}\nOr let Slipway do it: slipway doctor --fix\n`,
    );
    expect(await computer.readCalls()).toEqual([]);
  });

  test('--fix changes nothing without a terminal or --yes', async () => {
    await using computer = await createComputer('apt-get', 'sudo', ...driverCommands);
    const { code, stdout, stderr } = await computer.slipway('doctor', '--fix');
    expect([code, stdout]).toEqual([11, '']);
    expect(stderr).toContain(
      '✗ Missing on this computer: docker, which connects to engines; and ssh, which opens shells',
    );
    expect(stderr).toContain('Or let Slipway do it: slipway doctor --fix --yes');
    expect(await computer.readCalls()).toEqual([]);
  });

  test('--fix --yes installs, then checks again', async () => {
    await using computer = await createComputer('apt-get', 'sudo', ...driverCommands);
    const { code, stdout, stderr } = await computer.slipway('doctor', '--fix', '--yes');
    expect(code, stderr).toBe(0);
    expect(stdout).toMatch(/^docker client +✔ ok /m);
    expect(stderr).toMatch(/^Install docker(\.io|-cli) and openssh-client \(apt\): done in /m);
    const calls = (await computer.readCalls()).filter((call) => call.startsWith('apt-get'));
    // The standard input of apt-get is closed, or the log would contain an answer.
    expect(calls).toEqual([
      'apt-get update [noninteractive]',
      expect.stringMatching(/^apt-get install .* docker(\.io|-cli) openssh-client \[noninteractive\]$/),
    ]);
    expect((await computer.slipway('doctor', '--fix')).code).toBe(0);
    expect((await computer.readCalls()).filter((call) => call.startsWith('apt-get'))).toEqual(calls);
  });

  test('--fix --yes --json ends with the document', async () => {
    await using computer = await createComputer('apt-get', 'sudo', ...driverCommands);
    const { code, stdout } = await computer.slipway('doctor', '--fix', '--yes', '--json');
    const events = stdout
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line));
    expect(code).toBe(0);
    expect(events[0]).toMatchObject({ event: 'step', id: 'install-programs', state: 'started' });
    expect(events).toContainEqual({ event: 'output', id: 'install-programs', line: 'reading lists' });
    expect(events.at(-1)).toMatchObject({ event: 'result', result: { ready: true, missing: [], fix: null } });
  });

  test('links to the installation page when nothing can be installed', async () => {
    await using computer = await createComputer();
    const { code, stderr } = await computer.slipway('doctor', '--fix', '--yes');
    expect(code).toBe(11);
    expect(stderr).toContain('get docker from https://docs.docker.com/engine/install/');
    expect(stderr).not.toContain('let Slipway');
  });
});

describe('the programs of a driver', () => {
  test('are installed with sudo on --yes, and the machine becomes ready', async () => {
    await using computer = await createComputer('apt-get', 'sudo', 'docker');
    await using socket = await startEngineAt(computer.at('socket'));
    const { text } = await create.run(
      { positionals: ['dev'], args: { ...create.args.parse({}), yes: true }, flags: { 'boat-socket': socket.path } },
      computer.cli,
    );
    expect(await computer.readCalls()).toEqual(expectedCalls('boat-hull-bin boat-sail-bin'));
    expect(computer.output).toContain('Install boat-hull-bin and boat-sail-bin (apt) …');
    expect(text).toBe(`dev is ready: unix://${socket.path}\nTry: docker --context dev ps`);
  });

  test('are installed at a terminal after sudo has asked for its password', async () => {
    await using computer = await createComputer('apt-get', 'sudo', 'true', 'boat-hull');
    await writeFile(computer.at('asleep'), '');
    const consent = { yes: true, consentCommand: '' };
    expect(await catchRejection(installMissing(boatPrograms, consent, computer.cli))).toMatchObject({
      detail: ['sudo: a password is required'],
    });
    expect(await computer.readCalls()).toEqual(['sudo -n DEBIAN_FRONTEND=noninteractive apt-get update']);
    await rm(computer.at('calls'));
    await installMissing(boatPrograms, consent, { ...computer.cli, interactive: true });
    expect(await computer.readCalls()).toEqual(['sudo -n true', 'sudo -v', ...expectedCalls('boat-sail-bin')]);
  });

  test('cause an error before anything is created when they are missing and nobody can confirm', async () => {
    await using computer = await createComputer('apt-get', 'sudo', 'boat-sail');
    inspections.times = 0;
    expect(await catchRejection(computer.create())).toMatchObject({
      code: 'PROGRAM_MISSING',
      message: 'Missing on this computer: boat-hull, which runs local boats',
      hint: `To install it: ${manualInstallCommand('boat-hull-bin')}. Or let Slipway do it: slipway create dev --driver boat --yes`,
    });
    expect(computer.output).toEqual(['Driver: boat (a local boat). To choose another: --driver NAME']);
    expect([await computer.readCalls(), inspections.times]).toEqual([[], 0]);
    expect((await readdir(computer.at())).toSorted()).toEqual(['bin', 'shelf']);
  });

  test('are not installed for a plan, even with --yes', async () => {
    await using computer = await createComputer('apt-get', 'sudo');
    expect(await catchRejection(computer.create({ dryRun: true, yes: true }))).toMatchObject({
      code: 'PROGRAM_MISSING',
    });
    expect(await computer.readCalls()).toEqual([]);
  });

  test("that can't be installed cause an error with the output of the package manager, and nothing is created", async () => {
    await using computer = await createComputer('apt-get', 'sudo');
    await writeFile(computer.at('broken'), '');
    expect(await catchRejection(computer.create({ yes: true }))).toMatchObject({
      code: 'PROGRAM_MISSING',
      message: 'Installation failed: "sudo apt-get update" exited with status 100',
      detail: expect.arrayContaining(['E: no such package', 'reading lists']),
    });
    expect(await computer.readCalls()).toHaveLength(2);
    expect((await readdir(computer.at())).includes('.slipway')).toBe(false);
  });

  test('are reported as still missing when no package contains them', async () => {
    await using computer = await createComputer('apt-get', 'sudo');
    await rm(computer.at('shelf', 'boat-sail'));
    const consent = { yes: true, consentCommand: '' };
    expect(await catchRejection(installMissing(boatPrograms, consent, computer.cli))).toMatchObject({
      code: 'PROGRAM_MISSING',
      message: "The packages were installed, but boat-sail can't be found",
    });
  });

  test('make the driver unusable when they are missing, and drivers prints the fix', async () => {
    await using computer = await createComputer('apt-get', 'sudo', 'boat-hull');
    const { json } = await drivers.run({ positionals: [], args: {}, flags: {} }, computer.cli);
    expect(json).toContainEqual({
      name: 'boat',
      summary: 'a local boat',
      usable: false,
      reason: 'no boat-sail',
      fix: manualInstallCommand('boat-sail-bin'),
      missing: ['boat-sail'],
    });
  });

  test("are listed by doctor, with the driver's own checks once they are installed", async () => {
    await using computer = await createComputer('apt-get', 'sudo', 'docker', 'ssh', 'boat-hull');
    const before = await computer.doctor();
    expect(before.status).toBe(1);
    expect(before.text).toMatch(/^driver boat +✗ missing +requires boat-sail$/m);
    expect(before.text).toContain(`To fix it: ${manualInstallCommand('boat-sail-bin')}`);
    expect(before.text).not.toContain('from the west');
    const after = await computer.doctor({ fix: true, yes: true });
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
    await using computer = await createComputer('apt-get', 'sudo', ...driverCommands);
    const tmux = async (...argv: readonly string[]): Promise<string> =>
      (await runProgram('tmux', ['-S', computer.at('tmux'), ...argv])).stdout;
    const words = [process.execPath, slipwayProgram, 'doctor', '--fix'].join(' ');
    await tmux('-f', '/dev/null', 'new-session', '-d', '-x', '200', '-y', '50', '/bin/sh');
    try {
      await tmux('send-keys', `PATH=${computer.at('bin')} HOME=${computer.at()} ${words}; echo "status $?"`, 'Enter');
      const waitForText = (text: string) =>
        vi.waitFor(async () => expect(await tmux('capture-pane', '-p')).toContain(text), { timeout: 20_000 });
      await waitForText('Run this now?');
      await waitForText('Missing on this computer: docker, which connects to engines');
      await waitForText('apt-get install --yes --no-install-recommends docker');
      expect(await computer.readCalls()).toEqual([]);
      await tmux('send-keys', key, 'Enter');
      if (status === 0) {
        // The docker client is installed now, so doctor offers to link the docker machine command.
        await waitForText('Create the link now?');
        await waitForText(`ln -s ${await realpath(slipwayProgram.replace(/slipway\.js$/, 'docker-machine.js'))} `);
        await tmux('send-keys', 'y', 'Enter');
      }
      await waitForText(`status ${status}`);
      expect(await readlink(computer.at('.docker', 'cli-plugins', 'docker-machine')).catch(() => 'none')).toMatch(
        status === 0 ? /docker-machine\.js$/ : /^none$/,
      );
      expect((await computer.readCalls()).filter((call) => call.startsWith('apt-get'))).toEqual(calls);
    } finally {
      await tmux('kill-server');
    }
  });
});

test('create works without the docker client, and says how to install it', async () => {
  await using computer = await createComputer('apt-get', 'sudo', 'boat-hull', 'boat-sail');
  await using socket = await startEngineAt(computer.at('socket'));
  const { text } = await create.run(
    { positionals: ['dev'], args: create.args.parse({}), flags: { 'boat-socket': socket.path } },
    computer.cli,
  );
  expect(text).toMatch(
    /^dev is ready: .*\nThe docker client is not installed. To install it: sudo apt-get update && sudo /,
  );
  expect(text).not.toContain('Try:');
  expect(await computer.readCalls()).toEqual([]);
});

/** Starts an engine that reports its version on a socket. */
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
