import { join } from 'node:path';
import { canceledError, reasonOf } from '../../errors.ts';
import { findProgram } from '../../computer/programs.ts';
import type { Image } from '../../images/image.ts';
import { formatList } from '../../machine/options.ts';
import type { DriverCall, Target } from '../contract.ts';
import {
  VM_FILES,
  replayArguments,
  versionedMachineType,
  vmArguments,
  withMachineType,
  withNetworkRom,
} from './command-line.ts';
import { GIB, readVirtualSize } from './disk.ts';
import { endVm } from './end-vm.ts';
import { decompressCommand, resumeCpus, writeBlankSeedDisk, MEMORY_WRITE_MINUTES } from './memory.ts';
import type { QemuOptions } from './options.ts';
import { pollMonitor } from './poll-monitor.ts';
import { readOutputTail } from './qemu-process.ts';
import { requireProgramPath, qemuSystemProgram, zstdProgram } from './required-programs.ts';
import { resolveAccelerator } from './resolve-accelerator.ts';
import { findDamage, hardwareDigestOf, isMemoryIntact, isSameProcessor, readSnapshotFiles } from './snapshot.ts';
import { startOnFreePorts } from './start-on-free-ports.ts';
import { writeVm } from './vm-record.ts';
import { toQemuConfig, type SuspendedVm, type Vm, type VmSnapshot, type VmWithAccelerator } from './vm.ts';

/** Reading the memory file takes no longer than writing it. */
const MEMORY_LOAD_SECONDS = MEMORY_WRITE_MINUTES * 60;

/** Why a VM did not resume. Its memory is kept. */
export type ResumeFailure = {
  /** The end of a sentence. */
  readonly reason: string;
  /** Whether a later try can resume the VM, once the user has fixed the cause. */
  readonly canRetry: boolean;
  /** What QEMU printed. */
  readonly detail?: readonly string[];
};

function permanentFailure(reason: string): ResumeFailure {
  return { reason, canRetry: false };
}

function temporaryFailure(reason: string, detail: readonly string[] = []): ResumeFailure {
  return { reason, canRetry: true, detail };
}

/**
 * Resumes a suspended VM from its memory file, with the virtual hardware and the accelerator that it had: options that
 * have changed apply at its next boot. Returns undefined once it runs, or why it does not.
 */
export async function resume(
  vm: SuspendedVm,
  image: Image,
  { options }: Target<QemuOptions>,
  folder: string,
  call: DriverCall,
): Promise<ResumeFailure | undefined> {
  const program = await requireProgramPath(qemuSystemProgram(vm.arch), call.computer);
  const accelerator = vm.accelerator ?? 'tcg';
  const argv = argumentsOfSnapshot({ ...vm, accelerator });
  const obstacle =
    (await findDamagedFile(vm.snapshot, folder)) ??
    (argv === undefined ? permanentFailure('an older version of Slipway gave it other virtual hardware') : undefined) ??
    (await findAcceleratorProblem(vm, options, image, call)) ??
    (await checkDecompressor(vm.snapshot, call));
  if (obstacle !== undefined || argv === undefined) return obstacle;
  await noteChangedOptions(vm, options, folder, call);
  await writeBlankSeedDisk(vm, folder);
  // The memory is verified while QEMU reads it.
  const verification = verifyMemory(vm.snapshot, folder, call);
  const { started, failure } = await startWithMemory(
    program,
    { ...vm, accelerator },
    argv,
    options,
    verification,
    folder,
    call,
  );
  if (failure !== undefined) {
    await endVm('start', 'resuming', started, folder, call);
    if (call.signal.aborted) throw canceledError();
    return failure;
  }
  // Recorded before the guest runs and its disk changes: from then on the memory file is out of date.
  const { snapshot: _used, ...rest } = started;
  await writeVm(folder, { ...rest, pendingCommands: vm.pendingCommands ?? [] });
  // If this fails, QEMU keeps the memory, with its CPUs stopped: the next `ensureRunning` resumes them.
  return await resumeCpus(vm, folder).then(
    () => undefined,
    (error: unknown) => temporaryFailure(reasonOf(error)),
  );
}

/**
 * Returns the arguments that QEMU needs to read the memory; undefined if a snapshot of an older Slipway does not say
 * them, and today's would describe other virtual hardware.
 */
function argumentsOfSnapshot(vm: SuspendedVm & VmWithAccelerator): readonly string[] | undefined {
  const { argv, hardwareDigest, qemu } = vm.snapshot;
  if (argv !== undefined) return argv;
  if (hardwareDigest !== hardwareDigestOf(vm)) return undefined;
  const legacy = withNetworkRom(vmArguments(toQemuConfig(vm), []));
  return withMachineType(legacy, versionedMachineType(vm.arch, qemu.version));
}

async function findDamagedFile(snapshot: VmSnapshot, folder: string): Promise<ResumeFailure | undefined> {
  const reason = findDamage(snapshot, await readSnapshotFiles(folder));
  return reason === undefined ? undefined : permanentFailure(reason);
}

/** Finds an accelerator that does not work now, or a processor that is not the one on which the guest ran. */
async function findAcceleratorProblem(
  vm: SuspendedVm,
  options: QemuOptions,
  image: Image,
  call: DriverCall,
): Promise<ResumeFailure | undefined> {
  const { accelerator = 'tcg', snapshot, spareFiles } = vm;
  // Software emulation works everywhere, so a machine keeps it even if this computer now has hardware acceleration. A
  // spare does not: it is used only if it has the accelerator that a new machine would get.
  if (accelerator === 'tcg' && !spareFiles) return undefined;
  if (!isSameProcessor(snapshot, accelerator)) return permanentFailure('it ran on a computer with another processor');
  // Access to a device can come back.
  const works = await resolveAccelerator(spareFiles ? options.accelerator : 'auto', image, vm, call);
  if (works === accelerator) return undefined;
  return temporaryFailure(`it ran with ${accelerator}, which does not work now (to see why: slipway doctor)`);
}

/** Says which options the machine does not have yet, since its virtual hardware is that of its memory. */
async function noteChangedOptions(vm: Vm, options: QemuOptions, folder: string, call: DriverCall): Promise<void> {
  if (vm.spareFiles) return;
  // A disk whose size can't be read has not necessarily changed; QEMU reports what is wrong with it.
  const size = await readVirtualSize(join(folder, VM_FILES.disk)).catch(() => Infinity);
  const changed = [
    ...(options.cpus === vm.cpus ? [] : [options.cpus === 1 ? '1 CPU' : `${options.cpus} CPUs`]),
    ...(options.memory === vm.memory ? [] : [`${options.memory} MB of memory`]),
    ...(size >= options.disk * GIB ? [] : [`a disk of ${options.disk} GB`]),
    ...(options.accelerator === 'auto' || options.accelerator === vm.accelerator
      ? []
      : [`the accelerator ${options.accelerator}`]),
  ];
  if (changed.length === 0) return;
  call.note(
    `Machine "${vm.name}" resumes as it was. It has ${formatList(changed)} from its next restart on: slipway restart ${vm.name}`,
  );
}

async function checkDecompressor({ format }: VmSnapshot, { computer }: DriverCall): Promise<ResumeFailure | undefined> {
  if (format === 'plain' || (await findProgram(zstdProgram, computer)) !== undefined) return undefined;
  return temporaryFailure(`its memory is compressed with ${zstdProgram.command}, which is not installed`);
}

/** Returns undefined if every byte of the memory file is as it was written. */
async function verifyMemory(
  snapshot: VmSnapshot,
  folder: string,
  call: DriverCall,
): Promise<ResumeFailure | undefined> {
  try {
    if (await isMemoryIntact(snapshot, folder, call.signal)) return undefined;
    return permanentFailure('its memory is damaged');
  } catch (error) {
    return temporaryFailure(`its memory could not be read: ${reasonOf(error)}`);
  }
}

/**
 * Starts QEMU with the VM's CPUs stopped, and waits until QEMU has read the whole memory file and `verification` has
 * ended.
 */
async function startWithMemory(
  program: string,
  vm: SuspendedVm & VmWithAccelerator,
  argv: readonly string[],
  options: QemuOptions,
  verification: Promise<ResumeFailure | undefined>,
  folder: string,
  call: DriverCall,
): Promise<{ readonly started: SuspendedVm; readonly failure: ResumeFailure | undefined }> {
  const incomingCommand = decompressCommand(vm.snapshot);
  const plan = {
    boots: false,
    argumentsOf: (suspended: typeof vm) => (monitor: readonly string[]) =>
      replayArguments(argv, { ...toQemuConfig(suspended), incomingCommand }, monitor),
  };
  const { started, failureLines } = await startOnFreePorts(program, vm, plan, options, folder, call);
  const loadFailure =
    failureLines === undefined
      ? await waitForMemoryLoad(folder, started, verification, call)
      : temporaryFailure(`QEMU could not start (${failureLines.at(-1)})`, failureLines);
  // The verification knows the reason better: with a damaged file, QEMU exits, or even reads it without an error.
  return { started, failure: (await verification) ?? loadFailure };
}

/**
 * Waits until QEMU has read the whole memory file, or until the verification fails: with a damaged file QEMU may wait
 * forever.
 */
async function waitForMemoryLoad(
  folder: string,
  vm: Vm,
  verification: Promise<ResumeFailure | undefined>,
  call: DriverCall,
): Promise<ResumeFailure | undefined> {
  const verificationFailed = new AbortController();
  void verification.then((failure) => {
    if (failure) verificationFailed.abort();
  });
  const signal = AbortSignal.any([call.signal, verificationFailed.signal]);
  try {
    const status = await pollMonitor(vm, folder, { seconds: MEMORY_LOAD_SECONDS, signal }, async (monitor) => {
      const answer = (await monitor.execute('query-status')) as { readonly status: string };
      return answer.status === 'inmigrate' ? undefined : answer.status;
    });
    // The CPUs are stopped, as they were when the memory was written: `io-error` if the disk was full at that time.
    if (['paused', 'prelaunch', 'io-error'].includes(status)) return undefined;
    return temporaryFailure(`QEMU has read its memory, and is in the state ${status}`);
  } catch (error) {
    return temporaryFailure(`QEMU could not read its memory: ${reasonOf(error)}`, await readOutputTail(folder));
  }
}
