import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeEach, describe, expect, test, vi } from 'vitest';
import type { z } from 'zod';
import type { Cli, CommandResult } from '../../src/cli/command.ts';
import { apply } from '../../src/cli/commands/apply.ts';
import { gc } from '../../src/cli/commands/gc.ts';
import type { Driver } from '../../src/drivers/contract.ts';
import { SlipwayError } from '../../src/errors.ts';
import { getStoreId } from '../../src/machine/store-id.ts';
import type { World } from '../../src/operations/world.ts';
import { catchRejection } from '../fakes/catch-error.ts';
import { createFakeCli } from '../fakes/fake-cli.ts';
import { fakeCloud } from '../fakes/fake-cloud-driver.ts';
import { isPosix } from '../fakes/file-modes.ts';
import { registeredDrivers } from '../fakes/registered-drivers.ts';
import { createTemporaryFolder } from '../fakes/temporary-folder.ts';
import { readyMachine, specNamed } from '../fakes/sample-machine.ts';
import { worldIn } from '../fakes/test-world.ts';

type Question = { readonly message: string; readonly default: boolean };
const questions = vi.hoisted(() => [] as Question[]);

/** Answers each question as a user who presses Enter. */
vi.mock('inquirer', () => ({
  default: {
    createPromptModule:
      () =>
      async ([question]: readonly Question[]): Promise<{ readonly yes: boolean }> => {
        if (!question) throw new Error('there is nothing to answer');
        questions.push(question);
        return { yes: question.default };
      },
  },
}));
vi.mock('../../src/drivers/registry.ts', async (importOriginal) =>
  (await import('../fakes/registered-drivers.ts')).mockDriverRegistry(importOriginal, 'all drivers'),
);

beforeEach(() => {
  questions.length = 0;
});

async function openTerminalSession(text: string, more: Partial<World> = {}) {
  const folder = await createTemporaryFolder();
  const file = join(folder.path, 'machines.yaml');
  await writeFile(file, text);
  await mkdir(join(folder.path, 'bin'));
  // A package manager that always fails.
  for (const name of ['apt-get', 'sudo'])
    await writeFile(join(folder.path, 'bin', name), '#!/bin/sh\nexit 1\n', { mode: 0o755 });
  const messages: string[] = [];
  const base = worldIn(folder.path, {
    connect: async () => {
      throw new SlipwayError('SSH_UNREACHABLE', 'nothing listens there');
    },
    ...more,
  });
  const world: World = { ...base, computer: { ...base.computer, env: { PATH: join(folder.path, 'bin') } } };
  const rows: string[] = [];
  const cli = (interactive: boolean): Cli =>
    createFakeCli(world, {
      interactive,
      progressOf: (name) => ({ ...world.progress, end: (error) => rows.push(`${name} ${error ? 'failed' : 'done'}`) }),
      say: (line) => messages.push(line),
    });
  return {
    file,
    world,
    messages,
    rows,
    cli,
    apply: (
      given: Partial<z.output<typeof apply.args>> = {},
      {
        words: positionals = [],
        interactive = true,
      }: { readonly words?: readonly string[]; readonly interactive?: boolean } = {},
    ): Promise<CommandResult> =>
      apply.run({ positionals, args: { ...apply.args.parse({ file }), ...given }, flags: {} }, cli(interactive)),
    [Symbol.asyncDispose]: () => folder[Symbol.asyncDispose](),
  };
}

const genericEntry = (name: string, address: string): string => `  ${name}: { generic: { ipAddress: ${address} } }\n`;

describe('the default answer', () => {
  test('creates machines', async () => {
    await using here = await openTerminalSession(`machines:\n${genericEntry('web', '192.0.2.1')}`);
    expect((await here.apply()).status).toBe(6);
    expect(questions).toMatchObject([{ message: 'Apply these changes?', default: true }]);
    expect(await here.world.store.listNames()).toEqual(['web']);
  });

  test.each([
    ['replaced', `machines:\n${genericEntry('web', '192.0.2.1')}`],
    ['removed', 'machines: {}'],
  ])('keeps a machine that would be %s, and is no failure', async (_what, text) => {
    await using here = await openTerminalSession(text);
    const before = readyMachine('web', { spec: specNamed('web', { fleet: here.file }) });
    await here.world.store.write(before);
    const result = await here.apply({ prune: true });
    expect([result.text, result.status]).toEqual(['Canceled: nothing was changed', undefined]);
    expect(questions).toMatchObject([{ message: 'Apply these changes, and delete the current web?', default: false }]);
    expect(await here.world.store.read('web')).toEqual(before);
  });

  test('deletes no resources of a cloud', async () => {
    await using cloud = fakeCloud();
    await using here = await openTerminalSession('machines: {}');
    registeredDrivers.push(cloud.driver);
    const home = await getStoreId(here.world.computer);
    const more = { id: 'lost', index: undefined, name: 'old', place: 'north', state: 'running', createdAt: undefined };
    cloud.resources = [{ ...more, home, kind: 'instance', resource: 'i-1', monthly: 7 }];
    const result = await gc.run({ positionals: [], args: gc.args.parse({ driver: 'sky' }), flags: {} }, here.cli(true));
    expect([result.text, result.status, cloud.deletedResources]).toEqual(['Canceled: nothing was removed', 0, []]);
    expect(questions).toMatchObject([{ default: false }]);
  });
});

// With the package manager of this computer, which Wine has not.
describe.runIf(isPosix)('apply without a required program', () => {
  const requireSail = (driver: Driver): Driver => ({
    ...driver,
    programs: () => [
      { command: 'sail', purpose: 'moves clouds', packages: { apt: ['sail'] }, link: 'https://sail.example' },
    ],
  });

  test('suggests the same command with --yes, which installs the program', async () => {
    await using cloud = fakeCloud();
    registeredDrivers.push(requireSail(cloud.driver));
    await using here = await openTerminalSession('machines: { web: { driver: sky }, db: { driver: sky } }');
    const error = await catchRejection(here.apply({ prune: true }, { words: ['web'], interactive: false }));
    expect(error?.code).toBe('PROGRAM_MISSING');
    expect(error?.hint).toMatch(/^To install it: .*apt-get install/);
    expect(error?.hint).toContain(`. Or let Slipway do it: slipway apply web --file ${here.file} --prune --yes`);
  });

  test('suggests only to install the program if --yes would also delete a machine', async () => {
    await using cloud = fakeCloud();
    registeredDrivers.push(requireSail(cloud.driver));
    await using here = await openTerminalSession('machines: { web: { driver: sky } }');
    await here.world.store.write(readyMachine('web', { spec: specNamed('web') }));
    const confirmSpy = vi.spyOn(await import('../../src/terminal/questions.ts'), 'confirm');
    confirmSpy.mockResolvedValueOnce(true).mockResolvedValueOnce(false);
    const error = await catchRejection(here.apply());
    confirmSpy.mockRestore();
    expect(error?.hint).toMatch(/^To install it: .*apt-get install/);
    expect(error?.hint).not.toContain('slipway apply');
  });
});

describe('machines that were not started', () => {
  test('are listed after Ctrl-C, and are no failures', async () => {
    const stop = new AbortController();
    await using here = await openTerminalSession(
      `machines:\n${['a', 'b', 'c'].map((name) => genericEntry(name, '192.0.2.1')).join('')}`,
      {
        signal: stop.signal,
        connect: async () => {
          stop.abort();
          throw new SlipwayError('CANCELED', 'Canceled');
        },
      },
    );
    const { json, text, status } = await here.apply({ concurrency: 1 });
    expect(json).toMatchObject({
      machines: [{ done: false, error: { code: 'CANCELED' } }, { done: null }, { done: null }],
    });
    expect([text, status]).toEqual([
      '1 of 3 machines failed\nNot started: b, c. To continue, run the same command again',
      130,
    ]);
    expect(here.messages.filter((line) => line.includes('✗'))).toHaveLength(1);
    expect(here.rows).toEqual(['a failed']);
  });

  test('lead to the exit status of Ctrl-C if nothing else failed', async () => {
    const stop = new AbortController();
    stop.abort();
    await using here = await openTerminalSession(`machines:\n${genericEntry('a', '192.0.2.1')}`, {
      signal: stop.signal,
    });
    const { text, status } = await here.apply();
    expect([text, status]).toEqual(['Not started: a. To continue, run the same command again', 130]);
  });

  test('include machines to remove, if a creation failed', async () => {
    await using here = await openTerminalSession(`machines:\n${genericEntry('web', '192.0.2.1')}`);
    await here.world.store.write(readyMachine('old', { spec: specNamed('old', { fleet: here.file }) }));
    const { json, text, status } = await here.apply({ prune: true, yes: true });
    expect(json).toMatchObject({
      machines: [
        { name: 'web', done: false },
        { name: 'old', done: null },
      ],
    });
    expect([text, status]).toEqual([
      '1 of 2 machines failed\nNot started: old. To continue, run the same command again',
      6,
    ]);
  });
});
