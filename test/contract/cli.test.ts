import { spawn } from 'node:child_process';
import { mkdir, readdir, stat, writeFile } from 'node:fs/promises';
import { once } from 'node:events';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { beforeAll, describe, expect, test } from 'vitest';
import { commands, allCommands } from '../../src/cli/commands/command-list.ts';
import { drivers } from '../../src/drivers/registry.ts';
import { openStore } from '../../src/machine/store.ts';
import { createTemporaryFolder } from '../fakes/temporary-folder.ts';
import { readyMachine, specNamed } from '../fakes/sample-machine.ts';
import { runProgram, type ProgramResult } from '../fakes/run-program.ts';

const slipwayProgram = fileURLToPath(new URL('../../dist/slipway.js', import.meta.url));

beforeAll(async () => {
  await stat(slipwayProgram).catch(() => {
    throw new Error('dist/ is missing: run npm run build');
  });
});

const envIn = (home: string, more: NodeJS.ProcessEnv = {}): NodeJS.ProcessEnv => ({
  PATH: process.env.PATH,
  HOME: home,
  ...more,
});
const runSlipway = (home: string, ...argv: readonly string[]): Promise<ProgramResult> =>
  runProgram(process.execPath, [slipwayProgram, ...argv], { env: envIn(home) });

/** Runs slipway in an empty home, in which it must leave nothing. */
async function runLeavingNothing(...argv: readonly string[]): Promise<ProgramResult> {
  await using home = await createTemporaryFolder();
  const result = await runSlipway(home.path, ...argv);
  const remaining = await readdir(home.path, { recursive: true, withFileTypes: true });
  expect(remaining.filter((entry) => entry.isFile() || entry.name === 'web')).toEqual([]);
  return result;
}

const driverNames = drivers.map(({ name }) => name).toSorted();
const cloudNames = drivers.filter(({ kind }) => kind === 'cloud').map(({ name }) => name);

describe('an invalid call', () => {
  const calls = [
    'crate',
    'frobnicate',
    'ls --quite',
    'ls --foo',
    'ls --watch --interval 0',
    'extend',
    'extend web',
    'extend 2h',
    'extend web soon',
    'extend we_b 2h',
    'extend web 2h',
    'create web --generic-ip-address 192.0.2.1 --ttl 0h --idle-stop 99999d',
    'create web --none-url tcp://192.0.2.1:2376 --ttl 4h',
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
    'create web --qemu-cpus 0 --qemu-accelerator warp --image-digest 12',
    'create web --qemu-disk 40 --generic-ip-address 192.0.2.1',
    'create -x',
    'create we_b --generic-ip-address 192.0.2.1',
    'create web --driver nope',
    'create web --driver generic',
    'create --driver generic',
    'create web --driver none --generic-ip-address 192.0.2.1',
    'create web --generic-ip-address',
    'create web --generic-ip-address a;b --generic-ssh-port 99999 --generic-host-key x',
    'create web --generic-ip-address 192.0.2.1 --engine-source moon --engine-opt =x',
    'create web --generic-ip-address 192.0.2.1 --generic-ssh-key /none',
    'create web --none-url http://192.0.2.1',
    'create web web --generic-ip-address 192.0.2.1',
    'create one two --count 2 --generic-ip-address 192.0.2.1',
    'create --count 2',
    'create web --count 0 --generic-ip-address 192.0.2.1',
    'create one two --use --generic-ip-address 192.0.2.1',
    'gc web',
    'gc --driver qemu',
    'create web --none-url tcp://192.0.2.1:2376 --none-tls-ca /none',
    'help nothing',
    'imag ls',
    'image sl',
    'image frobnicate',
    'image --foo',
    'help image lss',
    'image ls debian-13',
    'image rm',
    'image rm debian-13',
    'image build debian-9',
    'image build --mirror ftp://x',
    'image build --arch s390x',
    'image pull mine',
    'image pull Mine --url https://x.example/d.qcow2 --digest abc',
    'image pull --url https://x.example/d.qcow2',
    'image pull --url d.qcow2',
    'image pull --digest abc',
  ];

  test('says what is wrong and what to type, ends with its exit status, and writes nothing', async () => {
    const reports = [];
    for (const call of calls) {
      const { code, stdout, stderr } = await runLeavingNothing(...call.split(' '));
      expect(stdout, call).toBe('');
      expect(stderr, call).not.toMatch(/\n\s+at |bug in Slipway/);
      reports.push(`$ slipway ${call}\n${stderr}(${code})`);
    }
    const text = reports.join('\n\n').replaceAll(`Drivers: ${driverNames.join(', ')}\n`, 'Drivers: <all drivers>\n');
    expect(text).toMatchInlineSnapshot(`
      "$ slipway crate
      ✗ Unknown command "crate"
      → Did you mean: slipway create? To list all commands: slipway help
      (2)

      $ slipway frobnicate
      ✗ Unknown command "frobnicate"
      → To list all commands: slipway help
      (2)

      $ slipway ls --quite
      ✗ Unknown option '--quite'
      → Did you mean --quiet? See: slipway ls --help
      (2)

      $ slipway ls --foo
      ✗ Unknown option '--foo'
      → See: slipway ls --help
      (2)

      $ slipway ls --watch --interval 0
      ✗ --interval must be at least 1, got 0
      (2)

      $ slipway extend
      ✗ Missing required argument 'names'
      → See: slipway extend --help
      (2)

      $ slipway extend web
      ✗ "web" is not a valid time
      → For example: slipway extend web 2h, or slipway extend web never
      (2)

      $ slipway extend 2h
      ✗ A machine name is required: "2h" is only the time
      → For example: slipway extend NAME 2h, or slipway extend NAME never
      (2)

      $ slipway extend web soon
      ✗ "soon" is not a valid time
      → For example: slipway extend web 2h, or slipway extend web never
      (2)

      $ slipway extend we_b 2h
      ✗ "we_b" can't be a machine name
      → Use letters, digits, dots and hyphens, starting with a letter or digit, 63 at most: web-1
      (2)

      $ slipway extend web 2h
      ✗ Machine "web" does not exist
      → To create it: slipway create web
      (3)

      $ slipway create web --generic-ip-address 192.0.2.1 --ttl 0h --idle-stop 99999d
      ✗ --ttl must be a time like 90m, 4h or 2d, got "0h"; --idle-stop must be a time like 30m or 2h, got "99999d"
      (2)

      $ slipway create web --none-url tcp://192.0.2.1:2376 --ttl 4h
      ✗ Machine "web" can't end or stop by itself: the driver none does not support it
      → Omit --ttl and --idle-stop, and unset SLIPWAY_TTL and SLIPWAY_IDLE_STOP
      (4)

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
      ✗ Either a machine or --unset is required
      → For example: eval "$(slipway env NAME)", or eval "$(slipway env --unset)"
      (2)

      $ slipway use
      ✗ Either a machine or --unset is required
      → For example: slipway use NAME, or slipway use --unset
      (2)

      $ slipway use web --unset
      ✗ Either a machine or --unset is required
      → For example: slipway use NAME, or slipway use --unset
      (2)

      $ slipway inspect web
      ✗ Machine "web" does not exist
      → To create it: slipway create web
      (3)

      $ slipway provision web
      ✗ Machine "web" does not exist
      → To create it: slipway create web
      (3)

      $ slipway rm web
      ✗ Machine "web" does not exist
      → To create it: slipway create web
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
      ✗ Required to create a machine: a name and a driver
      → For a virtual machine on this computer: slipway create dev
      (2)

      $ slipway create web --qemu-cpus 0 --qemu-accelerator warp --image-digest 12
      ✗ --qemu-cpus must be at least 1, got 0; --image-digest must be a digest like sha512:…, got "12"; --qemu-accelerator must be one of auto, kvm, hvf, whpx or tcg, got "warp"
      → All options: slipway help qemu
      (2)

      $ slipway create web --qemu-disk 40 --generic-ip-address 192.0.2.1
      ✗ The flags belong to several drivers: generic and qemu
      → Choose one with --driver generic, and leave out the other's flags
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
      → Did you mean none? Drivers: <all drivers>
      (2)

      $ slipway create web --driver generic
      ✗ --generic-ip-address is missing
      → Add --generic-ip-address <address>, or set GENERIC_IP_ADDRESS
      (2)

      $ slipway create --driver generic
      ✗ Required to create a machine: a name and --generic-ip-address
      → For example: slipway create web --driver generic --generic-ip-address 192.0.2.10
      (2)

      $ slipway create web --driver none --generic-ip-address 192.0.2.1
      ✗ --generic-ip-address belongs to the driver generic, not to none
      → For the options of none: slipway help none
      (2)

      $ slipway create web --generic-ip-address
      ✗ Option '--generic-ip-address <address>' argument missing
      → See: slipway create --help
      (2)

      $ slipway create web --generic-ip-address a;b --generic-ssh-port 99999 --generic-host-key x
      ✗ --generic-ip-address must be an IP address or host name (use --generic-ssh-user and --generic-ssh-port for the rest), got "a;b"; --generic-ssh-port must be at most 65535, got 99999; --generic-host-key must be a fingerprint like SHA256:… or a public key, got "x"
      → All options: slipway help generic
      (2)

      $ slipway create web --generic-ip-address 192.0.2.1 --engine-source moon --engine-opt =x
      ✗ --engine-source must be one of docker, distro, none or url, got "moon"; --engine-opt must be an option of dockerd like log-driver=local, got "=x"
      → All options: slipway help engine
      (2)

      $ slipway create web --generic-ip-address 192.0.2.1 --generic-ssh-key /none
      ✗ The SSH key /none can't be read: it does not exist
      → Check --generic-ssh-key
      (2)

      $ slipway create web --none-url http://192.0.2.1
      ✗ --none-url must be a URL like tcp://192.0.2.10:2376 or unix:///run/docker.sock, got "http://192.0.2.1"
      → All options: slipway help none
      (2)

      $ slipway create web web --generic-ip-address 192.0.2.1
      ✗ Machine "web" is named twice
      → Name each machine once
      (2)

      $ slipway create one two --count 2 --generic-ip-address 192.0.2.1
      ✗ --count requires exactly one name: 2 given
      → For example: slipway create one --count 2
      (2)

      $ slipway create --count 2
      ✗ --count requires exactly one name: 0 given
      → For example: slipway create web --count 2
      (2)

      $ slipway create web --count 0 --generic-ip-address 192.0.2.1
      ✗ --count must be at least 1, got 0
      (2)

      $ slipway create one two --use --generic-ip-address 192.0.2.1
      ✗ --use requires exactly one name: 2 given
      → Omit --use, then choose one: slipway use one
      (2)

      $ slipway gc web
      ✗ Too many arguments. Expected 0 arguments but got 1.
      → See: slipway gc --help
      (2)

      $ slipway gc --driver qemu
      ✗ The driver qemu has no cloud resources
      → To list machines: slipway ls
      (2)

      $ slipway create web --none-url tcp://192.0.2.1:2376 --none-tls-ca /none
      ✗ TLS requires three files: --none-tls-cert and --none-tls-key are missing
      → Add --none-tls-cert <file> --none-tls-key <file>
      (2)

      $ slipway help nothing
      ✗ Unknown command "nothing"
      → To list all commands: slipway help
      (2)

      $ slipway imag ls
      ✗ Unknown command "imag"
      → Did you mean: slipway image? To list all commands: slipway help
      (2)

      $ slipway image sl
      ✗ Unknown command "image sl"
      → Did you mean: slipway image ls? To list all commands: slipway help image
      (2)

      $ slipway image frobnicate
      ✗ Unknown command "image frobnicate"
      → To list all commands: slipway help image
      (2)

      $ slipway image --foo
      ✗ Unknown option '--foo'
      → See: slipway help image
      (2)

      $ slipway help image lss
      ✗ Unknown command "image lss"
      → Did you mean: slipway image ls? To list all commands: slipway help image
      (2)

      $ slipway image ls debian-13
      ✗ Too many arguments. Expected 0 arguments but got 1.
      → See: slipway image ls --help
      (2)

      $ slipway image rm
      ✗ Missing required argument 'names'
      → See: slipway image rm --help
      (2)

      $ slipway image rm debian-13
      ✗ Image "debian-13" does not exist
      → To create one: slipway image build
      (3)

      $ slipway image build debian-9
      ✗ Image "debian-9" is unknown
      → Known images: debian-13 and debian-12. For any other, pass its path or URL
      (2)

      $ slipway image build --mirror ftp://x
      ✗ --mirror must be a URL like http://deb.debian.org/debian, got "ftp://x"
      (2)

      $ slipway image build --arch s390x
      ✗ --arch must be one of amd64 or arm64, got "s390x"
      (2)

      $ slipway image pull mine
      ✗ Image "mine" is unknown
      → Known images: debian-13 and debian-12. For any other, pass its path or URL
      (2)

      $ slipway image pull Mine --url https://x.example/d.qcow2 --digest abc
      ✗ --digest must be sha512: and 128 hex digits, or sha256: and 64, got "abc"
      → The digest is in the SHA512SUMS file beside the image. For a file of your own: sha512sum disk.qcow2
      (2)

      $ slipway image pull --url https://x.example/d.qcow2
      ✗ An image from a URL needs its digest: https://x.example/d.qcow2
      → Add --digest sha512:… (from the SHA512SUMS file beside the image)
      (2)

      $ slipway image pull --url d.qcow2
      ✗ A digest is required for an image from a file: d.qcow2
      → Add --digest sha512:… (sha512sum prints it)
      (2)

      $ slipway image pull --digest abc
      ✗ --digest requires --url
      → For example: slipway image pull --url https://… --digest sha512:…
      (2)"
    `);
    // Each line starts a program, which takes seconds on a busy machine.
  }, 120_000);

  test('with --json prints one document to stdout and the message to stderr', async () => {
    const { code, stdout, stderr } = await runLeavingNothing('create', 'web', '--driver', 'generic', '--json');
    expect(code).toBe(2);
    expect(JSON.parse(stdout)).toEqual({
      error: {
        code: 'USAGE',
        message: '--generic-ip-address is missing',
        hint: 'Add --generic-ip-address <address>, or set GENERIC_IP_ADDRESS',
      },
    });
    expect(stderr).toContain('--generic-ip-address is missing');
    expect(JSON.parse((await runLeavingNothing('--json', 'inspect', 'web')).stdout)).toMatchObject({
      error: { code: 'MACHINE_NOT_FOUND' },
    });
  });

  test('never accepts a secret as a flag', async () => {
    const { code, stderr } = await runLeavingNothing('rm', 'web', '--sudo-password', 'hunter2');
    expect(code).toBe(2);
    expect(stderr).not.toContain('hunter2');
  });
});

describe('help', () => {
  const topics = [
    [],
    ['help'],
    ...[...commands, ...allCommands].map(({ name }) => [...name.split(' '), '--help']),
    ...drivers.flatMap(({ name }) => [
      ['help', name],
      ['create', '--driver', name, '--help'],
    ]),
  ];

  // The page of a driver and the list of all options may scroll.
  const scrollable = ['--driver', 'engine', ...cloudNames];

  test.each([...topics, ['help', 'engine']].map((argv) => ({ argv, call: ['slipway', ...argv].join(' ') })))(
    'fits 80 columns, and 24 lines unless it is a list: $call',
    async ({ argv }) => {
      const { code, stdout, stderr } = await runLeavingNothing(...argv);
      expect([code, stderr]).toEqual([0, '']);
      const lines = stdout.trimEnd().split('\n');
      expect(Math.max(...lines.map((line) => [...line].length))).toBeLessThanOrEqual(80);
      const canScroll = scrollable.includes(argv[1] ?? '') || ['', 'help'].includes(argv.join());
      if (!canScroll) expect(lines.length).toBeLessThanOrEqual(24);
    },
  );

  test('of the program lists every command', async () => {
    const { stdout } = await runLeavingNothing();
    for (const { name, summary } of commands)
      expect(stdout).toMatch(new RegExp(`^ +([A-Z]\\w+ +)?${name} +${summary}$`, 'm'));
  });

  test('is the same for --help, help and -h', async () => {
    const [first, ...others] = await Promise.all([
      runLeavingNothing('ls', '--help'),
      runLeavingNothing('help', 'ls'),
      runLeavingNothing('ls', '-h'),
    ]);
    for (const other of others) expect(other).toEqual(first);
  });

  test('of a command group lists its commands, and each has its own help', async () => {
    const [bare, ...others] = await Promise.all([
      runLeavingNothing('image'),
      runLeavingNothing('help', 'image'),
      runLeavingNothing('image', '--help'),
      runLeavingNothing('image', '--json'),
    ]);
    for (const other of others) expect(other).toEqual(bare);
    for (const { name } of allCommands.filter((entry) => entry.name.startsWith('image ')))
      expect(bare.stdout).toMatch(new RegExp(`^ +${name} `, 'm'));
    expect(await runLeavingNothing('help', 'image', 'rm')).toEqual(await runLeavingNothing('image', 'rm', '--help'));
    expect((await runLeavingNothing('image', 'rm', '-h')).stdout).toContain('Usage: slipway image rm <names...>');
  });
});

describe('a store', () => {
  test('is in SLIPWAY_HOME, and one broken record hides no other', async () => {
    await using home = await createTemporaryFolder();
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
    // The certificates of this machine are missing.
    await store.write(
      readyMachine('lost', { host: { address: '127.0.0.1', ssh: { address: '127.0.0.1', port: 1, user: 'root' } } }),
    );
    await mkdir(store.paths('bad').folder);
    await writeFile(store.paths('bad').record, '{');
    const slipway = (...argv: readonly string[]): Promise<ProgramResult> =>
      runProgram(process.execPath, [slipwayProgram, ...argv], { env: envIn(home.path, { SLIPWAY_HOME: state }) });

    const { code, stdout, stderr } = await slipway('ls', '--json');
    expect([code, stderr]).toEqual([0, '']);
    expect(JSON.parse(stdout)).toMatchObject([
      { name: 'bad', state: 'broken', trouble: expect.stringContaining('it is not JSON') },
      { name: 'lost', state: 'unreachable' },
      { name: 'web', state: 'unreachable', driver: 'none', url },
    ]);
    expect((await slipway('ls', '--quiet')).stdout).toBe('bad\nlost\nweb\n');
    expect((await slipway('ls')).stdout.split('\n')[0]).toBe(
      'NAME   CURRENT   DRIVER    STATE         URL                     ENGINE   CERTS   TROUBLE',
    );
    expect((await slipway('ip', 'web', 'lost')).stdout).toBe('127.0.0.1\n127.0.0.1\n');
    expect((await slipway('url', 'web')).stdout).toBe(`${url}\n`);
    expect(JSON.parse((await slipway('inspect', 'web')).stdout)).toEqual(await store.read('web'));
    expect((await slipway('status', 'web')).code).toBe(1);
    expect((await slipway('status', 'bad')).code).toBe(3);
    expect(await readdir(home.path)).toEqual(['state']);
  });

  test('without machines lists none', async () => {
    expect(await runLeavingNothing('ls', '--quiet')).toEqual({ code: 0, stdout: '', stderr: '' });
    expect((await runLeavingNothing('ls', '--json')).stdout).toBe('[]\n');
    expect((await runLeavingNothing('ls')).stdout).toBe('No machines yet. To create one: slipway create\n');
  });
});

test('a closed pipe is no error', async () => {
  await using home = await createTemporaryFolder();
  const child = spawn(process.execPath, [slipwayProgram, 'help'], {
    env: envIn(home.path),
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  // The pipe closes before the program starts, so that its first write fails.
  child.stdout.destroy();
  let stderr = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
  });
  const [code] = (await once(child, 'close')) as [number | null];
  expect([code, stderr]).toEqual([0, '']);
});

test('version prints the version as text and as JSON', async () => {
  const { stdout } = await runLeavingNothing('--version');
  expect(stdout).toMatch(/^slipway \d+\.\d+\.\d+ \(Node v\d+\.\d+\.\d+, \w+\)\n$/);
  expect(JSON.parse((await runLeavingNothing('version', '--json')).stdout)).toMatchObject({ node: process.version });
});
