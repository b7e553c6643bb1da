import { join } from 'node:path';
import { canceledError, reasonOf } from '../../errors.ts';
import { findProgram } from '../../computer/programs.ts';
import { archOf, type Image } from '../../images/image.ts';
import type { DriverCall, Target } from '../contract.ts';
import { VM_FILES, type Accelerator } from './command-line.ts';
import { GIB, readVirtualSize } from './disk.ts';
import { decompressCommand, resumeCpus, writeBlankSeedDisk, MEMORY_WRITE_MINUTES } from './memory.ts';
import type { QemuOptions } from './options.ts';
import { pollMonitor } from './poll-monitor.ts';
import { killProcess, readOutputTail } from './qemu-process.ts';
import { requireProgramPath, qemuSystemProgram, zstdProgram } from './required-programs.ts';
import { resolveAccelerator } from './resolve-accelerator.ts';
import {
  hardwareDigestOf,
  incompatibilityReason,
  isMemoryIntact,
  readSnapshotFiles,
  readSnapshotHost,
} from './snapshot.ts';
import { startOnFreePorts } from './start-on-free-ports.ts';
import { writeVm } from './vm-record.ts';
import { toQemuConfig, type SuspendedVm, type Vm, type VmSnapshot } from './vm.ts';

/** Reading the memory file takes no longer than writing it. */
const MEMORY_LOAD_SECONDS = MEMORY_WRITE_MINUTES * 60;

/** Why a VM did not resume. */
export type ResumeFailure = {
  /** The end of a sentence. */
  readonly reason: string;
  /** Whether no retry can ever resume the VM from its memory file. */
  readonly isPermanent: boolean;
  /** What QEMU printed. */
  readonly detail?: readonly string[];
};

function permanentFailure(reason: string): ResumeFailure {
  return { reason, isPermanent: true };
}

function temporaryFailure(reason: string, detail: readonly string[] = []): ResumeFailure {
  return { reason, isPermanent: false, detail };
}

/** Resumes a suspended VM from its memory file. Returns undefined once it runs, or why it does not. */
export async function resume(
  vm: SuspendedVm,
  image: Image,
  { options }: Target<QemuOptions>,
  folder: string,
  call: DriverCall,
): Promise<ResumeFailure | undefined> {
  const program = await requireProgramPath(qemuSystemProgram(archOf(call.computer)), call.computer);
  const accelerator = await resolveResumeAccelerator(vm, options, image, call);
  const obstacle =
    (await findConfigMismatch(vm, accelerator, options, folder)) ??
    (await findIncompatibility({ ...vm, accelerator }, program, folder)) ??
    (await checkDecompressor(vm.snapshot, call));
  if (obstacle !== undefined) return obstacle;
  await writeBlankSeedDisk(vm, folder);
  // The memory is verified while QEMU reads it.
  const verification = verifyMemory(vm.snapshot, folder, call);
  const { started, failure } = await startWithMemory(
    program,
    { ...vm, accelerator },
    options,
    verification,
    folder,
    call,
  );
  if (failure !== undefined) {
    await killProcess(folder, started, call);
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

/** Returns the accelerator to resume with: that of the last start if possible, since a VM can't resume with another. */
async function resolveResumeAccelerator(
  vm: Vm,
  options: QemuOptions,
  image: Image,
  call: DriverCall,
): Promise<Accelerator> {
  // Software emulation works everywhere, so a machine keeps it even if this computer now has hardware acceleration. A
  // spare does not: it is used only if it has the accelerator that a new machine would get.
  if (options.accelerator === 'auto' && vm.accelerator === 'tcg' && !vm.spareFiles) return 'tcg';
  return await resolveAccelerator(options.accelerator, image, vm, call);
}

/** Finds an option that has changed and that a resume can't apply, or an accelerator that does not work now. */
async function findConfigMismatch(
  vm: Vm,
  accelerator: Accelerator,
  options: QemuOptions,
  folder: string,
): Promise<ResumeFailure | undefined> {
  if (options.cpus !== vm.cpus) return permanentFailure(`its options now specify ${options.cpus} CPUs`);
  if (options.memory !== vm.memory) return permanentFailure(`its options now specify ${options.memory} MB of memory`);
  // A disk whose size can't be read has not necessarily changed; QEMU reports what is wrong with it.
  const size = await readVirtualSize(join(folder, VM_FILES.disk)).catch(() => Infinity);
  if (size < options.disk * GIB) return permanentFailure(`its options now specify a disk of ${options.disk} GB`);
  if (accelerator === vm.accelerator) return undefined;
  // Access to a device can come back.
  if (options.accelerator === 'auto')
    return temporaryFailure(`it ran with ${vm.accelerator}, which does not work now (to see why: slipway doctor)`);
  return permanentFailure(`its options now specify the accelerator ${accelerator}`);
}

async function findIncompatibility(
  vm: SuspendedVm & { readonly accelerator: Accelerator },
  program: string,
  folder: string,
): Promise<ResumeFailure | undefined> {
  const host = await readSnapshotHost(program, vm.accelerator);
  const reason = incompatibilityReason(vm.snapshot, hardwareDigestOf(vm), host, await readSnapshotFiles(folder));
  return reason === undefined ? undefined : permanentFailure(reason);
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
  vm: SuspendedVm & { readonly accelerator: Accelerator },
  options: QemuOptions,
  verification: Promise<ResumeFailure | undefined>,
  folder: string,
  call: DriverCall,
): Promise<{ readonly started: SuspendedVm; readonly failure: ResumeFailure | undefined }> {
  const toConfig = (suspended: typeof vm) => ({
    ...toQemuConfig(suspended),
    incomingCommand: decompressCommand(suspended.snapshot),
  });
  const { started, failureLines } = await startOnFreePorts(program, vm, toConfig, options, folder, call);
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
