import type { Declared, DeclaredCommand, DeclaredOption, Takes } from '../completion/complete.ts';
import { declaredDrivers, imageNames, takenBy } from '../cli/completion-data.ts';
import { credentialInfos, machineInfos } from '../cli/spec.ts';
import { drivers } from '../drivers/registry.ts';
import type { OldCommand } from './command.ts';
import { commands } from './commands/all.ts';
import { driverFlags } from './commands/create.ts';
import type { Flag } from './flags.ts';
import { globalFlags } from './help.ts';
import { oldDriver } from './machines.ts';

const HELP: DeclaredOption = { names: ['--help', '-h', '-help'], about: 'show help' };

/** What completion knows of `docker-machine`, from the declarations that the program itself reads. */
export async function declared(): Promise<Declared> {
  const loaded = await Promise.all(commands.map(async ({ load }) => load()));
  return {
    commands: [
      ...loaded.map(commandOf),
      { name: 'help', about: 'Shows a list of commands or help for one command', operands: [], options: [] },
    ],
    families: [],
    globals: globalFlags.map((flag) => optionOf(flag)),
    drivers: declaredDrivers().map(({ name, about, also }) => ({
      name: oldDriver(name),
      about,
      also: [name, ...also],
    })),
    topics: [],
    images: imageNames,
  };
}

/** What stands behind these; behind all others it is machines. */
const OPERANDS: Readonly<Record<string, readonly Takes[]>> = {
  active: [],
  create: [],
  ls: [],
  mount: ['remote', 'folder'],
  scp: ['place', 'place'],
  ssh: ['machine'],
  version: [],
};

function commandOf({ name, summary, flags, more, raw }: OldCommand): DeclaredCommand {
  const ofDrivers = more === undefined ? [] : drivers.flatMap((driver) => optionsOf(driver.name));
  return {
    name,
    about: summary,
    ...(OPERANDS[name] === undefined ? { operands: ['machine'], many: true } : { operands: OPERANDS[name] }),
    options: [...flags.map((flag) => optionOf(flag)), ...ofDrivers, HELP],
    ...(raw === true ? { raw } : {}),
  };
}

function optionsOf(driver: string): readonly DeclaredOption[] {
  return driverFlags(driver).map((flag) => ({ ...optionOf(flag), driver: oldDriver(driver) }));
}

/** One dash is as good as two. */
function optionOf(flag: Flag): DeclaredOption {
  const long = flag.names.filter((name) => name.length > 1);
  const short = flag.names.filter((name) => name.length === 1);
  return {
    names: [...long.map((name) => `--${name}`), ...[...short, ...long].map((name) => `-${name}`)],
    about: flag.usage,
    ...(flag.kind === 'switch' ? {} : { takes: valueOf(flag) }),
    ...(flag.kind === 'list' ? { many: true } : {}),
  };
}

function valueOf({ names: [name = '', ...others] }: Flag): Takes {
  if (name === 'driver') return 'driver';
  if (name === 'shell') return ['bash', 'zsh', 'fish', 'powershell', 'cmd', 'tcsh', 'emacs'];
  if (name === 'storage-path') return 'folder';
  if (/^tls-(ca|client)-/.test(name)) return 'file';
  const info = [...machineInfos, ...credentialInfos].find(({ flag, also }) =>
    [flag, ...also].some((word) => word === name || others.includes(word)),
  );
  return info === undefined ? 'any' : takenBy(info);
}
