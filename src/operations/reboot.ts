import { type ErrorCode, SlipwayError } from '../errors.ts';
import type { MachineSpec, ReadyMachine, SshTarget } from '../machine/model.ts';
import type { Facts } from '../provision/facts.ts';
import { planReboot } from '../provision/host-steps.ts';
import { gatherHostFacts, openSession, retrySsh, runStep, type SshRetryPolicy, visitOwnHost } from './host-session.ts';
import type { World } from './world.ts';

/** Long enough for a server that checks its memory and disks before it boots. */
const REBOOT_TIMEOUT_SECONDS = 600;

/** The errors of a host that is shutting down or booting. */
const RETRYABLE_CODES: ReadonlySet<ErrorCode> = new Set([
  'SSH_UNREACHABLE',
  'SSH_LOST',
  'SSH_REFUSED',
  'REMOTE_COMMAND',
  'SUDO',
  'MACHINE_NOT_READY',
]);

/** Reboots a host and waits until it answers over SSH with a new boot id. Throws `BOOT_FAILED` after `seconds`. */
export async function rebootHost(
  { spec }: ReadyMachine,
  ssh: SshTarget,
  world: World,
  seconds: number = REBOOT_TIMEOUT_SECONDS,
): Promise<void> {
  const { name } = spec;
  const { progress } = world;
  const before = await requestReboot(spec, ssh, world);
  await progress.step('boot', `Wait for ${name} to boot`, async (log) => {
    const retry: SshRetryPolicy = { seconds, retryableCodes: RETRYABLE_CODES };
    await retrySsh(() => requireRebooted(before, spec, ssh, world), retry, log, world).catch((error: unknown) => {
      throw explainRebootError(error, name, ssh, seconds);
    });
  });
}

async function requestReboot(spec: MachineSpec, ssh: SshTarget, world: World): Promise<Facts> {
  const visit = await visitOwnHost(spec, ssh, world);
  await using _session = visit.session;
  await runStep(planReboot(visit.facts), visit, world);
  return visit.facts;
}

async function requireRebooted(before: Facts, spec: MachineSpec, ssh: SshTarget, world: World): Promise<void> {
  const { session } = await openSession(ssh, world);
  await using _session = session;
  const now = await gatherHostFacts(session, ssh, spec, world);
  if (now.bootId !== before.bootId) return;
  throw new SlipwayError('MACHINE_NOT_READY', `Host ${ssh.address} has not shut down yet`);
}

function explainRebootError(error: unknown, name: string, { address }: SshTarget, seconds: number): unknown {
  if (!(error instanceof SlipwayError)) return error;
  const { code, message, detail } = error;
  if (code === 'CANCELED') {
    return new SlipwayError('CANCELED', `Interrupted: machine "${name}" is still rebooting`, {
      hint: `To see its state: slipway status ${name}`,
      cause: error,
    });
  }
  if (!RETRYABLE_CODES.has(code)) return error;
  const why = `Machine "${name}" did not answer within ${Math.round(seconds / 60)} minutes of its reboot: ${message}`;
  return new SlipwayError('BOOT_FAILED', why, {
    hint: `Check the console of ${address}. Once it answers, check it: slipway status ${name}, and fix it: slipway provision ${name}`,
    detail,
    cause: error,
  });
}
