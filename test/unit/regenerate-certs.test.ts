import { beforeEach, expect, test, vi } from 'vitest';
import type { Cli, Result } from '../../src/cli/command.ts';
import { regenerateCerts } from '../../src/cli/commands/regenerate-certs.ts';
import { SlipwayError } from '../../src/errors.ts';
import { openImages } from '../../src/images/store.ts';
import { rejected } from '../fakes/caught.ts';
import { temporaryFolder } from '../fakes/folder.ts';
import { readyMachine } from '../fakes/machine.ts';
import { worldIn } from '../fakes/world.ts';

type Asked = { readonly message: string; readonly default: boolean };
const asked = vi.hoisted(() => [] as Asked[]);

/** A person who answers each question with Enter alone. */
vi.mock('inquirer', () => ({
  default: {
    createPromptModule:
      () =>
      async ([question]: readonly Asked[]): Promise<{ readonly yes: boolean }> => {
        if (!question) throw new Error('there is nothing to answer');
        asked.push(question);
        return { yes: question.default };
      },
  },
}));

beforeEach(() => {
  asked.length = 0;
});

async function call(given: object, interactive = true): Promise<Result> {
  await using folder = await temporaryFolder();
  const connect = async (): Promise<never> => {
    throw new SlipwayError('SSH_UNREACHABLE', 'nobody is there');
  };
  const world = worldIn(folder.path, { connect });
  await world.store.write(readyMachine('web'));
  const cli: Cli = {
    world,
    images: openImages(folder.path),
    makeImage: async () => Promise.reject(new Error('no image is made here')),
    imageUsers: async () => [],
    env: {},
    nodeVersion: '',
    packageFile: '',
    interactive,
    width: 80,
    color: false,
    screen: { write: () => {}, taken: async () => {}, size: () => undefined, json: false },
    program: 'slipway',
    progressOf: () => ({ ...world.progress, end: () => {} }),
    lend: () => {},
    say: () => {},
  };
  return await regenerateCerts.run({ words: ['web'], args: regenerateCerts.args.parse(given), flags: {} }, cli);
}

test('a new CA is asked for at a terminal, and Enter alone leaves the old one', async () => {
  expect((await call({ all: true })).text).toBe('Nothing was done');
  expect(asked).toMatchObject([{ message: expect.stringContaining('the certificates of web'), default: false }]);
});

test.each([
  ['the CA stays', {}, true],
  ['it was answered beforehand', { all: true, yes: true }, true],
  ['nobody can be asked', { all: true }, false],
])('nothing is asked where %s', async (_why, given, interactive) => {
  expect((await rejected(call(given, interactive)))?.code).toBe('SSH_UNREACHABLE');
  expect(asked).toEqual([]);
});
