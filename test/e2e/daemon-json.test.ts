import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startHost, type BedHost } from '../bed/bed-host.ts';
import { countEngineStarts } from './inspect-host.ts';
import { hostFlags, describeOnBed, createUser, expectSuccess, type User } from './test-user.ts';

const path = '/etc/docker/daemon.json';

describeOnBed('an existing daemon.json', () => {
  let host: BedHost;
  let user: User;

  beforeAll(async () => {
    [host, user] = await Promise.all([startHost({ suite: 'bookworm', engine: true }), createUser()]);
  });
  afterAll(async () => {
    await Promise.all([host[Symbol.asyncDispose](), user[Symbol.asyncDispose]()]);
  });

  async function writeDaemonJson(text: string, mode: string): Promise<void> {
    await writeFile(join(user.home, 'daemon.json'), text);
    await host.copyIn(join(user.home, 'daemon.json'), path);
    await host.runOrThrow(`chmod ${mode} ${path}`);
  }

  test.for([
    { broken: '{\n  "log-driver": "local",\n  "labels": ["a=1" "b=2"]\n}\n', at: 'line 3, column 20: comma expected' },
    { broken: '{"log-driver": "local",}', at: 'line 1, column 24: property name expected' },
    { broken: '["log-driver"]\n', at: 'line 1, column 1: it is not an object' },
    { broken: '{\n  // why\n  "debug": true\n}\n', at: 'line 2, column 3: invalid comment token' },
    {
      broken: '\u{feff}{\r\n\t"debug": true\r\n}',
      at: "line 1, column 1: it begins with a byte order mark, which engine 20.10.24+dfsg1 can't read",
    },
    { broken: '{\n "Debug": true\n}', at: 'line 2, column 2: dockerd does not know the setting "Debug"' },
  ])('broken at $at is reported and left as it is', async ({ broken, at: place }) => {
    await writeDaemonJson(broken, '640');
    const snapshotCommand = `sha256sum ${path}; stat -c '%a %Y %i' ${path}; ls -A /etc/docker /etc/systemd/system/docker.service.d 2>&1 || :`;
    const before = await host.runOrThrow(snapshotCommand);
    const refused = await user.slipway('create', 'web', ...hostFlags(host));
    expect(refused.code).toBe(7);
    expect(refused.stderr).toContain(`${path} on ${host.address} is broken at ${place}`);
    expect(await host.runOrThrow(snapshotCommand)).toBe(before);
    expect(await countEngineStarts(host)).toBe(1);
  });

  test("keeps the user's settings and its mode, and create continues once it is fixed", async () => {
    const userSettings = {
      'log-driver': 'json-file',
      labels: ['theirs=1'],
      'log-opts': { 'max-size': '5m', 'max-file': '2' },
      'default-ulimits': { nofile: { Name: 'nofile', Hard: 4096, Soft: 1024 } },
      dns: ['192.0.2.53'],
    };
    await writeDaemonJson(JSON.stringify(userSettings), '600');
    const flags = ['--engine-label', 'ours=2', '--engine-opt', 'log-opt=max-file=3', '--engine-opt', 'dns=192.0.2.54'];
    await expectSuccess(user.slipway('create', 'web', ...hostFlags(host), ...flags));
    expect(JSON.parse(await host.runOrThrow(`cat ${path}`))).toEqual({
      ...userSettings,
      labels: ['theirs=1', 'ours=2'],
      'log-opts': { 'max-size': '5m', 'max-file': '3' },
      dns: ['192.0.2.53', '192.0.2.54'],
      hosts: ['fd://', 'tcp://0.0.0.0:2376'],
      tls: true,
      tlsverify: true,
      tlscacert: '/etc/docker/slipway/ca.pem',
      tlscert: '/etc/docker/slipway/server-cert.pem',
      tlskey: '/etc/docker/slipway/server-key.pem',
    });
    expect(await host.runOrThrow(`stat -c '%a %U:%G' ${path}`)).toBe('600 root:root');
    const info = ['info', '--format', '{{.LoggingDriver}} {{len .Labels}}'];
    expect((await expectSuccess(user.docker('--context', 'web', ...info))).stdout.trim()).toBe('json-file 2');
  });

  test('keeps settings that are added later, and gets back the settings that Slipway replaced', async () => {
    const change = `sed -i 's/^{/{ "max-concurrent-downloads": 7,/; s/"ours=2"/"ours=2", "later=3"/' ${path}`;
    await host.runOrThrow(`systemctl reset-failed docker.service; ${change} && systemctl restart docker.service`);
    await expectSuccess(user.slipway('provision', 'web', '--engine-label', 'ours=4', '--engine-opt', 'debug=true'));
    const { labels, debug, ...rest } = JSON.parse(await host.runOrThrow(`cat ${path}`)) as Record<string, unknown>;
    expect([labels, debug]).toEqual([['theirs=1', 'later=3', 'ours=4'], true]);
    expect(rest).toMatchObject({
      'max-concurrent-downloads': 7,
      'log-opts': { 'max-size': '5m', 'max-file': '2' },
      dns: ['192.0.2.53'],
    });
  });

  test('broken after create, is reported by provision while the engine keeps answering', async () => {
    const good = await host.runOrThrow(`cat ${path}`);
    await writeDaemonJson('{ "debug": }\n', '600');
    const refused = await user.slipway('provision', 'web', '--engine-label', 'ours=5');
    expect(refused.code).toBe(7);
    expect(refused.stderr).toContain('is broken at line 1, column 12: value expected');
    expect(await host.runOrThrow(`cat ${path}`)).toBe('{ "debug": }');
    expect((await expectSuccess(user.slipway('status', 'web'))).stdout).toContain('running');
    await writeDaemonJson(good, '600');
    await expectSuccess(user.slipway('provision', 'web'));
    expect((await expectSuccess(user.slipway('status', 'web'))).stdout).not.toContain('Trouble');
  });
});
