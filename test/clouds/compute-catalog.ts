import { createHash } from 'node:crypto';
import { ApiError } from './cloud-server.ts';

/**
 * What every double of Compute Engine has: places, types, images and networks; and functions that check requests and
 * write answers.
 */

export const PROJECT = 'my-project-42';
export const PROJECT_NUMBER = '123456789012';
export const API_PATH = '/compute/v1/';
export const ZONES = ['us-central1-a', 'us-central1-b', 'europe-west3-a', 'europe-west3-b'];
export const REGIONS = ['us-central1', 'europe-west3'];
/** The project of a network that other projects share. */
export const HOST_PROJECT = 'host-project-7';
/** A network in custom mode has the subnetworks that somebody created, and no others. */
export const NETWORKS = [
  { name: 'default', project: PROJECT, isAuto: true },
  { name: 'vpc-1', project: PROJECT, isAuto: true },
  { name: 'custom', project: PROJECT, isAuto: false },
  { name: 'crowded', project: PROJECT, isAuto: false },
  { name: 'shared', project: HOST_PROJECT, isAuto: false },
];
/** Returns the id of a project that a request names by its id or its number. */
export const projectIdOf = (project: string): string => (project === PROJECT_NUMBER ? PROJECT : project);

export const SUBNETWORKS = [
  { region: 'us-central1', name: 'default', network: 'default' },
  { region: 'europe-west3', name: 'default', network: 'default' },
  { region: 'us-central1', name: 'inner', network: 'vpc-1' },
  { region: 'us-central1', name: 'rooms', network: 'custom' },
  { region: 'us-central1', name: 'proxies', network: 'custom', purpose: 'REGIONAL_MANAGED_PROXY' },
  { region: 'europe-west3', name: 'proxies', network: 'custom', purpose: 'REGIONAL_MANAGED_PROXY' },
  { region: 'us-central1', name: 'left', network: 'crowded' },
  { region: 'us-central1', name: 'right', network: 'crowded' },
  { region: 'us-central1', name: 'floor', network: 'shared' },
].map((one) => ({
  purpose: 'PRIVATE',
  project: NETWORKS.find(({ name }) => name === one.network)?.project ?? PROJECT,
  ...one,
}));
const IMAGES = [
  { project: 'debian-cloud', family: 'debian-13', name: 'debian-13-trixie-v20261111' },
  {
    project: 'debian-cloud',
    family: 'debian-13-arm64',
    name: 'debian-13-trixie-arm64-v20261111',
    architecture: 'ARM64',
  },
  { project: 'debian-cloud', family: 'debian-12', name: 'debian-12-bookworm-v20261111' },
  {
    project: 'debian-cloud',
    family: 'debian-12-arm64',
    name: 'debian-12-bookworm-arm64-v20261111',
    architecture: 'ARM64',
  },
  { project: 'debian-cloud', family: 'debian-9', name: 'debian-9-stretch-v20220621', state: 'OBSOLETE' },
  { project: 'ubuntu-os-cloud', family: 'ubuntu-2404-lts-amd64', name: 'ubuntu-2404-noble-amd64-v20261110' },
  {
    project: 'ubuntu-os-cloud',
    family: 'ubuntu-2404-lts-arm64',
    name: 'ubuntu-2404-noble-arm64-v20261110',
    architecture: 'ARM64',
  },
  { project: PROJECT, family: 'ours', name: 'ours-7' },
  { project: PROJECT, family: 'large', name: 'large-1', diskSizeGb: 50 },
].map((one) => ({ architecture: 'X86_64', diskSizeGb: 10, state: 'ACTIVE', ...one }));
/** As Google documents them. */
const DISK_TYPES = [
  { name: 'pd-standard', validDiskSize: '10GB-65536GB' },
  { name: 'pd-balanced', validDiskSize: '10GB-65536GB' },
  { name: 'pd-ssd', validDiskSize: '10GB-65536GB' },
  { name: 'hyperdisk-balanced', validDiskSize: '4GB-65536GB' },
];
const ACCELERATORS = ['nvidia-tesla-t4', 'nvidia-l4'];

const STATUS_NAMES: Readonly<Record<number, string>> = { 401: 'UNAUTHENTICATED', 403: 'PERMISSION_DENIED' };

export function errorDocument({ status, code: reason, message, detailedReason }: ApiError): object {
  return {
    error: {
      code: status,
      message,
      errors: [{ message, domain: reason.startsWith('rateLimit') ? 'usageLimits' : 'global', reason }],
      ...(detailedReason === undefined
        ? {}
        : {
            details: [
              {
                '@type': 'type.googleapis.com/google.rpc.ErrorInfo',
                reason: detailedReason,
                domain: 'googleapis.com',
                metadata: { service: 'compute.googleapis.com', consumer: `projects/${PROJECT_NUMBER}` },
              },
            ],
          }),
      ...(STATUS_NAMES[status] === undefined ? {} : { status: STATUS_NAMES[status] }),
    },
  };
}

export const invalidFieldError = (field: string, value: unknown, why: string): ApiError =>
  new ApiError(400, 'invalid', `Invalid value for field '${field}': '${String(value)}'. ${why}`);

export const notFoundError = (path: string): ApiError =>
  new ApiError(404, 'notFound', `The resource '${path}' was not found`);

export const alreadyExistsError = (path: string): ApiError =>
  new ApiError(409, 'alreadyExists', `The resource '${path}' already exists`);

/** Returns a fingerprint, which changes with the value, as Google's does. */
export function fingerprintOf(value: unknown): string {
  return (
    createHash('sha256')
      .update(JSON.stringify(value ?? null))
      .digest('base64')
      .slice(0, 11) + '='
  );
}

export function lastPathSegment(link: string): string {
  return link.split('/').at(-1) ?? '';
}

export const regionOf = (zone: string): string => zone.replace(/-[^-]+$/, '');

type MachineType = {
  readonly name: string;
  readonly cpus: number;
  readonly architecture: 'X86_64' | 'ARM64';
  readonly isObsolete: boolean;
  readonly accelerators: readonly string[];
};

/** Returns a machine type; undefined for an unknown one. */
export function machineTypeNamed(name: string): MachineType | undefined {
  const [, family = '', cpus] =
    /^(e2|n1|n2|n2d|n4|c3|c4|c4a|t2a|t2d|g2|a2)-(?:standard|highmem|highcpu|custom)-(\d+)(?:-\d+)?$/.exec(name) ?? [];
  const isShared = /^e2-(micro|small|medium)$/.test(name);
  if (cpus === undefined && !isShared) return undefined;
  return {
    name,
    cpus: isShared ? 2 : Number(cpus),
    architecture: ['t2a', 'c4a'].includes(family) ? 'ARM64' : 'X86_64',
    isObsolete: name === 'n1-standard-96',
    accelerators: family === 'g2' ? ['nvidia-l4'] : [],
  };
}

/** Returns the number of CPUs of a machine type; undefined for an unknown type. */
export const cpusOf = (type: string): number | undefined => machineTypeNamed(type)?.cpus;

export function diskTypeNamed(name: string): (typeof DISK_TYPES)[number] | undefined {
  return DISK_TYPES.find((one) => one.name === name);
}

/** Returns why Google refuses to boot an instance of a type from a disk, as its documentation says; else undefined. */
export function bootDiskProblem(machineType: string, diskType: string): string | undefined {
  const [family = ''] = machineType.split('-');
  const isHyperdisk = diskType.startsWith('hyperdisk-');
  const refused =
    (['c4', 'c4a', 'n4'].includes(family) && !isHyperdisk) ||
    (['e2', 'n1', 'n2', 'n2d', 't2a', 't2d'].includes(family) && isHyperdisk) ||
    (family === 'c3' && diskType === 'pd-standard');
  return refused ? `[${diskType}] features are not compatible for creating instance of ${machineType}.` : undefined;
}

export function imageNamed(project: string, name: string): (typeof IMAGES)[number] {
  const found = IMAGES.find((one) => one.project === project && one.name === name);
  if (!found) throw notFoundError(`projects/${project}/global/images/${name}`);
  return found;
}

export function imageOfFamily(project: string, family: string): (typeof IMAGES)[number] {
  const found = IMAGES.find((one) => one.project === project && one.family === family);
  if (!found) throw notFoundError(`projects/${project}/global/images/family/${family}`);
  return found;
}

/** Returns the image of a `sourceImage`: a URL or path, with or without its project, by name or family. */
export function imageFromLink(link: string): (typeof IMAGES)[number] {
  const [, project = PROJECT, family, name] =
    /^(?:https?:\/\/[^/]+\/compute\/v1\/)?(?:projects\/([^/]+)\/)?global\/images\/(family\/)?([^/]+)$/.exec(link) ?? [];
  if (name === undefined)
    throw invalidFieldError('resource.disks[0].initializeParams.sourceImage', link, 'The URL is malformed.');
  return family === undefined ? imageNamed(project, name) : imageOfFamily(project, name);
}

/** Returns the name of a type. A request for one instance gives a link into the zone, a bulk request only the name. */
export function resourceNameFrom(kind: string, value: string, zone: string, bulk: boolean, field: string): string {
  const name = lastPathSegment(value);
  const link = new RegExp(`^(https?://[^/]+/compute/v1/)?(projects/[^/]+/)?zones/${zone}/${kind}/[^/]+$`);
  if (bulk ? value.includes('/') : !link.test(value)) throw invalidFieldError(field, value, 'The URL is malformed.');
  const known =
    kind === 'machineTypes'
      ? cpusOf(name) !== undefined
      : kind === 'diskTypes'
        ? diskTypeNamed(name) !== undefined
        : ACCELERATORS.includes(name);
  if (!known) throw invalidFieldError(field, value, `The referenced ${kind.slice(0, -1)} resource cannot be found.`);
  return name;
}

export function networkFromLink(link: string): string {
  const [, name] =
    /^(?:https?:\/\/[^/]+\/compute\/v1\/)?(?:projects\/[^/]+\/)?global\/networks\/([^/]+)$/.exec(link) ?? [];
  if (name === undefined || !NETWORKS.some((one) => one.name === name))
    throw invalidFieldError('resource.network', link, 'The referenced network resource cannot be found.');
  return name;
}

const LABEL_KEY = /^[\p{Ll}\p{Lo}][\p{Ll}\p{Lo}\p{N}_-]{0,62}$/u;
const LABEL_VALUE = /^[\p{Ll}\p{Lo}\p{N}_-]{0,63}$/u;

export function requireValidLabels(labels: Readonly<Record<string, string>>, field: string): void {
  const entries = Object.entries(labels);
  if (entries.length > 64) throw invalidFieldError(field, entries.length, 'At most 64 labels.');
  for (const [key, value] of entries)
    if (!LABEL_KEY.test(key) || !LABEL_VALUE.test(value))
      throw invalidFieldError(
        field,
        `${key}=${value}`,
        'Label keys and values may hold lower-case letters, digits, _ and - alone.',
      );
}

export const RFC1035 = /^[a-z]([-a-z0-9]{0,61}[a-z0-9])?$/;

/** Parses the filters that Slipway uses: `labels.x=y` and `labels.x:*`. */
export function parseListFilter(text: string | undefined): (labels: Readonly<Record<string, string>>) => boolean {
  if (text === undefined || text === '') return () => true;
  const [, key, operator, value = ''] = /^labels\.([\w-]+)(=|:)("?[\w.*-]+"?)$/.exec(text) ?? [];
  if (key === undefined) throw invalidFieldError('filter', text, 'Invalid list filter expression.');
  const wanted = value.replaceAll('"', '');
  if (operator === ':' && wanted === '*') return (labels) => key in labels;
  return (labels) => (operator === '=' ? labels[key] === wanted : (labels[key] ?? '').includes(wanted));
}

export function isCidr(text: string): boolean {
  const [address = '', bits = ''] = text.split('/');
  const most = address.includes(':') ? 128 : 32;
  const parts = address.split('.');
  const v4 = parts.length === 4 && parts.every((part) => /^\d{1,3}$/.test(part) && Number(part) < 256);
  return (v4 || /^[0-9a-f:]+$/i.test(address)) && /^\d{1,3}$/.test(bits) && Number(bits) <= most;
}
