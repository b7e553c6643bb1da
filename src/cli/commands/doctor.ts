import { z } from 'zod';
import { checkUp, type Checkup, type Row } from '../checkup.ts';
import { defineCommand, type Command, type Result } from '../command.ts';
import { installMissing } from '../consent.ts';
import { table } from '../print.ts';

const args = z.object({
  fix: z.boolean().default(false).meta({ description: 'Install what is missing' }),
  yes: z.boolean().default(false).meta({ description: 'With --fix: without asking', short: 'y' }),
});

export const doctor: Command<typeof args> = defineCommand({
  name: 'doctor',
  summary: 'Check what this computer needs; exit status 0 when it is all there, else 1',
  words: '',
  args,
  details:
    'With --fix, it also installs what is missing: it shows the command, and asks unless --yes stands beside it.',
  async run({ args: { fix, yes } }, cli) {
    const checkup = await checkUp(cli);
    if (!fix || checkup.missing.length === 0) return shown(checkup);
    await installMissing(mendable(checkup), { yes, again: 'slipway doctor --fix --yes' }, cli);
    return shown(await checkUp(cli));
  },
});

/** One program that no package manager has is no reason to go without the others. */
function mendable({ missing, mending: { unpackaged } }: Checkup): Checkup['missing'] {
  const packaged = missing.filter((program) => !unpackaged.includes(program));
  return packaged.length > 0 ? packaged : missing;
}

const MARKS: Readonly<Record<Row['state'], string>> = {
  ok: '✔ ok',
  missing: '✗ missing',
  optional: '• optional',
  note: '• note',
};

function shown({ rows, ready, missing, mending }: Checkup): Result {
  const cells = rows.map(({ what, state, detail }) => [what, MARKS[state], detail]);
  const mend =
    missing.length === 0
      ? []
      : ['', `To mend it: ${mending.line}`, ...(mending.complete ? ['Or: slipway doctor --fix'] : [])];
  return {
    json: {
      ready,
      rows: rows.map((row) => ({ ...row, what: row.what.trim() })),
      missing: missing.map(({ command }) => command),
      fix: missing.length === 0 ? null : mending.line,
    },
    text: [table(['WHAT', 'STATE', 'DETAIL'], cells), ...mend].join('\n'),
    status: ready ? 0 : 1,
  };
}
