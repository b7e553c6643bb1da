// npm run bench [-- --runs N] [--vm-runs N] [--only vm|warm|hosts|crowd] [--json FILE]: what Slipway costs beside the floor of the same
// work, both measured in turn in one run on this machine. Ratios of medians are the result; absolute times are this machine's.
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs, promisify } from 'node:util';

const run = promisify(execFile);
const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const { values } = parseArgs({
  options: {
    runs: { type: 'string', default: '5' },
    'vm-runs': { type: 'string', default: '3' },
    only: { type: 'string' },
    json: { type: 'string' },
  },
});
const runs = Number(values.runs);
const vmRuns = Number(values['vm-runs']);
if (values.only !== undefined && !['vm', 'warm', 'hosts', 'crowd'].includes(values.only)) {
  process.stderr.write(`--only is vm, warm, hosts or crowd, got ${values.only}\n`);
  process.exit(2);
}
const program = here('../dist/slipway.js');
const work = await mkdtemp(join(tmpdir(), 'slipway-bench-'));
const key = join(work, 'key');
// Extra CA certificates double the start of Node on both sides and measure nothing of ours.
const { NODE_EXTRA_CA_CERTS: _unused, ...inherited } = process.env;
// What is made behind a measurement would be measured with it.
const env = {
  ...inherited,
  HOME: work,
  SLIPWAY_HOME: join(work, 'slipway'),
  DOCKER_CONFIG: join(work, 'docker'),
  SLIPWAY_QEMU_WARM: 'false',
};
let count = 0;
// Ctrl-C reaches what runs here as well, which then fails, and all that was started is ended.
process.once('SIGINT', () => {});

async function seconds(file, argv) {
  const started = performance.now();
  await run(file, argv, { env });
  return (performance.now() - started) / 1000;
}

/** A fresh host for `work`, gone afterwards. */
async function onHost(variant, work) {
  const name = `slipway-bench-${process.pid}-${(count += 1)}`;
  const { stdout } = await run('bash', [here('../test/bed/start.sh'), variant, name, `${key}.pub`]);
  const address = stdout.split('\n')[0].split(' ')[1];
  try {
    return await work(address, name);
  } finally {
    await run('docker', ['--host', 'unix:///var/run/docker.sock', 'rm', '-fv', name]);
  }
}

const slipway = (...argv) => [process.execPath, [program, '--quiet', ...argv]];
const create = (name, address) => slipway('create', name, '--generic-ip-address', address, '--generic-ssh-key', key);

/** The certificates that the hand-written script sends: those of a machine that Slipway made, for this address. */
async function certificates(address) {
  const folder = join(work, `certificates-${(count += 1)}`);
  await mkdir(folder);
  const openssl = (...argv) => run('openssl', argv, { cwd: folder });
  const ec = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];
  await openssl('req', '-x509', ...ec, '-keyout', 'ca-key.pem', '-out', 'ca.pem', '-subj', '/CN=ca', '-days', '9');
  for (const [file, extension] of [
    ['server-', `subjectAltName=IP:${address}`],
    ['', 'extendedKeyUsage=clientAuth'],
  ]) {
    await openssl('req', ...ec, '-keyout', `${file}key.pem`, '-out', 'request.pem', '-subj', '/CN=leaf');
    await writeFile(join(folder, 'extension'), extension);
    await openssl(
      'x509',
      '-req',
      '-in',
      'request.pem',
      '-CA',
      'ca.pem',
      '-CAkey',
      'ca-key.pem',
      '-CAcreateserial',
      '-out',
      `${file}cert.pem`,
      '-days',
      '9',
      '-extfile',
      'extension',
    );
  }
  return folder;
}

/** Both sides in turn, so that a machine that slows down slows both. */
async function compare(what, against, ours, floor, times = runs) {
  const sides = { ours: [], floor: [] };
  for (let index = 0; index < times; index += 1) {
    sides.ours.push(await ours(index));
    sides.floor.push(await floor(index));
  }
  const [a, b] = [median(sides.ours), median(sides.floor)];
  return { what, against, runs: times, seconds: round(a), floor: round(b), ratio: round(a / b), samples: sides };
}

const median = (list) => list.toSorted((a, b) => a - b)[Math.floor(list.length / 2)];
const round = (number) => Math.round(number * 1000) / 1000;

/** What is done on hosts that answer SSH: containers that boot like machines. */
async function hostRows() {
  const rows = [];
  rows.push(
    await compare(
      'create on a host that has an engine',
      'bench/by-hand.sh',
      (index) => onHost('bookworm-engine', (address) => seconds(...create(`a${index}`, address))),
      () =>
        onHost('bookworm-engine', async (address) =>
          seconds('bash', [here('by-hand.sh'), address, key, await certificates(address)]),
        ),
    ),
  );
  await onHost('bookworm-engine', async (address) => {
    await seconds(...create('same', address));
    const ssh = [
      '-i',
      key,
      '-o',
      'BatchMode=yes',
      '-o',
      'StrictHostKeyChecking=accept-new',
      '-o',
      'LogLevel=ERROR',
      '-o',
      `UserKnownHostsFile=${work}/known`,
      `root@${address}`,
      'true',
    ];
    rows.push(
      await compare(
        'provision with nothing to do',
        'ssh host true',
        () => seconds(...slipway('provision', 'same')),
        () => seconds('ssh', ssh),
      ),
    );
    const node = () => seconds(process.execPath, ['-e', '0']);
    for (const argv of [['ip', 'same'], ['env', '--shell', 'bash', 'same'], ['ls', '-q'], ['--help']]) {
      rows.push(
        await compare(
          `slipway ${argv.join(' ')}`,
          'node -e 0',
          () => seconds(process.execPath, [program, ...argv]),
          node,
        ),
      );
    }
  });
  return rows;
}

const FEW = 20;
const MANY = 200;

/** Many machines against few of them: ten times as many may take ten times as long at the most. Their engine is a double. */
async function crowdRows() {
  const engine = createServer((_request, response) => response.end('{"Version":"0.0-double"}')).listen(0, '127.0.0.1');
  await once(engine, 'listening');
  const sized = [];
  for (const size of [MANY, FEW]) {
    const home = join(work, `crowd-${size}`);
    await mkdir(home);
    const url = `tcp://127.0.0.1:${engine.address().port}`;
    const file = join(home, 'machines.yaml');
    await writeFile(file, `machines: { m: { count: ${size}, driver: none, none: { url: '${url}' }, profiles: [] } }\n`);
    const there = { env: { ...env, SLIPWAY_HOME: home }, maxBuffer: 64 * 1024 * 1024 };
    await run(...slipway('apply', '-f', file, '--concurrency', '16'), there);
    sized.push({ file, there });
  }
  const rows = [];
  for (const argv of [['plan'], ['ls'], ['ls', '-q']]) {
    const call = ({ file, there }, ...more) =>
      run(process.execPath, [...more, program, ...argv, ...(argv[0] === 'plan' ? ['-f', file] : [])], there);
    const [many, few] = sized.map((side) => async () => {
      const started = performance.now();
      await call(side);
      return (performance.now() - started) / 1000;
    });
    const memory = [];
    for (const side of sized) {
      const told = join(work, 'memory');
      const there = { ...side.there, env: { ...side.there.env, BENCH_MEMORY: told } };
      await call({ ...side, there }, '--import', here('memory.mjs'));
      memory.push(Number(await readFile(told, 'utf8')));
    }
    const row = await compare(
      `slipway ${argv.join(' ')}, ${MANY} machines (${memory[0]} MB)`,
      `${FEW} of them (${memory[1]} MB)`,
      many,
      few,
    );
    rows.push({ ...row, memory: { ours: memory[0], floor: memory[1] } });
  }
  engine.close();
  engine.closeAllConnections();
  return rows;
}

async function hasEmulator() {
  const emulator = `qemu-system-${process.arch === 'arm64' ? 'aarch64' : 'x86_64'}`;
  try {
    await run(emulator, ['--version']);
    return true;
  } catch (error) {
    if (error.code !== 'ENOENT') throw error;
    process.stderr.write(`Skipped: ${emulator} is not installed, so no local VM was measured.\n`);
    return false;
  }
}

/** The time of a create of a local VM, which is looked at, then removed, untimed. */
async function created(name, look = () => {}, ...more) {
  const remove = () => run(...slipway('rm', name), { env });
  try {
    const taken = await seconds(...slipway('create', name, '--driver', 'qemu', ...more));
    await look();
    await remove();
    return taken;
  } catch (error) {
    // There may be none yet; what went wrong says more.
    await remove().catch(() => {});
    throw error;
  }
}

/**
 * A VM that goes on instead of starting. A spare is taken once; here it is copied before each run, twice, so that none is made
 * behind the measurement.
 */
async function warmRows() {
  if (!(await hasEmulator())) return [];
  await run(...slipway('image', 'warm'), { env });
  const pool = join(env.SLIPWAY_HOME, 'spares');
  const [id] = (await readdir(pool)).filter((entry) => /^[0-9a-f-]{36}$/.test(entry));
  const spare = join(work, 'spare');
  // Times as they are, to the nanosecond.
  await run('cp', ['-a', join(pool, id), spare]);
  await rm(join(pool, id), { recursive: true });
  const about = JSON.parse(await readFile(join(spare, 'spare.json'), 'utf8'));
  const { certificates: kept } = JSON.parse(await readFile(join(spare, 'kept.json'), 'utf8'));
  for (const [file, text] of [
    ['ca.pem', kept.ca],
    ['cert.pem', kept.client.cert],
    ['key.pem', kept.client.key],
  ])
    await writeFile(join(work, file), text);
  const refill = async () => {
    for (const copy of ['copy-1', 'copy-2']) {
      await rm(join(pool, copy), { recursive: true, force: true });
      await run('cp', ['-a', spare, join(pool, copy)]);
      const its = { ...about, vm: { ...about.vm, id: copy } };
      await writeFile(join(pool, copy, 'spare.json'), JSON.stringify(its));
    }
  };
  const warm = async (index) => {
    await refill();
    return await created(`warm${index}`, () => {}, '--qemu-warm');
  };
  const { imageFolder, accelerator } = about.vm;
  return [
    await compare(`warm create of a local VM (${accelerator})`, 'bench/vm-warm-by-hand.sh', warm, () =>
      seconds('bash', [here('vm-warm-by-hand.sh'), spare, imageFolder, work, accelerator]),
    ),
    await compare(
      `warm create of a local VM (${accelerator})`,
      'cold create of the same kind',
      (index) => warm(`-${index}`),
      (index) => created(`cold${index}`),
      vmRuns,
    ),
  ];
}

/** A VM of this computer from nothing but its image, which is built before and not timed; nor is its removal. */
async function vmRows() {
  if (!(await hasEmulator())) return [];
  let made;
  await created('first', async () => {
    const vms = join(env.SLIPWAY_HOME, 'vms');
    const [id] = await readdir(vms);
    made = JSON.parse(await readFile(join(vms, id, 'vm.json'), 'utf8'));
  });
  const beforehand = await certificates('127.0.0.1');
  for (const name of ['login', 'host'])
    await run('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', join(beforehand, name)]);
  const byHand = ['bash', [here('vm-by-hand.sh'), made.imageFolder, beforehand, made.accelerator]];
  return [
    await compare(
      `cold create of a local VM (${made.accelerator})`,
      'bench/vm-by-hand.sh',
      (index) => created(`vm${index}`),
      () => seconds(...byHand),
      vmRuns,
    ),
  ];
}

try {
  await run('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', key]);
  const rows = [];
  for (const [name, measure] of Object.entries({ hosts: hostRows, crowd: crowdRows, vm: vmRows, warm: warmRows }))
    if (values.only === undefined || values.only === name) rows.push(...(await measure()));
  const line = (cells) => `| ${cells.join(' | ')} |`;
  const table = [
    line(['what', 'against', 'runs', 'seconds', 'floor', 'ratio']),
    line(Array(6).fill('---')),
    ...rows.map((row) => line([row.what, row.against, row.runs, row.seconds, row.floor, row.ratio])),
  ];
  process.stdout.write(`Medians\n${table.join('\n')}\n`);
  if (values.json) await writeFile(values.json, `${JSON.stringify({ node: process.version, rows }, null, 2)}\n`);
} finally {
  await rm(work, { recursive: true, force: true });
}
