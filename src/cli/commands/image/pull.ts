import { z } from 'zod';
import { SlipwayError } from '../../../errors.ts';
import { defaultImageName, requireKnownImage } from '../../../images/catalog.ts';
import { parseDigest } from '../../../images/digest.ts';
import { archOf, archs, invalidImageNameError, isImageName, imageNameFor } from '../../../images/image.ts';
import { getOrMakeImage, type ImageMakeRequest } from '../../../images/get-or-make-image.ts';
import { parseImageReference } from '../../../images/image-reference.ts';
import { defineCommand, type Command } from '../../command.ts';
import { imageResult, imageBuildContext } from './build.ts';

const args = z.object({
  arch: z.enum(archs).optional().meta({ description: "Architecture; the default is this computer's" }),
  force: z.boolean().default(false).meta({ description: 'Create the image again even if it exists', short: 'f' }),
  url: z
    .string()
    .optional()
    .meta({ description: "URL or path of a cloud image (qcow2), instead of the vendor's", value: 'url' }),
  digest: z
    .string()
    .optional()
    .meta({ description: 'Expected digest of --url: sha512:… or sha256:…', value: 'digest' }),
});

export const imagePull: Command<typeof args> = defineCommand({
  name: 'image pull',
  summary: "Create a local image from a vendor's cloud image, which is downloaded and verified",
  usage: '[name]',
  args,
  details: 'An interrupted download continues where it stopped.',
  async run({ positionals: [name], args: options }, cli) {
    const source = parseSource(options);
    const imageName =
      name ?? (source ? imageNameFor(new URL(source.url, 'file:///').pathname, source.digest) : defaultImageName);
    if (!isImageName(imageName)) throw invalidImageNameError(imageName);
    if (source === undefined) requireKnownImage(imageName);
    const arch = options.arch ?? archOf(cli.world.computer);
    const request: ImageMakeRequest = { how: 'pull', name: imageName, arch, ...(source && { source }) };
    return imageResult(
      await getOrMakeImage(request, { force: options.force, make: cli.makeImage }, imageBuildContext(cli)),
      request.how,
      cli,
    );
  },
});

function parseSource({ url, digest }: z.output<typeof args>): ImageMakeRequest['source'] {
  if (url === undefined) {
    if (digest === undefined) return undefined;
    throw new SlipwayError('USAGE', '--digest requires --url', {
      hint: 'For example: slipway image pull --url https://… --digest sha512:…',
    });
  }
  const request = parseImageReference(/[/\\]/.test(url) ? url : `./${url}`, digest, '--digest');
  if (request.kind === 'url') return request;
  if (digest === undefined || request.kind === 'known') {
    throw new SlipwayError('USAGE', `A digest is required for an image from a file: ${url}`, {
      hint: 'Add --digest sha512:… (sha512sum prints it)',
    });
  }
  return { url: request.path, digest: parseDigest(digest, '--digest') };
}
