import { copyFile, link, mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import { startHost, type BedHost } from '../bed/bed-host.ts';
import { resolveImagesFolder } from '../bed/vm-prerequisites.ts';
import { runProgram } from '../fakes/run-program.ts';
import { expectSuccess, type Outcome } from './test-user.ts';
import { createVmUser, VM_TIMEOUT_SECONDS } from './vm-user.ts';
import { createWindowsUser, hasWine, type WindowsUser } from './windows-user.ts';

/** Windows' own Node runs Slipway under Wine, which is not Windows. .ci/run installs it: a skip is a failure there. */
const canRun = hasWine && inject('vmReason') === undefined;

test.runIf(process.env.SLIPWAY_REQUIRE_E2E)('Wine is prepared: test/bed/wine.sh', () => {
  expect(hasWine).toBe(true);
});

describe.skipIf(!canRun)('Slipway with the Node of Windows, under Wine', () => {
  let user: WindowsUser;
  const docker = (...argv: readonly string[]): Promise<Outcome> =>
    runProgram('docker', ['--config', join(user.home, '.docker'), ...argv], { env: { PATH: process.env.PATH } });

  beforeAll(async () => {
    user = await createWindowsUser();
  });
  afterAll(async () => {
    await user[Symbol.asyncDispose]();
  });

  describe('on a host behind a jump host', () => {
    let host: BedHost;

    beforeAll(async () => {
      host = await startHost({ suite: 'trixie', engine: true });
      await mkdir(join(user.home, '.ssh'));
      await copyFile(host.keyFile, join(user.home, '.ssh', 'id_ed25519'));
      await writeFile(join(user.home, '.ssh', 'config'), '# mine\r\nHost *\r\n  SendEnv NOTHING\r\n');
      const { stdout } = await expectSuccess(
        user.slipway(
          'create',
          'web',
          '--generic-ip-address',
          host.address,
          '--generic-ssh-jump',
          `root@${host.address}`,
          '--generic-ssh-key',
          String.raw`${user.windowsHome}\.ssh\id_ed25519`,
          '--profile',
          'docker-context',
          '--profile',
          'ssh-config',
        ),
      );
      expect(stdout).toContain('Try: docker --context web ps');
    });
    afterAll(async () => {
      await host[Symbol.asyncDispose]();
    });

    test('the docker CLI uses the context, and ls and status show the engine', async () => {
      const engine = await expectSuccess(docker('--context', 'web', 'version', '--format', '{{.Server.Os}}'));
      expect(engine.stdout).toBe('linux\n');
      expect((await expectSuccess(user.slipway('ls'))).stdout).toMatch(/^web +generic +running /m);
      const { stdout } = await expectSuccess(user.slipway('status', 'web'));
      expect(stdout).toContain('@FOR /f "tokens=*" %i IN (\'slipway env web\') DO @%i');
    });

    test('env prints for the shell that runs it', async () => {
      const certificates = String.raw`${user.windowsHome}\.slipway\machines\web\tls`;
      expect((await expectSuccess(user.slipway('env', 'web'))).stdout).toContain(
        `SET "DOCKER_CERT_PATH=${certificates}"`,
      );
      const PSModulePath = String.raw`${user.windowsHome}\Documents\PowerShell\Modules`;
      const { stdout } = await expectSuccess(user.slipwayWith({ env: { PSModulePath } }, 'env', 'web'));
      expect(stdout).toContain(`$Env:DOCKER_CERT_PATH = '${certificates}'`);
      expect(stdout).toContain('# & slipway env web | Out-String | Invoke-Expression');
    });

    test('ssh and scp log in through the jump host, with keys and paths that contain spaces', async () => {
      expect((await expectSuccess(user.slipway('ssh', 'web', 'echo from the host'))).stdout).toBe('from the host\n');
      await writeFile(join(user.home, 'a letter.txt'), 'hello');
      await expectSuccess(user.slipway('scp', 'a letter.txt', 'web:/tmp/letter'));
      await expectSuccess(user.slipway('scp', 'web:/tmp/letter', String.raw`${user.windowsHome}\back.txt`));
      expect(await readFile(join(user.home, 'back.txt'), 'utf8')).toBe('hello');
    });

    test('no program of the current folder runs, though Windows itself would start it first', async () => {
      const folder = join(user.home, 'cloned');
      await mkdir(folder);
      await copyFile(join(user.home, '..', '..', 'windows', 'system32', 'hostname.exe'), join(folder, 'ssh.exe'));
      const { stdout } = await expectSuccess(user.slipwayWith({ cwd: folder }, 'ssh', 'web', 'echo from the host'));
      expect(stdout).toBe('from the host\n');
    });

    test("the profile ssh-config keeps the user's file, and writes paths with slashes", async () => {
      const config = await readFile(join(user.home, '.ssh', 'config'), 'utf8');
      expect(config).toMatch(/^Include "C:\/users\/[^\n]*\/\.ssh\/slipway\/\*\.conf"\n# mine\r\nHost \*\r\n/);
      expect(await readFile(join(user.home, '.ssh', 'slipway', 'web.conf'), 'utf8')).toMatch(
        /^ {2}ProxyCommand ssh\.exe -o "UserKnownHostsFile=\\"C:\/users\/.*\\"" /m,
      );
    });

    test('a file that another program has open is replaced as soon as that one closes it', async () => {
      await writeFile(join(user.home, '.docker', 'config.json'), '{ "auths": {} }');
      const path = JSON.stringify(String.raw`${user.windowsHome}\.docker\config.json`);
      const reader = user.node(
        `const { openSync, writeFileSync } = require('node:fs');
         openSync(${path}, 'r');
         writeFileSync(${path} + '.open', '');
         setTimeout(() => {}, 2000);`,
      );
      while (!(await readdir(join(user.home, '.docker'))).includes('config.json.open')) await sleep(50);
      await expectSuccess(user.slipway('use', 'web'));
      await expectSuccess(reader);
      expect((await expectSuccess(docker('version', '--format', '{{.Server.Os}}'))).stdout).toBe('linux\n');
      const { stderr } = await expectSuccess(
        user.slipwayWith({ env: { DOCKER_HOST: 'tcp://192.0.2.1:2376' } }, 'use', 'web'),
      );
      expect(stderr).toContain('To unset it: SET "DOCKER_HOST="');
    });

    test('a name in other case is no second machine, and names of devices are refused', async () => {
      const other = await user.slipway('rm', '--force', 'Web');
      expect([other.code, other.stderr]).toEqual([2, expect.stringContaining('does not exist, but "web" does')]);
      const device = await user.slipway('create', 'nul', '--generic-ip-address', host.address);
      expect([device.code, device.stderr]).toEqual([2, expect.stringContaining("can't be a machine name on Windows")]);
      expect((await expectSuccess(user.slipway('ls', '-q'))).stdout).toBe('web\n');
    });

    test('rm leaves nothing', async () => {
      await expectSuccess(user.slipway('rm', 'web', '--deprovision'));
      expect(await readdir(join(user.home, '.slipway', 'machines'))).toEqual([]);
      expect(await readdir(join(user.home, '.docker', 'contexts', 'meta'))).toEqual([]);
      expect(await readFile(join(user.home, '.ssh', 'config'), 'utf8')).toBe(
        '# mine\r\nHost *\r\n  SendEnv NOTHING\r\n',
      );
    });
  });

  test('a local VM: create, status, ssh, stop, start and rm', { timeout: VM_TIMEOUT_SECONDS * 1000 }, async () => {
    await copyImages(user);
    await expectSuccess(user.slipway('create', 'dev', '--driver', 'qemu'));
    const engine = await expectSuccess(docker('--context', 'dev', 'info', '--format', '{{.Name}}'));
    expect(engine.stdout).toBe('dev\n');
    expect((await expectSuccess(user.slipway('ssh', 'dev', 'hostname'))).stdout).toBe('dev\n');
    const readState = async (): Promise<string> =>
      (JSON.parse((await user.slipway('status', 'dev', '--json')).stdout) as { state: string }).state;
    expect(await readState()).toBe('running');
    // Wine's PowerShell is silent, so that Slipway has to do without it.
    await expectSuccess(user.slipway('stop', 'dev'));
    expect(await listQemuProcesses()).toEqual([]);
    expect(await readState()).toBe('stopped');
    await expectSuccess(user.slipway('start', 'dev'));
    expect((await listQemuProcesses()).length).toBe(1);
    await expectSuccess(user.slipway('rm', 'dev'));
    expect(await listQemuProcesses()).toEqual([]);
    expect(await readdir(join(user.home, '.slipway', 'vms'))).toEqual([]);
  });

  /** Returns the QEMU processes that run in this user's folders, whatever Slipway says about them. */
  async function listQemuProcesses(): Promise<readonly string[]> {
    const script = `for p in /proc/[0-9]*; do case $(readlink $p/cwd) in "$0"/*) case $(readlink $p/exe) in *qemu-system*) echo \${p#/proc/} ;; esac ;; esac; done`;
    const { stdout } = await runProgram('sh', ['-c', script, user.home]);
    return stdout.split('\n').filter(Boolean);
  }
});

/** Gives the user the images that all test users share, and builds the default one first if it is missing. */
async function copyImages(user: WindowsUser): Promise<void> {
  await using builder = await createVmUser();
  await expectSuccess(builder.slipway('image', 'build', 'debian-13'));
  const images = await resolveImagesFolder();
  const copies = join(user.home, '.slipway', 'images');
  for (const image of (await readdir(images)).filter((name) => name.startsWith('debian-13-'))) {
    await mkdir(join(copies, image), { recursive: true });
    for (const file of await readdir(join(images, image)))
      await link(join(images, image, file), join(copies, image, file));
  }
}
