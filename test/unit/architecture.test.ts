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

/** Files that know nothing of lifecycle, rooms or command line: the hall's nouns. */
const HALL = files.filter((file) => !file.includes('/') && file !== 'look.ts');
const isHall = (file: string): boolean => HALL.includes(file);

type Rule = {
  readonly says: string;
  readonly breaks: (arrow: Arrow) => boolean;
};

const isIn = (room: string, file: string): boolean => file.startsWith(`${room}/`);
const isDriver = (file: string): boolean =>
  isIn('drivers', file) &&
  !['drivers/driver.ts', 'drivers/names.ts', 'drivers/all.ts', 'drivers/index.ts'].includes(file);
/** A driver is a file of drivers/, or a folder of it when one file is not enough. */
const driverOf = (file: string): string => file.split('/')[1]?.replace(/\.ts$/, '') ?? '';
const DRIVERS_MAY = new Set([
  'changes.ts',
  'child.ts',
  'computer.ts',
  'errors.ts',
  'lock.ts',
  'machine.ts',
  'nearest.ts',
  'options.ts',
  'programs.ts',
  'progress.ts',
  'ssh-config.ts',
]);
const PROVISION_MAY = new Set([
  'errors.ts',
  'machine.ts',
  'options.ts',
  'progress.ts',
  'shell.ts',
  'ssh.ts',
  'ssh-config.ts',
  'host-key.ts',
  'changes.ts',
]);
const IMAGES_MAY = new Set([
  'changes.ts',
  'child.ts',
  'computer.ts',
  'errors.ts',
  'lock.ts',
  'options.ts',
  'progress.ts',
]);
const FLEET_MAY = [
  /^drivers\/(index|driver)\.ts$/,
  /^lifecycle\//,
  /^images\/source\.ts$/,
  /^provision\/profiles\/index\.ts$/,
];
/** What the command line may see of the rooms: their registries and what they hand out to be shown. */
const CLI_MAY = [
  /^drivers\/(index|driver|names)\.ts$/,
  /^images\//,
  /^provision\/step\.ts$/,
  /^provision\/profiles\/[^/]+\.ts$/,
  /^look\.ts$/,
  /^go-template\/index\.ts$/,
  /^lifecycle\//,
  /^fleet\//,
  /^cli\//,
];

/** How the old tool's store is read and written, without a word of its command line. */
const OLD_STORE = /^docker-machine\/(authority|foreign|store|view)\.ts$/;

const rules: readonly Rule[] = [
  {
    says: 'The hall is what every room needs, so it knows none of them: a file of src/ imports files of src/ only',
    breaks: ({ from, to }) => isHall(from) && !isHall(to),
  },
  {
    says: 'A driver knows a provider and nothing of Docker: drivers/ imports changes, child, computer, errors, lock, machine, nearest, options, programs, progress and ssh-config, and images/ and cloud/',
    breaks: ({ from, to }) =>
      isIn('drivers', from) &&
      !isIn('drivers', to) &&
      !isIn('images', to) &&
      !isIn('cloud', to) &&
      !DRIVERS_MAY.has(to),
  },
  {
    says: 'An image is files and where they come from: images/ knows no machine and no provider, and imports changes, child, computer, errors, lock, options and progress',
    breaks: ({ from, to }) => isIn('images', from) && !isIn('images', to) && !IMAGES_MAY.has(to),
  },
  {
    says: 'A template is pure: go-template/ imports errors at most, and whoever has rows to show hands them in',
    breaks: ({ from, to }) => isIn('go-template', from) && !isIn('go-template', to) && to !== 'errors.ts',
  },
  {
    says: 'A template is what a format of the command line is written in: nobody but cli/ and docker-machine/ imports go-template/, by its index',
    breaks: ({ from, to }) =>
      isIn('go-template', to) &&
      !isIn('go-template', from) &&
      (to !== 'go-template/index.ts' || !(isIn('cli', from) || isIn('docker-machine', from))),
  },
  {
    says: 'Two drivers that share code share a noun in the hall, or repeat three lines: no driver imports another',
    breaks: ({ from, to }) =>
      isDriver(from) &&
      isIn('drivers', to) &&
      !['drivers/driver.ts', 'drivers/names.ts'].includes(to) &&
      !(isDriver(to) && driverOf(from) === driverOf(to)),
  },
  {
    says: 'An image is made and kept without knowing what boots it: images/ imports files of src/ only',
    breaks: ({ from, to }) => isIn('images', from) && !isIn('images', to) && !isHall(to),
  },
  {
    says: 'cloud/ is what drivers of clouds have in common: it imports files of src/, and of drivers/ the contract alone',
    breaks: ({ from, to }) => isIn('cloud', from) && !isIn('cloud', to) && !isHall(to) && to !== 'drivers/driver.ts',
  },
  {
    says: 'The provisioner does not know what a cloud, a store or a command line is',
    breaks: ({ from, to }) => isIn('provision', from) && !isIn('provision', to) && !PROVISION_MAY.has(to),
  },
  {
    says: 'The provisioner gets its connection handed in: it imports types of ssh.ts, nothing that runs',
    breaks: ({ from, to, how }) => isIn('provision', from) && to === 'ssh.ts' && how !== 'type',
  },
  {
    says: 'A profile is local files as data: profiles/ imports nothing of the remote work beside it',
    breaks: ({ from, to }) =>
      isIn('provision/profiles', from) && isIn('provision', to) && !isIn('provision/profiles', to),
  },
  {
    says: 'A file of machines is made into specs by what drivers declare, and into deeds by lifecycle/: fleet/ imports files of src/, these, what images and profiles are called, and no driver',
    breaks: ({ from, to }) =>
      isIn('fleet', from) && !isIn('fleet', to) && !isHall(to) && !FLEET_MAY.some((pattern) => pattern.test(to)),
  },
  {
    says: 'A file of machines is the command line’s business: nobody but cli/ imports fleet/',
    breaks: ({ from, to }) => isIn('fleet', to) && !isIn('fleet', from) && !isIn('cli', from),
  },
  {
    says: 'Deciding what a file changes is pure: of fleet/, apply.ts alone imports what lifecycle/ does',
    breaks: ({ from, to, how }) =>
      isIn('fleet', from) && from !== 'fleet/apply.ts' && isIn('lifecycle', to) && how !== 'type',
  },
  {
    says: 'Nobody imports the command line but the command line, and the drop-in, which is another one of the same machines',
    breaks: ({ from, to }) => !isIn('cli', from) && !isIn('docker-machine', from) && isIn('cli', to),
  },
  {
    says: 'The drop-in is an end: nobody imports docker-machine/, but for the command that takes over what lies in its store',
    breaks: ({ from, to }) =>
      !isIn('docker-machine', from) &&
      isIn('docker-machine', to) &&
      !(from === 'cli/commands/import.ts' && OLD_STORE.test(to)),
  },
  {
    says: 'The rooms meet in lifecycle/: the command line sees their registries and what is made to be shown',
    breaks: ({ from, to }) =>
      (isIn('cli', from) || isIn('docker-machine', from)) &&
      !isIn('docker-machine', to) &&
      !isHall(to) &&
      !CLI_MAY.some((pattern) => pattern.test(to)),
  },
  {
    says: 'Only lifecycle/ works with drivers and provisioner: look.ts asks an engine, and lifecycle/ for what a driver says',
    breaks: ({ from, to }) => from === 'look.ts' && isIn('drivers', to) && to !== 'drivers/driver.ts',
  },
  {
    says: 'What runs over SSH is made in the hall and handed in: ssh.ts is loaded by cli/here.ts alone',
    breaks: ({ from, to, how }) => to === 'ssh.ts' && how !== 'type' && from !== 'cli/here.ts',
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
  ssh2: ['ssh.ts'],
  inquirer: ['cli/wizard.ts'],
  listr2: ['cli/progress/live.ts'],
  commander: ['cli/flags.ts'],
  '@peculiar/x509': ['provision/certificates.ts'],
  'reflect-metadata': ['provision/certificates.ts'],
  'cli-table3': ['cli/print.ts'],
  'jsonc-parser': ['provision/daemon-json.ts'],
  'ssh-config': ['ssh-config.ts'],
  // A seed is a tar that a guest unpacks, and a baked image comes out of its guest as one.
  nanotar: ['provision/apply.ts', 'drivers/qemu/seed.ts', 'drivers/qemu/bake.ts'],
  picocolors: ['cli/print.ts', 'cli/progress/live.ts'],
  // Its calls are named in one file, so that the bundle holds no others; its types say what they take and give.
  '@aws-sdk/client-ec2': files.filter((file) => file.startsWith('drivers/ec2/')),
  // It keeps lines and columns, and is read where a file of machines is.
  yaml: ['fleet/yaml.ts'],
  // The language of declarations: options, drivers and commands are written in it.
  zod: files.filter((file) =>
    /^(options|spec)\.ts$|^drivers\/|^cli\/(command|events|fleet)|^fleet\/(schema|check)\.ts$/.test(file),
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
  const reached = [...reachable('cli/begin.ts')];
  const rooms = /^(drivers|provision\/(?!profiles)|lifecycle|fleet|go-template|cloud|look|ssh|spec|child)/;
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
const PROGRAMS = ['cli/begin.ts', 'cli/main.ts', 'docker-machine/begin.ts', 'docker-machine/main.ts', 'cli/here.ts'];

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
