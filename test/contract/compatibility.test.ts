// Holds what users and their scripts depend on, so that a change of internal names cannot alter it: the files that
// Slipway stores, JSON documents and events, exit statuses, flags and variables, and the output of `docker-machine`.
//
// compatibility/home is the home folder of a user with machines of every kind and phase. compatibility/outputs holds
// what an earlier build printed and wrote for each of the calls below. This test runs the current build in a copy of
// that home and compares.
//
// Messages of `slipway` may be reworded, so only their presence is compared. Messages of `docker-machine` may not.
//
// Outputs that list what exists (drivers, commands, flags, error codes, schemas, completion, help) must still list
// everything that the stored output lists, unchanged and in the same order. A new driver, option, flag, command or
// error code is an addition, which passes without new outputs. All other outputs must be equal.
//
// When you change an output on purpose, edit its file in compatibility/outputs in the same commit and say why. To
// regenerate all of them, use the build of the commit before your change, because your own build would only be
// compared with itself:
//
//   SLIPWAY_WRITE_GOLDEN=/path/to/that/commit/dist \
//     npx vitest run --project contract test/contract/compatibility.test.ts
import { execFile } from 'node:child_process';
import { webcrypto } from 'node:crypto';
import { once } from 'node:events';
import { chmod, cp, mkdir, mkdtemp, readdir, readFile, realpath, rm, stat, writeFile } from 'node:fs/promises';
import { createServer as createHttpServer, type RequestListener } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import { createServer, type AddressInfo, type Server } from 'node:net';
import { hostname, tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import 'reflect-metadata';
import * as x509 from '@peculiar/x509';
import { parseTar } from 'nanotar';
import ssh2 from 'ssh2';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  findMissingHelp,
  findMissingLines,
  findMissingMembers,
  findMissingWords,
  type FindMissing,
} from './compatibility/find-missing.ts';

const otherDist = process.env.SLIPWAY_WRITE_GOLDEN;
const dist = otherDist === undefined ? fileURLToPath(new URL('../../dist', import.meta.url)) : resolve(otherDist);
const fixtures = fileURLToPath(new URL('compatibility', import.meta.url));

// The modes of new files depend on the umask.
const umask = process.umask(0o022);
afterAll(() => void process.umask(umask));

beforeAll(async () => {
  await stat(join(dist, 'slipway.js')).catch(() => {
    throw new Error('dist/ is missing: run npm run build');
  });
});

// --- servers -------------------------------------------------------------------------------------------------------

const cleanups: (() => void)[] = [];

afterAll(() => {
  for (const cleanUp of cleanups) cleanUp();
});

async function listenOnFreePort(server: Server): Promise<string> {
  await once(server.listen(0, '127.0.0.1'), 'listening');
  cleanups.push(() => server.close());
  return String((server.address() as AddressInfo).port);
}

const RESPONSES: Readonly<Record<string, object>> = {
  '/version': { Version: '28.2.2', ApiVersion: '1.50', Os: 'linux', Arch: 'amd64' },
  '/info': { Containers: 7, ContainersRunning: 4, ContainersPaused: 1, ContainersStopped: 2, Images: 9 },
};

const respond: RequestListener = (request, response) => {
  const known = RESPONSES[request.url ?? ''];
  response.writeHead(known ? 200 : 404).end(JSON.stringify(known ?? { message: 'page not found' }));
};

type Pair = { readonly cert: string; readonly key: string };

/** Creates a CA with certificates for an engine at 127.0.0.1 and its client. `ls` shows 400 days for them. */
async function createCertificates(): Promise<{ readonly ca: string; readonly server: Pair; readonly client: Pair }> {
  x509.cryptoProvider.set(webcrypto);
  const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };
  const hour = 60 * 60 * 1000;
  const times = { notBefore: new Date(Date.now() - hour), notAfter: new Date(Date.now() + (400 * 24 + 12) * hour) };
  const generateKeys = (): Promise<webcrypto.CryptoKeyPair> =>
    webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify']) as Promise<webcrypto.CryptoKeyPair>;
  const exportKey = async ({ privateKey }: webcrypto.CryptoKeyPair): Promise<string> =>
    `${x509.PemConverter.encode(await webcrypto.subtle.exportKey('pkcs8', privateKey), 'PRIVATE KEY')}\n`;
  const authority = await generateKeys();
  const ca = await x509.X509CertificateGenerator.createSelfSigned({
    name: 'CN=test CA',
    keys: authority,
    signingAlgorithm: algorithm,
    ...times,
    extensions: [new x509.BasicConstraintsExtension(true, 0, true)],
  });
  const issue = async (subject: string, extensions: x509.Extension[]): Promise<Pair> => {
    const keys = await generateKeys();
    const cert = await x509.X509CertificateGenerator.create({
      subject,
      issuer: ca.subject,
      publicKey: keys.publicKey,
      signingKey: authority.privateKey,
      signingAlgorithm: algorithm,
      ...times,
      extensions,
    });
    return { cert: `${cert.toString('pem')}\n`, key: await exportKey(keys) };
  };
  const names = new x509.SubjectAlternativeNameExtension([{ type: 'ip', value: '127.0.0.1' }]);
  return {
    ca: `${ca.toString('pem')}\n`,
    server: await issue('CN=127.0.0.1', [names]),
    client: await issue('CN=client', []),
  };
}

/** Generates keys until one is readable: ssh2 drops a leading zero in one key of 256. */
function generateReadableKey(): ReturnType<typeof ssh2.utils.generateKeyPairSync> {
  for (;;) {
    const pair = ssh2.utils.generateKeyPairSync('ed25519');
    if (!(ssh2.utils.parseKey(pair.private) instanceof Error)) return pair;
  }
}

const certificates = await createCertificates();
const { ca, server, client } = certificates;
const keys = { host: generateReadableKey(), other: generateReadableKey() };
const publicKey = ({ public: line }: { readonly public: string }): string => line.split(' ').slice(0, 2).join(' ');

const engine = createTlsServer({ ca, ...server, requestCert: true, rejectUnauthorized: true }, respond);
// Accepts clients without a certificate.
const openEngine = createTlsServer({ ca, ...server }, respond);
cleanups.push(() => engine.closeAllConnections());
cleanups.push(() => openEngine.closeAllConnections());

/** Placeholders in the fixtures and the outputs for values that differ between runs. */
const PLACEHOLDERS: Readonly<Record<string, string>> = {
  '<engine-port>': await listenOnFreePort(engine),
  '<open-port>': await listenOnFreePort(openEngine),
  // Closes every connection.
  '<silent-port>': await listenOnFreePort(createServer((socket) => socket.on('error', () => {}).destroy())),
  // Presents its host key and rejects every login.
  '<ssh-port>': await listenOnFreePort(
    new ssh2.Server({ hostKeys: [keys.host.private] }, (connection) =>
      connection.on('error', () => {}).on('authentication', (context) => context.reject()),
    ) as unknown as Server,
  ),
  '<host-key>': publicKey(keys.host),
  '<other-key>': publicKey(keys.other),
  '<other-private-key>': keys.other.private,
};

// --- the home folder -----------------------------------------------------------------------------------------------

type Home = AsyncDisposable & {
  readonly path: string;
  /** Placeholders and their values in this home. */
  readonly placeholders: Readonly<Record<string, string>>;
};

/** Copies the fixture and adds what a repository can't store: a socket, certificates and empty folders. */
async function createHome(): Promise<Home> {
  const path = await realpath(await mkdtemp(join(tmpdir(), 'slipway-old-')));
  const placeholders = { ...PLACEHOLDERS, '<home>': path };
  await cp(join(fixtures, 'home'), path, { recursive: true });
  for (const file of await listFiles(path)) {
    const text = await readFile(join(path, file), 'utf8');
    const filled = fillIn(text, placeholders);
    if (filled !== text) await writeFile(join(path, file), filled);
    await chmod(join(path, file), 0o600);
  }
  const pems = { 'ca.pem': ca, 'cert.pem': client.cert, 'key.pem': client.key };
  const old = join('.docker', 'machine', 'machines');
  const places = [
    'certificates',
    join('.slipway', 'machines', 'web', 'tls'),
    join('.slipway', 'machines', 'secure', 'tls'),
  ];
  for (const folder of [...places, join(old, 'old-web'), join(old, 'default'), join(old, 'ours')]) {
    await mkdir(join(path, folder), { recursive: true });
    for (const [file, pem] of Object.entries(pems)) await writeFile(join(path, folder, file), pem, { mode: 0o600 });
  }
  await mkdir(join(path, '.slipway', 'machines', 'stopped-early'));
  await mkdir(join(path, 'bin'));
  // Programs that VMs need, so that the result does not depend on what this computer has installed.
  for (const program of ['qemu-img', 'qemu-system-x86_64', 'qemu-system-aarch64', 'mmdebstrap', 'fakeroot'])
    await writeFile(join(path, 'bin', program), '#!/bin/sh\nexit 1\n', { mode: 0o755 });
  const socket = createHttpServer(respond);
  await once(socket.listen(join(path, 'engine.sock')), 'listening');
  return {
    path,
    placeholders,
    async [Symbol.asyncDispose]() {
      socket.closeAllConnections();
      socket.close();
      await rm(path, { recursive: true, force: true });
    },
  };
}

/** Replaces placeholders with values. The fixtures quote placeholders for numbers to be valid JSON. */
function fillIn(text: string, placeholders: Home['placeholders']): string {
  return Object.entries(placeholders).reduce((filled, [placeholder, value]) => {
    const bare = /^\d+$/.test(value) ? filled.replaceAll(`"${placeholder}"`, value) : filled;
    return bare.replaceAll(placeholder, value);
  }, text);
}

async function listFiles(folder: string): Promise<readonly string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(folder.length + 1))
    .toSorted();
}

type RunResult = { readonly code: number; readonly stdout: string; readonly stderr: string };

/** Runs a command line: variables first, then the program. Single quotes group words. */
async function runLine(line: string, home: Home): Promise<RunResult> {
  const words = [...line.matchAll(/((?:'[^']*'|[^\s'])+)/g)].map(([word]) =>
    fillIn(word.replaceAll("'", ''), home.placeholders),
  );
  const at = words.findIndex((word) => !/^\w+=/.test(word));
  const env = {
    // The result must not depend on the programs of this computer.
    PATH: join(home.path, 'bin'),
    HOME: home.path,
    SHELL: '/bin/bash',
    NO_COLOR: '1',
    TZ: 'UTC',
    AWS_EC2_METADATA_DISABLED: 'true',
    ...Object.fromEntries(words.slice(0, at).map((word) => [word.replace(/=.*/s, ''), word.replace(/^\w+=/, '')])),
  };
  const [program = '', ...argv] = words.slice(at);
  return new Promise((done, fail) => {
    const file = join(dist, `${program}.js`);
    const options = { env, cwd: home.path, maxBuffer: 64 * 1024 * 1024 };
    const child = execFile(process.execPath, [file, ...argv], options, (error, stdout, stderr) => {
      if (error !== null && typeof error.code !== 'number') fail(error);
      else done({ code: Number(error?.code ?? 0), stdout, stderr });
    });
    child.stdin?.on('error', () => {});
    child.stdin?.end();
  });
}

// --- what is compared ----------------------------------------------------------------------------------------------

const YEARS = [0, 1].map((more) => new Date().getUTCFullYear() + more).join('|');
const RECENT_TIME = new RegExp(String.raw`(?:${YEARS})-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z`, 'g');
const UUID = /[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/g;

/** Replaces values that differ between runs. Keeps IDs from the fixtures and IDs derived from a path. */
function maskVaryingValues(text: string, home: Home): string {
  const withPlaceholders = Object.entries(home.placeholders)
    .toSorted(([, left], [, right]) => right.length - left.length)
    .reduce((rest, [placeholder, value]) => rest.replaceAll(toPattern(value), placeholder), text);
  return withPlaceholders
    .replaceAll(/ssh-ed25519 [A-Za-z0-9+/]{60,}/g, '<key>')
    .replaceAll(RECENT_TIME, '<now>')
    .replaceAll(UUID, (id) => (id.endsWith('-444455556666') || id.charAt(14) === '5' ? id : '<id>'))
    .replaceAll(/slipway-\d+\.\d+\.\d+/g, 'slipway-<version>')
    .replaceAll(/\b\d+ms\b/g, '<time>');
}

/** Matches a value. Of a port, it matches the whole number only: digits of an ID can be the same by chance. */
const toPattern = (value: string): string | RegExp =>
  /^\d+$/.test(value) ? new RegExp(String.raw`(?<![\w-])${value}(?!\w)`, 'g') : value;

/** Replaces IDs that are derived from an absolute path. */
const maskDerivedIds = (text: string): string => text.replaceAll(UUID, (id) => (id.charAt(14) === '5' ? '<id>' : id));

/** Keys with messages, keys with values of this computer, and keys that exist on some computers only. */
const MESSAGE_KEYS = new Set([
  'stays',
  'message',
  'hint',
  'title',
  'text',
  'line',
  'trouble',
  'summary',
  'notes',
  'unasked',
]);
const LOCAL_KEYS = new Set(['elapsed', 'bytes', 'detail', 'node', 'platform', 'slipway']);
const OPTIONAL_KEYS = new Set(['usable', 'reason', 'fix', 'missing']);

function maskMessages(value: unknown, key = ''): unknown {
  if (LOCAL_KEYS.has(key)) return '<here>';
  if (MESSAGE_KEYS.has(key) && typeof value === 'string') return value === '' ? '' : '<text>';
  if (Array.isArray(value)) return value.map((item: unknown) => maskMessages(item, MESSAGE_KEYS.has(key) ? key : ''));
  if (typeof value !== 'object' || value === null) return value;
  const pairs = Object.entries(value).filter(([name]) => !OPTIONAL_KEYS.has(name));
  return Object.fromEntries(pairs.map(([name, one]) => [name, maskMessages(one, name)]));
}

type OutputFormat = (result: RunResult) => string;

/** Standard output. */
const output: OutputFormat = ({ stdout }) => stdout;

/** A JSON document, or one event per line. The number of progress events depends on the time, so they are left out. */
const documents: OutputFormat = ({ stdout }) => {
  if (stdout === '') return '';
  if (!stdout.startsWith('{"event"')) return `${JSON.stringify(maskMessages(JSON.parse(stdout)), null, 2)}\n`;
  const events = stdout
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as { readonly event: string });
  const lasting = events.filter(({ event }) => event !== 'progress');
  return lasting.map((event) => `${JSON.stringify(maskMessages(event))}\n`).join('');
};

/** Settings for a shell, without the message that explains them. */
const settings: OutputFormat = ({ stdout }) => stdout.replaceAll(/^(#|REM|::?|;;) [^"$%&(`|\n]*:$/gm, '$1 <text>');

/** Standard output and standard error. */
const all: OutputFormat = ({ stdout, stderr }) => [stdout, stderr === '' ? '' : `on stderr:\n${stderr}`].join('');

/** Completion candidates without their descriptions. */
const candidates: OutputFormat = ({ stdout }) => stdout.replaceAll(/\t.*$/gm, '');

/** A script without comments. */
const script: OutputFormat = ({ stdout }) => stdout.replaceAll(/^\s*#.*\n/gm, '');

/** Option help without the descriptions that are shared with `slipway`. */
const flags: OutputFormat = ({ stdout }) =>
  stdout.replaceAll(/^( {3}-.*?)(?: {3,}.*?)?( \[\$\w+\])?$/gm, (line, left: string, variable = '') =>
    /^ {3}--(driver|swarm)/.test(line) ? line : `${left}${variable}`,
  );

/** Messages that continue with a message of `slipway`: only the beginning is compared. */
const beginning =
  (...beginnings: readonly string[]): OutputFormat =>
  ({ stdout, stderr }) => {
    const begin = beginnings.find((text) => stderr.startsWith(text));
    return `${stdout}on stderr:\n${begin ?? ''}…\n`;
  };

type OutputGroup = {
  readonly about: string;
  readonly file: string;
  readonly format: OutputFormat;
  /** For outputs that list what exists: the stored output must still be included, and more may be listed. */
  readonly findMissing?: FindMissing;
  /**
   * Runs the calls one after another. Calls of other groups run at the same time, so each call that takes a lock needs
   * its own machine.
   */
  readonly inTurn?: true;
  readonly calls: readonly string[];
};

const RECORDS =
  'web web-2 local default x secure bare dev dev-2 gone begun cloud-1 cloud-2 taken-over google-1 half made strange';
/** Templates over every field of a record. */
const FIELDS = [
  [
    '{{.version}} {{.phase}} {{.deadline}} {{.ending}} {{.untold}} {{.due}} {{.adopts}}',
    '{{with .asked}}{{.what}} {{.at}}{{end}} {{with .failure}}{{.at}} {{.step}} {{.code}} {{.message}}{{end}}',
    '{{.spec.id}} {{.spec.name}} {{.spec.driver}} {{.spec.profiles}} {{.spec.fleet}}',
    '{{with .spec.life}}{{.ttl}} {{.idleStop}}{{end}} {{with .spec.batch}}{{.id}} {{.index}} {{.size}}{{end}}',
    '{{json .spec.given}} {{json .spec.options}}',
  ].join('|'),
  [
    '{{with .spec.engine}}{{.source}} {{.version}} {{.installUrl}} {{.port}}{{end}}',
    '{{with .spec.engine}}{{.repositoryUrl}} {{.repositoryKey}}{{end}}',
    '{{with .spec.engine}}{{.opt}} {{.label}} {{.env}} {{.registryMirror}} {{.insecureRegistry}} {{.tlsSan}}{{end}}',
    '{{with .spec.engine}}{{.storageDriver}}{{end}}',
  ].join('|'),
  [
    '{{with .host}}{{.address}} {{.enginePort}} {{with .engine}}{{.url}} {{json .tls}}{{end}}{{end}}',
    '{{with .host}}{{with .ssh}}{{.address}} {{.port}} {{.user}} {{.hostKey}}{{end}}{{end}}',
    '{{with .host}}{{with .ssh}}{{.birthKey}} {{.expectedKey}}{{end}}{{end}}',
    '{{with .host}}{{with .ssh}}{{.keyFile}} {{json .jump}}{{end}}{{end}}',
    '{{with .endpoint}}{{.url}} {{.tls}}{{end}}',
  ].join('|'),
];
const SHELLS = ['bash', 'zsh', 'sh', 'fish', 'powershell', 'pwsh', 'cmd', 'tcsh', 'emacs', 'nu'];
const DROP_IN_SHELLS = ['bash', 'zsh', 'fish', 'powershell', 'cmd', 'tcsh', 'emacs', 'other'];
const row = (columns: string): string => columns.replaceAll(/\w+/g, '{{.$&}}').replaceAll(' ', '|');
const ROW = row('Name Current Driver State URL Engine CertificateDays Deadline IdleStop');
const DROP_IN_ROW = row('Name Active ActiveHost ActiveSwarm DriverName State URL Swarm DockerVersion');
const DROP_IN_COMMANDS = [
  'active config env inspect ip kill ls mount provision regenerate-certs restart rm scp ssh start status stop upgrade',
  'url version',
].join(' ');
/** Excludes machines in a cloud, since these need requests to the provider. */
const NO_CLOUD = '--filter driver=none --filter driver=qemu --filter driver=generic --filter driver=warp';
// IDs of Docker Machine's machines are derived from their folder. A relative path makes the IDs the same everywhere.
const OLD = 'docker-machine -s .docker/machine';

const words = (text: string): readonly string[] => text.split(' ');

const outputGroups: readonly OutputGroup[] = [
  {
    about: 'records that slipway inspect prints',
    file: 'inspect.txt',
    format: output,
    calls: [
      `slipway inspect ${RECORDS} --json`,
      'slipway inspect web',
      'slipway inspect web --json',
      ...FIELDS.map((fields) => `slipway inspect ${RECORDS} --format '${fields}'`),
      `slipway inspect web -f '{{range $key, $value := .spec}}{{$key}} {{end}}'`,
    ],
  },
  {
    about: 'state of machines',
    file: 'list.txt',
    format: documents,
    calls: [
      `slipway ls --json ${NO_CLOUD}`,
      'slipway ls --json --filter state=broken --filter driver=?',
      'slipway ls --json --filter driver=ec2 --filter state=unfinished --filter name=-2',
      'slipway ls --json --filter label=team=web --filter driver=generic',
      ...words('web local secure dev dev-2 gone made half').map((name) => `slipway status ${name} --json`),
    ],
  },
  {
    about: 'output for scripts',
    file: 'answers.txt',
    format: output,
    calls: [
      'slipway ls -q',
      'slipway ls -q --json',
      'slipway ls -q --filter name=web --filter driver=generic',
      'slipway ls -q --filter state=suspended --filter driver=qemu',
      `slipway ls --format '${ROW}' ${NO_CLOUD}`,
      `slipway ls --format 'table ${ROW.replaceAll('|', String.raw`\t`)}\\t{{.Trouble}}' --filter name=secure`,
      `slipway status web --format '{{.name}} {{.state}} {{.engine}} {{.days}} {{.driver}} {{.address}} {{json .ssh}}'`,
      `slipway status web --format '{{.url}} {{.context}} {{.deadline}} {{.idleStop}}'`,
      `slipway status web --format '{{json .containers}} {{.images}}'`,
      `slipway ip ${RECORDS.replace(/ begun| cloud-2| taken-over| half/g, '')}`,
      'slipway ip web local google-1 --json',
      ...words('web local secure bare dev cloud-1').map((name) => `slipway url ${name}`),
      'slipway url web --json',
      ...words('web local secure dev').map((name) => `slipway config ${name}`),
      'slipway config web --json',
      'slipway config local --json',
      'slipway active',
      'slipway active --json',
      'DOCKER_CONTEXT=slipway-default slipway active --json',
      'DOCKER_CONTEXT=web slipway active --json',
      'DOCKER_HOST=tcp://127.0.0.1:<engine-port> DOCKER_MACHINE_NAME=web slipway active --json',
      'DOCKER_HOST=unix://<home>/engine.sock slipway active',
      'HOME=<home>/nowhere SLIPWAY_HOME=<home>/.slipway DOCKER_CONFIG=<home>/.docker slipway active',
      'DOCKER_CONFIG=<home>/.ssh slipway active',
    ],
  },
  {
    about: 'shell settings',
    file: 'env.txt',
    format: settings,
    calls: [
      ...SHELLS.map((shell) => `slipway env web --shell ${shell}`),
      ...SHELLS.map((shell) => `slipway env --unset --shell ${shell}`),
      'slipway env web',
      'slipway env local --json',
      'slipway env web --json',
      'slipway env --unset --json',
      'DOCKER_CONTEXT=local slipway env web',
      'NO_PROXY=10.0.0.1 slipway env web --no-proxy --json',
      'no_proxy=10.0.0.1,127.0.0.1 slipway env web --no-proxy --json',
    ],
  },
  {
    about: 'plans for machines.yaml',
    file: 'plan.txt',
    format: documents,
    calls: [
      'PROXY_USER=me slipway plan --json',
      'PROXY_USER=me slipway plan --json --prune',
      'PROXY_USER=me slipway plan worker dev cloud-1 --json --exit-code',
      'PROXY_USER=me slipway apply --dry-run --json',
      'slipway plan --file shop.yaml --prune --json',
      'slipway apply -f shop.yaml --dry-run --json local bare',
      'slipway plan -f same.yaml --exit-code --json',
      'slipway apply -f same.yaml --json',
      'slipway plan --json',
      'slipway plan -f wrong.yaml --json',
      'slipway plan -f nowhere.yaml --json',
      'PROXY_USER=me slipway plan nobody --json',
      'PROXY_USER=me slipway apply --json',
    ],
  },
  {
    about: 'images and imports',
    file: 'images.txt',
    format: documents,
    calls: [
      'slipway image ls --json',
      'slipway image ls -q --json',
      'slipway image rm debian-13 --json',
      'slipway image rm nothing --json',
      'slipway version --json',
      'slipway import --json',
      'slipway import --json --from <home>/nowhere',
      'slipway import --json --from other-store',
    ],
  },
  {
    about: 'drivers',
    file: 'drivers.txt',
    format: documents,
    findMissing: findMissingMembers({ extensible: [''] }),
    calls: ['slipway drivers --json'],
  },
  {
    about: 'completion of commands and flags',
    file: 'completion.txt',
    format: candidates,
    findMissing: findMissingLines,
    calls: [
      '',
      'i',
      'image ',
      'help ',
      'help image ',
      '-',
      'env --shell ',
      'ls --',
      'create --driver ',
      'create x --driver generic --',
      'create x -d none --',
      'create x --none-',
      'create x --profile ',
      'image build ',
      'completion ',
      'create --image ',
      'rm --',
      'plan --',
      'status --json ',
    ].map((line) => `slipway __complete -- ${line.endsWith(' ') || line === '' ? `${line}''` : line}`),
  },
  {
    about: 'completion of machines and images',
    file: 'completion-of-machines.txt',
    format: candidates,
    calls: ['env ', 'ssh w', 'scp d', 'image rm ', 'inspect web w'].map(
      (line) => `slipway __complete -- ${line.endsWith(' ') ? `${line}''` : line}`,
    ),
  },
  {
    about: 'completion of commands and flags of docker-machine',
    file: 'completion-of-docker-machine.txt',
    format: candidates,
    findMissing: findMissingLines,
    calls: [
      '',
      '-',
      'env --shell ',
      'env -',
      'ls --',
      'create --driver ',
      'create -d generic --',
      'rm -',
      'help ',
      'create --driver none -',
    ].map((line) => `docker-machine __complete -- ${line.endsWith(' ') || line === '' ? `${line}''` : line}`),
  },
  {
    about: 'completion of machines by docker-machine',
    file: 'completion-of-machines-by-docker-machine.txt',
    format: candidates,
    calls: ['env ', 'ip o', 'scp old-', 'machine ip o'].map(
      (line) => `docker-machine __complete -- ${line.endsWith(' ') ? `${line}''` : line}`,
    ),
  },
  {
    about: 'completion scripts',
    file: 'completion-scripts.txt',
    format: script,
    calls: [
      ...words('bash zsh fish powershell').map((shell) => `slipway completion ${shell}`),
      'slipway completion bash --for docker-machine',
    ],
  },
  {
    about: 'error codes and exit statuses',
    file: 'errors.txt',
    format: documents,
    calls: [
      'slipway crate --json',
      'slipway ls --quite --json',
      'slipway ls web --json',
      'slipway ls -q --format {{.Name}} --json',
      'slipway ls --filter color=red --json',
      'slipway ip --json',
      'slipway ip nobody --json',
      'slipway ip ../web --json',
      'slipway ip begun --json',
      ...words('torn blank newer odd misnamed no-values').map((name) => `slipway inspect ${name} --json`),
      'slipway inspect stopped-early --json',
      'slipway inspect web --format {{.phase}} --json',
      'slipway url made --json',
      'slipway env --json',
      'slipway env web -u --json',
      'slipway env web --shell ksh93 --json',
      'slipway env cloud-2 --json',
      'slipway config half --json',
      'slipway use --json',
      'slipway use nobody --json',
      'slipway use bare --json',
      'DOCKER_CONFIG=<home>/.ssh DOCKER_HOST=tcp://192.0.2.9:2376 slipway active --json',
      'slipway extend web --json',
      'slipway extend web soon --json',
      'slipway extend nobody 2h --json',
      'slipway extend local 2h --json',
      'slipway extend made 2h --json',
      'slipway extend gone 2h --json',
      ...words('pinned expected born known behind').map((name) => `slipway rm host-${name} --deprovision --json`),
      'slipway start dev-2 --json',
      'slipway start default --json',
      'slipway stop secure --json',
      'slipway kill x --json',
      'slipway restart web --json',
      'slipway start strange --json',
      'slipway provision nobody --json',
      'slipway create --json',
      'slipway create new --driver nope --json',
      'slipway create new --driver generic --json',
      'slipway create we_b --driver none --none-url unix:///nowhere --json',
      'slipway create web --generic-ip-address 127.0.0.1 --json',
      'slipway create made --driver none --none-url unix:///nowhere --json',
      'slipway create torn --driver none --none-url unix:///nowhere --json',
      'slipway create others --driver none --none-url unix://<home>/engine.sock --json',
      'slipway create new --driver none --none-url http://127.0.0.1 --json',
      'slipway create new --none-url unix:///nowhere --ttl 4h --json',
      'slipway create new --none-url unix:///nowhere --generic-ip-address 127.0.0.1 --json',
      'slipway create new --generic-ip-address 127.0.0.1 --generic-ssh-key /nowhere --json',
      'slipway create new --driver none --none-url unix://<home>/engine.sock --dry-run --json',
      'slipway create new other --use --driver none --none-url unix://<home>/engine.sock --json',
      'slipway create new --count 0 --driver none --none-url unix://<home>/engine.sock --json',
      'slipway create begun --qemu-ssh-user other --json',
      'slipway create begun --driver none --none-url unix://<home>/engine.sock --json',
      'slipway rm nobody --json',
      'slipway rm torn --json',
      'slipway gc --driver qemu --json',
      'slipway import nobody --json',
      'slipway import web --json',
      'slipway import old-box --json',
      'slipway import old-web --json',
      'slipway import --all old-none --json',
      'slipway image build debian-9 --json',
      'slipway image pull mine --url <home>/nowhere.qcow2 --json',
      'slipway image pull --digest abc --json',
      'slipway completion ksh --json',
      'slipway help nothing --json',
    ],
  },
  {
    about: 'help of docker-machine',
    file: 'docker-machine-help.txt',
    format: all,
    findMissing: findMissingHelp,
    calls: [
      'docker-machine',
      'docker-machine --help',
      'docker-machine --version',
      'docker-machine version',
      ...words(DROP_IN_COMMANDS).map((name) => `docker-machine ${name} --help`),
      'docker-machine help ip',
    ],
  },
  {
    about: 'flags of docker-machine create',
    file: 'docker-machine-create.txt',
    format: flags,
    findMissing: findMissingHelp,
    calls: [
      ...words('amazonec2 google generic none qemu').map((driver) => `docker-machine create --driver ${driver} --help`),
      'docker-machine help create',
    ],
  },
  {
    about: 'output of docker-machine',
    file: 'docker-machine.txt',
    format: all,
    calls: [
      ...['old-web', 'default', 'old-ec2', 'old-asleep', 'old-google', 'old-box', 'old-azure', 'ancient'].map(
        (name) => `${OLD} inspect ${name}`,
      ),
      ...['version-1', 'version-2', 'ours', 'ours-half', 'ours-ec2', 'web'].map((name) => `${OLD} inspect ${name}`),
      `docker-machine inspect old-web -f '{{.Driver.IPAddress}} {{.Name}} {{json .HostOptions.EngineOptions}}'`,
      `docker-machine inspect --format '{{prettyjson .Driver}}'`,
      `docker-machine inspect old-web -f '{{.Driver.SSHUser}} {{.HostOptions.SwarmOptions.Discovery}}'`,
      'docker-machine ls --filter driver=none --filter name=^default$ --filter name=ancient',
      `docker-machine ls --filter driver=virtualbox --filter driver=azure`,
      `docker-machine ls --filter name=^old-web$ --format '${DROP_IN_ROW}|{{.Error}}'`,
      `DOCKER_HOST=tcp://127.0.0.1:<engine-port> docker-machine ls --filter name=^old-web$`,
      'docker-machine ls -q',
      'docker-machine ls --quiet --filter name=old --filter driver=generic',
      'docker-machine ls -q --filter label=team=old',
      'docker-machine ls -q --filter swarm=old-web',
      'docker-machine ls -q --filter state=running --filter driver=none',
      `docker-machine ls --filter name=old-web --format '{{json .EngineOptions}} {{json .SwarmOptions}}'`,
      ...DROP_IN_SHELLS.map((shell) => `docker-machine env --shell ${shell} old-web`),
      ...DROP_IN_SHELLS.map((shell) => `docker-machine env --unset --shell ${shell}`),
      'docker-machine env',
      'docker-machine env --swarm old-web',
      'NO_PROXY=10.0.0.1 docker-machine env --no-proxy old-web',
      'SHELL= docker-machine env',
      'docker-machine config old-web',
      'docker-machine config',
      'docker-machine config --swarm old-web',
      'docker-machine ip',
      'docker-machine ip old-web default',
      'docker-machine url',
      'docker-machine url old-web',
      'docker-machine status',
      'docker-machine status old-web',
      'docker-machine status old-member',
      'docker-machine version old-web',
      'DOCKER_HOST=tcp://127.0.0.1:<engine-port> docker-machine active',
      'DOCKER_HOST=tcp://127.0.0.1:3376 docker-machine active',
      'MACHINE_STORAGE_PATH=<home>/nowhere docker-machine ls',
      'MACHINE_STORAGE_PATH=<home>/nowhere docker-machine ls -q',
      'docker-machine docker-cli-plugin-metadata',
      'DOCKER_CLI_PLUGIN_ORIGINAL_CLI_COMMAND=docker docker-machine machine ip default',
    ],
  },
  {
    about: 'rows that docker-machine ls prints',
    file: 'docker-machine-rows.txt',
    format: output,
    calls: [
      `docker-machine ls --filter driver=none --filter driver=generic --filter driver=virtualbox --format '${DROP_IN_ROW}'`,
      `docker-machine ls --filter driver=none --format 'table {{.Name}}\\t{{.DriverName}}\\t{{.ResponseTime}}'`,
    ],
  },
  {
    about: 'error messages of docker-machine',
    file: 'docker-machine-errors.txt',
    format: all,
    calls: [
      'docker-machine bogus',
      'docker-machine ls --bogus',
      'docker-machine ls -timeout soon',
      'docker-machine ls --timeout',
      'docker-machine ls --filter nonsense',
      'docker-machine ls --filter color=red',
      'docker-machine create -d none',
      'docker-machine create -d none --url u a extra',
      'docker-machine create -d none --url u a_b',
      'docker-machine create -d none new',
      'docker-machine create -d none --url u default',
      'docker-machine create -d bogus new',
      'docker-machine create -d none --url u --swarm --swarm-discovery nowhere new',
      'docker-machine rm',
      'docker-machine rm old-web',
      'docker-machine rm -y nobody',
      'docker-machine rm -y old-box',
      'docker-machine rm -y web',
      'docker-machine env -u old-web',
      'docker-machine env nobody',
      'docker-machine env ours-half',
      'docker-machine env old-member',
      'docker-machine config old-member',
      'docker-machine config ours-half',
      'docker-machine url old-member',
      'docker-machine ip old-member',
      'docker-machine ip ours-half',
      'docker-machine active',
      'docker-machine active old-web',
      'docker-machine scp a',
      'docker-machine version a b',
      'docker-machine status nobody',
      'docker-machine status old-box',
      'docker-machine status a b',
      'docker-machine inspect nobody',
      'docker-machine inspect future',
      'docker-machine inspect we_b',
      'docker-machine stop',
      'docker-machine stop old-web',
      'docker-machine kill old-member',
      'docker-machine start old-box',
      'docker-machine restart web',
      'docker-machine provision old-none',
      'docker-machine provision web',
      'docker-machine upgrade nobody',
      'docker-machine regenerate-certs -f nobody',
      'docker-machine ssh nobody',
      'docker-machine mount',
      'MACHINE_STORAGE_PATH=<home>/nowhere docker-machine ip',
      'MACHINE_STORAGE_PATH=<home>/nowhere docker-machine env',
    ],
  },
  {
    about: 'error messages of docker-machine that continue with a message of slipway',
    file: 'docker-machine-other-errors.txt',
    inTurn: true,
    format: beginning(
      'Error setting machine configuration from flags provided: ',
      'Error with pre-create check: ',
      'Template parsing error: ',
      'template parsing error: ',
      'error getting state for host ',
      'Error removing host ',
    ),
    calls: [
      'docker-machine create -d generic new',
      'docker-machine create -d generic --generic-ip-address 127.0.0.1 --generic-ssh-key /nowhere new',
      'docker-machine -s other-store inspect broken',
      'docker-machine ls --format {{.Name',
      'docker-machine ls --format {{.Nothing}}',
      'docker-machine inspect -f {{.Name',
      'docker-machine status ours-half',
      'docker-machine -s other-store rm -y broken',
    ],
  },
];

// --- files that commands write -------------------------------------------------------------------------------------

type FileGroup = { readonly about: string; readonly file: string; readonly calls: readonly string[] };

const TLS = ['ca', 'cert', 'key'].map((part) => `--none-tls-${part} <home>/certificates/${part}.pem`).join(' ');

const ENGINE = '--engine-label a=b --engine-env A=b';

const fileGroups: readonly FileGroup[] = [
  {
    about: 'create',
    file: 'write-create.txt',
    calls: [
      'slipway create fresh --driver none --none-url unix://<home>/engine.sock --json',
      'slipway create shown --none-url unix://<home>/engine.sock --profile docker-context --profile docker-machine',
      `slipway create safe --none-url tcp://127.0.0.1:<engine-port>/ ${TLS} ${ENGINE} --use --json`,
      'slipway create half --json',
      // Fails after the VM was requested, because its image is not a disk.
      'slipway create begun --json',
      'slipway create lost --driver none --none-url unix://<home>/nowhere.sock --json',
      `slipway create careless --none-url tcp://127.0.0.1:<open-port> ${TLS} --json`,
      'slipway create crowd --count 2 --driver none --none-url unix://<home>/engine.sock',
    ],
  },
  { about: 'use', file: 'write-use.txt', calls: ['slipway use default --json', 'slipway use --unset --json'] },
  {
    about: 'extend, for stopped machines',
    file: 'write-extend.txt',
    calls: ['slipway extend dev 2h --json', 'slipway extend dev never --json', 'slipway extend dev-2 1d'],
  },
  {
    about: 'apply',
    file: 'write-apply.txt',
    calls: ['slipway apply -f shop.yaml --yes --concurrency 1', 'slipway apply -f shop.yaml --json'],
  },
  {
    about: 'provision',
    file: 'write-provision.txt',
    calls: ['slipway provision local --profile docker-context --profile docker-machine --json'],
  },
  {
    about: 'import',
    file: 'write-import.txt',
    calls: [
      'slipway import old-none --json',
      'slipway import web --json',
      'slipway rm default',
      'slipway import default --keep',
    ],
  },
  {
    about: 'rm',
    file: 'write-rm.txt',
    calls: [
      'slipway rm local --json',
      'slipway rm web --json',
      'slipway rm dev --json',
      'slipway rm torn --force --json',
      'slipway rm strange --force --json',
    ],
  },
  {
    about: 'stop, kill, image rm and image prune',
    file: 'write-vm.txt',
    calls: [
      'slipway stop dev --json',
      'slipway kill dev-2 --json',
      'slipway image rm mine-abcdefabcdef',
      'slipway image prune',
    ],
  },
  {
    about: 'docker-machine',
    file: 'write-docker-machine.txt',
    calls: [
      'docker-machine create -d none --url unix://<home>/engine.sock --engine-label a=b --engine-env A=b plain',
      'docker-machine create --driver none --url tcp://127.0.0.1:<engine-port> --swarm --swarm-discovery token://1 new',
      'docker-machine inspect plain',
      'docker-machine rm -y old-none',
      'docker-machine rm -f old-web nobody',
      'docker-machine rm -y ours',
    ],
  },
];

/** Reads a file as text. For an archive that configures a VM, returns its file names and the content of JSON files. */
async function readAsText(path: string): Promise<string> {
  if (!path.endsWith('.tar')) return readFile(path, 'utf8');
  return parseTar(await readFile(path))
    .map(({ name, attrs, text }) => `${name} (${attrs?.mode ?? ''})\n${name.endsWith('.json') ? text : ''}`)
    .join('');
}

type Snapshot = ReadonlyMap<string, string>;

/** Reads all files of a home with mode and content, except locks, which are empty when released. */
async function takeSnapshot(home: Home): Promise<Snapshot> {
  const files = (await listFiles(home.path)).filter((file) => !/(^|\/)lock\.\d+$/.test(file));
  const texts = await Promise.all(
    files.map(async (file) => {
      const path = join(home.path, file);
      const [text, { mode }] = await Promise.all([readAsText(path), stat(path)]);
      return [maskRandomName(file), `${(mode & 0o777).toString(8)}\n${maskRandomName(text)}`] as const;
    }),
  );
  return new Map(texts);
}

const maskRandomName = (text: string): string =>
  text.replaceAll(/engine-env\.[0-9a-f]{12}\.json/g, 'engine-env.<random>.json');

/** Lists added (+), changed (~) and removed (-) files with their new content. */
function diffSnapshots(before: Snapshot, now: Snapshot): string {
  const names = [...new Set([...before.keys(), ...now.keys()])].toSorted();
  return names
    .filter((name) => before.get(name) !== now.get(name))
    .map((name) => {
      const [mode = '', ...lines] = now.get(name)?.replace(/\n$/, '').split('\n') ?? [];
      if (!now.has(name)) return `- ${name}\n`;
      const text = lines
        .join('\n')
        .replaceAll(/^( *"message": )".*"$/gm, '$1"<text>"')
        .replaceAll(/-----BEGIN ([A-Z ]+)-----.*?-----END \1-----/gs, '<$1>');
      return `${before.has(name) ? '~' : '+'} ${name} (${mode})\n${text.replaceAll(/^/gm, '  ')}\n`;
    })
    .join('');
}

/** Formats the output of a command that writes files: JSON of `slipway`, everything of `docker-machine`. */
function formatPrinted(line: string, result: RunResult): string {
  if (line.startsWith('docker-machine ')) return all(result);
  return line.endsWith(' --json') ? documents(result) : '';
}

// --- declared commands and options ---------------------------------------------------------------------------------

type Option = {
  readonly names: readonly string[];
  readonly takes?: string | readonly string[];
  readonly many?: true;
  readonly driver?: string;
};
type Declared = {
  readonly commands: readonly {
    readonly name: string;
    readonly operands: readonly (string | readonly string[])[];
    readonly many?: true;
    readonly raw?: true;
    readonly options: readonly Option[];
  }[];
  readonly families: readonly { readonly name: string }[];
  readonly globals: readonly Option[];
  readonly drivers: readonly { readonly name: string; readonly also: readonly string[] }[];
  readonly topics: readonly { readonly name: string }[];
  readonly images: readonly string[];
};

const value = (takes: Option['takes']): string => (takes === undefined ? '' : ` <${[takes].flat().join('|')}>`);
const optionLine = ({ names, takes, many, driver }: Option): string =>
  `  ${names.join(' ')}${many ? ' …' : ''}${value(takes)}${driver === undefined ? '' : ` (${driver})`}\n`;

/** Commands, operands and options of a program, from the data for its completion. */
async function loadDeclarations(program: string): Promise<string> {
  const text = await readFile(join(dist, 'completion', `${program}.json`), 'utf8');
  const { commands, families, globals, drivers, topics, images } = JSON.parse(text) as Declared;
  const named = (things: readonly { readonly name: string }[]): string => things.map(({ name }) => name).join(' ');
  const blocks = commands.map(({ name, operands, many, raw, options }) =>
    [
      `${program} ${name}${operands.map(value).join('')}${many ? ' …' : ''}${raw ? ' (raw)' : ''}\n`,
      ...options.map(optionLine).toSorted(),
    ].join(''),
  );
  return [
    ...blocks.toSorted(),
    `before the command\n${globals.map(optionLine).toSorted().join('')}`,
    `drivers\n${drivers.map(({ name, also }) => `  ${[name, ...also].join(' ')}\n`).join('')}`,
    `families ${named(families)}\n`,
    `topics ${named(topics)}\n`,
    `images ${images.join(' ')}\n`,
  ].join('');
}

const CODE = /`([^`]+)`/g;
const codeSpans = (text: string): string => [...text.matchAll(CODE)].map(([, word = '']) => word).join(' ');

/** Reads options with variable, default and aliases, and exit statuses with their codes, without descriptions. */
async function readOptionsPage(): Promise<string> {
  const lines = (await readFile(join(dirname(dist), 'docs', 'options.md'), 'utf8')).split('\n');
  const rows = lines.flatMap((line) => {
    if (line.startsWith('## ')) return [codeSpans(line) === '' ? '' : `${codeSpans(line)}\n`];
    const cells =
      /^\|(.*)\|$/
        .exec(line)?.[1]
        ?.split(' | ')
        .map((cell) => cell.trim()) ?? [];
    const [first = '', second = '', third = '', last = ''] = cells;
    if (/^\d+$/.test(first))
      return [
        `  ${first} ${codeSpans(second)
          .replaceAll(/[^A-Z_ ]/g, '')
          .trim()}\n`,
      ];
    // Which options change in the same way; how they change is a description.
    if (cells.length === 3 && third.includes('`')) return [`  ${codeSpans(first)} ${codeSpans(third)}\n`];
    if (cells.length !== 4 || !/`/.test(first + second)) return [];
    const also = codeSpans(/\(also (.*)\)$/.exec(last)?.[1] ?? '');
    const own = `${codeSpans(first)}${first.includes('…') ? ' …' : ''}`;
    return [`  ${[own, codeSpans(second), third, also].join(' | ')}\n`];
  });
  return rows.join('');
}

async function readSchema(file: string): Promise<string> {
  const text = await readFile(join(dirname(dist), file), 'utf8');
  return `${JSON.stringify(removeDescriptions(JSON.parse(text)), null, 2)}\n`;
}

/** Removes descriptions. Only these are strings: a property with such a name is an object. */
function removeDescriptions(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(removeDescriptions);
  if (typeof value !== 'object' || value === null) return value;
  const pairs = Object.entries(value).filter(
    ([key, one]) => !(['title', 'description'].includes(key) && typeof one === 'string'),
  );
  return Object.fromEntries(pairs.map(([key, one]) => [key, removeDescriptions(one)]));
}

type DeclarationFile = { readonly load: () => Promise<string>; readonly findMissing: FindMissing };

const declarations: Readonly<Record<string, DeclarationFile>> = {
  'declared-by-slipway.txt': { load: () => loadDeclarations('slipway'), findMissing: findMissingWords },
  'declared-by-docker-machine.txt': { load: () => loadDeclarations('docker-machine'), findMissing: findMissingWords },
  'options.txt': { load: readOptionsPage, findMissing: findMissingWords },
  // An event may get another property, and promise it. A file of machines must not need another one.
  'events.schema.json': {
    load: () => readSchema('events.schema.json'),
    findMissing: findMissingMembers({ extensible: ['properties', 'required', 'enum', 'anyOf', 'oneOf'] }),
  },
  'machines.schema.json': {
    load: () => readSchema('machines.schema.json'),
    findMissing: findMissingMembers({ extensible: ['properties', 'definitions', 'enum', 'anyOf'] }),
  },
};

// --- the tests -----------------------------------------------------------------------------------------------------

const goldenFile = (file: string): string => join(fixtures, 'outputs', file);

/** Opens the stored outputs of a group by command line, or a recorder for them when they are regenerated. */
async function openGolden(
  file: string,
  calls: readonly string[],
  findMissing?: FindMissing,
): Promise<{
  compare(line: string, now: string): void;
  finish(): Promise<void>;
}> {
  const text = otherDist === undefined ? await readFile(goldenFile(file), 'utf8') : '';
  const before = new Map(
    text
      .split(/^\$ /m)
      .slice(1)
      .map((section) => {
        const at = section.indexOf('\n');
        return [section.slice(0, at), section.slice(at + 1)] as const;
      }),
  );
  const written = new Map<string, string>();
  return {
    compare(line, now) {
      const section = `${now}${now === '' || now.endsWith('\n') ? '' : '\n'}\n`;
      if (otherDist !== undefined) written.set(line, section);
      else if (findMissing === undefined) expect(section).toBe(before.get(line));
      else expect(findMissing(before.get(line) ?? line, section)).toEqual([]);
    },
    async finish() {
      if (otherDist === undefined) return expect([...before.keys()]).toEqual(calls);
      await mkdir(dirname(goldenFile(file)), { recursive: true });
      await writeFile(goldenFile(file), calls.map((line) => `$ ${line}\n${written.get(line)}`).join(''));
    },
  };
}

const withStatus = (text: string, { code }: RunResult): string =>
  `${text}${text === '' || text.endsWith('\n') ? '' : '\n'}(${code})\n`;

describe.each(outputGroups)('$about', async ({ file, format, findMissing, calls, inTurn }) => {
  const stored = await openGolden(file, calls, findMissing);
  const each = inTurn ? test : test.concurrent;
  let home: Home;
  beforeAll(async () => {
    home = await createHome();
  });
  afterAll(async () => {
    await home[Symbol.asyncDispose]();
    await stored.finish();
  });

  each.each(calls)('%s', async (line) => {
    const result = await runLine(line, home);
    expect(result.stderr).not.toMatch(/This is a bug/);
    stored.compare(line, withStatus(maskVaryingValues(format(result), home), result));
  });
});

describe.each(fileGroups)('files written by $about', async ({ file, calls }) => {
  const stored = await openGolden(file, calls);
  let home: Home;
  let before: Snapshot;
  beforeAll(async () => {
    home = await createHome();
    before = await takeSnapshot(home);
  });
  afterAll(async () => {
    await home[Symbol.asyncDispose]();
    await stored.finish();
  });

  test.each(calls)('%s', async (line) => {
    const result = await runLine(line, home);
    expect(result.stderr).not.toMatch(/This is a bug/);
    const now = await takeSnapshot(home);
    const text = withStatus(formatPrinted(line, result), result) + diffSnapshots(before, now);
    before = now;
    stored.compare(line, maskDerivedIds(maskVaryingValues(text, home)));
  });
});

/** Reads the start of a process in the form that lock files use. */
async function readProcessStart(pid: number): Promise<string> {
  const [stat, boot] = await Promise.all(
    [`/proc/${pid}/stat`, '/proc/sys/kernel/random/boot_id'].map((path) => readFile(path, 'utf8').catch(() => '')),
  );
  const fields = stat?.slice(stat.lastIndexOf(')') + 2).split(' ') ?? [];
  return stat === '' ? '' : `${boot?.trim()}/${fields[19]}`;
}

test('a lock of a running process blocks a command, and a stale lock does not', async () => {
  await using home = await createHome();
  const lock = join(home.path, '.slipway', 'machines', 'dev', 'lock.1');
  await writeFile(
    lock,
    JSON.stringify({ pid: process.pid, started: await readProcessStart(process.pid), host: hostname() }),
  );
  expect(documents(await runLine('slipway extend dev 2h --json', home))).toContain('"code": "MACHINE_BUSY"');
  await writeFile(lock, JSON.stringify({ pid: process.pid, started: 'another time', host: hostname() }));
  expect((await runLine('slipway extend dev 2h --json', home)).code).toBe(0);
});

test.each(Object.entries(declarations))('all that is in %s still exists', async (file, { load, findMissing }) => {
  const now = await load();
  if (otherDist === undefined) expect(findMissing(await readFile(goldenFile(file), 'utf8'), now)).toEqual([]);
  else await writeFile(goldenFile(file), now);
});
