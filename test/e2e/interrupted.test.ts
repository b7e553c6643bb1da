import { execFile } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startHost, type BedHost } from '../bed/host.ts';
import { at, describeOnBed, newUser, ok, type Outcome, type User } from './slipway.ts';
import { engineStarts, expectAnswer, expectNothingLeft, recordOf, said, trouble, until } from './trouble.ts';

/** Finishes what a stopped create left, however far it came. */
async function finish(user: User, name: string, flags: readonly string[]): Promise<void> {
  const found = await user.slipway('inspect', name, '--json');
  if (found.code === 3) await ok(user.slipway('create', name, ...flags));
  else if ((JSON.parse(found.stdout) as { phase: string }).phase !== 'ready') await ok(user.slipway('create', name));
  await expectAnswer(user, name);
}

function over({ process: { exitCode, signalCode } }: ReturnType<User['start']>): boolean {
  return exitCode !== null || signalCode !== null;
}

/** Sessions of the host's sshd; the listening process is not among them. */
const SESSIONS = `pgrep -f '^sshd(-session)?: root'`;

describeOnBed('a create that is cut off on a bare host', () => {
  let host: BedHost;
  beforeAll(async () => {
    host = await startHost({ suite: 'bookworm' });
  });
  afterAll(async () => host[Symbol.asyncDispose]());

  test('finishes when run again, whatever cut it off and wherever it stood', async () => {
    await using user = await newUser();
    const flags = [...at(host), '--engine-source', 'distro'];

    // The connection breaks while packages are fetched or unpacked.
    const broken = user.start('create', 'web', ...flags);
    await said(broken, /Install the engine/);
    await until('apt-get runs', async () => over(broken) || (await host.exec('pgrep -x apt-get')).code === 0);
    await host.must(`kill -9 $(${SESSIONS})`);
    expect(await trouble(broken.ended)).toMatchObject({
      status: 6,
      sentence: `The SSH connection to ${host.address} broke while this ran: install-engine.debian.sh`,
      hint: 'Run the same command again: it goes on where this one stopped',
    });
    expect(await recordOf(user, 'web')).toMatchObject({
      phase: 'created',
      failure: { step: 'install-engine', code: 'SSH_LOST' },
    });

    // Ctrl-C while the packages are unpacked, at once after the run before: that one's apt may still be at work.
    const stopped = user.start('create', 'web');
    await said(stopped, /Install the engine/);
    await until(
      'containerd is unpacked',
      async () => over(stopped) || /unpacked|half|installed/.test(await stateOf('containerd')),
    );
    stopped.process.kill('SIGINT');
    expect(await trouble(stopped.ended)).toEqual({
      status: 130,
      sentence: 'Stopped before the end, as you asked: "web" is half made',
      detail: [],
      hint: 'Go on with: slipway create web, or undo with: slipway rm web',
    });
    expect(await recordOf(user, 'web')).toMatchObject({
      phase: 'created',
      failure: { step: 'install-engine', code: 'CANCELED' },
    });

    for (const far of [/unpacked|half|installed/, /half-configured|installed/, /installed/]) {
      const killed = user.start('create', 'web');
      await until(`docker.io is ${far.source}`, async () => over(killed) || far.test(await stateOf('docker.io')));
      killed.process.kill('SIGKILL');
      await killed.ended;
      expect((await ok(user.slipway('ls'))).stdout).toContain('web');
    }

    await finish(user, 'web', flags);
    expect(await host.must('systemctl is-enabled docker')).toBe('enabled');
    expect(await host.must('dpkg --audit')).toBe('');
    await until(
      'all folders of ours are gone',
      async () => (await host.must('find /run -maxdepth 1 -name "slipway.*"')) === '',
    );
    const starts = await engineStarts(host);
    await ok(user.slipway('provision', 'web'));
    expect(await engineStarts(host)).toBe(starts);
    await ok(user.slipway('rm', 'web'));
    await expectNothingLeft(user);
  });

  const stateOf = async (name: string): Promise<string> =>
    (await host.exec(`dpkg-query -W -f '\${db:Status-Status}' ${name}`)).stdout;
});

describeOnBed('a command that is cut off on a host with an engine', () => {
  let host: BedHost;
  beforeAll(async () => {
    host = await startHost({ suite: 'trixie', engine: true });
  });
  afterAll(async () => host[Symbol.asyncDispose]());

  test('Ctrl-C while connecting ends at once and says what exists', async () => {
    await using user = await newUser();
    await host.must('iptables -I INPUT -p tcp --dport 22 -j DROP');
    const running = user.start('create', 'web', ...at(host));
    await said(running, /Connect to/);
    running.process.kill('SIGINT');
    expect(await trouble(running.ended)).toMatchObject({
      status: 130,
      hint: 'Go on with: slipway create web, or undo with: slipway rm web',
    });
    expect(await recordOf(user, 'web')).toMatchObject({
      phase: 'created',
      failure: { step: 'connect', code: 'CANCELED' },
    });
    await host.must('iptables -D INPUT -p tcp --dport 22 -j DROP');
    await ok(user.slipway('create', 'web'));
    await expectAnswer(user, 'web');
  });

  test('Ctrl-C while a ready machine is changed leaves it ready, and provision goes on', async () => {
    await using user = await newUser();
    await ok(user.slipway('create', 'web', ...at(host)));
    const running = user.start('provision', 'web', '--engine-label', 'round=two');
    await said(running, /Configure the engine/);
    running.process.kill('SIGINT');
    expect(await trouble(running.ended)).toMatchObject({
      status: 130,
      sentence: 'Stopped before the end, as you asked: "web" may be half changed',
      hint: 'Go on with: slipway provision web',
    });
    expect(await recordOf(user, 'web')).toMatchObject({ phase: 'ready', failure: { code: 'CANCELED' } });
    await ok(user.slipway('provision', 'web'));
    const { stdout } = await ok(user.docker('--context', 'web', 'info', '--format', '{{.Labels}}'));
    expect(stdout.trim()).toBe('[round=two]');
  });

  test('killed at any point, a create is finished by the next and taken away by rm', async () => {
    await using user = await newUser();
    const flags = at(host);
    const began = performance.now();
    await ok(user.slipway('create', 'web', ...flags));
    const whole = performance.now() - began;
    await ok(user.slipway('rm', 'web'));
    await expectNothingLeft(user);

    const phases: string[] = [];
    for (let point = 1; point <= 9; point += 1) {
      const killed = user.start('create', 'web', ...flags);
      await sleep((whole * point) / 10);
      killed.process.kill('SIGKILL');
      await killed.ended;
      await ok(user.slipway('ls'));
      const found = await user.slipway('inspect', 'web', '--json');
      phases.push(found.code === 0 ? (JSON.parse(found.stdout) as { phase: string }).phase : 'none');
      // Every other one is undone from where it stopped, the rest are finished first.
      const finished = point % 2 === 0;
      if (finished) await finish(user, 'web', flags);
      const removed = await user.slipway('rm', 'web');
      expect(removed.code, removed.stderr).toBe(phases.at(-1) === 'none' && !finished ? 3 : 0);
      await expectNothingLeft(user);
    }
    // The points lie where they should: before there is a record, and after.
    expect(phases).toContain('created');

    await finish(user, 'web', flags);
    await ok(user.slipway('rm', 'web'));
  });

  test('of two creates of one name one wins, and the other names the process that did', async () => {
    await using user = await newUser();
    const both = [user.start('create', 'web', ...at(host)), user.start('create', 'web', ...at(host))];
    const ended = await Promise.all(both.map((command) => command.ended));
    const lost = ended.findIndex(({ code }) => code !== 0);
    expect(ended[1 - lost]?.code).toBe(0);
    expect(await trouble(ended[lost] as Outcome)).toMatchObject({
      status: 3,
      sentence: `Another command is working on "web" (process ${both[1 - lost]?.process.pid})`,
    });
    await expectAnswer(user, 'web');
    await ok(user.slipway('rm', 'web'));
    await expectNothingLeft(user);
  });

  test('files that the engine has not read yet cost one restart, and only one', async () => {
    await using user = await newUser();
    await ok(user.slipway('create', 'web', ...at(host)));
    const starts = await engineStarts(host);
    await host.must('mkdir -p /run/slipway && touch /run/slipway/restart-pending');
    await ok(user.slipway('provision', 'web'));
    expect(await engineStarts(host)).toBe(starts + 1);
    await ok(user.slipway('provision', 'web'));
    expect(await engineStarts(host)).toBe(starts + 1);
  });

  test('two runs meet on the host one after the other', async () => {
    await using user = await newUser();
    await ok(user.slipway('create', 'web', ...at(host)));
    // As a run whose connection is gone and whose work on the host goes on.
    await host.must('flock /run/slipway-lock sh -c "until [ -e /run/go ]; do sleep 0.1; done" >/dev/null 2>&1 &');
    const starts = await engineStarts(host);
    const running = user.start('provision', 'web', '--engine-label', 'order=second');
    await said(running, /Configure the engine/);
    await until('it waits for the lock', async () => (await host.exec('pgrep -x flock -a | grep -q 300')).code === 0);
    expect(await engineStarts(host)).toBe(starts);
    await host.must('touch /run/go');
    await ok(running.ended);
    expect(await engineStarts(host)).toBe(starts + 1);
  });

  test('an engine that somebody stopped and disabled is started and enabled again', async () => {
    await using user = await newUser();
    await ok(user.slipway('create', 'web', ...at(host)));
    await host.must('systemctl disable --now docker.service docker.socket');
    expect((await user.docker('--context', 'web', 'version')).code).not.toBe(0);
    await ok(user.slipway('provision', 'web'));
    await expectAnswer(user, 'web');
    expect(await host.must('systemctl is-enabled docker.service')).toBe('enabled');
    // Through the socket on the host as well.
    await host.must('docker version');
  });
});

describeOnBed('a host that reboots', () => {
  const engine = process.env.SLIPWAY_BED_DOCKER_HOST || 'unix:///var/run/docker.sock';
  const bed = async (...argv: readonly string[]) => promisify(execFile)('docker', ['--host', engine, ...argv]);
  // A network of its own, where an address stays with its host.
  const network = `slipway-bed-reboot-${process.pid}`;

  test('has its engine where it was, with nothing to do', async () => {
    await using user = await newUser();
    await bed('network', 'create', network);
    try {
      await using host = await startHost({ suite: 'bookworm', engine: true, runArgs: ['--network', network] });
      await ok(user.slipway('create', 'web', ...at(host)));
      const starts = await engineStarts(host);
      await bed('restart', host.id);
      await until('the engine answers', async () => (await user.docker('--context', 'web', 'version')).code === 0);
      await ok(user.slipway('provision', 'web'));
      expect(await engineStarts(host)).toBe(starts + 1);
    } finally {
      await bed('network', 'rm', network);
    }
  });
});
