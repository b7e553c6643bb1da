import { credentialInfos, driverInfos, lendCredentials, machineInfos, specFrom } from '../../cli/spec.ts';
import { preferredHere } from '../../drivers/availability.ts';
import { driverNamed, drivers } from '../../drivers/registry.ts';
import { SlipwayError } from '../../errors.ts';
import { createSettled, settle } from '../../operations/create.ts';
import { isMachineName, type MachineSpec, type Ready } from '../../machine/model.ts';
import { coerce, describe, type OptionInfo, type Values } from '../../machine/options.ts';
import { mendingOf, missingPrograms } from '../../computer/programs.ts';
import { engineInfos } from '../../machine/spec.ts';
import { bootstrap, seed } from '../authority.ts';
import { authorityIn, defineOld, type Call } from '../command.ts';
import { Failure, INTERRUPTED, sentence } from '../failure.ts';
import { type Flag, flagFor, type FlagValues } from '../flags.ts';
import { knownDriver } from '../machines.ts';
import { openMachineStore } from '../store.ts';
import { swarmFlags, swarmFrom } from '../swarm.ts';

const PRE_CREATE = 3;

const driverFlag: Flag = {
  names: ['driver', 'd'],
  kind: 'text',
  usage: `Driver to create machine with: ${drivers.map(({ name, also }) => also?.[0] ?? name).join(', ')}; without it the best local one here.`,
  env: 'MACHINE_DRIVER',
};

/** Flags that every driver takes. */
const shared: readonly Flag[] = [driverFlag, ...swarmFlags, ...engineInfos.filter(isEngine).map(flagFor)];

function isEngine({ secret }: OptionInfo): boolean {
  return !secret;
}

export const create = defineOld({
  name: 'create',
  summary: 'Create a machine',
  operands: '[arg...]',
  details:
    "Run 'docker-machine create --driver name --help' to include the create flags for that driver in the help text.",
  flags: shared,
  more: async (argv, call) => driverFlags(await driverIn(argv, call)),
  async run(call) {
    const { typed, values, words, world } = call;
    const [name, ...extra] = words;
    if (name === undefined) throw new Failure('Error: No machine name specified');
    if (extra.length > 0) throw new Failure(`Invalid command line. Found extra arguments [${extra.join(' ')}]`);
    if (!isMachineName(name))
      throw new Failure(
        'Error creating machine: Invalid hostname specified. Allowed hostname chars are: 0-9a-zA-Z . -',
      );
    const driver = await driverIn(call.argv, call);
    const before = await world.store.find(name);
    if (before?.phase === 'ready') throw new Failure(`Docker machine "${name}" already exists`);
    const swarm = swarmFrom(values);
    if (swarm.IsSwarm && driver !== 'none')
      call.say(
        'Standalone Swarm is gone from Docker: --swarm is kept with the machine, and nothing is set up for it. "docker swarm init" there makes a swarm.',
      );
    const flags = flagsOf(typed);
    const store = openMachineStore(call.root, { swarm, authority: authorityIn(call) });
    await bootstrap(call.root, authorityIn(call), call.out);
    if (driver === 'none') {
      await keepEngine(name, flags, { ...world, store });
      return call.out(howToConnect(name));
    }
    lendCredentials(flags, call);
    const spec = specOf(name, driver, flags, before?.spec, call);
    await seed(name, store, call.root, authorityIn(call));
    const ready = await made(spec, { ...call, world: { ...call.worldOf(name), store } });
    call.done();
    call.out('Docker is up and running!');
    call.out(howToConnect(ready.spec.name));
  },
});

function howToConnect(name: string): string {
  return `To see how to connect your Docker Client to the Docker Engine running on this virtual machine, run: docker-machine env ${name}`;
}

/** The driver that the command line names, the environment, or this computer; by our name where we have it. */
async function driverIn(argv: readonly string[], { env, world }: Pick<Call, 'env' | 'world'>): Promise<string> {
  const at = argv.findIndex((word) => /^--?(d|driver)(=|$)/.test(word));
  const inline = /=(.*)$/s.exec(argv[at] ?? '')?.[1];
  const said = at < 0 ? env.MACHINE_DRIVER : (inline ?? argv[at + 1]);
  if (said) {
    const known = knownDriver(said);
    if (known !== undefined) return known;
    throw new Failure(
      `Driver "${said}" not found. Do you have the plugin binary "docker-machine-driver-${said}" accessible in your PATH?`,
    );
  }
  const best = await preferredHere(drivers, world.computer);
  if (best) return best.driver.name;
  throw new Failure(
    'No local driver works here (why: slipway drivers). Name one: docker-machine create --driver generic …',
  );
}

export function driverFlags(driver: string): readonly Flag[] {
  const own = [...(driverInfos[driver] ?? []), ...credentialsOf(driver)];
  // One option under one name: what is among those of the engine already is not listed twice.
  return own.filter(({ flag }) => !shared.some(({ names }) => names.includes(flag))).map(flagFor);
}

function credentialsOf(driver: string): readonly OptionInfo[] {
  const { credentials } = driverNamed(driver);
  return credentials ? describe(credentials, driver) : [];
}

/** What was typed, by the names of our own flags and as our schemas take it. */
function flagsOf(typed: FlagValues): Values {
  const infos = [...machineInfos, ...credentialInfos];
  const named = Object.entries(typed).flatMap(([key, value]) => {
    const info = infos.find(({ flag, also }) => flag === key || also.includes(key));
    return info ? [[info.flag, typeof value === 'string' ? coerce(info, value) : value] as const] : [];
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
const INITIAL: Readonly<
  Record<string, { readonly key: string; readonly value: string; readonly unless: readonly string[] }>
> = {
  ec2: {
    key: 'ec2-region',
    value: 'us-east-1',
    unless: ['AWS_REGION', 'AWS_DEFAULT_REGION', 'AWS_PROFILE', 'AWS_CONFIG_FILE'],
  },
  gce: { key: 'gce-zone', value: 'us-central1-a', unless: ['GOOGLE_ZONE', 'CLOUDSDK_COMPUTE_ZONE'] },
};

function specOf(
  name: string,
  driver: string,
  flags: Values,
  before: MachineSpec | undefined,
  { env }: Call,
): MachineSpec {
  const initial = INITIAL[driver];
  const unsaid = initial !== undefined && flags[initial.key] === undefined && !initial.unless.some((key) => env[key]);
  const given = unsaid && before === undefined ? { ...flags, [initial.key]: initial.value } : flags;
  try {
    return specFrom({ name, driver, flags: given, env, before, profiles: [] });
  } catch (error) {
    if (!(error instanceof SlipwayError)) throw error;
    throw new Failure(`Error setting machine configuration from flags provided: ${sentence(error)}`, { cause: error });
  }
}

/** All that is refused before anything exists has a status of its own. */
async function made(spec: MachineSpec, { out, world }: Call): Promise<Ready> {
  const driver = driverNamed(spec.driver);
  out('Running pre-create checks...');
  const settled = await (async () => {
    await programsFor(spec.driver, world);
    return settle(driver, spec, world);
  })().catch((error: unknown) => {
    if (!(error instanceof SlipwayError)) throw error;
    if (error.code === 'CANCELED') throw new Failure(sentence(error), { status: INTERRUPTED, cause: error });
    throw new Failure(`Error with pre-create check: ${JSON.stringify(sentence(error))}`, {
      status: PRE_CREATE,
      cause: error,
    });
  });
  if (driver.create) out('Creating machine...');
  try {
    return await createSettled(settled, world);
  } catch (error) {
    if (!(error instanceof SlipwayError)) throw error;
    if (error.code === 'CANCELED') throw new Failure(sentence(error), { status: INTERRUPTED, cause: error });
    throw new Failure(
      `Error creating machine: ${PHASES[world.progress.last()] ?? 'Error running provisioning: '}${sentence(error)}`,
      { cause: error },
    );
  }
}

/** What the old tool says of the step that failed. */
const PHASES: Readonly<Record<string, string>> = {
  '': '',
  create: 'Error in driver during machine creation: ',
  address: 'Error waiting for machine to be running: ',
  boot: 'Error waiting for machine to be running: ',
  connect: 'Error detecting OS: ',
  facts: 'Error detecting OS: ',
  verify: 'Error checking the host: ',
};

async function programsFor(name: string, { computer }: Call['world']): Promise<void> {
  const missing = await missingPrograms(driverNamed(name).programs?.(computer) ?? [], computer);
  if (missing.length === 0) return;
  const { line } = await mendingOf(missing, computer);
  throw new SlipwayError('PROGRAM_MISSING', `This computer lacks ${missing.map(({ command }) => command).join(', ')}`, {
    hint: `To install: ${line}`,
  });
}

/** An engine that exists is taken at its word: who has its certificates puts them beside its record. */
async function keepEngine(name: string, flags: Values, { store }: Call['world']): Promise<void> {
  const url = flags['none-url'];
  if (typeof url !== 'string' || url === '')
    throw new Failure(
      'Error setting machine configuration from flags provided: --url option is required when no driver is selected',
    );
  // The old tool takes any text for a URL, and its callers use some that are none.
  const asIfUrl = specFrom({
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
