import { beforeEach, expect, test, vi } from 'vitest';
import type { CommandResult } from '../../src/cli/command.ts';
import { regenerateCerts } from '../../src/cli/commands/regenerate-certs.ts';
import { SlipwayError } from '../../src/errors.ts';
import { catchRejection } from '../fakes/catch-error.ts';
import { createFakeCli } from '../fakes/fake-cli.ts';
import { createTemporaryFolder } from '../fakes/temporary-folder.ts';
import { readyMachine } from '../fakes/sample-machine.ts';
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

beforeEach(() => {
  questions.length = 0;
});

async function runRegenerateCerts(given: object, interactive = true): Promise<CommandResult> {
  await using folder = await createTemporaryFolder();
  const connect = async (): Promise<never> => {
    throw new SlipwayError('SSH_UNREACHABLE', 'nothing listens there');
  };
  const world = worldIn(folder.path, { connect });
  await world.store.write(readyMachine('web'));
  const cli = createFakeCli(world, { interactive });
  return await regenerateCerts.run({ positionals: ['web'], args: regenerateCerts.args.parse(given), flags: {} }, cli);
}

test('a new CA requires a confirmation at a terminal, and the default answer keeps the old CA', async () => {
  expect((await runRegenerateCerts({ all: true })).text).toBe('Canceled: nothing was changed');
  expect(questions).toMatchObject([{ message: expect.stringContaining('the certificates of web'), default: false }]);
});

test.each([
  ['if the CA is kept', {}, true],
  ['with --yes', { all: true, yes: true }, true],
  ['without a terminal', { all: true }, false],
])('nothing is asked %s', async (_why, given, interactive) => {
  expect((await catchRejection(runRegenerateCerts(given, interactive)))?.code).toBe('SSH_UNREACHABLE');
  expect(questions).toEqual([]);
});
