import { createHash } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Image } from '../../src/images/image.ts';
import type { ImageStore } from '../../src/images/image-store.ts';

export const imageMetadata = (more: Partial<Image> = {}): Omit<Image, 'digest' | 'files'> => ({
  version: 1,
  name: 'debian-13',
  arch: 'amd64',
  root: '/dev/vda',
  engine: '28.5.2',
  made: '2026-02-03T04:05:06.000Z',
  source: { kind: 'built', suite: 'trixie' },
  ...more,
});

export const sha256 = (content: string): string => createHash('sha256').update(content).digest('hex');

/** Writes what an image builder leaves in its folder. */
export async function fillStage(folder: string, disk = 'disk'): Promise<void> {
  await writeFile(join(folder, 'disk.qcow2'), disk);
  await writeFile(join(folder, 'vmlinuz'), 'kernel');
  await writeFile(join(folder, 'initrd'), 'initrd');
}

export async function addImage(images: ImageStore, more: Partial<Image> = {}, disk = 'disk'): Promise<Image> {
  await using stage = await images.createStagingFolder();
  await fillStage(stage.folder, disk);
  return await images.add(stage, imageMetadata(more));
}
