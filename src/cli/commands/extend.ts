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
  summary: 'Change or remove the deadline of machines',
  usage: '<names...>',
  args,
  details:
    'The last argument is the additional time: slipway extend web 2h. It counts from the deadline, or from now if the deadline has passed or there is none. "never" removes the deadline. A stopped machine gets its new deadline at its next start.',
  async run({ positionals }, cli) {
    const { names, extension } = parseWords(positionals);
    await requireMachines(names, cli);
    return await runForEach(names, cli, async (name, world) => {
      const extended = await extendMachine(name, extension, world);
      const { machine, hostUpdated } = extended;
      return {
        json: { name, deadline: machine.deadline ?? null, told: hostUpdated },
        text: formatExtended(extended, world.now()),
      };
    });
  },
});

function parseWords(words: readonly string[]): {
  readonly names: readonly string[];
  readonly extension: DeadlineExtension;
} {
  const names = words.slice(0, -1);
  const time = words.at(-1) ?? '';
  const invalid = names.find((name) => !isMachineName(name));
  if (invalid !== undefined) throw invalidNameError(invalid);
  const isTime = time === 'never' || isDuration(time);
  if (names.length > 0 && isTime) return { names, extension: time === 'never' ? time : { time } };
  const name = names[0] ?? (isTime ? 'NAME' : time);
  throw new SlipwayError(
    'USAGE',
    isTime
      ? `A machine name is required: ${JSON.stringify(time)} is only the time`
      : `${JSON.stringify(time)} is not a valid time`,
    { hint: `For example: slipway extend ${name} 2h, or slipway extend ${name} never` },
  );
}

function formatExtended({ machine, hostUpdated }: ExtendResult, now: Date): string {
  const { name, driver } = machine.spec;
  const deadline = machine.deadline === undefined ? 'has no deadline' : formatDeadline(machine, now);
  const effect = machine.deadline === undefined ? '' : ` (${describeAutoStop(machine, getDriver(driver), 'it')})`;
  const pending = hostUpdated ? '' : `. The machine is stopped and gets it at its next start: slipway start ${name}`;
  return `${name} ${deadline}${effect}${pending}`;
}
