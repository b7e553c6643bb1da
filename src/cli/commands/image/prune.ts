import { z } from 'zod';
import { imageFolderName, shortDigest } from '../../../images/image.ts';
import { pruneSpares } from '../../../operations/warm-pool.ts';
import { defineCommand, type Command } from '../../command.ts';
import { formatMegabytes } from './ls.ts';
import { removeUnusedImage } from './rm.ts';

const args = z.object({
  all: z.boolean().default(false).meta({ description: 'Also remove images that no machine uses', short: 'a' }),
});

export const imagePrune: Command<typeof args> = defineCommand({
  name: 'image prune',
  summary: 'Remove spares, and what interrupted commands left of spares and images',
  usage: '',
  args,
  details:
    'Also stops the creation of spares that is in progress. The next create starts cold, and leaves a new spare.',
  async run({ args: { all } }, cli) {
    const spares = await pruneSpares(undefined, cli.world);
    await cli.images.removeLeftovers();
    const keys = all ? (await cli.images.list()).map(({ key }) => key) : [];
    const images = [];
    for (const key of keys) {
      if ((await cli.findImageUsers(key)).length > 0) continue;
      await removeUnusedImage(key, cli, { isDryRun: false });
      images.push(key);
    }
    const bytes = spares.reduce((sum, spare) => sum + spare.bytes, 0);
    const lines = [
      `${spares.length} spare machine${spares.length === 1 ? ' is' : 's are'} removed (${formatMegabytes(bytes)})`,
      ...images.map((key) => `${key.name} (${key.arch}, ${shortDigest(key.digest)}) is removed`),
    ];
    return {
      json: { spares, images: images.map((key) => ({ ...key, folder: imageFolderName(key) })) },
      text: lines.join('\n'),
    };
  },
});
