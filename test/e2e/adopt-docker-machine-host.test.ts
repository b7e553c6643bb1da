import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startHost, type BedHost } from '../bed/bed-host.ts';
import { countEngineStarts } from './inspect-host.ts';
import { provisionAsDockerMachine } from './docker-machine-host.ts';
import { hostFlags, describeOnBed, createUser, expectSuccess, type User } from './test-user.ts';

const OLD_DROP_IN = '/etc/systemd/system/docker.service.d/10-machine.conf';

describeOnBed('a host that Docker Machine has provisioned', () => {
  let host: BedHost;
  let user: User;
  let containerId: string;

  beforeAll(async () => {
    [host, user] = await Promise.all([startHost({ suite: 'trixie', engine: true }), createUser()]);
    await provisionAsDockerMachine(host, 'old', join(user.home, '.docker', 'machine'));
    await host.runOrThrow(
      'mkdir -p /tmp/tools/bin && cp /bin/true /tmp/tools/bin/ ; tar -cf - -C /tmp/tools . | docker import - empty >/dev/null',
    );
    containerId = await host.runOrThrow(
      'docker run -d --name web --restart always -v /bin:/bin:ro -v /lib:/lib:ro -v /lib64:/lib64:ro -v /usr:/usr:ro empty /bin/sleep infinity',
    );
  });
  afterAll(async () => {
    await Promise.all([host[Symbol.asyncDispose](), user[Symbol.asyncDispose]()]);
  });

  test('becomes a machine of Slipway by create, with one restart, and keeps its images and containers', async () => {
    const before = await countEngineStarts(host);
    const pid = await host.runOrThrow(`docker inspect -f '{{.State.Pid}}' web`);
    await expectSuccess(user.slipway('create', 'web', ...hostFlags(host)));
    expect(await countEngineStarts(host)).toBe(before + 1);
    const containers = await expectSuccess(
      user.docker('--context', 'web', 'ps', '--no-trunc', '--format', '{{.ID}} {{.State}}'),
    );
    expect(containers.stdout.trim()).toBe(`${containerId} running`);
    // The container was not restarted.
    expect(await host.runOrThrow(`docker inspect -f '{{.State.Pid}}' web`)).toBe(pid);
  });

  test('keeps the settings of its engine, in daemon.json', async () => {
    const { hosts, labels, ...rest } = JSON.parse(await host.runOrThrow('cat /etc/docker/daemon.json')) as Record<
      string,
      unknown
    >;
    expect(hosts).toEqual(['fd://', 'tcp://0.0.0.0:2376']);
    expect(labels).toEqual(['team=web', 'provider=generic']);
    expect(rest).toMatchObject({ 'storage-driver': 'overlay2', 'log-opts': { 'max-size': '5m' } });
    const info = ['info', '--format', '{{.Driver}} {{.HTTPSProxy}}'];
    expect((await expectSuccess(user.docker('--context', 'web', ...info))).stdout.trim()).toMatch(
      /^overlay2 http:\/\/.*proxy\.invalid/,
    );
  });

  test('still lets docker on the host itself use the engine', async () => {
    await host.runOrThrow('docker ps');
    await host.runOrThrow('systemctl restart docker.service && docker ps');
  });

  test('is not changed by a second provision', async () => {
    const starts = await countEngineStarts(host);
    const plan = await expectSuccess(user.slipway('provision', 'web', '--dry-run', '--json'));
    expect(JSON.parse(plan.stdout)).toMatchObject({ steps: [] });
    await expectSuccess(user.slipway('provision', 'web'));
    expect(await countEngineStarts(host)).toBe(starts);
  });

  test("gets engine variables from Slipway's file, once the user changes those of the old drop-in", async () => {
    await expectSuccess(
      user.slipway(
        'provision',
        'web',
        '--engine-env',
        'OLD_VARIABLE=new',
        '--engine-env',
        'HTTPS_PROXY=http://new.invalid',
      ),
    );
    expect(await host.runOrThrow(`test -e ${OLD_DROP_IN} && echo there || echo gone`)).toBe('gone');
    const environment = await host.runOrThrow(
      "tr '\\0' '\\n' </proc/$(systemctl show -p MainPID --value docker.service)/environ",
    );
    expect(environment.split('\n')).toEqual(
      expect.arrayContaining(['OLD_VARIABLE=new', 'HTTPS_PROXY=http://new.invalid']),
    );
  });

  test('has a working engine of its own after rm --deprovision', async () => {
    await expectSuccess(
      user
        .slipway('rm', 'web', '--deprovision', '--yes')
        .then(async (outcome) => (outcome.code === 0 ? outcome : user.slipway('rm', 'web', '--deprovision'))),
    );
    expect(await host.runOrThrow('systemctl is-active docker.service')).toBe('active');
    const { hosts, ...settings } = JSON.parse(await host.runOrThrow('cat /etc/docker/daemon.json')) as Record<
      string,
      unknown
    >;
    expect(hosts).toBeUndefined();
    expect(settings).toMatchObject({ 'storage-driver': 'overlay2' });
    expect(await host.runOrThrow('docker ps -a --format {{.Names}}')).toBe('web');
    expect(await host.runOrThrow('ss -tln')).not.toContain(':2376');
  });
});
