import type { ChildProcess } from 'node:child_process';
import { expect } from 'vitest';
import type { Cloud, CloudCall, Fault, Resource } from '../clouds/cloud.ts';
import { createUser, expectSuccess, type Outcome, type User } from './test-user.ts';

/** A cloud provider that the suites test with: the name of its driver, and a double in its place. */
export type CloudProvider = {
  readonly driver: string;
  /** Starts the double. Its instances run on hosts of the test bed, or have only addresses. */
  start(instances: 'with hosts' | 'without hosts'): Promise<Cloud>;
  /** The answer with which the provider throttles requests. */
  readonly throttlingFault: Fault;
  /** Flags that select another region or zone than the double's first, which stays fixed after the creation. */
  readonly otherPlace: readonly string[];
  /** The operations that create instances, and any resource except firewall rules. */
  readonly createOperation: RegExp;
  /** The driver's option for tags, and the operation that changes them. */
  readonly tags: { readonly option: string; readonly operation: RegExp };
  /** Variables of the double whose values Slipway must neither print nor store. */
  readonly secretVariables: readonly string[];
};

/** Creates a user whose environment variables direct the driver to this cloud. */
export async function createCloudUser(cloud: Cloud): Promise<User> {
  const user = await createUser();
  Object.assign(user.env, cloud.env);
  return user;
}

export function aliveInstances(cloud: Cloud): readonly Resource[] {
  return cloud.listAlive().filter(({ kind }) => kind === 'instance');
}

/** When to kill a create: around a call to its provider, by its number in this create, or around one of its steps. */
export type KillPoint =
  | { readonly call: number; readonly moment: 'before it is sent' | 'after it is sent' | 'after the answer' }
  | { readonly step: string; readonly moment: 'started' | 'done' };

export const KILL_MOMENTS = ['before it is sent', 'after it is sent', 'after the answer'] as const;

/** Runs a create and kills it with SIGKILL at this point. Returns false if it ended before it reached the point. */
export async function runCreateUntilKilled(
  user: User,
  cloud: Cloud,
  killPoint: KillPoint,
  argv: readonly string[],
): Promise<boolean> {
  const callsBefore = cloud.calls.length;
  const started = user.start('create', ...argv, '--json');
  const { process: child, ended } = started;
  const isKillCall = ({ n }: CloudCall): boolean => 'call' in killPoint && n - callsBefore === killPoint.call;
  cloud.onArrival = async (call) => {
    if (!isKillCall(call) || killPoint.moment === 'after the answer') return undefined;
    await killAndWait(child, ended);
    return { kind: killPoint.moment === 'before it is sent' ? 'drop request' : 'drop response' };
  };
  cloud.onAnswered = (call) => {
    if (isKillCall(call) && killPoint.moment === 'after the answer') child.kill('SIGKILL');
  };
  if ('step' in killPoint) killOnStep(child, killPoint);
  const { code } = await ended;
  cloud.onArrival = () => undefined;
  cloud.onAnswered = () => {};
  // The status of a process that SIGKILL ended.
  return code === 137;
}

async function killAndWait(child: ChildProcess, ended: Promise<Outcome>): Promise<void> {
  child.kill('SIGKILL');
  await ended;
}

function killOnStep(child: ChildProcess, { step, moment }: Extract<KillPoint, { step: string }>): void {
  let text = '';
  child.stdout?.on('data', (chunk: string) => {
    text += chunk;
    const reached = text
      .split('\n')
      .slice(0, -1)
      .map((line) => JSON.parse(line) as { event: string; id?: string; state?: string })
      .some((event) => event.event === 'step' && event.id === step && event.state === moment);
    if (reached) child.kill('SIGKILL');
  });
}

/** Runs a complete create, and returns its steps and its calls to the provider, in order. */
export async function traceCreate(
  user: User,
  cloud: Cloud,
  argv: readonly string[],
): Promise<{ readonly steps: readonly string[]; readonly calls: readonly CloudCall[] }> {
  const callsBefore = cloud.calls.length;
  const { stdout } = await expectSuccess(user.slipway('create', ...argv, '--json'));
  const events = stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as { event: string; id?: string; state?: string });
  const steps = events.flatMap(({ event, id, state }) => (event === 'step' && state === 'done' && id ? [id] : []));
  return { steps, calls: cloud.calls.slice(callsBefore) };
}

/** Expects no credential of this cloud in the output, nor in the files that Slipway stores. */
export async function expectNoCredential(
  user: User,
  cloud: Cloud,
  { secretVariables }: CloudProvider,
  outcomes: readonly Outcome[],
): Promise<void> {
  const secrets = secretVariables.map((name) => cloud.env[name]).filter((text) => text !== undefined);
  const output = outcomes.map(({ stdout, stderr }) => stdout + stderr).join('\n');
  for (const secret of secrets) {
    expect(output).not.toContain(secret);
    expect((await user.run('grep', ['-rF', '-e', secret, `${user.home}/.slipway`])).code).toBe(1);
  }
  // Google's credentials: the service account's private key, and access tokens.
  expect(output).not.toMatch(/ya29\.|PRIVATE KEY|Bearer /);
  const filesWithSecrets = await user.run('grep', [
    '-rlE',
    '-e',
    'ya29\\.|BEGIN PRIVATE KEY|Bearer ',
    `${user.home}/.slipway/machines`,
  ]);
  // PEM files contain the machine's own private keys.
  expect(filesWithSecrets.stdout.split('\n').filter((file) => file !== '' && !file.endsWith('.pem'))).toEqual([]);
}
