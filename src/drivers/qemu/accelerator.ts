import { access, constants, readFile, stat } from 'node:fs/promises';
import { release } from 'node:os';
import { join } from 'node:path';
import { listFolderIfExists, readFileIfExists, writeFileAtomic } from '../../computer/files.ts';
import { startChildGroup } from '../../computer/child-process.ts';
import type { Computer } from '../../computer/computer.ts';
import { canceledError } from '../../errors.ts';
import { probeArguments, type Accelerator, type QemuConfig } from './command-line.ts';

/** Whether a guest actually ran with an accelerator on this computer, and if not, why. */
export type AcceleratorProbe = { readonly works: true } | { readonly works: false; readonly reason: string };
/** A probe with its time (ISO 8601), as it is cached. Older versions recorded no time. */
type CachedProbe = AcceleratorProbe & { readonly at?: string; readonly hangs?: true };
/**
 * `hangs`: the guest used much processor time and made no progress. `noAnswer`: it made none because it got hardly any
 * time, or that is not known.
 */
type ProbeOutcome = { readonly probe: AcceleratorProbe; readonly kind: 'works' | 'fails' | 'hangs' | 'noAnswer' };
export type AcceleratorChoice = {
  readonly accelerator: Accelerator;
  readonly rejected: readonly { readonly accelerator: Accelerator; readonly reason: string }[];
};

const PROBE_TIMEOUT_SECONDS = 10;
/** A failure may pass: another program uses the accelerator, or a module is loaded later. To try again is quick. */
const FAILURE_MINUTES = 10;
/** To try again with a guest that hangs takes the whole timeout. */
const HANG_MINUTES = 24 * 60;
/** A guest that runs prints its line after less than a second of processor time. */
const HANG_PROCESSOR_SECONDS = 2;
/** The unit of times in /proc, on every Linux. */
const TICKS_PER_SECOND = 100;
/** One probe for each image, QEMU and kernel that are in use. */
const MAX_CACHED_PROBES = 20;
/** Results that are no answer: they are kept only until this command ends, which asks several times. */
const timeouts = new Map<string, AcceleratorProbe>();

/** Returns the accelerator of a system that is faster than software emulation. No system has more than one. */
export function hardwareAccelerator(platform: NodeJS.Platform): Accelerator | undefined {
  return ({ linux: 'kvm', darwin: 'hvf', win32: 'whpx' } as const)[platform as 'linux' | 'darwin' | 'win32'];
}

/**
 * Chooses the system's hardware acceleration if a guest actually runs with it, else software emulation. That an
 * accelerator exists proves nothing: some can be opened and then hang the guest. So this boots the guest's kernel for a
 * second or two, and keeps a success until QEMU, the kernel of this computer or the image changes. A failure is tried
 * again after a while, and what was no answer, by the next command.
 */
export async function chooseAccelerator(
  program: string,
  guest: Pick<QemuConfig, 'arch' | 'kernel' | 'initrd'>,
  kernelDigest: string,
  { computer, signal }: { readonly computer: Computer; readonly signal: AbortSignal },
): Promise<AcceleratorChoice> {
  const accelerator = hardwareAccelerator(computer.platform);
  if (accelerator === undefined) return { accelerator: 'tcg', rejected: [] };
  const key = [
    accelerator,
    program,
    (await stat(program)).mtimeMs,
    release(),
    await checkDeviceAccess(accelerator),
    kernelDigest,
  ].join(' ');
  const cached = (await readProbeCache(computer))[key];
  const known = cached && isValidProbe(cached, new Date()) ? cached : timeouts.get(key);
  const probe = known ?? (await probeAndKeep(key, program, { ...guest, accelerator }, computer, signal));
  return probe.works
    ? { accelerator, rejected: [] }
    : { accelerator: 'tcg', rejected: [{ accelerator, reason: probe.reason }] };
}

/** Returns the result of the last probe on this computer, for `doctor`; undefined if there was none yet. */
export async function readLastProbe(computer: Computer): Promise<AcceleratorProbe | undefined> {
  const [last] = sortNewestFirst(Object.entries(await readProbeCache(computer)));
  if (!last) return undefined;
  const { at: _at, hangs: _hangs, ...probe } = last[1];
  return probe;
}

/** Pure. Returns whether a cached probe still counts. */
function isValidProbe({ works, at = '', hangs }: CachedProbe, now: Date): boolean {
  const minutes = hangs ? HANG_MINUTES : FAILURE_MINUTES;
  return works || now.getTime() - Date.parse(at) < minutes * 60_000;
}

function sortNewestFirst(probes: readonly [string, CachedProbe][]): readonly [string, CachedProbe][] {
  return probes.toSorted(([, left], [, right]) => (right.at ?? '').localeCompare(left.at ?? ''));
}

async function probeAndKeep(
  key: string,
  program: string,
  guest: ProbeGuest,
  computer: Computer,
  signal: AbortSignal,
): Promise<AcceleratorProbe> {
  const { probe, kind } = await runProbe(program, guest, computer, signal);
  if (kind === 'noAnswer') {
    timeouts.set(key, probe);
    return probe;
  }
  const others = Object.entries(await readProbeCache(computer)).filter(([other]) => other !== key);
  const kept = sortNewestFirst([
    [key, { ...probe, at: new Date().toISOString(), ...(kind === 'hangs' ? { hangs: true as const } : {}) }],
    ...others,
  ]);
  const content = Object.fromEntries(kept.slice(0, MAX_CACHED_PROBES));
  await writeFileAtomic(probeCacheFile(computer), `${JSON.stringify(content, null, 2)}\n`, 0o600);
  return probe;
}

function probeCacheFile({ home }: Computer): string {
  return join(home, 'accelerator.json');
}

async function readProbeCache(computer: Computer): Promise<Readonly<Record<string, CachedProbe>>> {
  const text = await readFileIfExists(probeCacheFile(computer));
  try {
    const probes = JSON.parse(text ?? '{}') as unknown;
    return typeof probes === 'object' && probes !== null ? (probes as Record<string, CachedProbe>) : {};
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
): Promise<ProbeOutcome> {
  if (guest.accelerator === 'kvm' && (await checkDeviceAccess('kvm')) === 'closed')
    return {
      probe: { works: false, reason: '/dev/kvm does not exist, or you have no access to it' },
      kind: 'fails',
    };
  if (signal.aborted) throw canceledError();
  return new Promise((resolve, reject) => {
    const group = startChildGroup(program, probeArguments(guest), { computer, purpose: { maker: true } });
    let output = '';
    const stop = (): void => {
      clearTimeout(timer);
      signal.removeEventListener('abort', cancel);
      group.kill('SIGKILL');
    };
    const finish = (probe: AcceleratorProbe, kind: ProbeOutcome['kind'] = probe.works ? 'works' : 'fails'): void => {
      stop();
      resolve({ probe, kind });
    };
    const giveUp = async (): Promise<void> => {
      const seconds = await readGroupProcessorSeconds(group.child.pid);
      const kind = seconds >= HANG_PROCESSOR_SECONDS ? 'hangs' : 'noAnswer';
      finish({ works: false, reason: `a guest made no progress in ${PROBE_TIMEOUT_SECONDS} seconds` }, kind);
    };
    const cancel = (): void => {
      stop();
      reject(canceledError());
    };
    const timer = setTimeout(() => void giveUp(), PROBE_TIMEOUT_SECONDS * 1000);
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

/** Returns the processor time that a process group has used; 0 where the system has no /proc. */
async function readGroupProcessorSeconds(group: number | undefined): Promise<number> {
  const pids = (await listFolderIfExists('/proc').catch(() => [])).filter((name) => /^\d+$/.test(name));
  const ticks = await Promise.all(
    pids.map(async (pid) => {
      const text = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '');
      // The second field is the command in parentheses, and can contain spaces and parentheses.
      const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
      const [processGroup, user, system] = [fields[2], fields[11], fields[12]];
      return group !== undefined && Number(processGroup) === group ? Number(user) + Number(system) : 0;
    }),
  );
  return ticks.reduce((sum, count) => sum + count, 0) / TICKS_PER_SECOND;
}

/** Returns QEMU's last line about itself, without the names of its program and source files. */
function lastErrorLine(output: string): string {
  const lines = output.trim().split('\n');
  const last = lines.findLast((line) => line.includes('qemu')) ?? 'QEMU exited at once';
  const failedFunction = /: (\w+): Assertion .* failed/.exec(last)?.[1];
  return failedFunction === undefined ? last.replace(/^\S*qemu-system-\S+: /, '') : `QEMU crashes in ${failedFunction}`;
}
