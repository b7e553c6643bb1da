import { stat, truncate } from 'node:fs/promises';
import { z } from 'zod';
import { ignoreMissing } from '../../computer/files.ts';
import { LINK_LOG_VARIABLE } from '../../link/link-control.ts';
import { isLinkWanted } from '../../link/link-wanted.ts';
import { requireReadyMachine } from '../../machine/require-machine.ts';
import { defineCommand, type Cli, type Command, type CommandResult } from '../command.ts';

const MAX_LOG_BYTES = 256 * 1024;

const args = z.object({});

export const link: Command<typeof args> = defineCommand({
  name: 'link',
  summary: "Open a machine's published ports on this computer, and show each change, until Ctrl-C",
  usage: '<name>',
  details:
    'A local VM has a link in the background, which opens the ports that its containers publish. This command takes the place of the link until Ctrl-C. It also works for machines that were created with --no-link; their ports are closed at its end.',
  args,
  async run({ positionals: [name = ''] }, cli) {
    const logFile = cli.env[LINK_LOG_VARIABLE];
    return logFile === undefined ? await runInTerminal(name, cli) : await runInBackground(name, logFile, cli);
  },
});

async function runInTerminal(name: string, { world, screen }: Cli): Promise<CommandResult> {
  const machine = await requireReadyMachine(name, world.store);
  const { runLink } = await import('../../link/link-process.ts');
  await world.links?.end(name);
  const report = (line: string): void => {
    if (screen.json) world.progress.note(line);
    else screen.write(`${line}\n`);
  };
  try {
    const end = await runLink(name, world, { report, isAsked: true });
    return { json: { name, end }, text: `The link of ${name} has ended: ${end}` };
  } finally {
    if (isLinkWanted(machine)) await world.links?.heal(machine);
  }
}

async function runInBackground(name: string, logFile: string, { world, screen }: Cli): Promise<CommandResult> {
  const { runLink } = await import('../../link/link-process.ts');
  const report = (line: string): void => screen.write(`${world.now().toISOString()} ${line}\n`);
  const limitLog = async (): Promise<void> => {
    // Standard output appends to the log.
    const bytes = (await ignoreMissing(stat(logFile)))?.size ?? 0;
    if (bytes > MAX_LOG_BYTES) await ignoreMissing(truncate(logFile));
  };
  report(`started, PID ${process.pid}`);
  const end = await runLink(name, world, {
    report: (line) => {
      report(line);
      void limitLog();
    },
  });
  report(`ended: ${end}`);
  return { json: undefined, text: '' };
}
