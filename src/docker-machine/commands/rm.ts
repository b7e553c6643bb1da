import { removeMachine } from '../../operations/remove.ts';
import { SlipwayError } from '../../errors.ts';
import { defineOld, type Call } from '../command.ts';
import { Failure, failureOf, notThere, sentence } from '../failure.ts';
import { ending, knownDriver, notOurs, withoutDriver } from '../machines.ts';
import { isSlipways } from '../view.ts';

export const rm = defineOld({
  name: 'rm',
  summary: 'Remove a machine',
  operands: '[arg...]',
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
    const { ask, out, say, values, words, worldOf } = call;
    if (words.length === 0) throw new Failure('Error: Expected to get one or more machine names as arguments');
    const force = values.force === true;
    out(`About to remove ${words.join(', ')}`);
    out('WARNING: This action will delete both local reference and remote instance.');
    if (!force && values.y !== true && !/^y/i.test(await ask('Are you sure? (y/n): '))) return;
    const failures: string[] = [];
    await Promise.all(
      [...new Set(words)].map(async (name) => {
        try {
          await ending(name, call, async () => {
            await mayGo(name, force, call);
            await removeMachine(name, { deprovision: false, force }, worldOf(name));
          });
          out(`Successfully removed ${name}`);
        } catch (error) {
          failures.push(why(name, error));
        }
      }),
    );
    call.done();
    for (const failure of failures) say(failure);
    // With --force its callers expect success; what may be left is said above.
    if (failures.length > 0 && !(force && (await noneLeft(words, call)))) return 1;
  },
});

/** What can't be read at all is for `removeMachine` to judge. */
async function mayGo(name: string, force: boolean, { world: { store } }: Call): Promise<void> {
  const machine = await store.find(name).catch((error: unknown) => {
    if (error instanceof SlipwayError) return undefined;
    throw error;
  });
  if (machine === undefined) return;
  if (isSlipways(machine)) throw notOurs(name);
  if (!force && knownDriver(machine.spec.driver) === undefined) throw withoutDriver(machine.spec.driver);
}

function why(name: string, error: unknown): string {
  if (error instanceof Failure) return `Error removing host "${name}": ${error.message}`;
  if (!(error instanceof SlipwayError)) throw failureOf(error, name);
  const missing = error.code === 'MACHINE_NOT_FOUND' || error.code === 'USAGE';
  return `Error removing host "${name}": ${missing ? notThere(name).message : sentence(error)}`;
}

async function noneLeft(names: readonly string[], { world: { store } }: Call): Promise<boolean> {
  const there = await store.names();
  return !names.some((name) => there.includes(name));
}
