import { access, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { startHost, type BedHost } from '../bed/host.ts';
import { at, describeOnBed, newUser, ok, type User } from './slipway.ts';

type Running = ReturnType<User['start']>;

/** Until the program says this on stderr. */
function says({ process }: Running, text: string): Promise<void> {
  return new Promise((resolve, reject) => {
    let seen = '';
    process.stderr?.on('data', (chunk: string) => {
      seen += chunk;
      if (seen.includes(text)) resolve();
    });
    process.once('close', () => reject(new Error(`it ended without saying "${text}":\n${seen}`)));
  });
}

async function starts(host: BedHost): Promise<number> {
  return Number(await host.must('journalctl -u docker --no-pager -o cat | grep -c "^Started docker.service" || true'));
}

async function works(user: User, name: string): Promise<void> {
  await ok(user.docker('--context', name, 'version'));
}

/** Nothing of a machine may be left on this side. */
async function traces(user: User): Promise<readonly string[]> {
  const machines = await readdir(join(user.home, '.slipway', 'machines')).catch(() => []);
  const contexts = await readdir(join(user.home, '.docker', 'contexts', 'meta')).catch(() => []);
  return [...machines, ...contexts];
}

describeOnBed('a run that is stopped', () => {
  test('by Ctrl-C in the middle of an install says what exists, and create finishes', async () => {
    await using user = await newUser();
    await using host = await startHost({ suite: 'bookworm' });
    const run = user.start('create', 'web', ...at(host), '--engine-source', 'distro');
    await says(run, 'Install the engine');
    await sleep(1000);
    run.process.kill('SIGINT');
    const { code, stderr } = await run.ended;
    expect(code).toBe(130);
    expect(stderr).toContain('✗ Stopped before the end, as you asked: "web" is half made');
    expect(stderr).toContain('→ Go on with: slipway create web, or undo with: slipway rm web');
    expect((await ok(user.slipway('ls'))).stdout).toContain('unfinished');
    await ok(user.slipway('create', 'web'));
    await works(user, 'web');
    expect(await starts(host)).toBe(1);
  });

  test('by the loss of the connection says so, and create finishes', async () => {
    await using user = await newUser();
    await using host = await startHost({ suite: 'trixie' });
    const run = user.start('create', 'web', ...at(host), '--engine-source', 'distro');
    await says(run, 'Install the engine');
    await sleep(500);
    await host.must(`pkill -9 -f '^sshd(-session)?: root@notty'`);
    const { code, stderr } = await run.ended;
    expect(code).toBe(6);
    expect(stderr).toMatch(
      /✗ The SSH connection to \S+ broke while this ran: install-engine.debian.sh\n→ Run the same command again/,
    );
    const { stdout } = await ok(user.slipway('inspect', 'web'));
    expect(JSON.parse(stdout)).toMatchObject({
      phase: 'created',
      failure: { step: 'install-engine', code: 'SSH_LOST' },
    });
    await ok(user.slipway('create', 'web'));
    await works(user, 'web');
  });

  test('by kill -9 at any point leaves a store that works, and create finishes or rm leaves nothing', async () => {
    await using user = await newUser();
    await using host = await startHost({ suite: 'bookworm', engine: true });
    for (const [index, delay] of [60, 120, 180, 250, 320, 400, 500, 650, 800, 1000, 1300].entries()) {
      const name = `m${index}`;
      const run = user.start('create', name, ...at(host), '--engine-label', `round=${index}`);
      await sleep(delay);
      run.process.kill('SIGKILL');
      await run.ended;
      await ok(user.slipway('ls', '-q'));
      if (index % 2 === 0) {
        const again = await user.slipway('create', name, ...at(host), '--engine-label', `round=${index}`);
        // Killed after its last write, the machine was ready already.
        if (again.code !== 0) expect(again.stderr).toContain('already');
        await works(user, name);
      }
      const gone = await user.slipway('rm', name);
      if (gone.code !== 0) expect(gone.stderr).toContain('There is no machine named');
      // A name that was only claimed may leave its empty folder to the next create; a context would be a lie.
      expect((await traces(user)).filter((trace) => trace !== name)).toEqual([]);
      // Its unit allows three starts a minute to whoever does not reset the count.
      await host.must('systemctl reset-failed docker.service docker.socket');
    }
    await ok(user.slipway('create', 'last', ...at(host)));
    await works(user, 'last');
  });

  test('two creates of one name: one makes it, the other names the process', async () => {
    await using user = await newUser();
    await using host = await startHost({ suite: 'trixie', engine: true });
    const both = [user.start('create', 'web', ...at(host)), user.start('create', 'web', ...at(host))];
    const ended = await Promise.all(both.map(async ({ ended }) => ended));
    const codes = ended.map(({ code }) => code).toSorted((left, right) => left - right);
    expect(codes).toEqual([0, 3]);
    expect(ended.find(({ code }) => code === 3)?.stderr).toMatch(
      /Another command is working on "web" \(process \d+\)|already/,
    );
    await works(user, 'web');
  });
});

describeOnBed('a host that changed behind our back', () => {
  test('an unread configuration is read by one restart, a stopped engine is started, and a reboot needs nothing', async () => {
    await using user = await newUser();
    await using host = await startHost({ suite: 'trixie', engine: true });
    await ok(user.slipway('create', 'web', ...at(host)));
    const before = await starts(host);

    // What a kill between the files and the restart leaves behind.
    await host.must('mkdir -p /run/slipway && touch /run/slipway/restart-pending');
    await ok(user.slipway('provision', 'web'));
    expect(await starts(host)).toBe(before + 1);
    await ok(user.slipway('provision', 'web'));
    expect(await starts(host)).toBe(before + 1);

    await host.must('systemctl disable --now docker.service docker.socket');
    expect((await user.slipway('status', 'web')).code).toBe(1);
    await ok(user.slipway('provision', 'web'));
    await works(user, 'web');
    expect(await host.must('systemctl is-enabled docker.service')).toBe('enabled');

    await host.must('rm /etc/docker/slipway/server-key.pem; chmod 644 /etc/docker/slipway/state.json');
    await ok(user.slipway('provision', 'web'));
    expect(await host.must('stat -c %a /etc/docker/slipway/server-key.pem /etc/docker/slipway/state.json')).toBe(
      '600\n600',
    );
    await works(user, 'web');
    await access(join(user.home, '.slipway', 'machines', 'web', 'machine.json'));
  });
});
