// npm run bench [-- --runs N] [--vm-runs N] [--only GROUP[,GROUP]] [--json FILE]: compares Slipway with the floor,
// which is the same work without Slipway. Both are measured alternately in one run on this computer. Ratios of medians
// are the result; absolute times depend on this computer. Groups that can't run here are skipped with the reason.
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs, promisify } from 'node:util';
import { findFoldersProblem, measureFolders } from './folders.mjs';
import {
  findSshForwardProblem,
  measureIdle,
  runWithForwards,
  timeShortConnections,
  timeTransfer,
} from './ssh-forward.mjs';

const run = promisify(execFile);
const pathTo = (path) => fileURLToPath(new URL(path, import.meta.url));
const { values } = parseArgs({
  options: {
    runs: { type: 'string', default: '5' },
    'vm-runs': { type: 'string', default: '3' },
    only: { type: 'string' },
    json: { type: 'string', default: pathTo('results.json') },
  },
});
const runs = Number(values.runs);
const vmRuns = Number(values['vm-runs']);
const slipwayProgram = pathTo('../dist/slipway.js');
const workFolder = await mkdtemp(join(tmpdir(), 'slipway-bench-'));
const keyFile = join(workFolder, 'key');
// Extra CA certificates would double Node's start-up time on both sides, which is not what this measures.
const { NODE_EXTRA_CA_CERTS: _unused, ...inherited } = process.env;
// Spares that are built in the background would distort the times.
const env = {
  ...inherited,
  HOME: workFolder,
  SLIPWAY_HOME: join(workFolder, 'slipway'),
  DOCKER_CONFIG: join(workFolder, 'docker'),
  SLIPWAY_QEMU_WARM: 'false',
};
let nameCounter = 0;
// Ctrl-C also reaches the running programs: they fail, and the cleanup below runs.
process.once('SIGINT', () => {});

async function timeCommand(file, argv, more = {}) {
  const started = performance.now();
  await run(file, argv, { env: { ...env, ...more }, maxBuffer: 64 * 1024 * 1024 });
  return (performance.now() - started) / 1000;
}

/** Starts a fresh host for `work` and removes it afterwards. */
async function runOnHost(variant, work) {
  const name = `slipway-bench-${process.pid}-${(nameCounter += 1)}`;
  const { stdout } = await run('bash', [pathTo('../test/bed/start.sh'), variant, name, `${keyFile}.pub`]);
  const address = stdout.split('\n')[0].split(' ')[1];
  try {
    return await work(address, name);
  } finally {
    await run('docker', ['--host', 'unix:///var/run/docker.sock', 'rm', '-fv', name]);
  }
}

const slipwayCommand = (...argv) => [process.execPath, [slipwayProgram, '--quiet', ...argv]];
const createCommand = (name, address) =>
  slipwayCommand('create', name, '--generic-ip-address', address, '--generic-ssh-key', keyFile);

/** Creates the certificates that the hand-written scripts use for this address, and returns their folder. */
async function createCertificates(address) {
  const folder = join(workFolder, `certificates-${(nameCounter += 1)}`);
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

/** Measures both sides alternately, so that a computer that slows down slows both. */
async function compare(what, against, ours, floor, times = runs) {
  const sides = { ours: [], floor: [] };
  for (let index = 0; index < times; index += 1) {
    sides.ours.push(await ours(index));
    sides.floor.push(await floor(index));
  }
  return toRow(what, against, sides);
}

function toRow(what, against, sides) {
  const [a, b] = [median(sides.ours), median(sides.floor)];
  const { length } = sides.ours;
  return { what, against, runs: length, seconds: round(a), floor: round(b), ratio: round(a / b), samples: sides };
}

const median = (list) => list.toSorted((a, b) => a - b)[Math.floor(list.length / 2)];
const round = (number) => Math.round(number * 1000) / 1000;

/** Runs `work` with an engine that only answers its version. */
async function runWithEngine(work) {
  const engine = createServer((_request, response) => response.end('{"Version":"0.0-double"}')).listen(0, '127.0.0.1');
  await once(engine, 'listening');
  try {
    return await work(`tcp://127.0.0.1:${engine.address().port}`);
  } finally {
    engine.close();
    engine.closeAllConnections();
  }
}

const START_RUN_FACTOR = 5;
const RECORD_COUNT = 1000;

/**
 * Measures commands that scripts and prompts call again and again. They are start-up time only, so more runs are
 * needed.
 */
async function measureStart() {
  const home = join(workFolder, 'start');
  await runWithEngine((url) =>
    run(...slipwayCommand('create', 'm-1', '--driver', 'none', '--none-url', url), {
      env: { ...env, SLIPWAY_HOME: home },
    }),
  );
  const node = () => timeCommand(process.execPath, ['-e', '0']);
  const call =
    (argv, where = home) =>
    () =>
      timeCommand(process.execPath, [slipwayProgram, ...argv], { SLIPWAY_HOME: where });
  const rows = [];
  for (const argv of [['ip', 'm-1'], ['env', '--shell', 'bash', 'm-1'], ['ls', '-q'], ['ls'], ['--help']])
    rows.push(await compare(`slipway ${argv.join(' ')}`, 'node -e 0', call(argv), node, runs * START_RUN_FACTOR));
  const many = join(workFolder, 'records');
  const record = JSON.parse(await readFile(join(home, 'machines', 'm-1', 'machine.json'), 'utf8'));
  for (let index = 1; index <= RECORD_COUNT; index += 1) {
    const folder = join(many, 'machines', `m-${index}`);
    await mkdir(folder, { recursive: true });
    const one = { ...record, spec: { ...record.spec, name: `m-${index}` } };
    await writeFile(join(folder, 'machine.json'), JSON.stringify(one, null, 2));
  }
  const quick = ['ls', '-q'];
  rows.push(
    await compare(
      `slipway ls -q, ${RECORD_COUNT} records`,
      '1 record',
      call(quick, many),
      call(quick),
      runs * START_RUN_FACTOR,
    ),
  );
  return rows;
}

/** Returns the reason why test hosts can't run here; undefined if they can. */
async function findHostsProblem() {
  try {
    await run('docker', ['--host', 'unix:///var/run/docker.sock', 'image', 'inspect', 'slipway-bed:bookworm-engine']);
  } catch (error) {
    return error.code === 'ENOENT'
      ? 'the docker CLI is not installed'
      : 'no local Docker engine has the images of test/bed; to build them: npm run bed';
  }
  return undefined;
}

const PARALLEL_HOSTS = 8;

/** Measures one `apply` that creates machines on eight hosts that have an engine, against one on a single host. */
async function measureParallel() {
  const hosts = async (count, work, addresses = []) =>
    addresses.length === count
      ? work(addresses)
      : runOnHost('bookworm-engine', (address) => hosts(count, work, [...addresses, address]));
  const applyTo = (count) => (index) =>
    hosts(count, async (addresses) => {
      const home = join(workFolder, `parallel-${count}-${index}`);
      await mkdir(home, { recursive: true });
      const file = join(home, 'machines.yaml');
      const machines = addresses.map((address, at) => [
        `p${count}-${index}-${at}`,
        { driver: 'generic', generic: { ipAddress: address, sshKey: keyFile } },
      ]);
      await writeFile(file, JSON.stringify({ machines: Object.fromEntries(machines) }));
      return timeCommand(...slipwayCommand('apply', '-f', file, '--concurrency', String(PARALLEL_HOSTS)), {
        SLIPWAY_HOME: home,
        DOCKER_CONFIG: join(home, 'docker'),
      });
    });
  return [
    await compare(
      `${PARALLEL_HOSTS} hosts that have an engine, created in parallel`,
      '1 of them',
      applyTo(PARALLEL_HOSTS),
      applyTo(1),
    ),
  ];
}

/** Measures work on hosts that answer SSH, which are containers that boot like machines. */
async function measureHosts() {
  const rows = [];
  rows.push(
    await compare(
      'create on a host that has an engine',
      'bench/by-hand.sh',
      (index) => runOnHost('bookworm-engine', (address) => timeCommand(...createCommand(`a${index}`, address))),
      () =>
        runOnHost('bookworm-engine', async (address) =>
          timeCommand('bash', [pathTo('by-hand.sh'), address, keyFile, await createCertificates(address)]),
        ),
    ),
  );
  await runOnHost('bookworm-engine', async (address) => {
    await timeCommand(...createCommand('same', address));
    const ssh = [
      '-i',
      keyFile,
      '-o',
      'BatchMode=yes',
      '-o',
      'StrictHostKeyChecking=accept-new',
      '-o',
      'LogLevel=ERROR',
      '-o',
      `UserKnownHostsFile=${workFolder}/known`,
      `root@${address}`,
      'true',
    ];
    rows.push(
      await compare(
        'provision with nothing to do',
        'ssh host true',
        () => timeCommand(...slipwayCommand('provision', 'same')),
        () => timeCommand('ssh', ssh),
      ),
    );
  });
  return rows;
}

const SMALL_FLEET = 20;
const LARGE_FLEET = 200;

/**
 * Measures many machines against few: ten times as many may take at most ten times as long. Their engine is a double.
 */
async function measureCrowd() {
  return await runWithEngine(measureCrowdAt);
}

async function measureCrowdAt(url) {
  const sized = [];
  for (const size of [LARGE_FLEET, SMALL_FLEET]) {
    const home = join(workFolder, `crowd-${size}`);
    await mkdir(home);
    const file = join(home, 'machines.yaml');
    await writeFile(file, `machines: { m: { count: ${size}, driver: none, none: { url: '${url}' }, profiles: [] } }\n`);
    const there = { env: { ...env, SLIPWAY_HOME: home }, maxBuffer: 64 * 1024 * 1024 };
    await run(...slipwayCommand('apply', '-f', file, '--concurrency', '16'), there);
    sized.push({ file, there });
  }
  const rows = [];
  for (const argv of [['plan'], ['ls'], ['ls', '-q']]) {
    const call = ({ file, there }, ...more) =>
      run(process.execPath, [...more, slipwayProgram, ...argv, ...(argv[0] === 'plan' ? ['-f', file] : [])], there);
    const [many, few] = sized.map((side) => async () => {
      const started = performance.now();
      await call(side);
      return (performance.now() - started) / 1000;
    });
    const memory = [];
    for (const side of sized) {
      const memoryFile = join(workFolder, 'memory');
      const there = { ...side.there, env: { ...side.there.env, BENCH_MEMORY: memoryFile } };
      await call({ ...side, there }, '--import', pathTo('memory.mjs'));
      memory.push(Number(await readFile(memoryFile, 'utf8')));
    }
    const row = await compare(
      `slipway ${argv.join(' ')}, ${LARGE_FLEET} machines (${memory[0]} MB)`,
      `${SMALL_FLEET} of them (${memory[1]} MB)`,
      many,
      few,
    );
    rows.push({ ...row, memory: { ours: memory[0], floor: memory[1] } });
  }
  return rows;
}

/** Returns the reason why VMs can't run here; undefined if they can. */
async function findVmProblem() {
  const emulator = `qemu-system-${process.arch === 'arm64' ? 'aarch64' : 'x86_64'}`;
  try {
    await run(emulator, ['--version']);
  } catch (error) {
    if (error.code !== 'ENOENT') throw error;
    return `${emulator} is not installed`;
  }
  return undefined;
}

/** Returns the time of creating a local VM. `look` and the removal of the VM are not timed. */
async function timeVmCreate(name, look = () => {}, ...more) {
  const remove = () => run(...slipwayCommand('rm', name), { env });
  try {
    const taken = await timeCommand(...slipwayCommand('create', name, '--driver', 'qemu', ...more));
    await look();
    await remove();
    return taken;
  } catch (error) {
    // The VM may not exist, and the first error says more.
    await remove().catch(() => {});
    throw error;
  }
}

/**
 * Measures a VM that resumes instead of starting. A spare can be used once, so copies of one are restored before each
 * run: two, so that no new spare is built during the measurement.
 */
async function measureWarm() {
  await run(...slipwayCommand('image', 'warm'), { env });
  const pool = join(env.SLIPWAY_HOME, 'spares');
  const [id] = (await readdir(pool)).filter((entry) => /^[0-9a-f-]{36}$/.test(entry));
  const spare = join(workFolder, 'spare');
  // Keeps file times to the nanosecond.
  await run('cp', ['-a', join(pool, id), spare]);
  await rm(join(pool, id), { recursive: true });
  const about = JSON.parse(await readFile(join(spare, 'spare.json'), 'utf8'));
  const { certificates } = JSON.parse(await readFile(join(spare, 'kept.json'), 'utf8'));
  for (const [file, text] of [
    ['ca.pem', certificates.ca],
    ['cert.pem', certificates.client.cert],
    ['key.pem', certificates.client.key],
  ])
    await writeFile(join(workFolder, file), text);
  const refill = async () => {
    for (const copy of ['copy-1', 'copy-2']) {
      await rm(join(pool, copy), { recursive: true, force: true });
      await run('cp', ['-a', spare, join(pool, copy)]);
      const copied = { ...about, vm: { ...about.vm, id: copy } };
      await writeFile(join(pool, copy, 'spare.json'), JSON.stringify(copied));
    }
  };
  const warm = async (index) => {
    await refill();
    return await timeVmCreate(`warm${index}`, () => {}, '--qemu-warm');
  };
  const { imageFolder, accelerator } = about.vm;
  return [
    await compare(`warm create of a local VM (${accelerator})`, 'bench/vm-warm-by-hand.sh', warm, () =>
      timeCommand('bash', [pathTo('vm-warm-by-hand.sh'), spare, imageFolder, workFolder, accelerator]),
    ),
    await compare(
      `warm create of a local VM (${accelerator})`,
      'cold create of the same kind',
      (index) => warm(`-${index}`),
      (index) => timeVmCreate(`cold${index}`),
      vmRuns,
    ),
  ];
}

/** Measures the creation of a local VM from its image. Building the image and removing the VM are not timed. */
async function measureVms() {
  let vm;
  await timeVmCreate('first', async () => {
    const vms = join(env.SLIPWAY_HOME, 'vms');
    const [id] = await readdir(vms);
    vm = JSON.parse(await readFile(join(vms, id, 'vm.json'), 'utf8'));
  });
  const inputs = await createCertificates('127.0.0.1');
  for (const name of ['login', 'host'])
    await run('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', join(inputs, name)]);
  const byHand = ['bash', [pathTo('vm-by-hand.sh'), vm.imageFolder, inputs, vm.accelerator]];
  return [
    await compare(
      `cold create of a local VM (${vm.accelerator})`,
      'bench/vm-by-hand.sh',
      (index) => timeVmCreate(`vm${index}`),
      () => timeCommand(...byHand),
      vmRuns,
    ),
  ];
}

/** Measures a published port of a remote machine, and what the process that forwards it uses while nothing happens. */
async function measureLink() {
  return await runWithForwards(workFolder, async ({ ours, theirs, usage }) => {
    const idle = await measureIdle(usage);
    const rows = [];
    for (const [what, measure] of [
      ['download of 200 MB', (port) => timeTransfer(port, 'down')],
      ['upload of 200 MB', (port) => timeTransfer(port, 'up')],
      ['500 short connections', (port) => timeShortConnections(port)],
    ]) {
      const [left, right] = [ours, theirs].map((port) => () => measure(port));
      rows.push(await compare(`${what} through a forwarded port`, "OpenSSH's `ssh -L`", left, right));
    }
    const after = await measureIdle(usage);
    const percent = (share) => `${round(share * 100)} % of a CPU`;
    process.stdout.write(
      `The process that forwards uses ${idle.memory} MB and ${percent(idle.cpu)} when idle; ` +
        `after the transfers, ${after.memory} MB and ${percent(after.cpu)}\n`,
    );
    return rows.map((row) => ({ ...row, idle, after }));
  });
}

/** Groups by their name in --only: what measures them, and what finds out why they can't run here. */
const groups = {
  start: { measure: measureStart },
  hosts: { measure: measureHosts, findProblem: findHostsProblem },
  parallel: { measure: measureParallel, findProblem: findHostsProblem },
  crowd: { measure: measureCrowd },
  folders: {
    measure: () => measureFolders({ workFolder, times: vmRuns, toRow }),
    findProblem: findFoldersProblem,
  },
  vm: { measure: measureVms, findProblem: findVmProblem },
  warm: { measure: measureWarm, findProblem: findVmProblem },
  link: { measure: measureLink, findProblem: findSshForwardProblem },
};

const selectedGroups = values.only === undefined ? Object.keys(groups) : values.only.split(',');
const unknownGroup = selectedGroups.find((name) => !Object.hasOwn(groups, name));
if (unknownGroup !== undefined) {
  process.stderr.write(`--only must be one or more of ${Object.keys(groups).join(', ')}, got ${unknownGroup}\n`);
  await rm(workFolder, { recursive: true, force: true });
  process.exit(2);
}

try {
  await run('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', keyFile]);
  const rows = [];
  for (const name of selectedGroups) {
    const problem = await groups[name].findProblem?.();
    if (problem === undefined) rows.push(...(await groups[name].measure()).map((row) => ({ group: name, ...row })));
    else process.stderr.write(`Skipped: ${name}, because ${problem}\n`);
  }
  const line = (cells) => `| ${cells.join(' | ')} |`;
  const table = [
    line(['what', 'against', 'runs', 'seconds', 'floor', 'ratio']),
    line(Array(6).fill('---')),
    ...rows.map((row) => line([row.what, row.against, row.runs, row.seconds, row.floor, row.ratio])),
  ];
  process.stdout.write(`Medians\n${table.join('\n')}\n`);
  const machine = { node: process.version, platform: process.platform, cpus: availableParallelism() };
  await writeFile(
    values.json,
    `${JSON.stringify({ ...machine, measured: new Date().toISOString(), rows }, null, 2)}\n`,
  );
} finally {
  await rm(workFolder, { recursive: true, force: true });
}
