import { existsSync } from 'node:fs';
import { access, constants, stat } from 'node:fs/promises';
import { release } from 'node:os';
import { join } from 'node:path';
import { readFileIfExists, writeFileAtomic } from '../../computer/files.ts';
import { startChildGroup } from '../../computer/child-process.ts';
import type { Computer } from '../../computer/computer.ts';
import { canceledError } from '../../errors.ts';
import { probeArguments, type Accelerator, type QemuConfig } from './command-line.ts';

/** Whether a guest really ran with an accelerator here, and if not, why. */
export type AcceleratorProbe = { readonly works: true } | { readonly works: false; readonly reason: string };
export type AcceleratorChoice = {
  readonly accelerator: Accelerator;
  readonly rejected: readonly { readonly accelerator: Accelerator; readonly reason: string }[];
};

const PROBE_TIMEOUT_SECONDS = 10;
/** Of coreutils or busybox. */
const TIMEOUT_PROGRAM = '/usr/bin/timeout';

/** What is faster than software emulation on this system; it has at most one. */
export function hardwareAccelerator(platform: NodeJS.Platform): Accelerator | undefined {
  return ({ linux: 'kvm', darwin: 'hvf', win32: 'whpx' } as const)[platform as 'linux' | 'darwin' | 'win32'];
}

/**
 * A device that is there proves nothing: some open and then hang the guest. So the kernel that is to run is run, for a second
 * or two, and the outcome kept until QEMU, the kernel of this computer or the image changes.
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
  const known = await readProbeCache(computer);
  const trial = known[key] ?? (await runProbe(program, { ...guest, accelerator }, computer, signal));
  if (!known[key]) await writeFileAtomic(file, `${JSON.stringify({ [key]: trial }, null, 2)}\n`, 0o600);
  return trial.works
    ? { accelerator, rejected: [] }
    : { accelerator: 'tcg', rejected: [{ accelerator, reason: trial.reason }] };
}

/** The last trial on this computer, for `doctor`: undefined where nothing was tried yet. */
export async function readLastProbe(computer: Computer): Promise<AcceleratorProbe | undefined> {
  return Object.values(await readProbeCache(computer))[0];
}

function probeCacheFile({ home }: Computer): string {
  return join(home, 'accelerator.json');
}

async function readProbeCache(computer: Computer): Promise<Readonly<Record<string, AcceleratorProbe>>> {
  const text = await readFileIfExists(probeCacheFile(computer));
  try {
    const trials = JSON.parse(text ?? '{}') as unknown;
    return typeof trials === 'object' && trials !== null ? (trials as Record<string, AcceleratorProbe>) : {};
  } catch {
    // A note that can't be read is one that was not taken.
    return {};
  }
}

/** Rights to the device change without anything else changing. */
async function checkDeviceAccess(accelerator: Accelerator): Promise<string> {
  if (accelerator !== 'kvm') return '';
  const usable = await access('/dev/kvm', constants.R_OK | constants.W_OK).then(
    () => true,
    () => false,
  );
  return usable ? 'usable' : 'closed';
}

async function runProbe(
  program: string,
  guest: Pick<QemuConfig, 'arch' | 'kernel' | 'initrd' | 'accelerator'>,
  computer: Computer,
  signal: AbortSignal,
): Promise<AcceleratorProbe> {
  if (guest.accelerator === 'kvm' && (await checkDeviceAccess('kvm')) === 'closed')
    return { works: false, reason: '/dev/kvm is missing or not yours to open' };
  if (signal.aborted) throw canceledError();
  return new Promise((resolve, reject) => {
    const [file, ...argv] = withHardTimeout([program, ...probeArguments(guest)]);
    const group = startChildGroup(file, argv, { computer });
    let output = '';
    const done = (trial: AcceleratorProbe): void => {
      clearTimeout(timer);
      signal.removeEventListener('abort', abort);
      group.kill('SIGKILL');
      resolve(trial);
    };
    const abort = (): void => {
      group.kill('SIGKILL');
      clearTimeout(timer);
      reject(canceledError());
    };
    const timer = setTimeout(
      () => done({ works: false, reason: `a guest made no progress in ${PROBE_TIMEOUT_SECONDS} seconds` }),
      PROBE_TIMEOUT_SECONDS * 1000,
    );
    signal.addEventListener('abort', abort, { once: true });
    for (const stream of [group.stdout, group.stderr]) {
      stream.setEncoding('utf8').on('data', (text: string) => {
        output += text;
        if (output.includes('slipway: alive')) done({ works: true });
      });
    }
    group.child.once('error', (error) => done({ works: false, reason: error.message }));
    group.child.once('close', () => done({ works: false, reason: lastErrorLine(output) }));
  });
}

/** A guest that hangs does so for ever, also when we are killed meanwhile: then its end comes by a program that waits with it. */
function withHardTimeout(command: readonly [string, ...string[]]): readonly [string, ...string[]] {
  return existsSync(TIMEOUT_PROGRAM)
    ? [TIMEOUT_PROGRAM, '-s', 'KILL', String(PROBE_TIMEOUT_SECONDS + 5), ...command]
    : command;
}

/** What QEMU said of itself at the end, without its name and its sources' file names. */
function lastErrorLine(output: string): string {
  const last =
    output
      .trim()
      .split('\n')
      .findLast((line) => line.includes('qemu')) ?? 'QEMU ended at once';
  const failed = /: (\w+): Assertion .* failed/.exec(last)?.[1];
  return failed === undefined ? last.replace(/^\S*qemu-system-\S+: /, '') : `QEMU stops in ${failed}`;
}
