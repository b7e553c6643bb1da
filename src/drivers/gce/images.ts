import { SlipwayError } from '../../errors.ts';
import { type GceConnection, resourceNameOf } from './client.ts';
import { isUnavailable, type Deprecation } from './deprecation.ts';
import type { Architecture } from './machine-families.ts';
import type { GceOptions } from './options.ts';

/** The fields of an image that this driver reads. */
export type GceImage = {
  /** `projects/debian-cloud/global/images/debian-13-trixie-v20261111` */
  readonly link: string;
  /** Undefined where the endpoint does not report it. */
  readonly architecture: Architecture | undefined;
  /** GB of the smallest disk that can hold it; 0 where the endpoint does not report it. */
  readonly minDiskSize: number;
};

/** Returns an image of which only the link is known. */
export const imageAt = (link: string): GceImage => ({ link, architecture: undefined, minDiskSize: 0 });

type ImageDocument = {
  readonly selfLink?: string;
  readonly name?: string;
  readonly architecture?: string;
  readonly diskSizeGb?: string | number;
  readonly status?: string;
  readonly deprecated?: Deprecation;
};

type ImageOptions = Pick<GceOptions, 'machineImage' | 'imageFamily' | 'imageProject'>;
type ImageName = { readonly project: string; readonly family?: string; readonly image?: string };

/** The family that a user who chose no image gets, and its equivalent for ARM. */
const DEFAULT_FAMILY = { project: 'debian-cloud', family: 'debian-13', armFamily: 'debian-13-arm64' };

/** Finds the image that the options name; for the default family, the one of the machine type's architecture. */
export async function resolveImage(
  gce: GceConnection,
  options: ImageOptions,
  architecture: Architecture,
): Promise<GceImage> {
  const named = parseImageOptions(options);
  const isDefault = named.project === DEFAULT_FAMILY.project && named.family === DEFAULT_FAMILY.family;
  const arm =
    isDefault && architecture === 'ARM64'
      ? await findImage(gce, { project: named.project, family: DEFAULT_FAMILY.armFamily })
      : undefined;
  const found = arm ?? (await findImage(gce, named));
  if (found) return found;
  throw new SlipwayError(
    'USAGE',
    `The image ${named.family ?? named.image} of ${named.project} does not exist in Compute Engine`,
    {
      hint: 'For example: --gce-image-family debian-13',
    },
  );
}

/** Returns the image with this name, or the newest one of this family; undefined if there is none that can be used. */
export async function findImage(
  gce: GceConnection,
  { project, family, image }: ImageName,
): Promise<GceImage | undefined> {
  const found = await gce.find<ImageDocument>(
    `looking for the image ${family ?? image} of ${project}`,
    'ImagesClient',
    family === undefined ? 'get' : 'getFromFamily',
    family === undefined ? { project, image } : { project, family },
  );
  const name = found?.name ?? resourceNameOf(found?.selfLink);
  if (!found || name === '') return undefined;
  if (isUnavailable(found.deprecated) || !['', 'READY'].includes(found.status ?? '')) {
    throw new SlipwayError('USAGE', `The image ${name} of ${project} can't be used any more`, {
      hint: 'Use the newest image of a family: --gce-image-family debian-13',
    });
  }
  return {
    link: `projects/${project}/global/images/${name}`,
    architecture: toArchitecture(found.architecture),
    minDiskSize: Number(found.diskSizeGb ?? 0),
  };
}

/** Returns the architecture that the API reports; undefined for one that it does not specify. */
export function toArchitecture(text: string | undefined): Architecture | undefined {
  return text === 'ARM64' || text === 'X86_64' ? text : undefined;
}

/** Parses docker-machine's paths and URLs too: `PROJECT/global/images/NAME`, `…/images/family/NAME`. */
export function parseImageOptions({ machineImage, imageFamily, imageProject }: ImageOptions): ImageName {
  if (machineImage === undefined) return { project: imageProject, family: imageFamily };
  const [, project = imageProject, family, name] =
    /(?:([^/]+)\/)?global\/images\/(family\/)?([^/]+)$/.exec(machineImage) ?? [];
  const last = name ?? machineImage;
  return family === undefined ? { project, image: last } : { project, family: last };
}
