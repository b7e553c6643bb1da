import { existsSync } from 'node:fs';
import { chmod, mkdir, mkdtemp, readFile, stat, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { completionShells, adaptScript } from '../../src/cli/commands/completion.ts';
import type { CompletionSpec } from '../../src/completion/complete.ts';
import { generateCompletionSpec } from '../../src/cli/completion-data.ts';
import { generateCompletionSpec as oldDeclared } from '../../src/docker-machine/completion-data.ts';
import { openStore } from '../../src/machine/store.ts';
import { hasTmux, openTerminal, type Terminal } from '../e2e/terminal.ts';
import { createTemporaryFolder } from '../fakes/temporary-folder.ts';
import { readyMachine } from '../fakes/sample-machine.ts';
import { hasProgram, runProgram, type ProgramResult } from '../fakes/run-program.ts';

const distPath = (file: string): string => fileURLToPath(new URL(`../../dist/${file}`, import.meta.url));
const readTemplate = (ending: string): Promise<string> =>
  readFile(new URL(`../../templates/completion/slipway.${ending}`, import.meta.url), 'utf8');
const BASH_COMPLETION_FILE = '/usr/share/bash-completion/bash_completion';

let folder: Awaited<ReturnType<typeof createTemporaryFolder>>;
let env: NodeJS.ProcessEnv;
let user: Parameters<typeof openTerminal>[0];

/** A home with machines, a command named slipway, and files of its owner's. */
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
  // A record that nobody can read is a machine for all that; what is no name, and a folder without a record, is none.
  await mkdir(join(machines, 'torn'));
  await writeFile(join(machines, 'torn', 'machine.json'), '{');
  for (const strange of ['$(touch bad)', 'pro\nd', '-web', '.removed-prod-1', 'profound'])
    await mkdir(join(machines, strange));
  await writeFile(join(machines, '$(touch bad)', 'machine.json'), '{}');
  // A machine that the old tool made, and the drop-in where the docker CLI finds it.
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

/** A bundler has an order of its own for what a registry exports. */
function sortDeclared(all: CompletionSpec): CompletionSpec {
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

function sortByName<T>(list: readonly T[], name: (one: T) => string): readonly T[] {
  return list.toSorted((left, right) => (name(left) < name(right) ? -1 : 1));
}

describe('slipway __complete', () => {
  test.for([
    ['slipway', generateCompletionSpec],
    ['docker-machine', oldDeclared],
  ] as const)('of %s knows what the declarations say, as they were when it was built', async ([program, read]) => {
    const there = JSON.parse(await readFile(distPath(`completion/${program}.json`), 'utf8')) as CompletionSpec;
    expect(sortDeclared(there)).toEqual(sortDeclared(await read()));
  });

  test("answers with machines that have a record, and names that a shell can't misread", async () => {
    expect(await listCandidates('ip', '')).toEqual(['prod', 'torn', 'web', 'web-2', ':4', '']);
  });

  test('answers with images that lie here, and those that can be made', async () => {
    expect(await listCandidates('image', 'rm', '')).toEqual(['debian-13', 'mine-0123', ':4', '']);
    expect(await listCandidates('create', '--image', '')).toEqual(['debian-13', 'debian-12', 'mine-0123', ':0', '']);
  });

  test('offers nothing and says nothing where the store is no folder, or nobody may read it', async () => {
    await using other = await createTemporaryFolder();
    await writeFile(join(other.path, 'machines'), '');
    const ran = await runProgram('slipway', ['__complete', '--', 'ip', ''], {
      env: { ...env, SLIPWAY_HOME: other.path },
    });
    expect(ran).toEqual({ code: 0, stdout: ':4\n', stderr: '' });
  });

  test("takes a word without a letter from a shell that can't hand one over", async () => {
    const ran = await runProgram('slipway', ['__complete', '--new', '--', 'ip', 'web'], { env });
    expect(ran.stdout).toBe('prod\ntorn\nweb-2\n:4\n');
  });

  test('knows flags with one dash, drivers by their old names and machines of the old tool for docker-machine', async () => {
    const old = async (...words: readonly string[]): Promise<string> =>
      (await runProgram('docker-machine', ['__complete', '--', ...words], { env })).stdout;
    expect(await old('ip', '')).toBe('old-1\n:4\n');
    expect(await old('scp', 'o')).toBe('old-1:\n:2\n');
    expect(await old('create', '-driver', 'amaz')).toBe('amazonec2\tan instance of Amazon EC2\n:4\n');
    expect(await old('create', '-d', 'amazonec2', '-amazonec2-am')).toContain('-amazonec2-ami\t');
    expect(await old('create', '-d', 'google', '--amazonec2-am')).toBe(':4\n');
    expect(await old('-s', '/srv', 'env', '--shell', 'fi')).toBe('fish\n:4\n');
    expect(await old('ssh', 'old-1', 'ls', '-')).toBe(':4\n');
  });

  test.skipIf(!hasProgram('docker'))('is what the docker CLI asks for docker machine', async () => {
    const through = async (...words: readonly string[]): Promise<string> =>
      (await runProgram('docker', ['__complete', 'machine', ...words], { env })).stdout;
    expect(await through('ip', '')).toBe('old-1\n:4\n');
    expect(await through('rm', '--', 'o')).toBe('old-1\n:4\n');
    expect(await through('regen')).toBe('regenerate-certs\tRegenerate TLS Certificates for a machine\n:4\n');
  });

  test('reads no library: what it starts with requires nothing but Node', async () => {
    const text = await readFile(distPath('slipway.js'), 'utf8');
    const needed = [...text.matchAll(/require\("([^"]+)"\)/g)].map(([, name = '']) => name);
    expect(needed.filter((name) => !name.startsWith('node:'))).toEqual([]);
    expect(text.length).toBeLessThan(40_000);
  });

  test('is in no help', async () => {
    const { stdout } = await runProgram('slipway', ['help'], { env });
    expect(stdout).toContain('completion');
    expect(stdout).not.toContain('__');
  });
});

describe('slipway completion', () => {
  const printed = (...argv: readonly string[]): Promise<ProgramResult> =>
    runProgram('slipway', ['completion', ...argv], { env });

  test('prints what each shell reads', async () => {
    const endings = { bash: 'bash', zsh: 'zsh', fish: 'fish', powershell: 'ps1', pwsh: 'ps1' };
    for (const [shell, ending] of Object.entries(endings))
      expect(await printed(shell)).toEqual({ code: 0, stdout: await readTemplate(ending), stderr: '' });
    expect(completionShells).toEqual(['bash', 'zsh', 'fish', 'powershell']);
  });

  test('prints it for the other program of the package too', async () => {
    const { stdout } = await printed('bash', '--for', 'docker-machine');
    expect(stdout).toContain('complete -F _docker-machine docker-machine');
    expect(stdout).toContain('source <(slipway completion bash --for docker-machine)');
    expect(stdout.replaceAll(/slipway completion/g, '')).not.toContain('slipway');
  });

  test("says which shells there are where it can't tell, and what was meant", async () => {
    const none = await printed();
    expect(none.code).toBe(2);
    expect(none.stderr).toContain('slipway completion bash | zsh | fish | powershell');
    const wrong = await printed('bsh');
    expect(wrong.code).toBe(2);
    expect(wrong.stderr).toContain('Completion for the shell "bsh" is not supported');
    expect(wrong.stderr).toContain('Did you mean: slipway completion bash?');
  });

  test('of PowerShell registers itself, hands over words, and keeps files from where none are taken', async () => {
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
 * What is typed before Tab, and what stands there after it, and after one more letter: it shows whether a blank came.
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

/** Each line in turn at the keys of one shell. */
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
  // A socket of its own: the server of the last one may still be ending.
  const home = await mkdtemp(join(folder.path, 'terminal-'));
  const terminal = await openTerminal({ ...user, home }, { columns: 100, rows: 24 }, env as Record<string, string>);
  await terminal.typeLine(enter);
  return terminal;
}

describe.skipIf(!hasTmux)('at the keys', () => {
  const withTabs = (lines: readonly string[]): string => [...lines, "PS1='there> '"].join('; ');

  test('of bash', async () => {
    await using terminal = await openShell(withTabs(['cd', 'source <(slipway completion bash)']));
    await terminal.waitFor(/^there> *$/m);
    expect(await pressTabs(terminal, TAB_CASES)).toEqual(TAB_CASES);
  });

  test('of bash, for the other program', async () => {
    await using terminal = await openShell(withTabs(['cd', 'source <(slipway completion bash --for docker-machine)']));
    await terminal.waitFor(/^there> *$/m);
    const lines = [
      ['docker-machine ip o', 'docker-machine ip old-1 Z'],
      ['docker-machine -s / create -d=amaz', 'docker-machine -s / create -d=amazonec2 Z'],
      ['docker-machine scp o', 'docker-machine scp old-1:Z'],
    ] as const;
    expect(await pressTabs(terminal, lines)).toEqual(lines);
  });

  test("says how the user's shell gets it", async () => {
    await using terminal = await openShell('SHELL=/usr/bin/fish slipway completion; SHELL=/bin/zsh slipway completion');
    const screen = await terminal.waitFor('.zshrc');
    expect(screen).toContain('slipway completion fish > ~/.config/fish/completions/slipway.fish');
    expect(screen).toContain("echo 'source <(slipway completion zsh)' >> ~/.zshrc");
    await terminal.typeLine('clear; SHELL=/bin/ksh slipway completion');
    expect(await terminal.waitFor('Choose one')).toContain('A shell is required');
  });

  test.skipIf(!existsSync(BASH_COMPLETION_FILE))(
    'of bash with its package, which finds the script by its name',
    async () => {
      const scripts = join(folder.path, '.local', 'share', 'bash-completion', 'completions');
      await mkdir(scripts, { recursive: true });
      await runProgram('bash', ['-c', `slipway completion bash > ${scripts}/slipway`], { env });
      await using terminal = await openShell(withTabs(['cd', `source ${BASH_COMPLETION_FILE}`]));
      await terminal.waitFor(/^there> *$/m);
      expect(await pressTabs(terminal, TAB_CASES)).toEqual(TAB_CASES);
    },
  );

  test.skipIf(!hasProgram('zsh'))('of zsh', async () => {
    await using terminal = await openShell(`cd; zsh -f`);
    await terminal.typeLine(
      withTabs(['autoload -Uz compinit && compinit -u', 'source <(slipway completion zsh)', 'bindkey -e']),
    );
    await terminal.waitFor(/^there> *$/m);
    expect(await pressTabs(terminal, TAB_CASES)).toEqual(TAB_CASES);
  });

  test.skipIf(!hasProgram('zsh'))('of zsh from a folder of its fpath', async () => {
    await mkdir(join(folder.path, 'functions'));
    await runProgram('bash', ['-c', 'slipway completion zsh > ~/functions/_slipway'], { env });
    await using terminal = await openShell(`cd; zsh -f`);
    await terminal.typeLine(
      withTabs(['fpath=(~/functions $fpath)', 'autoload -Uz compinit && compinit -u', 'bindkey -e']),
    );
    await terminal.waitFor(/^there> *$/m);
    expect(await pressTabs(terminal, TAB_CASES.slice(0, 4))).toEqual(TAB_CASES.slice(0, 4));
  });

  test.skipIf(!hasProgram('fish'))('of fish', async () => {
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

  test('shows what each candidate means', async () => {
    expect(await complete('slipway st')).toEqual([
      'start\tStart machines',
      'status\tShow the state of a machine',
      'stop\tStop machines',
    ]);
    expect(await complete('slipway create --driver ec2 --ec2-am')).toEqual([
      '--ec2-ami\tImage by ID, instead of --ec2-image',
    ]);
  });

  test('shows machines, and files where they are taken', async () => {
    expect(await complete('slipway ssh w')).toEqual(['web', 'web-2']);
    expect((await complete('slipway scp ')).map((line) => line.split('\t', 1)[0])).toEqual(
      expect.arrayContaining(['web:', 'prod:', 'notes of mine.yaml']),
    );
    expect(await complete('slipway ssh web ')).toEqual(['']);
  });
});

describe('bash', () => {
  /** As readline calls it, with what is between the words as it was typed. */
  const complete = async (line: string, words: readonly string[], more = ''): Promise<readonly string[]> => {
    const script = `${more}
      source <(slipway completion bash)
      COMP_LINE=$1 COMP_POINT=\${#1}; shift; COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
      _slipway slipway "\${COMP_WORDS[COMP_CWORD]}"; printf '%s\\n' "\${COMPREPLY[@]}"`;
    const { stdout, stderr } = await runProgram('bash', ['--norc', '-euc', script, 'bash', line, ...words], { env });
    expect(stderr).toBe('');
    return stdout.trimEnd().split('\n');
  };

  test('offers what stands behind = and : alone, since it replaces no more than that', async () => {
    expect(await complete('slipway create --driver=g', ['slipway', 'create', '--driver', '=', 'g'])).toEqual([
      'gce',
      'generic',
    ]);
    expect(await complete('slipway create --driver=', ['slipway', 'create', '--driver', '='])).toHaveLength(5);
    expect(await complete('slipway scp prod:', ['slipway', 'scp', 'prod', ':'])).toEqual(['']);
  });

  test('offers whole words to those who took = out of COMP_WORDBREAKS', async () => {
    expect(await complete('slipway create --driver=g', ['slipway', 'create', '--driver=g'])).toEqual([
      '--driver=gce',
      '--driver=generic',
    ]);
  });

  test('offers nothing, and says nothing, where slipway is gone', async () => {
    expect(
      await complete(
        'slipway st',
        ['slipway', 'st'],
        'slipway() { cat ~/script; }; command slipway completion bash > ~/script; PATH=/usr/bin:/bin',
      ),
    ).toEqual(['']);
  });
});

test.skipIf(!hasProgram('zsh'))('zsh reads its script without a complaint, and fish and bash theirs', async () => {
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
