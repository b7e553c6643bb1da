import { isDeepStrictEqual } from 'node:util';
import type { EngineSpec } from '../machine/model.ts';
import {
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
import { parseOwnership, STATE_FILE } from './engine-owner.ts';
import { type Facts, TEMPORARY_LIVE_RESTORE_FILE } from './facts.ts';
import type { EngineCommand, EngineService } from './init/service-manager.ts';
import { formatJson, hasChanged } from './remote-files.ts';
import type { RemoteFileChange } from './step.ts';

/** The certificate that proves the host's identity, and the CA that the engine verifies its clients with. All PEM. */
export type ServerCertificates = { readonly ca: string; readonly cert: string; readonly key: string };

/** What the engine's configuration is computed from. */
export type EngineConfig = {
  readonly id: string;
  readonly name: string;
  readonly address: string;
  readonly engine: EngineSpec;
  /** The settings that the user chose for this engine (`engineSettingsOf`). */
  readonly engineSettings: DaemonSettings;
  readonly tls: ServerCertificates;
};

/** The facts about the engine's present configuration. */
type EngineFacts = Pick<Facts, 'daemonJson' | 'slipwayState' | 'engineService'>;

const ENGINE_ENV = '/etc/docker/slipway/engine.env';

/** Returns all files of the engine's configuration. Files that must not exist have no content. */
export function engineFilesFor(
  { id, name, address, engine, engineSettings, tls }: EngineConfig,
  facts: EngineFacts,
  service: EngineService,
): readonly RemoteFileChange[] {
  const command = service.commandOf(facts.engineService.definition);
  const before = parseOwnership(facts.slipwayState);
  const present = parseDaemonJson(facts.daemonJson, address);
  const foreign = withDockerMachineFlags(present, facts, service);
  const sockets = socketsOf(command, withoutOwnSettings(foreign, before));
  const settings = daemonSettingsFor(engineSettings, engine.port, address, sockets);
  const { merged, ownership } = mergeSettings(foreign, before, settings);
  const environment = engine.env.length > 0 ? ENGINE_ENV : undefined;
  return [
    { path: TLS_FILES.ca, mode: '644', content: tls.ca },
    { path: TLS_FILES.cert, mode: '644', content: tls.cert },
    { path: TLS_FILES.key, mode: '600', content: tls.key },
    environment === undefined
      ? { path: ENGINE_ENV, content: undefined }
      : { path: ENGINE_ENV, mode: '600', content: engine.env.map(service.formatEnvironmentLine).join('') },
    { path: TEMPORARY_LIVE_RESTORE_FILE, content: undefined },
    dockerMachineFile(facts, engine, service),
    { path: STATE_FILE, mode: '600', content: formatJson({ id, name, ...ownership }), live: true },
    { path: service.dropInPath, mode: '644', content: service.formatDropIn(command, environment) },
    { path: DAEMON_JSON, mode: '=', content: formatDaemonJson(merged, present, facts.daemonJson) },
  ];
}

/** Returns the files that differ from those on the host. */
export function changedFiles(wanted: readonly RemoteFileChange[], facts: Facts): readonly RemoteFileChange[] {
  return wanted.filter((file) => {
    if (file.content === undefined) return facts.files[file.path] !== undefined;
    return file.path === DAEMON_JSON ? file.content !== facts.daemonJson : hasChanged(file, facts);
  });
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

/** Returns whether containers can keep running while the engine restarts to load these files. */
export function containerImpactOf(
  files: readonly RemoteFileChange[],
  facts: Facts,
  where: string,
  service: EngineService,
): 'keep' | 'stop' {
  const file = files.find(({ path }) => path === DAEMON_JSON);
  if (!file) return 'keep';
  const before = withDockerMachineFlags(parseDaemonJson(facts.daemonJson, where), facts, service);
  const after = parseDaemonJson(file.content, where);
  return CONTAINER_STOPPING_KEYS.every((key) => isDeepStrictEqual(before[key], after[key])) ? 'keep' : 'stop';
}

/** Returns the present text if no setting changed, so that the user's formatting stays. */
function formatDaemonJson(wanted: DaemonSettings, present: DaemonSettings, text: string | undefined): string {
  const formatted = formatJson(wanted);
  return text !== undefined && formatted === formatJson(present) ? text : formatted;
}

/**
 * Adds the settings that the old docker-machine passed on the command line, as if they had been in daemon.json. The
 * most important is the storage driver: with another one, the engine would not find its images and containers.
 */
function withDockerMachineFlags(
  present: DaemonSettings,
  { engineService: { definition } }: Pick<Facts, 'engineService'>,
  service: EngineService,
): DaemonSettings {
  // dockerd refuses a setting that is also on the service's command line.
  const words = service.commandOf(definition).line.split(/\s+/);
  const onCommandLine = new Set(words.map((word) => word.replace(/^--?/, '').split('=', 1)[0]));
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
function socketsOf({ sockets }: EngineCommand, foreign: DaemonSettings): readonly string[] {
  if (sockets.length > 0) return sockets;
  return foreign.hosts === undefined ? ['unix:///var/run/docker.sock'] : [];
}
