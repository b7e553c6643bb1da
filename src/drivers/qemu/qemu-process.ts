import { randomBytes } from 'node:crypto';
import { open, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { deleteFile, readFileIfExists, renamePath } from '../../computer/files.ts';
import { childEnvironment, releaseChild, sendSignal, startInBackground } from '../../computer/child-process.ts';
import {
  identifyProcess,
  isProcessAlive,
  isProcessRunningCommand,
  type ProcessIdentity,
} from '../../computer/process-identity.ts';
import { canceledError, SlipwayError, systemCode } from '../../errors.ts';
import type { DriverCall } from '../contract.ts';
import { monitorArguments, VM_FILES } from './command-line.ts';
import { MONITOR_KEY_NAME, openMonitor, type Monitor, type MonitorAddress } from './monitor.ts';
import { VM_RECORD_FILE } from './vm-record.ts';
import type { Vm } from './vm.ts';

/**
 * The state of a VM's process. `written`: paused, after it has written its memory to a file. `ended`: the guest has
 * shut down, and the process still runs. `crashed`: the guest can't continue. `silent`: the process runs and does not
 * answer. `none`: there is no process. `unknown`: the system does not say whether there is one. QEMU's other states, in
 * which the guest makes no progress, are `paused`.
 */
export type RunState =
  'running' | 'paused' | 'written' | 'io-error' | 'ended' | 'crashed' | 'silent' | 'none' | 'unknown';

/** QEMU's names for states. */
const RUN_STATES: Readonly<Record<string, RunState>> = {
  running: 'running',
  postmigrate: 'written',
  'io-error': 'io-error',
  shutdown: 'ended',
  'guest-panicked': 'crashed',
  'internal-error': 'crashed',
};

/** What identifies the process of a VM. */
type VmIdentity = Pick<Vm, 'id' | 'name' | 'monitorPort'>;

const START_TIMEOUT_SECONDS = 20;
const QUIT_TIMEOUT_SECONDS = 5;
/** Checks whether a killed process is gone, 50 ms apart: a check itself can take a second on some systems. */
const MAX_EXIT_CHECKS = 100;
/** The longest path that fits into a socket's address on macOS. */
const MAX_SOCKET_PATH_BYTES = 103;

/** Returns where a VM's monitor listens: on systems without sockets in folders, on a port that requires a key. */
export async function resolveMonitorAddress(
  folder: string,
  { monitorPort }: Pick<Vm, 'monitorPort'>,
): Promise<MonitorAddress> {
  if (monitorPort === undefined) return { path: join(folder, VM_FILES.monitor) };
  const keys = (await readFileIfExists(join(folder, VM_FILES.monitorKeys))) ?? '';
  const key = /:([0-9a-f]+)\s*$/.exec(keys)?.[1];
  // No key was ever written, so no monitor of this VM listens on the port.
  return { host: '127.0.0.1', port: monitorPort, key: key ?? randomKey() };
}

function randomKey(): string {
  return randomBytes(32).toString('hex');
}

/** Writes a new key for the monitor of a VM that is about to start. QEMU reads it from the folder that it runs in. */
async function writeMonitorKey(folder: string): Promise<void> {
  const file = join(folder, VM_FILES.monitorKeys);
  await deleteFile(file);
  await writeFile(file, `${MONITOR_KEY_NAME}:${randomKey()}\n`, { mode: 0o600, flag: 'wx' });
}

/** Throws USAGE for a folder whose path is so long that QEMU would silently cut off the path of its socket. */
export function requireShortSocketPath(folder: string): void {
  if (Buffer.byteLength(join(folder, VM_FILES.monitor)) <= MAX_SOCKET_PATH_BYTES) return;
  throw new SlipwayError('USAGE', `The path of the folder ${folder} is too long for a VM's socket`, {
    hint: 'Set SLIPWAY_HOME to a shorter path',
  });
}

/** Why QEMU did not start: its last lines, and the port that another program uses, if that is the cause. */
export type StartFailure = { readonly takenPort: number | undefined; readonly lines: readonly string[] };

/** A call that starts a VM. `endsWithMaker`: the VM is of no use once this process has ended. */
export type StartCall = DriverCall & { readonly endsWithMaker?: boolean };

/** Returns QEMU's arguments, given those of its monitor. */
export type VmArguments = (monitor: readonly string[]) => readonly string[];

/**
 * Starts the process of a VM, which outlives this one, and waits until its monitor answers. Returns undefined once it
 * runs, or why it does not. `boots`: whether the guest boots, or resumes with its memory.
 */
export async function startProcess(
  program: string,
  { boots, toArguments }: { readonly boots: boolean; readonly toArguments: VmArguments },
  vm: Vm,
  folder: string,
  call: StartCall,
): Promise<StartFailure | undefined> {
  for (const file of [VM_FILES.pid, VM_FILES.shutdown]) await deleteFile(join(folder, file));
  // Keeps the console of the last start, which often explains why the VM is started again. A resume writes no boot.
  if (boots)
    await renamePath(join(folder, VM_FILES.console), join(folder, VM_FILES.lastConsole)).catch((error: unknown) => {
      if (systemCode(error) !== 'ENOENT') throw error;
    });
  const child = await spawnQemu(program, toArguments(monitorArguments(vm.monitorPort)), vm, folder, call);
  const end = performance.now() + START_TIMEOUT_SECONDS * 1000;
  for (;;) {
    const exit = child.exitReason();
    if (exit !== undefined) return readStartFailure(folder, exit);
    if (call.signal.aborted) {
      // The caller's cleanup may not find the process yet. The process runs, so its pid can't be another program's.
      child.kill();
      throw canceledError();
    }
    // A QEMU that is about to exit accepts a connection and closes it, and a busy one does not answer yet.
    await using monitor = await openMonitor(await resolveMonitorAddress(folder, vm)).catch(() => undefined);
    if (monitor) {
      // Until now, a kill of this process ends QEMU too: no other command could find it yet.
      if (!call.endsWithMaker) await child.release();
      return undefined;
    }
    if (performance.now() > end) {
      child.kill();
      return readStartFailure(folder, `its monitor did not answer within ${START_TIMEOUT_SECONDS} seconds`);
    }
    await sleep(50);
  }
}

/** Starts QEMU in the background. `exitReason` returns undefined while the process runs. */
async function spawnQemu(
  program: string,
  argv: readonly string[],
  { monitorPort }: Vm,
  folder: string,
  { computer }: StartCall,
): Promise<{
  readonly exitReason: () => string | undefined;
  readonly kill: () => void;
  readonly release: () => Promise<void>;
}> {
  if (monitorPort !== undefined) await writeMonitorKey(folder);
  const output = await open(join(folder, VM_FILES.output), 'w', 0o600);
  let exitReason: string | undefined;
  try {
    const child = startInBackground(program, argv, {
      cwd: folder,
      output,
      env: childEnvironment(computer),
      // Without its folder, nobody could find or use the VM any more.
      guard: {
        purpose: { maker: true, files: [VM_FILES.disk, VM_RECORD_FILE] },
        platform: computer.platform,
      },
    });
    child.once('error', (error) => {
      exitReason = error.message;
    });
    child.once('exit', (code, signalName) => {
      exitReason ??= `QEMU exited with ${signalName ?? `status ${code}`}`;
    });
    const { pid } = child;
    return {
      exitReason: () => exitReason,
      release: () => releaseChild(child),
      kill: () => {
        // The group contains QEMU and its guard.
        if (pid !== undefined) sendSignal(computer.platform === 'win32' ? pid : -pid, 'SIGKILL');
      },
    };
  } finally {
    await output.close();
  }
}

async function readStartFailure(folder: string, reason: string): Promise<StartFailure> {
  const lines = await readOutputTail(folder);
  const port = /Could not set up host forwarding rule 'tcp:127\.0\.0\.1:(\d+)-/.exec(lines.join('\n'))?.[1];
  return { takenPort: port === undefined ? undefined : Number(port), lines: [...lines, reason] };
}

/** Returns the last lines that QEMU itself wrote. */
export async function readOutputTail(folder: string): Promise<readonly string[]> {
  const text = (await readFileIfExists(join(folder, VM_FILES.output))) ?? '';
  return text
    .split('\n')
    .filter((line) => line.trim() !== '')
    .slice(-8);
}

/**
 * Asks the VM's process for its state. A process that answers on the monitor with the VM's id is the VM's, whatever its
 * pid.
 */
export async function getRunState(folder: string, vm: VmIdentity, call: DriverCall): Promise<RunState> {
  try {
    await using monitor = await openVmMonitor(folder, vm);
    if (!monitor) return await getStateOfSilent(folder, vm, call);
    const { status } = (await monitor.execute('query-status')) as { readonly status: string };
    return RUN_STATES[status] ?? 'paused';
  } catch (error) {
    if (call.signal.aborted) throw canceledError();
    call.log(`The monitor of "${vm.name}": ${String(error)}`);
    return await getStateOfSilent(folder, vm, call);
  }
}

/** Returns the state of a VM whose monitor does not answer. */
async function getStateOfSilent(folder: string, vm: VmIdentity, call: DriverCall): Promise<RunState> {
  try {
    return (await findVmPid(folder, vm, call)) === undefined ? 'none' : 'silent';
  } catch (error) {
    if (call.signal.aborted) throw canceledError();
    call.log(`The process of "${vm.name}": ${String(error)}`);
    return 'unknown';
  }
}

/** Opens the monitor of a VM. Returns undefined if nothing answers there, or another VM does. */
export async function openVmMonitor(folder: string, vm: VmIdentity): Promise<Monitor | undefined> {
  const monitor = await openMonitor(await resolveMonitorAddress(folder, vm));
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

/** Returns a function that says whether the process that runs this VM now has exited. */
export async function createExitCheck(
  folder: string,
  vm: VmIdentity,
  call: DriverCall,
): Promise<() => Promise<boolean>> {
  const identity = await identifyVmProcess(folder, vm, call);
  return async () => identity === undefined || !(await isProcessAlive(identity));
}

/**
 * Identifies the process that runs a VM; undefined if none does. While the monitor answers with the VM's id, the number
 * in the pid file is that QEMU's: each start deletes the file of the one before. Otherwise its command line is the
 * proof. Throws if the system does not say what the process is.
 */
async function identifyVmProcess(
  folder: string,
  vm: VmIdentity,
  call: DriverCall,
): Promise<ProcessIdentity | undefined> {
  const pid = await readPid(folder);
  if (pid === undefined) return undefined;
  const isProven = (await isAnswering(folder, vm)) || (await isVmProcess(pid, vm, call));
  return isProven ? await identifyProcess(pid) : undefined;
}

async function isAnswering(folder: string, vm: VmIdentity): Promise<boolean> {
  await using monitor = await openVmMonitor(folder, vm).catch(() => undefined);
  return monitor !== undefined;
}

/**
 * Kills a VM's process at once: through its monitor, or, if that is silent, by its pid, provided that its command line
 * proves that it is the VM's.
 */
export async function killProcess(folder: string, vm: VmIdentity, call: DriverCall): Promise<void> {
  const quit = async (): Promise<boolean> => {
    await using monitor = await openVmMonitor(folder, vm);
    if (!monitor) return false;
    // QEMU may exit before it can answer.
    await monitor.execute('quit').catch(() => undefined);
    return await monitor.waitForExit(QUIT_TIMEOUT_SECONDS);
  };
  // Looked up first: QEMU deletes its pid file some time before it exits.
  const identity = await identifyVmProcess(folder, vm, call);
  const hasQuit = await quit().catch(() => false);
  if (identity === undefined) return;
  const { pid } = identity;
  if (!hasQuit && (await isVmProcess(pid, vm, call))) sendSignal(pid, 'SIGKILL');
  for (let checks = 0; checks < MAX_EXIT_CHECKS; checks += 1) {
    if (!(await isProcessAlive(identity))) return;
    await sleep(50);
  }
  throw new SlipwayError('DRIVER_FAILED', `The QEMU process of "${vm.name}" (PID ${pid}) does not exit`, {
    hint: `Kill it: ${call.computer.platform === 'win32' ? 'taskkill /f /pid' : 'kill -9'} ${pid}. Then run the same command again`,
  });
}

/**
 * Returns the number in the pid file, if a process with that number has this VM's id in its command line. Throws if the
 * system does not say what that process is.
 */
export async function findVmPid(folder: string, vm: Pick<Vm, 'id'>, call: DriverCall): Promise<number | undefined> {
  const pid = await readPid(folder);
  return pid !== undefined && (await isVmProcess(pid, vm, call)) ? pid : undefined;
}

async function readPid(folder: string): Promise<number | undefined> {
  const pid = Number((await readFileIfExists(join(folder, VM_FILES.pid)))?.trim());
  return Number.isInteger(pid) && pid > 1 ? pid : undefined;
}

async function isVmProcess(pid: number, { id }: Pick<Vm, 'id'>, call: DriverCall): Promise<boolean> {
  return isProcessRunningCommand(pid, ['-uuid', id], call);
}
