import { resolve } from 'node:path';
import { expect, test } from 'vitest';
import { create } from '../../src/cli/commands/create.ts';
import type { Command } from '../../src/cli/command.ts';
import { parseFlags } from '../../src/cli/parse-flags.ts';
import { setCredentialsForRun } from '../../src/machine-options/credential-flags.ts';
import { resolveSpec } from '../../src/machine-options/spec-from-flags.ts';
import type { Ec2Options } from '../../src/drivers/ec2/options.ts';
import type { MachineSpec } from '../../src/machine/model.ts';
import { parseTags } from '../../src/drivers/ec2/tags.ts';

type DockerMachineFlag = {
  readonly flag: string;
  /** The argument of the flag; undefined for a switch. */
  readonly argument?: string;
  readonly option: keyof Ec2Options;
  readonly value: unknown;
  /** Docker Machine's variable. For a switch it is set to 1. */
  readonly variable?: string;
  /** The value if the variable means more than one. */
  readonly valueFromVariable?: unknown;
};

/** The flags and variables of Docker Machine's driver, and the options that they set. */
const DOCKER_MACHINE_FLAGS: readonly DockerMachineFlag[] = [
  { flag: 'ami', argument: 'ami-0123', option: 'ami', value: 'ami-0123', variable: 'AWS_AMI' },
  { flag: 'block-duration-minutes', argument: '60', option: 'blockDurationMinutes', value: 60 },
  { flag: 'device-name', argument: '/dev/sda1', option: 'deviceName', value: '/dev/sda1', variable: 'AWS_DEVICE_NAME' },
  { flag: 'endpoint', argument: 'ec2.example', option: 'endpoint', value: 'ec2.example', variable: 'AWS_ENDPOINT' },
  {
    flag: 'iam-instance-profile',
    argument: 'web',
    option: 'iamInstanceProfile',
    value: 'web',
    variable: 'AWS_INSTANCE_PROFILE',
  },
  { flag: 'insecure-transport', option: 'insecureTransport', value: true, variable: 'AWS_INSECURE_TRANSPORT' },
  {
    flag: 'instance-type',
    argument: 't2.micro',
    option: 'instanceType',
    value: 't2.micro',
    variable: 'AWS_INSTANCE_TYPE',
  },
  { flag: 'keypair-name', argument: 'laptop', option: 'keypairName', value: 'laptop', variable: 'AWS_KEYPAIR_NAME' },
  { flag: 'monitoring', option: 'monitoring', value: true },
  { flag: 'open-port', argument: '8080', option: 'openPort', value: ['8080'] },
  { flag: 'private-address-only', option: 'privateAddressOnly', value: true },
  { flag: 'region', argument: 'us-east-1', option: 'region', value: 'us-east-1' },
  { flag: 'request-spot-instance', option: 'spot', value: true },
  { flag: 'retries', argument: '-1', option: 'retries', value: -1 },
  { flag: 'root-size', argument: '20', option: 'rootSize', value: 20, variable: 'AWS_ROOT_SIZE' },
  {
    flag: 'security-group',
    argument: 'docker-machine',
    option: 'securityGroup',
    value: ['docker-machine'],
    variable: 'AWS_SECURITY_GROUP',
  },
  {
    flag: 'security-group-readonly',
    option: 'securityGroupReadonly',
    value: true,
    variable: 'AWS_SECURITY_GROUP_READONLY',
  },
  { flag: 'spot-price', argument: '0.50', option: 'spotPrice', value: '0.50' },
  {
    flag: 'ssh-keypath',
    argument: '/root/web.pem',
    option: 'sshKey',
    value: resolve('/root/web.pem'),
    variable: 'AWS_SSH_KEYPATH',
  },
  { flag: 'ssh-port', argument: '2222', option: 'sshPort', value: 2222, variable: 'AWS_SSH_PORT' },
  { flag: 'ssh-user', argument: 'ubuntu', option: 'sshUser', value: 'ubuntu', variable: 'AWS_SSH_USER' },
  { flag: 'subnet-id', argument: 'subnet-0123', option: 'subnet', value: 'subnet-0123', variable: 'AWS_SUBNET_ID' },
  {
    flag: 'tags',
    argument: 'team,web,cost,42',
    option: 'tags',
    value: ['team,web,cost,42'],
    variable: 'AWS_TAGS',
    valueFromVariable: ['team', 'web', 'cost', '42'],
  },
  { flag: 'use-ebs-optimized-instance', option: 'ebsOptimized', value: true },
  { flag: 'use-private-address', option: 'usePrivateAddress', value: true },
  {
    flag: 'userdata',
    argument: '/root/data.sh',
    option: 'userData',
    value: resolve('/root/data.sh'),
    variable: 'AWS_USERDATA',
  },
  { flag: 'volume-type', argument: 'gp2', option: 'volumeType', value: 'gp2', variable: 'AWS_VOLUME_TYPE' },
  { flag: 'vpc-id', argument: 'vpc-0123', option: 'vpc', value: 'vpc-0123', variable: 'AWS_VPC_ID' },
  { flag: 'zone', argument: 'a', option: 'zone', value: 'a', variable: 'AWS_ZONE' },
];

function specFromArgv(env: Readonly<Record<string, string>>, argv: readonly string[]): MachineSpec {
  const { flags } = parseFlags(create as unknown as Command, ['web', '--driver', 'amazonec2', ...argv]);
  const { driver, ...driverFlags } = flags;
  return resolveSpec({ name: 'web', driver: String(driver), flags: driverFlags, env, before: undefined, profiles: [] });
}

function optionsFromArgv(
  argv: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Readonly<Record<string, unknown>> {
  return specFromArgv(env, argv).options;
}

test.each(DOCKER_MACHINE_FLAGS.map((old) => [old.flag, old.option, old] as const))(
  '--amazonec2-%s sets the option %s',
  (...[, , { flag, argument, option, value }]) => {
    expect(optionsFromArgv([])[option], 'without it').not.toEqual(value);
    const words = argument === undefined ? [`--amazonec2-${flag}`] : [`--amazonec2-${flag}`, argument];
    expect(optionsFromArgv(words)[option]).toEqual(value);
  },
);

test.each(
  DOCKER_MACHINE_FLAGS.flatMap((old) => (old.variable === undefined ? [] : [[old.variable, old.option, old] as const])),
)(
  'the variable %s sets the option %s',
  (...[, , { variable = '', argument = '1', option, value, valueFromVariable = value }]) => {
    expect(optionsFromArgv([], { [variable]: argument })[option]).toEqual(valueFromVariable);
  },
);

test("tags in Docker Machine's form mean the same as flag and as variable", () => {
  const expected = [
    ['team', 'web'],
    ['cost', '42'],
  ];
  expect(parseTags(['team,web,cost,42'])).toEqual(expected);
  expect(parseTags(optionsFromArgv([], { AWS_TAGS: 'team,web,cost,42' }).tags as string[])).toEqual(expected);
  expect(parseTags(optionsFromArgv([], { AWS_TAGS: 'team=web,cost=42' }).tags as string[])).toEqual(expected);
  expect(parseTags(optionsFromArgv(['--ec2-tags', 'team=a=b', '--ec2-tags', 'empty=']).tags as string[])).toEqual([
    ['team', 'a=b'],
    ['empty', ''],
  ]);
});

test("credential flags set the variables that AWS's tools read, and no option", () => {
  const argv = ['--amazonec2-access-key', 'AKIA1', '--amazonec2-secret-key', 's3', '--amazonec2-session-token', 't1'];
  const { flags } = parseFlags(create as unknown as Command, ['web', '--driver', 'amazonec2', ...argv]);
  const environment: Record<string, string | undefined> = {};
  const messages: string[] = [];
  setCredentialsForRun(flags, {
    setEnvForRun: (name, value) => void (environment[name] = value),
    say: (line) => void messages.push(line),
  });
  expect(environment).toStrictEqual({
    AWS_PROFILE: undefined,
    AWS_ACCESS_KEY_ID: 'AKIA1',
    AWS_SECRET_ACCESS_KEY: 's3',
    AWS_SESSION_TOKEN: 't1',
  });
  expect(messages.join()).toContain('Every process on this computer can read');
  expect(messages.join()).not.toMatch(/AKIA1|s3\b|t1\b/);
  expect(JSON.stringify(optionsFromArgv(argv))).not.toMatch(/AKIA1/);
});

test("credential flags can't be combined with a profile, and replace a recorded one", () => {
  const argv = ['web', '--driver', 'ec2', '--amazonec2-access-key', 'AKIA1'];
  const flagsOf = (...more: readonly string[]) => parseFlags(create as unknown as Command, [...argv, ...more]).flags;
  const environment: string[] = [];
  const cli = { setEnvForRun: (name: string) => void environment.push(name), say: () => {} };
  expect(() => setCredentialsForRun(flagsOf('--ec2-profile', 'work'), cli)).toThrow(
    "--amazonec2-access-key and --ec2-profile can't be used together",
  );
  expect(environment).toEqual([]);
  // An earlier create of this machine recorded a profile.
  const before = { ...specFromArgv({}, ['--ec2-profile', 'work']), id: '0b6f0d2c-1f3a-4e0e-9d53-000000000001' };
  expect(before.options.profile).toBe('work');
  const { driver, ...flags } = flagsOf();
  const resolved = resolveSpec({ name: 'web', driver: String(driver), flags, env: {}, before, profiles: [] });
  expect(resolved.options.profile).toBeUndefined();
});
