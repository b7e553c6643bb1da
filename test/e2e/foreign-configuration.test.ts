import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { startHost, type BedHost } from '../bed/bed-host.ts';
import { expectEngineAnswer, expectFailure } from './assertions.ts';
import { countEngineStarts, readEnginePid } from './inspect-host.ts';
import { createUser, describeOnBed, expectSuccess, hostFlags, type User } from './test-user.ts';

const DROP_INS = '/etc/systemd/system/docker.service.d';
/** What `systemctl edit docker` writes, with the text of Docker's page about remote access. */
const override = (...flags: readonly string[]): string =>
  ['[Service]', 'ExecStart=', `ExecStart=/usr/sbin/dockerd -H fd:// ${flags.join(' ')}`, ''].join('\n');
/** All that a user can have configured there, with its bytes, modes and owners. */
const LIST_FILES = `find /etc/docker /etc/systemd/system /etc/default/docker -printf '%p %y %m %u %l\\n' | sort; find /etc/docker ${DROP_INS} /etc/default/docker -type f -exec sha256sum {} + 2>/dev/null | sort -k 2`;

describeOnBed('a host on which somebody else configured the engine', () => {
  let host: BedHost;
  let user: User;

  beforeAll(async () => {
    [host, user] = await Promise.all([startHost({ suite: 'trixie', engine: true }), createUser()]);
  });
  afterAll(async () => {
    await Promise.all([host[Symbol.asyncDispose](), user[Symbol.asyncDispose]()]);
  });
  // The unit allows few starts per minute.
  beforeEach(async () => {
    await host.exec('systemctl reset-failed docker.service docker.socket');
  });

  async function write(path: string, text: string | Buffer): Promise<void> {
    await writeFile(join(user.home, 'file'), text);
    await host.copyIn(join(user.home, 'file'), path);
  }

  /** Expects the engine to answer clients of the machine, and users of the host. */
  async function expectBothAnswer(): Promise<void> {
    await expectEngineAnswer(user, 'web');
    expect(await host.runOrThrow('curl -s --max-time 5 --unix-socket /run/docker.sock http://localhost/_ping')).toBe(
      'OK',
    );
  }
  const readHosts = async (): Promise<unknown> =>
    (JSON.parse(await host.runOrThrow('cat /etc/docker/daemon.json')) as { hosts: unknown }).hosts;

  test('is restored by rm --deprovision, byte for byte, whatever configured it', async () => {
    await write(`${DROP_INS}/override.conf`, override('-H tcp://127.0.0.1:2375', '--label from=override'));
    await write('/etc/default/docker', 'DOCKER_OPTS="-H tcp://127.0.0.1:2377 --debug"\n');
    await host.runOrThrow(`sed -i 's/$/ $DOCKER_OPTS/;1,2s/ .*//' ${DROP_INS}/override.conf`);
    await write('/etc/docker/daemon.json', '{ "log-driver":"local",\n\t"dns": [ "192.0.2.53" ] }');
    await host.runOrThrow('chmod 600 /etc/docker/daemon.json; systemctl daemon-reload; systemctl restart docker');
    await host.runOrThrow('systemctl disable --quiet docker.service');
    const before = await host.runOrThrow(LIST_FILES);

    const note = `The engine on ${host.address} accepts clients without TLS at tcp://127.0.0.1:2375 (${DROP_INS}/override.conf, line 3)`;
    const disabled = `The engine on ${host.address} does not start at boot. From now on it does. To undo: slipway rm --deprovision web`;
    const plan = await expectSuccess(user.slipway('create', 'web', ...hostFlags(host), '--dry-run', '--json'));
    expect(JSON.parse(plan.stdout.trim().split('\n').at(-1) ?? '')).toMatchObject({
      result: {
        steps: [{ id: 'configure-engine', notes: [expect.stringContaining(note), expect.anything(), disabled] }],
      },
    });
    const created = await expectSuccess(
      user.slipway('create', 'web', ...hostFlags(host), '--engine-label', 'from=slipway'),
    );
    expect(created.stderr).toContain(note);
    await expectBothAnswer();
    expect(await host.runOrThrow('systemctl is-enabled docker.service')).toBe('enabled');
    expect(await readHosts()).toEqual(['fd://', 'tcp://127.0.0.1:2375', 'tcp://127.0.0.1:2377', 'tcp://0.0.0.0:2376']);
    const { stdout: info } = await expectSuccess(
      user.docker('--context', 'web', 'info', '--format', '{{.Labels}} {{.Debug}}'),
    );
    expect(info.trim()).toBe('[from=slipway] true');
    expect((await expectSuccess(user.slipway('provision', 'web', '--dry-run'))).stdout.trim()).toBe(
      'web: nothing to do',
    );

    const removed = await expectSuccess(user.slipway('rm', 'web', '--deprovision'));
    expect(removed.stderr).toContain('listens without TLS at tcp://127.0.0.1:2375 again');
    expect(await host.runOrThrow(LIST_FILES)).toBe(before);
    expect(await host.runOrThrow('curl -s http://127.0.0.1:2375/_ping; docker info -f "{{.Labels}}"')).toBe(
      'OK[from=override]',
    );
    expect((await host.exec('systemctl is-enabled docker.service')).stdout.trim()).toBe('disabled');
    await host.runOrThrow('systemctl enable --quiet docker.service');
    await host.runOrThrow(`rm -r ${DROP_INS} /etc/docker/daemon.json; : >/etc/default/docker`);
    await host.runOrThrow('systemctl daemon-reload; systemctl restart docker');
  });

  test('keeps its Unix socket when daemon.json is rewritten or deleted, and gets a lost one back', async () => {
    await expectSuccess(user.slipway('create', 'web', ...hostFlags(host)));
    for (const spoil of [
      `echo '{ "log-driver": "local" }' >/etc/docker/daemon.json`,
      `echo '{ "log-driver": "local" }' >/etc/docker/daemon.json; systemctl restart docker`,
      'rm /etc/docker/daemon.json; systemctl restart docker',
      'rm /run/docker.sock',
    ]) {
      await host.runOrThrow(`systemctl reset-failed docker.service; ${spoil}`);
      if (spoil.startsWith('rm /run/'))
        expect((await expectSuccess(user.slipway('status', 'web'))).stdout).toContain('/run/docker.sock on');
      await expectSuccess(user.slipway('provision', 'web'));
      await expectBothAnswer();
    }
    const starts = await countEngineStarts(host);
    await expectSuccess(user.slipway('provision', 'web'));
    expect(await countEngineStarts(host)).toBe(starts);
  });

  test('keeps the encoding of daemon.json, which the engine reads, too', async () => {
    await write('/etc/docker/daemon.json', Buffer.from('\u{feff}{ "log-driver": "local" }\r\n', 'utf16le'));
    await expectSuccess(user.slipway('provision', 'web'));
    await expectBothAnswer();
    const decoded = 'iconv -f UTF-16 -t UTF-8 /etc/docker/daemon.json';
    expect(JSON.parse(await host.runOrThrow(decoded))).toMatchObject({ 'log-driver': 'local', tlsverify: true });
    await write('/etc/docker/daemon.json', '\u{feff}{}');
    await expectSuccess(user.slipway('provision', 'web'));
    await expectBothAnswer();
    expect(await host.runOrThrow('head -c 3 /etc/docker/daemon.json | od -An -tx1')).toBe('ef bb bf');
    await host.runOrThrow('rm /etc/docker/daemon.json');
    await expectSuccess(user.slipway('provision', 'web'));
  });

  test('keeps the machine when an override is added, whatever its name is', async () => {
    await write(`${DROP_INS}/override.conf`, override('-H tcp://127.0.0.1:2375'));
    await host.runOrThrow('systemctl daemon-reload; systemctl restart docker');
    await expectBothAnswer();
    // Not loaded by systemd yet, and after the name of Slipway's file.
    await write(`${DROP_INS}/zzz-local.conf`, override('-H tcp://127.0.0.1:2378', '--tlsverify --debug'));
    await expectSuccess(user.slipway('provision', 'web'));
    await expectBothAnswer();
    expect(await readHosts()).toContain('tcp://127.0.0.1:2378');
    await host.runOrThrow(`rm ${DROP_INS}/zzz-local.conf ${DROP_INS}/override.conf`);
    await expectSuccess(user.slipway('provision', 'web'));
    await expectBothAnswer();
    expect([await readHosts(), await host.runOrThrow(`ls ${DROP_INS}`)]).toEqual([
      ['fd://', 'tcp://0.0.0.0:2376'],
      'zz-slipway.conf',
    ]);
  });

  test('renames the file of an earlier version without a restart, and fixes an engine that an override stopped', async () => {
    const asEarlierVersion = `mv ${DROP_INS}/zz-slipway.conf ${DROP_INS}/50-slipway.conf && systemctl daemon-reload`;
    await host.runOrThrow(asEarlierVersion);
    const pid = await readEnginePid(host);
    await expectSuccess(user.slipway('provision', 'web'));
    expect([await readEnginePid(host), await host.runOrThrow(`ls ${DROP_INS}`)]).toEqual([pid, 'zz-slipway.conf']);

    await host.runOrThrow(asEarlierVersion);
    await write(`${DROP_INS}/override.conf`, override('-H tcp://127.0.0.1:2375'));
    await host.exec('systemctl daemon-reload; systemctl restart docker');
    await expectSuccess(user.slipway('provision', 'web'));
    await expectBothAnswer();
    await host.runOrThrow(`rm ${DROP_INS}/override.conf; systemctl daemon-reload`);
    await expectSuccess(user.slipway('provision', 'web'));
  });

  test('is refused, by file and line, where dockerd reads another file or is started by a script', async () => {
    await write(`${DROP_INS}/override.conf`, override('--config-file=/srv/docker.json'));
    const starts = await countEngineStarts(host);
    expect(await expectFailure(user.slipway('provision', 'web'))).toMatchObject({
      status: 7,
      sentence: `dockerd on ${host.address} reads /srv/docker.json instead of /etc/docker/daemon.json (--config-file in ${DROP_INS}/override.conf, line 3)`,
    });
    expect(await countEngineStarts(host)).toBe(starts);
    await host.runOrThrow(`rm ${DROP_INS}/override.conf`);
    await expectSuccess(user.slipway('provision', 'web'));
  });
});
