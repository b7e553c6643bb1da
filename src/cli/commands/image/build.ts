import { z } from 'zod';
import { defaultImageName, requireKnownImage, knownImages } from '../../../images/catalog.ts';
import { archOf } from '../../../images/image.ts';
import { getOrMakeImage } from '../../../images/get-or-make-image.ts';
import { defineCommand, type Cli, type Command, type CommandResult } from '../../command.ts';

const args = z.object({
  arch: z.enum(['amd64', 'arm64']).optional().meta({ description: "Architecture, where it is not this computer's" }),
  force: z.boolean().default(false).meta({ description: 'Make it anew although one is here', short: 'f' }),
  mirror: z
    .url({ protocol: /^https?$/, error: 'a URL like http://deb.debian.org/debian' })
    .optional()
    .meta({ description: "Repository of the packages, instead of this computer's own sources", value: 'url' }),
});

export const imageBuild: Command<typeof args> = defineCommand({
  name: 'image build',
  summary: "Build a local image of a distribution's signed packages, engine included",
  usage: '[name]',
  args,
  details: `Known: ${knownImages.map(({ name }) => name).join(', ')}. Without a name: ${defaultImageName}.`,
  async run({ positionals: [name = defaultImageName], args: { arch, force, mirror } }, cli) {
    requireKnownImage(name);
    const wish = { how: 'build', name, arch: arch ?? archOf(cli.world.computer), ...(mirror && { mirror }) } as const;
    return imageResult(
      await getOrMakeImage(wish, { force, make: cli.makeImage }, imageBuildContext(cli)),
      wish.how,
      cli,
    );
  },
});

export function imageBuildContext({ world, images }: Cli): Parameters<typeof getOrMakeImage>[2] {
  return { computer: world.computer, images, progress: world.progress, signal: world.signal };
}

export function imageResult(
  { image, made }: Awaited<ReturnType<typeof getOrMakeImage>>,
  how: string,
  { images }: Cli,
): CommandResult {
  const { name, arch, digest } = image;
  const { folder } = images.paths(image);
  const again = made ? [] : [`To make it anew: slipway image ${how} ${name} --force`];
  return {
    json: { name, arch, digest, folder, made },
    text: [`${name} (${arch}) is ${made ? 'ready' : 'here already'}: ${digest}`, ...again].join('\n'),
  };
}
