import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { driverAliases } from '../../src/drivers/names.ts';
import { startHost, type BedHost } from '../bed/bed-host.ts';
import { hostFlags, describeOnBed, createUser, expectSuccess, type Outcome, type User } from './test-user.ts';

describeOnBed('commands', () => {
  let host: BedHost;
  let user: User;
  let created: Outcome;
  let url: string;
  const tlsFlags = (): readonly string[] =>
    ['ca', 'cert', 'key'].flatMap((file) => [
      `--none-tls-${file}`,
      join(user.home, '.slipway', 'machines', 'web', 'tls', `${file}.pem`),
    ]);
  const readValue = async (...argv: readonly string[]): Promise<string> =>
    (await expectSuccess(user.slipway(...argv))).stdout;
  const readJson = async <T>(...argv: readonly string[]): Promise<T> =>
    JSON.parse(await readValue(...argv, '--json')) as T;

  beforeAll(async () => {
    [host, user] = await Promise.all([startHost({ suite: 'trixie', engine: true }), createUser()]);
    url = `tcp://${host.address}:2376`;
    created = await expectSuccess(user.slipway('create', 'web', ...hostFlags(host, 'deploy'), '--json'));
  });
  afterAll(async () => {
    await Promise.all([host[Symbol.asyncDispose](), user[Symbol.asyncDispose]()]);
  });

  test('create --json prints one event per line, then the result', () => {
    const events = created.stdout
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as Record<string, unknown>);
    const finishedSteps = events.filter(({ event, state }) => event === 'step' && state === 'done');
    expect(finishedSteps.map(({ id }) => id)).toEqual(['connect', 'facts', 'configure-engine', 'verify', 'profiles']);
    for (const { elapsed } of finishedSteps) expect(elapsed).toEqual(expect.any(Number));
    expect(events.at(-1)).toEqual({ event: 'result', result: { name: 'web', driver: 'generic', url, context: 'web' } });
    expect(created.stderr).toBe('');
  });

  test('prints progress to stderr and values to stdout, and no progress with --quiet', async () => {
    const provisioned = await expectSuccess(user.slipway('provision', 'web'));
    expect(provisioned.stdout).toBe(`web is ready: ${url}\n`);
    expect(provisioned.stderr).toContain('Gather facts about the host');
    // Without a terminal: plain lines, no cursor movement, no color.
    expect(provisioned.stdout + provisioned.stderr).not.toContain('\u{1b}');
    const quiet = await expectSuccess(user.slipway('provision', 'web', '--quiet'));
    expect([quiet.stdout, quiet.stderr]).toEqual([`web is ready: ${url}\n`, '']);
  });

  test('ip and url print only the value', async () => {
    expect(await readValue('ip', 'web')).toBe(`${host.address}\n`);
    expect(await readJson('ip', 'web')).toEqual([{ name: 'web', address: host.address }]);
    expect(await readValue('url', 'web')).toBe(`${url}\n`);
    expect(await readJson('url', 'web')).toEqual({ name: 'web', url });
  });

  test('inspect prints the record', async () => {
    const record = await readFile(join(user.home, '.slipway', 'machines', 'web', 'machine.json'), 'utf8');
    expect(await readValue('inspect', 'web')).toBe(record);
    expect(JSON.parse(record)).toMatchObject({
      phase: 'ready',
      spec: { name: 'web', driver: 'generic' },
      host: { ssh: { user: 'deploy', hostKey: expect.stringMatching(/^ssh-ed25519 /) } },
      endpoint: { url, tls: true },
    });
  });

  test('ls shows every machine, including those with problems', async () => {
    await expectSuccess(
      user.slipway('create', 'socket', '--driver', 'none', '--none-url', 'unix:///var/run/docker.sock'),
    );
    const unreachable = [
      '--generic-ip-address',
      '127.0.0.1',
      '--generic-ssh-port',
      '1',
      '--generic-ssh-key',
      host.keyFile,
    ];
    expect((await user.slipway('create', 'half', ...unreachable)).code).toBe(6);
    const broken = join(user.home, '.slipway', 'machines', 'broken');
    await expectSuccess(user.run('sh', ['-c', `mkdir ${broken} && echo '{' >${broken}/machine.json`]));

    expect(await readValue('ls', '-q')).toBe('broken\nhalf\nsocket\nweb\n');
    const table = (await readValue('ls')).trimEnd().split('\n');
    expect(table[0]).toMatch(/^NAME +CURRENT +DRIVER +STATE +URL +ENGINE +CERTS +TROUBLE$/);
    expect(table[1]).toMatch(/^broken +\? +broken .*it is not JSON/);
    expect(table[2]).toMatch(/^half +generic +unfinished +interrupted at "connect": .*nothing listens there$/);
    expect(table[3]).toMatch(/^socket +none +running +unix:\/\/\/var\/run\/docker.sock +[\d.+a-z]+$/);
    expect(table[4]).toMatch(new RegExp(`^web +generic +running +${url} +[\\d.+a-z]+ +\\d+ d$`));
    const rows = await readJson<Record<string, unknown>[]>('ls');
    expect(rows.map(({ name, state }) => [name, state])).toEqual([
      ['broken', 'broken'],
      ['half', 'unfinished'],
      ['socket', 'running'],
      ['web', 'running'],
    ]);
    expect(rows[3]).toEqual({
      name: 'web',
      current: false,
      driver: 'generic',
      state: 'running',
      url,
      engine: expect.stringMatching(/^\d/),
      certificateDays: expect.any(Number),
      deadline: null,
      idleStop: null,
      ports: [],
      trouble: '',
    });

    // Each of them can be removed.
    expect((await user.slipway('rm', 'broken')).code).toBe(3);
    await expectSuccess(user.slipway('rm', '--force', 'broken'));
    await expectSuccess(user.slipway('rm', 'half', 'socket'));
    expect(await readValue('ls', '-q')).toBe('web\n');
  });

  test("status shows a machine's state, also by its exit status", async () => {
    const { stdout } = await expectSuccess(user.slipway('status', 'web'));
    expect(stdout).toMatch(/^State +running$/m);
    expect(stdout).toMatch(/^Certificates +valid for \d+ days$/m);
    expect(stdout).toMatch(/^Connect +docker --context web ps$/m);
    await host.runOrThrow('systemctl stop docker.socket docker.service');
    const stopped = await user.slipway('status', 'web');
    expect(stopped.code).toBe(1);
    expect(stopped.stdout).toMatch(/^State +no engine$/m);
    await host.runOrThrow('systemctl start docker.service');
    expect(await readJson('status', 'web')).toMatchObject({
      name: 'web',
      state: 'running',
      address: host.address,
      url,
    });
    const unknown = await user.slipway('status', 'wbe');
    expect([unknown.code, unknown.stdout]).toEqual([3, '']);
    expect(unknown.stderr).toContain('Machine "wbe" does not exist');
    expect(unknown.stderr).toContain('Existing machines: web');
  });

  test('provision starts a stopped engine', async () => {
    await host.runOrThrow('systemctl stop docker.socket docker.service');
    await expectSuccess(user.slipway('provision', 'web'));
    await expectSuccess(user.slipway('status', 'web'));
  });

  test('ssh passes on the exit status, arguments and input', async () => {
    expect(await readValue('ssh', 'web', 'hostname')).toBe(`${await host.runOrThrow('hostname')}\n`);
    expect((await user.slipway('ssh', 'web', 'exit 42')).code).toBe(42);
    expect((await user.slipway('ssh', 'web', '--', 'sh', '-c', '"exit 43"')).code).toBe(43);
    expect(await readValue('ssh', 'web', 'printf "%s|" "two words" --json --help')).toBe('two words|--json|--help|');
    expect(await readValue('ssh', 'web', 'echo', '--json', '--debug', '-q')).toBe('--json --debug -q\n');
    const piped = await expectSuccess(
      user.slipwayWith({ stdin: 'from here\n' }, 'ssh', 'web', 'cat; echo problem >&2'),
    );
    expect([piped.stdout, piped.stderr]).toEqual(['from here\n', 'problem\n']);
    expect(await readValue('ssh', 'web', 'id -un')).toBe('deploy\n');
  });

  test('drivers, version and help need no machine', async () => {
    await using other = await createUser();
    const readOutput = async (...argv: readonly string[]): Promise<string> =>
      (await expectSuccess(other.slipway(...argv))).stdout;
    expect(await readOutput('drivers')).toMatch(/^generic +usable +a host that you can reach over SSH$/m);
    expect(JSON.parse(await readOutput('drivers', '--json'))).toContainEqual({
      name: 'none',
      summary: 'an engine that already runs, by URL',
      usable: true,
    });
    expect(await readOutput('version')).toMatch(/^slipway \d+\.\d+\.\d+ \(Node v\d+/);
    expect(await readOutput('--version')).toBe(await readOutput('version'));
    for (const help of [[], ['help'], ['--help'], ['create', '--help'], ['help', 'create'], ['help', 'generic']]) {
      const lines = (await readOutput(...help)).trimEnd().split('\n');
      // The list of all commands may scroll; the help of one command fits a screen.
      const maximum = help.includes('create') || help.includes('generic') ? 24 : 40;
      expect([help, lines.length <= maximum, lines.every((line) => line.length <= 80)]).toEqual([help, true, true]);
    }
    expect(await readOutput('help', 'engine')).toContain('--engine-registry-mirror');
    expect((await expectSuccess(other.slipway('ls'))).stdout).toBe('No machines yet. To create one: slipway create\n');
    expect(JSON.parse(await readOutput('ls', '--json'))).toEqual([]);
    expect((await other.run('ls', ['-A', other.home])).stdout).not.toContain('.slipway');
  });

  test.for([
    [['lss'], 'Unknown command "lss"', 'Did you mean: slipway ls?'],
    [['ls', '--quite'], "Unknown option '--quite'", 'Did you mean --quiet?'],
    [['create'], 'Required to create a machine: a name and a driver', 'slipway create dev'],
    [['create', 'x', '--driver', 'generic'], '--generic-ip-address is missing', 'GENERIC_IP_ADDRESS'],
    [
      ['create', 'x', '--driver', 'qemuu'],
      'There is no driver named "qemuu"',
      `Did you mean qemu? Drivers: ${Object.keys(driverAliases).toSorted().join(', ')}`,
    ],
    [['create', 'x', '--driver', 'none', '--generic-ip-address', 'y'], 'belongs to the driver generic', 'help none'],
    [['ip'], 'Missing required argument', 'slipway ip --help'],
  ] as const)('%j prints what is wrong and what to type instead', async ([argv, what, next]) => {
    const { code, stdout, stderr } = await user.slipway(...argv);
    expect([code, stdout]).toEqual([2, '']);
    expect(stderr.toLowerCase()).toContain(what.toLowerCase());
    expect(stderr).toContain(next);
    const document = await user.slipway(...argv, '--json');
    expect(JSON.parse(document.stdout)).toMatchObject({
      error: { message: expect.any(String), hint: expect.any(String) },
    });
  });

  test('the driver none connects to an engine of another machine with its certificates', async () => {
    await using other = await createUser();
    await expectSuccess(other.slipway('create', 'far', '--driver', 'none', '--none-url', url, ...tlsFlags()));
    const { stdout } = await expectSuccess(other.docker('--context', 'far', 'info', '--format', '{{.Name}}'));
    expect(stdout.trim()).toBe(await host.runOrThrow('hostname'));
    expect((await expectSuccess(other.slipway('status', 'far'))).stdout).toMatch(/^State +running$/m);
    expect((await other.slipway('ssh', 'far', 'true')).stderr).toContain('has no SSH');
    const { stdout: removed } = await expectSuccess(other.slipway('rm', 'far'));
    expect(removed.trim()).toBe('far is removed; the engine stays as it is');
    await expectSuccess(user.docker('--context', 'web', 'version'));
  });

  test('the driver none refuses options that cannot work', async () => {
    await using other = await createUser();
    const createWithDriverNone = (...flags: readonly string[]): Promise<Outcome> =>
      other.slipway('create', 'far', '--driver', 'none', '--none-url', ...flags);
    const incomplete = await createWithDriverNone(url, ...tlsFlags().slice(0, 4));
    expect([incomplete.code, incomplete.stderr]).toEqual([2, expect.stringContaining('--none-tls-key is missing')]);
    const socket = await createWithDriverNone('unix:///var/run/docker.sock', ...tlsFlags());
    const unsupported = 'TLS files are not supported with a unix:// URL';
    expect([socket.code, socket.stderr]).toEqual([2, expect.stringContaining(unsupported)]);
    const missing = await createWithDriverNone(
      url,
      '--none-tls-ca',
      '/no',
      '--none-tls-cert',
      '/no',
      '--none-tls-key',
      '/no',
    );
    expect([missing.code, missing.stderr]).toEqual([2, expect.stringContaining("/no can't be read")]);
    const noEngine = await createWithDriverNone('unix:///no/such.sock');
    expect([noEngine.code, noEngine.stderr]).toEqual([9, expect.stringContaining('the socket does not exist')]);
    await expectSuccess(other.slipway('rm', 'far'));
  });

  // This test is last because it changes the host's key.
  test('ssh and provision refuse a host that shows another key', async () => {
    await host.runOrThrow('rm /etc/ssh/ssh_host_*; ssh-keygen -A; systemctl restart ssh');
    const refused = await user.slipway('ssh', 'web', 'touch /tmp/reached');
    expect(refused.code).toBe(255);
    expect(refused.stderr).toContain('Host key verification failed');
    expect((await host.exec('test -e /tmp/reached')).code).toBe(1);
    const provisioned = await user.slipway('provision', 'web');
    expect(provisioned.code).toBe(6);
    expect(provisioned.stderr).toContain(`${host.address} showed the host key ssh-ed25519 SHA256:`);
    // The engine still answers: its certificate proves its identity.
    expect((await expectSuccess(user.slipway('status', 'web'))).stdout).toContain('showed the host key');

    const key = await host.runOrThrow('ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub');
    const wrong = await user.slipway('provision', 'web', '--generic-host-key', `SHA256:${'A'.repeat(43)}`);
    expect(wrong.code).toBe(6);
    await expectSuccess(user.slipway('provision', 'web', '--generic-host-key', key.split(' ')[1] ?? ''));
    expect(await readValue('ssh', 'web', 'echo reached')).toBe('reached\n');
  });
});
