import { basename } from 'node:path';
import { z } from 'zod';
import { SlipwayError } from '../../errors.ts';
import { findNearestWord } from '../../did-you-mean.ts';
import { defineCommand, type Cli, type Command } from '../command.ts';

type ShellSetup = {
  /** The file of templates/completion/ ends so. */
  readonly ending: string;
  readonly now: string;
  /** For every shell that is opened from then on. */
  readonly always: string;
};

const shellSetups = {
  bash: {
    ending: 'bash',
    now: 'source <(slipway completion bash)',
    always:
      'mkdir -p ~/.local/share/bash-completion/completions && slipway completion bash > ~/.local/share/bash-completion/completions/slipway',
  },
  zsh: {
    ending: 'zsh',
    now: 'source <(slipway completion zsh)',
    always: `echo 'source <(slipway completion zsh)' >> ~/.zshrc`,
  },
  fish: {
    ending: 'fish',
    now: 'slipway completion fish | source',
    always: 'mkdir -p ~/.config/fish/completions && slipway completion fish > ~/.config/fish/completions/slipway.fish',
  },
  powershell: {
    ending: 'ps1',
    now: 'slipway completion powershell | Out-String | Invoke-Expression',
    always: `Add-Content $PROFILE 'slipway completion powershell | Out-String | Invoke-Expression'`,
  },
} as const satisfies Readonly<Record<string, ShellSetup>>;
type CompletionShell = keyof typeof shellSetups;

export const completionShells = Object.keys(shellSetups) as readonly CompletionShell[];

const args = z.object({
  for: z
    .enum(['slipway', 'docker-machine'])
    .default('slipway')
    .meta({ description: 'Whose command line is completed' }),
});

export const completion: Command<typeof args> = defineCommand({
  name: 'completion',
  summary: 'Print the script by which a shell completes commands, machines and flags',
  usage: '[shell]',
  args,
  details:
    'bash reads ~/.local/share/bash-completion/completions/slipway with the package bash-completion, and `source <(slipway completion bash)` in ~/.bashrc without it; zsh reads a file _slipway in a folder of $fpath, or the same line for zsh in ~/.zshrc; fish reads ~/.config/fish/completions/slipway.fish; PowerShell reads `slipway completion powershell | Out-String | Invoke-Expression` in $PROFILE.',
  async run({ positionals: [word], args: { for: program } }, cli) {
    const shell = word === undefined ? undefined : requireShell(word);
    if (shell === undefined) return setupResult(program, cli);
    const script = await cli.world.readTemplate(`completion/slipway.${shellSetups[shell].ending}`);
    const text = adaptScript(program, script).trimEnd();
    return { json: { shell, program, script: text }, text };
  },
});

/** The scripts are written for slipway: its name is all that is another for another program, but that slipway prints them. */
export function adaptScript(program: string, script: string): string {
  if (program === 'slipway') return script;
  return script
    .replaceAll('slipway', program)
    .replaceAll(`${program} completion`, 'slipway completion')
    .replaceAll(/slipway completion \w+/g, (call) => `${call} --for ${program}`);
}

function requireShell(word: string): CompletionShell {
  const known = word === 'pwsh' ? 'powershell' : word;
  const shell = completionShells.find((name) => name === known);
  if (shell) return shell;
  const near = findNearestWord(word, completionShells);
  throw new SlipwayError('USAGE', `There is no completion for a shell named "${word}"`, {
    hint: `${near === undefined ? '' : `Did you mean: slipway completion ${near}? `}There is: ${completionShells.join(', ')}`,
  });
}

/** A script in the middle of somebody's terminal is of no use: there it is told what to do with one. */
function setupResult(program: string, { env, screen, world: { computer } }: Cli): { json: unknown; text: string } {
  const own = basename(env.SHELL ?? (computer.platform === 'win32' ? 'powershell' : '')).replace(/\.exe$/, '');
  const shell = completionShells.find((name) => name === (own === 'pwsh' ? 'powershell' : own));
  if (screen.size() === undefined || shell === undefined) {
    throw new SlipwayError('USAGE', 'For which shell is not said', {
      hint: `Say it: slipway completion ${completionShells.join(' | ')}`,
    });
  }
  const { now, always } = shellSetups[shell];
  const lines = { 'In every shell from now on': always, 'In this one': now };
  const told = Object.entries(lines).map(([when, line]) => `${when}:\n  ${adaptScript(program, line)}`);
  return {
    json: { shell, always: adaptScript(program, always), now: adaptScript(program, now) },
    text: told.join('\n'),
  };
}
