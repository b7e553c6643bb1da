import { mkdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startHost, type BedHost } from '../bed/bed-host.ts';
import { describeOnBed, createUser, expectSuccess, program, type Outcome, type User } from './test-user.ts';

/** What scripts and CI do with the old tool, done with ours on hosts that boot systemd. */
describeOnBed('docker-machine', () => {
  let host: BedHost;
  let user: User;
  let store: string;

  const machine = (...argv: readonly string[]): Promise<Outcome> => user.run('docker-machine', argv);
  const genericFlags = ({ address, keyFile }: BedHost): readonly string[] => [
    '--driver=generic',
    `--generic-ip-address=${address}`,
    '--generic-ssh-key',
    keyFile,
  ];

  beforeAll(async () => {
    [host, user] = await Promise.all([startHost({ suite: 'trixie', engine: true }), createUser()]);
    store = join(user.home, '.docker', 'machine');
  });
  afterAll(async () => {
    await Promise.all([host[Symbol.asyncDispose](), user[Symbol.asyncDispose]()]);
  });

  test('create says what it does, line by line on stdout', async () => {
    const { stdout } = await expectSuccess(
      machine('create', ...genericFlags(host), '--engine-label', 'spam=eggs', '--tls-san', 'foo.bar.tld', 'web'),
    );
    const lines = stdout.trimEnd().split('\n');
    for (const line of [
      'Running pre-create checks...',
      'Waiting for SSH to be available...',
      'Detecting the provisioner...',
      'Setting Docker configuration on the remote daemon...',
      'Checking connection to Docker...',
      'Docker is up and running!',
    ])
      expect(lines).toContain(line);
    expect(lines.at(-1)).toBe(
      'To see how to connect your Docker Client to the Docker Engine running on this virtual machine, run: docker-machine env web',
    );
  });

  test('a second one of the name is refused', async () => {
    const { code, stderr } = await machine('create', ...genericFlags(host), 'web');
    expect({ code, stderr }).toEqual({ code: 1, stderr: 'Docker machine "web" already exists\n' });
  });

  test('files lie where old clients look', async () => {
    const folder = join(store, 'machines', 'web');
    const config = JSON.parse(await readFile(join(folder, 'config.json'), 'utf8')) as Record<string, unknown>;
    expect(config).toMatchObject({
      ConfigVersion: 3,
      DriverName: 'generic',
      Driver: { IPAddress: host.address, MachineName: 'web', SSHUser: 'root', SSHPort: 22, EnginePort: 2376 },
      HostOptions: {
        EngineOptions: { Labels: ['spam=eggs'] },
        AuthOptions: { ServerCertSANs: ['foo.bar.tld'], StorePath: folder },
      },
      Name: 'web',
    });
    const { docker, openssl } = {
      docker: await user.run('docker', [
        '--tlsverify',
        ...['ca', 'cert', 'key'].map(
          (file) => `--tls${file === 'ca' ? 'cacert' : file}=${join(folder, `${file}.pem`)}`,
        ),
        `-H=tcp://${host.address}:2376`,
        'version',
      ]),
      openssl: await user.run('openssl', [
        'x509',
        '-in',
        join(folder, 'server.pem'),
        '-noout',
        '-ext',
        'subjectAltName',
      ]),
    };
    expect(docker.code).toBe(0);
    expect(openssl.stdout).toContain('DNS:foo.bar.tld');
    // One client's certificate opens all machines of the store, as callers of the old tool rely on.
    expect(await readFile(join(store, 'certs', 'cert.pem'), 'utf8')).toBe(
      await readFile(join(folder, 'cert.pem'), 'utf8'),
    );
    expect(await host.runOrThrow('cat /etc/docker/slipway/ca.pem')).toBe(
      (await readFile(join(store, 'certs', 'ca.pem'), 'utf8')).trim(),
    );
  });

  test('docker $(docker-machine config web) works in a shell', async () => {
    const { stdout } = await expectSuccess(machine('config', 'web'));
    expect(stdout.trimEnd().split('\n')).toEqual([
      '--tlsverify',
      ...['ca', 'cert', 'key'].map(
        (file) => `--tls${file === 'ca' ? 'cacert' : file}="${join(store, 'machines', 'web', `${file}.pem`)}"`,
      ),
      `-H=tcp://${host.address}:2376`,
    ]);
    const info = await expectSuccess(
      user.run('bash', ['-c', "docker $(docker-machine config web) info --format '{{.Labels}}'"]),
    );
    expect(info.stdout).toContain('spam=eggs');
  });

  test("env: the old lines, in each shell's own words", async () => {
    const url = `tcp://${host.address}:2376`;
    const folder = join(store, 'machines', 'web');
    const lines = async (env: Record<string, string>, ...argv: readonly string[]): Promise<readonly string[]> =>
      (await expectSuccess(user.run('docker-machine', ['env', ...argv, 'web'], { env }))).stdout.split('\n');
    expect(await lines({})).toEqual([
      'export DOCKER_TLS_VERIFY="1"',
      `export DOCKER_HOST="${url}"`,
      `export DOCKER_CERT_PATH="${folder}"`,
      'export DOCKER_MACHINE_NAME="web"',
      '# Run this command to configure your shell: ',
      '# eval $(docker-machine env web)',
      '',
    ]);
    expect((await lines({}, '--no-proxy'))[4]).toBe(`export NO_PROXY="${host.address}"`);
    expect((await lines({ NO_PROXY: 'localhost' }, '--no-proxy'))[4]).toBe(
      `export NO_PROXY="localhost,${host.address}"`,
    );
    expect((await lines({ no_proxy: `a,${host.address}` }, '--no-proxy'))[4]).toBe(
      `export no_proxy="a,${host.address}"`,
    );
    expect((await lines({}, '--shell', 'fish')).slice(1, 6)).toEqual([
      `set -gx DOCKER_HOST "${url}";`,
      `set -gx DOCKER_CERT_PATH "${folder}";`,
      'set -gx DOCKER_MACHINE_NAME "web";',
      '# Run this command to configure your shell: ',
      '# eval (docker-machine env --shell fish web)',
    ]);
    expect((await lines({}, '--shell=powershell')).slice(0, 2)).toEqual([
      '$Env:DOCKER_TLS_VERIFY = "1"',
      `$Env:DOCKER_HOST = "${url}"`,
    ]);
    expect((await lines({}, '-shell', 'cmd'))[1]).toBe(`SET DOCKER_HOST=${url}`);
    expect((await lines({}, '--shell', 'tcsh'))[1]).toBe(`setenv DOCKER_HOST "${url}";`);
    expect((await lines({}, '--shell', 'emacs'))[1]).toBe(`(setenv "DOCKER_HOST" "${url}")`);
  });

  test.each([
    ['bash', 'eval $(docker-machine env web)', 'eval $(docker-machine env -u)'],
    ['zsh', 'eval $(docker-machine env web)', 'eval $(docker-machine env -u)'],
    ['fish', 'eval (docker-machine env web)', 'eval (docker-machine env -u)'],
  ])('%s takes env up, and gives it back', async (shell, take, undo) => {
    const name = "docker info --format '{{.Name}}'";
    const script = [take, name, 'docker-machine active', undo, 'env'].join('; ');
    const { stdout } = await expectSuccess(user.run(shell, ['-c', script], { env: { SHELL: `/usr/bin/${shell}` } }));
    const [there, active, ...variables] = stdout.split('\n');
    expect([there, active]).toEqual([await host.runOrThrow('hostname'), 'web']);
    expect(variables.filter((line) => line.startsWith('DOCKER_'))).toEqual([]);
  });

  test('values: ip, url, status, version', async () => {
    const values = await Promise.all(
      [
        ['ip', 'web'],
        ['url', 'web'],
        ['status', 'web'],
        ['version', 'web'],
      ].map((argv) => expectSuccess(machine(...argv))),
    );
    expect(values.slice(0, 3).map(({ stdout }) => stdout)).toEqual([
      `${host.address}\n`,
      `tcp://${host.address}:2376\n`,
      'Running\n',
    ]);
    expect(values[3]?.stdout).toMatch(/^\d+\.\d+/);
    expect(values.map(({ stderr }) => stderr)).toEqual(['', '', '', '']);
  });

  test("ls shows it with the version of its engine; so does the docker CLI's plugin", async () => {
    const row = new RegExp(String.raw`^web +- +generic +Running +tcp://${host.address}:2376 +v\d+\.\S+ *$`, 'm');
    expect((await expectSuccess(machine('ls'))).stdout).toMatch(row);
    const plugins = join(user.home, 'plugins', 'cli-plugins');
    await mkdir(plugins, { recursive: true });
    await symlink(join(dirname(program), 'docker-machine.js'), join(plugins, 'docker-machine'));
    const docker = (...argv: readonly string[]): Promise<Outcome> =>
      user.run('docker', argv, { env: { DOCKER_CONFIG: join(user.home, 'plugins') } });
    expect((await expectSuccess(docker('machine', 'ls'))).stdout).toMatch(row);
    expect((await expectSuccess(docker('--log-level', 'error', 'machine', 'ip', 'web'))).stdout).toBe(
      `${host.address}\n`,
    );
    expect((await docker('machine', 'ip', 'nowhere')).code).toBe(1);
    expect((await expectSuccess(docker('machine', '--help'))).stdout).toContain(
      'Create and manage machines running Docker',
    );
    expect((await expectSuccess(docker('--help'))).stdout).toMatch(/machine\* +Create and manage machines/);
  });

  test('ssh: a command, its options, its exit status', async () => {
    expect((await expectSuccess(machine('ssh', 'web', 'echo', 'foo'))).stdout).toBe('foo\n');
    expect((await expectSuccess(machine('ssh', 'web', '--', 'ls', '-lah', '/'))).stdout).toMatch(/^total/);
    expect((await expectSuccess(machine('ssh', 'web', '-C', 'echo', 'foo'))).stdout).toBe('foo\n');
    expect((await expectSuccess(machine('--native-ssh', 'ssh', 'web', 'echo foo; echo bar'))).stdout).toBe(
      'foo\nbar\n',
    );
    expect((await machine('ssh', 'web', 'exit 7')).code).toBe(7);
  });

  test('scp, both ways', async () => {
    const file = join(user.home, 'foo.txt');
    await writeFile(file, 'A file from here\n');
    await expectSuccess(machine('scp', file, 'web:/tmp/foo.txt'));
    await expectSuccess(machine('scp', '-r', '-q', 'root@web:/tmp/foo.txt', `localhost:${file}.back`));
    expect(await readFile(`${file}.back`, 'utf8')).toBe('A file from here\n');
  });

  test('regenerate-certs asks, keeps its names, and docker goes on', async () => {
    const before = await readFile(join(store, 'machines', 'web', 'server.pem'), 'utf8');
    const no = await user.run('docker-machine', ['regenerate-certs', 'web'], { stdin: 'n\n' });
    expect(no).toMatchObject({
      code: 0,
      stdout: 'Regenerate TLS machine certs?  Warning: this is irreversible. (y/n): ',
    });
    expect((await expectSuccess(machine('regenerate-certs', '-f', 'web'))).stdout).toContain(
      'Regenerating TLS certificates\n',
    );
    const after = await readFile(join(store, 'machines', 'web', 'server.pem'), 'utf8');
    expect(after).not.toBe(before);
    expect(
      (
        await host.runOrThrow('openssl x509 -in /etc/docker/slipway/server-cert.pem -noout -ext subjectAltName')
      ).toString(),
    ).toContain('foo.bar.tld');
    await expectSuccess(user.run('bash', ['-c', 'docker $(docker-machine config web) version']));
  });

  test('provision again, and upgrade, leave it as it is', async () => {
    await expectSuccess(machine('provision', 'web'));
    await expectSuccess(machine('upgrade', 'web'));
    expect((await expectSuccess(machine('status', 'web'))).stdout).toBe('Running\n');
  });

  test("what the driver can't do is said as the old tool says it", async () => {
    expect(await machine('stop', 'web')).toMatchObject({ code: 1, stderr: 'generic driver does not support stop\n' });
  });

  test('a host that is off is not running', async () => {
    await host.runOrThrow('systemctl stop ssh.service ssh.socket docker.service docker.socket 2>/dev/null; true');
    expect((await expectSuccess(machine('status', 'web'))).stdout).toBe('Stopped\n');
    for (const command of ['url', 'env', 'version']) {
      const { code, stderr } = await machine(command, 'web');
      expect({ code, off: stderr.includes('Host is not running') }).toEqual({ code: 1, off: true });
    }
    expect(await machine('ssh', 'web', 'true')).toMatchObject({
      code: 1,
      stderr: 'Error: Cannot run SSH command: Host "web" is not running\n',
    });
    await host.runOrThrow('systemctl start ssh.service docker.service');
  });

  test('rm -y', async () => {
    const { stdout } = await expectSuccess(machine('rm', '-y', 'web'));
    expect(stdout).toBe(
      'About to remove web\nWARNING: This action will delete both local reference and remote instance.\nSuccessfully removed web\n',
    );
    expect((await expectSuccess(machine('ls', '-q'))).stdout).toBe('');
  });

  describe('as GitLab Runner calls it', () => {
    const crowd: BedHost[] = [];
    const runner = (...argv: readonly string[]): Promise<Outcome> => machine('--bugsnag-api-token=no-report', ...argv);
    const names = ['runner-1', 'runner-2', 'runner-3'];

    beforeAll(async () => {
      crowd.push(...(await Promise.all(names.map(() => startHost({ suite: 'bookworm', engine: true })))));
    });
    afterAll(async () => {
      await Promise.all(crowd.map((one) => one[Symbol.asyncDispose]()));
    });

    test('creates at once, one store', async () => {
      const made = await Promise.all(
        crowd.map(({ address, keyFile }, at) =>
          runner(
            'create',
            '--driver',
            'generic',
            `--generic-ip-address=${address}`,
            `--generic-ssh-key=${keyFile}`,
            '--engine-storage-driver=overlay2',
            names[at] ?? '',
          ),
        ),
      );
      expect(made.map(({ code, stderr }) => [code, stderr])).toEqual(names.map(() => [0, '']));
      const authorities = await Promise.all(
        names.map((name) => readFile(join(store, 'machines', name, 'ca.pem'), 'utf8')),
      );
      expect(new Set(authorities).size).toBe(1);
    });

    test('what it asks of each before a job', async () => {
      for (const [at, name] of names.entries()) {
        const { address = '' } = crowd[at] ?? {};
        expect((await expectSuccess(runner('inspect', name))).stderr).toBe('');
        await expectSuccess(runner('config', name));
        expect((await expectSuccess(runner('url', name))).stdout).toBe(`tcp://${address}:2376\n`);
        expect((await expectSuccess(runner('ip', name))).stdout).toBe(`${address}\n`);
        expect((await expectSuccess(runner('status', name))).stdout).toBe('Running\n');
        const { stdout } = await expectSuccess(runner('inspect', name, '-f', '{{.HostOptions.AuthOptions.StorePath}}'));
        const files = await Promise.all(
          ['ca', 'cert', 'key'].map((file) => readFile(join(stdout.trim(), `${file}.pem`), 'utf8')),
        );
        expect(files.every((text) => text.startsWith('-----BEGIN '))).toBe(true);
      }
    });

    test('provision, stop that fails, rm twice', async () => {
      const [name = ''] = names;
      await expectSuccess(runner('provision', name));
      expect((await runner('stop', name)).code).toBe(1);
      await expectSuccess(runner('rm', '-y', name));
      const { code, stderr } = await runner('rm', '-y', name);
      expect({ code, stderr }).toEqual({
        code: 1,
        stderr: `Error removing host "${name}": Docker machine "${name}" does not exist. Use "docker-machine ls" to list machines. Use "docker-machine create" to add a new one.\n`,
      });
    });

    test('a create that fails leaves what rm takes away', async () => {
      const { code, stderr } = await runner(
        'create',
        '--driver',
        'generic',
        '--generic-ip-address=127.0.0.1',
        '--generic-ssh-port=1',
        `--generic-ssh-key=${crowd[0]?.keyFile}`,
        'lost',
      );
      expect(code).toBe(1);
      expect(stderr).toMatch(/^Error creating machine: /);
      // It looks for this file, and removes what has one.
      await readFile(join(store, 'machines', 'lost', 'config.json'), 'utf8');
      await expectSuccess(runner('rm', '-y', 'lost'));
    });
  });
});
