import { findDockerdFlags, formatFlag, isListeningFlag, separateShorthands, type FilePlace } from '../dockerd-flags.ts';
import type { Facts } from '../facts.ts';
import type {
  CommandFlag,
  CommandPart,
  CommandWord,
  DockerMachineSettings,
  EngineCommand,
  EngineService,
  EngineServiceFacts,
} from './service-manager.ts';
import {
  listDirectives,
  parseUnitFiles,
  quoteWord,
  readVariables,
  splitWords,
  type UnitFile,
  type Variable,
} from './systemd-files.ts';

const DROP_IN_FOLDER = '/etc/systemd/system/docker.service.d';
/**
 * systemd applies drop-ins in the order of their names, whatever their folders are: `override.conf`, which
 * `systemctl edit` writes, must come before Slipway's. The second name is for hosts that have a file after the first.
 */
const DROP_INS = [`${DROP_IN_FOLDER}/zz-slipway.conf`, `${DROP_IN_FOLDER}/~zz-slipway.conf`] as const;
/** The name that earlier versions used. */
const EARLIER_DROP_IN = `${DROP_IN_FOLDER}/50-slipway.conf`;
const DOCKER_MACHINE_DROP_IN = `${DROP_IN_FOLDER}/10-machine.conf`;

/**
 * The command line for an engine that is not installed yet. It works with the packages of Debian, Ubuntu and Docker.
 * systemd searches for `dockerd` in its own search path, and omits a variable that is not set.
 */
const DEFAULT_START = 'dockerd --containerd=/run/containerd/containerd.sock';
const DEFAULT_LINE = `${DEFAULT_START} $DOCKER_OPTS -H fd://`;

/**
 * An empty `ExecStart=` clears the unit's command line; the next one sets it. A change of this text would restart the
 * engine of every existing host at its next `provision`.
 */
const DROP_IN_HEAD = `# Written by Slipway. Where dockerd listens stands in daemon.json, and dockerd refuses to hear it twice.
[Service]
ExecStart=
`;

export const dockerUnit: EngineService = {
  dropInPaths: [...DROP_INS, EARLIER_DROP_IN],
  dockerMachinePath: DOCKER_MACHINE_DROP_IN,
  dropInPathFor: ({ definition }) => {
    const later = foreignFiles(parseUnitFiles(definition)).filter(hasCommand).map(nameOf);
    return DROP_INS.find((path) => later.every((name) => isBefore(name, nameOf({ path }))));
  },
  commandOf,
  findConflictingFlag,
  findMasks(service) {
    const masked = (service.maskedUnits ?? []).filter(({ unit }) => isNeeded(unit, service));
    if (masked.length === 0) return undefined;
    const commands = [false, true].flatMap((isRuntime) => {
      const units = masked.filter((mask) => mask.isRuntime === isRuntime).map(({ unit }) => unit);
      return units.length === 0 ? [] : [`sudo systemctl unmask ${isRuntime ? '--runtime ' : ''}${units.join(' ')}`];
    });
    return { units: masked.map(({ unit }) => unit), undo: commands.join(' && ') };
  },
  findSocketPlace: ({ definition }, port) =>
    listDirectives(parseUnitFiles(definition), { section: 'Socket', key: 'ListenStream' }).find(
      ({ value }) => /^(?:.*:)?(\d+)$/.exec(value)?.[1] === String(port),
    )?.place,
  parseDockerMachineSettings,
  formatDropIn: (command, isMoved, environmentFile) =>
    `${DROP_IN_HEAD}ExecStart=${formatCommand(command, isMoved)}\n${environmentFile === undefined ? '' : `EnvironmentFile=${environmentFile}\n`}`,
  formatEnvironmentDropIn(environment) {
    const quoted = environment.map((pair) => `"${pair.replaceAll(/["\\]/g, String.raw`\$&`)}"`);
    return `[Service]\nEnvironment=${quoted.join(' ')}\n`;
  },
  // The format of EnvironmentFile: double quotes, in which a backslash escapes the next character.
  formatEnvironmentLine(pair) {
    const equals = pair.indexOf('=');
    return `${pair.slice(0, equals)}="${pair.slice(equals + 1).replaceAll(/["\\$`]/g, String.raw`\$&`)}"\n`;
  },
};

/** The units of an engine that is not installed yet need each other, as in all packages. */
function isNeeded(unit: string, { definition, isActive }: Facts['engineService']): boolean {
  if (unit === 'docker.service' || definition === '') return true;
  // The socket of containerd can be served by another unit.
  if (unit === 'containerd.service' && isActive) return false;
  const required = listDirectives(parseUnitFiles(definition), { section: 'Unit', key: 'Requires' });
  if (required.some(({ value }) => splitWords(value).some((word) => word.value === unit))) return true;
  const { flags } = commandOf({ definition });
  return unit === 'containerd.service' && flags.some(({ name }) => name === 'containerd');
}

// --- the command line ------------------------------------------------------------------------------------------------

function commandOf(service: EngineServiceFacts): EngineCommand {
  const files = parseUnitFiles(service.definition);
  const foreign = foreignFiles(files);
  const present = listDirectives(foreign, EXEC_START).at(-1);
  const own = listDirectives(files.filter(isOwn), EXEC_START).at(-1);
  // An engine that was installed after the drop-in keeps the default, whatever its package's unit contains.
  const isDefault =
    present === undefined || (!isDropIn(present.place.path) && (own?.value.startsWith(DEFAULT_START) ?? false));
  const { value, place } = isDefault
    ? { value: DEFAULT_LINE, place: own?.place ?? { path: DROP_INS[0], line: 4 } }
    : present;
  return parseCommand(value, place, variablesOf(foreign, service, place));
}

/** Returns the service's variables. Those that no file sets are the running engine's. */
function variablesOf(
  foreign: readonly UnitFile[],
  { environmentFiles = {}, variables = {} }: EngineServiceFacts,
  place: FilePlace,
): ReadonlyMap<string, Variable> {
  const running = Object.entries(variables).map(([name, value]): [string, Variable] => [name, { value, place }]);
  return new Map([...running, ...readVariables(foreign, environmentFiles)]);
}

const EXEC_START = { section: 'Service', key: 'ExecStart' } as const;

function parseCommand(line: string, place: FilePlace, variables: ReadonlyMap<string, Variable>): EngineCommand {
  const parts = splitWords(line).map(({ text, value }): CommandPart => {
    const name = /^\$(\w+)$/.exec(text)?.[1];
    const variable = name === undefined ? undefined : variables.get(name);
    if (name === undefined) {
      const values = separateShorthands(insertVariables(value, variables));
      return {
        text,
        words: values.map((one) => ({ text: values.length > 1 ? quoteWord(one) : text, value: one, place })),
      };
    }
    const values = splitWords(variable?.value ?? '').flatMap((word) => separateShorthands(word.value));
    return {
      text,
      words: values.map((one) => ({ text: quoteWord(one), value: one, place: variable?.place ?? place })),
    };
  });
  const words = parts.flatMap((part) => part.words);
  const program = words.findIndex(isDockerd);
  const args = program < 0 ? [] : words.slice(program + 1);
  const flags = findDockerdFlags(args.map(({ value }) => value)).map(({ name, value, start, end }) => ({
    name,
    value,
    words: args.slice(start, end),
    place: args[start]?.place ?? place,
  }));
  return { text: line, place, parts, flags, isDockerd: program >= 0 };
}

/** `/usr/bin/dockerd`, also after systemd's prefixes such as `-`, or `docker daemon` of old engines. */
function isDockerd({ value }: CommandWord, index: number, words: readonly CommandWord[]): boolean {
  const program = /(?:^|\/)(dockerd?)$/.exec(value.replace(/^[-@:+!|]+/, ''))?.[1];
  return program === 'dockerd' || (program === 'docker' && words[index + 1]?.value === 'daemon');
}

function insertVariables(value: string, variables: ReadonlyMap<string, Variable>): string {
  return value
    .replaceAll(/\$\{(\w+)\}/g, (_all, name: string) => variables.get(name)?.value ?? '')
    .replaceAll('$$', '$');
}

/** A variable stays a variable unless one of its words moves: then the others are written in its place. */
function formatCommand({ parts, flags }: EngineCommand, isMoved: Parameters<EngineService['formatDropIn']>[1]): string {
  const moved = new Set(flags.filter(isMoved).flatMap(({ words }) => words));
  return parts
    .flatMap(({ text, words }) => {
      const kept = words.filter((word) => !moved.has(word));
      return kept.length === words.length ? [text] : kept.map((word) => word.text);
    })
    .join(' ');
}

function findConflictingFlag(service: EngineServiceFacts): CommandFlag | undefined {
  const files = parseUnitFiles(service.definition);
  const effective = listDirectives(files, EXEC_START).at(-1);
  if (!effective || !files.some(isOwn)) return undefined;
  const variables = variablesOf(foreignFiles(files), service, effective.place);
  return parseCommand(effective.value, effective.place, variables).flags.find(({ name }) => isListeningFlag(name));
}

// --- files -----------------------------------------------------------------------------------------------------------

/** Slipway's drop-in must not be computed from itself, and it replaces docker-machine's. */
function foreignFiles(files: readonly UnitFile[]): readonly UnitFile[] {
  return files.filter((file) => !isOwn(file) && !isDockerMachines(file));
}

function isOwn({ path }: UnitFile): boolean {
  return dockerUnit.dropInPaths.includes(path);
}

function isDockerMachines({ path }: UnitFile): boolean {
  return path === DOCKER_MACHINE_DROP_IN;
}

function isDropIn(path: string): boolean {
  return path.includes('.service.d/') || path.includes('/service.d/');
}

/** Returns whether a file sets what Slipway's drop-in sets. */
function hasCommand({ path, directives }: UnitFile): boolean {
  return (
    isDropIn(path) &&
    directives.some(({ section, key }) => section === 'Service' && (key === 'ExecStart' || key === 'EnvironmentFile'))
  );
}

function nameOf({ path }: Pick<UnitFile, 'path'>): string {
  return path.slice(path.lastIndexOf('/') + 1);
}

/** Compares bytes, as systemd does. */
function isBefore(name: string, other: string): boolean {
  return Buffer.compare(Buffer.from(name), Buffer.from(other)) < 0;
}

// --- docker-machine --------------------------------------------------------------------------------------------------

function parseDockerMachineSettings(unit: string): DockerMachineSettings {
  const dockerMachine = parseUnitFiles(unit).filter(isDockerMachines);
  const [, ...words] = splitWords(listDirectives(dockerMachine, EXEC_START).at(-1)?.value ?? '');
  const flags = findDockerdFlags(words.map(({ value }) => value)).filter(({ name }) => !isListeningFlag(name));
  const environment = listDirectives(dockerMachine, { section: 'Service', key: 'Environment' }).flatMap(({ value }) =>
    splitWords(value).map((word) => word.value),
  );
  return { flags: flags.map(formatFlag), environment };
}
