import { createHash } from 'node:crypto';
import { copyFile, mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openStore } from '../../src/machine/store.ts';
import { createTemporaryFolder } from '../fakes/temporary-folder.ts';
import { readyMachine, specNamed } from '../fakes/sample-machine.ts';
import { runProgram, type ProgramResult } from '../fakes/run-program.ts';

const distPath = (file: string): string => fileURLToPath(new URL(`../../dist/${file}`, import.meta.url));
const home = await createTemporaryFolder();
const standaloneProgram = join(home.path, 'alone', 'dist', 'slipway.js');

beforeAll(async () => {
  await stat(distPath('slipway.js')).catch(() => {
    throw new Error('dist/ is missing: run npm run build');
  });
  await mkdir(join(home.path, 'alone', 'dist'), { recursive: true });
  await copyFile(distPath('slipway.js'), standaloneProgram);
  await copyFile(distPath('../package.json'), join(home.path, 'alone', 'package.json'));
  await writeFile(join(home.path, 'alone', 'dist', 'package.json'), '{}');
  await writeMachines(join(home.path, 'user', '.slipway'));
  await writeMachines(join(home.path, 'a user', '.slipway'));
});

afterAll(() => home[Symbol.asyncDispose]());

/**
 * Writes machines of every kind: ready, without TLS, incomplete, with variables and broken in several ways. Also writes
 * folders that are not machines.
 */
async function writeMachines(slipwayHome: string): Promise<void> {
  const store = openStore(slipwayHome);
  const machines = join(slipwayHome, 'machines');
  for (const name of ['web', 'web-2', 'web-10', 'Web']) await store.write(readyMachine(name));
  await store.write(readyMachine('open', { endpoint: { url: 'tcp://192.0.2.10:2375', tls: false } }));
  const { engine } = specNamed('proxied');
  await store.write(readyMachine('proxied', { spec: specNamed('proxied', { engine: { ...engine, env: ['A=b c'] } }) }));
  await store.write({ version: 1, phase: 'creating', spec: specNamed('half') });
  await store.write({ version: 1, phase: 'created', spec: specNamed('made'), host: { address: '192.0.2.7' } as never });
  for (const [name, text] of Object.entries({ torn: '{"version": 1,', blank: '', newer: '{"version": 2}' })) {
    await mkdir(join(machines, name));
    await writeFile(join(machines, name, 'machine.json'), text);
  }
  await mkdir(join(machines, 'folder', 'machine.json'), { recursive: true });
  await mkdir(join(machines, 'stopped-early'));
  await writeFile(join(machines, 'file'), '');
  const context = join(
    slipwayHome,
    '..',
    '.docker',
    'contexts',
    'meta',
    createHash('sha256').update('web').digest('hex'),
  );
  await mkdir(context, { recursive: true });
  await writeFile(join(context, 'meta.json'), '{"Metadata":{"slipway-id":"id-of-web"}}');
  await writeFile(join(slipwayHome, '..', '.docker', 'config.json'), '{"currentContext":"web"}');
}

type Variables = Readonly<Record<string, string>>;

function runBoth(words: readonly string[], user: string, more: Variables): Promise<readonly ProgramResult[]> {
  const env = { PATH: process.env.PATH, HOME: join(home.path, user), SHELL: '/bin/bash', ...more };
  return Promise.all(
    [distPath('slipway.js'), distPath('slipway-main.mjs')].map((program) =>
      runProgram(process.execPath, [program, ...words], { env }),
    ),
  );
}

/** Calls that the fast path answers: Node loads only slipway.js for them. */
const fastCalls = [
  'ip web',
  'ip web made open Web',
  'ip --json web open',
  'url web',
  'url web --json',
  'env web',
  'env --shell fish web',
  'env web --shell powershell --no-proxy',
  'env open --json',
  'env -u',
  'env --unset --no-proxy --shell nu',
  'config web',
  'config open',
  'config --json proxied',
  'ls -q',
  'ls --quiet',
  'ls -q --json',
  'version',
  'version --json',
  'active',
  'active --json',
];

/** Calls that the fast path leaves to the full program: invalid, unusually spelled, or in need of more than files. */
const fullCalls = [
  'ip',
  'ip nobody',
  'ip half',
  'ip torn',
  'ip newer',
  'ip we_b',
  'ip web --debug',
  'ip web --quiet',
  'ip web -- open',
  'ip --help',
  'ip web --unknown',
  'ip web -h',
  'url',
  'url web open',
  'url half',
  'env',
  'env web -u',
  'env web --shell',
  'env web --shell tcl',
  'env web --shell=zsh',
  'env web --shell bash --shell fish',
  'env web --no-no-proxy',
  'env web --unset=1',
  'env stopped-early',
  'config torn',
  'config folder',
  'ls -q web',
  'ls -qw --interval 0',
  'ls -q --format {{.Name}}',
  'ls -q --filter driver=generic',
  'ls -q --filter color=red',
  'ls --no-quiet --filter name=nobody',
  'version web',
  '--json ip web',
  'constructor',
  '__proto__ web',
  'toString',
  '',
];

test.each([...fastCalls, ...fullCalls])(
  'the fast path prints what the full program prints: slipway %s',
  async (line) => {
    const words = line === '' ? [] : line.split(' ');
    const [fast, full] = await runBoth(words, 'user', {});
    expect(fast).toEqual(full);
  },
);

test.each(fastCalls)('slipway.js alone answers: slipway %s', async (line) => {
  const env = { PATH: process.env.PATH, HOME: join(home.path, 'user'), SHELL: '/bin/bash' };
  const result = await runProgram(process.execPath, [standaloneProgram, ...line.split(' ')], { env });
  expect(result).toMatchObject({ code: 0, stderr: '' });
  expect(result.stdout).not.toBe('');
});

const environmentCases: readonly (readonly [string, string, Variables])[] = [
  ['env web', 'user', { SHELL: '' }],
  ['env web', 'user', { SHELL: '/usr/bin/fish', NO_PROXY: 'a,b', DOCKER_CONTEXT: 'other' }],
  ['env web --no-proxy', 'user', { NO_PROXY: 'a,192.0.2.10' }],
  ['env web', 'a user', {}],
  ['config web', 'a user', {}],
  ['config web --json', 'a user', {}],
  ['ls -q', 'nobody', {}],
  ['ls -q --json', 'nobody', {}],
  ['ip web', 'nobody', {}],
  ['active', 'user', { DOCKER_HOST: 'tcp://192.0.2.10:2376', DOCKER_MACHINE_NAME: 'web-2' }],
  ['active --json', 'user', { DOCKER_HOST: 'tcp://192.0.2.10:2375/' }],
  ['active', 'user', { DOCKER_CONTEXT: 'nothing' }],
  ['ls -q', 'user', { SLIPWAY_HOME: '/proc/self/status' }],
];

test.each(environmentCases)(
  'the fast path prints the same in another environment: slipway %s (%s, %o)',
  async (line, user, more) => {
    const [fast, full] = await runBoth(line.split(' '), user, more);
    expect(fast).toEqual(full);
  },
);

test('the fast path writes no files', async () => {
  const user = join(home.path, 'clean');
  await mkdir(user);
  for (const line of ['ls -q', 'ip web', 'env -u --shell bash'])
    await runProgram(process.execPath, [standaloneProgram, ...line.split(' ')], {
      env: { PATH: process.env.PATH, HOME: user },
    });
  expect(await readdir(user)).toEqual([]);
});

test('a closed pipe is no error, and a slow reader receives all output', async () => {
  const slipwayHome = join(home.path, 'many');
  const folders = Array.from({ length: 3000 }, (_, index) => `m-${'x'.repeat(50)}-${index}`);
  for (const name of folders) {
    await mkdir(join(slipwayHome, 'machines', name), { recursive: true });
    await writeFile(join(slipwayHome, 'machines', name, 'machine.json'), '');
  }
  const env = { PATH: process.env.PATH, HOME: slipwayHome, SLIPWAY_HOME: slipwayHome };
  const pipe = (reader: string): Promise<ProgramResult> =>
    runProgram(
      'bash',
      ['-c', `"$1" "$2" ls -q | ${reader}; echo "\${PIPESTATUS[0]}"`, 'bash', process.execPath, distPath('slipway.js')],
      {
        env,
      },
    );
  expect(await pipe('head -1')).toEqual({ code: 0, stdout: `${folders[0]}\n0\n`, stderr: '' });
  expect(await pipe('{ sleep 1; wc -l; }')).toEqual({ code: 0, stdout: '3000\n0\n', stderr: '' });
});

test('the fast path contains no library and no code that writes files', async () => {
  const text = await readFile(distPath('slipway.js'), 'utf8');
  expect(text.length).toBeLessThan(40_000);
  const found = text.match(/commander|ZodObject|ssh2|child_process|(writeFile|rename|rm|mkdir|unlink)Sync/g);
  expect(found).toBeNull();
});
