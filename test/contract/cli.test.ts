import { spawn } from 'node:child_process';
import { mkdir, readdir, stat, writeFile } from 'node:fs/promises';
import { once } from 'node:events';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { beforeAll, describe, expect, test } from 'vitest';
import { commands } from '../../src/cli/commands/all.ts';
import { drivers } from '../../src/drivers/index.ts';
import { openStore } from '../../src/store.ts';
import { temporaryFolder } from '../fakes/folder.ts';
import { readyMachine, specNamed } from '../fakes/machine.ts';
import { run, type Ran } from '../fakes/programs.ts';

const program = fileURLToPath(new URL('../../dist/slipway.js', import.meta.url));

beforeAll(async () => {
  await stat(program).catch(() => {
    throw new Error('There is no dist/: npm test builds it, and so does npm run build');
  });
});

const envIn = (home: string, more: NodeJS.ProcessEnv = {}): NodeJS.ProcessEnv => ({
  PATH: process.env.PATH,
  HOME: home,
  ...more,
});
const slipwayIn = (home: string, ...argv: readonly string[]): Promise<Ran> =>
  run(process.execPath, [program, ...argv], { env: envIn(home) });

/** Runs slipway in an empty home, in which it must leave nothing. */
async function refused(...argv: readonly string[]): Promise<Ran> {
  await using home = await temporaryFolder();
  const ran = await slipwayIn(home.path, ...argv);
  const left = await readdir(home.path, { recursive: true, withFileTypes: true });
  expect(left.filter((entry) => entry.isFile() || entry.name === 'web')).toEqual([]);
  return ran;
}

describe('a call that can’t be right', () => {
  const calls = [
    'crate',
    'frobnicate',
    'ls --quite',
    'ls --foo',
    '--foo ls',
    'ls web',
    'ip',
    'env',
    'use',
    'use web --unset',
    'inspect web',
    'provision web',
    'rm web',
    'rm ../web --force',
    'status web --timeout 0',
    'status web --timeout soon',
    'env web --shell ksh93',
    'create',
    'create web',
    'create -x',
    'create we_b --generic-ip-address 192.0.2.1',
    'create web --driver nope',
    'create web --driver generic',
    'create web --driver none --generic-ip-address 192.0.2.1',
    'create web --generic-ip-address',
    'create web --generic-ip-address a;b --generic-ssh-port 99999 --generic-host-key x',
    'create web --generic-ip-address 192.0.2.1 --engine-source moon --engine-opt =x',
    'create web --generic-ip-address 192.0.2.1 --generic-ssh-key /none',
    'create web --none-url http://192.0.2.1',
    'create web --none-url tcp://192.0.2.1:2376 --none-tls-ca /none',
    'help nothing',
  ];

  test('says what is wrong and what to type, each with its exit status, and writes nothing', async () => {
    const told = [];
    for (const call of calls) {
      const { code, stdout, stderr } = await refused(...call.split(' '));
      expect(stdout, call).toBe('');
      expect(stderr, call).not.toMatch(/\n\s+at |bug in Slipway/);
      told.push(`$ slipway ${call}\n${stderr}(${code})`);
    }
    expect(told.join('\n\n')).toMatchInlineSnapshot(`
      "$ slipway crate
      ✗ There is no command "crate"
      → Did you mean: slipway create? All of them: slipway help
      (2)

      $ slipway frobnicate
      ✗ There is no command "frobnicate"
      → All commands: slipway help
      (2)

      $ slipway ls --quite
      ✗ Unknown option '--quite'
      → Did you mean --quiet? See: slipway ls --help
      (2)

      $ slipway ls --foo
      ✗ Unknown option '--foo'
      → See: slipway ls --help
      (2)

      $ slipway --foo ls
      ✗ Unknown option '--foo'
      → See: slipway --help
      (2)

      $ slipway ls web
      ✗ Too many arguments. Expected 0 arguments but got 1.
      → See: slipway ls --help
      (2)

      $ slipway ip
      ✗ Missing required argument 'names'
      → See: slipway ip --help
      (2)

      $ slipway env
      ✗ Name a machine, or say --unset
      → eval "$(slipway env NAME)", or eval "$(slipway env --unset)"
      (2)

      $ slipway use
      ✗ Name a machine, or say --unset
      → slipway use NAME, or slipway use --unset
      (2)

      $ slipway use web --unset
      ✗ Name a machine, or say --unset
      → slipway use NAME, or slipway use --unset
      (2)

      $ slipway inspect web
      ✗ There is no machine named "web"
      → Make it: slipway create web
      (3)

      $ slipway provision web
      ✗ There is no machine named "web"
      → Make it: slipway create web
      (3)

      $ slipway rm web
      ✗ There is no machine named "web"
      → Make it: slipway create web
      (3)

      $ slipway rm ../web --force
      ✗ "../web" can't be a machine name
      → Use letters, digits, dots and hyphens, starting with a letter or digit, 63 at most: web-1
      (2)

      $ slipway status web --timeout 0
      ✗ --timeout must be at least 1, got 0
      (2)

      $ slipway status web --timeout soon
      ✗ --timeout must be a whole number, got "soon"
      (2)

      $ slipway env web --shell ksh93
      ✗ --shell must be one of bash, zsh, sh, fish, powershell, pwsh, cmd, tcsh, emacs or nu, got "ksh93"
      (2)

      $ slipway create
      ✗ To create a machine, a name and a driver must be given
      → For example: slipway create web --driver generic --generic-ip-address 192.0.2.10
      (2)

      $ slipway create web
      ✗ To create a machine, a driver must be given
      → For example: slipway create web --driver generic --generic-ip-address 192.0.2.10
      (2)

      $ slipway create -x
      ✗ Unknown option '-x'
      → See: slipway create --help
      (2)

      $ slipway create we_b --generic-ip-address 192.0.2.1
      ✗ "we_b" can't be a machine name
      → Use letters, digits, dots and hyphens, starting with a letter or digit, 63 at most: web-1
      (2)

      $ slipway create web --driver nope
      ✗ There is no driver named "nope"
      → Drivers: generic, none
      (2)

      $ slipway create web --driver generic
      ✗ --generic-ip-address is missing
      → Add --generic-ip-address <address>, or set GENERIC_IP_ADDRESS
      (2)

      $ slipway create web --driver none --generic-ip-address 192.0.2.1
      ✗ --generic-ip-address belongs to the driver generic, not to none
      → See what none takes: slipway help none
      (2)

      $ slipway create web --generic-ip-address
      ✗ Option '--generic-ip-address <address>' argument missing
      → See: slipway create --help
      (2)

      $ slipway create web --generic-ip-address a;b --generic-ssh-port 99999 --generic-host-key x
      ✗ --generic-ip-address must be an IP address or host name alone (--generic-ssh-port and --generic-ssh-user say the rest), got "a;b"; --generic-ssh-port must be at most 65535, got 99999; --generic-host-key must be a fingerprint like SHA256:… or a public key, got "x"
      → All options: slipway help generic
      (2)

      $ slipway create web --generic-ip-address 192.0.2.1 --engine-source moon --engine-opt =x
      ✗ --engine-source must be one of docker, distro, none or url, got "moon"; --engine-opt must be an option of dockerd like log-driver=local, got "=x"
      → All options: slipway help engine
      (2)

      $ slipway create web --generic-ip-address 192.0.2.1 --generic-ssh-key /none
      ✗ The SSH key /none can't be read
      → Check --generic-ssh-key
      (2)

      $ slipway create web --none-url http://192.0.2.1
      ✗ --none-url must be a URL like tcp://192.0.2.10:2376 or unix:///run/docker.sock, got "http://192.0.2.1"
      → All options: slipway help none
      (2)

      $ slipway create web --none-url tcp://192.0.2.1:2376 --none-tls-ca /none
      ✗ TLS takes all three files; --none-tls-cert and --none-tls-key are missing
      → Add --none-tls-cert <file> --none-tls-key <file>
      (2)

      $ slipway help nothing
      ✗ There is no command "nothing"
      → All commands: slipway help
      (2)"
    `);
  });

  test('with --json is one document on stdout, and the sentence on stderr', async () => {
    const { code, stdout, stderr } = await refused('create', 'web', '--driver', 'generic', '--json');
    expect(code).toBe(2);
    expect(JSON.parse(stdout)).toEqual({
      error: {
        code: 'USAGE',
        message: '--generic-ip-address is missing',
        hint: 'Add --generic-ip-address <address>, or set GENERIC_IP_ADDRESS',
      },
    });
    expect(stderr).toContain('--generic-ip-address is missing');
    expect(JSON.parse((await refused('--json', 'inspect', 'web')).stdout)).toMatchObject({
      error: { code: 'MACHINE_NOT_FOUND' },
    });
  });

  test('never takes a secret from the argv', async () => {
    const { code, stderr } = await refused('rm', 'web', '--sudo-password', 'hunter2');
    expect(code).toBe(2);
    expect(stderr).not.toContain('hunter2');
  });
});

describe('help', () => {
  const topics = [
    [],
    ['help'],
    ...commands.map(({ name }) => [name, '--help']),
    ...drivers.flatMap(({ name }) => [
      ['help', name],
      ['create', '--driver', name, '--help'],
    ]),
  ];

  test('fits a screen of 24 lines of 80 columns, but that of the engine, which fits its width', async () => {
    for (const argv of [...topics, ['help', 'engine']]) {
      const { code, stdout, stderr } = await refused(...argv);
      expect([code, stderr], argv.join(' ')).toEqual([0, '']);
      const lines = stdout.trimEnd().split('\n');
      expect(Math.max(...lines.map((line) => [...line].length)), argv.join(' ')).toBeLessThanOrEqual(80);
      // The driver's own page in create's help is asked for, and may scroll.
      if (argv.length < 3 && argv[1] !== 'engine') expect(lines.length, argv.join(' ')).toBeLessThanOrEqual(24);
    }
  });

  test('of the program names every command', async () => {
    const { stdout } = await refused();
    for (const { name } of commands) expect(stdout).toMatch(new RegExp(`^ +([A-Z][a-z]+ +)?${name} `, 'm'));
  });

  test('is asked for by flag, by word and by letter alike', async () => {
    const [first, ...others] = await Promise.all([refused('ls', '--help'), refused('help', 'ls'), refused('ls', '-h')]);
    for (const other of others) expect(other).toEqual(first);
  });
});

describe('a store', () => {
  test('lies where SLIPWAY_HOME says, and one bad record hides no other', async () => {
    await using home = await temporaryFolder();
    const state = join(home.path, 'state');
    const store = openStore(state);
    const url = 'tcp://127.0.0.1:1';
    await store.write(
      readyMachine('web', {
        spec: specNamed('web', { driver: 'none', options: { url }, profiles: [] }),
        host: { address: '127.0.0.1', engine: { url } },
        endpoint: { url, tls: false },
      }),
    );
    // Its certificates are not there.
    await store.write(
      readyMachine('lost', { host: { address: '127.0.0.1', ssh: { address: '127.0.0.1', port: 1, user: 'root' } } }),
    );
    await mkdir(store.paths('bad').folder);
    await writeFile(store.paths('bad').record, '{');
    const slipway = (...argv: readonly string[]): Promise<Ran> =>
      run(process.execPath, [program, ...argv], { env: envIn(home.path, { SLIPWAY_HOME: state }) });

    const { code, stdout, stderr } = await slipway('ls', '--json');
    expect([code, stderr]).toEqual([0, '']);
    expect(JSON.parse(stdout)).toMatchObject([
      { name: 'bad', state: 'broken', trouble: expect.stringContaining('it is not JSON') },
      { name: 'lost', state: 'unreachable' },
      { name: 'web', state: 'unreachable', driver: 'none', url },
    ]);
    expect((await slipway('ls', '--quiet')).stdout).toBe('bad\nlost\nweb\n');
    expect((await slipway('ls')).stdout.split('\n')[0]).toBe(
      'NAME   CURRENT   DRIVER    STATE         URL                     ENGINE   TROUBLE',
    );
    expect((await slipway('ip', 'web', 'lost')).stdout).toBe('127.0.0.1\n127.0.0.1\n');
    expect((await slipway('url', 'web')).stdout).toBe(`${url}\n`);
    expect(JSON.parse((await slipway('inspect', 'web')).stdout)).toEqual(await store.read('web'));
    expect((await slipway('status', 'web')).code).toBe(1);
    expect((await slipway('status', 'bad')).code).toBe(3);
    expect(await readdir(home.path)).toEqual(['state']);
  });

  test('that is empty lists as empty', async () => {
    expect(await refused('ls', '--quiet')).toEqual({ code: 0, stdout: '', stderr: '' });
    expect((await refused('ls', '--json')).stdout).toBe('[]\n');
    expect((await refused('ls')).stdout).toBe('No machines yet. Make one: slipway create\n');
  });
});

test('a reader that goes away is no error', async () => {
  await using home = await temporaryFolder();
  const child = spawn(process.execPath, [program, 'help'], {
    env: envIn(home.path),
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  // Long before the program has started, so that its first write meets a closed pipe.
  child.stdout.destroy();
  let stderr = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
  });
  const [code] = (await once(child, 'close')) as [number | null];
  expect([code, stderr]).toEqual([0, '']);
});

test('the version is told, to people and to programs', async () => {
  const { stdout } = await refused('--version');
  expect(stdout).toMatch(/^slipway \d+\.\d+\.\d+ \(Node v\d+\.\d+\.\d+, \w+\)\n$/);
  expect(JSON.parse((await refused('version', '--json')).stdout)).toMatchObject({ node: process.version });
});
