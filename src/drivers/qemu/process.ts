import { spawn } from 'node:child_process';
import { open, rename, rm } from 'node:fs/promises';
import type { NetConnectOpts } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { readIfThere } from '../../computer/files.ts';
import { childEnvironment, runChild } from '../../computer/child-process.ts';
import { canceled, SlipwayError, systemCode } from '../../errors.ts';
import type { Call } from '../contract.ts';
import { FILES, vmArguments, type Shape } from './command-line.ts';
import { openMonitor, type Monitor } from './monitor.ts';
import type { Vm } from './vm.ts';

/** Where QEMU's own words leave off; a run state that none of ours fits is one in which the guest makes no progress. */
export type RunState = 'running' | 'paused' | 'io-error' | 'ended' | 'silent' | 'none';

/** What a process is found by. */
type Known = Pick<Vm, 'id' | 'name' | 'monitorPort'>;

const START_SECONDS = 20;
/** The longest path that a socket's address holds on macOS. */
const SOCKET_PATH = 103;

export function monitorAt(folder: string, { monitorPort }: Pick<Vm, 'monitorPort'>): NetConnectOpts {
  return monitorPort === undefined ? { path: join(folder, FILES.monitor) } : { host: '127.0.0.1', port: monitorPort };
}

/** Sockets have short addresses, and QEMU's would be cut without a word. */
export function checkFolder(folder: string): void {
  if (Buffer.byteLength(join(folder, FILES.monitor)) <= SOCKET_PATH) return;
  throw new SlipwayError('USAGE', `The folder ${folder} has too long a name for the socket that a VM needs there`, {
    hint: 'Set SLIPWAY_HOME to a shorter path',
  });
}

/** Why QEMU did not start, by its own last lines; a port that somebody else has is told apart. */
export type NoStart = { readonly takenPort: number | undefined; readonly lines: readonly string[] };

/** Starts the process of a VM, which outlives this one, and returns when its monitor answers. */
export async function startProcess(
  program: string,
  shape: Shape,
  vm: Vm,
  folder: string,
  { computer, signal }: Call,
): Promise<NoStart | undefined> {
  const monitor =
    vm.monitorPort === undefined
      ? `unix:${FILES.monitor},server=on,wait=off`
      : `tcp:127.0.0.1:${vm.monitorPort},server=on,wait=off`;
  await rm(join(folder, FILES.pid), { force: true });
  // What the last start said is often why there is another; one that goes on says nothing of its own.
  if (shape.incoming === undefined)
    await rename(join(folder, FILES.console), join(folder, FILES.lastConsole)).catch((error: unknown) => {
      if (systemCode(error) !== 'ENOENT') throw error;
    });
  const output = await open(join(folder, FILES.output), 'w', 0o600);
  let gone: string | undefined;
  let pid: number | undefined;
  try {
    const child = spawn(program, vmArguments(shape, monitor), {
      cwd: folder,
      detached: true,
      stdio: ['ignore', output.fd, output.fd],
      env: childEnvironment(computer),
      windowsHide: true,
    });
    child.once('error', (error) => {
      gone = error.message;
    });
    child.once('exit', (code, name) => {
      gone ??= `it ended with ${name ?? `exit status ${code}`}`;
    });
    child.unref();
    ({ pid } = child);
  } finally {
    await output.close();
  }
  const end = performance.now() + START_SECONDS * 1000;
  for (;;) {
    if (gone !== undefined) return whyNot(folder, gone);
    if (signal.aborted) {
      // Whoever clears up now may not find it yet. Not over, so the number is still its own.
      if (pid !== undefined) signalProcess(pid);
      throw canceled();
    }
    // One that is about to end takes the call and hangs up, and one that is busy says nothing yet.
    await using answered = await openMonitor(monitorAt(folder, vm)).catch(() => undefined);
    if (answered) return undefined;
    if (performance.now() > end) {
      if (pid !== undefined) signalProcess(pid);
      return whyNot(folder, `its monitor did not answer within ${START_SECONDS} seconds`);
    }
    await sleep(50);
  }
}

async function whyNot(folder: string, gone: string): Promise<NoStart> {
  const lines = await lastOutput(folder);
  const port = /Could not set up host forwarding rule 'tcp:127\.0\.0\.1:(\d+)-/.exec(lines.join('\n'))?.[1];
  return { takenPort: port === undefined ? undefined : Number(port), lines: [...lines, gone] };
}

/** What QEMU itself said last. */
export async function lastOutput(folder: string): Promise<readonly string[]> {
  const text = (await readIfThere(join(folder, FILES.output))) ?? '';
  return text
    .split('\n')
    .filter((line) => line.trim() !== '')
    .slice(-8);
}

/**
 * How the process of this VM is, asked of itself: whoever answers on its monitor with its id is it, whatever number it has.
 * `silent`: it is there and does not answer. `ended`: the guest is gone, the process not yet.
 */
export async function runState(folder: string, vm: Known, call: Call): Promise<RunState> {
  try {
    await using monitor = await openVm(folder, vm);
    if (!monitor) return (await ownPid(folder, vm, call)) === undefined ? 'none' : 'silent';
    const { status } = (await monitor.execute('query-status')) as { readonly status: string };
    if (status === 'running' || status === 'paused' || status === 'io-error') return status;
    if (status === 'shutdown' || status === 'guest-panicked' || status === 'internal-error') return 'ended';
    return 'paused';
  } catch (error) {
    if (call.signal.aborted) throw canceled();
    call.log(`the monitor of ${vm.name}: ${String(error)}`);
    return (await ownPid(folder, vm, call)) === undefined ? 'none' : 'silent';
  }
}

/** The monitor of this VM; undefined where nobody or somebody else answers. */
export async function openVm(folder: string, vm: Known): Promise<Monitor | undefined> {
  const monitor = await openMonitor(monitorAt(folder, vm));
  if (!monitor) return undefined;
  try {
    const { UUID } = (await monitor.execute('query-uuid')) as { readonly UUID: string };
    if (UUID === vm.id) return monitor;
  } catch (error) {
    await monitor[Symbol.asyncDispose]();
    throw error;
  }
  await monitor[Symbol.asyncDispose]();
  return undefined;
}

/** Whether the process that runs this VM now is gone, to be asked again and again. */
export async function processOf(folder: string, vm: Known, call: Call): Promise<() => Promise<boolean>> {
  const pid = await ownPid(folder, vm, call);
  return async () => pid === undefined || !(await isOwn(pid, vm, call));
}

/** Ends the process at once: through its monitor, or where that is silent by its number, once its command line has proved it. */
export async function killProcess(folder: string, vm: Known, call: Call): Promise<void> {
  const quit = async (): Promise<boolean> => {
    await using monitor = await openVm(folder, vm);
    if (!monitor) return false;
    // It may be gone before it can answer.
    await monitor.execute('quit').catch(() => undefined);
    return await monitor.ended(5);
  };
  // Looked up before: QEMU takes its pid file away some time before it is gone itself.
  const pid = await ownPid(folder, vm, call);
  const asked = await quit().catch(() => false);
  if (pid === undefined) return;
  if (!asked && (await isOwn(pid, vm, call))) signalProcess(pid);
  for (let waited = 0; waited < 100; waited += 1) {
    if (!(await isOwn(pid, vm, call))) return;
    await sleep(50);
  }
  throw new SlipwayError('DRIVER_FAILED', `QEMU of ${vm.name} (process ${pid}) does not end`, {
    hint: `End it by hand: kill -9 ${pid}, then run the same command again`,
  });
}

function signalProcess(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch (error) {
    if (systemCode(error) !== 'ESRCH') throw error;
  }
}

/** The number in the pid file, where a process has it whose command line names this VM. */
async function ownPid(folder: string, vm: Pick<Vm, 'id'>, call: Call): Promise<number | undefined> {
  const pid = Number((await readIfThere(join(folder, FILES.pid)))?.trim());
  if (!Number.isInteger(pid) || pid <= 1) return undefined;
  return (await isOwn(pid, vm, call)) ? pid : undefined;
}

async function isOwn(pid: number, { id }: Pick<Vm, 'id'>, call: Call): Promise<boolean> {
  return (await commandLineOf(pid, call)).replaceAll('\0', ' ').includes(`-uuid ${id} `);
}

async function commandLineOf(pid: number, call: Call): Promise<string> {
  const { platform } = call.computer;
  if (platform === 'linux') {
    // A zombie has none.
    return (await readIfThere(`/proc/${pid}/cmdline`).catch(() => '')) ?? '';
  }
  const [file, argv] =
    platform === 'win32'
      ? [
          'powershell.exe',
          ['-NoProfile', '-Command', `(Get-CimInstance Win32_Process -Filter 'ProcessId=${pid}').CommandLine`],
        ]
      : ['ps', ['-ww', '-o', 'command=', '-p', String(pid)]];
  const { lines } = await runChild(file as string, argv as readonly string[], { ...call, log: () => {} });
  return lines.join(' ');
}
