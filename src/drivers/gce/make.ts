import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { tagsOf } from '../cloud/tags.ts';
import { SlipwayError } from '../../errors.ts';
import type { Boot, Call, MakingCall, Target } from '../contract.ts';
import { type Gce, nameIn, regionOf } from './client.ts';
import { adopt, type Instance } from './existing.ts';
import { statusOf } from './errors.ts';
import { described, makeFirewall, type Marks } from './firewall.ts';
import { instanceBody, isInternalOnly, type Wish } from './instance.ts';
import { untilShown } from './late.ts';
import { addressName, instanceName, lowered, markOf } from './names.ts';
import { change, makeOnce } from './operation.ts';
import type { Options } from './options.ts';

/** What a bulk call is written down as. */
const BULK = 'instances';

/** The instance of this machine: its own, or its place in the batch that it was made with. */
export async function findInstance(gce: Gce, target: Target<Options>): Promise<Instance | undefined> {
  const { id, name, options } = target;
  const ways = options.useExisting ? [] : [target, ...(target.batch ? [{ id, name }] : [])];
  if (options.useExisting)
    return await gce.find<Instance>('looking for its instance', 'InstancesClient', 'get', {
      zone: options.zone,
      instance: name,
    });
  // One that another tool made has a name of that tool's.
  if (options.instanceLink !== undefined && !options.useExisting) {
    const found = await named(gce, nameIn(options.instanceLink), options.zone);
    return target.adopts !== undefined || found?.labels?.['slipway-id'] === id ? found : undefined;
  }
  for (const way of ways) {
    const found = await named(gce, instanceName(way), options.zone);
    if (found?.labels?.['slipway-id'] === markOf(way)) return found;
  }
  return undefined;
}

function named(gce: Gce, instance: string, zone: string): Promise<Instance | undefined> {
  return gce.find<Instance>('looking for its instance', 'InstancesClient', 'get', { zone, instance });
}

/** One machine, or all of a batch by one call. What exists already is kept. */
export async function make(gce: Gce, targets: readonly Target<Options>[], boot: Boot, call: MakingCall): Promise<void> {
  const [first] = targets;
  if (!first) return;
  const many = targets.length > 1;
  // What is made for one machine alone carries the machine's own id, also when it once was of a batch.
  const own: Target<Options> = many ? first : { id: first.id, name: first.name, options: first.options };
  const marks = await tagsOf(own, call.computer);
  if (first.options.useExisting) {
    await makeFirewall(gce, own, marks, boot.enginePort, call);
    return await adopt(gce, own, boot);
  }
  const find = async (target: Target<Options>): Promise<Instance | undefined> =>
    untilShown(many ? undefined : bulkOf(target), () => findInstance(gce, target), call);
  const found = await Promise.all(targets.map(find));
  const missing = targets.filter((_, at) => found[at] === undefined);
  if (missing.length > 0) await makeMissing(gce, { own, missing, many, marks }, boot, call);
  if (many) await nameEach(gce, targets, call);
}

/** What the bulk call of a create that was killed has asked for: made again alone, the machine would have two instances. */
function bulkOf({ batch, asked }: Target<Options>): Target<Options>['asked'] {
  return batch && asked?.what === BULK ? asked : undefined;
}

type Wanted = {
  /** The one, or the first of the batch: for what all of it share. */
  readonly own: Target<Options>;
  readonly missing: readonly Target<Options>[];
  readonly many: boolean;
  readonly marks: Marks;
};

async function makeMissing(
  gce: Gce,
  { own, missing, many, marks }: Wanted,
  boot: Boot,
  call: MakingCall,
): Promise<void> {
  const { options } = own;
  await makeFirewall(gce, own, marks, boot.enginePort, call);
  const wish: Wish = {
    options,
    mark: markOf(own),
    labels: labelsOf(options, marks),
    description: described('a Docker host', marks),
    metadata: await metadataOf(options, boot, call),
    natIP: many ? undefined : await addressOf(gce, own, marks, call),
  };
  await (many ? insertMany(gce, missing, wish, call) : insertOne(gce, own, wish, call));
}

async function insertOne(gce: Gce, target: Target<Options>, wish: Wish, call: MakingCall): Promise<void> {
  const { zone } = target.options;
  const name = instanceName(target);
  await makeOnce(
    gce,
    {
      what: 'instance',
      mark: wish.mark,
      client: 'InstancesClient',
      method: 'insert',
      request: { zone, instanceResource: { name, ...instanceBody(wish, 'link') } },
      isThere: async () => isOurs(await named(gce, name, zone), wish.mark),
      zone,
    },
    call,
  );
}

async function insertMany(gce: Gce, targets: readonly Target<Options>[], wish: Wish, call: MakingCall): Promise<void> {
  const { zone } = wish.options;
  const names = targets.map(instanceName);
  await makeOnce(
    gce,
    {
      what: BULK,
      mark: wish.mark,
      client: 'InstancesClient',
      method: 'bulkInsert',
      request: {
        zone,
        bulkInsertInstanceResourceResource: {
          count: String(names.length),
          minCount: String(names.length),
          perInstanceProperties: Object.fromEntries(names.map((name) => [name, {}])),
          instanceProperties: instanceBody(wish, 'name'),
        },
      },
      isThere: async () => {
        for (const name of names) if (!isOurs(await named(gce, name, zone), wish.mark)) return false;
        return true;
      },
      zone,
    },
    call,
  );
}

function isOurs(instance: Instance | undefined, mark: string): boolean {
  if (!instance || instance.labels?.['slipway-id'] === mark) return instance !== undefined;
  throw new SlipwayError('PROVIDER_REFUSED', `There is an instance ${instance.name} that Slipway has not made`, {
    hint: 'Choose another name for the machine, or use that one: --gce-use-existing',
  });
}

export function theirLabels(labels: readonly string[]): Readonly<Record<string, string>> {
  return Object.fromEntries(labels.map((label) => label.split('=') as [string, string]));
}

function labelsOf({ labels }: Options, marks: Marks): Readonly<Record<string, string>> {
  return { ...theirLabels(labels), ...marks, 'slipway-name': lowered(marks['slipway-name']).slice(0, 63) };
}

/** The address that the instance is to have: reserved now, one that exists, or none in particular. */
async function addressOf(
  gce: Gce,
  target: Target<Options>,
  marks: Marks,
  call: MakingCall,
): Promise<string | undefined> {
  const { options } = target;
  const { address, zone } = options;
  if (address === undefined || isInternalOnly(options)) return undefined;
  if (/^\d+(\.\d+){3}$/.test(address)) return address;
  const region = regionOf(zone);
  const name = address === 'static' ? addressName(markOf(target)) : address;
  const find = (): Promise<{ address?: string } | undefined> =>
    gce.find<{ address?: string }>('looking for its address', 'AddressesClient', 'get', { region, address: name });
  const there = await find();
  if (there?.address !== undefined) return there.address;
  if (address !== 'static')
    throw new SlipwayError('USAGE', `There is no address ${address} in ${region}`, {
      hint: 'Let one be made: --gce-address static',
    });
  await makeOnce(
    gce,
    {
      what: 'address',
      mark: markOf(target),
      client: 'AddressesClient',
      method: 'insert',
      request: {
        region,
        addressResource: {
          name,
          addressType: 'EXTERNAL',
          // Not all versions of the API take labels here.
          description: described('an address', marks),
        },
      },
      isThere: async () => (await find()) !== undefined,
      zone,
    },
    call,
  );
  return (await find())?.address;
}

async function metadataOf(options: Options, boot: Boot, call: Call): Promise<Readonly<Record<string, string>>> {
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
    'startup-script': await startupScript(boot, script, call),
  };
}

/** Ours with its values before it, then the user's, packed so that no text of theirs is read by our shell. */
async function startupScript(boot: Boot, theirs: string | undefined, { computer }: Call): Promise<string> {
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
async function nameEach(gce: Gce, targets: readonly Target<Options>[], call: Call): Promise<void> {
  for (const target of targets) {
    await nameOne(gce, target).catch((error: unknown) => {
      if (call.signal.aborted || !(error instanceof SlipwayError)) throw error;
      call.note(`The instance of "${target.name}" is not labelled so: ${error.message}`);
    });
  }
}

async function nameOne(gce: Gce, target: Target<Options>): Promise<void> {
  const label = lowered(target.name).slice(0, 63);
  for (let attempt = 1; ; attempt += 1) {
    const instance = await findInstance(gce, target);
    if (!instance || instance.labels?.['slipway-name'] === label) return;
    try {
      await change(gce, 'naming the instance', 'InstancesClient', 'setLabels', {
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
      if (statusOf(error) !== 412 || attempt >= 3) throw error;
    }
  }
}
