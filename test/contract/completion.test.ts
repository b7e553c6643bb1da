import { existsSync } from 'node:fs';
import { chmod, mkdir, mkdtemp, readFile, stat, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { completionShells, adaptScript } from '../../src/cli/commands/completion.ts';
import type { CompletionSpec } from '../../src/completion/complete.ts';
import { generateCompletionSpec } from '../../src/cli/completion-data.ts';
import { generateCompletionSpec as generateDropInSpec } from '../../src/docker-machine/completion-data.ts';
import { drivers } from '../../src/drivers/registry.ts';
import { openStore } from '../../src/machine/store.ts';
import { hasTmux, openTerminal, type Terminal } from '../e2e/terminal.ts';
import { createTemporaryFolder } from '../fakes/temporary-folder.ts';
import { readyMachine } from '../fakes/sample-machine.ts';
import { hasProgram, runProgram, type ProgramResult } from '../fakes/run-program.ts';

const distPath = (file: string): string => fileURLToPath(new URL(`../../dist/${file}`, import.meta.url));
const readTemplate = (ending: string): Promise<string> =>
  readFile(new URL(`../../templates/completion/slipway.${ending}`, import.meta.url), 'utf8');
const driverNames = drivers.map(({ name }) => name).toSorted();
const BASH_COMPLETION_FILE = '/usr/share/bash-completion/bash_completion';

let folder: Awaited<ReturnType<typeof createTemporaryFolder>>;
let env: NodeJS.ProcessEnv;
let user: Parameters<typeof openTerminal>[0];

/** Creates a home with machines, both programs, and files of the user. */
beforeAll(async () => {
  await stat(distPath('slipway.js')).catch(() => {
    throw new Error('dist/ is missing: run npm run build');
  });
  folder = await createTemporaryFolder();
  const home = folder.path;
  await mkdir(join(home, 'bin'));
  for (const program of ['slipway', 'docker-machine'])
    await symlink(distPath(`${program}.js`), join(home, 'bin', program));
  env = { HOME: home, PATH: `${join(home, 'bin')}:${process.env.PATH}`, LANG: 'C.UTF-8', TERM: 'screen' };
  user = { home, run: (file, argv, how) => runProgram(file, argv, { cwd: home, env: { ...env, ...how?.env } }) };
  const store = openStore(join(home, '.slipway'));
  for (const name of ['web', 'web-2', 'prod']) await store.write(readyMachine(name));
  const machines = join(home, '.slipway', 'machines');
  // A machine with an unreadable record is completed. Invalid names and folders without a record are not.
  await mkdir(join(machines, 'torn'));
  await writeFile(join(machines, 'torn', 'machine.json'), '{');
  for (const strange of ['$(touch bad)', 'pro\nd', '-web', '.removed-prod-1', 'profound'])
    await mkdir(join(machines, strange));
  await writeFile(join(machines, '$(touch bad)', 'machine.json'), '{}');
  // A machine of Docker Machine, and the drop-in where the docker CLI finds it.
  const old = join(home, '.docker', 'machine', 'machines', 'old-1');
  await mkdir(old, { recursive: true });
  await writeFile(join(old, 'config.json'), '{}');
  await mkdir(join(home, '.docker', 'cli-plugins'));
  await symlink(distPath('docker-machine.js'), join(home, '.docker', 'cli-plugins', 'docker-machine'));
  await mkdir(join(home, '.slipway', 'images', 'debian-13-amd64-0123456789ab'), { recursive: true });
  await mkdir(join(home, '.slipway', 'images', 'mine-0123-amd64-0123456789ab'));
  await writeFile(join(home, 'notes of mine.yaml'), '');
});
afterAll(async () => folder[Symbol.asyncDispose]());

const runComplete = (...words: readonly string[]): Promise<ProgramResult> =>
  runProgram('slipway', ['__complete', '--', ...words], { env });
const listCandidates = async (...words: readonly string[]): Promise<readonly string[]> =>
  (await runComplete(...words)).stdout.split('\n').map((line) => line.split('\t', 1)[0] ?? '');

/** Sorts all lists, because the bundler changes the order of exports. */
function sortSpec(all: CompletionSpec): CompletionSpec {
  const commands = all.commands.map((command) => ({
    ...command,
    options: sortByName(
      command.options.map((option) => (option.takes === 'driver' ? { ...option, about: '' } : option)),
      ({ names }) => names.join(),
    ),
  }));
  const [drivers, topics] = [sortByName(all.drivers, ({ name }) => name), sortByName(all.topics, ({ name }) => name)];
  return { ...all, commands, drivers, topics };
}

function sortByName<T>(list: readonly T[], name: (item: T) => string): readonly T[] {
  return list.toSorted((left, right) => (name(left) < name(right) ? -1 : 1));
}

describe('slipway __complete', () => {
  test.for([
    ['slipway', generateCompletionSpec],
    ['docker-machine', generateDropInSpec],
  ] as const)('of %s uses the current declarations', async ([program, generateSpec]) => {
    const built = JSON.parse(await readFile(distPath(`completion/${program}.json`), 'utf8')) as CompletionSpec;
    expect(sortSpec(built)).toEqual(sortSpec(await generateSpec()));
  });

  test('completes machines that have a record and a name that is safe in a shell', async () => {
    expect(await listCandidates('ip', '')).toEqual(['prod', 'torn', 'web', 'web-2', ':4', '']);
  });

  test('completes stored images, and images that can be built', async () => {
    expect(await listCandidates('image', 'rm', '')).toEqual(['debian-13', 'mine-0123', ':4', '']);
    expect(await listCandidates('create', '--image', '')).toEqual(['debian-13', 'debian-12', 'mine-0123', ':0', '']);
  });

  test('prints no candidates and no error when the store cannot be read', async () => {
    await using other = await createTemporaryFolder();
    await writeFile(join(other.path, 'machines'), '');
    const result = await runProgram('slipway', ['__complete', '--', 'ip', ''], {
      env: { ...env, SLIPWAY_HOME: other.path },
    });
    expect(result).toEqual({ code: 0, stdout: ':4\n', stderr: '' });
  });

  test("completes an empty word with --new, for shells that can't pass one", async () => {
    const result = await runProgram('slipway', ['__complete', '--new', '--', 'ip', 'web'], { env });
    expect(result.stdout).toBe('prod\ntorn\nweb-2\n:4\n');
  });

  test("completes one-dash flags, old driver names and Docker Machine's machines for docker-machine", async () => {
    const completeDropIn = async (...words: readonly string[]): Promise<string> =>
      (await runProgram('docker-machine', ['__complete', '--', ...words], { env })).stdout;
    expect(await completeDropIn('ip', '')).toBe('old-1\n:4\n');
    expect(await completeDropIn('scp', 'o')).toBe('old-1:\n:2\n');
    expect(await completeDropIn('create', '-driver', 'amaz')).toBe('amazonec2\tan instance of Amazon EC2\n:4\n');
    expect(await completeDropIn('create', '-d', 'amazonec2', '-amazonec2-am')).toContain('-amazonec2-ami\t');
    expect(await completeDropIn('create', '-d', 'google', '--amazonec2-am')).toBe(':4\n');
    expect(await completeDropIn('-s', '/srv', 'env', '--shell', 'fi')).toBe('fish\n:4\n');
    expect(await completeDropIn('ssh', 'old-1', 'ls', '-')).toBe(':4\n');
  });

  test.skipIf(!hasProgram('docker'))('answers the docker CLI for docker machine', async () => {
    const completeThroughDocker = async (...words: readonly string[]): Promise<string> =>
      (await runProgram('docker', ['__complete', 'machine', ...words], { env })).stdout;
    expect(await completeThroughDocker('ip', '')).toBe('old-1\n:4\n');
    expect(await completeThroughDocker('rm', '--', 'o')).toBe('old-1\n:4\n');
    expect(await completeThroughDocker('regen')).toBe(
      'regenerate-certs\tRegenerate TLS Certificates for a machine\n:4\n',
    );
  });

  test('loads no library', async () => {
    const text = await readFile(distPath('slipway.js'), 'utf8');
    const needed = [...text.matchAll(/require\("([^"]+)"\)/g)].map(([, name = '']) => name);
    expect(needed.filter((name) => !name.startsWith('node:'))).toEqual([]);
    expect(text.length).toBeLessThan(40_000);
  });

  test('is not listed in help', async () => {
    const { stdout } = await runProgram('slipway', ['help'], { env });
    expect(stdout).toContain('completion');
    expect(stdout).not.toContain('__');
  });
});

describe('slipway completion', () => {
  const runCompletion = (...argv: readonly string[]): Promise<ProgramResult> =>
    runProgram('slipway', ['completion', ...argv], { env });

  test('prints the script for each shell', async () => {
    const endings = { bash: 'bash', zsh: 'zsh', fish: 'fish', powershell: 'ps1', pwsh: 'ps1' };
    for (const [shell, ending] of Object.entries(endings))
      expect(await runCompletion(shell)).toEqual({ code: 0, stdout: await readTemplate(ending), stderr: '' });
    expect(completionShells).toEqual(['bash', 'zsh', 'fish', 'powershell']);
  });

  test('prints the script for docker-machine with --for', async () => {
    const { stdout } = await runCompletion('bash', '--for', 'docker-machine');
    expect(stdout).toContain('complete -F _docker-machine docker-machine');
    expect(stdout).toContain('source <(slipway completion bash --for docker-machine)');
    expect(stdout.replaceAll(/slipway completion/g, '')).not.toContain('slipway');
  });

  test('lists the supported shells when it cannot choose one, and suggests a similar name', async () => {
    const none = await runCompletion();
    expect(none.code).toBe(2);
    expect(none.stderr).toContain('slipway completion bash | zsh | fish | powershell');
    const wrong = await runCompletion('bsh');
    expect(wrong.code).toBe(2);
    expect(wrong.stderr).toContain('Completion for the shell "bsh" is not supported');
    expect(wrong.stderr).toContain('Did you mean: slipway completion bash?');
  });

  test('prints a PowerShell script that registers a completer and passes the words on', async () => {
    const text = await readTemplate('ps1');
    for (const part of [
      "Register-ArgumentCompleter -Native -CommandName 'slipway'",
      '& slipway __complete --new -- @words 2>$null',
      '& slipway __complete -- @words $current 2>$null',
      '[System.Management.Automation.CompletionResult]::new(',
    ])
      expect(text).toContain(part);
    expect(adaptScript('docker-machine', text)).toContain("-CommandName 'docker-machine'");
  });
});

/**
 * The line before Tab, and the line after Tab and one more letter, which shows whether Tab added a space.
 */
const TAB_CASES: readonly (readonly [string, string])[] = [
  ['slipway sto', 'slipway stop Z'],
  ['slipway image bu', 'slipway image build Z'],
  ['slipway help image bu', 'slipway help image build Z'],
  ['slipway ip pro', 'slipway ip prod Z'],
  ['slipway --json ip web pro', 'slipway --json ip web prod Z'],
  ['slipway rm web-2 we', 'slipway rm web-2 web Z'],
  ['slipway rm -- pro', 'slipway rm -- prod Z'],
  ['slipway ip "pro', 'slipway ip "prod" Z'],
  ['slipway create --driver gen', 'slipway create --driver generic Z'],
  ['slipway create --driver=gen', 'slipway create --driver=generic Z'],
  ['slipway create -d ec2 x --ec2-acc', 'slipway create -d ec2 x --ec2-account Z'],
  ['slipway create --driver=none --none-tls-ce', 'slipway create --driver=none --none-tls-cert Z'],
  ['slipway create --generic-engine-p', 'slipway create --generic-engine-port Z'],
  ['slipway env web --shell=fi', 'slipway env web --shell=fish Z'],
  ['slipway scp pro', 'slipway scp prod:Z'],
  ['slipway scp prod:/etc/motd not', String.raw`slipway scp prod:/etc/motd notes\ of\ mine.yaml Z`],
  ['slipway apply --file not', String.raw`slipway apply --file notes\ of\ mine.yaml Z`],
  ['slipway apply --file=not', String.raw`slipway apply --file=notes\ of\ mine.yaml Z`],
  ['slipway image rm mi', 'slipway image rm mine-0123 Z'],
  ['slipway completion po', 'slipway completion powershell Z'],
];

/** Types each line in one shell and presses Tab. Returns the completed lines. */
async function pressTabs(terminal: Terminal, lines: typeof TAB_CASES): Promise<readonly (readonly [string, string])[]> {
  const seen: [string, string][] = [];
  for (const [index, [typed]] of lines.entries()) {
    await terminal.pressKeys('C-l');
    await terminal.pressKeys('-l', '--', typed);
    await terminal.pressKeys('Tab');
    await terminal.pressKeys('-l', `Z${index}.`);
    const screen = await terminal.waitFor(`Z${index}.`);
    const line = new RegExp(`((?:slipway|docker-machine) .*Z)${index}[.]`).exec(screen)?.[1];
    seen.push([typed, line ?? screen]);
    await terminal.pressKeys('C-e', 'C-u');
  }
  return seen;
}

async function openShell(enter: string): Promise<Terminal> {
  // Each terminal gets its own socket, because the previous server may still be shutting down.
  const home = await mkdtemp(join(folder.path, 'terminal-'));
  const terminal = await openTerminal({ ...user, home }, { columns: 100, rows: 24 }, env as Record<string, string>);
  await terminal.typeLine(enter);
  return terminal;
}

describe.skipIf(!hasTmux)('at a terminal', () => {
  const withTabs = (lines: readonly string[]): string => [...lines, "PS1='there> '"].join('; ');

  test('completes in bash', async () => {
    await using terminal = await openShell(withTabs(['cd', 'source <(slipway completion bash)']));
    await terminal.waitFor(/^there> *$/m);
    expect(await pressTabs(terminal, TAB_CASES)).toEqual(TAB_CASES);
  });

  test('completes docker-machine in bash', async () => {
    await using terminal = await openShell(withTabs(['cd', 'source <(slipway completion bash --for docker-machine)']));
    await terminal.waitFor(/^there> *$/m);
    const lines = [
      ['docker-machine ip o', 'docker-machine ip old-1 Z'],
      ['docker-machine -s / create -d=amaz', 'docker-machine -s / create -d=amazonec2 Z'],
      ['docker-machine scp o', 'docker-machine scp old-1:Z'],
    ] as const;
    expect(await pressTabs(terminal, lines)).toEqual(lines);
  });

  test("prints how to set up the user's shell", async () => {
    await using terminal = await openShell('SHELL=/usr/bin/fish slipway completion; SHELL=/bin/zsh slipway completion');
    const screen = await terminal.waitFor('.zshrc');
    expect(screen).toContain('slipway completion fish > ~/.config/fish/completions/slipway.fish');
    expect(screen).toContain("echo 'source <(slipway completion zsh)' >> ~/.zshrc");
    await terminal.typeLine('clear; SHELL=/bin/ksh slipway completion');
    expect(await terminal.waitFor('Choose one')).toContain('A shell is required');
  });

  test.skipIf(!existsSync(BASH_COMPLETION_FILE))(
    'completes in bash with bash-completion, which finds the script by its name',
    async () => {
      const scripts = join(folder.path, '.local', 'share', 'bash-completion', 'completions');
      await mkdir(scripts, { recursive: true });
      await runProgram('bash', ['-c', `slipway completion bash > ${scripts}/slipway`], { env });
      await using terminal = await openShell(withTabs(['cd', `source ${BASH_COMPLETION_FILE}`]));
      await terminal.waitFor(/^there> *$/m);
      expect(await pressTabs(terminal, TAB_CASES)).toEqual(TAB_CASES);
    },
  );

  test.skipIf(!hasProgram('zsh'))('completes in zsh', async () => {
    await using terminal = await openShell(`cd; zsh -f`);
    await terminal.typeLine(
      withTabs(['autoload -Uz compinit && compinit -u', 'source <(slipway completion zsh)', 'bindkey -e']),
    );
    await terminal.waitFor(/^there> *$/m);
    expect(await pressTabs(terminal, TAB_CASES)).toEqual(TAB_CASES);
  });

  test.skipIf(!hasProgram('zsh'))('completes in zsh from a folder in fpath', async () => {
    await mkdir(join(folder.path, 'functions'));
    await runProgram('bash', ['-c', 'slipway completion zsh > ~/functions/_slipway'], { env });
    await using terminal = await openShell(`cd; zsh -f`);
    await terminal.typeLine(
      withTabs(['fpath=(~/functions $fpath)', 'autoload -Uz compinit && compinit -u', 'bindkey -e']),
    );
    await terminal.waitFor(/^there> *$/m);
    expect(await pressTabs(terminal, TAB_CASES.slice(0, 4))).toEqual(TAB_CASES.slice(0, 4));
  });

  test.skipIf(!hasProgram('fish'))('completes in fish', async () => {
    const functions = join(folder.path, '.config', 'fish', 'completions');
    await mkdir(functions, { recursive: true });
    await runProgram('bash', ['-c', `slipway completion fish > ${functions}/slipway.fish`], { env });
    await using terminal = await openShell(`cd; fish`);
    await terminal.typeLine("function fish_prompt; echo 'there> '; end; function fish_greeting; end");
    await terminal.waitFor(/^there> *$/m);
    expect(await pressTabs(terminal, TAB_CASES)).toEqual(TAB_CASES);
  });
});

describe.skipIf(!hasProgram('fish'))('fish', () => {
  const complete = async (line: string): Promise<readonly string[]> => {
    const script = `cd; slipway completion fish | source; complete -C ${JSON.stringify(line)}`;
    const { stdout, stderr } = await runProgram('fish', ['--no-config', '-c', script], { env });
    expect(stderr).toBe('');
    return stdout.trimEnd().split('\n');
  };

  test('shows a description of each candidate', async () => {
    expect(await complete('slipway st')).toEqual([
      'start\tStart machines',
      'status\tShow the state of a machine',
      'stop\tStop machines',
    ]);
    expect(await complete('slipway create --driver ec2 --ec2-am')).toEqual([
      '--ec2-ami\tImage by ID, instead of --ec2-image',
    ]);
  });

  test('shows machines, and files when the command accepts them', async () => {
    expect(await complete('slipway ssh w')).toEqual(['web', 'web-2']);
    expect((await complete('slipway scp ')).map((line) => line.split('\t', 1)[0])).toEqual(
      expect.arrayContaining(['web:', 'prod:', 'notes of mine.yaml']),
    );
    expect(await complete('slipway ssh web ')).toEqual(['']);
  });
});

describe('bash', () => {
  /** Calls the completion function as readline does, with the line as typed. */
  const complete = async (line: string, words: readonly string[], more = ''): Promise<readonly string[]> => {
    const script = `${more}
      source <(slipway completion bash)
      COMP_LINE=$1 COMP_POINT=\${#1}; shift; COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
      _slipway slipway "\${COMP_WORDS[COMP_CWORD]}"; printf '%s\\n' "\${COMPREPLY[@]}"`;
    const { stdout, stderr } = await runProgram('bash', ['--norc', '-euc', script, 'bash', line, ...words], { env });
    expect(stderr).toBe('');
    return stdout.trimEnd().split('\n');
  };

  test('offers only the part after = and :, since bash replaces only that part', async () => {
    expect(await complete('slipway create --driver=g', ['slipway', 'create', '--driver', '=', 'g'])).toEqual(
      driverNames.filter((name) => name.startsWith('g')),
    );
    expect(await complete('slipway create --driver=', ['slipway', 'create', '--driver', '='])).toEqual(driverNames);
    expect(await complete('slipway scp prod:', ['slipway', 'scp', 'prod', ':'])).toEqual(['']);
  });

  test('offers complete words when COMP_WORDBREAKS has no =', async () => {
    expect(await complete('slipway create --driver=g', ['slipway', 'create', '--driver=g'])).toEqual(
      driverNames.filter((name) => name.startsWith('g')).map((name) => `--driver=${name}`),
    );
  });

  test('prints no candidates and no error when slipway is not installed', async () => {
    expect(
      await complete(
        'slipway st',
        ['slipway', 'st'],
        'slipway() { cat ~/script; }; command slipway completion bash > ~/script; PATH=/usr/bin:/bin',
      ),
    ).toEqual(['']);
  });
});

test.skipIf(!hasProgram('zsh'))('bash, zsh and fish parse their scripts without errors', async () => {
  await using scripts = await createTemporaryFolder();
  for (const [shell, flags] of [
    ['bash', '-n'],
    ['zsh', '-n'],
    ['fish', '--no-execute'],
  ] as const) {
    for (const program of ['slipway', 'docker-machine']) {
      const file = join(scripts.path, `${program}.${shell}`);
      await writeFile(file, adaptScript(program, await readTemplate(shell)));
      await chmod(file, 0o600);
      expect(await runProgram(shell, [flags, file], { env }), file).toEqual({ code: 0, stdout: '', stderr: '' });
    }
  }
});
