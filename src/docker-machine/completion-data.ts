import type { CompletionSpec, CompletionCommand, CompletionOption, ValueKind } from '../completion/complete.ts';
import { completionDrivers, imageNames, valueKindOf } from '../completion/option-values.ts';
import { credentialOptionSpecs, machineOptionSpecs } from '../machine-options/option-specs.ts';
import { drivers } from '../drivers/registry.ts';
import type { DockerMachineCommand } from './docker-machine-command.ts';
import { commands } from './commands/docker-machine-command-list.ts';
import { driverFlags } from './commands/create.ts';
import type { Flag } from './go-flags.ts';
import { globalFlags } from './help.ts';
import { dockerMachineDriverName } from './config-json/driver-mappings.ts';

const HELP_OPTION: CompletionOption = { names: ['--help', '-h', '-help'], about: 'show help' };

/** Generates the completion spec of `docker-machine` from the declarations of its commands and flags. */
export async function generateCompletionSpec(): Promise<CompletionSpec> {
  const loaded = await Promise.all(commands.map(async ({ load }) => load()));
  return {
    commands: [
      ...loaded.map(toCompletionCommand),
      { name: 'help', about: 'Shows a list of commands or help for one command', operands: [], options: [] },
    ],
    families: [],
    globals: globalFlags.map((flag) => toCompletionOption(flag)),
    drivers: completionDrivers().map(({ name, about, also }) => ({
      name: dockerMachineDriverName(name),
      about,
      also: [name, ...also],
    })),
    topics: [],
    images: imageNames,
  };
}

/** The operands of these commands; all others take names of machines. */
const COMMAND_OPERANDS: Readonly<Record<string, readonly ValueKind[]>> = {
  active: [],
  create: [],
  ls: [],
  mount: ['remote', 'folder'],
  scp: ['place', 'place'],
  ssh: ['machine'],
  version: [],
};

function toCompletionCommand({ name, summary, flags, loadDriverFlags, raw }: DockerMachineCommand): CompletionCommand {
  const driverOptions = loadDriverFlags === undefined ? [] : drivers.flatMap((driver) => driverOptionsOf(driver.name));
  return {
    name,
    about: summary,
    ...(COMMAND_OPERANDS[name] === undefined
      ? { operands: ['machine'], many: true }
      : { operands: COMMAND_OPERANDS[name] }),
    options: [...flags.map((flag) => toCompletionOption(flag)), ...driverOptions, HELP_OPTION],
    ...(raw === true ? { raw } : {}),
  };
}

function driverOptionsOf(driver: string): readonly CompletionOption[] {
  return driverFlags(driver).map((flag) => ({ ...toCompletionOption(flag), driver: dockerMachineDriverName(driver) }));
}

/** Completes a flag with one dash and with two: both are valid. */
function toCompletionOption(flag: Flag): CompletionOption {
  const long = flag.names.filter((name) => name.length > 1);
  const short = flag.names.filter((name) => name.length === 1);
  return {
    names: [...long.map((name) => `--${name}`), ...[...short, ...long].map((name) => `-${name}`)],
    about: flag.usage,
    ...(flag.kind === 'switch' ? {} : { takes: completionValueFor(flag) }),
    ...(flag.kind === 'list' ? { many: true } : {}),
  };
}

function completionValueFor({ names: [name = '', ...others] }: Flag): ValueKind {
  if (name === 'driver') return 'driver';
  if (name === 'shell') return ['bash', 'zsh', 'fish', 'powershell', 'cmd', 'tcsh', 'emacs'];
  if (name === 'storage-path') return 'folder';
  if (/^tls-(ca|client)-/.test(name)) return 'file';
  const spec = [...machineOptionSpecs, ...credentialOptionSpecs].find(({ flag, aliases }) =>
    [flag, ...aliases].some((word) => word === name || others.includes(word)),
  );
  return spec === undefined ? 'any' : valueKindOf(spec);
}
