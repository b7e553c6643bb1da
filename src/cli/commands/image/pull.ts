import { z } from 'zod';
import { SlipwayError } from '../../../errors.ts';
import { defaultImageName, requireKnownImage } from '../../../images/catalog.ts';
import { parseDigest } from '../../../images/digest.ts';
import { archOf, invalidImageNameError, isImageName, imageNameFor } from '../../../images/image.ts';
import { getOrMakeImage, type ImageMakeRequest } from '../../../images/get-or-make-image.ts';
import { parseImageReference } from '../../../images/image-reference.ts';
import { defineCommand, type Command } from '../../command.ts';
import { imageResult, imageBuildContext } from './build.ts';

const args = z.object({
  arch: z.enum(['amd64', 'arm64']).optional().meta({ description: "Architecture, where it is not this computer's" }),
  force: z.boolean().default(false).meta({ description: 'Make it anew although one is here', short: 'f' }),
  url: z
    .string()
    .optional()
    .meta({ description: "URL or path of a cloud image (qcow2), instead of the vendor's", value: 'url' }),
  digest: z.string().optional().meta({ description: 'What --url must hold: sha512:… or sha256:…', value: 'digest' }),
});

export const imagePull: Command<typeof args> = defineCommand({
  name: 'image pull',
  summary: "Make a local image of a vendor's cloud image, which is downloaded and checked",
  usage: '[name]',
  args,
  details: 'What was interrupted goes on where it stopped.',
  async run({ positionals: [name], args: given }, cli) {
    const source = parseSource(given);
    const wanted =
      name ?? (source ? imageNameFor(new URL(source.url, 'file:///').pathname, source.digest) : defaultImageName);
    if (!isImageName(wanted)) throw invalidImageNameError(wanted);
    if (source === undefined) requireKnownImage(wanted);
    const arch = given.arch ?? archOf(cli.world.computer);
    const wish: ImageMakeRequest = { how: 'pull', name: wanted, arch, ...(source && { source }) };
    return imageResult(
      await getOrMakeImage(wish, { force: given.force, make: cli.makeImage }, imageBuildContext(cli)),
      wish.how,
      cli,
    );
  },
});

function parseSource({ url, digest }: z.output<typeof args>): ImageMakeRequest['source'] {
  if (url === undefined) {
    if (digest === undefined) return undefined;
    throw new SlipwayError('USAGE', '--digest goes with --url', {
      hint: 'For example: slipway image pull --url https://… --digest sha512:…',
    });
  }
  const request = parseImageReference(/[/\\]/.test(url) ? url : `./${url}`, digest, '--digest');
  if (request.kind === 'url') return request;
  if (digest === undefined || request.kind === 'known') {
    throw new SlipwayError('USAGE', `An image from a file needs its digest: ${url}`, {
      hint: 'Add --digest sha512:… (sha512sum prints it)',
    });
  }
  return { url: request.path, digest: parseDigest(digest, '--digest') };
}
