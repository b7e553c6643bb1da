import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startHost, type BedHost } from '../bed/bed-host.ts';
import { readEnginePid, countEngineStarts, countLogins, snapshotFiles } from './inspect-host.ts';
import { loadToolsImage } from './tools-image.ts';
import { hostFlags, describeOnBed, createUser, expectSuccess, type User } from './test-user.ts';

/** All folders that Slipway may change on a host. */
const managedFolders = ['/etc/docker', '/etc/systemd/system', '/run/slipway'] as const;

describeOnBed('running a command again', () => {
  let host: BedHost;
  let user: User;

  beforeAll(async () => {
    [host, user] = await Promise.all([startHost({ suite: 'trixie', engine: true }), createUser()]);
  });
  afterAll(async () => {
    await Promise.all([host[Symbol.asyncDispose](), user[Symbol.asyncDispose]()]);
  });

  test('create --dry-run shows the plan and changes nothing on either side', async () => {
    const before = await snapshotFiles(host, ...managedFolders);
    const shown = await expectSuccess(
      user.slipway('create', 'web', ...hostFlags(host), '--engine-label', 'a=b', '--dry-run'),
    );
    expect(shown.stdout).toContain('web: steps on the host');
    expect(shown.stdout).toContain('1. Configure the engine and restart it');
    expect(shown.stdout).toContain('write /etc/docker/slipway/server-key.pem');
    const { stdout } = await expectSuccess(user.slipway('create', 'web', ...hostFlags(host), '--dry-run', '--json'));
    // The note about a first-seen host key turns the output into a stream of events.
    const { name, steps } = (JSON.parse(stdout.trim().split('\n').at(-1) ?? '') as { result: Plan }).result;
    expect(name).toBe('web');
    expect(steps.map(({ id }) => id)).toEqual(['configure-engine']);
    expect(steps[0]?.files).toContainEqual({ path: '/etc/docker/daemon.json', change: 'write' });
    expect(shown.stdout + stdout).not.toContain('PRIVATE KEY');

    expect(await snapshotFiles(host, ...managedFolders)).toEqual(before);
    expect(await countEngineStarts(host)).toBe(1);
    expect((await user.run('ls', ['-A', user.home])).stdout.split('\n')).not.toContain('.slipway');
    expect((await expectSuccess(user.docker('context', 'ls', '--quiet'))).stdout.trim()).toBe('default');
  });

  test('create uses one connection and at most 4 remote executions', async () => {
    const before = await countLogins(host);
    const { stderr } = await expectSuccess(user.slipway('create', 'web', ...hostFlags(host), '--debug'));
    expect((await countLogins(host)) - before).toBe(1);
    expect(countExecutions(stderr)).toBeGreaterThan(0);
    expect(countExecutions(stderr)).toBeLessThanOrEqual(4);
  });

  test('create refuses a ready machine and leaves it as it is', async () => {
    const before = await snapshotFiles(host, ...managedFolders);
    const refused = await user.slipway('create', 'web', ...hostFlags(host), '--engine-label', 'a=b');
    expect(refused.code).toBe(3);
    expect(refused.stdout).toBe('');
    expect(refused.stderr).toContain('Machine "web" already exists');
    expect(refused.stderr).toContain('slipway provision web');
    expect(await snapshotFiles(host, ...managedFolders)).toEqual(before);
    expect((await expectSuccess(user.slipway('status', 'web', '--json'))).code).toBe(0);
  });

  test('provision with nothing to do changes nothing and uses one connection', async () => {
    await loadToolsImage(user, 'web');
    await expectSuccess(
      user.docker(
        '--context',
        'web',
        'run',
        '--detach',
        '--stop-signal',
        'KILL',
        '--name',
        'lives',
        'tools',
        'sleep',
        '10000',
      ),
    );
    const takeSnapshot = async (): Promise<unknown> => [
      await snapshotFiles(host, ...managedFolders),
      await readEnginePid(host),
      (
        await expectSuccess(
          user.docker('--context', 'web', 'inspect', '--format', '{{.State.StartedAt}} {{.State.Running}}', 'lives'),
        )
      ).stdout,
    ];
    const [before, loginsBefore] = [await takeSnapshot(), await countLogins(host)];
    const { stderr } = await expectSuccess(user.slipway('provision', 'web', '--debug'));
    expect(await takeSnapshot()).toEqual(before);
    expect((await countLogins(host)) - loginsBefore).toBe(1);
    expect(countExecutions(stderr)).toBeGreaterThan(0);
    expect(countExecutions(stderr)).toBeLessThanOrEqual(4);
  });

  test('provision with a flag changes only that, with one restart', async () => {
    const readEngineState = async (): Promise<readonly string[]> => [
      await readLabels(user),
      String(await readEnginePid(host)),
      await host.runOrThrow('cat /etc/docker/slipway/server-cert.pem'),
    ];
    // The unit allows few starts per minute, and this host had some already.
    await host.runOrThrow('systemctl reset-failed docker.service');
    const before = await countEngineStarts(host);
    const [, pid, certificate] = await readEngineState();

    const plan = await expectSuccess(user.slipway('provision', 'web', '--engine-label', 'x=y', '--dry-run'));
    expect(plan.stdout).toContain('Configure the engine and restart it');
    expect(plan.stdout).toContain('write /etc/docker/daemon.json');
    expect(plan.stdout).not.toContain('server-key.pem');
    expect(await readEngineState()).toEqual(['[]', pid, certificate]);
    expect(JSON.stringify(await readMachineRecord(user))).not.toContain('x=y');

    await expectSuccess(user.slipway('provision', 'web', '--engine-label', 'x=y'));
    const [labels, nextPid, sameCertificate] = await readEngineState();
    expect([labels, sameCertificate]).toEqual(['["x=y"]', certificate]);
    expect(nextPid).not.toBe(pid);
    expect(await countEngineStarts(host)).toBe(before + 1);

    // An option that is not given stays; one that is given again replaces the old value.
    await expectSuccess(user.slipway('provision', 'web', '--engine-insecure-registry', 'registry.example:5000'));
    expect(await readLabels(user)).toBe('["x=y"]');
    await expectSuccess(user.slipway('provision', 'web', '--engine-label', 'z=1'));
    expect(await readLabels(user)).toBe('["z=1"]');
    const emptyPlan = await expectSuccess(user.slipway('provision', 'web', '--dry-run'));
    expect(emptyPlan.stdout.trim()).toBe('web: nothing to do');
  });

  test('rm says that the host stays, and removes its client files', async () => {
    const before = await snapshotFiles(host, ...managedFolders);
    const { stdout } = await expectSuccess(user.slipway('rm', 'web'));
    expect(stdout.trim()).toBe('web is removed; the host itself and its engine stay as they are');
    expect((await expectSuccess(user.slipway('ls', '-q'))).stdout.trim()).toBe('');
    expect((await user.run('ls', ['-A', join(user.home, '.slipway', 'machines')])).stdout).toBe('');
    expect((await expectSuccess(user.docker('context', 'ls', '--quiet'))).stdout.trim()).toBe('default');
    expect((await user.run('find', [join(user.home, '.docker', 'contexts'), '-type', 'f'])).stdout).toBe('');
    expect(await snapshotFiles(host, ...managedFolders)).toEqual(before);
    expect((await user.slipway('rm', 'web')).code).toBe(3);
  });
});

describeOnBed('rm --deprovision', () => {
  test.for([
    { before: 'no daemon.json', text: undefined },
    {
      before: 'a daemon.json of its own',
      text: '{\n    "log-driver":   "local",\n    "labels": ["theirs=1"],\n    "log-opts": { "max-size": "5m" }\n}\n',
    },
  ])('restores a host that had $before', async ({ text }) => {
    await using user = await createUser();
    await using host = await startHost({ suite: 'bookworm', engine: true });
    if (text !== undefined) {
      await writeFile(join(user.home, 'daemon.json'), text);
      await host.copyIn(join(user.home, 'daemon.json'), '/etc/docker/daemon.json');
      await host.runOrThrow('chmod 600 /etc/docker/daemon.json && systemctl restart docker.service');
    }
    const present = 'find /etc/docker /etc/systemd/system -mindepth 1 -printf "%p %y %m\\n" | sort';
    const before = await host.runOrThrow(present);
    await expectSuccess(
      user.slipway(
        'create',
        'web',
        ...hostFlags(host),
        ...['ours=1', 'mine=2'].flatMap((pair) => ['--engine-label', pair]),
      ),
    );
    expect(await readLabels(user)).toBe(text === undefined ? '["mine=2","ours=1"]' : '["mine=2","ours=1","theirs=1"]');
    await loadToolsImage(user, 'web');
    const containerArgs = [
      'run',
      '--detach',
      '--stop-signal',
      'KILL',
      '--name',
      'stays',
      '--restart',
      'always',
      'tools',
      'sleep',
      '10000',
    ];
    await expectSuccess(user.docker('--context', 'web', ...containerArgs));

    const { stdout } = await expectSuccess(user.slipway('rm', 'web', '--deprovision'));
    expect(stdout.trim()).toBe('web is removed');
    expect(await host.runOrThrow(present)).toBe(before);
    if (text !== undefined) {
      expect(JSON.parse(await host.runOrThrow('cat /etc/docker/daemon.json'))).toEqual(JSON.parse(text));
      expect(await host.runOrThrow('stat -c %a /etc/docker/daemon.json')).toBe('600');
    }
    expect(await host.runOrThrow('ss -Hltn sport = :2376')).toBe('');
    const api = 'curl -s --unix-socket /var/run/docker.sock http://localhost';
    expect(await host.runOrThrow(`${api}/_ping`)).toBe('OK');
    const containers = JSON.parse(await host.runOrThrow(`${api}/containers/json`)) as {
      Names: string[];
      State: string;
    }[];
    expect(containers.map(({ Names, State }) => [Names[0], State])).toEqual([['/stays', 'running']]);
  });
});

type Plan = {
  readonly name: string;
  readonly steps: readonly { readonly id: string; readonly files: readonly unknown[] }[];
};

function countExecutions(debug: string): number {
  return debug.split('\n').filter((line) => line.includes('-> exit')).length;
}

async function readLabels(user: User): Promise<string> {
  const { stdout } = await expectSuccess(user.docker('--context', 'web', 'info', '--format', '{{json .Labels}}'));
  // Some engines report them in random order.
  return JSON.stringify((JSON.parse(stdout) as string[]).toSorted());
}

async function readMachineRecord(user: User): Promise<unknown> {
  return JSON.parse((await expectSuccess(user.slipway('inspect', 'web'))).stdout);
}
