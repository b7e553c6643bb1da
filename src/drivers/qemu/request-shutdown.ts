import { reasonOf } from '../../errors.ts';
import type { DriverCall } from '../contract.ts';
import { requestGuestShutdown, sendGuestCommands, SHUTDOWN_BY_UDEV } from './guest-channel.ts';
import { openVmMonitor } from './qemu-process.ts';
import type { Vm } from './vm.ts';

/** How long a guest agent may take to answer a request. */
const ANSWER_SECONDS = 3;

/**
 * Asks the guest to shut down: through its agent, which works on every architecture, or else by its power button. A
 * machine of the type `virt` has no power button that Debian's kernel knows, so an agent without a command for that is
 * given another way. A request that reaches nobody is not an error: the caller repeats it.
 */
export async function requestShutdown(vm: Vm, folder: string, call: DriverCall): Promise<void> {
  const how = { seconds: ANSWER_SECONDS, signal: call.signal };
  const answer = vm.devices?.guestChannel === true ? await requestGuestShutdown(folder, how) : 'none';
  if (answer === 'accepted') return;
  call.log(answer === 'none' ? 'The guest agent does not answer; press the power button' : 'Press the power button');
  await pressPowerButton(folder, vm).catch((error: unknown) => call.log(`The power button: ${reasonOf(error)}`));
  if (vm.arch === 'arm64' && answer === 'unknown') await sendGuestCommands(folder, SHUTDOWN_BY_UDEV, how);
}

/** Closes the monitor at once: it serves one client at a time, and other commands ask it for the VM's state. */
async function pressPowerButton(folder: string, vm: Vm): Promise<void> {
  await using monitor = await openVmMonitor(folder, vm);
  await monitor?.execute('system_powerdown');
}
