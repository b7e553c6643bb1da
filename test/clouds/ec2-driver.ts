import { join } from 'node:path';
import { vi } from 'vitest';
import { create } from '../../src/cli/commands/create.ts';
import { parseFlags } from '../../src/cli/flags.ts';
import { specFrom } from '../../src/cli/spec.ts';
import type { Command } from '../../src/cli/command.ts';
import type { Boot, MakingCall, Target } from '../../src/drivers/contract.ts';
import { ec2 } from '../../src/drivers/ec2/driver.ts';
import type { Options } from '../../src/drivers/ec2/options.ts';
import type { Cloud } from './cloud.ts';

export const BOOT: Boot = {
  authorizedKey: 'ssh-ed25519 AAAALOGIN slipway web',
  hostKey: { private: 'PRIVATE\n', public: 'ssh-ed25519 AAAAHOST' },
  enginePort: 2376,
  files: [],
};

/** The SDK reads the process: what it finds there is the double's, and nothing of who runs the tests. Ends with vi.unstubAllEnvs. */
export function asUserOf(cloud: Pick<Cloud, 'env'>, home: string, more: Readonly<Record<string, string>> = {}): void {
  for (const name of Object.keys(process.env).filter((one) => one.startsWith('AWS_'))) vi.stubEnv(name, undefined);
  const files = { AWS_CONFIG_FILE: join(home, 'config'), AWS_SHARED_CREDENTIALS_FILE: join(home, 'credentials') };
  // Of no concern to a bundle.
  vi.stubEnv('AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED', 'true');
  for (const [name, value] of Object.entries({ ...files, ...cloud.env, ...more })) vi.stubEnv(name, value);
}

/** What the command line makes of these flags, by its own parser. */
export function optionsOf(argv: readonly string[], driver = 'ec2'): Options {
  const { flags } = parseFlags(create as unknown as Command, ['web', '--driver', driver, ...argv]);
  const { driver: _, ...given } = flags;
  const spec = specFrom({ name: 'web', driver, flags: given, env: process.env, before: undefined, profiles: [] });
  return ec2.options.parse(spec.options);
}

export type Calling = MakingCall & { readonly notes: readonly string[]; readonly asked: readonly string[] };

export function calling(home: string, signal: AbortSignal = new AbortController().signal): Calling {
  const notes: string[] = [];
  const asked: string[] = [];
  return {
    computer: { platform: 'linux', arch: 'x64', env: process.env, home: join(home, '.slipway'), templates: '' },
    log: () => {},
    note: (text) => notes.push(text),
    signal,
    notes,
    asked,
    asking: async (what) => void asked.push(what),
  };
}

let last = 0;

/** A machine of these options that nothing knows yet. */
export function machineWith(options: Options, more: Partial<Target<Options>> = {}): Target<Options> {
  last += 1;
  return { id: `0b6f0d2c-1f3a-4e0e-9d53-${String(last).padStart(12, '0')}`, name: 'web', options, ...more };
}

/** As `create` calls it: check, settle, create. */
export async function make(wanted: Target<Options>, call: MakingCall): Promise<Target<Options>> {
  await ec2.check?.(wanted, call);
  const options = (await ec2.settle?.(wanted, call)) ?? wanted.options;
  const target = { ...wanted, options };
  await ec2.create?.(target, BOOT, call);
  return target;
}

/** Two machines by one call. */
export async function pair(
  call: MakingCall,
  argv: readonly string[] = [],
): Promise<[Target<Options>, Target<Options>]> {
  const options = (await ec2.settle?.(machineWith(optionsOf(argv)), call)) ?? optionsOf(argv);
  const of = (index: number): Target<Options> =>
    machineWith(options, {
      name: `web-${index + 1}`,
      batch: { id: '9d1f9a52-6f0a-4c8c-9d8e-0f6f3f1b2c3d', index, size: 2 },
    });
  const both: [Target<Options>, Target<Options>] = [of(0), of(1)];
  await ec2.createMany?.(both, BOOT, call);
  return both;
}
