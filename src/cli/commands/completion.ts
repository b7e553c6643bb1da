import { basename } from 'node:path';
import { z } from 'zod';
import { SlipwayError } from '../../errors.ts';
import { findNearestWord } from '../../did-you-mean.ts';
import { defineCommand, type Cli, type Command } from '../command.ts';

type ShellSetup = {
  /** The extension of the script in templates/completion/. */
  readonly extension: string;
  /** The command that enables completion in this shell. */
  readonly now: string;
  /** The command that enables completion in every new shell. */
  readonly always: string;
};

const shellSetups = {
  bash: {
    extension: 'bash',
    now: 'source <(slipway completion bash)',
    always:
      'mkdir -p ~/.local/share/bash-completion/completions && slipway completion bash > ~/.local/share/bash-completion/completions/slipway',
  },
  zsh: {
    extension: 'zsh',
    now: 'source <(slipway completion zsh)',
    always: `echo 'source <(slipway completion zsh)' >> ~/.zshrc`,
  },
  fish: {
    extension: 'fish',
    now: 'slipway completion fish | source',
    always: 'mkdir -p ~/.config/fish/completions && slipway completion fish > ~/.config/fish/completions/slipway.fish',
  },
  powershell: {
    extension: 'ps1',
    now: 'slipway completion powershell | Out-String | Invoke-Expression',
    always: `Add-Content $PROFILE 'slipway completion powershell | Out-String | Invoke-Expression'`,
  },
} as const satisfies Readonly<Record<string, ShellSetup>>;
type CompletionShell = keyof typeof shellSetups;

export const completionShells = Object.keys(shellSetups) as readonly CompletionShell[];

const args = z.object({
  for: z.enum(['slipway', 'docker-machine']).default('slipway').meta({ description: 'Program to complete' }),
});

export const completion: Command<typeof args> = defineCommand({
  name: 'completion',
  summary: 'Print a script that lets a shell complete commands, machines and flags',
  usage: '[shell]',
  args,
  details:
    'bash with the package bash-completion reads the script from ~/.local/share/bash-completion/completions/slipway; without it, add `source <(slipway completion bash)` to ~/.bashrc. zsh reads it from a file _slipway in a folder of $fpath; or add `source <(slipway completion zsh)` to ~/.zshrc. fish reads it from ~/.config/fish/completions/slipway.fish. For PowerShell, add `slipway completion powershell | Out-String | Invoke-Expression` to $PROFILE.',
  async run({ positionals: [word], args: { for: program } }, cli) {
    const shell = word === undefined ? undefined : requireShell(word);
    if (shell === undefined) return setupResult(program, cli);
    const script = await cli.world.readTemplate(`completion/slipway.${shellSetups[shell].extension}`);
    const text = adaptScript(program, script).trimEnd();
    return { json: { shell, program, script: text }, text };
  },
});

/** Adapts a script of slipway to another program, whose scripts differ by its name only; slipway prints them all. */
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
  throw new SlipwayError('USAGE', `Completion for the shell "${word}" is not supported`, {
    hint: `${near === undefined ? '' : `Did you mean: slipway completion ${near}? `}Supported shells: ${completionShells.join(', ')}`,
  });
}

/** Returns instructions at a terminal, where the script itself would be of no use. */
function setupResult(program: string, { env, screen, world: { computer } }: Cli): { json: unknown; text: string } {
  const currentShell = basename(env.SHELL ?? (computer.platform === 'win32' ? 'powershell' : '')).replace(/\.exe$/, '');
  const shell = completionShells.find((name) => name === (currentShell === 'pwsh' ? 'powershell' : currentShell));
  if (screen.size() === undefined || shell === undefined) {
    throw new SlipwayError('USAGE', 'A shell is required', {
      hint: `Choose one: slipway completion ${completionShells.join(' | ')}`,
    });
  }
  const { now, always } = shellSetups[shell];
  const lines = { 'To enable completion in every new shell': always, 'In this shell only': now };
  const instructions = Object.entries(lines).map(([when, line]) => `${when}:\n  ${adaptScript(program, line)}`);
  return {
    json: { shell, always: adaptScript(program, always), now: adaptScript(program, now) },
    text: instructions.join('\n'),
  };
}
