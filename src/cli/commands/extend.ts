import { z } from 'zod';
import { getDriver } from '../../drivers/registry.ts';
import { SlipwayError } from '../../errors.ts';
import { extendMachine, type ExtendResult, type DeadlineExtension } from '../../operations/extend.ts';
import { formatDeadline } from '../../operations/deadline.ts';
import { describeAutoStop } from '../../operations/lifetime.ts';
import { isMachineName } from '../../machine/model.ts';
import { isDuration, sudoPasswordOption } from '../../machine/spec.ts';
import { invalidNameError } from '../../machine/store.ts';
import { defineCommand, type Command } from '../command.ts';
import { requireMachines, runForEach } from './for-each-machine.ts';

const args = z.object({ sudoPassword: sudoPasswordOption });

export const extend: Command<typeof args> = defineCommand({
  name: 'extend',
  summary: 'Move the deadline of machines, or take it away',
  usage: '<names...>',
  args,
  details:
    'The last word says how much later: slipway extend web 2h. It counts from the deadline, or from now where that has passed or there was none; "never" takes it away. One that is stopped is told at its next start.',
  async run({ positionals }, cli) {
    const { names, more } = parseWords(positionals);
    await requireMachines(names, cli);
    return await runForEach(names, cli, async (name, world) => {
      const extended = await extendMachine(name, more, world);
      const { machine, hostUpdated } = extended;
      return {
        json: { name, deadline: machine.deadline ?? null, told: hostUpdated },
        text: formatExtended(extended, world.now()),
      };
    });
  },
});

function parseWords(words: readonly string[]): { readonly names: readonly string[]; readonly more: DeadlineExtension } {
  const names = words.slice(0, -1);
  const time = words.at(-1) ?? '';
  const wrong = names.find((name) => !isMachineName(name));
  if (wrong !== undefined) throw invalidNameError(wrong);
  if (names.length > 0 && (time === 'never' || isDuration(time)))
    return { names, more: time === 'never' ? time : { time } };
  const isTime = time === 'never' || isDuration(time);
  const name = names[0] ?? (isTime ? 'NAME' : time);
  throw new SlipwayError(
    'USAGE',
    isTime
      ? `How much later is said, ${time}, and of which machine is not`
      : `The last word says how much later, and ${JSON.stringify(time)} is no time`,
    { hint: `For example: slipway extend ${name} 2h, or slipway extend ${name} never` },
  );
}

function formatExtended({ machine, hostUpdated }: ExtendResult, now: Date): string {
  const { name, driver } = machine.spec;
  const when = machine.deadline === undefined ? 'has no deadline' : formatDeadline(machine, now);
  const then = machine.deadline === undefined ? '' : ` (${describeAutoStop(machine, getDriver(driver))})`;
  const how = hostUpdated ? '' : `; it is stopped, and is told at its next start: slipway start ${name}`;
  return `${name} ${when}${then}${how}`;
}
