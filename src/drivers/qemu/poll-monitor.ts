import { setTimeout as sleep } from 'node:timers/promises';
import { canceledError, reasonOf } from '../../errors.ts';
import type { Monitor } from './monitor.ts';
import { openVmMonitor } from './qemu-process.ts';
import type { Vm } from './vm.ts';

export const QEMU_EXITED_MESSAGE = 'its QEMU process has exited';

const MAX_PAUSE_MILLISECONDS = 200;

/**
 * Calls `ask` with a VM's monitor until it returns an answer, and opens a new connection if one fails: a QEMU that
 * writes or reads a memory file may be silent for longer than a monitor waits. Throws CANCELED, or an error that says
 * why there is no answer.
 */
export async function pollMonitor<T>(
  vm: Vm,
  folder: string,
  { seconds, signal }: { readonly seconds: number; readonly signal: AbortSignal },
  ask: (monitor: Monitor) => Promise<T | undefined>,
): Promise<T> {
  const end = performance.now() + seconds * 1000;
  const isOver = (): boolean => signal.aborted || performance.now() > end;
  for (;;) {
    let problem = `QEMU did not finish within ${seconds} seconds`;
    try {
      await using monitor = await openVmMonitor(folder, vm);
      if (!monitor) break;
      const answer = await pollConnection(monitor, ask, isOver);
      if (answer !== undefined) return answer;
    } catch (error) {
      problem = reasonOf(error);
    }
    if (signal.aborted) throw canceledError();
    if (isOver()) throw new Error(problem);
    await sleep(100);
  }
  throw new Error(QEMU_EXITED_MESSAGE);
}

async function pollConnection<T>(
  monitor: Monitor,
  ask: (monitor: Monitor) => Promise<T | undefined>,
  isOver: () => boolean,
): Promise<T | undefined> {
  for (let pause = 20; ; pause = Math.min(pause * 2, MAX_PAUSE_MILLISECONDS)) {
    const answer = await ask(monitor);
    if (answer !== undefined || isOver()) return answer;
    await sleep(pause);
  }
}
