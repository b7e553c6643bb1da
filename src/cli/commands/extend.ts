import { z } from 'zod';
import { driverNamed } from '../../drivers/registry.ts';
import { SlipwayError } from '../../errors.ts';
import { extendMachine, type Extended, type More } from '../../operations/extend.ts';
import { shownDeadline } from '../../operations/deadline.ts';
import { fate } from '../../operations/lifetime.ts';
import { isMachineName } from '../../machine/model.ts';
import { isDuration, sudoPassword } from '../../machine/spec.ts';
import { badName } from '../../machine/store.ts';
import { defineCommand, type Command } from '../command.ts';
import { allKnown, onEach } from './each.ts';

const args = z.object({ sudoPassword });

export const extend: Command<typeof args> = defineCommand({
  name: 'extend',
  summary: 'Move the deadline of machines, or take it away',
  words: '<names...>',
  args,
  details:
    'The last word says how much later: slipway extend web 2h. It counts from the deadline, or from now where that has passed or there was none; "never" takes it away. One that is stopped is told at its next start.',
  async run({ words }, cli) {
    const { names, more } = wordsOf(words);
    await allKnown(names, cli);
    return await onEach(names, cli, async (name, world) => {
      const extended = await extendMachine(name, more, world);
      const { machine, told } = extended;
      return { json: { name, deadline: machine.deadline ?? null, told }, text: sentence(extended, world.now()) };
    });
  },
});

function wordsOf(words: readonly string[]): { readonly names: readonly string[]; readonly more: More } {
  const names = words.slice(0, -1);
  const time = words.at(-1) ?? '';
  const wrong = names.find((name) => !isMachineName(name));
  if (wrong !== undefined) throw badName(wrong);
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

function sentence({ machine, told }: Extended, now: Date): string {
  const { name, driver } = machine.spec;
  const when = machine.deadline === undefined ? 'has no deadline' : shownDeadline(machine, now);
  const then = machine.deadline === undefined ? '' : ` (${fate(machine, driverNamed(driver))})`;
  const how = told ? '' : `; it is stopped, and is told at its next start: slipway start ${name}`;
  return `${name} ${when}${then}${how}`;
}
