import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { createServer as createTlsServer } from 'node:https';
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { MachineSpec } from '../../src/machine/model.ts';
import { engineOptions } from '../../src/machine/spec.ts';
import { openStore } from '../../src/machine/store.ts';
import { renewCertificates } from '../../src/provision/certificates.ts';
import { createTemporaryFolder } from '../fakes/temporary-folder.ts';
import { readyMachine, specNamed } from '../fakes/sample-machine.ts';
import { runProgram, type ProgramResult } from '../fakes/run-program.ts';

const slipwayProgram = fileURLToPath(new URL('../../dist/slipway.js', import.meta.url));
const certificates = await renewCertificates({}, { name: 'web', names: ['127.0.0.1'], now: new Date() });

/**
 * Thirty machines: twenty engines that answer, five that accept a connection and stay silent, and five that do not even
 * accept one.
 */
const fleet = Array.from({ length: 30 }, (_, index) => {
  const kind = index % 3 > 0 ? 'answers' : index % 6 === 0 ? 'silent' : 'full';
  return { name: `m-${index + 1}`, kind } as const;
});
const [answeringMachines, unresponsiveMachines] = [
  fleet.filter(({ kind }) => kind === 'answers'),
  fleet.filter(({ kind }) => kind !== 'answers'),
];

const home = await createTemporaryFolder();
const slipwayHome = join(home.path, '.slipway');
const cleanups: (() => void)[] = [];

beforeAll(async () => {
  const ports = { answers: await startEngine(), silent: await startSilentServer(), full: await startFullServer() };
  for (const { name, kind } of fleet) await writeRecord(name, ports[kind], kind);
});

afterAll(async () => {
  for (const cleanUp of cleanups) cleanUp();
  await home[Symbol.asyncDispose]();
});

async function listenOnFreePort(server: Server): Promise<number> {
  await once(server.listen(0, '127.0.0.1'), 'listening');
  cleanups.push(() => server.close());
  return (server.address() as AddressInfo).port;
}

async function startEngine(): Promise<number> {
  const { ca, server } = certificates;
  const tls = { ca, cert: server.cert, key: server.key, requestCert: true, rejectUnauthorized: true };
  const engine = createTlsServer(tls, (_request, response) => response.end('{"Version":"28.2.2"}'));
  cleanups.push(() => engine.closeAllConnections());
  return listenOnFreePort(engine);
}

async function startSilentServer(): Promise<number> {
  const sockets: Socket[] = [];
  cleanups.push(() => sockets.forEach((socket) => socket.destroy()));
  return listenOnFreePort(createServer((socket) => sockets.push(socket.on('error', () => {}))));
}

/** Opens a port with a full backlog, since nothing accepts connections: the next client's first packet is dropped. */
async function startFullServer(): Promise<number> {
  const script = `require('node:net').createServer().listen({ port: 0, host: '127.0.0.1', backlog: 1 }, function () {
    require('node:fs').writeSync(1, String(this.address().port));
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
  })`;
  const child = spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'pipe', 'inherit'] });
  cleanups.push(() => child.kill('SIGKILL'));
  const [output] = (await once(child.stdout, 'data')) as [Buffer];
  const port = Number(output.toString());
  const callers = Array.from({ length: 4 }, () => connect(port, '127.0.0.1').on('error', () => {}));
  cleanups.push(() => callers.forEach((caller) => caller.destroy()));
  await once(callers[0] as Socket, 'connect');
  return port;
}

async function writeRecord(name: string, port: number, kind: string): Promise<void> {
  const store = openStore(slipwayHome);
  const label = kind === 'answers' ? ['zone=a', 'tier'] : ['zone=B'];
  const engine = { ...engineOptions.parse({}), label };
  const driver: Partial<MachineSpec> = kind === 'silent' ? {} : { driver: 'none', options: { url: 'tcp://x:1' } };
  const host =
    kind === 'silent'
      ? { address: '127.0.0.1', ssh: { address: '127.0.0.1', port, user: 'root' } }
      : { address: '127.0.0.1', engine: { url: `tcp://127.0.0.1:${port}` } };
  const endpoint = { url: `tcp://127.0.0.1:${port}`, tls: true };
  await store.write(readyMachine(name, { spec: specNamed(name, { ...driver, engine }), host, endpoint }));
  const { tls, serverCert, serverKey } = store.paths(name);
  const files = {
    [join(tls, 'ca.pem')]: certificates.ca,
    [join(tls, 'cert.pem')]: certificates.client.cert,
    [join(tls, 'key.pem')]: certificates.client.key,
    [serverCert]: certificates.server.cert,
    [serverKey]: certificates.server.key,
  };
  for (const [path, text] of Object.entries(files)) {
    await mkdir(dirname(path), { recursive: true });
    await writeFile(path, text);
  }
}

/** Logs a line for each process that the program starts, with any function. */
const PROCESS_LOGGER = `
  import child from 'node:child_process';
  import { appendFileSync } from 'node:fs';
  import { syncBuiltinESMExports } from 'node:module';
  const watch = (object, name) => {
    const real = object[name];
    object[name] = function (...args) {
      appendFileSync(process.env.STARTED, name + ' ' + (args[0].file ?? args[0]) + '\\n');
      return real.apply(this, args);
    };
  };
  watch(child.ChildProcess.prototype, 'spawn');
  for (const name of ['spawnSync', 'execSync', 'execFileSync']) watch(child, name);
  syncBuiltinESMExports();
`;

async function runSlipway(
  ...argv: readonly string[]
): Promise<ProgramResult & { readonly seconds: number; readonly started: string }> {
  const started = join(home.path, 'started');
  await writeFile(started, '');
  const env = { PATH: process.env.PATH, HOME: home.path, STARTED: started };
  const preload = `data:text/javascript,${encodeURIComponent(PROCESS_LOGGER)}`;
  const startTime = performance.now();
  const result = await runProgram(process.execPath, ['--import', preload, slipwayProgram, ...argv], { env });
  return { ...result, seconds: (performance.now() - startTime) / 1000, started: await readFile(started, 'utf8') };
}

const linesOf = (text: string): readonly string[] => text.trim().split('\n');

test('ls with ten unresponsive machines takes at most two seconds more than the timeout, and starts no process', async () => {
  const timeout = 5;
  const { code, stdout, stderr, seconds, started } = await runSlipway('ls', '--timeout', String(timeout));
  expect({ code, stderr, started }).toEqual({ code: 0, stderr: '', started: '' });
  expect(seconds).toBeLessThan(timeout + 2);
  const [head, ...rows] = linesOf(stdout);
  expect(head).toMatch(/^NAME +CURRENT +DRIVER +STATE +URL +ENGINE +CERTS +TROUBLE$/);
  expect(rows.map((row) => row.split(' ', 1)[0])).toEqual(fleet.map(({ name }) => name));
  for (const { name, kind } of fleet) {
    const row = rows.find((line) => line.startsWith(`${name} `));
    if (kind === 'answers') expect(row).toMatch(/ none +running +tcp:\S+ +28\.2\.2 +\d+ d$/);
    else expect(row).toMatch(/ unreachable +tcp:\S+ +\d+ d +engine: no answer within 5 s$/);
  }
});

test('filters by record ask no engine, and filters by state ask only machines that match the other filters', async () => {
  const byNameAndDriver = await runSlipway(
    'ls',
    '-q',
    '--filter',
    'name=^m-1.$',
    '--filter',
    'NAME=^m-2$',
    '--filter',
    'driver=NONE',
  );
  expect(linesOf(byNameAndDriver.stdout)).toEqual(
    fleet.filter(({ name, kind }) => /^m-(1.|2)$/.test(name) && kind !== 'silent').map(({ name }) => name),
  );
  const tiers = await runSlipway('ls', '-q', '--filter', 'label=tier');
  expect(linesOf(tiers.stdout)).toEqual(answeringMachines.map(({ name }) => name));
  const zone = await runSlipway('ls', '-q', '--filter', 'label=zone=b');
  expect(linesOf(zone.stdout)).toEqual(unresponsiveMachines.map(({ name }) => name));
  const running = await runSlipway('ls', '-q', '--timeout', '4', '--filter', 'state=Running');
  expect(linesOf(running.stdout)).toEqual(answeringMachines.map(({ name }) => name));
  const json = await runSlipway(
    'ls',
    '--json',
    '--timeout',
    '4',
    '--filter',
    'state=unreachable',
    '--filter',
    'name=-1$',
  );
  expect(JSON.parse(json.stdout)).toMatchObject([{ name: 'm-1', state: 'unreachable' }]);
  const none = await runSlipway('ls', '--filter', 'name=nobody');
  expect(none.stdout).toBe('No machines match. To list all: slipway ls\n');
});

test('a format prints rows, or a table with column titles', async () => {
  const few = ['--filter', 'name=^m-[23]$'];
  const rows = await runSlipway(
    'ls',
    ...few,
    '--format',
    '{{.Name}}={{upper .State}} {{if lt .CertificateDays 30}}soon{{end}}',
  );
  expect(rows.stdout).toBe('m-2=RUNNING \nm-3=RUNNING \n');
  const table = await runSlipway('ls', ...few, '-f', 'table {{.Name}}\\t{{.Driver}}\\t{{.Engine}}\\t{{.Trouble}}');
  expect(table.stdout.replaceAll(/ +$/gm, '')).toBe(
    'NAME   DRIVER   ENGINE   TROUBLE\nm-2    none     28.2.2\nm-3    none     28.2.2\n',
  );
  const nothing = await runSlipway('ls', '--filter', 'name=nobody', '--format', '{{.Name}}');
  expect(nothing.stdout).toBe('');
});

test('inspect and status accept formats', async () => {
  const fields = await runSlipway(
    'inspect',
    'm-2',
    '--format',
    '{{.spec.engine.port}} {{json .spec.engine.label}} {{.no.such}}',
  );
  expect(fields.stdout).toBe('2376 ["zone=a","tier"] <no value>\n');
  const names = await runSlipway('inspect', 'm-2', 'm-3', '-f', '{{.spec.name}}');
  expect(names.stdout).toBe('m-2\nm-3\n');
  const [single, several] = [await runSlipway('inspect', 'm-2'), await runSlipway('inspect', 'm-2', 'm-3')];
  expect(JSON.parse(several.stdout)).toMatchObject([JSON.parse(single.stdout), { spec: { name: 'm-3' } }]);
  const status = await runSlipway('status', 'm-2', '-f', '{{.state}} {{.engine}} {{len .unasked}}');
  expect(status).toMatchObject({ code: 0, stdout: 'running 28.2.2 1\n' });
});

test('invalid filters and formats are reported with a hint', async () => {
  const calls: readonly (readonly string[])[] = [
    ['ls', '--filter', 'web'],
    ['ls', '--filter', 'drvier=ec2'],
    ['ls', '--filter', 'swarm=x'],
    ['ls', '--filter', 'name=('],
    ['ls', '--filter', 'state=runing'],
    ['ls', '--format', '{{.Nmae}}'],
    ['ls', '--format', '{{.Name'],
    ['ls', '--format', '{{uper .Name}}'],
    ['ls', '--format', '{{.Name}}', '--json'],
    ['ls', '--format', '{{.Name}}', '-q'],
    ['inspect', 'm-2', '--format', '{{.spec.name.x}}'],
    ['inspect', 'm-2', '--format', '{{template "x"}}'],
    ['status', 'm-2', '--format', '{{.State}}'],
    ['status', 'm-2', '--format', '{{.state}}', '--json'],
  ];
  const reports = [];
  for (const call of calls) {
    const { code, stdout, stderr } = await runSlipway(...call);
    expect(call.includes('--json') ? JSON.parse(stdout) : stdout).toEqual(
      call.includes('--json') ? expect.anything() : '',
    );
    reports.push(`$ slipway ${call.join(' ')}\n${stderr}(${code})`);
  }
  expect(reports.join('\n\n')).toMatchInlineSnapshot(`
    "$ slipway ls --filter web
    ✗ Invalid --filter "web": expected KEY=VALUE
    → For example: slipway ls --filter driver=ec2. Keys: name, driver, state and label
    (2)

    $ slipway ls --filter drvier=ec2
    ✗ Unknown filter key "drvier"
    → Did you mean driver=ec2? Keys: name, driver, state and label
    (2)

    $ slipway ls --filter swarm=x
    ✗ Unknown filter key "swarm"
    → Keys: name, driver, state and label
    (2)

    $ slipway ls --filter name=(
    ✗ Invalid regular expression in --filter name=(
    → For example: slipway ls --filter name=^web-
    (2)

    $ slipway ls --filter state=runing
    ✗ Unknown state "runing"
    → Did you mean running? States: running, unfinished, stopped, suspended, paused, missing, ended, starting, no engine, unreachable and broken
    (2)

    $ slipway ls --format {{.Nmae}}
    ✗ --format can't be used: unknown field .Nmae (at ".Nmae}}")
    → Did you mean .Name? Known: .Name .Current .Driver .State .URL .Engine .CertificateDays .Deadline .IdleStop .Ports .Trouble
    (2)

    $ slipway ls --format {{.Name
    ✗ --format can't be used: an action is not closed: }} is missing (at "{{.Name")
    → A format is a Go template: --format "{{.field}} {{json .}}"
    (2)

    $ slipway ls --format {{uper .Name}}
    ✗ --format can't be used: unknown function uper (at "uper .Name}}")
    → Did you mean upper? Known: json prettyjson join split lower upper pad truncate and or not len index slice print println printf html js urlquery eq ne lt le gt ge
    (2)

    $ slipway ls --format {{.Name}} --json
    ✗ --format and --json can't be used together
    → To print JSON by a template: --format "{{json .}}"
    (2)

    $ slipway ls --format {{.Name}} -q
    ✗ --quiet and --format can't be used together
    → To print names by a template: --format "{{.Name}}"
    (2)

    $ slipway inspect m-2 --format {{.spec.name.x}}
    ✗ --format can't be used: a string has no field x (at ".spec.name.x}}")
    → A format is a Go template: --format "{{.field}} {{json .}}"
    (2)

    $ slipway inspect m-2 --format {{template "x"}}
    ✗ --format can't be used: template is not supported (at "template \\"x\\"}}")
    → Known: break continue else end if range with json prettyjson join split lower upper pad truncate and or not len index slice print println printf html js urlquery eq ne lt le gt ge
    (2)

    $ slipway status m-2 --format {{.State}}
    ✗ --format can't be used: unknown field .State (at ".State}}")
    → Did you mean .state? Known: .name .state .engine .days .trouble .driver .address .ssh .url .context .deadline .idleStop .containers .images .ports .host .unasked
    (2)

    $ slipway status m-2 --format {{.state}} --json
    ✗ --format and --json can't be used together
    → To print JSON by a template: --format "{{json .}}"
    (2)"
  `);
});
