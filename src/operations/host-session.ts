/** Connects operations to a host over SSH: opens sessions, gathers facts, and runs steps. */
import { join, sep } from 'node:path';
import type { DriverManifest } from '../drivers/contract.ts';
import { getDriver } from '../drivers/registry.ts';
import { type ErrorCode, SlipwayError } from '../errors.ts';
import type { Machine, MachineSpec, SshTarget } from '../machine/model.ts';
import type { Log } from '../progress.ts';
import { type Facts, gatherFacts } from '../provision/facts.ts';
import { ownerOf } from '../provision/engine-owner.ts';
import { readFactsScript } from '../provision/facts-script.ts';
import { planHostKeyReplacement } from '../provision/host-steps.ts';
import { applyStep } from '../provision/apply-step.ts';
import { parsePreview, toPreviewStep } from '../provision/preview-step.ts';
import type { Plan, Step } from '../provision/step.ts';
import type { SshSession } from '../ssh/connection.ts';
import { formatKey } from '../ssh/host-key.ts';
import { deleteBootstrapHostKey, readPermanentHostKey } from './credentials.ts';
import { requireOwnHost } from './guards.ts';
import { pause, type World } from './world.ts';

/** An open connection, and its target with the host keys that are pinned now. */
export type HostConnection = { readonly session: SshSession; readonly ssh: SshTarget };

/** A connection to a host whose facts are known. The caller closes the session. */
export type HostVisit = { readonly session: SshSession; readonly facts: Facts; readonly address: string };

// --- connect ---------------------------------------------------------------------------------------------------------

/**
 * Opens the one connection of a run. `onPinned` gets the target with the keys that are pinned from now on, as soon as
 * the host has shown them, even if the login then fails.
 */
export async function openSession(
  target: SshTarget,
  world: World,
  onPinned?: (pinned: SshTarget) => Promise<void>,
): Promise<HostConnection> {
  let ssh = target;
  let hasNewKey = false;
  const client = {
    userHome: world.userHome,
    platform: world.computer.platform,
    env: world.computer.env,
    agentSocket: world.sshAgent,
    allowOpenSsh: !isOwnLoginKey(target.keyFile, world),
    signal: world.signal,
    debug: world.debug,
  };
  try {
    const session = await world.connect(target, client, (hop, key, judgement) => {
      if (judgement.verdict === 'first-seen') {
        const pinned = onPinned ? ' and now pinned' : '';
        world.progress.note(`Host key of ${hop.address}, seen for the first time${pinned}: ${formatKey(key)}`);
      }
      if (key === hop.bootstrapHostKey) return;
      hasNewKey ||= hop.hostKey === undefined;
      ssh = hop === target.jump ? { ...ssh, jump: { ...hop, hostKey: key } } : { ...ssh, hostKey: key };
    });
    return { session, ssh };
  } finally {
    if (hasNewKey) await onPinned?.(ssh);
  }
}

/** Returns whether Slipway itself created a login key, which the SSH library can always use. */
function isOwnLoginKey(keyFile: string | undefined, { computer }: World): boolean {
  return keyFile !== undefined && keyFile.startsWith(join(computer.storeHome ?? computer.home, sep));
}

export function connectTitle({ user }: SshTarget, address: string): string {
  return `Connect to ${user}@${address}`;
}

/** Opens a connection as a step of its own. */
export async function connectToHost(
  ssh: SshTarget,
  world: World,
  onPinned?: (pinned: SshTarget) => Promise<void>,
): Promise<HostConnection> {
  return await world.progress.step('connect', connectTitle(ssh, ssh.address), () => openSession(ssh, world, onPinned));
}

/** Connects to a machine's host and gathers its facts; refuses a host that belongs to another machine now. */
export async function visitOwnHost(spec: MachineSpec, ssh: SshTarget, world: World): Promise<HostVisit> {
  const { session } = await connectToHost(ssh, world).catch((error: unknown) => {
    throw explainConnectionError(error, { spec });
  });
  try {
    const facts = await gatherFactsInStep(session, ssh, spec, world);
    requireOwnHost(ownerOf(facts), spec, ssh.address);
    return { session, facts, address: ssh.address };
  } catch (error) {
    await session[Symbol.asyncDispose]();
    throw error;
  }
}

// --- retry -----------------------------------------------------------------------------------------------------------

/** How long to retry a connection, and after which errors, because they may be temporary. */
export type SshRetryPolicy = { readonly seconds: number; readonly retryableCodes: ReadonlySet<ErrorCode> };

const NO_RETRY: SshRetryPolicy = { seconds: 0, retryableCodes: new Set() };

/** For a host that is booting. */
export const START_RETRY: SshRetryPolicy = { seconds: 180, retryableCodes: new Set(['SSH_UNREACHABLE', 'SSH_LOST']) };

/**
 * For a first boot, which also writes the keys: until then the SSH server shows another host key and refuses logins.
 */
const FIRST_BOOT_RETRY: SshRetryPolicy = {
  seconds: 300,
  retryableCodes: new Set(['SSH_UNREACHABLE', 'SSH_LOST', 'SSH_REFUSED', 'HOST_KEY']),
};

export function retryPolicyFor({ phase }: Machine, { userDataIsPublic }: DriverManifest): SshRetryPolicy {
  return userDataIsPublic === true && phase !== 'ready' ? FIRST_BOOT_RETRY : NO_RETRY;
}

/** Repeats `work` once a second until it succeeds, fails with another error, or the policy's time is over. */
export async function retrySsh<T>(
  work: () => Promise<T>,
  { seconds, retryableCodes }: SshRetryPolicy,
  log: Log,
  world: World,
): Promise<T> {
  const end = performance.now() + seconds * 1000;
  for (;;) {
    try {
      return await work();
    } catch (error) {
      if (!(error instanceof SlipwayError) || !retryableCodes.has(error.code) || performance.now() > end) throw error;
      log(`Not yet: ${error.message}`);
      await pause(1000, world.signal);
    }
  }
}

/** Returns the error with a hint for machines whose keys and firewall Slipway has created; others are unchanged. */
export function explainConnectionError(error: unknown, { spec: { name, driver } }: Pick<Machine, 'spec'>): unknown {
  const { kind } = getDriver(driver);
  if (!(error instanceof SlipwayError) || kind === 'existing') return error;
  // Its login key is in the store, so no option names another one.
  if (error.code === 'USAGE')
    return new SlipwayError('LOCAL_FILES', error.message, {
      hint: `Restore the file from a backup: no other key can log in. Or create the machine again: slipway rm ${name}, then slipway create ${name}`,
      cause: error,
    });
  const hints: Partial<Record<ErrorCode, string>> =
    kind === 'local' ? connectionHintsForLocal(name) : connectionHintsForCloud(name, driver);
  const { code, message, detail, cause } = error;
  const hint = hints[code] ?? error.hint;
  return new SlipwayError(code, message, { ...(hint === undefined ? {} : { hint }), detail, cause });
}

function connectionHintsForLocal(name: string): Partial<Record<ErrorCode, string>> {
  const createAgain = `slipway rm ${name}, then slipway create ${name}`;
  return {
    SSH_UNREACHABLE: `To check that it runs: slipway status ${name}`,
    SSH_REFUSED: `Slipway's own key was removed from it, and no other key can log in. To create the machine again: ${createAgain}`,
    HOST_KEY: `Slipway gave it its host key, so the key was replaced in it. To create the machine again: ${createAgain}`,
  };
}

function connectionHintsForCloud(name: string, driver: string): Partial<Record<ErrorCode, string>> {
  return {
    SSH_UNREACHABLE: `To check that it runs: slipway status ${name}. To allow this computer's current IP address, run the same command again`,
    SSH_REFUSED: `Its user data may not have run. To see its boot messages, open its console at ${driver}`,
    HOST_KEY: `Slipway gave it its host key, so either its user data did not run, or the connection is intercepted. To undo: slipway rm ${name}`,
  };
}

// --- facts and steps -------------------------------------------------------------------------------------------------

/** Gathers a host's facts by one remote command. */
export async function gatherHostFacts(
  session: SshSession,
  ssh: SshTarget,
  { driver, engine }: MachineSpec,
  world: World,
): Promise<Facts> {
  const userFlag = userFlagOf(getDriver(driver));
  const host = { user: ssh.user, address: ssh.address, sudoPassword: world.sudoPassword, ...userFlag };
  return gatherFacts(session, await readFactsScript(world.readTemplate, engine.port), host, world.now);
}

/** Returns the driver's flag for the user to log in as, for hints. */
function userFlagOf({
  name,
  options,
  changeKindOf,
}: DriverManifest): Pick<Parameters<typeof gatherFacts>[2], 'userFlag'> {
  if (!('sshUser' in options.shape)) return {};
  const needsNewMachine = (changeKindOf?.('sshUser', '', '') ?? 'replace') === 'replace';
  return { userFlag: { flag: `--${name}-ssh-user`, needsNewMachine } };
}

export async function gatherFactsInStep(
  session: SshSession,
  ssh: SshTarget,
  spec: MachineSpec,
  world: World,
): Promise<Facts> {
  return await world.progress.step('facts', 'Gather facts about the host', () =>
    gatherHostFacts(session, ssh, spec, world),
  );
}

/** Runs one planned step on a host and shows its progress. */
export async function runStep(step: Step, { session, facts, address }: HostVisit, world: World): Promise<void> {
  const { readTemplate: template, sudoPassword, progress } = world;
  for (const note of step.notes ?? []) progress.note(note);
  await progress.step(step.id, step.title, (log) =>
    applyStep(step, {
      become: facts.become,
      template,
      sudoPassword,
      session,
      address,
      log: (line) =>
        line.startsWith(NOTE_MARK) ? progress.note(`${address}: ${line.slice(NOTE_MARK.length)}`) : log(line),
    }),
  );
}

/** What a script prints before a sentence that the user must see at once, such as why it waits. */
const NOTE_MARK = '!~ ';

/**
 * Asks the host what the steps of a plan would do there, and changes nothing. Returns the plan with the answers. Throws
 * what a step would throw, such as the refusal of an installation that would remove packages.
 */
export async function previewPlan(plan: Plan, { session, facts, address }: HostVisit, world: World): Promise<Plan> {
  const { readTemplate: template, sudoPassword, debug: log } = world;
  const previewed: Step[] = [];
  for (const step of plan) {
    const preview = toPreviewStep(step);
    const output =
      preview && (await applyStep(preview, { become: facts.become, template, sudoPassword, session, address, log }));
    previewed.push(output === undefined ? step : { ...step, preview: parsePreview(output) });
  }
  return previewed;
}

/**
 * Replaces a host key from public user data, which others may have read, by the machine's permanent one, over the
 * connection that the first key has verified. Returns the target without the bootstrap key.
 */
export async function replaceBootstrapHostKey(
  { bootstrapHostKey: bootstrapKey, ...ssh }: SshTarget,
  visit: HostVisit,
  spec: MachineSpec,
  world: World,
): Promise<SshTarget> {
  if (bootstrapKey === undefined) return ssh;
  const paths = world.store.paths(spec.name);
  if (visit.session.hostKey === bootstrapKey)
    await runStep(planHostKeyReplacement(await readPermanentHostKey(spec.name, paths), visit.facts), visit, world);
  await deleteBootstrapHostKey(paths);
  return ssh;
}
