import { join } from 'node:path';
import { vi } from 'vitest';
import { create } from '../../src/cli/commands/create.ts';
import { parseFlags } from '../../src/cli/parse-flags.ts';
import { resolveSpec } from '../../src/machine-options/spec-from-flags.ts';
import type { Command } from '../../src/cli/command.ts';
import type { FirstBootConfig, CreateCall, Target } from '../../src/drivers/contract.ts';
import { driver as ec2 } from '../../src/drivers/ec2/driver.ts';
import { ec2 as ec2Manifest } from '../../src/drivers/ec2/manifest.ts';
import type { Ec2Options } from '../../src/drivers/ec2/options.ts';
import type { Cloud } from './cloud.ts';
import { createRecordingCall, type RecordingCall } from './recording-call.ts';

export const BOOT: FirstBootConfig = {
  authorizedKey: 'ssh-ed25519 AAAALOGIN slipway web',
  hostKey: { private: 'PRIVATE\n', public: 'ssh-ed25519 AAAAHOST' },
  enginePort: 2376,
  files: [],
};

/**
 * Replaces the environment variables that the SDK reads with the double's, so that it does not find the developer's own
 * credentials. `vi.unstubAllEnvs` restores them.
 */
export function stubUserEnvironment(
  cloud: Pick<Cloud, 'env'>,
  home: string,
  more: Readonly<Record<string, string>> = {},
): void {
  for (const name of Object.keys(process.env).filter((one) => one.startsWith('AWS_'))) vi.stubEnv(name, undefined);
  const files = { AWS_CONFIG_FILE: join(home, 'config'), AWS_SHARED_CREDENTIALS_FILE: join(home, 'credentials') };
  // Turns off a warning that the bundle of the SDK does not print.
  vi.stubEnv('AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED', 'true');
  for (const [name, value] of Object.entries({ ...files, ...cloud.env, ...more })) vi.stubEnv(name, value);
}

/** Parses flags as the command line does. */
export function parseEc2Options(argv: readonly string[], driver = 'ec2'): Ec2Options {
  const { flags } = parseFlags(create as unknown as Command, ['web', '--driver', driver, ...argv]);
  const { driver: _, ...given } = flags;
  const spec = resolveSpec({ name: 'web', driver, flags: given, env: process.env, before: undefined, profiles: [] });
  return ec2Manifest.options.parse(spec.options);
}

export function recordingCall(home: string, signal?: AbortSignal): RecordingCall {
  const computer = {
    platform: 'linux',
    arch: 'x64',
    env: process.env,
    home: join(home, '.slipway'),
    templates: '',
  } as const;
  return createRecordingCall(computer, signal === undefined ? {} : { signal });
}

let lastMachineNumber = 0;

/** Returns a new machine with these options, which has no resources yet. */
export function newTarget(options: Ec2Options, more: Partial<Target<Ec2Options>> = {}): Target<Ec2Options> {
  lastMachineNumber += 1;
  return {
    id: `0b6f0d2c-1f3a-4e0e-9d53-${String(lastMachineNumber).padStart(12, '0')}`,
    name: 'web',
    options,
    ...more,
  };
}

/** Calls the driver as `create` does: validate, resolveOptions, create. */
export async function createTarget(wanted: Target<Ec2Options>, call: CreateCall): Promise<Target<Ec2Options>> {
  await ec2.machines.validate?.(wanted, call);
  const options = (await ec2.cloud.resolveOptions(wanted, call)) ?? wanted.options;
  const target = { ...wanted, options };
  await ec2.machines.create(target, BOOT, call);
  return target;
}

/** Creates two machines as a batch. */
export async function createPair(
  call: CreateCall,
  argv: readonly string[] = [],
): Promise<[Target<Ec2Options>, Target<Ec2Options>]> {
  const options = (await ec2.cloud.resolveOptions(newTarget(parseEc2Options(argv)), call)) ?? parseEc2Options(argv);
  const of = (index: number): Target<Ec2Options> =>
    newTarget(options, {
      name: `web-${index + 1}`,
      batch: { id: '9d1f9a52-6f0a-4c8c-9d8e-0f6f3f1b2c3d', index, size: 2 },
    });
  const both: [Target<Ec2Options>, Target<Ec2Options>] = [of(0), of(1)];
  await ec2.cloud.createMany(both, BOOT, call);
  return both;
}
