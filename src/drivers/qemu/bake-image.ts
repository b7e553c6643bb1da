import { cp, mkdir, open, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { parseTar } from 'nanotar';
import { localFileError } from '../../computer/files.ts';
import { runChild, type ChildResult } from '../../computer/child-process.ts';
import { SlipwayError } from '../../errors.ts';
import { archOf } from '../../images/image.ts';
import type { DriverCall } from '../contract.ts';
import { hardwareAccelerator, readLastProbe } from './accelerator.ts';
import { bakeArguments, type Accelerator } from './command-line.ts';
import { stripTerminalSequences, parseBootResult, type BootResult } from './console.ts';
import { qemuImgProgram, requireProgramPath, qemuSystemProgram } from './required-programs.ts';

/** The disk that a vendor's image has at least while the engine is installed into it. */
const MIN_DISK_GIB = 8;
const OUTPUT_DISK_MIB = 256;
const RUN_TIMEOUT_MINUTES = 40;
/** So long a guest may say nothing with hardware acceleration: some that does not work hangs behind the boot loader's first words. */
const CONSOLE_SILENCE_SECONDS = 90;

export type BakedImage = { readonly root: string; readonly engine: string };

/**
 * Makes an image of a vendor's cloud image: starts it once with a NoCloud seed, which installs the engine and hands out the
 * kernel and an initial RAM disk; then it is an image like those built here. All in `folder`; a stop leaves nothing else.
 */
export async function bakeImage(base: string, folder: string, call: DriverCall): Promise<BakedImage> {
  const { computer, log } = call;
  const arch = archOf(computer);
  const [tool, emulator] = [
    await requireProgramPath(qemuImgProgram, computer),
    await requireProgramPath(qemuSystemProgram(arch), computer),
  ];
  const work = join(folder, 'work.qcow2');
  const tooled = async (...argv: readonly string[]): Promise<void> =>
    requireQemuImgSuccess(await runChild(tool, argv, { ...call, cwd: folder }));

  await writeNoCloudSeed(join(folder, 'seed'), computer.templates);
  const out = join(folder, 'out.raw');

  let word: GuestRunResult | 'silent' = 'silent';
  for (const accelerator of await listAcceleratorsToTry(call)) {
    log("Copy the vendor's image");
    await tooled('convert', '-O', 'qcow2', base, work);
    await tooled('resize', '-q', work, `${Math.max(MIN_DISK_GIB, await readVirtualSizeGib(tool, work, call))}G`);
    await writeFile(out, '', { mode: 0o600 });
    await truncate(out, OUTPUT_DISK_MIB * 1024 * 1024);
    log(`Start it once, to install the engine (${accelerator})`);
    word = await runGuestOnce(
      emulator,
      bakeArguments({ arch, accelerator, firmware: findFirmware(arch) }),
      folder,
      accelerator,
      call,
    );
    if (word !== 'silent') break;
  }
  if (word === 'silent') throw bakeError('no accelerator runs it here', []);
  if (!word.ready) throw bakeError(word.reason, word.consoleLines ?? []);

  log('Pack the disk');
  await tooled('convert', '-O', 'qcow2', work, join(folder, 'disk.qcow2'));
  const about = await unpackBakeOutput(out, folder);
  await Promise.all([work, out, join(folder, 'seed')].map((path) => rm(path, { recursive: true, force: true })));
  return about;
}

/** NoCloud's two files, and beside them what they run; QEMU shows the folder as a FAT disk. */
async function writeNoCloudSeed(seed: string, templates: string): Promise<void> {
  await mkdir(seed, { recursive: true, mode: 0o700 });
  await cp(join(templates, 'image'), seed, { recursive: true });
  await writeFile(join(seed, 'meta-data'), 'instance-id: slipway-bake\nlocal-hostname: bake\n');
  await cp(join(templates, 'image', 'bake.user-data'), join(seed, 'user-data'));
}

async function listAcceleratorsToTry({ computer }: DriverCall): Promise<readonly Accelerator[]> {
  const fast = hardwareAccelerator(computer.platform);
  const trial = await readLastProbe(computer);
  return fast === undefined || trial?.works === false ? ['tcg'] : [fast, 'tcg'];
}

/** Debian keeps the firmware of ARM machines in a package of its own; elsewhere it comes with QEMU. */
function findFirmware(arch: 'amd64' | 'arm64'): string | undefined {
  if (arch === 'amd64') return undefined;
  const debian = '/usr/share/qemu-efi-aarch64/QEMU_EFI.fd';
  return existsSync(debian) ? debian : 'edk2-aarch64-code.fd';
}

type GuestRunResult = BootResult & { readonly consoleLines?: readonly string[] };

/** Until the guest stops by itself, with its last word; `silent` where an accelerator does not carry it. */
export async function runGuestOnce(
  emulator: string,
  argv: readonly string[],
  folder: string,
  accelerator: Accelerator,
  call: DriverCall,
): Promise<GuestRunResult | 'silent'> {
  let console = '';
  const limit = new AbortController();
  const silence = setTimeout(() => limit.abort('silent'), CONSOLE_SILENCE_SECONDS * 1000);
  const whole = setTimeout(() => limit.abort('late'), RUN_TIMEOUT_MINUTES * 60_000);
  if (accelerator === 'tcg') clearTimeout(silence);
  const lines = (): readonly string[] => stripTerminalSequences(console).split('\n').filter(Boolean).slice(-12);
  try {
    const { code } = await runChild(emulator, argv, {
      ...call,
      cwd: folder,
      signal: AbortSignal.any([call.signal, limit.signal]),
      log: (line) => {
        if (accelerator !== 'tcg') silence.refresh();
        console += `${line}\n`;
        call.log(stripTerminalSequences(line));
      },
    });
    const word = parseBootResult(console);
    if (word) return { ...word, consoleLines: lines() };
    // A QEMU that gives its hardware acceleration up ends at once.
    if (accelerator !== 'tcg') return 'silent';
    return { ready: false, reason: `QEMU ended with exit status ${code}`, consoleLines: lines() };
  } catch (error) {
    if (call.signal.aborted || !limit.signal.aborted) throw error;
    if (limit.signal.reason === 'silent') return 'silent';
    return { ready: false, reason: `it was not done after ${RUN_TIMEOUT_MINUTES} minutes`, consoleLines: lines() };
  } finally {
    clearTimeout(silence);
    clearTimeout(whole);
  }
}

/** The tar that the guest wrote on its second disk. */
async function unpackBakeOutput(out: string, folder: string): Promise<BakedImage> {
  const files = new Map(parseTar(await readFile(out)).map((file) => [file.name.replace(/^\.\//, ''), file]));
  const text = (name: string): string => (files.get(name)?.text ?? '').trim();
  for (const name of ['vmlinuz', 'initrd']) {
    const data = files.get(name)?.data;
    if (data === undefined || data.length === 0) throw bakeError(`it handed out no ${name}`, []);
    const handle = await open(join(folder, name), 'w', 0o600);
    try {
      await handle.writeFile(data);
    } catch (error) {
      throw localFileError(join(folder, name), error);
    } finally {
      await handle.close();
    }
  }
  return { root: text('root'), engine: text('engine') };
}

async function readVirtualSizeGib(tool: string, disk: string, call: DriverCall): Promise<number> {
  const { lines } = await runChild(tool, ['info', '--output=json', disk], { ...call, log: () => {} });
  const { 'virtual-size': bytes } = JSON.parse(lines.join('\n')) as { readonly 'virtual-size': number };
  return Math.ceil(bytes / 1024 ** 3);
}

function requireQemuImgSuccess({ code, lines }: ChildResult): void {
  if (code !== 0) throw bakeError('qemu-img failed', lines);
}

function bakeError(reason: string, lines: readonly string[]): SlipwayError {
  return new SlipwayError('IMAGE_BUILD', `The engine could not be installed into the cloud image: ${reason}`, {
    hint: 'Mend that, then run the same command again: the download is kept, nothing half made is left',
    detail: lines,
  });
}
