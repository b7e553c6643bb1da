import { SlipwayError } from '../../errors.ts';
import { buildImage } from '../../images/build.ts';
import type { Image } from '../../images/image.ts';
import { parseImageRequest, type ImageRequest } from '../../images/source.ts';
import { openImages } from '../../images/store.ts';
import type { Call } from '../driver.ts';
import { archOf, canBuild, imageTool, programPath } from './programs.ts';

/** What `--image` and `--image-digest` ask for. */
export function imageRequest(given: {
  readonly image: string;
  readonly imageDigest?: string | undefined;
}): ImageRequest {
  return parseImageRequest(given.image, given.imageDigest);
}

/** The image that a request means: the one that is here, or one made for it now. */
export async function ensureImage(request: ImageRequest, call: Call): Promise<Image> {
  const images = openImages(call.computer.home);
  const arch = archOf(call.computer);
  const name = request.kind === 'known' ? request.name : 'x';
  const found = await images.find(name, arch);
  if (found) return found;
  if (!canBuild(call.computer)) throw new SlipwayError('DRIVER_UNSUPPORTED', 'x');
  const stage = await images.stage();
  const qemuImg = await programPath(imageTool, call.computer);
  const built = await buildImage({ suite: 'trixie', arch, qemuImg }, stage, call);
  return await images.add(stage, {
    version: 1,
    name,
    arch,
    ...built,
    made: new Date().toISOString(),
    source: { kind: 'built', suite: 'trixie' },
  });
}
