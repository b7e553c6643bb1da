import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startHost, type BedHost } from '../bed/bed-host.ts';
import { hostFlags, describeOnBed, createUser, expectSuccess, type User } from './test-user.ts';

/** A file that no value may create, on the host or on this computer. */
const trapFile = `/tmp/slipway-trap-${randomBytes(4).toString('hex')}`;

/** Characters that a shell, systemd, JSON or YAML could interpret. */
const hostileValues = [
  `$(touch ${trapFile}); "b`,
  `\`touch ${trapFile}\``,
  `it's; touch ${trapFile} #`,
  String.raw`back\slash \\ \n \" \$HOME $HOME ${'${HOME}'} \ `,
  '%n %h %% 100%',
  '  blanks on both sides  ',
  '# no comment; * ? [a-z] ~ ! & | > < ( ) { }',
  'ünïcödé 日本 🚢',
  'a=b=c',
  '--help',
  '',
  '\ttab\u{1b}[31m',
] as const;

describeOnBed('values', () => {
  let host: BedHost;
  let user: User;

  beforeAll(async () => {
    [host, user] = await Promise.all([startHost({ suite: 'trixie', engine: true }), createUser()]);
    const options = [
      'log-driver=json-file',
      `log-opt=tag={{.Name}} ${hostileValues[0]}`,
      'log-opt=max-size=3m',
      '--shutdown-timeout=7',
      'debug',
      'default-address-pools=[{"base":"10.99.0.0/16","size":24}]',
    ];
    const flags = [
      ...hostileValues.flatMap((value, index) => ['--engine-label', `l${index}=${value}`]),
      ...hostileValues.flatMap((value, index) => ['--engine-env', `E${index}=${value}`]),
      ...options.map((option) => `--engine-opt=${option}`),
      '--engine-registry-mirror=https://mirror-1.example',
      '--engine-registry-mirror=http://mirror-2.example:5000',
      '--engine-insecure-registry=registry.example:5000',
      '--engine-insecure-registry=10.10.0.0/16',
      '--engine-storage-driver=vfs',
    ];
    await expectSuccess(user.slipway('create', 'web', ...hostFlags(host, 'deploy'), ...flags));
  });
  afterAll(async () => {
    await Promise.all([host[Symbol.asyncDispose](), user[Symbol.asyncDispose]()]);
  });

  test('labels arrive as typed', async () => {
    const labels = await info<string[]>('.Labels');
    expect(labels.toSorted()).toEqual(hostileValues.map((value, index) => `l${index}=${value}`).toSorted());
  });

  test("variables arrive in the engine's environment as typed", async () => {
    const environ = 'tr "\\0" "\\n" </proc/$(systemctl show --property MainPID --value docker.service)/environ';
    const variables = (await host.exec(environ)).stdout.split('\n').filter((line) => /^E\d+=/.test(line));
    expect(variables.toSorted()).toEqual(hostileValues.map((value, index) => `E${index}=${value}`).toSorted());
  });

  test('engine options arrive with the types that daemon.json requires', async () => {
    const settings = JSON.parse(await host.runOrThrow('cat /etc/docker/daemon.json')) as Record<string, unknown>;
    expect(settings).toMatchObject({
      'log-driver': 'json-file',
      'log-opts': { tag: `{{.Name}} ${hostileValues[0]}`, 'max-size': '3m' },
      'shutdown-timeout': 7,
      debug: true,
      'default-address-pools': [{ base: '10.99.0.0/16', size: 24 }],
    });
    expect(await info('.LoggingDriver')).toBe('json-file');
    expect(await info('.Debug')).toBe(true);
    expect(await info('.DefaultAddressPools')).toEqual([{ Base: '10.99.0.0/16', Size: 24 }]);
  });

  test('the engine uses the given mirrors, insecure registries and storage driver', async () => {
    expect(await info('.RegistryConfig.Mirrors')).toEqual([
      'https://mirror-1.example/',
      'http://mirror-2.example:5000/',
    ]);
    expect(await info('.RegistryConfig.InsecureRegistryCIDRs')).toContain('10.10.0.0/16');
    expect(Object.keys(await info('.RegistryConfig.IndexConfigs'))).toContain('registry.example:5000');
    expect(await info('.Driver')).toBe('vfs');
  });

  test('none of them is executed, on the host or on this computer', async () => {
    expect((await host.exec(`test -e ${trapFile}`)).code).toBe(1);
    expect((await user.run('test', ['-e', trapFile])).code).toBe(1);
  });

  test('the record keeps them, and a second run finds nothing to change', async () => {
    const { spec } = JSON.parse((await expectSuccess(user.slipway('inspect', 'web'))).stdout) as {
      spec: { engine: EngineLabels };
    };
    expect(spec.engine.label).toEqual(hostileValues.map((value, index) => `l${index}=${value}`));
    expect((await expectSuccess(user.slipway('provision', 'web', '--dry-run'))).stdout.trim()).toBe(
      'web: nothing to do',
    );
  });

  async function info<T>(field: string): Promise<T> {
    const { stdout } = await expectSuccess(user.docker('--context', 'web', 'info', '--format', `{{json ${field}}}`));
    return JSON.parse(stdout) as T;
  }
});

describeOnBed('invalid values', () => {
  test.for([
    ['a line break in a label', ['--engine-label', 'a=b\nc'], '--engine-label must be a label like key=value'],
    ['a label without a value', ['--engine-label', 'a'], '--engine-label must be a label like key=value, got "a"'],
    [
      'a variable that no environment takes',
      ['--engine-env', 'A-B=c'],
      '--engine-env must be a variable like NAME=value',
    ],
    [
      'an option that would open the engine',
      ['--engine-opt', 'host=tcp://0.0.0.0:2375'],
      '--engine-opt host is reserved',
    ],
    [
      'an option that would switch TLS off',
      ['--engine-opt', '--tlsverify=false'],
      '--engine-opt tlsverify is reserved',
    ],
    [
      'an option broken as JSON',
      ['--engine-opt', 'runtimes={"a":'],
      '--engine-opt runtimes: the value begins like JSON',
    ],
    ['a mirror that is no URL', ['--engine-registry-mirror', 'mirror.example'], 'must be a URL like https://'],
    ['a registry with a path', ['--engine-insecure-registry', 'a/b'], 'must be a registry like'],
    ['a storage driver with a shell in it', ['--engine-storage-driver', 'vfs;reboot'], 'must be a storage driver like'],
    ['a name that no certificate takes', ['--tls-san', 'a b'], '--tls-san must be a host name or IP address'],
    ['a port out of range', ['--engine-port', '65536'], '--engine-port must be at most 65535'],
    ['a user that ssh would take for a flag', ['--generic-ssh-user', '-oProxyCommand=x'], '--generic-ssh-user'],
    [
      'an address that is a flag',
      ['--generic-ip-address=-oProxyCommand=x'],
      '--generic-ip-address must be an IP address',
    ],
  ] as const)('%s is refused before anything is written', async ([, flags, sentence]) => {
    await using user = await createUser();
    const address = flags[0].startsWith('--generic-ip-address') ? [] : ['--generic-ip-address', '192.0.2.1'];
    const refused = await user.slipway('create', 'web', '--driver', 'generic', ...address, ...flags);
    expect(refused.stderr).toContain(sentence);
    expect(refused.code).toBe(2);
    expect((await user.run('ls', ['-A', user.home])).stdout).not.toContain('.slipway');
  });

  const long = 'x'.repeat(64);
  test.for(['', '-x', '.x', 'a_b', 'a b', 'a/b', '../x', '..', '$(id)', "a'b", 'a"b', 'é', 'a\nb', 'a:b', long])(
    "a machine can't be named %j",
    async (name) => {
      await using user = await createUser();
      const refused = await user.slipway('create', '--generic-ip-address', '192.0.2.1', '--', name);
      expect(refused.code).toBe(2);
      expect(refused.stderr).toContain(`${JSON.stringify(name)} can't be a machine name`);
      expect((await user.run('ls', ['-A', user.home])).stdout).not.toContain('.slipway');
    },
  );

  test.for(['create', 'rm', 'status', 'provision', 'upgrade', 'url', 'inspect', 'ip', 'env', 'use', 'ssh'])(
    '%s follows no path in a name',
    async (command) => {
      await using user = await createUser();
      await user.run('mkdir', ['-p', `${user.home}/.slipway/other`]);
      await user.run('sh', ['-c', 'echo "{}" >.slipway/other/machine.json'], { cwd: user.home });
      expect((await user.slipway(command, '../other')).code).toBe(2);
      expect((await user.run('ls', ['-R', `${user.home}/.slipway`])).stdout).not.toContain('machines');
      expect((await user.run('ls', [`${user.home}/.slipway/other`])).stdout.trim()).toBe('machine.json');
    },
  );
});

type EngineLabels = { readonly label: readonly string[] };
