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
    const flags = [...text.matchAll(/(?<![\w-])--(ec2-[a-z\d-]+)/g)].map(([, flag = '']) => flag);
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

  /** What EC2 refuses: a type in a zone for want of capacity, and all types of a region for its quota. */
  const CREATE_REFUSALS: readonly {
    readonly code: string;
    readonly argv: readonly string[];
    readonly isRefused: (request: Readonly<Record<string, unknown>>, vpc: string) => boolean;
    /** The options that the hint tells to add or, for `no-`, to omit. */
    readonly choices: readonly string[];
  }[] = [
    {
      code: 'InsufficientInstanceCapacity',
      argv: ['--ec2-zone', 'b', '--ec2-instance-type', 't3a.small'],
      isRefused: ({ InstanceType, Placement }) =>
        InstanceType === 't3a.small' && JSON.stringify(Placement ?? '').includes('eu-central-1b'),
      choices: ['--ec2-instance-type t3.small', '--ec2-zone a'],
    },
    {
      code: 'Unsupported',
      argv: ['--ec2-instance-type', 't4g.small'],
      isRefused: ({ InstanceType, Placement }) => InstanceType === 't4g.small' && Placement === undefined,
      choices: ['--ec2-instance-type t4g.medium', '--ec2-zone b'],
    },
    {
      code: 'VcpuLimitExceeded',
      argv: [],
      isRefused: (_, vpc) => vpc === 'vpc-eu-central-1',
      choices: ['--ec2-region us-east-1'],
    },
    {
      code: 'VcpuLimitExceeded',
      argv: ['--ec2-region', 'us-east-1'],
      isRefused: (_, vpc) => vpc === 'vpc-us-east-1',
      choices: ['--ec2-region us-east-2'],
    },
    {
      code: 'MaxSpotInstanceCountExceeded',
      argv: ['--ec2-spot'],
      isRefused: ({ InstanceMarketOptions }, vpc) => vpc === 'vpc-eu-central-1' && InstanceMarketOptions !== undefined,
      choices: ['--no-ec2-spot', '--ec2-region us-east-1'],
    },
  ];

  test.each(CREATE_REFUSALS)(
    'after a create with $argv that EC2 refuses with $code creates the machine',
    async ({ code, argv, isRefused, choices }) => {
      let vpc = '';
      cloud.onArrival = ({ operation, params }) => {
        if (operation === 'CreateSecurityGroup') vpc = String(params.VpcId);
        return operation === 'RunInstances' && isRefused(params, vpc) ? refuse(code) : undefined;
      };
      const given = ['--ec2-retries', '-1', ...argv];
      const error = await catchRejection(createTarget(newTarget(parseEc2Options(given)), recordingCall(folder.path)));
      const hint = error instanceof SlipwayError ? (error.hint ?? '') : '';
      const told = [...hint.matchAll(/(omit )?--(ec2-[a-z\d-]+)(?: ([\w.-]*\w))?/g)].map(
        ([, omit, flag = '', value]) =>
          `--${omit ? 'no-' : ''}${flag}${omit || value === undefined ? '' : ` ${value}`}`,
      );
      expect(told, hint).toEqual(choices);
      if (/Limit|MaxSpot/.test(code))
        expect(hint).toMatch(
          /https:\/\/([a-z]+-[a-z]+-\d)\.console\.aws\.amazon\.com\/servicequotas\/home\/services\/ec2\/quotas\. /,
        );
      expect(cloud.listAlive()).toEqual([]);
      for (const choice of choices) {
        const call = recordingCall(folder.path);
        const target = await createTarget(newTarget(parseEc2Options([...given, ...choice.split(' ')])), call);
        await ec2.machines.remove(target, call);
      }
      expect(cloud.listAlive()).toEqual([]);
    },
    60_000,
  );

  test.each([
    [
      'SecurityGroupLimitExceeded',
      'CreateSecurityGroup',
      'services/vpc/quotas. Or remove what is left over: slipway gc.',
    ],
    ['RulesPerSecurityGroupLimitExceeded', 'AuthorizeSecurityGroupIngress', 'Or allow fewer addresses and ports'],
    ['VolumeLimitExceeded', 'RunInstances', 'services/ebs/quotas. '],
  ])('names the quota of %s, and leaves nothing', async (code, refusedOperation, part) => {
    cloud.onArrival = ({ operation }) => (operation === refusedOperation ? refuse(code) : undefined);
    const call = recordingCall(folder.path);
    const error = await catchRejection(createTarget(newTarget(parseEc2Options(['--ec2-retries', '-1'])), call));
    expect(error).toMatchObject({
      code: 'QUOTA',
      message: expect.stringContaining(`Your AWS account has reached its quota (`),
      hint: expect.stringContaining(part),
    });
    expect(error?.message).toContain(code);
    expect(cloud.listAlive()).toEqual([]);
    expect(call.recordedRequests.at(-1)).toBe('nothing');
  });

  test('after a subnet without a free address is another subnet', async () => {
    cloud.fullSubnets.add('subnet-a');
    const create = async (...argv: readonly string[]) =>
      createTarget(newTarget(parseEc2Options(argv)), recordingCall(folder.path));
    const error = await catchRejection(create('--ec2-subnet', 'subnet-a'));
    expect(error).toMatchObject({ code: 'USAGE', hint: 'Choose another subnet: --ec2-subnet subnet-0123' });
    await create('--ec2-subnet', 'subnet-b');
  });
});
