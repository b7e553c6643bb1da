import { z } from 'zod';
import { runDiagnostics, type Diagnostics, type DoctorRow } from '../diagnostics.ts';
import { defineCommand, type Cli, type Command, type CommandResult } from '../command.ts';
import { installMissing } from '../../terminal/install-programs.ts';
import { linkPlugin, findPlugin } from '../docker-plugin.ts';
import { formatTable } from '../../terminal/text-output.ts';

const args = z.object({
  fix: z.boolean().default(false).meta({ description: 'Install what is missing, and link docker machine' }),
  yes: z.boolean().default(false).meta({ description: 'With --fix: without asking', short: 'y' }),
});

export const doctor: Command<typeof args> = defineCommand({
  name: 'doctor',
  summary: 'Check what this computer needs; exit status 0 when it is all there, else 1',
  usage: '',
  args,
  details:
    'With --fix, it also installs what is missing, and makes the program docker-machine a plugin of the docker CLI: it shows the command, and asks unless --yes stands beside it.',
  async run({ args: { fix, yes } }, cli) {
    const checkup = await runDiagnostics(cli);
    if (!fix) return doctorResult(checkup);
    const lacks = checkup.missing.length > 0;
    if (lacks)
      await installMissing(selectInstallable(checkup), { yes, consentCommand: 'slipway doctor --fix --yes' }, cli);
    const linked = await linkPluginIfConfirmed(yes, cli);
    return doctorResult(lacks || linked ? await runDiagnostics(cli) : checkup);
  },
});

/** Whether `docker machine` has become a command that it was not. */
async function linkPluginIfConfirmed(yes: boolean, cli: Cli): Promise<boolean> {
  const plugin = await findPlugin(cli);
  if (plugin?.state !== 'absent' && plugin?.state !== 'dangling') return false;
  if (!yes && !(await confirmLink(`To make "docker machine" work: ln -s ${plugin.program} ${plugin.path}`, cli)))
    return false;
  await linkPlugin(plugin);
  cli.say(`"docker machine" works now; undo it: rm ${plugin.path}`);
  return true;
}

async function confirmLink(what: string, { interactive, say }: Cli): Promise<boolean> {
  if (!interactive) {
    say(`${what}, or: slipway doctor --fix --yes`);
    return false;
  }
  say(what);
  const { confirm } = await import('../../terminal/questions.ts');
  return confirm('Link it now?');
}

/** One program that no package manager has is no reason to go without the others. */
function selectInstallable({ missing, installPlan: { unpackaged } }: Diagnostics): Diagnostics['missing'] {
  const packaged = missing.filter((program) => !unpackaged.includes(program));
  return packaged.length > 0 ? packaged : missing;
}

const STATE_MARKS: Readonly<Record<DoctorRow['state'], string>> = {
  ok: '✔ ok',
  missing: '✗ missing',
  optional: '• optional',
  note: '• note',
};

function doctorResult({ rows, ready, missing, installPlan }: Diagnostics): CommandResult {
  const cells = rows.map(({ what, state, detail }) => [what, STATE_MARKS[state], detail]);
  const mend =
    missing.length === 0
      ? []
      : ['', `To mend it: ${installPlan.instruction}`, ...(installPlan.canInstall ? ['Or: slipway doctor --fix'] : [])];
  return {
    json: {
      ready,
      rows: rows.map((row) => ({ ...row, what: row.what.trim() })),
      missing: missing.map(({ command }) => command),
      fix: missing.length === 0 ? null : installPlan.instruction,
    },
    text: [formatTable(['WHAT', 'STATE', 'DETAIL'], cells), ...mend].join('\n'),
    status: ready ? 0 : 1,
  };
}
