import { BATCH_REQUEST, lastBatchRequestOf, ownerIdOf, ownerTargetOf } from '../cloud/batch.ts';
import { waitUntilVisible } from '../cloud/eventual-consistency.ts';
import { instanceName } from '../cloud/resource-names.ts';
import { formatTaggedDescription, getOwnerTags, type OwnerTags } from '../cloud/tags.ts';
import { SlipwayError } from '../../errors.ts';
import type { FirstBootConfig, DriverCall, CreateCall, Target } from '../contract.ts';
import { deleteReservedAddress, ensureAddress } from './addresses.ts';
import type { GceConnection } from './client.ts';
import { grantAccess } from './existing-instance.ts';
import { httpStatusOf, isPlainRefusal } from './errors.ts';
import { createFirewallRules, deleteFirewallRules } from './firewall-rules.ts';
import { buildLabels, instanceRequestBody, type GceInstanceSpec } from './instance-request.ts';
import { CONSISTENCY_WINDOW, findInstance, findInstanceByName, isOwnInstance, type GceInstance } from './instances.ts';
import { buildMetadata } from './metadata.ts';
import { nameLabel } from './resource-names.ts';
import { runOperation, createOnce } from './operation.ts';
import type { GceOptions } from './options.ts';

/** Creates the instance of one machine, or of all machines of a batch by one request. Keeps what exists. */
export async function createInstances(
  gce: GceConnection,
  targets: readonly [Target<GceOptions>, ...Target<GceOptions>[]],
  boot: FirstBootConfig,
  call: CreateCall,
): Promise<void> {
  const isBatch = targets.length > 1;
  const owner = ownerTargetOf(targets);
  const ownerTags = await getOwnerTags(owner, call.computer);
  if (owner.options.useExisting) {
    await createFirewallRules(gce, owner, ownerTags, boot.enginePort, call);
    return await grantAccess(gce, owner, boot);
  }
  const find = async (target: Target<GceOptions>): Promise<GceInstance | undefined> => {
    const request = isBatch ? undefined : lastBatchRequestOf(target);
    return await waitUntilVisible(request, () => findInstance(gce, target), CONSISTENCY_WINDOW, call);
  };
  const found = await Promise.all(targets.map(find));
  const missing = targets.filter((_, at) => found[at] === undefined);
  if (missing.length > 0) {
    try {
      await createMissingInstances(gce, { owner, missing, isBatch, ownerTags }, boot, call);
    } catch (error) {
      if (missing.length === targets.length && isPlainRefusal(error)) await undoCreation(gce, owner, call);
      throw error;
    }
  }
  if (isBatch) await setInstanceNames(gce, targets, call);
}

/**
 * Deletes what was created for instances that Google then refused, and clears the request: the machine can be created
 * with other options, such as another zone. If that fails, the record keeps the request, and `remove` looks for the
 * rest.
 */
async function undoCreation(gce: GceConnection, owner: Target<GceOptions>, call: CreateCall): Promise<void> {
  const ownerId = ownerIdOf(owner);
  try {
    await deleteReservedAddress(gce, ownerId, owner.options);
    await deleteFirewallRules(gce, ownerId, owner.options);
    await call.clearRequest();
  } catch (error) {
    if (!(error instanceof SlipwayError) || error.code === 'CANCELED') throw error;
    call.log(`What was created before the refusal is still there: ${error.message}`);
  }
}

type CreateInstancesInput = {
  /** The machine, or the first one of the batch; shared resources get its id and name. */
  readonly owner: Target<GceOptions>;
  readonly missing: readonly Target<GceOptions>[];
  readonly isBatch: boolean;
  readonly ownerTags: OwnerTags;
};

async function createMissingInstances(
  gce: GceConnection,
  { owner, missing, isBatch, ownerTags }: CreateInstancesInput,
  boot: FirstBootConfig,
  call: CreateCall,
): Promise<void> {
  const { options } = owner;
  await createFirewallRules(gce, owner, ownerTags, boot.enginePort, call);
  const spec: GceInstanceSpec = {
    options,
    ownerId: ownerIdOf(owner),
    labels: buildLabels(options, ownerTags),
    description: formatTaggedDescription('a Docker host', ownerTags),
    metadata: await buildMetadata(options, boot, call),
    natIP: isBatch ? undefined : await ensureAddress(gce, owner, ownerTags, call),
  };
  await (isBatch ? insertInstances(gce, missing, spec, call) : insertInstance(gce, owner, spec, call));
}

async function insertInstance(
  gce: GceConnection,
  target: Target<GceOptions>,
  spec: GceInstanceSpec,
  call: CreateCall,
): Promise<void> {
  const { zone } = target.options;
  const name = instanceName(target);
  await createOnce(
    gce,
    {
      what: 'instance',
      ownerId: spec.ownerId,
      client: 'InstancesClient',
      method: 'insert',
      request: { zone, instanceResource: { name, ...instanceRequestBody(spec, 'link') } },
      isVisible: async () => isOwnInstance(await findInstanceByName(gce, name, zone), spec.ownerId),
    },
    call,
  );
}

async function insertInstances(
  gce: GceConnection,
  targets: readonly Target<GceOptions>[],
  spec: GceInstanceSpec,
  call: CreateCall,
): Promise<void> {
  const { zone } = spec.options;
  const names = targets.map(instanceName);
  await createOnce(
    gce,
    {
      what: BATCH_REQUEST,
      ownerId: spec.ownerId,
      client: 'InstancesClient',
      method: 'bulkInsert',
      request: {
        zone,
        bulkInsertInstanceResourceResource: {
          count: String(names.length),
          minCount: String(names.length),
          perInstanceProperties: Object.fromEntries(names.map((name) => [name, {}])),
          instanceProperties: instanceRequestBody(spec, 'name'),
        },
      },
      isVisible: async () => {
        for (const name of names)
          if (!isOwnInstance(await findInstanceByName(gce, name, zone), spec.ownerId)) return false;
        return true;
      },
    },
    call,
  );
}

/**
 * Labels each instance of a batch with its machine's name, since one request gave all of them the same label. The
 * labels are for people who look at the console, and for `gc`; nothing depends on them.
 */
async function setInstanceNames(
  gce: GceConnection,
  targets: readonly Target<GceOptions>[],
  call: DriverCall,
): Promise<void> {
  for (const target of targets) {
    await setInstanceName(gce, target).catch((error: unknown) => {
      if (call.signal.aborted || !(error instanceof SlipwayError)) throw error;
      call.note(`The instance of "${target.name}" could not be labeled with its name: ${error.message}`);
    });
  }
}

const MAX_LABEL_ATTEMPTS = 3;

async function setInstanceName(gce: GceConnection, target: Target<GceOptions>): Promise<void> {
  const label = nameLabel(target.name);
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
      // 412: another program has changed the labels since they were read.
      if (httpStatusOf(error) !== 412 || attempt >= MAX_LABEL_ATTEMPTS) throw error;
    }
  }
}
