import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startHost, type BedHost } from '../bed/host.ts';
import { engineStarts } from './engine.ts';
import { provisionedByOldTool } from './old-tool.ts';
import { at, describeOnBed, newUser, ok, type User } from './slipway.ts';

const OLD = '/etc/systemd/system/docker.service.d/10-machine.conf';

describeOnBed('a host that the old tool has provisioned', () => {
  let host: BedHost;
  let user: User;
  let container: string;

  beforeAll(async () => {
    [host, user] = await Promise.all([startHost({ suite: 'trixie', engine: true }), newUser()]);
    await provisionedByOldTool(host, 'old', join(user.home, '.docker', 'machine'));
    await host.must(
      'mkdir -p /tmp/tools/bin && cp /bin/true /tmp/tools/bin/ ; tar -cf - -C /tmp/tools . | docker import - empty >/dev/null',
    );
    container = await host.must(
      'docker run -d --name web --restart always -v /bin:/bin:ro -v /lib:/lib:ro -v /lib64:/lib64:ro -v /usr:/usr:ro empty /bin/sleep infinity',
    );
  });
  afterAll(async () => {
    await Promise.all([host[Symbol.asyncDispose](), user[Symbol.asyncDispose]()]);
  });

  test('becomes one of ours by create, with one restart, and keeps images and containers', async () => {
    const before = await engineStarts(host);
    const pid = await host.must(`docker inspect -f '{{.State.Pid}}' web`);
    await ok(user.slipway('create', 'web', ...at(host)));
    expect(await engineStarts(host)).toBe(before + 1);
    const seen = await ok(user.docker('--context', 'web', 'ps', '--no-trunc', '--format', '{{.ID}} {{.State}}'));
    expect(seen.stdout.trim()).toBe(`${container} running`);
    // It ran on.
    expect(await host.must(`docker inspect -f '{{.State.Pid}}' web`)).toBe(pid);
  });

  test('keeps what its engine was told, in daemon.json', async () => {
    const { hosts, labels, ...rest } = JSON.parse(await host.must('cat /etc/docker/daemon.json')) as Record<
      string,
      unknown
    >;
    expect(hosts).toEqual(['fd://', 'tcp://0.0.0.0:2376']);
    expect(labels).toEqual(['team=web', 'provider=generic']);
    expect(rest).toMatchObject({ 'storage-driver': 'overlay2', 'log-opts': { 'max-size': '5m' } });
    const info = ['info', '--format', '{{.Driver}} {{.HTTPSProxy}}'];
    expect((await ok(user.docker('--context', 'web', ...info))).stdout.trim()).toMatch(
      /^overlay2 http:\/\/.*proxy\.invalid/,
    );
  });

  test('is reached on the host itself as before', async () => {
    await host.must('docker ps');
    await host.must('systemctl restart docker.service && docker ps');
  });

  test('has nothing left to do at the second look', async () => {
    const starts = await engineStarts(host);
    const dry = await ok(user.slipway('provision', 'web', '--dry-run', '--json'));
    expect(JSON.parse(dry.stdout)).toMatchObject({ steps: [] });
    await ok(user.slipway('provision', 'web'));
    expect(await engineStarts(host)).toBe(starts);
  });

  test('sets a variable of the old drop-in by its own file once it is told to', async () => {
    await ok(
      user.slipway(
        'provision',
        'web',
        '--engine-env',
        'OLD_VARIABLE=new',
        '--engine-env',
        'HTTPS_PROXY=http://new.invalid',
      ),
    );
    expect(await host.must(`test -e ${OLD} && echo there || echo gone`)).toBe('gone');
    const environment = await host.must(
      "tr '\\0' '\\n' </proc/$(systemctl show -p MainPID --value docker.service)/environ",
    );
    expect(environment.split('\n')).toEqual(
      expect.arrayContaining(['OLD_VARIABLE=new', 'HTTPS_PROXY=http://new.invalid']),
    );
  });

  test('is given back as an engine of its own host', async () => {
    await ok(
      user
        .slipway('rm', 'web', '--deprovision', '--yes')
        .then(async (outcome) => (outcome.code === 0 ? outcome : user.slipway('rm', 'web', '--deprovision'))),
    );
    expect(await host.must('systemctl is-active docker.service')).toBe('active');
    const { hosts, ...left } = JSON.parse(await host.must('cat /etc/docker/daemon.json')) as Record<string, unknown>;
    expect(hosts).toBeUndefined();
    expect(left).toMatchObject({ 'storage-driver': 'overlay2' });
    expect(await host.must('docker ps -a --format {{.Names}}')).toBe('web');
    expect(await host.must('ss -tln')).not.toContain(':2376');
  });
});
