import { createHash } from 'node:crypto';
import { isDeepStrictEqual } from 'node:util';
import { SlipwayError } from '../errors.ts';
import type { EngineSpec } from '../machine/model.ts';
import {
  mergeForeignSettings,
  mergeSettings,
  parseDaemonJson,
  daemonSettingsFor,
  daemonSettingsFromFlags,
  TLS_FILES,
  withoutOwnSettings,
  type DaemonJsonOwnership,
  type DaemonSettings,
} from './daemon-json.ts';
import { type Facts, TEMPORARY_LIVE_RESTORE_FILE } from './facts.ts';
import { isLifetimeFile, lifetimeFilesFor, planLifetime, type HostLifetime } from './lifetime-timers.ts';
import type { Plan, RemoteFile, Step } from './step.ts';
import {
  engineCommandOf,
  formatDropIn,
  DOCKER_MACHINE_DROP_IN,
  parseDockerMachineDropIn,
  formatEnvironmentDropIn,
  type EngineCommand,
} from './docker-unit.ts';

/** What the host gets to prove itself with, and the CA against which it checks its clients. */
export type ServerCertificates = { readonly ca: string; readonly cert: string; readonly key: string };

export type PlanInput = {
  readonly id: string;
  readonly name: string;
  readonly address: string;
  readonly engine: EngineSpec;
  readonly facts: Facts;
  readonly tls: ServerCertificates;
  /** The text of `templates/slipway.conf`. */
  readonly dropInTemplate: string;
  /** Absent where the machine is to run until somebody ends it. */
  readonly lifetime?: HostLifetime | undefined;
};

const STATE_FILE = '/etc/docker/slipway/state.json';
const ENGINE_ENV = '/etc/docker/slipway/engine.env';
const DAEMON_JSON = '/etc/docker/daemon.json';
const DROP_IN = '/etc/systemd/system/docker.service.d/50-slipway.conf';
/** Docker Release (CE deb), as Docker's own installation page names it. */
const DOCKER_KEY = '9DC858229FC7DD38854AE2D88D81803C0EBFCD88';
const DOCKER_REPOSITORY = 'https://download.docker.com/linux';
const INSTALL_KIB = 600 * 1024;

/**
 * Facts -> the least that makes the host what the spec says; an empty plan means that it is so already. The order matters:
 * configuration lies there before the package whose installation starts the engine, and a deadline before both, since it must hold
 * also where they fail.
 */
export function planProvision(input: PlanInput): Plan {
  const { engine, facts } = input;
  const where = input.address;
  requireSupportedOs(facts, where);
  const life = planLifetime(input.lifetime, facts);
  const install = planEngineInstall(engine, facts, where);
  const files = changedFiles(wantedFiles(input), facts);
  const present = facts.dockerd !== undefined && facts.unit.text !== '';
  const complete = present && install === undefined;
  const restart = complete && (files.length > 0 || facts.restartPending);
  const effect: EngineEffect = {
    engine: restart ? 'restart' : complete && !facts.unit.active ? 'start' : present && !complete ? 'later' : 'none',
    enable: complete && !facts.unit.enabled,
  };
  const needed = files.length > 0 || restart || effect.engine === 'start' || effect.enable;
  const configure = needed ? configureStep(files, effect, containerImpactOf(facts, files, where)) : undefined;
  return [life, configure, install].filter((step) => step !== undefined);
}

/**
 * What a machine holds before its very first start, so that its engine starts once and right. What `planProvision` wants of it
 * later is the same, and so nothing.
 */
export function firstBootFilesFor(input: Omit<PlanInput, 'facts'>): readonly RemoteFile[] {
  const blank = { daemonJson: undefined, slipwayState: undefined, unit: { active: false, enabled: false, text: '' } };
  const ofEngine = wantedFiles({ ...input, facts: blank })
    .filter((file): file is RemoteFile => file.content !== undefined)
    .map((file) => ({ ...file, mode: file.mode === '=' ? '644' : file.mode }));
  return [...ofEngine, ...(input.lifetime ? lifetimeFilesFor(input.lifetime) : [])];
}

/** Puts a lasting host key in the place of the one that came with the machine's user data. */
export function planHostKeyReplacement(key: { readonly private: string; readonly public: string }): Step {
  return {
    id: 'host-key',
    title: 'Replace the SSH host key of its birth',
    template: 'host-key.sh',
    variables: {},
    files: [
      { path: 'private', mode: '600', content: key.private },
      { path: 'public', mode: '644', content: `${key.public}\n` },
    ],
  };
}

/** Takes back what `planProvision` laid on the host; the engine and whatever it holds stay. */
export function planDeprovision(facts: Facts, where: string): Plan {
  const life = planLifetime(undefined, facts);
  const engine = planEngineDeprovision(facts, where);
  return [life, engine].filter((step) => step !== undefined);
}

function planEngineDeprovision(facts: Facts, where: string): Step | undefined {
  const ownership = parseOwnership(facts.slipwayState);
  const ours = Object.keys(facts.files).filter((path) => !isLifetimeFile(path) && path !== DOCKER_MACHINE_DROP_IN);
  const restart = facts.dockerd !== undefined && facts.unit.active;
  const undone = { id: 'deprovision', title: 'Take the configuration back' };
  const effect = { engine: restart ? 'restart' : 'none', enable: false } as const;
  // Of a run that was cut off the files may be gone, and the engine go on as they said.
  if (ours.length === 0)
    return restart && facts.restartPending ? { ...configureStep([], effect, 'keep'), ...undone } : undefined;
  const present = parseDaemonJson(facts.daemonJson, where);
  const left = withoutOwnSettings(present, ownership);
  const gone = Object.keys(left).length === 0 && (ownership?.made ?? false);
  const daemonJson =
    facts.daemonJson === undefined
      ? []
      : [{ path: DAEMON_JSON, mode: '=', content: gone ? undefined : formatJson(left) }];
  const files = [...daemonJson, ...ours.map((path) => ({ path, content: undefined }))];
  return { ...configureStep(files, effect, containerImpactOf(facts, files, where)), ...undone };
}

export function requireSupportedOs(facts: Facts, where: string): void {
  const debian =
    facts.os.id === 'debian' ||
    facts.os.id === 'ubuntu' ||
    facts.os.idLike.some((id) => id === 'debian' || id === 'ubuntu');
  if (!facts.systemd) {
    throw new SlipwayError(
      'OS_UNSUPPORTED',
      `${where} (${facts.os.name}) does not run systemd, which Slipway needs to run the engine`,
      {
        hint: 'Use a host whose first process is systemd',
      },
    );
  }
  if (debian && facts.apt) return;
  throw new SlipwayError(
    'OS_UNSUPPORTED',
    `${where} runs ${facts.os.name || 'an unknown system'}; Slipway provisions Debian, Ubuntu and their kin`,
    {
      hint: 'Use such a host, or connect to an engine that is there already: slipway create NAME --driver none --none-url tcp://…',
    },
  );
}

type EnginePackage = Facts['packages'][string] & { readonly name: string; readonly source: 'distro' | 'docker' };

/** The package that the host's engine belongs to, whole or half installed, and the source that such a package is of. */
export function findEnginePackage({ packages }: Facts): EnginePackage | undefined {
  const sources = { 'docker.io': 'distro', 'docker-ce': 'docker' } as const;
  for (const [name, source] of Object.entries(sources)) {
    const found = packages[name];
    if (found && isPackagePresent(found)) return { ...found, name, source };
  }
  return undefined;
}

/** What dpkg knows may be gone, with nothing but its settings left. */
export function isPackagePresent({ state }: Facts['packages'][string]): boolean {
  return state !== 'not-installed' && state !== 'config-files';
}

function planEngineInstall(engine: EngineSpec, facts: Facts, where: string): Step | undefined {
  const found = findEnginePackage(facts);
  const broken = found !== undefined && found.state !== 'installed';
  const complete = facts.dockerd !== undefined && !broken && facts.unit.text !== '';
  const version = engine.version ?? '';
  const wrongVersion = complete && version !== '' && found !== undefined && !isVersionMatch(found.version, version);
  if (complete && !wrongVersion) return undefined;
  if (engine.source === 'none') {
    throw new SlipwayError('ENGINE_MISSING', `${where} has no engine, and --engine-source none installs none`, {
      hint: 'Install one there, or choose --engine-source docker or distro',
    });
  }
  // A package that is there, whole or half, is finished by its own source: two engines would fight for one socket.
  const source = found?.source ?? engine.source;
  if (source === 'url' && engine.installUrl === undefined) {
    throw new SlipwayError('USAGE', "--engine-source url needs the script's address", {
      hint: 'Add --engine-install-url <url>',
    });
  }
  requireInstallSpace(facts, where);
  return {
    id: 'install-engine',
    title: wrongVersion
      ? `Install engine ${version} over ${found.version}`
      : `Install the engine (${engineSourceLabels[source]})`,
    template: 'install-engine.debian.sh',
    variables: {
      SOURCE: source,
      VERSION: version,
      DISTRIBUTION: facts.os.id === 'ubuntu' || facts.os.idLike.includes('ubuntu') ? 'ubuntu' : 'debian',
      CODENAME: facts.os.codename,
      REPOSITORY_URL: engine.repositoryUrl ?? DOCKER_REPOSITORY,
      REPOSITORY_KEY: (engine.repositoryKey ?? DOCKER_KEY).toUpperCase(),
      INSTALL_URL: engine.installUrl ?? '',
    },
    files: [],
  };
}

export const engineSourceLabels = {
  distro: "the distribution's package",
  docker: "Docker's repository",
  url: 'an install script',
};

function isVersionMatch(version: string, wanted: string): boolean {
  return version.startsWith(wanted) || version.replace(/^\d+:/, '').startsWith(wanted);
}

function requireInstallSpace({ freeKib }: Facts, where: string): void {
  const tight = Object.entries(freeKib).find(([, kib]) => kib < INSTALL_KIB);
  if (!tight) return;
  const [mount, kib] = tight;
  throw new SlipwayError(
    'HOST_FULL',
    `${where} has ${Math.floor(kib / 1024)} MB free on ${mount}; installing the engine takes about ${INSTALL_KIB / 1024} MB`,
    {
      hint: 'Make room there, then run this again',
    },
  );
}

function wantedFiles({
  id,
  name,
  address,
  engine,
  facts,
  tls,
  dropInTemplate,
}: Omit<PlanInput, 'facts'> & {
  readonly facts: Pick<Facts, 'daemonJson' | 'slipwayState' | 'unit'>;
}): readonly (RemoteFile | { path: string; content: undefined })[] {
  const command = engineCommandOf(facts);
  const before = parseOwnership(facts.slipwayState);
  const present = parseDaemonJson(facts.daemonJson, address);
  // What the old tool said on the command line goes on as if it had stood there: above all the storage driver, with which all
  // images and containers would be out of sight.
  const theirs = withDockerMachineFlags(present, facts, command);
  const settings = daemonSettingsFor(engine, address, socketsOf(command, withoutOwnSettings(theirs, before)));
  const { merged, ownership } = mergeSettings(theirs, before, settings);
  const env = engine.env.length > 0;
  return [
    { path: TLS_FILES.ca, mode: '644', content: tls.ca },
    { path: TLS_FILES.cert, mode: '644', content: tls.cert },
    { path: TLS_FILES.key, mode: '600', content: tls.key },
    env
      ? { path: ENGINE_ENV, mode: '600', content: engine.env.map(formatEnvironmentLine).join('') }
      : { path: ENGINE_ENV, content: undefined },
    { path: TEMPORARY_LIVE_RESTORE_FILE, content: undefined },
    dockerMachineDropInFile(facts, engine),
    { path: STATE_FILE, mode: '600', content: formatJson({ id, name, ...ownership }), live: true },
    { path: DROP_IN, mode: '644', content: formatDropIn(dropInTemplate, command, env ? ENGINE_ENV : undefined) },
    // Unchanged settings keep the text that somebody formatted.
    {
      path: DAEMON_JSON,
      mode: '=',
      content:
        formatJson(merged) === formatJson(present) ? (facts.daemonJson ?? formatJson(merged)) : formatJson(merged),
    },
  ];
}

function withDockerMachineFlags(
  present: DaemonSettings,
  facts: Pick<Facts, 'unit'>,
  { line }: EngineCommand,
): DaemonSettings {
  // Said by the unit's own command line as well, it would be said twice.
  const said = new Set(line.split(/\s+/).map((word) => word.replace(/^--?/, '').split('=', 1)[0]));
  const flags = parseDockerMachineDropIn(facts).flags.filter((flag) => !said.has(flag.split('=', 1)[0]));
  return flags.length === 0 ? present : mergeForeignSettings(present, daemonSettingsFromFlags(flags));
}

/** The old tool's drop-in goes, but for variables that our own file does not set. */
function dockerMachineDropInFile(
  facts: Pick<Facts, 'unit'>,
  { env }: EngineSpec,
): RemoteFile | { path: string; content: undefined } {
  const names = new Set(env.map((pair) => pair.split('=', 1)[0]));
  const left = parseDockerMachineDropIn(facts).environment.filter((pair) => !names.has(pair.split('=', 1)[0]));
  if (left.length === 0) return { path: DOCKER_MACHINE_DROP_IN, content: undefined };
  return { path: DOCKER_MACHINE_DROP_IN, mode: '644', content: formatEnvironmentDropIn(left) };
}

/** What the unit listened on moves into daemon.json; where neither says anything, dockerd's own default does. */
function socketsOf({ sockets }: EngineCommand, foreign: DaemonSettings): readonly string[] {
  if (sockets.length > 0) return sockets;
  return foreign.hosts === undefined ? ['unix:///var/run/docker.sock'] : [];
}

/** systemd's EnvironmentFile format: double quotes, in which a backslash takes the next character as it is. */
function formatEnvironmentLine(pair: string): string {
  const equals = pair.indexOf('=');
  return `${pair.slice(0, equals)}="${pair.slice(equals + 1).replaceAll(/["\\$`]/g, String.raw`\$&`)}"\n`;
}

function changedFiles(
  wanted: readonly (RemoteFile | { path: string; content: undefined })[],
  facts: Facts,
): Step['files'] {
  return wanted.filter((file) => {
    const there = facts.files[file.path];
    if (file.content === undefined) return there !== undefined;
    if (file.path === DAEMON_JSON) return file.content !== facts.daemonJson;
    return !there || there.sha256 !== sha256(file.content) || there.mode !== file.mode || there.owner !== 'root';
  });
}

/** What laying files means for the engine. */
type EngineEffect = { readonly engine: 'restart' | 'start' | 'later' | 'none'; readonly enable: boolean };

/** What an engine finds again, or can change, only where no container runs. */
const CONTAINER_STOPPING_KEYS = `
  data-root graph exec-root storage-driver storage-opts features userns-remap exec-opts
  containerd containerd-namespace containerd-plugin-namespace
  bridge bip fixed-cidr fixed-cidr-v6 default-gateway default-gateway-v6 default-address-pools
  ipv6 iptables ip6tables ip-forward ip-masq icc ip mtu userland-proxy`
  .trim()
  .split(/\s+/);

/** Whether containers can run on while the engine restarts for these files. */
function containerImpactOf(facts: Facts, files: Step['files'], where: string): 'keep' | 'stop' {
  const file = files.find(({ path }) => path === DAEMON_JSON);
  if (!file) return 'keep';
  const before = withDockerMachineFlags(parseDaemonJson(facts.daemonJson, where), facts, engineCommandOf(facts));
  const after = parseDaemonJson(file.content, where);
  return CONTAINER_STOPPING_KEYS.every((key) => isDeepStrictEqual(before[key], after[key])) ? 'keep' : 'stop';
}

function configureStep(files: Step['files'], { engine, enable }: EngineEffect, containers: 'keep' | 'stop'): Step {
  const manifest = files.map((file, index) => `${file.content === undefined ? '-' : file.mode} ${index} ${file.path}`);
  const titles = {
    restart: 'Configure the engine and restart it',
    start: 'Start the engine',
    later: "Lay the engine's configuration and certificates",
    none: files.length > 0 ? "Lay the engine's configuration and certificates" : 'Let the engine start with the host',
  };
  return {
    id: 'configure-engine',
    title: titles[engine],
    template: 'configure.sh',
    variables: {
      ENGINE: engine,
      ...(engine === 'restart' && containers === 'stop' ? { CONTAINERS: 'stop' } : {}),
      ENABLE: enable ? 'yes' : 'no',
      MANIFEST: manifest.join('\n'),
    },
    files,
  };
}

/** The machine that this host was provisioned as last, if any. */
export function ownerOf({ slipwayState }: Facts): { readonly id: string; readonly name: string } | undefined {
  const { id, name } = parseState(slipwayState) ?? {};
  return typeof id === 'string' && typeof name === 'string' ? { id, name } : undefined;
}

function parseOwnership(state: string | undefined): DaemonJsonOwnership | undefined {
  const parsed = parseState(state);
  if (!parsed) return undefined;
  const { settings = {}, replaced = {}, made = false } = parsed;
  return { settings, replaced, made };
}

function parseState(
  state: string | undefined,
): Partial<DaemonJsonOwnership & { id: string; name: string }> | undefined {
  if (state === undefined) return undefined;
  try {
    return JSON.parse(state) as Partial<DaemonJsonOwnership & { id: string; name: string }>;
  } catch (error) {
    // Cut off or edited: it is written anew, and what was ours counts as theirs.
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}

function formatJson(value: DaemonSettings | object): string {
  return `${JSON.stringify(value, null, 2)}\n`;
}

function sha256(content: string): string {
  return createHash('sha256').update(content).digest('hex');
}
