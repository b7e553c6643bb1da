import { open, rename, rm } from 'node:fs/promises';
import type { NetConnectOpts } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { readFileIfExists } from '../../computer/files.ts';
import { childEnvironment, sendSignal, startInBackground } from '../../computer/child-process.ts';
import { isProcessRunningCommand } from '../../computer/process-identity.ts';
import { canceledError, SlipwayError, systemCode } from '../../errors.ts';
import type { DriverCall } from '../contract.ts';
import { VM_FILES, vmArguments, type QemuConfig } from './command-line.ts';
import { openMonitor, type Monitor } from './monitor.ts';
import type { Vm } from './vm.ts';

/** Where QEMU's own words leave off; a run state that none of ours fits is one in which the guest makes no progress. */
export type RunState = 'running' | 'paused' | 'io-error' | 'ended' | 'silent' | 'none';

/** What a process is found by. */
type VmIdentity = Pick<Vm, 'id' | 'name' | 'monitorPort'>;

const START_TIMEOUT_SECONDS = 20;
/** The longest path that a socket's address holds on macOS. */
const MAX_SOCKET_PATH_BYTES = 103;

export function monitorAddress(folder: string, { monitorPort }: Pick<Vm, 'monitorPort'>): NetConnectOpts {
  return monitorPort === undefined
    ? { path: join(folder, VM_FILES.monitor) }
    : { host: '127.0.0.1', port: monitorPort };
}

/** Sockets have short addresses, and QEMU's would be cut without a word. */
export function requireShortSocketPath(folder: string): void {
  if (Buffer.byteLength(join(folder, VM_FILES.monitor)) <= MAX_SOCKET_PATH_BYTES) return;
  throw new SlipwayError('USAGE', `The folder ${folder} has too long a name for the socket that a VM needs there`, {
    hint: 'Set SLIPWAY_HOME to a shorter path',
  });
}

/** Why QEMU did not start, by its own last lines; a port that somebody else has is told apart. */
export type StartFailure = { readonly takenPort: number | undefined; readonly lines: readonly string[] };

/** Starts the process of a VM, which outlives this one, and returns when its monitor answers. */
export async function startProcess(
  program: string,
  shape: QemuConfig,
  vm: Vm,
  folder: string,
  { computer, signal }: DriverCall,
): Promise<StartFailure | undefined> {
  const monitor =
    vm.monitorPort === undefined
      ? `unix:${VM_FILES.monitor},server=on,wait=off`
      : `tcp:127.0.0.1:${vm.monitorPort},server=on,wait=off`;
  await rm(join(folder, VM_FILES.pid), { force: true });
  // What the last start said is often why there is another; one that goes on says nothing of its own.
  if (shape.incomingCommand === undefined)
    await rename(join(folder, VM_FILES.console), join(folder, VM_FILES.lastConsole)).catch((error: unknown) => {
      if (systemCode(error) !== 'ENOENT') throw error;
    });
  const output = await open(join(folder, VM_FILES.output), 'w', 0o600);
  let gone: string | undefined;
  let pid: number | undefined;
  try {
    const child = startInBackground(program, vmArguments(shape, monitor), {
      cwd: folder,
      output,
      env: childEnvironment(computer),
    });
    child.once('error', (error) => {
      gone = error.message;
    });
    child.once('exit', (code, signalName) => {
      gone ??= `QEMU exited with ${signalName ?? `status ${code}`}`;
    });
    ({ pid } = child);
  } finally {
    await output.close();
  }
  const end = performance.now() + START_TIMEOUT_SECONDS * 1000;
  for (;;) {
    if (gone !== undefined) return readStartFailure(folder, gone);
    if (signal.aborted) {
      // Whoever clears up now may not find it yet. Not over, so the number is still its own.
      if (pid !== undefined) sendSignal(pid, 'SIGKILL');
      throw canceledError();
    }
    // One that is about to end takes the call and hangs up, and one that is busy says nothing yet.
    await using answered = await openMonitor(monitorAddress(folder, vm)).catch(() => undefined);
    if (answered) return undefined;
    if (performance.now() > end) {
      if (pid !== undefined) sendSignal(pid, 'SIGKILL');
      return readStartFailure(folder, `its monitor did not answer within ${START_TIMEOUT_SECONDS} seconds`);
    }
    await sleep(50);
  }
}

async function readStartFailure(folder: string, gone: string): Promise<StartFailure> {
  const lines = await readOutputTail(folder);
  const port = /Could not set up host forwarding rule 'tcp:127\.0\.0\.1:(\d+)-/.exec(lines.join('\n'))?.[1];
  return { takenPort: port === undefined ? undefined : Number(port), lines: [...lines, gone] };
}

/** What QEMU itself said last. */
export async function readOutputTail(folder: string): Promise<readonly string[]> {
  const text = (await readFileIfExists(join(folder, VM_FILES.output))) ?? '';
  return text
    .split('\n')
    .filter((line) => line.trim() !== '')
    .slice(-8);
}

/**
 * How the process of this VM is, asked of itself: whoever answers on its monitor with its id is it, whatever number it has.
 * `silent`: it is there and does not answer. `ended`: the guest is gone, the process not yet.
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
    call.log(`the monitor of ${vm.name}: ${String(error)}`);
    return (await findVmPid(folder, vm, call)) === undefined ? 'none' : 'silent';
  }
}

/** The monitor of this VM; undefined where nobody or somebody else answers. */
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

/** Whether the process that runs this VM now is gone, to be asked again and again. */
export async function createExitCheck(
  folder: string,
  vm: VmIdentity,
  call: DriverCall,
): Promise<() => Promise<boolean>> {
  const pid = await findVmPid(folder, vm, call);
  return async () => pid === undefined || !(await isVmProcess(pid, vm, call));
}

/** Ends the process at once: through its monitor, or where that is silent by its number, once its command line has proved it. */
export async function killProcess(folder: string, vm: VmIdentity, call: DriverCall): Promise<void> {
  const quit = async (): Promise<boolean> => {
    await using monitor = await openVmMonitor(folder, vm);
    if (!monitor) return false;
    // It may be gone before it can answer.
    await monitor.execute('quit').catch(() => undefined);
    return await monitor.waitForExit(5);
  };
  // Looked up before: QEMU takes its pid file away some time before it is gone itself.
  const pid = await findVmPid(folder, vm, call);
  const asked = await quit().catch(() => false);
  if (pid === undefined) return;
  if (!asked && (await isVmProcess(pid, vm, call))) sendSignal(pid, 'SIGKILL');
  for (let waited = 0; waited < 100; waited += 1) {
    if (!(await isVmProcess(pid, vm, call))) return;
    await sleep(50);
  }
  throw new SlipwayError('DRIVER_FAILED', `QEMU of ${vm.name} (process ${pid}) does not end`, {
    hint: `End it by hand: kill -9 ${pid}, then run the same command again`,
  });
}

/** The number in the pid file, where a process has it whose command line names this VM. */
async function findVmPid(folder: string, vm: Pick<Vm, 'id'>, call: DriverCall): Promise<number | undefined> {
  const pid = Number((await readFileIfExists(join(folder, VM_FILES.pid)))?.trim());
  if (!Number.isInteger(pid) || pid <= 1) return undefined;
  return (await isVmProcess(pid, vm, call)) ? pid : undefined;
}

async function isVmProcess(pid: number, { id }: Pick<Vm, 'id'>, call: DriverCall): Promise<boolean> {
  return isProcessRunningCommand(pid, ['-uuid', id], call);
}
