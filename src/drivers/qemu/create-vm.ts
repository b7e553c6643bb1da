import { join } from 'node:path';
import { SlipwayError } from '../../errors.ts';
import type { Image } from '../../images/image.ts';
import { openImageStore } from '../../images/image-store.ts';
import type { DriverCall, FirstBootConfig, Target } from '../contract.ts';
import { VM_FILES } from './command-line.ts';
import { GIB, createOverlayDisk, readVirtualSize, requireFreeSpace } from './disk.ts';
import type { QemuOptions } from './options.ts';
import { choosePorts } from './ports.ts';
import { ensureImage } from './vm-image.ts';
import { writeVm } from './vm-record.ts';
import type { Vm } from './vm.ts';

/** Creates the disk and the record of a VM in its folder, and starts nothing. The caller writes the seed's disk. */
export async function createVm(
  folder: string,
  target: Target<QemuOptions>,
  boot: FirstBootConfig,
  seedId: string,
  call: DriverCall,
): Promise<Vm> {
  const { options } = target;
  const { computer } = call;
  const images = openImageStore(computer.home);
  const image = await ensureImage(options, call);
  // Held until the record shows that the image is in use: until then another command could remove it.
  await using _lock = await images.lock(image, call);
  await images.verify(image, call);
  await requireFreeSpace(folder);
  const { folder: imageFolder, disk: base } = images.paths(image);
  await requireDiskSize(options.disk, base, image);
  await createOverlayDisk(join(folder, VM_FILES.disk), base, options.disk, call);
  const { ports, monitorPort } = await choosePorts(target.id, options, computer);
  const vm: Vm = {
    id: target.id,
    name: target.name,
    ...(computer.storeHome === undefined ? {} : { storeHome: computer.storeHome }),
    imageDigest: image.digest,
    imageFolder,
    root: image.root,
    arch: image.arch,
    cpus: options.cpus,
    memory: options.memory,
    user: options.sshUser,
    ports,
    enginePort: boot.enginePort,
    seedId,
    seedApplied: false,
    ...(computer.platform === 'win32' ? { monitorPort } : {}),
  };
  await writeVm(folder, vm);
  return vm;
}

async function requireDiskSize(gigabytes: number, base: string, image: Image): Promise<void> {
  const minimum = Math.ceil((await readVirtualSize(base)) / GIB);
  if (gigabytes >= minimum) return;
  throw new SlipwayError(
    'USAGE',
    `--qemu-disk must be at least ${minimum} for the image ${image.name}, got ${gigabytes}`,
    { hint: `Use a larger disk: --qemu-disk ${minimum}` },
  );
}
