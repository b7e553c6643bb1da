import { z } from 'zod';
import { drivers as registered } from '../../drivers/registry.ts';
import { defineCommand, type Command } from '../command.ts';
import { formatTable } from '../../terminal/text-output.ts';
import { getDriverStatuses, getDriverProblem } from '../../drivers/availability.ts';

const args = z.object({});

export const drivers: Command<typeof args> = defineCommand({
  name: 'drivers',
  summary: 'List drivers, and whether they work here',
  usage: '',
  args,
  async run(_given, { world: { computer } }) {
    const rows = await Promise.all(
      (await getDriverStatuses(registered, computer)).map(async (standing) => {
        const { name, summary } = standing.driver;
        const troubles = await getDriverProblem(standing, computer);
        return {
          name,
          summary,
          usable: troubles === undefined,
          ...(troubles && { reason: troubles.reason, fix: troubles.fix }),
          ...(standing.missing.length > 0 && { missing: standing.missing.map(({ command }) => command) }),
        };
      }),
    );
    const cells = rows.map((row) => [
      row.name,
      row.usable ? 'usable' : `${row.reason}; mend it: ${row.fix}`,
      row.summary,
    ]);
    return { json: rows, text: formatTable(['DRIVER', 'HERE', 'WHAT IT IS'], cells) };
  },
});
