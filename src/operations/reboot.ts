import { type ErrorCode, SlipwayError } from '../errors.ts';
import type { ReadyMachine, SshTarget } from '../machine/model.ts';
import { applyStep } from '../provision/run-step.ts';
import type { Facts } from '../provision/facts.ts';
import { ownerOf } from '../provision/engine-owner.ts';
import { planReboot } from '../provision/host-steps.ts';
import { gatherHostFacts, openSession, type SshRetryPolicy, retrySsh, stepContextFor } from './host-session.ts';
import type { World } from './world.ts';

/** A server in a rack looks at its memory and disks first. */
const REBOOT_TIMEOUT_SECONDS = 600;

/** What is to be expected of a host that goes down, and of one that comes up. */
const RETRYABLE_CODES: ReadonlySet<ErrorCode> = new Set([
  'SSH_UNREACHABLE',
  'SSH_LOST',
  'SSH_REFUSED',
  'REMOTE_COMMAND',
  'SUDO',
  'MACHINE_NOT_READY',
]);

/** Tells a host to boot, and does not end before another boot of it answers over SSH. */
export async function rebootHost(
  { spec: { id, name } }: ReadyMachine,
  ssh: SshTarget,
  world: World,
  seconds: number = REBOOT_TIMEOUT_SECONDS,
): Promise<void> {
  const { progress } = world;
  const before = await requestReboot(id, name, ssh, world);
  await progress.step('boot', `Wait for ${name} to boot`, async (log) => {
    const patience: SshRetryPolicy = { seconds, retryableCodes: RETRYABLE_CODES };
    await retrySsh(() => requireRebooted(before, ssh, world), patience, log, world).catch((error: unknown) => {
      throw explainRebootError(error, name, ssh, seconds);
    });
  });
}

async function requestReboot(id: string, name: string, ssh: SshTarget, world: World): Promise<Facts> {
  const { progress } = world;
  const { session } = await progress.step('connect', `Connect to ${ssh.user}@${ssh.address}`, () =>
    openSession(ssh, world),
  );
  await using _session = session;
  const facts = await progress.step('facts', 'Look at the host', () => gatherHostFacts(session, ssh, world));
  const owner = ownerOf(facts);
  if (owner && owner.id !== id) {
    throw new SlipwayError('MACHINE_NOT_READY', `${ssh.address} is the machine "${owner.name}" by now`, {
      hint: `Take it back first: slipway provision ${name}`,
    });
  }
  const step = planReboot(facts);
  await progress.step(step.id, step.title, (log) =>
    applyStep(step, { ...stepContextFor(facts, world), session, address: ssh.address, log }),
  );
  return facts;
}

async function requireRebooted(before: Facts, ssh: SshTarget, world: World): Promise<void> {
  const { session } = await openSession(ssh, world);
  await using _session = session;
  const now = await gatherHostFacts(session, ssh, world);
  if (now.bootId !== before.bootId) return;
  throw new SlipwayError('MACHINE_NOT_READY', `${ssh.address} has not gone down yet`);
}

function explainRebootError(error: unknown, name: string, { address }: SshTarget, seconds: number): unknown {
  if (!(error instanceof SlipwayError)) return error;
  const { code, message, detail } = error;
  if (code === 'CANCELED') {
    return new SlipwayError('CANCELED', `Stopped before the end, as you asked: "${name}" boots all the same`, {
      hint: `See how it is: slipway status ${name}`,
      cause: error,
    });
  }
  if (!RETRYABLE_CODES.has(code)) return error;
  const why = `"${name}" did not come back within ${Math.round(seconds / 60)} minutes of its reboot: ${message}`;
  return new SlipwayError('BOOT_FAILED', why, {
    hint: `See the console of ${address}; once it answers, slipway status ${name} tells how it is, and slipway provision ${name} mends it`,
    detail,
    cause: error,
  });
}
