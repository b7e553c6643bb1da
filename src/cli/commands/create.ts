import { z } from 'zod';
import { drivers } from '../../drivers/registry.ts';
import { credentialOptionSpecs, machineOptionSpecs } from '../../machine-options/option-specs.ts';
import { setCredentialsForRun } from '../../machine-options/credential-flags.ts';
import type { ReadyMachine } from '../../machine/model.ts';
import { sudoPasswordOption } from '../../machine/spec.ts';
import type { Computer } from '../../computer/computer.ts';
import { getDockerClientProgram, planInstall, findMissingPrograms } from '../../computer/programs.ts';
import { createValidMachine } from '../../operations/create.ts';
import { planDryRun } from '../../operations/dry-run.ts';
import { validateSpec } from '../../operations/validate-spec.ts';
import { contextName } from '../../profiles/docker-context.ts';
import { connectShellCommand } from '../../profiles/shell-env.ts';
import { defaultProfiles, profiles as registeredProfiles } from '../../profiles/registry.ts';
import { defineCommand, optionSpecsOf, type Cli, type Command, type CommandResult } from '../command.ts';
import { createSeveral } from '../create-several.ts';
import {
  installDriverPrograms,
  parseMachineNames,
  resolveCreateRequest,
  type CreateRequest,
} from '../create-request.ts';
import { formatRepeatHints, toRepeatCommand } from '../repeat-command.ts';
import { planResult } from './provision.ts';
import { makeCurrent, noContextError } from './use.ts';

const args = z.object({
  driver: z
    .string()
    .optional()
    .meta({
      description: `Driver: ${drivers.map(({ name }) => name).join(', ')}`,
      env: 'MACHINE_DRIVER',
      short: 'd',
      value: 'name',
    }),
  use: z.boolean().default(false).meta({ description: "Make it the docker CLI's current context" }),
  yes: z.boolean().default(false).meta({ description: 'Install missing programs without asking', short: 'y' }),
  count: z
    .int()
    .min(1)
    .max(1000)
    .optional()
    .meta({ description: 'Number of machines to create: NAME-1, NAME-2, …', value: 'number' }),
  dryRun: z.boolean().default(false).meta({ description: 'Show what would be done on the host' }),
  profile: z
    .array(z.enum(registeredProfiles.map(({ name }) => name) as [string, ...string[]]))
    .default([...defaultProfiles])
    .meta({ description: 'Profiles', value: 'name' }),
  sudoPassword: sudoPasswordOption,
});

export const create: Command<typeof args> = defineCommand({
  name: 'create',
  summary: 'Create machines, or continue a creation that was interrupted',
  usage: '[names...]',
  args,
  extraOptions: [...machineOptionSpecs, ...credentialOptionSpecs],
  details:
    "A driver's option selects that driver; the default is the best local driver of this computer. Several names create machines with the same options.",
  async run({ positionals, args: options, flags }, cli) {
    const names = parseMachineNames(positionals, options.count);
    setCredentialsForRun(flags, cli);
    const request = await resolveCreateRequest(names[0], options, flags, cli);
    const { spec, use } = request;
    if (use && !spec.profiles.includes('docker-context')) throw noContextError(spec.name, cli.world.computer);
    if (names.length > 1) return await createSeveral(spec, names, { options, flags, ownOptions: ownOptions() }, cli);
    return await createOne(request, options, cli);
  },
});

async function createOne(
  { spec, use, usedWizard }: CreateRequest,
  options: z.output<typeof args>,
  cli: Cli,
): Promise<CommandResult> {
  const before = await cli.world.store.find(spec.name);
  const repeatCommand = toRepeatCommand(spec, use, ownOptions(), cli);
  // Refuses a taken name, and a machine that can't be created, before anything is installed for it.
  const valid = await validateSpec(spec, cli.world);
  if (before?.phase !== 'ready') await installDriverPrograms(spec, options, repeatCommand, cli);
  if (options.dryRun) return planResult(spec.name, await planDryRun(valid, before, cli.world));
  const machine = await createValidMachine(valid, cli.world);
  if (use) await makeCurrent(machine, cli);
  const repeatHints = usedWizard ? await formatRepeatHints(spec, repeatCommand) : [];
  return createdResult(machine, repeatHints, await findClientInstallCommand(cli), cli.world.computer);
}

function ownOptions(): ReturnType<typeof optionSpecsOf> {
  return optionSpecsOf(create as unknown as Command);
}

/** Returns the command that installs the docker client, if it is missing. */
async function findClientInstallCommand({ world: { computer } }: Cli): Promise<string | undefined> {
  const missing = await findMissingPrograms([await getDockerClientProgram(computer)], computer);
  return missing.length === 0 ? undefined : (await planInstall(missing, computer)).instruction;
}

function createdResult(
  { spec, endpoint }: ReadyMachine,
  repeatHints: readonly string[],
  clientInstallCommand: string | undefined,
  computer: Computer,
): CommandResult {
  const { name, driver, profiles } = spec;
  const hasContext = profiles.includes('docker-context');
  const example = hasContext ? `docker --context ${contextName(name)} ps` : connectShellCommand(name, computer);
  const next =
    clientInstallCommand === undefined
      ? `Try: ${example}`
      : `The docker client is not installed. To install it: ${clientInstallCommand}`;
  return {
    json: { name, driver, url: endpoint.url, context: hasContext ? contextName(name) : null },
    text: [`${name} is ready: ${endpoint.url}`, next, ...repeatHints].join('\n'),
  };
}
