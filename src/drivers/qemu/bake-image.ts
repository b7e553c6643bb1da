import { existsSync } from 'node:fs';
import { cp, mkdir, open, readFile, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseTar } from 'nanotar';
import { deleteFolder, localFileError } from '../../computer/files.ts';
import { runChild } from '../../computer/child-process.ts';
import { SlipwayError } from '../../errors.ts';
import type { Arch } from '../../images/image.ts';
import type { DriverCall } from '../contract.ts';
import { hardwareAccelerator, readLastProbe } from './accelerator.ts';
import { isForeignArch } from './guest-arch.ts';
import { requireBootLoader } from './boot-loader.ts';
import { bakeArguments, type Accelerator } from './command-line.ts';
import { parseBootResult, stripTerminalSequences, type BootResult } from './console.ts';
import { qemuImgProgram, requireProgramPath, qemuSystemProgram } from './required-programs.ts';

/** The minimum size of a vendor's disk while the engine is installed on it. */
const MIN_DISK_GIB = 8;
const OUTPUT_DISK_MIB = 256;
const RUN_TIMEOUT_MINUTES = 40;
/**
 * How long a guest with hardware acceleration may be silent: with acceleration that does not work, some hang after the
 * boot loader.
 */
const CONSOLE_SILENCE_SECONDS = 90;
const CONSOLE_LINES_IN_ERROR = 12;

/** The kernel's `root=` for an image, and the version of the engine in it. */
export type BakedImage = { readonly root: string; readonly engine: string };

/**
 * Turns a vendor's cloud image into one of Slipway's: starts it once with a NoCloud seed, whose script installs the
 * engine and exports the kernel and an initial RAM disk. Writes files only in `folder`, so that an interruption leaves
 * none elsewhere.
 */
export async function bakeImage(base: string, arch: Arch, folder: string, call: DriverCall): Promise<BakedImage> {
  const { computer, log } = call;
  const qemuImg = await requireProgramPath(qemuImgProgram, computer);
  const emulator = await requireProgramPath(qemuSystemProgram(arch), computer);
  const runQemuImg = async (...argv: readonly string[]): Promise<void> => {
    const { code, lines } = await runChild(qemuImg, argv, { ...call, cwd: folder, purpose: { maker: true } });
    if (code !== 0) throw bakeError(`qemu-img ${argv[0]} failed`, lines);
  };
  const [work, output, seed] = [join(folder, 'work.qcow2'), join(folder, 'out.raw'), join(folder, 'seed')];
  await requireBootLoader(base, arch, folder, runQemuImg);
  await writeNoCloudSeed(seed, computer.templates);

  let result: GuestRunResult | 'silent' = 'silent';
  for (const accelerator of await listAcceleratorsToTry(arch, call)) {
    log("Copy the vendor's image");
    await runQemuImg('convert', '-O', 'qcow2', base, work);
    const size = Math.max(MIN_DISK_GIB, await readVirtualSizeGib(qemuImg, work, call));
    await runQemuImg('resize', '-q', work, `${size}G`);
    await writeFile(output, '', { mode: 0o600 });
    await truncate(output, OUTPUT_DISK_MIB * 1024 * 1024);
    log(`Start it once to install the engine (${accelerator})`);
    const argv = bakeArguments({ arch, accelerator, firmware: findFirmware(arch) });
    result = await runGuestOnce(emulator, argv, folder, accelerator, call);
    if (result !== 'silent') break;
  }
  if (result === 'silent') throw bakeError('it does not run with any accelerator of this computer', []);
  if (!result.ready) throw bakeError(result.reason, result.consoleLines ?? []);

  log('Compress the disk');
  await runQemuImg('convert', '-O', 'qcow2', work, join(folder, 'disk.qcow2'));
  const image = await unpackBakeOutput(output, folder);
  await Promise.all([work, output, seed].map((path) => deleteFolder(path)));
  return image;
}

/** Writes NoCloud's two files and the scripts that they run. QEMU shows the folder to the guest as a FAT disk. */
async function writeNoCloudSeed(seed: string, templates: string): Promise<void> {
  await mkdir(seed, { recursive: true, mode: 0o700 });
  await cp(join(templates, 'image'), seed, { recursive: true });
  await writeFile(join(seed, 'meta-data'), 'instance-id: slipway-bake\nlocal-hostname: bake\n');
  await cp(join(templates, 'image', 'bake.user-data'), join(seed, 'user-data'));
}

async function listAcceleratorsToTry(arch: Arch, { computer }: DriverCall): Promise<readonly Accelerator[]> {
  if (isForeignArch(arch, computer)) return ['tcg'];
  const fast = hardwareAccelerator(computer.platform);
  const probe = await readLastProbe(computer);
  return fast === undefined || probe?.works === false ? ['tcg'] : [fast, 'tcg'];
}

/** Returns the firmware of an ARM machine. Debian has it in a package of its own; elsewhere QEMU includes it. */
function findFirmware(arch: Arch): string | undefined {
  if (arch === 'amd64') return undefined;
  const debianFirmware = '/usr/share/qemu-efi-aarch64/QEMU_EFI.fd';
  return existsSync(debianFirmware) ? debianFirmware : 'edk2-aarch64-code.fd';
}

type GuestRunResult = BootResult & { readonly consoleLines?: readonly string[] };

/**
 * Runs a guest until it powers off, and returns the result on its console; `silent` if it does not run with this
 * accelerator.
 */
export async function runGuestOnce(
  emulator: string,
  argv: readonly string[],
  folder: string,
  accelerator: Accelerator,
  call: DriverCall,
): Promise<GuestRunResult | 'silent'> {
  let console = '';
  const timeout = new AbortController();
  const silenceTimer = setTimeout(() => timeout.abort('silent'), CONSOLE_SILENCE_SECONDS * 1000);
  const runTimer = setTimeout(() => timeout.abort('late'), RUN_TIMEOUT_MINUTES * 60_000);
  if (accelerator === 'tcg') clearTimeout(silenceTimer);
  const failure = (reason: string): GuestRunResult => ({ ready: false, reason, consoleLines: lastLinesOf(console) });
  try {
    const { code } = await runChild(emulator, argv, {
      ...call,
      cwd: folder,
      purpose: { maker: true, files: [folder] },
      signal: AbortSignal.any([call.signal, timeout.signal]),
      log: (line) => {
        if (accelerator !== 'tcg') silenceTimer.refresh();
        console += `${line}\n`;
        call.log(stripTerminalSequences(line));
      },
    });
    const result = parseBootResult(console);
    if (result) return { ...result, consoleLines: lastLinesOf(console) };
    // If hardware acceleration does not work, QEMU may also exit at once.
    return accelerator === 'tcg' ? failure(`QEMU exited with status ${code}`) : 'silent';
  } catch (error) {
    if (call.signal.aborted || !timeout.signal.aborted) throw error;
    if (timeout.signal.reason === 'silent') return 'silent';
    return failure(`it did not finish within ${RUN_TIMEOUT_MINUTES} minutes`);
  } finally {
    clearTimeout(silenceTimer);
    clearTimeout(runTimer);
  }
}

function lastLinesOf(console: string): readonly string[] {
  return stripTerminalSequences(console).split('\n').filter(Boolean).slice(-CONSOLE_LINES_IN_ERROR);
}

/** Unpacks the tar that the guest wrote to its second disk. */
async function unpackBakeOutput(output: string, folder: string): Promise<BakedImage> {
  const files = new Map(parseTar(await readFile(output)).map((file) => [file.name.replace(/^\.\//, ''), file]));
  const textOf = (name: string): string => (files.get(name)?.text ?? '').trim();
  for (const name of ['vmlinuz', 'initrd']) {
    const data = files.get(name)?.data;
    if (data === undefined || data.length === 0) throw bakeError(`the guest exported no ${name}`, []);
    const handle = await open(join(folder, name), 'w', 0o600);
    try {
      await handle.writeFile(data);
    } catch (error) {
      throw localFileError(join(folder, name), error);
    } finally {
      await handle.close();
    }
  }
  return { root: textOf('root'), engine: textOf('engine') };
}

async function readVirtualSizeGib(qemuImg: string, disk: string, call: DriverCall): Promise<number> {
  const { code, lines } = await runChild(qemuImg, ['info', '--output=json', disk], { ...call, log: () => {} });
  if (code !== 0) throw bakeError('qemu-img info failed', lines);
  const { 'virtual-size': bytes } = JSON.parse(lines.join('\n')) as { readonly 'virtual-size': number };
  return Math.ceil(bytes / 1024 ** 3);
}

function bakeError(reason: string, lines: readonly string[]): SlipwayError {
  return new SlipwayError('IMAGE_BUILD', `Could not install the engine into the cloud image: ${reason}`, {
    hint: 'Fix that, then run the same command again. The download is kept; nothing incomplete is left',
    detail: lines,
  });
}
