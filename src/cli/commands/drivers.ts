import { z } from 'zod';
import { drivers as registered } from '../../drivers/index.ts';
import { defineCommand, type Command } from '../command.ts';
import { table } from '../print.ts';

const args = z.object({});

export const drivers: Command<typeof args> = defineCommand({
  name: 'drivers',
  summary: 'List drivers, and whether they work here',
  words: '',
  args,
  async run(_given, { world }) {
    const rows = await Promise.all(
      registered.map(async ({ name, summary, health }) => ({ name, summary, ...(await health(world.computer)) })),
    );
    const cells = rows.map((row) => [
      row.name,
      row.usable ? 'usable' : `${row.reason}; mend it: ${row.fix}`,
      row.summary,
    ]);
    return { json: rows, text: table(['DRIVER', 'HERE', 'WHAT IT IS'], cells) };
  },
});
