import type { Instance as AwsInstance, RunInstancesCommandInput, RunInstancesCommandOutput } from '@aws-sdk/client-ec2';
import { BATCH_REQUEST, lastBatchRequestOf, ownerIdOf, ownerTargetOf } from '../cloud/batch.ts';
import { pollUntil, waitUntilVisible } from '../cloud/eventual-consistency.ts';
import { retry } from '../cloud/retry.ts';
import { SlipwayError } from '../../errors.ts';
import type { CreateCall, FirstBootConfig, Target } from '../contract.ts';
import { requireMachineAccount } from './account.ts';
import type { Ec2Connection } from './client.ts';
import { causeAwsCode, errorKindOf, formatAwsReason, type AwsErrorKind } from './errors.ts';
import { setInstanceNames } from './instance-names.ts';
import { runInstancesInput } from './instance-request.ts';
import {
  CONSISTENCY_RETRY_SECONDS,
  CONSISTENCY_WINDOW,
  findInstances,
  isLive,
  LIVE_STATES,
  TERMINATED_STATES,
} from './instances.ts';
import type { Ec2Options } from './options.ts';
import { ensureSecurityGroup, resolveSecurityGroupIds } from './security-group.ts';
import { buildTags } from './tags.ts';
import { buildUserData, readUserData } from './user-data.ts';

/** Capacity may become free within minutes, but a create should soon report that there is none. */
const CAPACITY_RETRY_SECONDS = 15;
/**
 * The client token of a terminated instance can't be used for another one, so each further attempt adds a number to it.
 */
const MAX_LAUNCH_ATTEMPTS = 5;
/** EC2 creates nothing for a request that it refuses with these errors. */
const DEFINITE_REFUSALS: ReadonlySet<AwsErrorKind> = new Set(['quota', 'capacity', 'refused']);
/**
 * With these errors, EC2 refuses a request before it looks at its token: they say nothing about an earlier attempt
 * whose response was lost.
 */
const REFUSALS_OF_ONE_ATTEMPT: ReadonlySet<AwsErrorKind> = new Set([
  'file',
  'no credentials',
  'credentials',
  'forbidden',
  'account',
  'throttled',
]);

/** Creates the instance of one machine, or of all machines of a batch by one request. Keeps what exists. */
export async function createInstances(
  aws: Ec2Connection,
  targets: readonly [Target<Ec2Options>, ...Target<Ec2Options>[]],
  boot: FirstBootConfig,
  call: CreateCall,
): Promise<void> {
  const [first] = targets;
  const isBatch = targets.length > 1;
  const setNames = async (launched: readonly AwsInstance[]): Promise<void> => {
    if (isBatch) await setInstanceNames(aws, targets, launched);
  };
  const doAllExist = async (): Promise<boolean> => {
    const all = await Promise.all(targets.map(async (target) => findInstances(aws, target)));
    return all.every((instances) => instances.length > 0);
  };
  if (await doAllExist()) return await setNames([]);
  // An earlier run may have resolved the options with credentials of another account.
  await requireMachineAccount(aws, first.options);
  if (!isBatch && (await hasBatchInstance(aws, first, call))) return;
  const groups: string[] = [];
  const launch = async (): Promise<readonly AwsInstance[]> => {
    const input = await buildRequest(aws, targets, boot, call, (id) => groups.push(id));
    const token = ownerIdOf(ownerTargetOf(targets));
    return await launchInstances(aws, { token, input, call, targets, doAllExist });
  };
  const launched = await launch().catch(async (error: unknown) => {
    if (isDefiniteRefusal(error) && !targets.some(hasRecentRequest)) await undoRefusedRequest(aws, groups, call);
    throw error;
  });
  await setNames(launched);
}

/** Returns whether an earlier create may have requested an instance that EC2 does not show yet. */
function hasRecentRequest({ lastRequest }: Target<unknown>): boolean {
  return lastRequest !== undefined && Date.parse(lastRequest.at) + CONSISTENCY_WINDOW.seconds * 1000 > Date.now();
}

/**
 * Deletes the security group of a request that EC2 refused, so that nothing is left of it and the machine can be
 * created with other options. If that fails, the record says that the group exists.
 */
async function undoRefusedRequest(aws: Ec2Connection, groups: readonly string[], call: CreateCall): Promise<void> {
  try {
    for (const GroupId of groups)
      await aws.send('deleting its security group', new aws.sdk.DeleteSecurityGroupCommand({ GroupId }));
  } catch (error) {
    call.log(`The security group stays: ${formatAwsReason(error)}`);
    return await call.recordRequest('security group');
  }
  await call.clearRequest();
}

async function buildRequest(
  aws: Ec2Connection,
  targets: readonly [Target<Ec2Options>, ...Target<Ec2Options>[]],
  boot: FirstBootConfig,
  call: CreateCall,
  onGroup: (id: string) => void,
): Promise<RunInstancesCommandInput> {
  const [first] = targets;
  const { options, onShutdown, lifetime } = first;
  const owner = ownerTargetOf(targets);
  const userData = buildUserData(boot, await readUserData(options));
  const name = targets.length > 1 ? `${first.name} and ${targets.length - 1} more` : first.name;
  const tags = await buildTags(owner, call.computer, name);
  const userGroups = await resolveSecurityGroupIds(aws, options);
  const group = await ensureSecurityGroup(aws, owner, { tags, enginePort: boot.enginePort, onGroup }, call);
  const securityGroupIds = [...(group === undefined ? [] : [group]), ...userGroups];
  const terminateOnShutdown = onShutdown === 'removed' && lifetime?.ttl !== undefined;
  return runInstancesInput({ options, userData, securityGroupIds, tags, terminateOnShutdown }, targets.length);
}

type Launch = {
  /** Only this machine or batch uses the token, so that a repeated request never creates a second instance. */
  readonly token: string;
  readonly input: RunInstancesCommandInput;
  readonly call: CreateCall;
  readonly targets: readonly Target<unknown>[];
  /** Returns whether the instances of an earlier request show. */
  readonly doAllExist: () => Promise<boolean>;
};

/** Requests the instances and returns those in the response; none if an earlier request has created them. */
async function launchInstances(aws: Ec2Connection, launch: Launch): Promise<readonly AwsInstance[]> {
  const { token, input, call } = launch;
  const waitUntilAllExist = (): Promise<boolean> =>
    pollUntil(launch.doAllExist, { seconds: CONSISTENCY_RETRY_SECONDS }, call.signal);
  for (let attempt = 1; attempt <= MAX_LAUNCH_ATTEMPTS; attempt += 1) {
    const ClientToken = attempt === 1 ? token : `${token}-${attempt}`;
    try {
      const { Instances = [] }: RunInstancesCommandOutput = await runInstances(aws, { ...input, ClientToken }, call);
      if (Instances.some(({ State }) => LIVE_STATES.includes(State?.Name ?? 'pending'))) {
        // Until EC2 shows the new instance, it shows only the terminated one.
        if (attempt > 1) await waitUntilAllExist();
        return Instances;
      }
      call.log(`EC2 has terminated the instances of the token ${ClientToken}`);
    } catch (error) {
      if (!isTokenMismatch(error)) throw error;
      // An earlier request used the token with other values, such as a deadline that has been counted again. Its
      // instances are the machine's: they may show late, or have ended since.
      let hasEnded = false;
      const isDecided = async (): Promise<boolean> => {
        hasEnded = await hasEndedInstance(aws, launch.targets, ClientToken);
        return hasEnded || (await launch.doAllExist());
      };
      const isShown = await pollUntil(isDecided, { seconds: CONSISTENCY_RETRY_SECONDS }, call.signal);
      if (isShown && !hasEnded) return [];
    }
  }
  throw new SlipwayError(
    'PROVIDER_REFUSED',
    `EC2 terminated ${MAX_LAUNCH_ATTEMPTS} instances that it created for this machine`,
    { hint: 'Read the state transition reason of the instances in the EC2 console, then try again' },
  );
}

/** Returns whether the request with this token created an instance that has ended since. */
async function hasEndedInstance(
  aws: Ec2Connection,
  targets: readonly Target<unknown>[],
  token: string,
): Promise<boolean> {
  const ended = await Promise.all(targets.map(async (target) => findInstances(aws, target, TERMINATED_STATES)));
  return ended.flat().some(({ ClientToken }) => ClientToken === token);
}

/**
 * Returns whether EC2 certainly created no instance. False for a canceled request, which may have reached EC2, and for
 * a refused attempt after one without a response.
 */
function isDefiniteRefusal(error: unknown): boolean {
  const cause = error instanceof SlipwayError ? error.cause : error;
  if (!(cause instanceof Error)) return false;
  const kind = errorKindOf(cause);
  return DEFINITE_REFUSALS.has(kind) || (REFUSALS_OF_ONE_ATTEMPT.has(kind) && attemptsOf(cause) === 1);
}

/** Returns how many times the SDK sent the request of this error; the SDK retries those without a response. */
function attemptsOf(error: Error): number {
  return (error as { $metadata?: { attempts?: number } }).$metadata?.attempts ?? 1;
}

function isTokenMismatch(error: unknown): boolean {
  return causeAwsCode(error) === 'IdempotentParameterMismatch';
}

async function runInstances(
  aws: Ec2Connection,
  input: RunInstancesCommandInput,
  call: CreateCall,
): Promise<RunInstancesCommandOutput> {
  const isOne = input.MaxCount === 1;
  const doing = isOne ? 'creating the instance' : `creating ${input.MaxCount} instances`;
  const request = async (): Promise<RunInstancesCommandOutput> => {
    // Before each attempt, because its instances may show late, counted from then.
    await call.recordRequest(isOne ? 'instance' : BATCH_REQUEST);
    return await aws.send(doing, new aws.sdk.RunInstancesCommand(input));
  };
  const requestWithNewGroup = (): Promise<RunInstancesCommandOutput> =>
    retry(doing, request, {
      transientReason: (error) =>
        causeAwsCode(error) === 'InvalidGroup.NotFound' ? 'EC2 does not show its security group yet' : undefined,
      seconds: CONSISTENCY_RETRY_SECONDS,
      call,
    });
  return await retry(doing, requestWithNewGroup, {
    transientReason: (error) =>
      causeAwsCode(error) === 'InsufficientInstanceCapacity' ? 'EC2 has no capacity for it at the moment' : undefined,
    seconds: CAPACITY_RETRY_SECONDS,
    call,
  });
}

/**
 * Returns whether the request for the machine's batch has created a live instance for it. The instance may show late,
 * so this waits for it before another one is created for this machine alone.
 */
async function hasBatchInstance(aws: Ec2Connection, target: Target<unknown>, call: CreateCall): Promise<boolean> {
  const request = lastBatchRequestOf(target);
  if (!request || Date.parse(request.at) + CONSISTENCY_WINDOW.seconds * 1000 <= Date.now()) return false;
  const find = async (): Promise<readonly AwsInstance[] | undefined> => {
    const found = await findInstances(aws, target, [...LIVE_STATES, ...TERMINATED_STATES]);
    return found.length > 0 ? found : undefined;
  };
  const shown = await waitUntilVisible(request, find, CONSISTENCY_WINDOW, call);
  return shown?.some(isLive) ?? false;
}
