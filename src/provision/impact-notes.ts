/** Says, before a plan is applied, what it takes from other people on the host, and what stays open there. Pure. */
import { formatPlace, runningFlags } from './command-line.ts';
import { DAEMON_JSON, type DaemonSettings, tcpPortOf, TLS_FILES } from './daemon-json.ts';
import type { Facts } from './facts.ts';
import type { EngineCommand, EngineService } from './init/service-manager.ts';

/** How an engine can be reached over the network: its TCP listeners, and the CA of its clients. */
type Exposure = { readonly listeners: readonly string[]; readonly hasTls: boolean; readonly ca: string | undefined };

/** The engine's present configuration: the command line without Slipway's file, and daemon.json. */
export type PresentEngine = {
  readonly command: EngineCommand;
  readonly settings: DaemonSettings;
  readonly service: EngineService;
};

/**
 * Returns sentences about clients that reach the engine now, and need this machine's certificates once it has the
 * wanted `hosts`.
 */
export function describeClientImpact(
  { command, settings, service }: PresentEngine,
  { engineService }: Pick<Facts, 'engineService'>,
  { where, name, hosts }: { readonly where: string; readonly name: string; readonly hosts: unknown },
): readonly string[] {
  const { listeners, hasTls, ca } = exposureOf(command, settings, engineService);
  if (ca === TLS_FILES.ca) return [];
  const undo = `To undo: slipway rm --deprovision ${name}`;
  if (hasTls) {
    const place = placeOf('tlscacert', ca, command) ?? placeOf('tlsverify', undefined, command) ?? DAEMON_JSON;
    const whose = ca === undefined ? 'of another CA' : `that ${ca} verifies`;
    return [
      `The engine on ${where} accepts certificates ${whose} (${place}). From now on it accepts those of machine "${name}" instead. ${undo}`,
    ];
  }
  return listeners.map((listener) => {
    const socket = service.findSocketPlace(engineService, tcpPortOf(listener) ?? NaN);
    const place = placeOf('host', listener, command) ?? (socket ? formatPlace(socket) : DAEMON_JSON);
    const isKept = (Array.isArray(hosts) && hosts.includes(listener)) || isManagedSocket(listener, engineService);
    const change = isKept ? 'needs' : 'is replaced, and the new one needs';
    return `The engine on ${where} accepts clients without TLS at ${listener} (${place}). From now on that address ${change} the certificates of machine "${name}". ${undo}`;
  });
}

/** Returns sentences about addresses without TLS that the engine listens on once Slipway's configuration is removed. */
export function describeReopened({ command, settings }: PresentEngine, where: string): readonly string[] {
  const { listeners, hasTls } = exposureOf(command, settings, {});
  if (hasTls) return [];
  return listeners.map(
    (listener) =>
      `The engine on ${where} listens without TLS at ${listener} again (${placeOf('host', listener, command) ?? DAEMON_JSON}): everyone who can reach that address controls the host`,
  );
}

/** Says that a service which was disabled will start the engine at boot. */
export function describeEnabling(where: string, name: string): string {
  return `The engine on ${where} does not start at boot. From now on it does. To undo: slipway rm --deprovision ${name}`;
}

/** Returns a sentence about containers that stop with the engine, and why; none if they keep running. */
export function describeContainerStop(
  { localEngine, daemonJsonEncoding }: Pick<Facts, 'localEngine' | 'daemonJsonEncoding'>,
  {
    where,
    stoppingKeys,
    settings,
  }: {
    readonly where: string;
    /** The settings whose change stops containers. */
    readonly stoppingKeys: readonly string[];
    /** The settings of the engine before and after. */
    readonly settings: readonly DaemonSettings[];
  },
): readonly string[] {
  if (localEngine === undefined || localEngine === 'silent') return [];
  const { runningContainers: count = 0, isSwarmNode } = localEngine;
  const reasons = [
    ...(isSwarmNode === true ? ["a swarm node can't keep them running"] : []),
    ...(settings.some((one) => one['live-restore'] === false) ? ['live-restore is false in daemon.json'] : []),
    ...(stoppingKeys.length > 0 ? [`they depend on settings that change: ${stoppingKeys.join(', ')}`] : []),
    ...(daemonJsonEncoding === undefined ? [] : ['daemon.json is in UTF-16']),
  ];
  if (count === 0 || reasons.length === 0) return [];
  const containers = count === 1 ? 'The running container' : `The ${count} running containers`;
  return [
    `${containers} on ${where} will stop when the engine restarts: ${reasons.join('; ')}. Those with a restart policy start again`,
  ];
}

/** Returns a sentence about each address at which another program than the engine answers as one, without TLS. */
export function describeOpenAddresses(
  { openAddresses = [] }: Pick<Facts, 'openAddresses'>,
  where: string,
): readonly string[] {
  return openAddresses.map(
    ({ address, program }) =>
      `${program === '' ? 'A program' : program} on ${where} answers Docker clients without TLS at ${address}, and Slipway leaves it as it is: everyone who can reach that address controls what is behind it`,
  );
}

/** A running engine has its own command line, which can be older than the files. */
function exposureOf(
  command: EngineCommand,
  settings: DaemonSettings,
  service: Partial<Facts['engineService']>,
): Exposure {
  const flags = service.argv && command.isDockerd ? runningFlags(service.argv) : command.flags;
  const valueOf = (key: string): unknown => {
    const flag = flags.findLast(({ name }) => name === key);
    return flag ? (flag.value ?? 'true') !== 'false' && (flag.value ?? true) : settings[key];
  };
  const hosts = [
    ...flags.flatMap(({ name, value }) => (name === 'host' && value !== undefined ? [value] : [])),
    ...(Array.isArray(settings.hosts) ? settings.hosts.map(String) : []),
  ];
  const managed = hosts.includes('fd://') ? (service.sockets ?? []).filter((socket) => /:\d+$/.test(socket)) : [];
  const ca = valueOf('tlscacert');
  return {
    listeners: [...hosts.filter((host) => tcpPortOf(host) !== undefined), ...managed],
    hasTls: Boolean(valueOf('tls')) || Boolean(valueOf('tlsverify')),
    ca: typeof ca === 'string' ? ca : undefined,
  };
}

function isManagedSocket(listener: string, { sockets = [] }: Facts['engineService']): boolean {
  return sockets.includes(listener);
}

/** Returns the place of a flag with this value; undefined if the command line does not have it. */
function placeOf(name: string, value: string | undefined, { flags }: EngineCommand): string | undefined {
  const flag = flags.find((one) => one.name === name && (value === undefined || one.value === value));
  return flag && formatPlace(flag.place);
}
