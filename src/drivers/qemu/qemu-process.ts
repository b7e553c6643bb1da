import { open } from 'node:fs/promises';
import type { NetConnectOpts } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { deleteFile, readFileIfExists, renamePath } from '../../computer/files.ts';
import { childEnvironment, sendSignal, startInBackground } from '../../computer/child-process.ts';
import { isProcessRunningCommand } from '../../computer/process-identity.ts';
import { canceledError, SlipwayError, systemCode } from '../../errors.ts';
import type { DriverCall } from '../contract.ts';
import { VM_FILES, vmArguments, type QemuConfig } from './command-line.ts';
import { openMonitor, type Monitor } from './monitor.ts';
import type { Vm } from './vm.ts';

/**
 * The state of a VM's process. `silent`: it runs and does not answer. `ended`: the guest has shut down or crashed, and
 * the process still runs. `none`: there is no process. QEMU's other states, in which the guest makes no progress, are
 * `paused`.
 */
export type RunState = 'running' | 'paused' | 'io-error' | 'ended' | 'silent' | 'none';

/** What identifies the process of a VM. */
type VmIdentity = Pick<Vm, 'id' | 'name' | 'monitorPort'>;

const START_TIMEOUT_SECONDS = 20;
const QUIT_TIMEOUT_SECONDS = 5;
/** Checks whether a killed process is gone, 50 ms apart: a check itself can take a second on some systems. */
const MAX_EXIT_CHECKS = 100;
/** The longest path that fits into a socket's address on macOS. */
const MAX_SOCKET_PATH_BYTES = 103;

export function monitorAddress(folder: string, { monitorPort }: Pick<Vm, 'monitorPort'>): NetConnectOpts {
  return monitorPort === undefined
    ? { path: join(folder, VM_FILES.monitor) }
    : { host: '127.0.0.1', port: monitorPort };
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

/**
 * Starts the process of a VM, which outlives this one, and waits until its monitor answers. Returns undefined once it
 * runs, or why it does not.
 */
export async function startProcess(
  program: string,
  config: QemuConfig,
  vm: Vm,
  folder: string,
  call: DriverCall,
): Promise<StartFailure | undefined> {
  await deleteFile(join(folder, VM_FILES.pid));
  // Keeps the console of the last start, which often explains why the VM is started again. A resume writes no boot.
  if (config.incomingCommand === undefined)
    await renamePath(join(folder, VM_FILES.console), join(folder, VM_FILES.lastConsole)).catch((error: unknown) => {
      if (systemCode(error) !== 'ENOENT') throw error;
    });
  const child = await spawnQemu(program, config, vm, folder, call);
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
    await using monitor = await openMonitor(monitorAddress(folder, vm)).catch(() => undefined);
    if (monitor) return undefined;
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
  config: QemuConfig,
  { monitorPort }: Vm,
  folder: string,
  { computer }: DriverCall,
): Promise<{ readonly exitReason: () => string | undefined; readonly kill: () => void }> {
  const address = monitorPort === undefined ? `unix:${VM_FILES.monitor}` : `tcp:127.0.0.1:${monitorPort}`;
  const argv = vmArguments(config, `${address},server=on,wait=off`);
  const output = await open(join(folder, VM_FILES.output), 'w', 0o600);
  let exitReason: string | undefined;
  try {
    const child = startInBackground(program, argv, { cwd: folder, output, env: childEnvironment(computer) });
    child.once('error', (error) => {
      exitReason = error.message;
    });
    child.once('exit', (code, signalName) => {
      exitReason ??= `QEMU exited with ${signalName ?? `status ${code}`}`;
    });
    const { pid } = child;
    return {
      exitReason: () => exitReason,
      kill: () => {
        if (pid !== undefined) sendSignal(pid, 'SIGKILL');
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
    if (!monitor) return (await findVmPid(folder, vm, call)) === undefined ? 'none' : 'silent';
    const { status } = (await monitor.execute('query-status')) as { readonly status: string };
    if (status === 'running' || status === 'paused' || status === 'io-error') return status;
    if (status === 'shutdown' || status === 'guest-panicked' || status === 'internal-error') return 'ended';
    return 'paused';
  } catch (error) {
    if (call.signal.aborted) throw canceledError();
    call.log(`The monitor of "${vm.name}": ${String(error)}`);
    return (await findVmPid(folder, vm, call)) === undefined ? 'none' : 'silent';
  }
}

/** Opens the monitor of a VM. Returns undefined if nothing answers there, or another VM does. */
export async function openVmMonitor(folder: string, vm: VmIdentity): Promise<Monitor | undefined> {
  const monitor = await openMonitor(monitorAddress(folder, vm));
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
  const pid = await findVmPid(folder, vm, call);
  return async () => pid === undefined || !(await isVmProcess(pid, vm, call));
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
  const pid = await findVmPid(folder, vm, call);
  const hasQuit = await quit().catch(() => false);
  if (pid === undefined) return;
  if (!hasQuit && (await isVmProcess(pid, vm, call))) sendSignal(pid, 'SIGKILL');
  for (let checks = 0; checks < MAX_EXIT_CHECKS; checks += 1) {
    if (!(await isVmProcess(pid, vm, call))) return;
    await sleep(50);
  }
  throw new SlipwayError('DRIVER_FAILED', `The QEMU process of "${vm.name}" (PID ${pid}) does not exit`, {
    hint: `Kill it: ${call.computer.platform === 'win32' ? 'taskkill /f /pid' : 'kill -9'} ${pid}. Then run the same command again`,
  });
}

/** Returns the number in the pid file, if a process with that number has this VM's id in its command line. */
async function findVmPid(folder: string, vm: Pick<Vm, 'id'>, call: DriverCall): Promise<number | undefined> {
  const pid = Number((await readFileIfExists(join(folder, VM_FILES.pid)))?.trim());
  if (!Number.isInteger(pid) || pid <= 1) return undefined;
  return (await isVmProcess(pid, vm, call)) ? pid : undefined;
}

async function isVmProcess(pid: number, { id }: Pick<Vm, 'id'>, call: DriverCall): Promise<boolean> {
  return isProcessRunningCommand(pid, ['-uuid', id], call);
}
