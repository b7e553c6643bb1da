import { z } from 'zod';
import { SlipwayError } from '../../../errors.ts';
import { imageFolderName, shortDigest } from '../../../images/image.ts';
import type { ImageKey } from '../../../images/image-store.ts';
import { pruneSpares } from '../../../operations/warm-pool.ts';
import { formatList } from '../../../machine/options.ts';
import { defineCommand, type Cli, type Command } from '../../command.ts';

const args = z.object({});

export const imageRm: Command<typeof args> = defineCommand({
  name: 'image rm',
  summary: 'Remove local images that no machine uses, by name or digest',
  usage: '<names...>',
  args,
  details: 'The beginning of a digest is enough; image ls prints digests. Spares of an image are removed with it.',
  async run({ positionals }, cli) {
    // A wrong name, or an image in use, stops the command before it removes anything.
    const keys = (await cli.images.list()).map(({ key }) => key);
    const wanted = [...new Set(positionals.map((word) => requireImage(word, keys)))];
    for (const key of wanted) await removeUnusedImage(key, cli, { isDryRun: true });
    for (const key of wanted) await removeUnusedImage(key, cli, { isDryRun: false });
    const lines = wanted.map((key) => `${key.name} (${key.arch}, ${shortDigest(key.digest)}) is removed`);
    return { json: wanted.map((key) => ({ ...key, folder: imageFolderName(key) })), text: lines.join('\n') };
  },
});

function requireImage(word: string, keys: readonly ImageKey[]): ImageKey {
  const named = keys.filter(({ name }) => name === word);
  const hex = word
    .toLowerCase()
    .replace(/^sha256:/, '')
    .slice(0, 12);
  const digested = /^[0-9a-f]{4,}$/.test(hex) ? keys.filter(({ digest }) => shortDigest(digest).startsWith(hex)) : [];
  const found = named.length > 0 ? named : digested;
  const [first] = found;
  if (first === undefined) throw imageMissingError(word, keys);
  if (found.length === 1) return first;
  const digests = found.map(({ digest }) => shortDigest(digest));
  throw new SlipwayError('USAGE', `"${word}" matches ${found.length} images: ${formatList(digests)}`, {
    hint: `Name one by its digest: slipway image rm ${digests[0]}. To list images: slipway image ls`,
  });
}

/** Removes an image that no machine uses, under its lock, so that no machine starts to use it at the same time. */
export async function removeUnusedImage(
  key: ImageKey,
  cli: Cli,
  { isDryRun }: { readonly isDryRun: boolean },
): Promise<void> {
  const { signal, progress } = cli.world;
  await using _lock = await cli.images.lock(key, { signal, note: (text) => progress.note(text) });
  const users = await cli.findImageUsers(key);
  if (users.length === 0 && isDryRun) return;
  // Disks of spares are layers over the image, and no user has these machines yet.
  if (users.length === 0) await pruneSpares(key.digest, cli.world);
  await cli.images.remove(key, users);
}

function imageMissingError(word: string, keys: readonly ImageKey[]): SlipwayError {
  const names = [...new Set(keys.map(({ name }) => name))];
  return new SlipwayError('IMAGE_MISSING', `Image "${word}" does not exist`, {
    hint:
      names.length > 0
        ? `Existing images: ${names.join(', ')}. For details: slipway image ls`
        : 'To create one: slipway image build',
  });
}
