import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startHost, type BedHost } from '../bed/bed-host.ts';
import { readEnginePid } from './inspect-host.ts';
import { hostFlags, describeOnBed, createUser, expectSuccess, type Outcome, type User } from './test-user.ts';
import { expectEngineAnswer, expectNothingLeft, waitUntil } from './assertions.ts';

type Event = {
  readonly event: string;
  readonly id?: string;
  readonly state?: string;
  readonly machine?: string;
  readonly result?: readonly Record<string, unknown>[];
};
const eventsOf = ({ stdout }: Outcome): readonly Event[] =>
  stdout
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Event);

const NAMES = ['one', 'two', 'three'] as const;

describeOnBed('three machines at once', () => {
  let user: User;
  const hosts: BedHost[] = [];
  const networks: string[] = [];
  const bed = (...argv: readonly string[]): Promise<Outcome> =>
    user.run('docker', ['--host', process.env['SLIPWAY_BED_DOCKER_HOST'] || 'unix:///var/run/docker.sock', ...argv]);
  const hostNamed = (name: (typeof NAMES)[number]): BedHost => {
    const host = hosts[NAMES.indexOf(name)];
    if (!host) throw new Error(`${name} has no host`);
    return host;
  };
  const readEnginePids = (): Promise<readonly number[]> => Promise.all(hosts.map(readEnginePid));
  /** A container has no kernel of its own to count boots, but it has its own first process. */
  const readBootTimes = (): Promise<readonly string[]> =>
    Promise.all(hosts.map(async (host) => host.runOrThrow("cut -d' ' -f22 /proc/1/stat")));

  /** Starts a host that reboots by itself, as machines do, and keeps its address. */
  async function startRebootingHost(): Promise<BedHost> {
    const network = `slipway-bed-${randomBytes(4).toString('hex')}`;
    networks.push(network);
    await expectSuccess(bed('network', 'create', network));
    return await startHost({
      suite: 'trixie',
      engine: true,
      runArgs: ['--restart', 'always', '--network', network],
    });
  }

  beforeAll(async () => {
    user = await createUser();
    for (const started of await Promise.allSettled(NAMES.map(startRebootingHost))) {
      if (started.status === 'rejected') throw started.reason;
      hosts.push(started.value);
    }
    await Promise.all(
      NAMES.map(async (name) => expectSuccess(user.slipway('create', name, ...hostFlags(hostNamed(name))))),
    );
  });
  afterAll(async () => {
    await Promise.all(hosts.map(async (host) => host[Symbol.asyncDispose]()));
    if (networks.length > 0) await bed('network', 'rm', ...networks);
    await user[Symbol.asyncDispose]();
  });

  test('are provisioned concurrently, and an unreachable one does not stop the others', async () => {
    const [one, two, three] = await readEnginePids();
    await hostNamed('three').runOrThrow('systemctl stop ssh.socket ssh.service');
    const outcome = await user.slipway('provision', 'one', 'three', 'two', '--engine-label', 'zone=b', '--json');
    await hostNamed('three').runOrThrow('systemctl start ssh.service');
    expect(outcome.code).toBe(6);
    const events = eventsOf(outcome);
    // All started before any finished.
    const startPositions = NAMES.map((name) =>
      events.findIndex(({ id, machine }) => id === 'connect' && machine === name),
    );
    const ended = events.findIndex(({ id, state }) => id === 'profiles' && state === 'done');
    expect(startPositions.every((at) => at >= 0 && at < ended)).toBe(true);
    expect(events.at(-1)?.result).toEqual([
      { name: 'one', url: `tcp://${hostNamed('one').address}:2376` },
      {
        name: 'three',
        error: {
          code: 'SSH_UNREACHABLE',
          message: expect.stringContaining('nothing listens there') as string,
          hint: expect.any(String) as string,
        },
      },
      { name: 'two', url: `tcp://${hostNamed('two').address}:2376` },
    ]);
    expect(outcome.stderr).toMatch(/^three: ✗ .*nothing listens there\n→ /m);
    const after = await readEnginePids();
    expect([after[0] === one, after[1] === two, after[2] === three]).toEqual([false, false, true]);
    // Without --json, successful machines are printed to stdout in the order of the arguments.
    const secondProvision = await expectSuccess(
      user.slipway('provision', 'three', 'one', 'two', '--engine-label', 'zone=b'),
    );
    expect(secondProvision.stdout.split('\n').map((line) => line.split(' ')[0])).toEqual(['three', 'one', 'two', '']);
  });

  test('are not touched when one of the names is wrong or given twice', async () => {
    const before = await readEnginePids();
    for (const [status, names] of [
      [3, ['one', 'nobody', 'two']],
      [2, ['one', 'two', 'one']],
    ] as const) {
      for (const verb of ['provision', 'restart', 'regenerate-certs', 'upgrade', 'rm', 'start', 'stop', 'kill'])
        expect([verb, (await user.slipway(verb, ...names)).code]).toEqual([verb, status]);
    }
    expect(await readEnginePids()).toEqual(before);
  });

  test('are rebooted over SSH, with one error for an engine that Slipway cannot restart', async () => {
    const old = `tcp://${hostNamed('three').address}:2376`;
    const tls = ['ca', 'cert', 'key'].flatMap((file) => [
      `--none-tls-${file}`,
      `${user.home}/.slipway/machines/three/tls/${file}.pem`,
    ]);
    await expectSuccess(user.slipway('create', 'old', '--driver', 'none', '--none-url', old, ...tls));
    const before = await readBootTimes();
    const { code, stdout, stderr } = await user.slipway('restart', 'one', 'old', 'two');
    expect([code, stdout]).toEqual([
      4,
      ['one', 'two'].map((name) => `${name} runs: tcp://${hostNamed(name as 'one').address}:2376\n`).join(''),
    ]);
    expect(stderr).toContain('old: ✗ The driver none can\'t restart machine "old"\n→ ');
    const after = await readBootTimes();
    expect(after.map((boot, at) => boot === before[at])).toEqual([false, false, true]);
    for (const name of NAMES) await expectEngineAnswer(user, name);
    await expectSuccess(user.slipway('rm', 'old'));
  });

  test('are rebooted by a user who becomes root with sudo', async () => {
    const before = await readBootTimes();
    const host = hostNamed('three');
    await expectSuccess(user.slipway('rm', 'three'));
    await expectSuccess(user.slipway('create', 'three', ...hostFlags(host, 'deploy')));
    await expectSuccess(user.slipway('restart', 'three', '--json'));
    expect((await readBootTimes())[2]).not.toBe(before[2]);
    await expectEngineAnswer(user, 'three');
  });

  test('are removed at the same time', async () => {
    const { stdout } = await expectSuccess(user.slipway('rm', ...NAMES, '--json'));
    expect(
      eventsOf({ stdout, stderr: '', code: 0 })
        .at(-1)
        ?.result?.map(({ name }) => name),
    ).toEqual([...NAMES]);
    await expectNothingLeft(user);
    await waitUntil('all hosts are on', async () =>
      (await Promise.all(hosts.map((host) => host.isRunning()))).every(Boolean),
    );
  });
});
