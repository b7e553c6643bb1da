import { cp, mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startHost, type BedHost } from '../bed/bed-host.ts';
import { readEnginePid } from './inspect-host.ts';
import { loadToolsImage } from './tools-image.ts';
import { hostFlags, describeOnBed, createUser, expectSuccess, type User } from './test-user.ts';
import { expectEngineAnswer, waitUntil } from './assertions.ts';

const LIVE_RESTORE_MARKER = '/etc/docker/slipway/live-restore-lent';

describeOnBed.each(['bookworm', 'trixie'] as const)('a machine with a running container on %s', (suite) => {
  let host: BedHost;
  let user: User;
  /** Returns the container's PID and start time, or nothing if it does not run. */
  const readContainer = async (): Promise<string> =>
    host.runOrThrow(`docker inspect -f '{{if .State.Running}}{{.State.Pid}} {{.State.StartedAt}}{{end}}' app`);
  const readDaemonJson = async (): Promise<string> => host.runOrThrow('cat /etc/docker/daemon.json');
  const readLiveRestore = async (): Promise<string> => host.runOrThrow("docker info -f '{{.LiveRestoreEnabled}}'");
  const store = (...path: readonly string[]): string => join(user.home, '.slipway', 'machines', 'web', ...path);
  const readSerial = async (...path: readonly string[]): Promise<string> =>
    (await expectSuccess(user.run('openssl', ['x509', '-noout', '-serial', '-in', store(...path)]))).stdout;
  /** Returns the engine's answer to a client with this certificate, without checking the server's. */
  const pingAsClient = async (folder: string): Promise<string> => {
    const pair = ['--cert', join(folder, 'cert.pem'), '--key', join(folder, 'key.pem')];
    const argv = ['-sk', '-o', '/dev/null', '-w', '%{http_code}', ...pair, `https://${host.address}:2376/_ping`];
    return (await user.run('curl', argv)).stdout;
  };

  /** Expects the engine to restart, its container to keep running, and no temporary setting to be left. */
  async function expectContainerKeepsRunning(work: () => Promise<unknown>): Promise<void> {
    const [before, pid] = [await readContainer(), await readEnginePid(host)];
    await work();
    expect(before).toMatch(/^\d+ 2/);
    expect(await readContainer()).toBe(before);
    expect(await readEnginePid(host)).not.toBe(pid);
    expect(await readLiveRestore()).toBe('false');
    expect(await readDaemonJson()).not.toContain('live-restore');
    expect((await host.exec(`ls ${LIVE_RESTORE_MARKER} /etc/docker/*.slipway-*`)).code).not.toBe(0);
    await expectEngineAnswer(user, 'web');
  }

  beforeAll(async () => {
    [host, user] = await Promise.all([startHost({ suite, engine: true }), createUser()]);
    // A CA as Docker Machine creates it.
    await mkdir(store('ca'), { recursive: true });
    await mkdir(store('tls'));
    const createCa = 'req -x509 -newkey rsa:2048 -nodes -days 1080 -subj /O=somebody -addext'.split(' ');
    const usage = 'keyUsage=critical,digitalSignature,keyEncipherment,keyAgreement,keyCertSign';
    const files = ['-keyout', store('ca', 'ca-key.pem'), '-out', store('tls', 'ca.pem')];
    await expectSuccess(user.run('openssl', [...createCa, usage, ...files]));
    await expectSuccess(
      user.run('openssl', ['rsa', '-traditional', '-in', store('ca', 'ca-key.pem'), '-out', store('ca', 'ca-key.pem')]),
    );
  });
  afterAll(async () => {
    await Promise.all([host[Symbol.asyncDispose](), user[Symbol.asyncDispose]()]);
  });

  test('accepts certificates that an RSA CA signed', async () => {
    const ca = await readFile(store('tls', 'ca.pem'), 'utf8');
    await expectSuccess(user.slipway('create', 'web', ...hostFlags(host)));
    expect(await readFile(store('tls', 'ca.pem'), 'utf8')).toBe(ca);
    expect(await readFile(store('ca', 'ca-key.pem'), 'utf8')).toContain('BEGIN RSA PRIVATE KEY');
    await expectEngineAnswer(user, 'web');
    await loadToolsImage(user, 'web');
    await expectSuccess(
      user.docker('--context', 'web', 'run', '-d', '--name', 'app', '--stop-timeout', '1', 'tools', 'sleep', '9999'),
    );
  });

  test("keeps other clients' access with new certificates of the same CA", async () => {
    await cp(store('tls'), join(user.home, 'old'), { recursive: true });
    const before = await Promise.all([readSerial('tls', 'cert.pem'), readSerial('server', 'cert.pem')]);
    await expectContainerKeepsRunning(async () => {
      const { stdout } = await expectSuccess(user.slipway('regenerate-certs', 'web'));
      expect(stdout).toBe(`web has new certificates: tcp://${host.address}:2376\n`);
    });
    const after = await Promise.all([readSerial('tls', 'cert.pem'), readSerial('server', 'cert.pem')]);
    expect(after.filter((one) => before.includes(one))).toEqual([]);
    expect([await pingAsClient(join(user.home, 'old')), await pingAsClient(store('tls'))]).toEqual(['200', '200']);
  });

  test("ends other clients' access with a new CA, and updates the docker context", async () => {
    await expectContainerKeepsRunning(async () =>
      expectSuccess(user.slipway('regenerate-certs', 'web', '--all', '--yes', '--json')),
    );
    expect([await pingAsClient(join(user.home, 'old')), await pingAsClient(store('tls'))]).toEqual(['000', '200']);
  });

  test('keeps containers running when another change restarts the engine', async () => {
    await expectContainerKeepsRunning(async () =>
      expectSuccess(user.slipway('provision', 'web', '--engine-label', 'zone=a')),
    );
    expect(await readDaemonJson()).toContain('zone=a');
    expect((await expectSuccess(user.docker('--context', 'web', 'exec', 'app', 'echo', 'still here'))).stdout).toBe(
      'still here\n',
    );
  });

  test('keeps containers running when a configuration is rolled back', async () => {
    const file = await readDaemonJson();
    await expectContainerKeepsRunning(async () => {
      const { code, stderr } = await user.slipway('provision', 'web', '--engine-opt', 'no-such-option=1');
      expect([code, stderr]).toEqual([7, expect.stringContaining('so the old one was restored')]);
    });
    expect(await readDaemonJson()).toBe(file);
  });

  test.for([
    ['before anything', `echo -n >${LIVE_RESTORE_MARKER}`],
    [
      'before the restart',
      `sed -i '1s/{/{"live-restore": true,/' /etc/docker/daemon.json; echo -n >${LIVE_RESTORE_MARKER}`,
    ],
    [
      'after the restart',
      `sed -i '1s/{/{"live-restore": false,/' /etc/docker/daemon.json; echo -n >${LIVE_RESTORE_MARKER}`,
    ],
  ] as const)('completes a provision that was killed on the host %s', async ([, simulateKill]) => {
    const file = await readDaemonJson();
    await host.runOrThrow(simulateKill);
    await expectContainerKeepsRunning(async () => expectSuccess(user.slipway('provision', 'web')));
    expect(await readDaemonJson()).toBe(file);
    expect((await expectSuccess(user.slipway('provision', 'web', '--dry-run'))).stdout.trim()).toBe(
      'web: nothing to do',
    );
  });

  test('completes a provision that was killed on the host during the restart', async () => {
    const before = await readContainer();
    const killed = host.runOrThrow(
      `until [ -e ${LIVE_RESTORE_MARKER} ]; do sleep 0.01; done; pkill -9 -f '^sh -eu ./script' && rm -rf /run/slipway.*`,
    );
    expect((await user.slipway('provision', 'web', '--engine-label', 'zone=b')).code).not.toBe(0);
    await killed;
    await expectSuccess(user.slipway('provision', 'web', '--engine-label', 'zone=b'));
    expect([await readContainer(), await readDaemonJson()]).toEqual([before, expect.stringContaining('zone=b')]);
    expect(await readDaemonJson()).not.toContain('live-restore');
    await expectEngineAnswer(user, 'web');
  });

  test('keeps live-restore if the user has set it', async () => {
    const before = await readContainer();
    await expectSuccess(user.slipway('provision', 'web', '--engine-opt', 'live-restore=true'));
    expect([await readContainer(), await readLiveRestore()]).toEqual([before, 'true']);
    expect(JSON.parse(await readDaemonJson())).toMatchObject({ 'live-restore': true });
    await expectContainerKeepsRunning(async () => expectSuccess(user.slipway('provision', 'web', '--engine-opt=')));
  });

  test('stops containers when something that they depend on changes', async () => {
    const plan = await expectSuccess(user.slipway('provision', 'web', '--dry-run', '--engine-opt', 'mtu=1400'));
    expect(plan.stdout).toContain('containers: stop');
    await expectSuccess(user.slipway('provision', 'web', '--engine-opt', 'mtu=1400'));
    expect(await readContainer()).toBe('');
    await host.runOrThrow('docker start app');
  });

  test('stops containers with their engine if the user has disabled live-restore', async () => {
    await expectSuccess(user.slipway('provision', 'web', '--engine-opt=', '--engine-opt', 'live-restore=false'));
    expect(await readContainer()).toBe('');
    await expectSuccess(user.slipway('provision', 'web', '--engine-opt='));
  });

  test('provisions a swarm node, which does not support live-restore', async () => {
    await host.runOrThrow('docker swarm init --advertise-addr 127.0.0.1');
    await host.runOrThrow('docker start app');
    await expectSuccess(user.slipway('provision', 'web', '--engine-label', 'zone=c'));
    expect(await host.runOrThrow("docker info -f '{{.Swarm.LocalNodeState}}'")).toBe('active');
    await expectEngineAnswer(user, 'web');
    await host.runOrThrow('docker swarm leave --force');
  });

  test('keeps containers running and leaves no files after rm --deprovision', async () => {
    await host.runOrThrow('docker start app');
    const before = await readContainer();
    await expectSuccess(user.slipway('rm', 'web', '--deprovision'));
    expect(await readContainer()).toBe(before);
    await waitUntil('the engine answers', async () => (await host.exec('docker info')).code === 0);
    expect((await host.exec('ls -d /etc/docker/slipway /etc/docker/daemon.json')).code).not.toBe(0);
    expect(await readLiveRestore()).toBe('false');
  });
});
