import { z } from 'zod';
import { runDiagnostics, type Diagnostics, type DoctorRow } from '../diagnostics.ts';
import { defineCommand, type Cli, type Command, type CommandResult } from '../command.ts';
import { installMissing } from '../../terminal/install-programs.ts';
import { linkPlugin, findPlugin } from '../docker-plugin.ts';
import { formatTable } from '../../terminal/text-output.ts';

const args = z.object({
  fix: z.boolean().default(false).meta({ description: 'Install missing programs, and enable "docker machine"' }),
  yes: z.boolean().default(false).meta({ description: 'With --fix: do not ask', short: 'y' }),
});

export const doctor: Command<typeof args> = defineCommand({
  name: 'doctor',
  summary: 'Check that this computer has everything that Slipway needs',
  usage: '',
  args,
  details:
    'Exits with status 0 if nothing is missing, otherwise with 1. With --fix it installs what is missing, and makes docker-machine a plugin of the docker CLI. It shows each command and asks before it runs it, unless you add --yes.',
  async run({ args: { fix, yes } }, cli) {
    const diagnostics = await runDiagnostics(cli);
    if (!fix) return doctorResult(diagnostics);
    const hasMissing = diagnostics.missing.length > 0;
    if (hasMissing)
      await installMissing(selectInstallable(diagnostics), { yes, consentCommand: 'slipway doctor --fix --yes' }, cli);
    const hasLinked = await linkPluginIfConfirmed(yes, cli);
    return doctorResult(hasMissing || hasLinked ? await runDiagnostics(cli) : diagnostics);
  },
});

/** Links the plugin if it is not linked and the user agrees. Returns whether it was linked. */
async function linkPluginIfConfirmed(yes: boolean, cli: Cli): Promise<boolean> {
  const plugin = await findPlugin(cli);
  if (plugin?.state !== 'absent' && plugin?.state !== 'dangling') return false;
  if (!yes && !(await confirmLink(`To enable "docker machine": ln -s ${plugin.program} ${plugin.path}`, cli)))
    return false;
  await linkPlugin(plugin);
  cli.say(`"docker machine" is enabled. To undo: rm ${plugin.path}`);
  return true;
}

async function confirmLink(instruction: string, { interactive, say }: Cli): Promise<boolean> {
  if (!interactive) {
    say(`${instruction}. Or let Slipway do it: slipway doctor --fix --yes`);
    return false;
  }
  say(instruction);
  const { confirm } = await import('../../terminal/questions.ts');
  return confirm('Create the link now?');
}

/** Returns the programs to install, without those that have no package, so that the others can be installed. */
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
  const fixes =
    missing.length === 0
      ? []
      : [
          '',
          `To fix it: ${installPlan.instruction}`,
          ...(installPlan.canInstall ? ['Or let Slipway do it: slipway doctor --fix'] : []),
        ];
  return {
    json: {
      ready,
      rows: rows.map((row) => ({ ...row, what: row.what.trim() })),
      missing: missing.map(({ command }) => command),
      fix: missing.length === 0 ? null : installPlan.instruction,
    },
    text: [formatTable(['CHECK', 'STATE', 'DETAIL'], cells), ...fixes].join('\n'),
    status: ready ? 0 : 1,
  };
}
