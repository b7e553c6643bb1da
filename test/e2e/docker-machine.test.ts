import { mkdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startHost, type BedHost } from '../bed/bed-host.ts';
import { describeOnBed, createUser, expectSuccess, program, type Outcome, type User } from './test-user.ts';

/** Runs what scripts and CI do with Docker Machine, on hosts that boot systemd. */
describeOnBed('docker-machine', () => {
  let host: BedHost;
  let user: User;
  let store: string;

  const dockerMachine = (...argv: readonly string[]): Promise<Outcome> => user.run('docker-machine', argv);
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

  test('create prints each of its steps as a line on stdout', async () => {
    const { stdout } = await expectSuccess(
      dockerMachine('create', ...genericFlags(host), '--engine-label', 'spam=eggs', '--tls-san', 'foo.bar.tld', 'web'),
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

  test('create refuses a name that exists', async () => {
    const { code, stderr } = await dockerMachine('create', ...genericFlags(host), 'web');
    expect({ code, stderr }).toEqual({ code: 1, stderr: 'Docker machine "web" already exists\n' });
  });

  test('create writes its files where clients of Docker Machine look for them', async () => {
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
    // One client certificate works for all machines of the store, as callers of Docker Machine expect.
    expect(await readFile(join(store, 'certs', 'cert.pem'), 'utf8')).toBe(
      await readFile(join(folder, 'cert.pem'), 'utf8'),
    );
    expect(await host.runOrThrow('cat /etc/docker/slipway/ca.pem')).toBe(
      (await readFile(join(store, 'certs', 'ca.pem'), 'utf8')).trim(),
    );
  });

  test('docker $(docker-machine config web) works in a shell', async () => {
    const { stdout } = await expectSuccess(dockerMachine('config', 'web'));
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

  test("env prints Docker Machine's lines in the syntax of each shell", async () => {
    const url = `tcp://${host.address}:2376`;
    const folder = join(store, 'machines', 'web');
    const readEnv = async (env: Record<string, string>, ...argv: readonly string[]): Promise<readonly string[]> =>
      (await expectSuccess(user.run('docker-machine', ['env', ...argv, 'web'], { env }))).stdout.split('\n');
    expect(await readEnv({})).toEqual([
      'export DOCKER_TLS_VERIFY="1"',
      `export DOCKER_HOST="${url}"`,
      `export DOCKER_CERT_PATH="${folder}"`,
      'export DOCKER_MACHINE_NAME="web"',
      '# Run this command to configure your shell: ',
      '# eval $(docker-machine env web)',
      '',
    ]);
    expect((await readEnv({}, '--no-proxy'))[4]).toBe(`export NO_PROXY="${host.address}"`);
    expect((await readEnv({ NO_PROXY: 'localhost' }, '--no-proxy'))[4]).toBe(
      `export NO_PROXY="localhost,${host.address}"`,
    );
    expect((await readEnv({ no_proxy: `a,${host.address}` }, '--no-proxy'))[4]).toBe(
      `export no_proxy="a,${host.address}"`,
    );
    expect((await readEnv({}, '--shell', 'fish')).slice(1, 6)).toEqual([
      `set -gx DOCKER_HOST "${url}";`,
      `set -gx DOCKER_CERT_PATH "${folder}";`,
      'set -gx DOCKER_MACHINE_NAME "web";',
      '# Run this command to configure your shell: ',
      '# eval (docker-machine env --shell fish web)',
    ]);
    expect((await readEnv({}, '--shell=powershell')).slice(0, 2)).toEqual([
      '$Env:DOCKER_TLS_VERIFY = "1"',
      `$Env:DOCKER_HOST = "${url}"`,
    ]);
    expect((await readEnv({}, '-shell', 'cmd'))[1]).toBe(`SET DOCKER_HOST=${url}`);
    expect((await readEnv({}, '--shell', 'tcsh'))[1]).toBe(`setenv DOCKER_HOST "${url}";`);
    expect((await readEnv({}, '--shell', 'emacs'))[1]).toBe(`(setenv "DOCKER_HOST" "${url}")`);
  });

  test.each([
    ['bash', 'eval $(docker-machine env web)', 'eval $(docker-machine env -u)'],
    ['zsh', 'eval $(docker-machine env web)', 'eval $(docker-machine env -u)'],
    ['fish', 'eval (docker-machine env web)', 'eval (docker-machine env -u)'],
  ])('%s sets the variables of env, and unsets them with env -u', async (shell, evaluate, unset) => {
    const name = "docker info --format '{{.Name}}'";
    const script = [evaluate, name, 'docker-machine active', unset, 'env'].join('; ');
    const { stdout } = await expectSuccess(user.run(shell, ['-c', script], { env: { SHELL: `/usr/bin/${shell}` } }));
    const [hostname, active, ...variables] = stdout.split('\n');
    expect([hostname, active]).toEqual([await host.runOrThrow('hostname'), 'web']);
    expect(variables.filter((line) => line.startsWith('DOCKER_'))).toEqual([]);
  });

  test('ip, url, status and version print only their value', async () => {
    const values = await Promise.all(
      [
        ['ip', 'web'],
        ['url', 'web'],
        ['status', 'web'],
        ['version', 'web'],
      ].map((argv) => expectSuccess(dockerMachine(...argv))),
    );
    expect(values.slice(0, 3).map(({ stdout }) => stdout)).toEqual([
      `${host.address}\n`,
      `tcp://${host.address}:2376\n`,
      'Running\n',
    ]);
    expect(values[3]?.stdout).toMatch(/^\d+\.\d+/);
    expect(values.map(({ stderr }) => stderr)).toEqual(['', '', '', '']);
  });

  test('ls shows the machine with the version of its engine, also as a plugin of the docker CLI', async () => {
    const row = new RegExp(String.raw`^web +- +generic +Running +tcp://${host.address}:2376 +v\d+\.\S+ *$`, 'm');
    expect((await expectSuccess(dockerMachine('ls'))).stdout).toMatch(row);
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

  test('ssh runs a command with its options, and passes its exit status through', async () => {
    expect((await expectSuccess(dockerMachine('ssh', 'web', 'echo', 'foo'))).stdout).toBe('foo\n');
    expect((await expectSuccess(dockerMachine('ssh', 'web', '--', 'ls', '-lah', '/'))).stdout).toMatch(/^total/);
    expect((await expectSuccess(dockerMachine('ssh', 'web', '-C', 'echo', 'foo'))).stdout).toBe('foo\n');
    expect((await expectSuccess(dockerMachine('--native-ssh', 'ssh', 'web', 'echo foo; echo bar'))).stdout).toBe(
      'foo\nbar\n',
    );
    expect((await dockerMachine('ssh', 'web', 'exit 7')).code).toBe(7);
  });

  test('scp copies files in both directions', async () => {
    const file = join(user.home, 'foo.txt');
    await writeFile(file, 'A file from here\n');
    await expectSuccess(dockerMachine('scp', file, 'web:/tmp/foo.txt'));
    await expectSuccess(dockerMachine('scp', '-r', '-q', 'root@web:/tmp/foo.txt', `localhost:${file}.back`));
    expect(await readFile(`${file}.back`, 'utf8')).toBe('A file from here\n');
  });

  test('regenerate-certs asks first, keeps the names in the certificate, and the docker CLI still works', async () => {
    const before = await readFile(join(store, 'machines', 'web', 'server.pem'), 'utf8');
    const no = await user.run('docker-machine', ['regenerate-certs', 'web'], { stdin: 'n\n' });
    expect(no).toMatchObject({
      code: 0,
      stdout: 'Regenerate TLS machine certs?  Warning: this is irreversible. (y/n): ',
    });
    expect((await expectSuccess(dockerMachine('regenerate-certs', '-f', 'web'))).stdout).toContain(
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

  test('provision and upgrade leave the machine running', async () => {
    await expectSuccess(dockerMachine('provision', 'web'));
    await expectSuccess(dockerMachine('upgrade', 'web'));
    expect((await expectSuccess(dockerMachine('status', 'web'))).stdout).toBe('Running\n');
  });

  test("stop of a driver that can't stop machines prints Docker Machine's message", async () => {
    expect(await dockerMachine('stop', 'web')).toMatchObject({
      code: 1,
      stderr: 'generic driver does not support stop\n',
    });
  });

  test('commands report that a host that is off is not running', async () => {
    await host.runOrThrow('systemctl stop ssh.service ssh.socket docker.service docker.socket 2>/dev/null; true');
    expect((await expectSuccess(dockerMachine('status', 'web'))).stdout).toBe('Stopped\n');
    for (const command of ['url', 'env', 'version']) {
      const { code, stderr } = await dockerMachine(command, 'web');
      expect({ code, off: stderr.includes('Host is not running') }).toEqual({ code: 1, off: true });
    }
    expect(await dockerMachine('ssh', 'web', 'true')).toMatchObject({
      code: 1,
      stderr: 'Error: Cannot run SSH command: Host "web" is not running\n',
    });
    await host.runOrThrow('systemctl start ssh.service docker.service');
  });

  test("rm -y removes the machine, and prints Docker Machine's lines", async () => {
    const { stdout } = await expectSuccess(dockerMachine('rm', '-y', 'web'));
    expect(stdout).toBe(
      'About to remove web\nWARNING: This action will delete both local reference and remote instance.\nSuccessfully removed web\n',
    );
    expect((await expectSuccess(dockerMachine('ls', '-q'))).stdout).toBe('');
  });

  describe('called by GitLab Runner', () => {
    const hosts: BedHost[] = [];
    const runner = (...argv: readonly string[]): Promise<Outcome> =>
      dockerMachine('--bugsnag-api-token=no-report', ...argv);
    const names = ['runner-1', 'runner-2', 'runner-3'];

    beforeAll(async () => {
      hosts.push(...(await Promise.all(names.map(() => startHost({ suite: 'bookworm', engine: true })))));
    });
    afterAll(async () => {
      await Promise.all(hosts.map((one) => one[Symbol.asyncDispose]()));
    });

    test('creates several machines at once in one store', async () => {
      const outcomes = await Promise.all(
        hosts.map(({ address, keyFile }, at) =>
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
      expect(outcomes.map(({ code, stderr }) => [code, stderr])).toEqual(names.map(() => [0, '']));
      const authorities = await Promise.all(
        names.map((name) => readFile(join(store, 'machines', name, 'ca.pem'), 'utf8')),
      );
      expect(new Set(authorities).size).toBe(1);
    });

    test('answers what GitLab Runner asks of each machine before a job', async () => {
      for (const [at, name] of names.entries()) {
        const { address = '' } = hosts[at] ?? {};
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

    test('provisions, fails to stop, and fails to remove the same machine twice', async () => {
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

    test('keeps a machine whose creation failed, so that rm can remove it', async () => {
      const { code, stderr } = await runner(
        'create',
        '--driver',
        'generic',
        '--generic-ip-address=127.0.0.1',
        '--generic-ssh-port=1',
        `--generic-ssh-key=${hosts[0]?.keyFile}`,
        'lost',
      );
      expect(code).toBe(1);
      expect(stderr).toMatch(/^Error creating machine: /);
      // GitLab Runner looks for this file, and removes machines that have one.
      await readFile(join(store, 'machines', 'lost', 'config.json'), 'utf8');
      await expectSuccess(runner('rm', '-y', 'lost'));
    });
  });
});
