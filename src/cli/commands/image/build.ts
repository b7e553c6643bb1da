import { z } from 'zod';
import { defaultImageName, requireKnownImage, knownImages } from '../../../images/catalog.ts';
import { archOf, archs } from '../../../images/image.ts';
import { getOrMakeImage, type ImageMakeContext } from '../../../images/get-or-make-image.ts';
import { defineCommand, type Cli, type Command, type CommandResult } from '../../command.ts';

const args = z.object({
  arch: z.enum(archs).optional().meta({ description: "Architecture; the default is this computer's" }),
  force: z.boolean().default(false).meta({ description: 'Build the image again even if it exists', short: 'f' }),
  mirror: z
    .url({ protocol: /^https?$/, error: 'a URL like http://deb.debian.org/debian' })
    .optional()
    .meta({ description: "Package repository to use instead of this computer's sources", value: 'url' }),
});

export const imageBuild: Command<typeof args> = defineCommand({
  name: 'image build',
  summary: "Build a local image, with an engine, from a distribution's signed packages",
  usage: '[name]',
  args,
  details: `Images: ${knownImages.map(({ name }) => name).join(', ')}. The default is ${defaultImageName}.`,
  async run({ positionals: [name = defaultImageName], args: { arch, force, mirror } }, cli) {
    requireKnownImage(name);
    const request = {
      how: 'build',
      name,
      arch: arch ?? archOf(cli.world.computer),
      ...(mirror && { mirror }),
    } as const;
    return imageResult(
      await getOrMakeImage(request, { force, make: cli.makeImage }, imageBuildContext(cli)),
      request.how,
      cli,
    );
  },
});

export function imageBuildContext({ world, images }: Cli): ImageMakeContext {
  return { computer: world.computer, images, progress: world.progress, signal: world.signal };
}

export function imageResult(
  { image, isNew }: Awaited<ReturnType<typeof getOrMakeImage>>,
  how: string,
  { images, world }: Cli,
): CommandResult {
  const { name, arch, digest } = image;
  const { folder } = images.paths(image);
  const archFlag = arch === archOf(world.computer) ? '' : ` --arch ${arch}`;
  const hints = isNew ? [] : [`To create it again: slipway image ${how} ${name}${archFlag} --force`];
  return {
    json: { name, arch, digest, folder, made: isNew },
    text: [`${name} (${arch}) is ${isNew ? 'ready' : 'already here'}: ${digest}`, ...hints].join('\n'),
  };
}
