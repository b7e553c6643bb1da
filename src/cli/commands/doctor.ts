import { z } from 'zod';
import { checkUp, type Checkup, type Row } from '../checkup.ts';
import { defineCommand, type Cli, type Command, type Result } from '../command.ts';
import { installMissing } from '../consent.ts';
import { linkPlugin, pluginHere } from '../plugin.ts';
import { table } from '../../terminal/print.ts';

const args = z.object({
  fix: z.boolean().default(false).meta({ description: 'Install what is missing, and link docker machine' }),
  yes: z.boolean().default(false).meta({ description: 'With --fix: without asking', short: 'y' }),
});

export const doctor: Command<typeof args> = defineCommand({
  name: 'doctor',
  summary: 'Check what this computer needs; exit status 0 when it is all there, else 1',
  words: '',
  args,
  details:
    'With --fix, it also installs what is missing, and makes the program docker-machine a plugin of the docker CLI: it shows the command, and asks unless --yes stands beside it.',
  async run({ args: { fix, yes } }, cli) {
    const checkup = await checkUp(cli);
    if (!fix) return shown(checkup);
    const lacks = checkup.missing.length > 0;
    if (lacks) await installMissing(mendable(checkup), { yes, again: 'slipway doctor --fix --yes' }, cli);
    const linked = await linkMachine(yes, cli);
    return shown(lacks || linked ? await checkUp(cli) : checkup);
  },
});

/** Whether `docker machine` has become a command that it was not. */
async function linkMachine(yes: boolean, cli: Cli): Promise<boolean> {
  const plugin = await pluginHere(cli);
  if (plugin?.state !== 'absent' && plugin?.state !== 'dangling') return false;
  if (!yes && !(await agreed(`To make "docker machine" work: ln -s ${plugin.program} ${plugin.path}`, cli)))
    return false;
  await linkPlugin(plugin);
  cli.say(`"docker machine" works now; undo it: rm ${plugin.path}`);
  return true;
}

async function agreed(what: string, { interactive, say }: Cli): Promise<boolean> {
  if (!interactive) {
    say(`${what}, or: slipway doctor --fix --yes`);
    return false;
  }
  say(what);
  const { confirmed } = await import('../wizard.ts');
  return confirmed('Link it now?');
}

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
