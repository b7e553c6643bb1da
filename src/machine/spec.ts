import { isIP } from 'node:net';
import { z } from 'zod';
import { hasLogin } from '../url-login.ts';
import type { EngineSpec, SharingSpec } from './model.ts';
import { describeOptions, type OptionSpec, type OptionValues } from './options.ts';

const UNPARSABLE_URL = 'a URL, with special characters of a password as %XX';
const LOGIN_IN_OPTION =
  'an option without a login, because every user of the host can read daemon.json (for a proxy: --engine-env HTTPS_PROXY=http://USER:PASSWORD@HOST:PORT)';

const nonEmptyText = (): z.ZodString => z.string().min(1);

/** The options of the engine: flags `--engine-*` and `--tls-san`. `EngineSpec` is the type of the parsed values. */
export const engineOptions = z.object({
  source: z.enum(['docker', 'distro', 'none', 'url']).default('docker').meta({
    description: 'Source of the engine, if the host has none',
    ask: 'If the host has no engine yet, install it from where?',
  }),
  version: nonEmptyText()
    .regex(/^[\w.:~+-]+$/, 'a version like 28.2 or 5:28.2.2-1~debian.12~bookworm')
    .optional()
    .meta({
      description: 'Engine version: 28.2.2 is exactly that one, 28.2 the newest that begins with it',
      value: 'version',
    }),
  installUrl: z
    .string()
    .regex(/^(https?|file):\/\/\S+$/, 'a URL')
    .refine((url) => URL.canParse(url), UNPARSABLE_URL)
    .optional()
    .meta({ description: 'Install script, for --engine-source url', env: 'MACHINE_DOCKER_INSTALL_URL', value: 'url' }),
  repositoryUrl: z
    .string()
    .regex(/^(https?|file):\/\/\S+$/, 'a URL')
    .refine((url) => URL.canParse(url), UNPARSABLE_URL)
    .optional()
    .meta({ description: "Mirror of Docker's package repository, for --engine-source docker", value: 'url' }),
  repositoryKey: z
    .string()
    .regex(/^[0-9a-fA-F]{40}$/, 'a key fingerprint of 40 hexadecimal digits')
    .optional()
    .meta({ description: "Fingerprint of the key that signs the mirror, if it is not Docker's key", value: 'hex' }),
  port: z
    .int()
    .min(1)
    .max(65535)
    .default(2376)
    .meta({
      description: 'TLS port of the engine',
      also: ['generic-engine-port'],
      env: 'GENERIC_ENGINE_PORT',
      value: 'port',
    }),
  opt: z
    .array(
      z
        .string()
        .regex(/^-{0,2}[a-z][a-z0-9-]*(=[^\n\r\0]*)?$/, 'an option of dockerd like log-driver=local')
        .refine((option) => !hasLogin(option), LOGIN_IN_OPTION),
    )
    .default([])
    .meta({ description: 'Option of dockerd, name=value', value: 'option' }),
  label: z
    .array(z.string().regex(/^[^=\n\r]+=[^\n\r\0]*$/, 'a label like key=value'))
    .default([])
    .meta({ description: 'Label of the engine, key=value', value: 'key=value' }),
  // systemd silently ignores variables with other names.
  env: z
    .array(z.string().regex(/^[A-Za-z_][A-Za-z0-9_]*=[^\n\r\0]*$/, 'a variable like NAME=value'))
    .default([])
    .meta({
      description: 'Environment variable of dockerd, such as HTTP_PROXY=http://proxy.example:3128',
      value: 'name=value',
    }),
  registryMirror: z
    .array(
      z
        .string()
        .regex(/^https?:\/\/[^\s/]+\/?/, 'a URL like https://mirror.example')
        .refine((url) => !hasLogin(url), 'a URL without a login, because the engine accepts none for a mirror'),
    )
    .default([])
    .meta({ description: 'Registry mirror to pull from', env: 'ENGINE_REGISTRY_MIRROR', value: 'url' }),
  insecureRegistry: z
    .array(z.string().regex(/^[^\s/]+(\/\d+)?$/, 'a registry like registry.example:5000 or 10.0.0.0/8'))
    .default([])
    .meta({ description: 'Registry to use without verified TLS', value: 'host' }),
  storageDriver: nonEmptyText()
    .regex(/^[a-z0-9-]+$/, 'a storage driver like overlay2')
    .optional()
    .meta({ description: 'Storage driver', value: 'name' }),
  tlsSan: z
    .array(
      z
        .string()
        .refine(
          (name) => isIP(name) !== 0 || /^(\*\.)?[a-zA-Z0-9]([a-zA-Z0-9.-]*[a-zA-Z0-9])?$/.test(name),
          'a host name or IP address',
        ),
    )
    .default([])
    .meta({ description: "Additional name or address in the engine's certificate", flag: 'tls-san', value: 'name' }),
});

export const engineOptionSpecs: readonly OptionSpec[] = describeOptions(engineOptions, 'engine');

/** Sets the source to `url` if an install script is given. An empty one removes the script that was given before. */
export function withInferredSource(values: OptionValues): OptionValues {
  return values.installUrl && values.source === undefined ? { ...values, source: 'url' } : values;
}

/**
 * Removes the install script if the source is another one: when a command or file made from this spec is read again,
 * the script would change the source.
 */
export function withoutUnusedInstallUrl(engine: EngineSpec): EngineSpec {
  return engine.source === 'url' ? engine : { ...engine, installUrl: undefined };
}

/**
 * For every command that works on a host. It has a variable but no flag, since every process can read an argv. Commands
 * only declare it: `main.ts` passes its value on in the `World`.
 */
export const sudoPasswordOption = z.string().optional().meta({
  description: 'Password for sudo on the host, if sudo asks for one',
  secret: true,
  env: 'SLIPWAY_SUDO_PASSWORD',
});

/** Allows at most 27 years, which systemd and dates with four-digit years support. */
const DURATION_PATTERN = /^[1-9](\d{0,3}[dh]|\d{0,5}m|\d{0,6}s)$/;

/** The options of the lifetime: flags `--ttl` and `--idle-stop`. `LifetimeSpec` is the type of the parsed values. */
export const lifetimeOptions = z.object({
  ttl: z.string().regex(DURATION_PATTERN, 'a time like 90m, 4h or 2d').optional().meta({
    description: 'End the machine after this time, even if this computer is off: 90m, 4h, 2d',
    env: 'SLIPWAY_TTL',
    value: 'time',
  }),
  idleStop: z.string().regex(DURATION_PATTERN, 'a time like 30m or 2h').optional().meta({
    description: 'Stop the machine after it has been idle for this time: 30m, 2h',
    env: 'SLIPWAY_IDLE_STOP',
    value: 'time',
  }),
});

export const lifetimeOptionSpecs: readonly OptionSpec[] = describeOptions(lifetimeOptions);

/**
 * The options of what a machine and this computer share: flags `--link` and `--publish-on`. `SharingSpec` is the type
 * of the parsed values.
 */
export const sharingOptions = z.object({
  link: z.boolean().optional().meta({
    description: 'Open the published ports of the machine on this computer; default: only those of local VMs',
    env: 'SLIPWAY_LINK',
  }),
  publishOn: z
    .string()
    .refine((address) => isIP(address) !== 0, 'an IP address of this computer, or 0.0.0.0 for all')
    .optional()
    .meta({
      description: 'Address of this computer on which published ports are opened',
      env: 'SLIPWAY_PUBLISH_ON',
      value: 'address',
      default: '127.0.0.1',
    }),
});

export const sharingOptionSpecs: readonly OptionSpec[] = describeOptions(sharingOptions);

/** Returns the member of a spec for these values, without those that are the default. */
export function sharingMember({ link, publishOn }: SharingSpec): { readonly sharing?: SharingSpec } {
  const sharing = {
    ...(link === undefined ? {} : { link }),
    ...(publishOn === undefined || publishOn === '127.0.0.1' ? {} : { publishOn }),
  };
  return Object.keys(sharing).length === 0 ? {} : { sharing };
}

export function isDuration(text: string): boolean {
  return DURATION_PATTERN.test(text);
}
