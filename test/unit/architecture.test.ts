import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

const root = fileURLToPath(new URL('../../src', import.meta.url));

type ImportEdge = {
  readonly from: string;
  /** A file of src/, a package, or a `node:` module. */
  readonly to: string;
  readonly kind: 'value' | 'type' | 'dynamic';
};

const files = readdirSync(root, { recursive: true, encoding: 'utf8' })
  .map((file) => file.replaceAll('\\', '/'))
  .filter((file) => file.endsWith('.ts'))
  .toSorted();
const sources = new Map(files.map((file) => [file, stripComments(readFileSync(join(root, file), 'utf8'))]));
const importEdges = files.flatMap(importEdgesOf);
const internalEdges = importEdges.filter(({ to }) => sources.has(to));

const isInFolder = (folder: string, file: string): boolean => file.startsWith(`${folder}/`);

type ImportRule = {
  readonly description: string;
  readonly isBrokenBy: (edge: ImportEdge) => boolean;
};

/** Each folder of drivers/ is a driver, except drivers/cloud/. It and the files beside the folders belong to all. */
const driverNameOf = (file: string): string | undefined => /^drivers\/(?!cloud\/)([^/]+)\//.exec(file)?.[1];

type Folder = {
  /** The rule, as the failing test prints it. */
  readonly description: string;
  /** Files that it may import besides its own and those at the top of src/. */
  readonly may: RegExp;
};

/** From the bottom of the tree to its top. */
const FOLDERS: Readonly<Record<string, Folder>> = {
  computer: {
    description: 'computer/ is this computer (files, locks, programs, child processes): it imports only errors',
    may: /^$/,
  },
  machine: {
    description: 'machine/ is what a machine is and how its record is stored: it imports computer/ only',
    may: /^computer\//,
  },
  ssh: {
    description: 'ssh/ is one connection and the files of OpenSSH: it imports computer/ and the types of machine/',
    may: /^(computer|machine)\//,
  },
  'go-template': {
    description: "go-template/ is Go's text/template as pure functions: it imports only errors",
    may: /^$/,
  },
  images: {
    description: 'images/ is disks that local VMs boot from: it knows no machine and no provider',
    may: /^(computer\/|machine\/options\.ts$)/,
  },
  drivers: {
    description:
      'A driver knows a provider and nothing of Docker: drivers/ imports computer/, machine/, images/ and the files of OpenSSH',
    may: /^(computer|machine|images)\/|^ssh\/openssh-files\.ts$/,
  },
  profiles: {
    description: "profiles/ is clients' files as data: it imports nothing that works on a host",
    may: /^(computer|machine|ssh|docker-machine\/config-json)\//,
  },
  provision: {
    description:
      'provision/ decides and describes what happens on a host: it knows no cloud, no store and no command line',
    may: /^ssh\/|^machine\/(model|options|engine-logins)\.ts$/,
  },
  operations: {
    description: 'operations/ is the story of a machine, and the only folder in which drivers and provisioner meet',
    may: /^(computer|machine|ssh|profiles|provision|docker-machine\/config-json)\/|^drivers\/(contract|registry)\.ts$/,
  },
  link: {
    description:
      'link/ is the process beside a running machine (ports, folders, the socket): it imports operations/, no command and no driver',
    may: /^(computer|machine|ssh|operations)\/|^drivers\/(contract|registry)\.ts$|^provision\/engine-(api|events)\.ts$/,
  },
  fleet: {
    description:
      'fleet/ turns machines.yaml into specs and changes: it imports operations/ and declarations of drivers, images, profiles',
    may: /^(computer|machine|operations)\/|^drivers\/(contract|registry)\.ts$|^images\/image-reference\.ts$|^profiles\/registry\.ts$/,
  },
  terminal: {
    description:
      'terminal/ is how both programs print, ask and run programs: of operations/ it imports only the type of the world',
    may: /^(computer|machine|go-template|ssh)\/|^operations\/world\.ts$|^link\/link-control\.ts$/,
  },
  completion: {
    description:
      'completion/ is what both programs complete: it imports names of machines, images and drivers, but no command',
    may: /^machine\/(model|options)\.ts$|^images\/(image|catalog)\.ts$|^drivers\/registry\.ts$/,
  },
  'machine-options': {
    description:
      'machine-options/ turns flags and variables into specs for both programs: it imports declarations of options',
    may: /^computer\/expand-home\.ts$|^machine\/|^drivers\/(contract|registry)\.ts$|^images\/image-reference\.ts$/,
  },
  openssh: {
    description:
      "openssh/ runs the user's own ssh, scp and sshfs for both programs: it imports no command and no driver",
    may: /^(computer|machine|profiles|ssh|terminal)\//,
  },
  manual: {
    description: 'manual/ is the language of man pages as pure functions: it imports nothing',
    may: /^$/,
  },
  cli: {
    description: 'cli/ is the command line: it imports operations, registries and output formats, but no driver',
    may: /^(computer|machine|machine-options|images|operations|fleet|link|profiles|openssh|terminal|completion|manual)\/|^drivers\/(contract|registry|availability)\.ts$|^provision\/step\.ts$|^ssh\/(shell|openssh-options)\.ts$|^docker-machine\/(config-json\/|(machine-authority|docker-machine-store)\.ts$)/,
  },
  'docker-machine': {
    description:
      'docker-machine/ is the drop-in, another command line for the same machines: it imports what cli/ may, but not cli/',
    may: /^(computer|machine|machine-options|operations|profiles|openssh|terminal|completion|manual|go-template)\/|^drivers\/(contract|registry|availability|names)\.ts$|^ssh\/(shell|openssh-options)\.ts$/,
  },
  bin: {
    description: 'bin/ is the files that Node starts: both programs, and commands that only read files',
    may: /^(computer|machine|operations|cli|docker-machine|completion|terminal)\//,
  },
};
const folderOf = (file: string): string => (file.includes('/') ? file.slice(0, file.indexOf('/')) : '');

const folderRules: readonly ImportRule[] = Object.entries(FOLDERS).map(([folder, { description, may }]) => ({
  description,
  isBrokenBy: ({ from, to }) =>
    folderOf(from) === folder && folderOf(to) !== folder && folderOf(to) !== '' && !may.test(to),
}));

const rules: readonly ImportRule[] = [
  {
    description: 'Files at the top of src/ are for every folder: they import only each other',
    isBrokenBy: ({ from, to }) => folderOf(from) === '' && folderOf(to) !== '',
  },
  ...folderRules,
  {
    description:
      'Drivers share code by drivers/cloud/ or a folder below drivers/, never with each other: no driver imports another',
    isBrokenBy: ({ from, to }) =>
      driverNameOf(to) !== undefined &&
      driverNameOf(from) !== driverNameOf(to) &&
      !/^drivers\/(registry|all)\.ts$/.test(from),
  },
  {
    description: 'drivers/cloud/ is what clouds have in common: it imports no cloud, and of drivers/ only the contract',
    isBrokenBy: ({ from, to }) =>
      isInFolder('drivers/cloud', from) &&
      isInFolder('drivers', to) &&
      !isInFolder('drivers/cloud', to) &&
      to !== 'drivers/contract.ts',
  },
  {
    description: 'Only terminal/ and docker-machine/ import go-template/, and only its index',
    isBrokenBy: ({ from, to }) =>
      isInFolder('go-template', to) &&
      !isInFolder('go-template', from) &&
      (to !== 'go-template/index.ts' || !(isInFolder('terminal', from) || isInFolder('docker-machine', from))),
  },
  {
    description: 'The provisioner receives its connection as an argument: of ssh/connection.ts it imports only types',
    isBrokenBy: ({ from, to, kind }) => isInFolder('provision', from) && to === 'ssh/connection.ts' && kind !== 'type',
  },
  {
    description:
      'Planning is pure: in fleet/, only apply-fleet.ts imports operations that act; all may import diff-specs.ts',
    isBrokenBy: ({ from, to, kind }) =>
      isInFolder('fleet', from) &&
      from !== 'fleet/apply-fleet.ts' &&
      isInFolder('operations', to) &&
      to !== 'operations/diff-specs.ts' &&
      kind !== 'type',
  },
  {
    description:
      "docker-machine/config-json/ is a file format as pure functions: it imports machine/ and drivers' declarations",
    isBrokenBy: ({ from, to }) =>
      isInFolder('docker-machine/config-json', from) &&
      !isInFolder('docker-machine/config-json', to) &&
      !/^(machine\/|drivers\/registry\.ts$|(errors|parse-json|url-login)\.ts$|node:)/.test(to),
  },
  {
    description:
      "No folder imports the drop-in's command line: profiles/, operations/ and import read config.json; import opens the store",
    isBrokenBy: ({ from, to }) =>
      isInFolder('docker-machine', to) &&
      !isInFolder('docker-machine', from) &&
      !isInFolder('bin', from) &&
      !(
        isInFolder('docker-machine/config-json', to) &&
        /^(profiles|operations)\/|^cli\/commands\/import\.ts$/.test(from)
      ) &&
      !(from === 'cli/commands/import.ts' && /^docker-machine\/(machine-authority|docker-machine-store)\.ts$/.test(to)),
  },
  {
    description:
      'The SSH library is loaded when a connection is opened: only terminal/process-world.ts imports ssh/connection.ts as code',
    isBrokenBy: ({ from, to, kind }) =>
      to === 'ssh/connection.ts' && kind !== 'type' && from !== 'terminal/process-world.ts',
  },
];

test.each(rules)('$description', ({ description, isBrokenBy }) => {
  expect(internalEdges.filter(isBrokenBy).map(formatEdge), description).toEqual([]);
});

test('no file imports itself through others, types included', () => {
  const cycle = findCycle(internalEdges);
  expect(cycle?.join(' → ')).toBeUndefined();
});

const PACKAGE_IMPORTERS: Readonly<Record<string, readonly string[]>> = {
  ssh2: ['ssh/connection.ts', 'ssh/channel-stream.ts'],
  'agent-base': ['computer/proxy-agent.ts'],
  'https-proxy-agent': ['computer/proxy-agent.ts'],
  'node-fetch': ['images/http.ts'],
  inquirer: ['terminal/questions.ts'],
  listr2: ['terminal/progress/live.ts'],
  commander: ['cli/parse-flags.ts'],
  '@peculiar/x509': ['provision/issue-certificates.ts'],
  'reflect-metadata': ['provision/issue-certificates.ts'],
  'cli-table3': ['terminal/text-output.ts'],
  'jsonc-parser': ['provision/daemon-json.ts'],
  'ssh-config': ['ssh/openssh-files.ts'],
  // A seed is a tar that a guest unpacks; a guest returns a baked image as a tar.
  nanotar: ['provision/apply-step.ts', 'drivers/qemu/seed.ts', 'drivers/qemu/bake-image.ts'],
  picocolors: ['terminal/text-output.ts', 'terminal/progress/live.ts'],
  // It keeps lines and columns for messages about machines.yaml.
  yaml: ['fleet/yaml.ts'],
  // Options, drivers and commands are declared with it.
  zod: files.filter((file) =>
    /^machine\/(options|spec)\.ts$|^drivers\/|^cli\/(command|fleet-output\.ts$)|^terminal\/event-schema\.ts$|^fleet\/(file-schema|check-file)\.ts$/.test(
      file,
    ),
  ),
};

/** The file of each driver that imports its provider's SDK. Other files of the driver import only the SDK's types. */
const sdkFiles = files.filter((file) => /^drivers\/[^/]+\/sdk\.ts$/.test(file));
/** Returns the package of an import: `@scope/name` for `@scope/name/file.js`. */
const packageOf = (to: string): string => /^(?:@[^/]+\/)?[^/]+/.exec(to)?.[0] ?? to;
const isPackage = (to: string): boolean => !sources.has(to) && !to.startsWith('node:');
/** The packages that drivers' sdk.ts files import, each with the driver that it belongs to. */
const sdkPackages = new Map(
  importEdges
    .filter(({ from, to }) => sdkFiles.includes(from) && isPackage(to) && !(to in PACKAGE_IMPORTERS))
    .map(({ from, to }) => [packageOf(to), driverNameOf(from)]),
);
const isAllowedSdkImport = ({ from, to, kind }: ImportEdge): boolean =>
  driverNameOf(from) !== undefined &&
  sdkPackages.get(packageOf(to)) === driverNameOf(from) &&
  (sdkFiles.includes(from) || kind === 'type');

test('each package is imported only by the file that wraps it', () => {
  const misplaced = importEdges
    .filter(({ to }) => isPackage(to))
    .filter((edge) => !PACKAGE_IMPORTERS[edge.to]?.includes(edge.from) && !isAllowedSdkImport(edge));
  expect(misplaced.map(formatEdge)).toEqual([]);
});

test("a cloud's SDK is imported by its driver's sdk.ts, which is loaded only for machines of that cloud", () => {
  expect([...sdkPackages.keys()]).toEqual(expect.arrayContaining(['@aws-sdk/client-ec2', '@google-cloud/compute']));
  const sdkImports = importEdges.filter(({ to }) => isPackage(to) && sdkPackages.has(packageOf(to)));
  expect(sdkImports.filter((edge) => !isAllowedSdkImport(edge)).map(formatEdge)).toEqual([]);
  const sdkFileImports = importEdges.filter(({ to }) => sdkFiles.includes(to));
  expect(sdkFileImports.filter(({ kind }) => kind === 'value').map(formatEdge)).toEqual([]);
});

test("only the EC2 driver's client.ts has the SDK's client, so that its raw errors reach no other file", () => {
  const others = files.filter((file) => isInFolder('drivers/ec2', file) && file !== 'drivers/ec2/client.ts');
  const found = others.filter((file) =>
    /\bEC2Client\b|\.config\.|\bclient\b/.test(withoutImports(sources.get(file) ?? '')),
  );
  expect(found.filter((file) => file !== 'drivers/ec2/sdk.ts')).toEqual([]);
});

/** Returns the text without the names of imported files and packages. */
function withoutImports(text: string): string {
  return text.replaceAll(/'[^']*'/g, "''");
}

test("a driver's manifest and options load none of the driver's code, because every command loads them", () => {
  for (const declaration of files.filter((file) => /^drivers\/[^/]+\/(manifest|options)\.ts$/.test(file))) {
    const code = [...loadedWith(declaration)].filter((to) => {
      return /^drivers\/[^/]+\/(driver|client|sdk)\.ts$/.test(to) || (isPackage(to) && to !== 'zod');
    });
    expect(code, declaration).toEqual([]);
  }
});

const HEAVY_PACKAGES = ['ssh2', 'inquirer', 'listr2', 'yaml', '@peculiar/x509', 'reflect-metadata'];

test('start-up loads no package that only some commands need', () => {
  const reached = loadedWith('cli/main.ts');
  expect([...HEAVY_PACKAGES, 'cli-table3', 'commander'].filter((name) => reached.has(name))).toEqual([]);
});

test('no command loads SSH, prompts, live lists or X.509 before it uses them', () => {
  for (const command of files.filter((file) => isInFolder('cli/commands', file))) {
    const reached = loadedWith(command);
    expect(
      HEAVY_PACKAGES.filter((name) => reached.has(name)),
      command,
    ).toEqual([]);
  }
});

test('a fast command loads no drivers, no network code and no package except zod', () => {
  const reached = [...loadedWith('bin/slipway.ts')];
  const slowFolders = /^(drivers|provision|operations|fleet|go-template|ssh\/connection|machine\/spec|computer\/child)/;
  expect(reached.filter((file) => slowFolders.test(file))).toEqual([]);
  expect(reached.filter((name) => !sources.has(name) && !name.startsWith('node:'))).toEqual(['zod']);
});

test('frequent commands of the drop-in load no driver and no declaration before an engine fails to answer', () => {
  for (const name of ['active', 'config', 'env', 'inspect', 'ls', 'values']) {
    const reached = loadedWith(`docker-machine/commands/${name}.ts`);
    expect(
      ['zod', 'drivers/all.ts'].filter((one) => reached.has(one)),
      name,
    ).toEqual([]);
  }
});

/** The two programs, and the file that gives them the process. */
const ENTRY_FILES = [
  'bin/slipway.ts',
  'cli/main.ts',
  'bin/docker-machine.ts',
  'docker-machine/main.ts',
  'terminal/process-world.ts',
  'terminal/run-main.ts',
];

test('only entry files use the process: all others receive what they need as arguments', () => {
  // File names such as console.log are no calls.
  const touches =
    /\bprocess\.(env|argv|exit|exitCode|stdout|stderr|stdin|platform|on|once|cwd|chdir)\b|(?<!['/])\bconsole\./g;
  const found = [...sources]
    .filter(([file]) => !ENTRY_FILES.includes(file))
    .flatMap(([file, text]) => [...text.matchAll(touches)].map(([what]) => `${file}: ${what}`));
  // inquirer writes questions to stderr and reads the keyboard itself; questions.ts also reads Escape.
  expect(found).toEqual(['terminal/questions.ts: process.stdin', 'terminal/questions.ts: process.stderr']);
});

test('only computer/files.ts renames and deletes files, since on Windows that may need several attempts', () => {
  const importsOf = /import \{([^}]*)\} from 'node:fs(?:\/promises)?'/g;
  const found = [...sources]
    // The folder server does for a machine what it asks for, once: a program there decides what a failure means.
    .filter(([file]) => file !== 'computer/files.ts' && file !== 'link/folders/sftp-server.ts')
    .flatMap(([file, text]) => [...text.matchAll(importsOf)].map(([, names = '']) => ({ file, names })))
    .filter(({ names }) => /\b(rename|rm|rmdir|unlink)(Sync)?\b/.test(names));
  expect(found).toEqual([]);
});

/** Words of one package manager or service manager, which hosts of other families do not have. */
const FAMILY_WORDS = /\b(apt(-\w+)?|dpkg(-\w+)?|debs?|systemctl|systemd(-\w+)?|journalctl|logind)\b/i;
/** Files that may use these words, by their subject. */
const FAMILY_FILES: Readonly<Record<string, RegExp>> = {
  'a family of hosts': /^(src\/provision|templates)\/(distros|init)\//,
  "the user's own computer and its package manager": /^src\/(computer\/programs|cli\/install-programs)\.ts$/,
  "images of local VMs, which are Debian's": /^(src\/drivers\/qemu|templates\/image)\/|^src\/cli\/commands\/image\//,
  'the first boot of an image that a cloud offers': /^templates\/cloud\//,
};

test('only the files of a distribution or service manager name apt, dpkg or systemctl', () => {
  const templates = readdirSync(join(root, '../templates'), { recursive: true, encoding: 'utf8' })
    .map((file) => `templates/${file.replaceAll('\\', '/')}`)
    .filter((file) => /\.\w+$/.test(file));
  const texts = new Map([
    ...[...sources].map(([file, text]): [string, string] => [`src/${file}`, text]),
    ...templates.map((file): [string, string] => [file, readFileSync(join(root, '..', file), 'utf8')]),
  ]);
  const found = [...texts]
    .filter(([file]) => !Object.values(FAMILY_FILES).some((files) => files.test(file)))
    .flatMap(([file, text]) => text.split('\n').flatMap((line) => (FAMILY_WORDS.test(line) ? `${file}: ${line}` : [])));
  expect(found).toEqual([]);
});

test('no folder is named utils, helpers or the like', () => {
  const folders = new Set(files.flatMap((file) => file.split('/').slice(0, -1)));
  expect([...folders].filter((name) => /^(utils?|helpers?|common|core|shared|libs?|misc)$/.test(name))).toEqual([]);
});

test('files are named in kebab-case and export by name', () => {
  expect(files.filter((file) => !/^([a-z0-9-]+\/)*[a-z0-9-]+\.ts$/.test(file))).toEqual([]);
  expect([...sources].filter(([, text]) => /^export default\b/m.test(text)).map(([file]) => file)).toEqual([]);
});

function importEdgesOf(file: string): readonly ImportEdge[] {
  const text = sources.get(file) ?? '';
  const target = (name: string): string =>
    name.startsWith('.') ? relative(root, join(root, dirname(file), name)) : name;
  const statements = [...text.matchAll(/^(?:import|export)\s+(type\s+)?(?:[^'";]*?\sfrom\s+)?'([^']+)'/gm)].map(
    ([, type, name = '']): ImportEdge => ({ from: file, to: target(name), kind: type ? 'type' : 'value' }),
  );
  const calls = [...text.matchAll(/\bimport\(\s*'([^']+)'\s*\)/g)].map(([, name = '']): ImportEdge => ({
    from: file,
    to: target(name),
    kind: 'dynamic',
  }));
  return [...statements, ...calls].map((edge) => ({ ...edge, to: edge.to.replaceAll('\\', '/') }));
}

function stripComments(text: string): string {
  return text.replaceAll(/\/\*[\s\S]*?\*\/|^\s*\/\/.*$|\s\/\/ .*$/gm, '');
}

/** Returns the files and packages that are loaded together with this file. */
function loadedWith(start: string): ReadonlySet<string> {
  const found = new Set([start]);
  for (const file of found) {
    for (const { from, to, kind } of importEdges) if (from === file && kind === 'value') found.add(to);
  }
  return found;
}

function findCycle(graph: readonly ImportEdge[]): readonly string[] | undefined {
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

function formatEdge({ from, to, kind }: ImportEdge): string {
  return `${from} → ${to}${kind === 'value' ? '' : ` (${kind})`}`;
}
