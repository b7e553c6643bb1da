import { z } from 'zod';
import { drivers as registered } from '../../drivers/registry.ts';
import { defineCommand, type Command } from '../command.ts';
import { formatTable } from '../../terminal/text-output.ts';
import { getDriverStatuses, getDriverProblem } from '../../drivers/availability.ts';

const args = z.object({});

export const drivers: Command<typeof args> = defineCommand({
  name: 'drivers',
  summary: 'List drivers, and whether they work on this computer',
  usage: '',
  args,
  async run(_input, { world: { computer } }) {
    const rows = await Promise.all(
      (await getDriverStatuses(registered, computer)).map(async (status) => {
        const { name, summary } = status.driver;
        const problem = await getDriverProblem(status, computer);
        return {
          name,
          summary,
          usable: problem === undefined,
          ...(problem && { reason: problem.reason, fix: problem.fix }),
          ...(status.missing.length > 0 && { missing: status.missing.map(({ command }) => command) }),
        };
      }),
    );
    const cells = rows.map((row) => [
      row.name,
      row.usable ? 'usable' : `${row.reason}; to fix it: ${row.fix}`,
      row.summary,
    ]);
    return { json: rows, text: formatTable(['DRIVER', 'STATE', 'DESCRIPTION'], cells) };
  },
});
