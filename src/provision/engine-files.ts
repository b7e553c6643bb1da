import { isDeepStrictEqual } from 'node:util';
import type { EngineSpec } from '../machine/model.ts';
import { SlipwayError } from '../errors.ts';
import { formatPlace, moveFlags } from './command-line.ts';
import {
  brokenDaemonJsonError,
  DAEMON_JSON,
  daemonSettingsFor,
  daemonSettingsFromFlags,
  mergeForeignSettings,
  mergeSettings,
  parseDaemonJson,
  TLS_FILES,
  withoutOwnSettings,
  type DaemonSettings,
} from './daemon-json.ts';
import { parseOwnership, STATE_FILE, isDisabledWithoutSlipway } from './engine-owner.ts';
import { type Facts, type PortHolder, TEMPORARY_LIVE_RESTORE_FILE } from './facts.ts';
import type { EngineCommand, EngineService } from './init/service-manager.ts';
import { formatJson, hasChanged, sha256 } from './remote-files.ts';
import type { RemoteFile, RemoteFileChange } from './step.ts';
import { encodeText } from './text-encoding.ts';

/** The certificate that proves the host's identity, and the CA that the engine verifies its clients with. All PEM. */
export type ServerCertificates = { readonly ca: string; readonly cert: string; readonly key: string };

/** What the engine's configuration is computed from. */
export type EngineConfig = {
  readonly id: string;
  readonly name: string;
  readonly address: string;
  /** An IPv6 address of the host, if `address` is a name that has no IPv4 address. */
  readonly ipv6Address?: string;
  readonly engine: EngineSpec;
  /** The settings that the user chose for this engine (`engineSettingsOf`). */
  readonly engineSettings: DaemonSettings;
  readonly tls: ServerCertificates;
};

/** The facts about the engine's present configuration. */
type EngineFacts = Pick<
  Facts,
  'daemonJson' | 'daemonJsonEncoding' | 'localEngine' | 'slipwayState' | 'engineService' | 'portHolder'
>;

const ENGINE_ENV = '/etc/docker/slipway/engine.env';

/** The engine's configuration: all its files, and the settings that they make. Absent files have no content. */
export type EngineConfiguration = {
  readonly files: readonly RemoteFileChange[];
  readonly settings: DaemonSettings;
};

/** Returns the configuration that the engine is to have. */
export function engineConfigurationFor(
  { id, name, address, ipv6Address, engine, engineSettings, tls }: EngineConfig,
  facts: EngineFacts,
  service: EngineService,
): EngineConfiguration {
  const before = parseOwnership(facts.slipwayState);
  const present = readDaemonJson(facts, address);
  const command = service.commandOf(facts.engineService);
  const foreign = withDockerMachineFlags(present, command, facts, service);
  const others = withoutOwnSettings(foreign, before);
  const listening = daemonSettingsFor({}, engine.port, address, []);
  const scope = { wanted: { ...listening, ...engineSettings }, foreign: others };
  const moved = moveFlags(command, scope, facts, address);
  const sockets = socketsOf(moved.sockets, others);
  requireFreePort(engine.port, facts, service, address);
  const wanted = mergeForeignSettings(
    daemonSettingsFor(engineSettings, engine.port, ipv6Address ?? address, sockets),
    withoutLabelsOf(engineSettings, moved.settings),
  );
  const { merged, ownership } = mergeSettings(foreign, before, wanted);
  const original = before ? before.original : encodeDaemonJson(facts);
  const environment = engine.env.length > 0 ? ENGINE_ENV : undefined;
  const dropInPath = requireLastDropIn(command, facts, service, address);
  const files: readonly RemoteFileChange[] = [
    { path: TLS_FILES.ca, mode: '644', content: tls.ca },
    { path: TLS_FILES.cert, mode: '644', content: tls.cert },
    { path: TLS_FILES.key, mode: '600', content: tls.key },
    environment === undefined
      ? { path: ENGINE_ENV, content: undefined }
      : { path: ENGINE_ENV, mode: '600', content: engine.env.map(service.formatEnvironmentLine).join('') },
    { path: TEMPORARY_LIVE_RESTORE_FILE, content: undefined },
    dockerMachineFile(facts, engine, service),
    {
      path: STATE_FILE,
      mode: '600',
      content: formatJson({
        id,
        name,
        ...ownership,
        ...(original === undefined ? {} : { original }),
        ...(isDisabledWithoutSlipway(facts) ? { wasDisabled: true } : {}),
      }),
      live: true,
    },
    ...service.dropInPaths.map((path) =>
      path === dropInPath
        ? { path, mode: '644', content: service.formatDropIn(command, moved.isMoved, environment) }
        : { path, content: undefined },
    ),
    {
      path: DAEMON_JSON,
      mode: '=',
      content: formatDaemonJson(merged, present, facts.daemonJson),
      ...encodingOf(facts.daemonJsonEncoding),
    },
  ];
  return { files, settings: merged };
}

/** Refuses a host on which another file would override Slipway's command line, whatever that file's name is. */
function requireLastDropIn(
  command: EngineCommand,
  { engineService }: EngineFacts,
  service: EngineService,
  where: string,
): string {
  const path = service.dropInPathFor(engineService);
  if (path !== undefined) return path;
  throw new SlipwayError(
    'DAEMON_JSON',
    `The engine's command line on ${where} can't be set: its name puts ${formatPlace(command.place)} after all other files`,
    { hint: 'Give that file another name on the host, such as override.conf. Then run the same command again' },
  );
}

/**
 * Refuses a port on which another program listens, or the service manager for the engine: the engine could not listen
 * there, too.
 */
function requireFreePort(
  port: number,
  { engineService, portHolder }: EngineFacts,
  service: EngineService,
  where: string,
): void {
  const other = port === OTHER_PORT ? DEFAULT_PORT : OTHER_PORT;
  const place = service.findSocketPlace(engineService, port);
  if (place) {
    throw new SlipwayError(
      'ENGINE_CONFLICT',
      `The engine on ${where} can't listen on port ${port} with TLS: ${formatPlace(place)} opens that port for it already`,
      {
        hint: `Remove that line on the host and restart docker.socket, or choose another port: --engine-port ${other}`,
      },
    );
  }
  if (portHolder?.port !== port) return;
  throw new SlipwayError(
    'ENGINE_CONFLICT',
    `The engine on ${where} can't listen on port ${port}: ${describeHolder(portHolder)} listens there`,
    {
      hint: `Choose another port: --engine-port ${other}. Or end that program on the host, then run the same command again`,
    },
  );
}

const DEFAULT_PORT = 2376;
/** A port to suggest: no usual program listens there, and 2377 is a swarm's. */
const OTHER_PORT = 12376;

function describeHolder({ pid, unit, program }: PortHolder): string {
  if (pid === 1) return unit ?? 'another program';
  return `${program ?? 'another program'} (PID ${pid}${unit === undefined ? '' : `, ${unit}`})`;
}

/** Parses the host's daemon.json (`parseDaemonJson`). Also refuses an encoding that the host's engine can't read. */
export function readDaemonJson(
  facts: Pick<Facts, 'daemonJson' | 'daemonJsonEncoding' | 'localEngine'>,
  where: string,
): DaemonSettings {
  const { daemonJson, daemonJsonEncoding, localEngine } = facts;
  if (daemonJson !== undefined && daemonJsonEncoding === 'invalid')
    throw brokenDaemonJsonError(daemonJson, daemonJson.indexOf('\u{fffd}'), 'its text is not UTF-8', where);
  const version = localEngine === 'silent' ? undefined : localEngine?.version;
  if (daemonJson?.startsWith('\u{feff}') === true && version !== undefined && !canReadByteOrderMark(version)) {
    const what = `it begins with a byte order mark, which engine ${version} can't read; save it as UTF-8 without one`;
    throw brokenDaemonJsonError('', 0, what, where);
  }
  return parseDaemonJson(daemonJson, where);
}

/** Engines can read one, and UTF-16 with it, since version 23. */
function canReadByteOrderMark(version: string): boolean {
  return Number.parseInt(version, 10) >= 23;
}

/** Returns the encoding with which a file must be written so that it stays as it is. */
export function encodingOf(encoding: Facts['daemonJsonEncoding'] | undefined): Pick<RemoteFile, 'encoding'> {
  return encoding === undefined || encoding === 'invalid' ? {} : { encoding };
}

function encodeDaemonJson(facts: EngineFacts): string | undefined {
  if (facts.daemonJson === undefined) return undefined;
  return Buffer.from(encodeText(facts.daemonJson, encodingOf(facts.daemonJsonEncoding).encoding)).toString('base64');
}

/** dockerd refuses two labels with one name. */
function withoutLabelsOf({ labels }: DaemonSettings, settings: DaemonSettings): DaemonSettings {
  if (!Array.isArray(labels) || !Array.isArray(settings.labels)) return settings;
  const names = new Set(labels.map((label) => String(label).split('=', 1)[0]));
  return { ...settings, labels: settings.labels.filter((label) => !names.has(String(label).split('=', 1)[0])) };
}

/** Returns the files that differ from those on the host. */
export function changedFiles(wanted: readonly RemoteFileChange[], facts: Facts): readonly RemoteFileChange[] {
  return wanted.filter((file) => {
    if (file.content === undefined) return facts.files[file.path] !== undefined;
    return file.path === DAEMON_JSON ? file.content !== facts.daemonJson : hasChanged(file, facts);
  });
}

/** Returns whether the engine must restart to read a changed file. */
export function isReadAtStart(file: RemoteFileChange, { files }: Facts, { dropInPaths }: EngineService): boolean {
  if (!dropInPaths.includes(file.path)) return file.content === undefined || file.live !== true;
  // A drop-in that only gets another name says what it said before.
  const { content } = file;
  return content !== undefined && dropInPaths.every((path) => files[path]?.sha256 !== sha256(content));
}

/**
 * The keys of daemon.json that require containers to stop: an engine finds its containers by these settings, or can
 * change them only while no container runs.
 */
const CONTAINER_STOPPING_KEYS = `
  data-root graph exec-root storage-driver storage-opts features userns-remap exec-opts
  containerd containerd-namespace containerd-plugin-namespace
  bridge bip fixed-cidr fixed-cidr-v6 default-gateway default-gateway-v6 default-address-pools
  ipv6 iptables ip6tables ip-forward ip-masq icc ip mtu userland-proxy`
  .trim()
  .split(/\s+/);

/** Returns the settings whose change stops containers when the engine restarts to load these files. */
export function findStoppingKeys(
  files: readonly RemoteFileChange[],
  facts: Facts,
  where: string,
  service: EngineService,
): readonly string[] {
  const file = files.find(({ path }) => path === DAEMON_JSON);
  if (!file) return [];
  const command = service.commandOf(facts.engineService);
  const before = withDockerMachineFlags(readDaemonJson(facts, where), command, facts, service);
  const after = parseDaemonJson(file.content, where);
  return CONTAINER_STOPPING_KEYS.filter((key) => !isDeepStrictEqual(before[key], after[key]));
}

/** Returns the present text if no setting changed, so that the user's formatting stays. */
function formatDaemonJson(wanted: DaemonSettings, present: DaemonSettings, text: string | undefined): string {
  const formatted = formatJson(wanted);
  if (text !== undefined && formatted === formatJson(present)) return text;
  return text?.startsWith('\u{feff}') ? `\u{feff}${formatted}` : formatted;
}

/**
 * Adds the settings that the old docker-machine passed on the command line, as if they had been in daemon.json. The
 * most important is the storage driver: with another one, the engine would not find its images and containers.
 */
function withDockerMachineFlags(
  present: DaemonSettings,
  command: EngineCommand,
  { engineService: { definition } }: Pick<Facts, 'engineService'>,
  service: EngineService,
): DaemonSettings {
  // dockerd refuses a setting that is also on the service's command line.
  const onCommandLine = new Set<string | undefined>(command.flags.map(({ name }) => name));
  const { flags } = service.parseDockerMachineSettings(definition);
  const added = flags.filter((flag) => !onCommandLine.has(flag.split('=', 1)[0]));
  return added.length === 0 ? present : mergeForeignSettings(present, daemonSettingsFromFlags(added));
}

/** Returns the change of docker-machine's file: keeps the variables that Slipway's file does not set, or removes it. */
function dockerMachineFile(
  { engineService: { definition } }: Pick<Facts, 'engineService'>,
  { env }: EngineSpec,
  service: EngineService,
): RemoteFileChange {
  const names = new Set(env.map((pair) => pair.split('=', 1)[0]));
  const { environment } = service.parseDockerMachineSettings(definition);
  const remaining = environment.filter((pair) => !names.has(pair.split('=', 1)[0]));
  if (remaining.length === 0) return { path: service.dockerMachinePath, content: undefined };
  return { path: service.dockerMachinePath, mode: '644', content: service.formatEnvironmentDropIn(remaining) };
}

/** Returns the sockets to move from the command line to daemon.json; dockerd's default if neither names a socket. */
function socketsOf(sockets: readonly string[], foreign: DaemonSettings): readonly string[] {
  if (sockets.length > 0) return sockets;
  return foreign.hosts === undefined ? ['unix:///var/run/docker.sock'] : [];
}
