import { existsSync } from 'node:fs';
import { access, constants, stat } from 'node:fs/promises';
import { release } from 'node:os';
import { join } from 'node:path';
import { readFileIfExists, writeFileAtomic } from '../../computer/files.ts';
import { startChildGroup } from '../../computer/child-process.ts';
import type { Computer } from '../../computer/computer.ts';
import { canceledError } from '../../errors.ts';
import { probeArguments, type Accelerator, type QemuConfig } from './command-line.ts';

/** Whether a guest actually ran with an accelerator on this computer, and if not, why. */
export type AcceleratorProbe = { readonly works: true } | { readonly works: false; readonly reason: string };
export type AcceleratorChoice = {
  readonly accelerator: Accelerator;
  readonly rejected: readonly { readonly accelerator: Accelerator; readonly reason: string }[];
};

const PROBE_TIMEOUT_SECONDS = 10;
/** A program of coreutils or busybox. */
const TIMEOUT_PROGRAM = '/usr/bin/timeout';

/** Returns the accelerator of a system that is faster than software emulation. No system has more than one. */
export function hardwareAccelerator(platform: NodeJS.Platform): Accelerator | undefined {
  return ({ linux: 'kvm', darwin: 'hvf', win32: 'whpx' } as const)[platform as 'linux' | 'darwin' | 'win32'];
}

/**
 * Chooses the system's hardware acceleration if a guest actually runs with it, else software emulation. That an
 * accelerator exists proves nothing: some can be opened and then hang the guest. So this boots the guest's kernel for a
 * second or two, and keeps the result until QEMU, the kernel of this computer or the image changes.
 */
export async function chooseAccelerator(
  program: string,
  guest: Pick<QemuConfig, 'arch' | 'kernel' | 'initrd'>,
  kernelDigest: string,
  { computer, signal }: { readonly computer: Computer; readonly signal: AbortSignal },
): Promise<AcceleratorChoice> {
  const accelerator = hardwareAccelerator(computer.platform);
  if (accelerator === undefined) return { accelerator: 'tcg', rejected: [] };
  const file = probeCacheFile(computer);
  const key = [
    accelerator,
    program,
    (await stat(program)).mtimeMs,
    release(),
    await checkDeviceAccess(accelerator),
    kernelDigest,
  ].join(' ');
  const cached = (await readProbeCache(computer))[key];
  const probe = cached ?? (await runProbe(program, { ...guest, accelerator }, computer, signal));
  if (!cached) await writeFileAtomic(file, `${JSON.stringify({ [key]: probe }, null, 2)}\n`, 0o600);
  return probe.works
    ? { accelerator, rejected: [] }
    : { accelerator: 'tcg', rejected: [{ accelerator, reason: probe.reason }] };
}

/** Returns the result of the last probe on this computer, for `doctor`; undefined if there was none yet. */
export async function readLastProbe(computer: Computer): Promise<AcceleratorProbe | undefined> {
  return Object.values(await readProbeCache(computer))[0];
}

function probeCacheFile({ home }: Computer): string {
  return join(home, 'accelerator.json');
}

async function readProbeCache(computer: Computer): Promise<Readonly<Record<string, AcceleratorProbe>>> {
  const text = await readFileIfExists(probeCacheFile(computer));
  try {
    const probes = JSON.parse(text ?? '{}') as unknown;
    return typeof probes === 'object' && probes !== null ? (probes as Record<string, AcceleratorProbe>) : {};
  } catch {
    // A cache that can't be read counts as empty.
    return {};
  }
}

/**
 * Returns whether this user can access the accelerator's device, as a part of the cache's key: the access can change
 * while nothing else does.
 */
async function checkDeviceAccess(accelerator: Accelerator): Promise<string> {
  if (accelerator !== 'kvm') return '';
  const usable = await access('/dev/kvm', constants.R_OK | constants.W_OK).then(
    () => true,
    () => false,
  );
  return usable ? 'usable' : 'closed';
}

type ProbeGuest = Pick<QemuConfig, 'arch' | 'kernel' | 'initrd' | 'accelerator'>;

/**
 * Boots the guest's kernel and initial RAM disk until they report that they run, QEMU exits, or the timeout expires.
 */
async function runProbe(
  program: string,
  guest: ProbeGuest,
  computer: Computer,
  signal: AbortSignal,
): Promise<AcceleratorProbe> {
  if (guest.accelerator === 'kvm' && (await checkDeviceAccess('kvm')) === 'closed')
    return { works: false, reason: '/dev/kvm does not exist, or you have no access to it' };
  if (signal.aborted) throw canceledError();
  return new Promise((resolve, reject) => {
    const [file, ...argv] = withHardTimeout([program, ...probeArguments(guest)], computer);
    const group = startChildGroup(file, argv, { computer, purpose: { maker: true } });
    let output = '';
    const stop = (): void => {
      clearTimeout(timer);
      signal.removeEventListener('abort', cancel);
      group.kill('SIGKILL');
    };
    const finish = (probe: AcceleratorProbe): void => {
      stop();
      resolve(probe);
    };
    const cancel = (): void => {
      stop();
      reject(canceledError());
    };
    const timer = setTimeout(
      () => finish({ works: false, reason: `a guest made no progress in ${PROBE_TIMEOUT_SECONDS} seconds` }),
      PROBE_TIMEOUT_SECONDS * 1000,
    );
    signal.addEventListener('abort', cancel, { once: true });
    for (const stream of [group.stdout, group.stderr]) {
      stream.setEncoding('utf8').on('data', (text: string) => {
        output += text;
        if (output.includes('slipway: alive')) finish({ works: true });
      });
    }
    group.child.once('error', (error) => finish({ works: false, reason: error.message }));
    group.child.once('close', () => finish({ works: false, reason: lastErrorLine(output) }));
  });
}

/** Runs QEMU under `timeout` if that exists: a guest that hangs would run forever if this process were killed. */
function withHardTimeout(
  command: readonly [string, ...string[]],
  { platform }: Computer,
): readonly [string, ...string[]] {
  return platform !== 'win32' && existsSync(TIMEOUT_PROGRAM)
    ? [TIMEOUT_PROGRAM, '-s', 'KILL', String(PROBE_TIMEOUT_SECONDS + 5), ...command]
    : command;
}

/** Returns QEMU's last line about itself, without the names of its program and source files. */
function lastErrorLine(output: string): string {
  const lines = output.trim().split('\n');
  const last = lines.findLast((line) => line.includes('qemu')) ?? 'QEMU exited at once';
  const failedFunction = /: (\w+): Assertion .* failed/.exec(last)?.[1];
  return failedFunction === undefined ? last.replace(/^\S*qemu-system-\S+: /, '') : `QEMU crashes in ${failedFunction}`;
}
