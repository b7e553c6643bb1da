import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

const root = fileURLToPath(new URL('../../src', import.meta.url));

type Arrow = {
  readonly from: string;
  /** A file of src/, a package, or a `node:` module. */
  readonly to: string;
  readonly how: 'value' | 'type' | 'dynamic';
};

const files = readdirSync(root, { recursive: true, encoding: 'utf8' })
  .map((file) => file.replaceAll('\\', '/'))
  .filter((file) => file.endsWith('.ts'))
  .toSorted();
const sources = new Map(files.map((file) => [file, withoutComments(readFileSync(join(root, file), 'utf8'))]));
const arrows = files.flatMap(arrowsOf);
const inside = arrows.filter(({ to }) => sources.has(to));

const isIn = (folder: string, file: string): boolean => file.startsWith(`${folder}/`);

type Rule = {
  readonly says: string;
  readonly breaks: (arrow: Arrow) => boolean;
};

/** A driver is a folder of drivers/; what lies beside those folders, and in drivers/cloud/, belongs to all drivers. */
const driverOf = (file: string): string | undefined => /^drivers\/(?!cloud\/)([^/]+)\//.exec(file)?.[1];

type Folder = {
  /** The rule, as the failing test prints it. */
  readonly says: string;
  /** Files that it may import besides its own and those at the top of src/. */
  readonly may: RegExp;
};

/** From the bottom of the tree to its top. */
const FOLDERS: Readonly<Record<string, Folder>> = {
  computer: {
    says: 'computer/ is this computer (files, locks, programs, child processes): it imports nothing but errors',
    may: /^$/,
  },
  machine: {
    says: 'machine/ is what a machine is and how its record is stored: it imports computer/ only',
    may: /^computer\//,
  },
  ssh: {
    says: 'ssh/ is one connection and the files of OpenSSH: it imports computer/ and the types of machine/',
    may: /^(computer|machine)\//,
  },
  'go-template': {
    says: "go-template/ is Go's text/template as pure functions: it imports errors at most",
    may: /^$/,
  },
  images: {
    says: 'images/ is disks that local VMs boot from: it knows no machine and no provider',
    may: /^(computer\/|machine\/options\.ts$)/,
  },
  drivers: {
    says: 'A driver knows a provider and nothing of Docker: drivers/ imports computer/, machine/, images/ and the files of OpenSSH',
    may: /^(computer|machine|images)\/|^ssh\/openssh-files\.ts$/,
  },
  profiles: {
    says: "profiles/ is clients' files as data: it imports nothing that works on a host",
    may: /^(computer|machine|ssh)\//,
  },
  provision: {
    says: 'provision/ decides and describes what happens on a host: it knows no cloud, no store and no command line',
    may: /^ssh\/|^machine\/(model|options)\.ts$/,
  },
  operations: {
    says: 'operations/ is the story of a machine, and the only folder in which drivers and provisioner meet',
    may: /^(computer|machine|ssh|profiles|provision)\/|^drivers\/(contract|registry)\.ts$/,
  },
  fleet: {
    says: 'fleet/ makes machines.yaml into specs and changes: it imports operations/ and what drivers, images and profiles declare',
    may: /^(computer|machine|operations)\/|^drivers\/(contract|registry)\.ts$|^images\/source\.ts$|^profiles\/registry\.ts$/,
  },
  terminal: {
    says: 'terminal/ is how both programs show things: it imports no operation, but for the type of the world',
    may: /^(computer|machine|go-template|ssh)\/|^operations\/world\.ts$/,
  },
  completion: {
    says: 'completion/ answers a Tab from files alone: it imports names of machines and images',
    may: /^machine\/model\.ts$|^images\/image\.ts$/,
  },
  cli: {
    says: 'cli/ is the command line: it imports operations, registries and what is made to be shown, and no driver',
    may: /^(computer|machine|images|operations|fleet|profiles|terminal|completion)\/|^drivers\/(contract|registry|availability)\.ts$|^provision\/step\.ts$|^ssh\/shell\.ts$|^docker-machine\/(authority|foreign|store|view)\.ts$/,
  },
  'docker-machine': {
    says: "docker-machine/ is the drop-in, another command line of the same machines: it imports what cli/ may, and cli/'s own",
    may: /^(computer|machine|operations|profiles|terminal|completion|go-template|cli)\/|^drivers\/(contract|registry|availability|names)\.ts$|^ssh\/shell\.ts$/,
  },
  bin: {
    says: 'bin/ is the files that Node starts: both programs, and the commands that answer from files alone',
    may: /^(computer|machine|operations|cli|docker-machine|completion|terminal)\//,
  },
};
const folderOf = (file: string): string => (file.includes('/') ? file.slice(0, file.indexOf('/')) : '');

const folderRules: readonly Rule[] = Object.entries(FOLDERS).map(([folder, { says, may }]) => ({
  says,
  breaks: ({ from, to }) =>
    folderOf(from) === folder && folderOf(to) !== folder && folderOf(to) !== '' && !may.test(to),
}));

const rules: readonly Rule[] = [
  {
    says: 'Files at the top of src/ are what every folder needs: they import each other only',
    breaks: ({ from, to }) => folderOf(from) === '' && folderOf(to) !== '',
  },
  ...folderRules,
  {
    says: 'Drivers share code by drivers/cloud/ or a folder below drivers/, never with each other: no driver imports another',
    breaks: ({ from, to }) =>
      driverOf(to) !== undefined && driverOf(from) !== driverOf(to) && !/^drivers\/(registry|all)\.ts$/.test(from),
  },
  {
    says: 'drivers/cloud/ is what clouds have in common: it knows no cloud, and of drivers/ the contract alone',
    breaks: ({ from, to }) =>
      isIn('drivers/cloud', from) && isIn('drivers', to) && !isIn('drivers/cloud', to) && to !== 'drivers/contract.ts',
  },
  {
    says: 'Only cli/ and docker-machine/ show templates: go-template/ is imported by its index, by way of terminal/ or the drop-in',
    breaks: ({ from, to }) =>
      isIn('go-template', to) &&
      !isIn('go-template', from) &&
      (to !== 'go-template/index.ts' || !(isIn('terminal', from) || isIn('docker-machine', from))),
  },
  {
    says: 'The provisioner gets its connection handed in: it imports types of ssh/connection.ts, nothing that runs',
    breaks: ({ from, to, how }) => isIn('provision', from) && to === 'ssh/connection.ts' && how !== 'type',
  },
  {
    says: 'Deciding what a file changes is pure: of fleet/, apply.ts alone imports what operations/ does',
    breaks: ({ from, to, how }) =>
      isIn('fleet', from) && from !== 'fleet/apply.ts' && isIn('operations', to) && how !== 'type',
  },
  {
    says: "The old tool's store is read without a word of its command line: of cli/, import alone looks into docker-machine/",
    breaks: ({ from, to }) => isIn('cli', from) && isIn('docker-machine', to) && from !== 'cli/commands/import.ts',
  },
  {
    says: 'The SSH library is loaded when a connection is opened: terminal/process-world.ts alone imports ssh/connection.ts to run it',
    breaks: ({ from, to, how }) => to === 'ssh/connection.ts' && how !== 'type' && from !== 'terminal/process-world.ts',
  },
];

test.each(rules)('$says', ({ says, breaks }) => {
  expect(inside.filter(breaks).map(shown), says).toEqual([]);
});

test('arrows point one way: no file imports itself through others, types included', () => {
  const cycle = cycleIn(inside);
  expect(cycle?.join(' → ')).toBeUndefined();
});

const PACKAGE_HOME: Readonly<Record<string, readonly string[]>> = {
  ssh2: ['ssh/connection.ts'],
  inquirer: ['cli/wizard.ts'],
  listr2: ['terminal/progress/live.ts'],
  commander: ['cli/flags.ts'],
  '@peculiar/x509': ['provision/certificates.ts'],
  'reflect-metadata': ['provision/certificates.ts'],
  'cli-table3': ['terminal/print.ts'],
  'jsonc-parser': ['provision/daemon-json.ts'],
  'ssh-config': ['ssh/openssh-files.ts'],
  // A seed is a tar that a guest unpacks, and a baked image comes out of its guest as one.
  nanotar: ['provision/run-step.ts', 'drivers/qemu/seed.ts', 'drivers/qemu/bake.ts'],
  picocolors: ['terminal/print.ts', 'terminal/progress/live.ts'],
  // Its calls are named in one file, so that the bundle holds no others; its types say what they take and give.
  '@aws-sdk/client-ec2': files.filter((file) => file.startsWith('drivers/ec2/')),
  // It keeps lines and columns, and is read where a file of machines is.
  yaml: ['fleet/yaml.ts'],
  // The language of declarations: options, drivers and commands are written in it.
  zod: files.filter((file) =>
    /^machine\/(options|spec)\.ts$|^drivers\/|^cli\/(command|fleet)|^terminal\/events\.ts$|^fleet\/(schema|check)\.ts$/.test(
      file,
    ),
  ),
};

/** Clouds' own libraries, which are read from one file of their driver: others know their types at most. */
const SDK_HOME: Readonly<Record<string, string>> = {
  '@aws-sdk/client-ec2': 'drivers/ec2/sdk.ts',
  '@google-cloud/compute': 'drivers/gce/sdk.ts',
  'google-auth-library': 'drivers/gce/sdk.ts',
};
const sdkIn = (to: string): string | undefined => Object.keys(SDK_HOME).find((name) => to.startsWith(name));

test('one package, one file: a library is used where it is wrapped, and nowhere else', () => {
  const strays = arrows
    .filter(({ to }) => !sources.has(to) && !to.startsWith('node:'))
    .filter(({ from, to }) => !PACKAGE_HOME[to]?.includes(from) && SDK_HOME[sdkIn(to) ?? ''] !== from);
  expect(strays.map(shown)).toEqual([]);
});

test('a cloud’s library is read by one file, and that file when a machine of the cloud is meant', () => {
  const readers = arrows.filter(({ to, how }) => sdkIn(to) !== undefined && how !== 'type');
  expect(readers.filter(({ from, to }) => SDK_HOME[sdkIn(to) ?? ''] !== from).map(shown)).toEqual([]);
  const doors = arrows.filter(({ to }) => Object.values(SDK_HOME).includes(to));
  expect(doors.filter(({ how }) => how === 'value').map(shown)).toEqual([]);
});

const HEAVY = ['ssh2', 'inquirer', 'listr2', 'yaml', '@peculiar/x509', 'reflect-metadata'];

test('starting up reads no library that only some commands need', () => {
  const reached = reachable('cli/main.ts');
  expect([...HEAVY, 'cli-table3', 'commander'].filter((name) => reached.has(name))).toEqual([]);
});

test('no command loads SSH, prompts, live lists or X.509 before it uses them', () => {
  for (const command of files.filter((file) => isIn('cli/commands', file))) {
    const reached = reachable(command);
    expect(
      HEAVY.filter((name) => reached.has(name)),
      command,
    ).toEqual([]);
  }
});

test('a quick answer knows neither drivers nor what is done over the network, nor any library but declarations', () => {
  const reached = [...reachable('bin/slipway.ts')];
  const rooms = /^(drivers|provision|operations|fleet|go-template|ssh\/connection|machine\/spec|computer\/child)/;
  expect(reached.filter((file) => rooms.test(file))).toEqual([]);
  expect(reached.filter((name) => !sources.has(name) && !name.startsWith('node:'))).toEqual(['zod']);
});

test('what clients ask of the drop-in loads no driver and no declaration before an engine is silent', () => {
  for (const name of ['active', 'config', 'env', 'inspect', 'ls', 'values']) {
    const reached = reachable(`docker-machine/commands/${name}.ts`);
    expect(
      ['zod', 'drivers/all.ts'].filter((one) => reached.has(one)),
      name,
    ).toEqual([]);
  }
});

/** The two programs, and what both of them are to the world. */
const PROGRAMS = [
  'bin/slipway.ts',
  'cli/main.ts',
  'bin/docker-machine.ts',
  'docker-machine/main.ts',
  'terminal/process-world.ts',
];

test('the process is read and written where the programs begin: everything else gets what it needs handed in', () => {
  // A guest has a console too: the names of files are no calls.
  const touches =
    /\bprocess\.(env|argv|exit|exitCode|stdout|stderr|stdin|platform|on|once|cwd|chdir)\b|(?<!['/])\bconsole\./g;
  const found = [...sources]
    .filter(([file]) => !PROGRAMS.includes(file))
    .flatMap(([file, text]) => [...text.matchAll(touches)].map(([what]) => `${file}: ${what}`));
  // The prompts of the wizard belong on stderr, where inquirer writes them itself, and Escape is heard beside it.
  expect(found).toEqual(['cli/wizard.ts: process.stdin', 'cli/wizard.ts: process.stderr']);
});

test('no folder is a drawer: each is named for what it is about', () => {
  const folders = new Set(files.flatMap((file) => file.split('/').slice(0, -1)));
  expect([...folders].filter((name) => /^(utils?|helpers?|common|core|shared|libs?|misc)$/.test(name))).toEqual([]);
});

test('files are named in kebab-case and export by name', () => {
  expect(files.filter((file) => !/^([a-z0-9-]+\/)*[a-z0-9-]+\.ts$/.test(file))).toEqual([]);
  expect([...sources].filter(([, text]) => /^export default\b/m.test(text)).map(([file]) => file)).toEqual([]);
});

function arrowsOf(file: string): readonly Arrow[] {
  const text = sources.get(file) ?? '';
  const target = (name: string): string =>
    name.startsWith('.') ? relative(root, join(root, dirname(file), name)) : name;
  const statements = [...text.matchAll(/^(?:import|export)\s+(type\s+)?(?:[^'";]*?\sfrom\s+)?'([^']+)'/gm)].map(
    ([, type, name = '']): Arrow => ({ from: file, to: target(name), how: type ? 'type' : 'value' }),
  );
  const calls = [...text.matchAll(/\bimport\(\s*'([^']+)'\s*\)/g)].map(([, name = '']): Arrow => ({
    from: file,
    to: target(name),
    how: 'dynamic',
  }));
  return [...statements, ...calls].map((arrow) => ({ ...arrow, to: arrow.to.replaceAll('\\', '/') }));
}

function withoutComments(text: string): string {
  return text.replaceAll(/\/\*[\s\S]*?\*\/|^\s*\/\/.*$|\s\/\/ .*$/gm, '');
}

/** Files and packages that are read as soon as this file is. */
function reachable(start: string): ReadonlySet<string> {
  const found = new Set([start]);
  for (const file of found) {
    for (const { from, to, how } of arrows) if (from === file && how === 'value') found.add(to);
  }
  return found;
}

function cycleIn(graph: readonly Arrow[]): readonly string[] | undefined {
  const done = new Set<string>();
  const walk = (file: string, path: readonly string[]): readonly string[] | undefined => {
    if (path.includes(file)) return [...path.slice(path.indexOf(file)), file];
    if (done.has(file)) return undefined;
    for (const { to } of graph.filter(({ from }) => from === file)) {
      const cycle = walk(to, [...path, file]);
      if (cycle) return cycle;
    }
    done.add(file);
    return undefined;
  };
  for (const file of files) {
    const cycle = walk(file, []);
    if (cycle) return cycle;
  }
  return undefined;
}

function shown({ from, to, how }: Arrow): string {
  return `${from} → ${to}${how === 'value' ? '' : ` (${how})`}`;
}
