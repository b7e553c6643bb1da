import { parseDockerdFlags, splitSockets } from '../dockerd-flags.ts';
import type { DockerMachineSettings, EngineCommand, EngineService } from './service-manager.ts';

const DROP_IN_FOLDER = '/etc/systemd/system/docker.service.d';
const DROP_IN = `${DROP_IN_FOLDER}/50-slipway.conf`;
const DOCKER_MACHINE_DROP_IN = `${DROP_IN_FOLDER}/10-machine.conf`;

/**
 * The command line for an engine that is not installed yet. It works with the packages of Debian, Ubuntu and Docker.
 * systemd searches for `dockerd` in its own search path, and omits a variable that is not set.
 */
const DEFAULT_COMMAND: EngineCommand = {
  line: 'dockerd --containerd=/run/containerd/containerd.sock $DOCKER_OPTS',
  sockets: ['fd://'],
};

/**
 * An empty `ExecStart=` clears the unit's command line; the next one sets it. A change of this text would restart the
 * engine of every existing host at its next `provision`.
 */
const DROP_IN_HEAD = `# Written by Slipway. Where dockerd listens stands in daemon.json, and dockerd refuses to hear it twice.
[Service]
ExecStart=
`;

export const dockerUnit: EngineService = {
  dropInPath: DROP_IN,
  dockerMachinePath: DOCKER_MACHINE_DROP_IN,
  commandOf(unit) {
    const { slipway, others } = splitUnitFiles(unit);
    const present = parseExecStarts(others).at(-1);
    // An engine that was installed after the drop-in keeps the default, whatever its package's unit contains.
    if (present === undefined || parseExecStarts(slipway).includes(DEFAULT_COMMAND.line)) return DEFAULT_COMMAND;
    return splitSockets(present);
  },
  parseDockerMachineSettings,
  formatDropIn: ({ line }, environmentFile) =>
    `${DROP_IN_HEAD}ExecStart=${line}\n${environmentFile === undefined ? '' : `EnvironmentFile=${environmentFile}\n`}`,
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

function parseDockerMachineSettings(unit: string): DockerMachineSettings {
  const { dockerMachine } = splitUnitFiles(unit);
  const [, ...words] = splitWords(parseExecStarts(dockerMachine).at(-1) ?? '');
  const environment = dockerMachine
    .split('\n')
    .filter((line) => line.startsWith('Environment='))
    .flatMap((line) => splitWords(line.slice('Environment='.length)));
  return { flags: parseDockerdFlags(words), environment };
}

/** Splits a line as systemd does: quotes group a word, and a backslash escapes the next character. */
function splitWords(line: string): readonly string[] {
  return [...line.matchAll(/(?:"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|\\.|[^\s"'\\])+/g)].map(([word]) =>
    word.replaceAll(
      /"((?:\\.|[^"\\])*)"|'((?:\\.|[^'\\])*)'|\\(.)/g,
      (_all, double?: string, single?: string, escaped?: string) =>
        (double ?? single ?? escaped ?? '').replaceAll(/\\(.)/g, '$1'),
    ),
  );
}

type UnitFiles = { readonly slipway: string; readonly dockerMachine: string; readonly others: string };

/**
 * Separates the files that `systemctl cat` prints, each after a comment with its path. Slipway's drop-in must not be
 * computed from itself, and it replaces docker-machine's.
 */
function splitUnitFiles(unit: string): UnitFiles {
  const files = unit.replaceAll('\\\n', ' ').split(/^(?=# \/)/m);
  const isAt = (path: string) => (file: string) => file.startsWith(`# ${path}`);
  const isSlipways = isAt(DROP_IN);
  const isDockerMachines = isAt(DOCKER_MACHINE_DROP_IN);
  return {
    slipway: files.filter(isSlipways).join(''),
    dockerMachine: files.filter(isDockerMachines).join(''),
    others: files.filter((file) => !isSlipways(file) && !isDockerMachines(file)).join(''),
  };
}

function parseExecStarts(unit: string): readonly string[] {
  return unit
    .split('\n')
    .filter((line) => line.startsWith('ExecStart='))
    .map((line) => line.slice('ExecStart='.length).trim())
    .filter((line) => line !== '');
}
