import { mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createTemporaryFolder } from '../fakes/temporary-folder.ts';
import { runProgram, type ProgramResult } from '../fakes/run-program.ts';

// These tests need no host. They check the command line itself, and machines of the driver `none` as scripts written
// for Docker Machine read them.

const dockerMachineProgram = fileURLToPath(new URL('../../dist/docker-machine.js', import.meta.url));

type Home = AsyncDisposable & {
  readonly path: string;
  readonly store: string;
  readonly runMachine: (...argv: readonly string[]) => Promise<ProgramResult>;
  readonly runMachineWith: (env: NodeJS.ProcessEnv, ...argv: readonly string[]) => Promise<ProgramResult>;
};

async function createHome(): Promise<Home> {
  const folder = await createTemporaryFolder();
  const store = join(folder.path, '.docker', 'machine');
  const runMachineWith: Home['runMachineWith'] = (env, ...argv) =>
    runProgram(process.execPath, [dockerMachineProgram, ...argv], {
      env: { PATH: process.env.PATH, HOME: folder.path, SHELL: '/bin/bash', ...env },
    });
  return {
    path: folder.path,
    store,
    runMachineWith,
    runMachine: (...argv) => runMachineWith({}, ...argv),
    [Symbol.asyncDispose]: () => folder[Symbol.asyncDispose](),
  };
}

beforeAll(async () => {
  await stat(dockerMachineProgram).catch(() => {
    throw new Error('dist/ is missing: run npm run build');
  });
});

const NO_DEFAULT_MESSAGE = 'Error: No machine name(s) specified and no "default" machine exists';
const notFoundMessage = (name: string): string =>
  `Docker machine "${name}" does not exist. Use "docker-machine ls" to list machines. Use "docker-machine create" to add a new one.`;

describe("an invalid command line ends with status 1 and Docker Machine's message", () => {
  test.each([
    ['bogus', "docker-machine: 'bogus' is not a docker-machine command. See 'docker-machine --help'."],
    ['ls --bogus', 'flag provided but not defined: -bogus'],
    ['ls -timeout soon', 'invalid value "soon" for flag -timeout'],
    ['ls --timeout', 'flag needs an argument: -timeout'],
    ['ls --filter nonsense', 'Unsupported filter syntax'],
    ['ls --filter color=red', "Unsupported filter key 'color'"],
    ['ls --format {{.Name', 'Template parsing error: '],
    ['create -d none', 'Error: No machine name specified'],
    ['create -d none --url u a extra', 'Invalid command line. Found extra arguments [extra]'],
    [
      'create -d none --url u a_b',
      'Error creating machine: Invalid hostname specified. Allowed hostname chars are: 0-9a-zA-Z . -',
    ],
    [
      'create -d none web',
      'Error setting machine configuration from flags provided: --url option is required when no driver is selected',
    ],
    [
      'create -d bogus web',
      'Driver "bogus" not found. Do you have the plugin binary "docker-machine-driver-bogus" accessible in your PATH?',
    ],
    ['create -d generic web', 'Error setting machine configuration from flags provided: --generic-ip-address'],
    [
      'create -d none --url u --swarm --swarm-discovery nowhere web',
      'Error setting machine configuration from flags provided: --swarm-discovery',
    ],
    ['rm', 'Error: Expected to get one or more machine names as arguments'],
    ['rm -y web', `Error removing host "web": ${notFoundMessage('web')}`],
    ['env -u web', 'Error: Expected no machine name when the -u flag is present'],
    ['active web', 'Error: Too many arguments given'],
    ['active', 'No active host found'],
    ['scp a', 'Improper number of arguments'],
    ['version a b', 'Error: Expected one machine name as an argument'],
    ...[
      'config',
      'env',
      'inspect',
      'ip',
      'kill',
      'provision',
      'regenerate-certs -f',
      'restart',
      'ssh',
      'start',
      'status',
      'stop',
      'upgrade',
      'url',
    ].flatMap((command) => [
      [command, NO_DEFAULT_MESSAGE],
      [`${command} web`, notFoundMessage('web')],
    ]),
  ])('%s', async (line, message) => {
    await using home = await createHome();
    const { code, stderr } = await home.runMachine(...line.split(' '));
    expect(stderr).toContain(message);
    expect(stderr).not.toContain('This is a bug');
    expect(code).toBe(1);
  });

  test('reports a file in place of the store without a stack trace', async () => {
    await using home = await createHome();
    await mkdir(join(home.path, '.docker'));
    await writeFile(home.store, '');
    const { code, stderr } = await home.runMachine('create', '-d', 'none', '--url', 'u', 'web');
    expect(stderr).toMatch(/machine/);
    expect(stderr).not.toContain('    at ');
    expect(code).toBe(1);
  });
});

describe('help', () => {
  const names = [
    'active',
    'config',
    'create',
    'env',
    'inspect',
    'ip',
    'kill',
    'ls',
    'mount',
    'provision',
    'regenerate-certs',
    'restart',
    'rm',
    'scp',
    'ssh',
    'start',
    'status',
    'stop',
    'upgrade',
    'url',
    'version',
  ];

  test('lists all commands when the command line names none', async () => {
    await using home = await createHome();
    const { code, stdout } = await home.runMachine();
    expect(code).toBe(0);
    expect(stdout).toMatch(/^Usage: docker-machine \[OPTIONS\] COMMAND/);
    expect(stdout).toContain('Create and manage machines running Docker');
    for (const name of names) expect(stdout).toMatch(new RegExp(String.raw`^ {2}${name} `, 'm'));
  });

  test.each(names)('prints the usage of %s for -h, --help and -help', async (name) => {
    await using home = await createHome();
    for (const flag of ['-h', '--help', '-help']) {
      const { code, stdout } = await home.runMachine(name, flag);
      expect(stdout).toContain(`Usage: docker-machine ${name}`);
      expect(code).toBe(0);
    }
  });

  test.each([
    ['generic', 'generic-ip-address'],
    ['amazonec2', 'amazonec2-region'],
    ['google', 'google-project'],
    ['none', 'url'],
  ])("create -d %s --help lists the driver's flags", async (driver, flag) => {
    await using home = await createHome();
    const { stdout } = await home.runMachine('create', '-d', driver, '--help');
    expect(stdout).toMatch(new RegExp(String.raw`^ +--${flag}\b`, 'm'));
  });

  test('--version prints the version that clients compare', async () => {
    await using home = await createHome();
    const lines = await Promise.all(['-v', '--version', 'version'].map((word) => home.runMachine(word)));
    for (const { stdout } of lines)
      expect(stdout).toMatch(/^docker-machine version 0\.16\.2, build slipway-\d+\.\d+\.\d+\n$/);
  });
});

describe('create accepts every flag that Docker Machine has for the driver', () => {
  const commonFlags =
    'driver engine-install-url engine-opt engine-insecure-registry engine-registry-mirror engine-label engine-storage-driver engine-env swarm swarm-image swarm-master swarm-discovery swarm-strategy swarm-opt swarm-join-opt swarm-host swarm-addr swarm-experimental tls-san';
  test.each([
    ['none', 'url'],
    ['generic', 'generic-engine-port generic-ip-address generic-ssh-key generic-ssh-port generic-ssh-user'],
    [
      'amazonec2',
      'amazonec2-access-key amazonec2-ami amazonec2-block-duration-minutes amazonec2-device-name amazonec2-endpoint amazonec2-iam-instance-profile amazonec2-insecure-transport amazonec2-instance-type amazonec2-keypair-name amazonec2-monitoring amazonec2-open-port amazonec2-private-address-only amazonec2-region amazonec2-request-spot-instance amazonec2-retries amazonec2-root-size amazonec2-secret-key amazonec2-security-group amazonec2-security-group-readonly amazonec2-session-token amazonec2-spot-price amazonec2-ssh-keypath amazonec2-ssh-port amazonec2-ssh-user amazonec2-subnet-id amazonec2-tags amazonec2-use-ebs-optimized-instance amazonec2-use-private-address amazonec2-userdata amazonec2-volume-type amazonec2-vpc-id amazonec2-zone',
    ],
    [
      'google',
      'google-address google-disk-size google-disk-type google-machine-image google-machine-type google-network google-open-port google-preemptible google-project google-scopes google-service-account google-subnetwork google-tags google-use-existing google-use-internal-ip google-use-internal-ip-only google-username google-zone',
    ],
  ])('%s', async (driver, flags) => {
    await using home = await createHome();
    const { stdout } = await home.runMachine('create', '-d', driver, '--help');
    const known = new Set([...stdout.matchAll(/--([a-z0-9-]+)/g)].map(([, flag]) => flag));
    expect(`${commonFlags} ${flags}`.split(' ').filter((flag) => !known.has(flag))).toEqual([]);
  });
});

describe('machines of an existing engine', () => {
  let home: Home;
  /** Accepts connections and never answers. */
  const silentServer = createServer(() => {});
  let url: string;

  beforeAll(async () => {
    await new Promise<void>((resolve) => silentServer.listen(0, '127.0.0.1', resolve));
    const address = silentServer.address();
    url = `tcp://127.0.0.1:${typeof address === 'object' ? address?.port : 0}`;
    home = await createHome();
    for (const [name, ...flags] of [
      ['web10', '--engine-label', 'zone=a', '--engine-label', 'app=1'],
      ['web9', '--engine-label', 'app=1'],
      ['master', '--swarm', '--swarm-master', '--swarm-discovery', 'token://1'],
      ['member', '--swarm', '--swarm-discovery', 'token://1'],
    ] as const)
      expect(await home.runMachine('create', '-d', 'none', '--url', 'url1', ...flags, name)).toMatchObject({ code: 0 });
  });
  afterAll(async () => {
    silentServer.close();
    await home[Symbol.asyncDispose]();
  });

  test('ls sorts machines by name, and says why a version is unknown', async () => {
    const { code, stdout } = await home.runMachine('ls');
    const lines = stdout.trimEnd().split('\n');
    expect(lines[0]).toMatch(/^NAME +ACTIVE +DRIVER +STATE +URL +SWARM +DOCKER +ERRORS$/);
    expect(lines.slice(1).map((line) => line.split(/\s+/, 5).join(' '))).toEqual([
      'master - none Running url1',
      'member - none Running url1',
      'web9 - none Running url1',
      'web10 - none Running url1',
    ]);
    expect(lines[1]).toMatch(/ master \(master\) +Unknown +Unable to query docker version: \S/);
    // Each column is as wide as its widest cell, plus three spaces.
    expect(lines[0]?.indexOf('ACTIVE')).toBe('member'.length + 3);
    expect(code).toBe(0);
  });

  test.each([
    ['name=web', 'web9 web10'],
    ['NAME=^w.*0$', 'web10'],
    ['driver=NONE', 'master member web9 web10'],
    ['state=running', 'master member web9 web10'],
    ['state=Stopped', ''],
    ['state=None', ''],
    ['swarm=master', 'master member'],
    ['label=app=1', 'web9 web10'],
    ['label=app=1 --filter label=zone=a', 'web9 web10'],
    ['label=app=1 --filter name=9', 'web9'],
    ['label=zone', 'web10'],
    ['label=zone=b', ''],
  ])('ls -q --filter %s', async (filters, names) => {
    const { stdout } = await home.runMachine('ls', '-q', '--filter', ...filters.split(' '));
    expect(stdout.trim().split('\n').join(' ')).toBe(names);
  });

  test.each([
    ['{{.Name}} {{.DriverName}} {{.State}}', 'web9 none Running\n'],
    [String.raw`table {{.Name}}\t{{.DriverName}}`, 'NAME   DRIVER\nweb9   none\n'],
    ['table {{.Name}}: {{.DriverName}}', 'NAME: DRIVER\nweb9: none\n'],
    ['{{.Active}}|{{.ActiveHost}}|{{.ActiveSwarm}}', '-|false|false\n'],
    ['{{range .EngineOptions.Labels}}<{{.}}>{{end}}', '<app=1>\n'],
    ['{{.SwarmOptions.Strategy}}', 'spread\n'],
  ])('ls --format %s', async (format, text) => {
    const { stdout } = await home.runMachine('ls', '--filter', 'name=web9', '--format', format);
    expect(stdout).toBe(text);
  });

  test('the machine that DOCKER_HOST points to is active', async () => {
    await home.runMachine('create', '-d', 'none', '--url', url, 'here');
    const { stdout } = await home.runMachineWith({ DOCKER_HOST: url }, 'active', '-t', '3');
    expect(stdout).toBe('here\n');
    const listed = await home.runMachineWith(
      { DOCKER_HOST: url },
      'ls',
      '-timeout=3',
      '-filter=name=here',
      '-format',
      '{{.Active}}',
    );
    expect(listed.stdout).toBe('*\n');
    await home.runMachine('rm', '-y', 'here');
  });

  test('url, status, ip and inspect print only the value on stdout', async () => {
    expect(await home.runMachine('url', 'web9')).toMatchObject({ stdout: 'url1\n', stderr: '' });
    expect(await home.runMachine('status', 'web9')).toMatchObject({ stdout: 'Running\n', stderr: '' });
    expect(await home.runMachine('ip', 'web9')).toMatchObject({ stdout: 'url1\n', stderr: '' });
    expect(await home.runMachine('inspect', 'web9', '-f', '{{.HostOptions.AuthOptions.StorePath}}')).toMatchObject({
      stdout: `${join(home.store, 'machines', 'web9')}\n`,
      stderr: '',
    });
  });

  test('flags work before and after names, with one dash or two', async () => {
    const expected = { stdout: 'none\n', code: 0 };
    const calls = [
      ['inspect', '-f', '{{.DriverName}}', 'web9'],
      ['inspect', 'web9', '--format', '{{.DriverName}}'],
      ['inspect', '-format={{.DriverName}}', 'web9'],
      ['--bugsnag-api-token=no-report', 'inspect', 'web9', '-f={{.DriverName}}'],
      ['-D', '--bugsnag-api-token', 'no-report', '--native-ssh', 'inspect', 'web9', '--f', '{{.DriverName}}'],
      ['--storage-path', home.store, '--github-api-token', 'x', 'inspect', 'web9', '-f', '{{.DriverName}}'],
      ['-s', home.store, 'inspect', '-f', '{{.DriverName}}', '--', 'web9'],
    ];
    for (const argv of calls) expect(await home.runMachine(...argv), argv.join(' ')).toMatchObject(expected);
  });

  test('inspect prints the JSON of config.json, indented by four spaces', async () => {
    const { stdout } = await home.runMachine('inspect', 'web10');
    const shown = JSON.parse(stdout) as Record<string, unknown>;
    expect(Object.keys(shown).slice(0, 5)).toEqual(['ConfigVersion', 'Driver', 'DriverName', 'HostOptions', 'Name']);
    expect(stdout).toBe(`${JSON.stringify(shown, null, 4)}\n`);
    expect(shown).toMatchObject({
      ConfigVersion: 3,
      Driver: { URL: 'url1', MachineName: 'web10', StorePath: home.store },
      DriverName: 'none',
      HostOptions: {
        EngineOptions: { Labels: ['zone=a', 'app=1'] },
        SwarmOptions: { IsSwarm: false, Strategy: 'spread' },
      },
      Name: 'web10',
    });
    expect(JSON.parse(await readFile(join(home.store, 'machines', 'web10', 'config.json'), 'utf8'))).toEqual(shown);
  });

  test('inspect reports an invalid template', async () => {
    const { code, stderr } = await home.runMachine('inspect', 'web10', '-f', '{{.Name');
    expect(stderr).toMatch(/^template parsing error: /);
    expect(code).toBe(1);
  });

  test('other users cannot read the secrets in the store', async () => {
    const entries = await readdir(home.store, { recursive: true, withFileTypes: true });
    const readableByOthers = await Promise.all(
      entries.map(async (entry) => {
        const path = join(entry.parentPath, entry.name);
        const { mode } = await stat(path);
        return (mode & 0o077) === 0 || /\/(ca|cert)\.pem$/.test(path) ? [] : [path];
      }),
    );
    expect(readableByOthers.flat()).toEqual([]);
  });

  const configOfDriver = (DriverName: string): string => JSON.stringify({ ConfigVersion: 3, Driver: {}, DriverName });
  test.each([
    ['is not JSON', '{'],
    ['names a property of every JavaScript object as its driver', configOfDriver('constructor')],
    ['has an invalid driver name', configOfDriver('box\u001B[2J')],
    ['is a folder', undefined],
  ])('ls shows a broken record that %s as one row with the reason, and hides no other machine', async (_, text) => {
    const path = join(home.store, 'machines', 'bad', 'config.json');
    await mkdir(text === undefined ? path : join(path, '..'), { recursive: true });
    if (text !== undefined) await writeFile(path, text);
    const { code, stdout } = await home.runMachine('ls');
    expect(stdout).toMatch(/^bad +- +not found +Error +Unknown +\S/m);
    expect(stdout).toMatch(/^web9 /m);
    expect(code).toBe(0);
    expect((await home.runMachine('ls', '-q')).stdout).not.toContain('bad');
    expect(await home.runMachine('rm', '-f', 'bad')).toMatchObject({ code: 0 });
    expect((await home.runMachine('ls')).stdout).not.toContain('bad');
  });

  test('ls prints no control characters from a record', async () => {
    await home.runMachine('create', '-d', 'none', '--url', 'tcp://here\u001B]0;title\u0007', 'noisy');
    const { stdout } = await home.runMachine('ls', '--filter', 'name=noisy');
    expect(stdout).toContain('tcp://here');
    for (const control of ['\u001B', '\u0007']) expect(stdout).not.toContain(control);
    await home.runMachine('rm', '-f', 'noisy');
  });

  test.each([
    ['y\n', true],
    ['Yes\n', true],
    ['n\n', false],
    ['', false],
  ])('rm asks for confirmation and follows the answer %j', async (answer, isRemoved) => {
    await home.runMachine('create', '-d', 'none', '--url', 'u', 'unwanted');
    const env = { PATH: process.env.PATH, HOME: home.path };
    const result = await runProgram(process.execPath, [dockerMachineProgram, 'rm', 'unwanted'], { env, stdin: answer });
    expect(result.stdout).toContain(
      'About to remove unwanted\nWARNING: This action will delete both local reference and remote instance.\n',
    );
    expect(result.stdout).toContain('Are you sure? (y/n): ');
    expect(result.code).toBe(0);
    expect(result.stdout.includes('Successfully removed unwanted')).toBe(isRemoved);
    await home.runMachine('rm', '-f', 'unwanted');
  });

  test("env and config report an engine that does not answer, in Docker Machine's words", async () => {
    for (const [command, prefix] of [
      ['env', 'Error checking TLS connection: '],
      ['config', 'Error running connection boilerplate: '],
    ] as const) {
      const { code, stderr, stdout } = await home.runMachine(command, 'web9');
      expect(stderr).toContain(
        `${prefix}Error checking and/or regenerating the certs: There was an error validating certificates for host "url1"`,
      );
      // The hint names docker-machine, since slipway reads another store.
      expect(stderr).toContain('docker-machine provision web9');
      expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
    }
  });

  test('ls --format refuses an unknown field', async () => {
    const { code, stderr } = await home.runMachine('ls', '--format', '{{.Bogus}}');
    expect(stderr).toMatch(/^Template parsing error: .*Bogus/);
    expect(code).toBe(1);
  });

  test("restart refuses an engine without a host, in Docker Machine's words", async () => {
    const { code, stderr } = await home.runMachine('restart', 'web9');
    expect({ code, stderr }).toEqual({ code: 1, stderr: 'none driver does not support restart\n' });
  });

  test.each(['provision', 'regenerate-certs -f', 'upgrade'])(
    '%s refuses an engine without SSH and changes nothing',
    async (line) => {
      const before = await home.runMachine('inspect', 'web9');
      const { code, stderr } = await home.runMachine(...line.split(' '), 'web9');
      expect({ code, stderr }).toEqual({ code: 1, stderr: expect.stringContaining('SSH') as string });
      expect(await home.runMachine('inspect', 'web9')).toEqual(before);
    },
  );

  test.each([
    ['start', 'Starting', 'Machine "web9" is already running.'],
    ['stop', 'Stopping', 'none driver does not support stop'],
    ['kill', 'Killing', 'none driver does not support kill'],
  ])('%s refuses a machine of the driver none', async (command, progress, reason) => {
    expect(await home.runMachine(command, 'web9')).toMatchObject({
      code: 1,
      stdout: `${progress} "web9"...\n`,
      stderr: `${reason}\n`,
    });
  });

  test.each([
    ['web9', false],
    ['member', true],
    ['master', true],
  ])('inspect shows whether %s is a Swarm agent: %s', async (name, isAgent) => {
    const { stdout } = await home.runMachine('inspect', '-f', '{{.HostOptions.SwarmOptions.Agent}}', name);
    expect(stdout).toBe(`${isAgent}\n`);
  });

  test('create ends with a hint on how to connect', async () => {
    const { stdout } = await home.runMachine('create', '-d', 'none', '--url', 'u', 'last');
    expect(stdout).toMatch(/^To see how to connect .* run: docker-machine env last\n$/m);
    await home.runMachine('rm', '-f', 'last');
  });
});

test('a machine of an unknown driver is listed and inspected, and removed only by force', async () => {
  await using home = await createHome();
  const folder = join(home.store, 'machines', 'box');
  await mkdir(folder, { recursive: true });
  const driver = { IPAddress: '192.0.2.9', MachineName: 'box', SSHUser: 'docker', SSHPort: 22, StorePath: home.store };
  const config = { ConfigVersion: 3, Driver: driver, DriverName: 'virtualbox', HostOptions: {}, Name: 'box' };
  await writeFile(join(folder, 'config.json'), JSON.stringify(config));
  const missingDriver = 'Driver "virtualbox" not found. Do you have the plugin binary accessible in your PATH?';
  const { stdout } = await home.runMachine('ls', '--timeout', '2');
  expect(stdout).toMatch(
    /^box +- +not found +Error .* Driver "virtualbox" not found\. Do you have the plugin binary accessible in your PATH\? *$/m,
  );
  expect(await home.runMachine('inspect', '-f', '{{.DriverName}} {{.Driver.IPAddress}}', 'box')).toMatchObject({
    stdout: 'virtualbox 192.0.2.9\n',
  });
  for (const command of ['status', 'start', 'stop', 'kill', 'provision', 'upgrade', 'rm -y'])
    expect(await home.runMachine(...command.split(' '), 'box'), command).toMatchObject({
      code: 1,
      stderr: expect.stringContaining(missingDriver) as string,
    });
  expect(await home.runMachine('rm', '-f', 'box')).toMatchObject({ code: 0 });
  expect((await home.runMachine('ls', '-q')).stdout).toBe('');
});

describe('env --unset', () => {
  test.each([
    ['bash', ['unset DOCKER_TLS_VERIFY', 'unset DOCKER_HOST', 'unset DOCKER_CERT_PATH', 'unset DOCKER_MACHINE_NAME']],
    [
      'constructor',
      ['unset DOCKER_TLS_VERIFY', 'unset DOCKER_HOST', 'unset DOCKER_CERT_PATH', 'unset DOCKER_MACHINE_NAME'],
    ],
    [
      'fish',
      ['set -e DOCKER_TLS_VERIFY;', 'set -e DOCKER_HOST;', 'set -e DOCKER_CERT_PATH;', 'set -e DOCKER_MACHINE_NAME;'],
    ],
    ['cmd', ['SET DOCKER_TLS_VERIFY=', 'SET DOCKER_HOST=', 'SET DOCKER_CERT_PATH=', 'SET DOCKER_MACHINE_NAME=']],
    [
      'tcsh',
      [
        'unsetenv DOCKER_TLS_VERIFY;',
        'unsetenv DOCKER_HOST;',
        'unsetenv DOCKER_CERT_PATH;',
        'unsetenv DOCKER_MACHINE_NAME;',
      ],
    ],
    [
      'emacs',
      [
        '(setenv "DOCKER_TLS_VERIFY" nil)',
        '(setenv "DOCKER_HOST" nil)',
        '(setenv "DOCKER_CERT_PATH" nil)',
        '(setenv "DOCKER_MACHINE_NAME" nil)',
      ],
    ],
    [
      'powershell',
      ['TLS_VERIFY', 'HOST', 'CERT_PATH', 'MACHINE_NAME'].map((name) => String.raw`Remove-Item Env:\\DOCKER_${name}`),
    ],
  ])('prints a line for each variable in %s', async (shell, lines) => {
    await using home = await createHome();
    const { stdout } = await home.runMachine('env', '--shell', shell, '-u');
    expect(stdout.split('\n').slice(0, 4)).toEqual(lines);
    const withNoProxy = await home.runMachineWith(
      { NO_PROXY: 'localhost' },
      'env',
      '--shell',
      shell,
      '--no-proxy',
      '-u',
    );
    expect(withNoProxy.stdout.split('\n')[4]).toContain('NO_PROXY');
  });

  test('reports that the environment names no shell', async () => {
    await using home = await createHome();
    const { code, stderr } = await home.runMachineWith({ SHELL: '' }, 'env', '-u');
    expect({ code, stderr }).toEqual({ code: 1, stderr: 'Error: Unknown shell\n' });
  });
});

test('docker-cli-plugin-metadata prints the metadata that the docker CLI asks a plugin for', async () => {
  await using home = await createHome();
  const { stdout } = await home.runMachine('docker-cli-plugin-metadata');
  expect(JSON.parse(stdout)).toMatchObject({
    SchemaVersion: '0.1.0',
    Vendor: 'Slipway',
    ShortDescription: expect.any(String) as string,
  });
});

test('simultaneous creates share one certificate authority', async () => {
  await using home = await createHome();
  const names = ['a', 'b', 'c', 'd', 'e', 'f'];
  const results = await Promise.all(names.map((name) => home.runMachine('create', '-d', 'none', '--url', 'u', name)));
  expect(results.map(({ code }) => code)).toEqual(names.map(() => 0));
  expect((await home.runMachine('ls', '-q')).stdout.trim().split('\n')).toEqual(names);
  expect(await readdir(join(home.store, 'certs'))).toEqual(
    expect.arrayContaining(['ca-key.pem', 'ca.pem', 'cert.pem', 'key.pem']),
  );
});
