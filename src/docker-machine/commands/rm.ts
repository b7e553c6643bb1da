import { removeMachine } from '../../operations/remove.ts';
import { SlipwayError } from '../../errors.ts';
import { defineDockerMachineCommand, type DockerMachineInvocation } from '../docker-machine-command.ts';
import {
  DockerMachineError,
  toDockerMachineError,
  machineNotFoundError,
  formatSlipwayError,
} from '../docker-machine-error.ts';
import {
  driverNotFoundError,
  findDriverName,
  managedBySlipwayError,
  runAndReportEnd,
  settleWithinLimit,
} from '../machine-arguments.ts';
import { isManagedBySlipway } from '../config-json/mark.ts';

export const rm = defineDockerMachineCommand({
  name: 'rm',
  summary: 'Remove a machine',
  argsUsage: '[arg...]',
  details: 'Arguments are [machine-name...]',
  flags: [
    {
      names: ['force', 'f'],
      kind: 'switch',
      usage: 'Remove local configuration even if machine cannot be removed, also implies an automatic yes (`-y`)',
    },
    {
      names: ['y'],
      kind: 'switch',
      usage: 'Assumes automatic yes to proceed with remove, without prompting further user confirmation',
    },
  ],
  async run(call) {
    const { ask, print, say, values, words } = call;
    if (words.length === 0)
      throw new DockerMachineError('Error: Expected to get one or more machine names as arguments');
    const force = values.force === true;
    print(`About to remove ${words.join(', ')}`);
    print('WARNING: This action will delete both local reference and remote instance.');
    if (!force && values.y !== true && !/^y/i.test(await ask('Are you sure? (y/n): '))) return;
    const failures = await removeMachines([...new Set(words)], force, call);
    call.closeProgress();
    for (const failure of failures) say(failure);
    // Scripts that use --force expect success; the messages say what may be left at the provider.
    if (failures.length > 0 && !(force && (await areAllGone(words, call)))) return 1;
  },
});

/** Removes these machines, a limited number at a time, and returns the messages of those that failed. */
async function removeMachines(
  names: readonly string[],
  force: boolean,
  call: DockerMachineInvocation,
): Promise<readonly string[]> {
  const failures: string[] = [];
  const removeOne = async (name: string): Promise<void> => {
    try {
      await runAndReportEnd(name, call, async () => {
        await requireRemovable(name, force, call);
        await removeMachine(name, { deprovision: false, force }, call.worldOf(name));
      });
      call.print(`Successfully removed ${name}`);
    } catch (error) {
      failures.push(removalFailureMessage(name, error));
    }
  };
  for (const result of await settleWithinLimit(names, removeOne)) if (result.status === 'rejected') throw result.reason;
  return failures;
}

/**
 * Throws if the drop-in can't remove the machine. A record that can't be read passes: `removeMachine` handles it.
 */
async function requireRemovable(
  name: string,
  force: boolean,
  { world: { store } }: DockerMachineInvocation,
): Promise<void> {
  const machine = await store.find(name).catch((error: unknown) => {
    if (error instanceof SlipwayError) return undefined;
    throw error;
  });
  if (machine === undefined) return;
  if (isManagedBySlipway(machine)) throw managedBySlipwayError(name);
  if (!force && findDriverName(machine.spec.driver) === undefined) throw driverNotFoundError(machine.spec.driver);
}

function removalFailureMessage(name: string, error: unknown): string {
  if (error instanceof DockerMachineError) return `Error removing host "${name}": ${error.message}`;
  if (!(error instanceof SlipwayError)) throw toDockerMachineError(error, name);
  const isMissing = error.code === 'MACHINE_NOT_FOUND' || error.code === 'USAGE';
  return `Error removing host "${name}": ${isMissing ? machineNotFoundError(name).message : formatSlipwayError(error)}`;
}

async function areAllGone(names: readonly string[], { world: { store } }: DockerMachineInvocation): Promise<boolean> {
  const existing = await store.listNames();
  return !names.some((name) => existing.includes(name));
}
