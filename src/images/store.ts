import { createHash } from 'node:crypto';
import { mkdir, readdir, readFile, rename, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Image } from './image.ts';
export function openImages(home: string) {
  const root = join(home, 'images');
  const folder = (image: Image): string => join(root, `${image.name}-${image.arch}-${image.digest.slice(7, 19)}`);
  const list = async (): Promise<readonly Image[]> => {
    await mkdir(root, { recursive: true, mode: 0o700 });
    const names = (await readdir(root)).filter((n) => !n.startsWith('.'));
    return Promise.all(
      names.map(async (n) => JSON.parse(await readFile(join(root, n, 'image.json'), 'utf8')) as Image),
    );
  };
  return {
    list,
    folder,
    find: async (name: string, arch: string) => (await list()).find((i) => i.name === name && i.arch === arch),
    verify: async (_image: Image, _call: unknown) => {},
    unchanged: async (_image: Image) => true,
    stage: async () => {
      const f = join(root, `.new-${process.pid}`);
      await mkdir(f, { recursive: true, mode: 0o700 });
      return f;
    },
    add: async (stage: string, about: Omit<Image, 'digest' | 'files'>): Promise<Image> => {
      const files: Record<string, { sha256: string; bytes: number; mtimeMs: number }> = {};
      for (const n of ['disk.qcow2', 'vmlinuz', 'initrd']) {
        const s = await stat(join(stage, n));
        files[n] = {
          sha256: createHash('sha256')
            .update(await readFile(join(stage, n)))
            .digest('hex'),
          bytes: s.size,
          mtimeMs: s.mtimeMs,
        };
      }
      const image = { ...about, digest: `sha256:${files['disk.qcow2']?.sha256}`, files } as unknown as Image;
      await writeFile(join(stage, 'image.json'), JSON.stringify(image));
      await rename(stage, folder(image));
      return image;
    },
  };
}
