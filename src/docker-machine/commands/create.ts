import { credentialOptionSpecs, driverOptionSpecs, machineOptionSpecs } from '../../machine-options/option-specs.ts';
import { setCredentialsForRun } from '../../machine-options/credential-flags.ts';
import { resolveSpec } from '../../machine-options/spec-from-flags.ts';
import { findDefaultDriver } from '../../drivers/availability.ts';
import { getDriver, drivers, loadDriver } from '../../drivers/registry.ts';
import { SlipwayError } from '../../errors.ts';
import { createResolvedMachine, resolveCreateSpec } from '../../operations/create.ts';
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

const PRE_CREATE_FAILED_STATUS = 3;

const driverFlag: Flag = {
  names: ['driver', 'd'],
  kind: 'text',
  usage: `Driver to create machine with: ${drivers.map(({ name, aliases }) => aliases?.[0] ?? name).join(', ')}; without it the best local one here.`,
  env: 'MACHINE_DRIVER',
};

/** Flags that every driver takes. */
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
    const { typed, values, words, world } = call;
    const [name, ...extra] = words;
    if (name === undefined) throw new DockerMachineError('Error: No machine name specified');
    if (extra.length > 0)
      throw new DockerMachineError(`Invalid command line. Found extra arguments [${extra.join(' ')}]`);
    if (!isMachineName(name))
      throw new DockerMachineError(
        'Error creating machine: Invalid hostname specified. Allowed hostname chars are: 0-9a-zA-Z . -',
      );
    const driver = await resolveDriver(call.argv, call);
    const before = await world.store.find(name);
    if (before?.phase === 'ready') throw new DockerMachineError(`Docker machine "${name}" already exists`);
    const swarm = parseSwarmFlags(values);
    if (swarm.IsSwarm && driver !== 'none')
      call.say(
        'Standalone Swarm is gone from Docker: --swarm is kept with the machine, and nothing is set up for it. "docker swarm init" there makes a swarm.',
      );
    const flags = toSlipwayFlags(typed);
    const store = openDockerMachineStore(call.root, { swarm, authority: authorityFilesFrom(call) });
    await ensureAuthority(call.root, authorityFilesFrom(call), call.print);
    if (driver === 'none') {
      await recordExistingEngine(name, flags, { ...world, store });
      return call.print(connectHint(name));
    }
    setCredentialsForRun(flags, call);
    const spec = buildSpec(name, driver, flags, before?.spec, call);
    await seedMachineAuthority(name, store, call.root, authorityFilesFrom(call));
    const ready = await runCreate(spec, { ...call, world: { ...call.worldOf(name), store } });
    call.closeProgress();
    call.print('Docker is up and running!');
    call.print(connectHint(ready.spec.name));
  },
});

function connectHint(name: string): string {
  return `To see how to connect your Docker Client to the Docker Engine running on this virtual machine, run: docker-machine env ${name}`;
}

/** The driver that the command line names, the environment, or this computer; by our name where we have it. */
async function resolveDriver(
  argv: readonly string[],
  { env, world }: Pick<DockerMachineInvocation, 'env' | 'world'>,
): Promise<string> {
  const at = argv.findIndex((word) => /^--?(d|driver)(=|$)/.test(word));
  const inline = /=(.*)$/s.exec(argv[at] ?? '')?.[1];
  const said = at < 0 ? env.MACHINE_DRIVER : (inline ?? argv[at + 1]);
  if (said) {
    const known = findDriverName(said);
    if (known !== undefined) return known;
    throw new DockerMachineError(
      `Driver "${said}" not found. Do you have the plugin binary "docker-machine-driver-${said}" accessible in your PATH?`,
    );
  }
  const best = await findDefaultDriver(drivers, world.computer);
  if (best) return best.driver.name;
  throw new DockerMachineError(
    'No local driver works here (why: slipway drivers). Name one: docker-machine create --driver generic …',
  );
}

export function driverFlags(driver: string): readonly Flag[] {
  const own = [...(driverOptionSpecs[driver] ?? []), ...credentialOptionsOf(driver)];
  // One option under one name: what is among those of the engine already is not listed twice.
  return own.filter(({ flag }) => !sharedFlags.some(({ names }) => names.includes(flag))).map(toFlag);
}

function credentialOptionsOf(driver: string): readonly OptionSpec[] {
  const { credentials } = getDriver(driver).account ?? {};
  return credentials ? describeOptions(credentials, driver) : [];
}

/** What was typed, by the names of our own flags and as our schemas take it. */
function toSlipwayFlags(typed: FlagValues): OptionValues {
  const infos = [...machineOptionSpecs, ...credentialOptionSpecs];
  const named = Object.entries(typed).flatMap(([key, value]) => {
    const info = infos.find(({ flag, aliases }) => flag === key || aliases.includes(key));
    return info ? [[info.flag, typeof value === 'string' ? coerceOptionValue(info, value) : value] as const] : [];
  });
  const flags: Record<string, unknown> = Object.fromEntries(named);
  // What others of its kind understand as "there is an engine already".
  if (flags['engine-install-url'] === 'none') {
    delete flags['engine-install-url'];
    flags['engine-source'] = 'none';
  }
  return flags;
}

/** What the old tool does where nothing is said, and scripts rely on. */
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

function buildSpec(
  name: string,
  driver: string,
  flags: OptionValues,
  before: MachineSpec | undefined,
  { env }: DockerMachineInvocation,
): MachineSpec {
  const initial = DRIVER_DEFAULTS[driver];
  const unsaid = initial !== undefined && flags[initial.key] === undefined && !initial.unless.some((key) => env[key]);
  const given = unsaid && before === undefined ? { ...flags, [initial.key]: initial.value } : flags;
  try {
    return resolveSpec({ name, driver, flags: given, env, before, profiles: [] });
  } catch (error) {
    if (!(error instanceof SlipwayError)) throw error;
    throw new DockerMachineError(
      `Error setting machine configuration from flags provided: ${formatSlipwayError(error)}`,
      { cause: error },
    );
  }
}

/** All that is refused before anything exists has a status of its own. */
async function runCreate(spec: MachineSpec, { print, world }: DockerMachineInvocation): Promise<ReadyMachine> {
  const driver = await loadDriver(spec.driver);
  print('Running pre-create checks...');
  const settled = await (async () => {
    await requirePrograms(spec.driver, world);
    return resolveCreateSpec(driver, spec, world);
  })().catch((error: unknown) => {
    if (!(error instanceof SlipwayError)) throw error;
    if (error.code === 'CANCELED')
      throw new DockerMachineError(formatSlipwayError(error), { status: INTERRUPTED_STATUS, cause: error });
    throw new DockerMachineError(`Error with pre-create check: ${JSON.stringify(formatSlipwayError(error))}`, {
      status: PRE_CREATE_FAILED_STATUS,
      cause: error,
    });
  });
  if (driver.kind !== 'existing') print('Creating machine...');
  try {
    return await createResolvedMachine(settled, world);
  } catch (error) {
    if (!(error instanceof SlipwayError)) throw error;
    if (error.code === 'CANCELED')
      throw new DockerMachineError(formatSlipwayError(error), { status: INTERRUPTED_STATUS, cause: error });
    throw new DockerMachineError(
      `Error creating machine: ${ERROR_PREFIXES[world.progress.lastStepId()] ?? 'Error running provisioning: '}${formatSlipwayError(error)}`,
      { cause: error },
    );
  }
}

/** What the old tool says of the step that failed. */
const ERROR_PREFIXES: Readonly<Record<string, string>> = {
  '': '',
  create: 'Error in driver during machine creation: ',
  address: 'Error waiting for machine to be running: ',
  boot: 'Error waiting for machine to be running: ',
  connect: 'Error detecting OS: ',
  facts: 'Error detecting OS: ',
  verify: 'Error checking the host: ',
};

async function requirePrograms(name: string, { computer }: DockerMachineInvocation['world']): Promise<void> {
  const missing = await findMissingPrograms(getDriver(name).programs?.(computer) ?? [], computer);
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

/** An engine that exists is taken at its word: who has its certificates puts them beside its record. */
async function recordExistingEngine(
  name: string,
  flags: OptionValues,
  { store }: DockerMachineInvocation['world'],
): Promise<void> {
  const url = flags['none-url'];
  if (typeof url !== 'string' || url === '')
    throw new DockerMachineError(
      'Error setting machine configuration from flags provided: --url option is required when no driver is selected',
    );
  // The old tool takes any text for a URL, and its callers use some that are none.
  const asIfUrl = resolveSpec({
    name,
    driver: 'none',
    flags: { ...flags, 'none-url': 'tcp://localhost:2376' },
    env: {},
    before: undefined,
    profiles: [],
  });
  const spec: MachineSpec = { ...asIfUrl, options: { url } };
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
