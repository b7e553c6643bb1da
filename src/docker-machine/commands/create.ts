import { credentialOptionSpecs, driverOptionSpecs, machineOptionSpecs } from '../../machine-options/option-specs.ts';
import { setCredentialsForRun } from '../../machine-options/credential-flags.ts';
import { resolveSpec } from '../../machine-options/spec-from-flags.ts';
import { findDefaultDriver } from '../../drivers/availability.ts';
import { getDriver, drivers, loadDriver } from '../../drivers/registry.ts';
import { SlipwayError } from '../../errors.ts';
import { createResolvedMachine, resolveCreateSpec, type ResolvedSpec } from '../../operations/create.ts';
import { validateSpec } from '../../operations/validate-spec.ts';
import type { World } from '../../operations/world.ts';
import { isMachineName, type MachineSpec, type ReadyMachine } from '../../machine/model.ts';
import { coerceOptionValue, describeOptions, type OptionSpec, type OptionValues } from '../../machine/options.ts';
import { planInstall, findMissingPrograms } from '../../computer/programs.ts';
import { engineOptionSpecs } from '../../machine/spec.ts';
import { ensureAuthority, seedMachineAuthority } from '../machine-authority.ts';
import {
  authorityFilesFrom,
  defineDockerMachineCommand,
  type DockerMachineInvocation,
} from '../docker-machine-command.ts';
import { DockerMachineError, INTERRUPTED_STATUS, formatSlipwayError } from '../docker-machine-error.ts';
import { type Flag, toFlag, type FlagValues } from '../go-flags.ts';
import { findDriverName } from '../machine-arguments.ts';
import { openDockerMachineStore } from '../docker-machine-store.ts';
import { swarmFlags, parseSwarmFlags } from '../swarm-options.ts';

/** Docker Machine's exit status for a create that was refused before anything existed. */
const PRE_CREATE_FAILED_STATUS = 3;

const driverFlag: Flag = {
  names: ['driver', 'd'],
  kind: 'text',
  usage: `Driver to create machine with: ${drivers.map(({ name, aliases }) => aliases?.[0] ?? name).join(', ')}; without it the best local one here.`,
  env: 'MACHINE_DRIVER',
};

/**
 * The flags that every driver accepts. Secrets have no flag, since other users of the computer can see command lines.
 */
const sharedFlags: readonly Flag[] = [driverFlag, ...swarmFlags, ...engineOptionSpecs.filter(isNotSecret).map(toFlag)];

function isNotSecret({ secret }: OptionSpec): boolean {
  return !secret;
}

export const create = defineDockerMachineCommand({
  name: 'create',
  summary: 'Create a machine',
  argsUsage: '[arg...]',
  details:
    "Run 'docker-machine create --driver name --help' to include the create flags for that driver in the help text.",
  flags: sharedFlags,
  loadDriverFlags: async (argv, call) => driverFlags(await resolveDriver(argv, call)),
  async run(call) {
    const name = requireNewName(call);
    const driver = await resolveDriver(call.argv, call);
    const existing = await call.world.store.find(name);
    if (existing?.phase === 'ready') throw new DockerMachineError(`Docker machine "${name}" already exists`);
    const swarm = parseSwarmFlags(call.values);
    if (swarm.IsSwarm && driver !== 'none') call.say(NO_SWARM_NOTICE);
    const flags = toSlipwayFlags(call.typed);
    const authority = authorityFilesFrom(call);
    const store = openDockerMachineStore(call.root, { swarm, authority });
    await ensureAuthority(call.root, authority, call.print);
    if (driver === 'none') {
      await recordExistingEngine(name, flags, { ...call.world, store });
      return call.print(connectHint(name));
    }
    setCredentialsForRun(flags, call);
    const spec = buildSpec({ name, driver, flags, existing: existing?.spec }, call);
    await seedMachineAuthority(name, store, call.root, authority);
    const machine = await runCreate(spec, { ...call, world: { ...call.worldOf(name), store } });
    call.closeProgress();
    call.print('Docker is up and running!');
    call.print(connectHint(machine.spec.name));
  },
});

const NO_SWARM_NOTICE =
  'Docker no longer has standalone Swarm: the --swarm flags are recorded, but no swarm is set up. To create a swarm, run "docker swarm init" on the machine.';

function requireNewName({ words }: DockerMachineInvocation): string {
  const [name, ...extra] = words;
  if (name === undefined) throw new DockerMachineError('Error: No machine name specified');
  if (extra.length > 0)
    throw new DockerMachineError(`Invalid command line. Found extra arguments [${extra.join(' ')}]`);
  if (isMachineName(name)) return name;
  throw new DockerMachineError(
    'Error creating machine: Invalid hostname specified. Allowed hostname chars are: 0-9a-zA-Z . -',
  );
}

function connectHint(name: string): string {
  return `To see how to connect your Docker Client to the Docker Engine running on this virtual machine, run: docker-machine env ${name}`;
}

/**
 * Returns Slipway's name of the driver: from the command line, from MACHINE_DRIVER, or of the best local driver on this
 * computer.
 */
async function resolveDriver(
  argv: readonly string[],
  { env, world }: Pick<DockerMachineInvocation, 'env' | 'world'>,
): Promise<string> {
  const index = argv.findIndex((word) => /^--?(d|driver)(=|$)/.test(word));
  const inline = /=(.*)$/s.exec(argv[index] ?? '')?.[1];
  const name = index < 0 ? env.MACHINE_DRIVER : (inline ?? argv[index + 1]);
  if (name) {
    const known = findDriverName(name);
    if (known !== undefined) return known;
    throw new DockerMachineError(
      `Driver "${name}" not found. Do you have the plugin binary "docker-machine-driver-${name}" accessible in your PATH?`,
    );
  }
  const best = await findDefaultDriver(drivers, world.computer);
  if (best) return best.driver.name;
  throw new DockerMachineError(
    'No local driver works on this computer. To see why: slipway drivers. To choose another: docker-machine create --driver generic …',
  );
}

/** Returns the flags of one driver, without those that every driver takes. */
export function driverFlags(driver: string): readonly Flag[] {
  const specs = [...(driverOptionSpecs[driver] ?? []), ...credentialOptionsOf(driver)];
  // A driver's option may have the same name as an engine option; it is listed once.
  return specs.filter(({ flag }) => !sharedFlags.some(({ names }) => names.includes(flag))).map(toFlag);
}

function credentialOptionsOf(driver: string): readonly OptionSpec[] {
  const { credentials } = getDriver(driver).account ?? {};
  return credentials ? describeOptions(credentials, driver) : [];
}

/**
 * Returns the flags that the user typed, by the names of Slipway's flags and with values that the options' schemas
 * accept.
 */
function toSlipwayFlags(typed: FlagValues): OptionValues {
  const specs = [...machineOptionSpecs, ...credentialOptionSpecs];
  const entries = Object.entries(typed).flatMap(([key, value]) => {
    const spec = specs.find(({ flag, aliases }) => flag === key || aliases.includes(key));
    return spec ? [[spec.flag, typeof value === 'string' ? coerceOptionValue(spec, value) : value] as const] : [];
  });
  const flags: Record<string, unknown> = Object.fromEntries(entries);
  // In Docker Machine, this URL means that the host has an engine already.
  if (flags['engine-install-url'] === 'none') {
    delete flags['engine-install-url'];
    flags['engine-source'] = 'none';
  }
  return flags;
}

/**
 * Docker Machine's defaults that Slipway does not have and scripts rely on. They do not apply if a variable of `unless`
 * is set.
 */
const DRIVER_DEFAULTS: Readonly<
  Record<string, { readonly key: string; readonly value: string; readonly unless: readonly string[] }>
> = {
  ec2: {
    key: 'ec2-region',
    value: 'us-east-1',
    unless: ['AWS_REGION', 'AWS_DEFAULT_REGION', 'AWS_PROFILE', 'AWS_CONFIG_FILE'],
  },
  gce: { key: 'gce-zone', value: 'us-central1-a', unless: ['GOOGLE_ZONE', 'CLOUDSDK_COMPUTE_ZONE'] },
};

type SpecInput = {
  readonly name: string;
  readonly driver: string;
  readonly flags: OptionValues;
  /** The spec of an interrupted create, which this one continues. */
  readonly existing: MachineSpec | undefined;
};

function buildSpec({ name, driver, flags, existing }: SpecInput, { env }: DockerMachineInvocation): MachineSpec {
  const initial = DRIVER_DEFAULTS[driver];
  const needsDefault =
    existing === undefined &&
    initial !== undefined &&
    flags[initial.key] === undefined &&
    !initial.unless.some((variable) => env[variable]);
  const completeFlags = needsDefault ? { ...flags, [initial.key]: initial.value } : flags;
  try {
    return resolveSpec({ name, driver, flags: completeFlags, env, before: existing, profiles: [] });
  } catch (error) {
    if (!(error instanceof SlipwayError)) throw error;
    throw new DockerMachineError(
      `Error setting machine configuration from flags provided: ${formatSlipwayError(error)}`,
      { cause: error },
    );
  }
}

async function runCreate(spec: MachineSpec, { print, world }: DockerMachineInvocation): Promise<ReadyMachine> {
  const driver = await loadDriver(spec.driver);
  print('Running pre-create checks...');
  const resolved = await runPreCreateChecks(spec, world);
  if (driver.kind !== 'existing') print('Creating machine...');
  try {
    return await createResolvedMachine(resolved, world);
  } catch (error) {
    throw createError(error, (text) => {
      const prefix = ERROR_PREFIXES[world.progress.lastStepId()] ?? 'Error running provisioning: ';
      return { message: `Error creating machine: ${prefix}${text}`, status: 1 };
    });
  }
}

async function runPreCreateChecks(spec: MachineSpec, world: World): Promise<ResolvedSpec> {
  try {
    await requirePrograms(spec, world);
    return await resolveCreateSpec(await validateSpec(spec, world), world);
  } catch (error) {
    throw createError(error, (text) => ({
      message: `Error with pre-create check: ${JSON.stringify(text)}`,
      status: PRE_CREATE_FAILED_STATUS,
    }));
  }
}

/**
 * Returns the error that ends `create`. An interruption has its own status and no prefix; errors that are not a
 * SlipwayError are returned unchanged.
 */
function createError(
  error: unknown,
  describe: (text: string) => { readonly message: string; readonly status: number },
): unknown {
  if (!(error instanceof SlipwayError)) return error;
  const text = formatSlipwayError(error);
  const isInterrupt = error.code === 'CANCELED';
  const { message, status } = isInterrupt ? { message: text, status: INTERRUPTED_STATUS } : describe(text);
  return new DockerMachineError(message, { status, cause: error });
}

/** The prefixes of Docker Machine's messages, by the id of the step that failed. */
const ERROR_PREFIXES: Readonly<Record<string, string>> = {
  '': '',
  create: 'Error in driver during machine creation: ',
  address: 'Error waiting for machine to be running: ',
  boot: 'Error waiting for machine to be running: ',
  connect: 'Error detecting OS: ',
  facts: 'Error detecting OS: ',
  verify: 'Error checking the host: ',
};

async function requirePrograms({ driver, options }: MachineSpec, { computer }: World): Promise<void> {
  const missing = await findMissingPrograms(getDriver(driver).programs?.(computer, options) ?? [], computer);
  if (missing.length === 0) return;
  const { instruction } = await planInstall(missing, computer);
  throw new SlipwayError(
    'PROGRAM_MISSING',
    `Missing on this computer: ${missing.map(({ command }) => command).join(', ')}`,
    {
      hint: `To install: ${instruction}`,
    },
  );
}

/**
 * Records an existing engine without connecting to it: users who have its certificates put them into the machine's
 * folder themselves.
 */
async function recordExistingEngine(name: string, flags: OptionValues, { store }: World): Promise<void> {
  const url = flags['none-url'];
  if (typeof url !== 'string' || url === '')
    throw new DockerMachineError(
      'Error setting machine configuration from flags provided: --url option is required when no driver is selected',
    );
  // Docker Machine accepts any text as a URL, and scripts rely on that, so a valid URL is a placeholder for it here.
  const placeholder = resolveSpec({
    name,
    driver: 'none',
    flags: { ...flags, 'none-url': 'tcp://localhost:2376' },
    env: {},
    before: undefined,
    profiles: [],
  });
  const spec: MachineSpec = { ...placeholder, options: { url } };
  const address = /^\w+:\/\/(\[[^\]]+\]|[^:/]+)/.exec(url)?.[1]?.replaceAll(/[[\]]/g, '') ?? url;
  await using _lock = await store.lock(name);
  await store.write({
    version: 1,
    phase: 'ready',
    spec,
    host: { address, engine: { url } },
    endpoint: { url, tls: !url.startsWith('unix:') },
  });
}
