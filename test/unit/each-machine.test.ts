import { mkdir, writeFile } from 'node:fs/promises';
import { describe, expect, test } from 'vitest';
import { requireMachines, runForEach } from '../../src/cli/commands/for-each-machine.ts';
import { rm } from '../../src/cli/commands/rm.ts';
import { settleWithinLimit } from '../../src/docker-machine/machine-arguments.ts';
import { MAX_CONNECTIONS } from '../../src/operations/concurrency.ts';
import { type ErrorCode, SlipwayError } from '../../src/errors.ts';
import { catchRejection } from '../fakes/catch-error.ts';
import { createFakeCli } from '../fakes/fake-cli.ts';
import { createTemporaryFolder } from '../fakes/temporary-folder.ts';
import { readyMachine, specNamed } from '../fakes/sample-machine.ts';
import { worldIn } from '../fakes/test-world.ts';

/** Creates a home with machines of these names, and a command line that records what it prints. */
async function openUserWith(...names: readonly string[]) {
  const folder = await createTemporaryFolder();
  const stop = new AbortController();
  const connect = async (): Promise<never> => {
    throw new SlipwayError('SSH_UNREACHABLE', 'nothing listens there', { hint: 'Look for it' });
  };
  const world = worldIn(folder.path, { connect, signal: stop.signal });
  for (const name of names) await world.store.write(readyMachine(name, { spec: specNamed(name) }));
  const messages: string[] = [];
  const rows: string[] = [];
  const listedNames: string[] = [];
  const cli = createFakeCli(world, {
    progressOf(name) {
      listedNames.push(name);
      return { ...world.progress, end: (error) => rows.push(`${name} ${error ? 'failed' : 'done'}`) };
    },
    say: (line) => messages.push(line),
  });
  return {
    cli,
    world,
    messages,
    rows,
    listedNames,
    stop: () => stop.abort(),
    [Symbol.asyncDispose]: () => folder[Symbol.asyncDispose](),
  };
}

const waitForTick = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
const resultFor = (name: string): { json: object; text: string } => ({
  json: { name, so: true },
  text: `${name} is so`,
});
const hintedError = (code: ErrorCode, message: string): SlipwayError =>
  new SlipwayError(code, message, { hint: `Fix: ${message}` });

describe('runForEach', () => {
  test('returns results in the order of the names, whichever machine finished first', async () => {
    await using user = await openUserWith();
    const waiting = new Map<string, () => void>();
    const result = runForEach(['a', 'b', 'c'], user.cli, async (name) => {
      await new Promise<void>((resolve) => waiting.set(name, resolve));
      return resultFor(name);
    });
    await waitForTick();
    // All run at once, and were listed before any of them started.
    expect([[...waiting.keys()], user.listedNames]).toEqual([
      ['a', 'b', 'c'],
      ['a', 'b', 'c'],
    ]);
    for (const name of ['c', 'a', 'b']) {
      waiting.get(name)?.();
      await waitForTick();
    }
    expect(await result).toEqual({
      json: ['a', 'b', 'c'].map((name) => ({ name, so: true })),
      text: 'a is so\nb is so\nc is so',
    });
    expect(user.rows).toEqual(['c done', 'a done', 'b done']);
  });

  test('works on at most eight machines at a time', async () => {
    await using user = await openUserWith();
    const names = Array.from({ length: 20 }, (_, at) => `m${at}`);
    let [running, maximum] = [0, 0];
    await runForEach(names, user.cli, async (name) => {
      running += 1;
      maximum = Math.max(maximum, running);
      await waitForTick();
      running -= 1;
      return resultFor(name);
    });
    expect(maximum).toBe(8);
  });

  test('continues after failures, prints each with its hint, and returns the exit status of the first by name', async () => {
    await using user = await openUserWith();
    const result = await runForEach(['a', 'b', 'c'], user.cli, async (name) => {
      if (name === 'a') await waitForTick();
      if (name === 'a') throw hintedError('REMOTE_COMMAND', 'the disk of a');
      if (name === 'b') throw hintedError('SSH_UNREACHABLE', 'the way to b');
      return resultFor(name);
    });
    expect(result).toEqual({
      json: [
        { name: 'a', error: { code: 'REMOTE_COMMAND', message: 'the disk of a', hint: 'Fix: the disk of a' } },
        { name: 'b', error: { code: 'SSH_UNREACHABLE', message: 'the way to b', hint: 'Fix: the way to b' } },
        { name: 'c', so: true },
      ],
      text: 'c is so',
      status: 7,
    });
    expect(user.messages).toEqual([
      'a: ✗ the disk of a\n→ Fix: the disk of a',
      'b: ✗ the way to b\n→ Fix: the way to b',
    ]);
    expect(user.rows.toSorted()).toEqual(['a failed', 'b failed', 'c done']);
  });

  test('names machines that were not started after Ctrl-C in one line', async () => {
    await using user = await openUserWith();
    const names = Array.from({ length: 11 }, (_, at) => `m${at}`);
    const started: string[] = [];
    const result = await runForEach(names, user.cli, async (name) => {
      started.push(name);
      if (name === 'm7') user.stop();
      await waitForTick();
      if (name === 'm1') throw new SlipwayError('CANCELED', 'Canceled');
      return resultFor(name);
    });
    expect(started).toEqual(names.slice(0, 8));
    expect(user.messages).toEqual([
      'm1: ✗ Canceled',
      'Not started: m8, m9, m10. To continue, run the same command again',
    ]);
    expect(result.status).toBe(130);
    expect((result.json as object[])[10]).toEqual({
      name: 'm10',
      error: { code: 'CANCELED', message: 'Not started: m10' },
    });
  });

  test('throws a bug of any machine', async () => {
    await using user = await openUserWith();
    const bug = new Error('a bug');
    await expect(
      runForEach(['a', 'b'], user.cli, async (name) => {
        if (name === 'a') throw bug;
        return resultFor(name);
      }),
    ).rejects.toBe(bug);
  });

  test('runs for one machine without a list, and throws its error', async () => {
    await using user = await openUserWith();
    expect(await runForEach(['a'], user.cli, async (name) => resultFor(name))).toEqual({
      json: [{ name: 'a', so: true }],
      text: 'a is so',
    });
    const error = hintedError('QUOTA', 'no room');
    await expect(
      runForEach(['a'], user.cli, async () => {
        throw error;
      }),
    ).rejects.toBe(error);
    expect([user.listedNames, user.messages]).toEqual([[], []]);
  });
});

describe('machine names', () => {
  test('that are unknown, invalid or given twice stop a command before it changes anything', async () => {
    await using user = await openUserWith('a', 'b');
    expect((await catchRejection(requireMachines(['a', 'nobody'], user.cli)))?.code).toBe('MACHINE_NOT_FOUND');
    expect((await catchRejection(requireMachines(['a', 'b', 'a'], user.cli)))?.message).toBe(
      'Machine "a" is named twice',
    );
    expect((await catchRejection(requireMachines(['a', 'not a name'], user.cli)))?.code).toBe('USAGE');
    const args = rm.args.parse({});
    expect((await catchRejection(rm.run({ positionals: ['a', 'nobody'], args, flags: {} }, user.cli)))?.code).toBe(
      'MACHINE_NOT_FOUND',
    );
    expect(await user.world.store.listNames()).toEqual(['a', 'b']);
  });

  test('of broken records are accepted by rm --force, unknown names are not', async () => {
    await using user = await openUserWith('a', 'b');
    const { folder, record } = user.world.store.paths('broken');
    await mkdir(folder);
    await writeFile(record, '{');
    const remove = async (positionals: readonly string[], force: boolean): ReturnType<typeof rm.run> =>
      rm.run({ positionals, args: rm.args.parse({ force }), flags: {} }, user.cli);
    expect((await catchRejection(remove(['a', 'broken'], false)))?.code).toBe('RECORD_BROKEN');
    expect((await catchRejection(remove(['a', 'broken', 'nobody'], true)))?.code).toBe('MACHINE_NOT_FOUND');
    expect(await user.world.store.listNames()).toEqual(['a', 'b', 'broken']);
    const { json, status } = await remove(['a', 'broken', 'b'], true);
    expect([status, (json as { name: string }[]).map(({ name }) => name)]).toEqual([undefined, ['a', 'broken', 'b']]);
    expect(await user.world.store.listNames()).toEqual([]);
  });
});

test('the drop-in works on no more machines at a time than slipway, and one failure stops no other machine', async () => {
  let [running, most, done] = [0, 0, 0];
  const names = Array.from({ length: 40 }, (_, index) => `web-${index}`);
  const results = await settleWithinLimit(names, async (name) => {
    running += 1;
    most = Math.max(most, running);
    await new Promise((resolve) => setImmediate(resolve));
    running -= 1;
    done += 1;
    if (name === 'web-3') throw new Error('no');
  });
  expect([most, done]).toEqual([MAX_CONNECTIONS, 40]);
  expect(results.flatMap(({ status }, index) => (status === 'rejected' ? [names[index]] : []))).toEqual(['web-3']);
});
