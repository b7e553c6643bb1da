import { readdirSync, readFileSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import type { Command } from '../../src/cli/command.ts';
import { commands } from '../../src/cli/commands/command-list.ts';
import { parseFlags } from '../../src/cli/parse-flags.ts';
import { driver as ec2 } from '../../src/drivers/ec2/driver.ts';
import { SlipwayError } from '../../src/errors.ts';
import type { Fault } from '../clouds/cloud.ts';
import { startEc2, type Ec2 } from '../clouds/ec2-double.ts';
import { createTarget, newTarget, parseEc2Options, recordingCall, stubUserEnvironment } from '../clouds/ec2-fixture.ts';
import { noGuests } from '../clouds/guests.ts';
import { catchRejection } from '../fakes/catch-error.ts';
import { createTemporaryFolder } from '../fakes/temporary-folder.ts';

let cloud: Ec2;
let folder: Awaited<ReturnType<typeof createTemporaryFolder>>;

beforeEach(async () => {
  folder = await createTemporaryFolder();
  cloud = await startEc2({ guests: noGuests(), bootTime: 0 });
  stubUserEnvironment(cloud, folder.path);
});
afterEach(async () => {
  vi.unstubAllEnvs();
  await cloud[Symbol.asyncDispose]();
  await folder[Symbol.asyncDispose]();
});

/** Returns the command lines of Slipway in a text: from `slipway` to the end of the sentence or of its part. */
function commandLinesIn(text: string): readonly (readonly string[])[] {
  return [...text.matchAll(/\bslipway ([a-z-]+(?: [^\s,;`'"]+)*)/g)].map(
    ([, line = '']) =>
      line
        .replace(/[.)]+$/, '')
        .split(/[.)]? +(?=[A-Z][a-z])/)[0]
        ?.split(' ') ?? [],
  );
}

/** Types a command line: it throws if the command or one of its flags does not exist, or a value is refused. */
async function typeCommand([name = '', ...argv]: readonly string[]): Promise<void> {
  parseFlags(await loadCommand(name), argv);
}

async function loadCommand(name: string): Promise<Command> {
  const entry = commands.find((one) => one.name === name);
  if (!entry || !('load' in entry)) throw new Error(`there is no command ${name}`);
  return await entry.load();
}

const folderOf = (path: string): URL => new URL(`../../src/drivers/${path}/`, import.meta.url);
const sourceTexts = ['ec2', 'cloud'].flatMap((path) =>
  readdirSync(folderOf(path)).map((file): readonly [string, string] => [
    `${path}/${file}`,
    readFileSync(new URL(file, folderOf(path)), 'utf8')
      .replaceAll(/\/\*[\s\S]*?\*\/|^\s*\/\/.*$/gm, '')
      .replaceAll(/\$\{[^{}]*\}/g, 'web')
      // The descriptions of firewall rules.
      .replaceAll(/'slipway (caller|open port)'/g, ''),
  ]),
);

describe('what a message of the EC2 driver tells to type', () => {
  test.each(sourceTexts)('is a command line that exists: %s', async (_, text) => {
    for (const words of commandLinesIn(text)) await typeCommand(words);
    const flags = [...text.matchAll(/(?<![\w-])--(ec2-[a-z-]+)/g)].map(([, flag = '']) => flag);
    const known = new Set((await loadCommand('create')).extraOptions?.map(({ flag }) => flag));
    expect(flags.filter((flag) => !known.has(flag))).toEqual([]);
  });

  const refuse = (code: string, status = 400): Fault => ({ kind: 'refuse', status, code, message: 'No.' });

  test.each([
    'InsufficientInstanceCapacity',
    'Unsupported',
    'VcpuLimitExceeded',
    'OptInRequired',
    'AuthFailure',
    'UnauthorizedOperation',
    'InternalError',
    'InvalidState',
  ])('after a start that EC2 refuses with %s is no flag that start lacks', async (code) => {
    const call = recordingCall(folder.path);
    const target = await createTarget(newTarget(parseEc2Options([])), call);
    await vi.waitFor(() => expect(cloud.instances[0]?.state).toBe('running'));
    await ec2.power?.stop(target, { seconds: 30 }, call);
    cloud.onArrival = ({ operation }) => (operation === 'StartInstances' ? refuse(code) : undefined);
    const error = await catchRejection(Promise.resolve(ec2.power?.start(target, call)));
    if (!(error instanceof SlipwayError)) throw new Error('the start was not refused');
    const hint = error.hint ?? '';
    for (const words of commandLinesIn(hint)) await typeCommand(words);
    expect(hint.replaceAll(/slipway provision web --ec2-instance-type \S+/g, '')).not.toMatch(/--ec2-/);
  });

  test.each(['InsufficientInstanceCapacity', 'Unsupported', 'VcpuLimitExceeded', 'MaxSpotInstanceCountExceeded'])(
    'after a create that EC2 refuses with %s creates the machine',
    async (code) => {
      const isRefused = { now: true };
      cloud.onArrival = ({ operation }) => (operation === 'RunInstances' && isRefused.now ? refuse(code) : undefined);
      const argv = ['--ec2-retries', '-1'];
      const error = await catchRejection(createTarget(newTarget(parseEc2Options(argv)), recordingCall(folder.path)));
      const hint = error instanceof SlipwayError ? (error.hint ?? '') : '';
      const choices = [...hint.matchAll(/(--ec2-[a-z-]+) ([\w.-]*\w)/g)].map(([, flag = '', value = '']) => [
        flag,
        value,
      ]);
      expect(choices, hint).toHaveLength(2);
      isRefused.now = false;
      for (const choice of choices) {
        const call = recordingCall(folder.path);
        const target = await createTarget(newTarget(parseEc2Options([...argv, ...choice])), call);
        await ec2.machines.remove(target, call);
      }
      expect(cloud.listAlive()).toEqual([]);
    },
    60_000,
  );

  test('after a subnet without a free address is another subnet', async () => {
    cloud.fullSubnets.add('subnet-a');
    const create = async (...argv: readonly string[]) =>
      createTarget(newTarget(parseEc2Options(argv)), recordingCall(folder.path));
    const error = await catchRejection(create('--ec2-subnet', 'subnet-a'));
    expect(error).toMatchObject({ code: 'USAGE', hint: 'Choose another subnet: --ec2-subnet subnet-0123' });
    await create('--ec2-subnet', 'subnet-b');
  });
});
