import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { getResourceTags } from '../cloud/tags.ts';
import { SlipwayError } from '../../errors.ts';
import type { FirstBootConfig, DriverCall, CreateCall, Target } from '../contract.ts';
import { type GceConnection, resourceNameOf, regionOfZone } from './client.ts';
import { grantAccess, type GceInstance } from './existing-instance.ts';
import { httpStatusOf } from './errors.ts';
import { formatDescription, createFirewallRules, type OwnerLabels } from './firewall-rules.ts';
import { instanceRequestBody, isInternalOnly, type GceInstanceSpec } from './instance-request.ts';
import { waitUntilVisible } from './eventual-consistency.ts';
import { addressName, instanceName, toGceName, ownerIdOf } from './resource-names.ts';
import { runOperation, createOnce } from './operation.ts';
import type { GceOptions } from './options.ts';

/** What a bulk call is written down as. */
const BATCH_REQUEST = 'instances';

/** The instance of this machine: its own, or its place in the batch that it was made with. */
export async function findInstance(gce: GceConnection, target: Target<GceOptions>): Promise<GceInstance | undefined> {
  const { id, name, options } = target;
  const ways = options.useExisting ? [] : [target, ...(target.batch ? [{ id, name }] : [])];
  if (options.useExisting)
    return await gce.find<GceInstance>('looking for its instance', 'InstancesClient', 'get', {
      zone: options.zone,
      instance: name,
    });
  // One that another tool made has a name of that tool's.
  if (options.instanceLink !== undefined && !options.useExisting) {
    const found = await findInstanceByName(gce, resourceNameOf(options.instanceLink), options.zone);
    return target.adoptedResource !== undefined || found?.labels?.['slipway-id'] === id ? found : undefined;
  }
  for (const way of ways) {
    const found = await findInstanceByName(gce, instanceName(way), options.zone);
    if (found?.labels?.['slipway-id'] === ownerIdOf(way)) return found;
  }
  return undefined;
}

function findInstanceByName(gce: GceConnection, instance: string, zone: string): Promise<GceInstance | undefined> {
  return gce.find<GceInstance>('looking for its instance', 'InstancesClient', 'get', { zone, instance });
}

/** One machine, or all of a batch by one call. What exists already is kept. */
export async function createInstances(
  gce: GceConnection,
  targets: readonly Target<GceOptions>[],
  boot: FirstBootConfig,
  call: CreateCall,
): Promise<void> {
  const [first] = targets;
  if (!first) return;
  const isBatch = targets.length > 1;
  // What is made for one machine alone carries the machine's own id, also when it once was of a batch.
  const owner: Target<GceOptions> = isBatch ? first : { id: first.id, name: first.name, options: first.options };
  const ownerLabels = await getResourceTags(owner, call.computer);
  if (first.options.useExisting) {
    await createFirewallRules(gce, owner, ownerLabels, boot.enginePort, call);
    return await grantAccess(gce, owner, boot);
  }
  const find = async (target: Target<GceOptions>): Promise<GceInstance | undefined> =>
    waitUntilVisible(isBatch ? undefined : lastBatchRequestOf(target), () => findInstance(gce, target), call);
  const found = await Promise.all(targets.map(find));
  const missing = targets.filter((_, at) => found[at] === undefined);
  if (missing.length > 0) await createMissingInstances(gce, { owner, missing, isBatch, ownerLabels }, boot, call);
  if (isBatch) await setInstanceNames(gce, targets, call);
}

/** What the bulk call of a create that was killed has asked for: made again alone, the machine would have two instances. */
function lastBatchRequestOf({ batch, lastRequest }: Target<GceOptions>): Target<GceOptions>['lastRequest'] {
  return batch && lastRequest?.what === BATCH_REQUEST ? lastRequest : undefined;
}

type CreateInstancesInput = {
  /** The one, or the first of the batch: for what all of it share. */
  readonly owner: Target<GceOptions>;
  readonly missing: readonly Target<GceOptions>[];
  readonly isBatch: boolean;
  readonly ownerLabels: OwnerLabels;
};

async function createMissingInstances(
  gce: GceConnection,
  { owner, missing, isBatch, ownerLabels }: CreateInstancesInput,
  boot: FirstBootConfig,
  call: CreateCall,
): Promise<void> {
  const { options } = owner;
  await createFirewallRules(gce, owner, ownerLabels, boot.enginePort, call);
  const wish: GceInstanceSpec = {
    options,
    ownerId: ownerIdOf(owner),
    labels: buildLabels(options, ownerLabels),
    description: formatDescription('a Docker host', ownerLabels),
    metadata: await buildMetadata(options, boot, call),
    natIP: isBatch ? undefined : await ensureAddress(gce, owner, ownerLabels, call),
  };
  await (isBatch ? insertInstances(gce, missing, wish, call) : insertInstance(gce, owner, wish, call));
}

async function insertInstance(
  gce: GceConnection,
  target: Target<GceOptions>,
  wish: GceInstanceSpec,
  call: CreateCall,
): Promise<void> {
  const { zone } = target.options;
  const name = instanceName(target);
  await createOnce(
    gce,
    {
      what: 'instance',
      ownerId: wish.ownerId,
      client: 'InstancesClient',
      method: 'insert',
      request: { zone, instanceResource: { name, ...instanceRequestBody(wish, 'link') } },
      isVisible: async () => isOwnInstance(await findInstanceByName(gce, name, zone), wish.ownerId),
      zone,
    },
    call,
  );
}

async function insertInstances(
  gce: GceConnection,
  targets: readonly Target<GceOptions>[],
  wish: GceInstanceSpec,
  call: CreateCall,
): Promise<void> {
  const { zone } = wish.options;
  const names = targets.map(instanceName);
  await createOnce(
    gce,
    {
      what: BATCH_REQUEST,
      ownerId: wish.ownerId,
      client: 'InstancesClient',
      method: 'bulkInsert',
      request: {
        zone,
        bulkInsertInstanceResourceResource: {
          count: String(names.length),
          minCount: String(names.length),
          perInstanceProperties: Object.fromEntries(names.map((name) => [name, {}])),
          instanceProperties: instanceRequestBody(wish, 'name'),
        },
      },
      isVisible: async () => {
        for (const name of names)
          if (!isOwnInstance(await findInstanceByName(gce, name, zone), wish.ownerId)) return false;
        return true;
      },
      zone,
    },
    call,
  );
}

function isOwnInstance(instance: GceInstance | undefined, mark: string): boolean {
  if (!instance || instance.labels?.['slipway-id'] === mark) return instance !== undefined;
  throw new SlipwayError('PROVIDER_REFUSED', `There is an instance ${instance.name} that Slipway has not made`, {
    hint: 'Choose another name for the machine, or use that one: --gce-use-existing',
  });
}

export function parseLabels(labels: readonly string[]): Readonly<Record<string, string>> {
  return Object.fromEntries(labels.map((label) => label.split('=') as [string, string]));
}

function buildLabels({ labels }: GceOptions, marks: OwnerLabels): Readonly<Record<string, string>> {
  return { ...parseLabels(labels), ...marks, 'slipway-name': toGceName(marks['slipway-name']).slice(0, 63) };
}

/** The address that the instance is to have: reserved now, one that exists, or none in particular. */
async function ensureAddress(
  gce: GceConnection,
  target: Target<GceOptions>,
  marks: OwnerLabels,
  call: CreateCall,
): Promise<string | undefined> {
  const { options } = target;
  const { address, zone } = options;
  if (address === undefined || isInternalOnly(options)) return undefined;
  if (/^\d+(\.\d+){3}$/.test(address)) return address;
  const region = regionOfZone(zone);
  const name = address === 'static' ? addressName(ownerIdOf(target)) : address;
  const find = (): Promise<{ address?: string } | undefined> =>
    gce.find<{ address?: string }>('looking for its address', 'AddressesClient', 'get', { region, address: name });
  const there = await find();
  if (there?.address !== undefined) return there.address;
  if (address !== 'static')
    throw new SlipwayError('USAGE', `There is no address ${address} in ${region}`, {
      hint: 'Let one be made: --gce-address static',
    });
  await createOnce(
    gce,
    {
      what: 'address',
      ownerId: ownerIdOf(target),
      client: 'AddressesClient',
      method: 'insert',
      request: {
        region,
        addressResource: {
          name,
          addressType: 'EXTERNAL',
          // Not all versions of the API take labels here.
          description: formatDescription('an address', marks),
        },
      },
      isVisible: async () => (await find()) !== undefined,
      zone,
    },
    call,
  );
  return (await find())?.address;
}

async function buildMetadata(
  options: GceOptions,
  boot: FirstBootConfig,
  call: DriverCall,
): Promise<Readonly<Record<string, string>>> {
  const theirs = Object.fromEntries(
    options.metadata.map((item) => [item.slice(0, item.indexOf('=')), item.slice(item.indexOf('=') + 1)]),
  );
  const script =
    options.startupScript === undefined ? theirs['startup-script'] : await readFile(options.startupScript, 'utf8');
  const keys = [theirs['ssh-keys'], options.osLogin ? undefined : `${options.sshUser}:${boot.authorizedKey.trim()}`];
  return {
    ...theirs,
    'enable-oslogin': options.osLogin ? 'TRUE' : 'FALSE',
    'block-project-ssh-keys': 'TRUE',
    'ssh-keys': keys.filter((key) => key !== undefined).join('\n'),
    'startup-script': await buildStartupScript(boot, script, call),
  };
}

/** Ours with its values before it, then the user's, packed so that no text of theirs is read by our shell. */
async function buildStartupScript(
  boot: FirstBootConfig,
  theirs: string | undefined,
  { computer }: DriverCall,
): Promise<string> {
  const ours = await readFile(join(computer.templates, 'cloud', 'gce-startup.sh'), 'utf8');
  const packed = (text: string): string => Buffer.from(text).toString('base64');
  return [
    '#!/bin/sh',
    `HOST_KEY=${packed(boot.hostKey.private)}`,
    `HOST_KEY_PUBLIC=${packed(`${boot.hostKey.public}\n`)}`,
    `THEIRS=${theirs === undefined ? '' : packed(theirs)}`,
    ours,
  ].join('\n');
}

/** For people who look into the console, and for `gc`; nothing depends on it. */
async function setInstanceNames(
  gce: GceConnection,
  targets: readonly Target<GceOptions>[],
  call: DriverCall,
): Promise<void> {
  for (const target of targets) {
    await setInstanceName(gce, target).catch((error: unknown) => {
      if (call.signal.aborted || !(error instanceof SlipwayError)) throw error;
      call.note(`The instance of "${target.name}" is not labelled so: ${error.message}`);
    });
  }
}

async function setInstanceName(gce: GceConnection, target: Target<GceOptions>): Promise<void> {
  const label = toGceName(target.name).slice(0, 63);
  for (let attempt = 1; ; attempt += 1) {
    const instance = await findInstance(gce, target);
    if (!instance || instance.labels?.['slipway-name'] === label) return;
    try {
      await runOperation(gce, 'naming the instance', 'InstancesClient', 'setLabels', {
        zone: target.options.zone,
        instance: instance.name,
        instancesSetLabelsRequestResource: {
          labelFingerprint: instance.labelFingerprint,
          labels: { ...instance.labels, 'slipway-name': label },
        },
      });
      return;
    } catch (error) {
      // Somebody has changed them meanwhile.
      if (httpStatusOf(error) !== 412 || attempt >= 3) throw error;
    }
  }
}
