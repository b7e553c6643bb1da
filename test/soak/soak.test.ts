import { readdir, readFile, readlink } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startHost, type BedHost } from '../bed/bed-host.ts';
import { snapshotFiles } from '../e2e/inspect-host.ts';
import { waitUntil } from '../e2e/assertions.ts';
import { createUser, describeOnBed, expectSuccess, hostFlags, type User } from '../e2e/test-user.ts';
import { createVmUser, describeOnVm } from '../e2e/vm-user.ts';

const HOST_ROUNDS = Number(process.env.SLIPWAY_SOAK_HOST_ROUNDS ?? 50);
const VM_ROUNDS = Number(process.env.SLIPWAY_SOAK_VM_ROUNDS ?? 10);
/** The first rounds fill caches and let a long command load all its code. */
const WARM_UP_ROUNDS = Math.min(5, Math.floor(HOST_ROUNDS / 2));
const MEMORY_GROWTH_LIMIT_KIB = 24 * 1024;
const ROUND_SECONDS = 300;
/** A round boots two VMs, of which one has a low priority: minutes each where a busy computer emulates them. */
const VM_ROUND_SECONDS = 1200;

describeOnBed(`${HOST_ROUNDS} rounds of create, use and rm on one host`, () => {
  let host: BedHost;
  let user: User;
  beforeAll(async () => {
    [host, user] = await Promise.all([startHost({ suite: 'bookworm', engine: true }), createUser()]);
    // The packages' own unit listens to Docker's socket, and stays as it is.
    await host.runOrThrow('docker version');
  });
  afterAll(async () => {
    await user[Symbol.asyncDispose]();
    await host[Symbol.asyncDispose]();
  });

  test(
    'leave no process, port, file, context or lock on either side, and long commands keep their memory',
    async () => {
      await runHostRound(user, host, 0);
      const before = { computer: await takeInventory(user), host: await takeHostInventory(host) };
      await expectSuccess(user.slipway('create', 'stays', ...hostFlags(host)));
      const commands = [user.start('events', 'stays'), user.start('ls', '--watch', '--interval', '1')];
      try {
        const memory: (readonly number[])[] = [];
        for (let round = 1; round <= HOST_ROUNDS; round += 1) {
          await runClientRound(user, `dev-${round}`);
          memory.push(await Promise.all(commands.map(({ process: { pid } }) => readMemoryKib(pid))));
        }
        const [first = [], last = []] = [memory[WARM_UP_ROUNDS], memory.at(-1)];
        process.stdout.write(`Memory of events and ls --watch in KiB: ${first.join(', ')} -> ${last.join(', ')}\n`);
        for (const [index, kib] of last.entries())
          expect(kib - (first[index] ?? 0)).toBeLessThan(MEMORY_GROWTH_LIMIT_KIB);
      } finally {
        for (const command of commands) command.process.kill('SIGINT');
        await Promise.all(commands.map(({ ended }) => ended));
      }
      await expectSuccess(user.slipway('rm', '--deprovision', 'stays'));
      for (let round = 1; round <= HOST_ROUNDS; round += 1) await runHostRound(user, host, round);
      expect(await takeInventory(user)).toEqual(before.computer);
      expect(await takeHostInventory(host)).toEqual(before.host);
    },
    HOST_ROUNDS * ROUND_SECONDS * 1000,
  );
});

describeOnVm(`${VM_ROUNDS} rounds of create, use and rm with local VMs`, () => {
  let user: User;
  beforeAll(async () => {
    user = await createVmUser();
  });
  afterAll(async () => {
    await user[Symbol.asyncDispose]();
  });

  test(
    'leave no process, port, file, context, lock or spare',
    async () => {
      // Spares are part of what must not pile up.
      const env = { SLIPWAY_QEMU_WARM: 'true' };
      const runRound = async (name: string): Promise<void> => {
        await expectSuccess(user.slipwayWith({ env }, 'create', name, '--driver', 'qemu'));
        await expectSuccess(user.docker('--context', name, 'version'));
        await expectSuccess(user.slipwayWith({ env }, 'rm', name));
      };
      await runRound('dev-0');
      await waitForSpare(user);
      const before = await takeInventory(user);
      const seconds: number[] = [];
      for (let round = 1; round <= VM_ROUNDS; round += 1) {
        const startedAt = performance.now();
        await runRound(`dev-${round}`);
        seconds.push(Math.round((performance.now() - startedAt) / 1000));
      }
      process.stdout.write(`Rounds with VMs in seconds: ${seconds.join(', ')}\n`);
      await waitForSpare(user);
      const after = await takeInventory(user);
      // A spare has an id of its own, so only the number of spares can be compared.
      expect({ ...after, files: after.files.map(hideIds) }).toEqual({ ...before, files: before.files.map(hideIds) });
      await expectSuccess(user.slipway('image', 'prune'));
      expect(await takeInventory(user)).toMatchObject({ processes: [], contexts: ['default'] });
    },
    (VM_ROUNDS + 2) * VM_ROUND_SECONDS * 1000,
  );
});

/** Creates a machine on the host, uses it through its context, and takes everything back. */
async function runHostRound(user: User, host: BedHost, round: number): Promise<void> {
  const name = `dev-${round}`;
  await expectSuccess(user.slipway('create', name, ...hostFlags(host)));
  await expectSuccess(user.slipway('use', name));
  await expectSuccess(user.docker('version'));
  await expectSuccess(user.slipway('rm', '--deprovision', name));
}

/** Gives the engine of another machine a second name, and removes the name again. */
async function runClientRound(user: User, name: string): Promise<void> {
  const { stdout } = await expectSuccess(user.slipway('inspect', 'stays', '--json'));
  const { endpoint } = JSON.parse(stdout) as { readonly endpoint: { readonly url: string } };
  const tls = join(user.home, '.slipway', 'machines', 'stays', 'tls');
  const flags = [
    ['--none-tls-ca', join(tls, 'ca.pem')],
    ['--none-tls-cert', join(tls, 'cert.pem')],
    ['--none-tls-key', join(tls, 'key.pem')],
  ].flat();
  await expectSuccess(user.slipway('create', name, '--driver', 'none', '--none-url', endpoint.url, ...flags));
  await expectSuccess(user.docker('--context', name, 'version'));
  await expectSuccess(user.slipway('rm', name));
}

type Inventory = {
  readonly processes: readonly string[];
  readonly contexts: readonly string[];
  readonly files: readonly string[];
};

/** Lists what the user has on this computer: processes with their open sockets, contexts, and files without content. */
async function takeInventory(user: User): Promise<Inventory> {
  const contexts = await expectSuccess(user.docker('context', 'ls', '--format', '{{.Name}}'));
  const files = await expectSuccess(
    user.run('find', [join(user.home, '.slipway'), join(user.home, '.docker'), '-printf', '%P %y %m\n']),
  );
  return {
    processes: await listProcesses(user),
    contexts: contexts.stdout.trim().split('\n'),
    files: files.stdout.trim().split('\n').toSorted(),
  };
}

/** Returns the programs that run with this user's home folder in their environment or as their folder. */
async function listProcesses({ home }: User): Promise<readonly string[]> {
  const found: string[] = [];
  for (const pid of (await readdir('/proc')).filter((name) => /^\d+$/.test(name))) {
    const [environment, folder, program] = await Promise.all([
      readFile(`/proc/${pid}/environ`, 'utf8').catch(() => ''),
      readlink(`/proc/${pid}/cwd`).catch(() => ''),
      readlink(`/proc/${pid}/exe`).catch(() => ''),
    ]);
    if (environment.split('\0').includes(`HOME=${home}`) || folder.startsWith(home)) found.push(program);
  }
  return found.toSorted();
}

/** Lists what a run could leave on a host: configuration, units, listeners, packages, and the processes of root. */
async function takeHostInventory(host: BedHost): Promise<unknown> {
  const settle = async (): Promise<boolean> =>
    (await host.runOrThrow("ps -eo args= | grep -c '[s]shd: root' || true")) === '0';
  await waitUntil('the connections of the last round have ended', settle);
  return {
    // Times change when a file is put back.
    files: (await snapshotFiles(host, '/etc', '/usr/local', '/root')).map((line) => line.replace(/ \d+\.\d+ /, ' ')),
    listeners: await host.runOrThrow("ss -Hltn | awk '{ print $4 }' | sort"),
    units: await host.runOrThrow("systemctl list-unit-files --no-legend --plain | awk '{ print $1, $2 }'"),
    timers: await host.runOrThrow('systemctl list-timers --all --no-legend --plain | grep -c slipway || true'),
    packages: await host.runOrThrow("dpkg-query -W -f '${Package} ${Version} ${db:Status-Status}\\n'"),
    run: await host.runOrThrow('ls -A /run/slipway 2>/dev/null || true'),
    temporary: await host.runOrThrow('ls -A /tmp /var/tmp | grep -v systemd-private || true'),
  };
}

/** Waits until the spare that a create has started to build is complete. */
async function waitForSpare(user: User): Promise<void> {
  const isReady = async (): Promise<boolean> => {
    const spares = await readdir(join(user.home, '.slipway', 'spares')).catch(() => []);
    return spares.length > 0 && (await listProcesses(user)).every((program) => !/node|qemu/.test(program));
  };
  await waitUntil('a spare is ready and nothing builds another', isReady, VM_ROUND_SECONDS);
}

async function readMemoryKib(pid: number | undefined): Promise<number> {
  return Number(/VmRSS:\s+(\d+)/.exec(await readFile(`/proc/${pid}/status`, 'utf8'))?.[1]);
}

function hideIds(path: string): string {
  return path.replaceAll(/[0-9a-f]{8}-[0-9a-f-]{27}/g, 'ID');
}
