import { execFile } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startHost, type BedHost } from '../bed/bed-host.ts';
import { hostFlags, describeOnBed, createUser, expectSuccess, type Outcome, type User } from './test-user.ts';
import {
  countEngineStarts,
  expectEngineAnswer,
  expectNothingLeft,
  readRecord,
  waitForStderr,
  expectFailure,
  waitUntil,
} from './assertions.ts';

/** Finishes an interrupted create, however far it got. */
async function finishCreate(user: User, name: string, flags: readonly string[]): Promise<void> {
  const outcome = await user.slipway('inspect', name, '--json');
  if (outcome.code === 3) await expectSuccess(user.slipway('create', name, ...flags));
  else if ((JSON.parse(outcome.stdout) as { phase: string }).phase !== 'ready')
    await expectSuccess(user.slipway('create', name));
  await expectEngineAnswer(user, name);
}

function hasEnded({ process: { exitCode, signalCode } }: ReturnType<User['start']>): boolean {
  return exitCode !== null || signalCode !== null;
}

/** Finds the sessions of the host's sshd, without its listening process. */
const FIND_SSH_SESSIONS = `pgrep -f '^sshd(-session)?: root'`;

describeOnBed('an interrupted create on a bare host', () => {
  let host: BedHost;
  beforeAll(async () => {
    host = await startHost({ suite: 'bookworm' });
  });
  afterAll(async () => host[Symbol.asyncDispose]());

  test('finishes when run again, wherever and however it was interrupted', async () => {
    await using user = await createUser();
    const flags = [...hostFlags(host), '--engine-source', 'distro'];

    // The connection breaks while packages are downloaded or unpacked.
    const broken = user.start('create', 'web', ...flags);
    await waitForStderr(broken, /Install the engine/);
    await waitUntil('apt-get runs', async () => hasEnded(broken) || (await host.exec('pgrep -x apt-get')).code === 0);
    await host.runOrThrow(`kill -9 $(${FIND_SSH_SESSIONS})`);
    expect(await expectFailure(broken.ended)).toMatchObject({
      status: 6,
      sentence: `The SSH connection to ${host.address} was lost during install-engine.debian.sh`,
      hint: 'To continue, run the same command again',
    });
    expect(await readRecord(user, 'web')).toMatchObject({
      phase: 'created',
      failure: { step: 'install-engine', code: 'SSH_LOST' },
    });

    // Ctrl-C while packages are unpacked, right after the previous run, whose apt may still be running.
    const stopped = user.start('create', 'web');
    await waitForStderr(stopped, /Install the engine/);
    await waitUntil(
      'containerd is unpacked',
      async () => hasEnded(stopped) || /unpacked|half|installed/.test(await stateOf('containerd')),
    );
    stopped.process.kill('SIGINT');
    expect(await expectFailure(stopped.ended)).toEqual({
      status: 130,
      sentence: 'Interrupted: machine "web" is incomplete',
      detail: [],
      hint: 'To continue: slipway create web. To undo: slipway rm web',
    });
    expect(await readRecord(user, 'web')).toMatchObject({
      phase: 'created',
      failure: { step: 'install-engine', code: 'CANCELED' },
    });

    for (const packageState of [/unpacked|half|installed/, /half-configured|installed/, /installed/]) {
      const killed = user.start('create', 'web');
      await waitUntil(
        `docker.io is ${packageState.source}`,
        async () => hasEnded(killed) || packageState.test(await stateOf('docker.io')),
      );
      killed.process.kill('SIGKILL');
      await killed.ended;
      expect((await expectSuccess(user.slipway('ls'))).stdout).toContain('web');
    }

    await finishCreate(user, 'web', flags);
    expect(await host.runOrThrow('systemctl is-enabled docker')).toBe('enabled');
    expect(await host.runOrThrow('dpkg --audit')).toBe('');
    await waitUntil(
      "all of Slipway's temporary folders are gone",
      async () => (await host.runOrThrow('find /run -maxdepth 1 -name "slipway.*"')) === '',
    );
    const starts = await countEngineStarts(host);
    await expectSuccess(user.slipway('provision', 'web'));
    expect(await countEngineStarts(host)).toBe(starts);
    await expectSuccess(user.slipway('rm', 'web'));
    await expectNothingLeft(user);
  });

  const stateOf = async (name: string): Promise<string> =>
    (await host.exec(`dpkg-query -W -f '\${db:Status-Status}' ${name}`)).stdout;
});

describeOnBed('an interrupted command on a host with an engine', () => {
  let host: BedHost;
  beforeAll(async () => {
    host = await startHost({ suite: 'trixie', engine: true });
  });
  afterAll(async () => host[Symbol.asyncDispose]());

  test('Ctrl-C while connecting ends immediately and says what exists', async () => {
    await using user = await createUser();
    await host.runOrThrow('iptables -I INPUT -p tcp --dport 22 -j DROP');
    const running = user.start('create', 'web', ...hostFlags(host));
    await waitForStderr(running, /Connect to/);
    running.process.kill('SIGINT');
    expect(await expectFailure(running.ended)).toMatchObject({
      status: 130,
      hint: 'To continue: slipway create web. To undo: slipway rm web',
    });
    expect(await readRecord(user, 'web')).toMatchObject({
      phase: 'created',
      failure: { step: 'connect', code: 'CANCELED' },
    });
    await host.runOrThrow('iptables -D INPUT -p tcp --dport 22 -j DROP');
    await expectSuccess(user.slipway('create', 'web'));
    await expectEngineAnswer(user, 'web');
  });

  test('Ctrl-C while a ready machine changes leaves it ready, and provision continues', async () => {
    await using user = await createUser();
    await expectSuccess(user.slipway('create', 'web', ...hostFlags(host)));
    const running = user.start('provision', 'web', '--engine-label', 'round=two');
    await waitForStderr(running, /Configure the engine/);
    running.process.kill('SIGINT');
    expect(await expectFailure(running.ended)).toMatchObject({
      status: 130,
      sentence: 'Interrupted: machine "web" may be only partly changed',
      hint: 'To continue: slipway provision web',
    });
    expect(await readRecord(user, 'web')).toMatchObject({ phase: 'ready', failure: { code: 'CANCELED' } });
    await expectSuccess(user.slipway('provision', 'web'));
    const { stdout } = await expectSuccess(user.docker('--context', 'web', 'info', '--format', '{{.Labels}}'));
    expect(stdout.trim()).toBe('[round=two]');
  });

  test('a create killed at any point is finished by the next one and undone by rm', async () => {
    await using user = await createUser();
    const flags = hostFlags(host);
    const startedAt = performance.now();
    await expectSuccess(user.slipway('create', 'web', ...flags));
    const duration = performance.now() - startedAt;
    await expectSuccess(user.slipway('rm', 'web'));
    await expectNothingLeft(user);

    const phases: string[] = [];
    for (let point = 1; point <= 9; point += 1) {
      const killed = user.start('create', 'web', ...flags);
      await sleep((duration * point) / 10);
      killed.process.kill('SIGKILL');
      await killed.ended;
      await expectSuccess(user.slipway('ls'));
      const outcome = await user.slipway('inspect', 'web', '--json');
      phases.push(outcome.code === 0 ? (JSON.parse(outcome.stdout) as { phase: string }).phase : 'none');
      // Every second machine is completed before rm; the others are removed as they are.
      const finished = point % 2 === 0;
      if (finished) await finishCreate(user, 'web', flags);
      const removed = await user.slipway('rm', 'web');
      expect(removed.code, removed.stderr).toBe(phases.at(-1) === 'none' && !finished ? 3 : 0);
      await expectNothingLeft(user);
    }
    // The points are where they should be: before and after the record exists.
    expect(phases).toContain('created');

    await finishCreate(user, 'web', flags);
    await expectSuccess(user.slipway('rm', 'web'));
  });

  test("of two creates with one name, one wins and the other names the winner's process", async () => {
    await using user = await createUser();
    const commands = [user.start('create', 'web', ...hostFlags(host)), user.start('create', 'web', ...hostFlags(host))];
    const ended = await Promise.all(commands.map((command) => command.ended));
    const loser = ended.findIndex(({ code }) => code !== 0);
    expect(ended[1 - loser]?.code).toBe(0);
    expect(await expectFailure(ended[loser] as Outcome)).toMatchObject({
      status: 3,
      sentence: `Machine "web" is in use by another command (PID ${commands[1 - loser]?.process.pid})`,
    });
    await expectEngineAnswer(user, 'web');
    await expectSuccess(user.slipway('rm', 'web'));
    await expectNothingLeft(user);
  });

  test('files that the engine has not read yet cause one restart only', async () => {
    await using user = await createUser();
    await expectSuccess(user.slipway('create', 'web', ...hostFlags(host)));
    const starts = await countEngineStarts(host);
    await host.runOrThrow('mkdir -p /run/slipway && touch /run/slipway/restart-pending');
    await expectSuccess(user.slipway('provision', 'web'));
    expect(await countEngineStarts(host)).toBe(starts + 1);
    await expectSuccess(user.slipway('provision', 'web'));
    expect(await countEngineStarts(host)).toBe(starts + 1);
  });

  test('two runs on one host run one after the other', async () => {
    await using user = await createUser();
    await expectSuccess(user.slipway('create', 'web', ...hostFlags(host)));
    // Like a run whose connection is gone and whose work on the host continues.
    await host.runOrThrow('flock /run/slipway-lock sh -c "until [ -e /run/go ]; do sleep 0.1; done" >/dev/null 2>&1 &');
    const starts = await countEngineStarts(host);
    const running = user.start('provision', 'web', '--engine-label', 'order=second');
    await waitForStderr(running, /Configure the engine/);
    await waitUntil(
      'provision waits for the lock',
      async () => (await host.exec('pgrep -x flock -a | grep -q 300')).code === 0,
    );
    expect(await countEngineStarts(host)).toBe(starts);
    await host.runOrThrow('touch /run/go');
    await expectSuccess(running.ended);
    expect(await countEngineStarts(host)).toBe(starts + 1);
  });

  test('starts and enables an engine that was stopped and disabled', async () => {
    await using user = await createUser();
    await expectSuccess(user.slipway('create', 'web', ...hostFlags(host)));
    await host.runOrThrow('systemctl disable --now docker.service docker.socket');
    expect((await user.docker('--context', 'web', 'version')).code).not.toBe(0);
    await expectSuccess(user.slipway('provision', 'web'));
    await expectEngineAnswer(user, 'web');
    expect(await host.runOrThrow('systemctl is-enabled docker.service')).toBe('enabled');
    // The socket on the host answers, too.
    await host.runOrThrow('docker version');
  });
});

describeOnBed('a host that reboots', () => {
  const engine = process.env.SLIPWAY_BED_DOCKER_HOST || 'unix:///var/run/docker.sock';
  const bed = async (...argv: readonly string[]) => promisify(execFile)('docker', ['--host', engine, ...argv]);
  // A separate network, in which a host keeps its address.
  const network = `slipway-bed-reboot-${process.pid}`;

  test('has its engine running again, with nothing to do', async () => {
    await using user = await createUser();
    await bed('network', 'create', network);
    try {
      await using host = await startHost({ suite: 'bookworm', engine: true, runArgs: ['--network', network] });
      await expectSuccess(user.slipway('create', 'web', ...hostFlags(host)));
      const starts = await countEngineStarts(host);
      await bed('restart', host.id);
      await waitUntil('the engine answers', async () => (await user.docker('--context', 'web', 'version')).code === 0);
      await expectSuccess(user.slipway('provision', 'web'));
      expect(await countEngineStarts(host)).toBe(starts + 1);
    } finally {
      await bed('network', 'rm', network);
    }
  });
});
