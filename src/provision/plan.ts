import { isDeepStrictEqual } from 'node:util';
import { parseJson } from '../parse-json.ts';
import { runningFlags } from './command-line.ts';
import { configureStep, engineEffectFor, writeFilesStep } from './configure-engine.ts';
import { DAEMON_JSON, type DaemonSettings, withoutOwnSettings } from './daemon-json.ts';
import { isListeningFlag } from './dockerd-flags.ts';
import {
  changedFiles,
  findStoppingKeys,
  encodingOf,
  engineConfigurationFor,
  type EngineConfig,
  type EngineConfiguration,
  isReadAtStart,
  readDaemonJson,
} from './engine-files.ts';
import { planEngineInstall } from './engine-install.ts';
import { parseOwnership, isDisabledWithoutSlipway } from './engine-owner.ts';
import { describeClientImpact, describeContainerStop, describeEnabling, describeReopened } from './impact-notes.ts';
import { requireNoMaskedUnit, requireNoOtherEngine } from './other-engines.ts';
import type { Facts } from './facts.ts';
import { defaultServiceManager } from './init/registry.ts';
import type { EngineService, HostLifetime, ServiceManager } from './init/service-manager.ts';
import { planLifetime } from './lifetime-timers.ts';
import { localSocketOf, localSocketVariable } from './local-socket.ts';
import { formatJson } from './remote-files.ts';
import type { Plan, RemoteFile, Step } from './step.ts';
import { type HostFamily, requireSupportedHost, serviceManagerOf } from './supported-host.ts';
import type { EngineSpec } from '../machine/model.ts';
import { decodeDaemonJson } from './text-encoding.ts';

export type PlanInput = EngineConfig & {
  readonly facts: Facts;
  /** Absent if the machine runs until somebody stops it. */
  readonly lifetime?: HostLifetime | undefined;
};

/**
 * Returns the steps that bring the host to the state in the spec; none if it is in that state. The order matters: the
 * deadline is set first, since it must apply even if the others fail; an installation is checked before the
 * configuration is written, which comes before the package, since the installation starts the engine.
 */
export function planProvision(input: PlanInput): Plan {
  const { engine, facts, address, lifetime } = input;
  const family = requireSupportedHost(facts, address);
  requireNoMaskedUnit(facts, address, family.serviceManager.engine);
  const timers = planLifetime(lifetime, facts);
  const installation = planEngineInstall(engine, facts, address, family);
  if (installation || !facts.engineService.isActive) requireNoOtherEngine(facts, address, family.serviceManager);
  const sources = planPackageSources(engine, facts, family);
  const configuration = engineConfigurationFor(input, facts, family.serviceManager.engine);
  const socket = localSocketVariable(localSocketOf(configuration.settings, facts));
  const configure = planEngineConfiguration(input, configuration, family.serviceManager, installation !== undefined);
  const install = installation && {
    ...installation.install,
    // The installation restarts the engine in place of the configuration's step.
    variables: { ...installation.install.variables, ...socket, ...pickContainers(configure) },
  };
  return [timers, sources, installation?.check, configure, install].filter((step) => step !== undefined);
}

/** Returns the step that writes and removes the files about package sources; the engine keeps running. */
function planPackageSources(
  engine: EngineSpec,
  facts: Facts,
  { distro, serviceManager }: HostFamily,
): Step | undefined {
  const files = changedFiles(distro.sourceFilesFor(engine, facts), facts);
  if (files.length === 0) return undefined;
  const step = writeFilesStep(files, serviceManager);
  return { ...step, id: 'package-sources', title: "Update the host's package sources" };
}

function pickContainers(configure: Step | undefined): Readonly<Record<string, string>> {
  const containers = configure?.variables.CONTAINERS;
  return containers === undefined ? {} : { CONTAINERS: containers };
}

function planEngineConfiguration(
  { facts, address, name }: PlanInput,
  { files: wanted, settings }: EngineConfiguration,
  serviceManager: ServiceManager,
  isInstallPlanned: boolean,
): Step | undefined {
  const service = serviceManager.engine;
  const files = changedFiles(wanted, facts);
  const socket = localSocketOf(settings, facts);
  const needsRestart =
    files.some((file) => isReadAtStart(file, facts, service)) || socket.isLost || hasListeningFlags(facts);
  const effect = engineEffectFor(facts, needsRestart, isInstallPlanned);
  const isNeeded = files.length > 0 || effect.engine === 'restart' || effect.engine === 'start' || effect.enable;
  if (!isNeeded) return undefined;
  const stoppingKeys = findStoppingKeys(files, facts, address, service);
  const settingsNow = readDaemonJson(facts, address);
  const present = { command: service.commandOf(facts.engineService), settings: settingsNow, service };
  // Docker Machine's own clients are those of the machine that takes its place.
  const isDockerMachines = service.parseDockerMachineSettings(facts.engineService.definition).flags.length > 0;
  const clients = { where: address, name, hosts: settings.hosts };
  const notes = [
    ...(isDockerMachines ? [] : describeClientImpact(present, facts, clients)),
    ...describeContainerStop(facts, { where: address, stoppingKeys, settings: [present.settings, settings] }),
  ];
  const impact = { containers: containersVariable(stoppingKeys, facts), socket };
  return withNotes(configureStep(files, effect, impact, serviceManager), [
    ...(effect.engine === 'none' ? [] : notes),
    ...(effect.enable ? [describeEnabling(address, name)] : []),
  ]);
}

function containersVariable(stoppingKeys: readonly string[], { daemonJsonEncoding }: Facts): 'keep' | 'stop' {
  return stoppingKeys.length > 0 || daemonJsonEncoding !== undefined ? 'stop' : 'keep';
}

function withNotes(step: Step, notes: readonly string[]): Step {
  return notes.length > 0 ? { ...step, notes } : step;
}

/** Returns whether the running engine got its sockets on its command line: then it has not read Slipway's files. */
function hasListeningFlags({ engineService: { isActive, argv = [] } }: Facts): boolean {
  return isActive && runningFlags(argv).some(({ name }) => isListeningFlag(name));
}

/**
 * Returns the files to put on a machine before its first boot, so that its engine starts once, with the right
 * configuration. `planProvision` then finds them and plans nothing.
 */
export function firstBootFilesFor({ lifetime, ...config }: Omit<PlanInput, 'facts'>): readonly RemoteFile[] {
  const { engine, timers } = defaultServiceManager;
  const engineService = { isActive: false, isEnabled: false, definition: '' };
  const facts = { daemonJson: undefined, slipwayState: undefined, engineService };
  const engineFiles = engineConfigurationFor(config, facts, engine)
    .files.filter((file): file is RemoteFile => file.content !== undefined)
    .map((file) => ({ ...file, mode: file.mode === '=' ? '644' : file.mode }));
  return [...engineFiles, ...(lifetime ? timers.filesFor(lifetime) : [])];
}

/**
 * Returns the files and commands with which a machine gets its timers from user data that others can read: unlike the
 * rest of `firstBootFilesFor`, they contain no secret.
 */
export function firstBootTimersFor(lifetime: HostLifetime): {
  readonly files: readonly RemoteFile[];
  readonly commands: readonly string[];
} {
  const { timers } = defaultServiceManager;
  const files = timers.filesFor(lifetime);
  return { files, commands: timers.startCommandsOf(timers.namesOf(files.map(({ path }) => path))) };
}

/** Returns the steps that remove the files of `planProvision` from the host. The engine and its containers stay. */
export function planDeprovision(facts: Facts, where: string): Plan {
  return [planLifetime(undefined, facts), planEngineDeprovision(facts, where)].filter((step) => step !== undefined);
}

function planEngineDeprovision(facts: Facts, where: string): Step | undefined {
  const serviceManager = serviceManagerOf(facts);
  const { engine: service, timers } = serviceManager;
  const own = Object.keys(facts.files).filter(
    (path) => !timers.paths.includes(path) && path !== service.dockerMachinePath,
  );
  const needsRestart = facts.dockerd !== undefined && facts.engineService.isActive;
  const disable = facts.engineService.isEnabled && isDisabledWithoutSlipway(facts);
  const effect = { engine: needsRestart ? 'restart' : 'none', enable: false, disable } as const;
  const names = { id: 'deprovision', title: "Remove Slipway's configuration" };
  if (needsRestart) requireNoMaskedUnit(facts, where, service);
  const restored = restoredDaemonJson(facts, where);
  const socket = localSocketOf({ hosts: hostsAfterDeprovision(restored.settings, facts, service) }, facts);
  if (own.length === 0) {
    // An interrupted run may have removed the files while the engine still runs with their settings.
    return needsRestart && facts.restartPending
      ? { ...configureStep([], effect, { containers: 'keep', socket }, serviceManager), ...names }
      : undefined;
  }
  const files = [...restored.files, ...own.map((path) => ({ path, content: undefined }))];
  const stoppingKeys = findStoppingKeys(files, facts, where, service);
  const present = { command: service.commandOf(facts.engineService), settings: restored.settings, service };
  const settings = [readDaemonJson(facts, where), restored.settings];
  const notes = needsRestart
    ? [...describeReopened(present, where), ...describeContainerStop(facts, { where, stoppingKeys, settings })]
    : [];
  const impact = { containers: containersVariable(stoppingKeys, facts), socket };
  return withNotes({ ...configureStep(files, effect, impact, serviceManager), ...names }, notes);
}

/**
 * Returns daemon.json without Slipway's settings: the bytes that it had before, unless the user has changed settings
 * since. Removes it if Slipway created it and no other setting is in it.
 */
function restoredDaemonJson(
  facts: Facts,
  where: string,
): { readonly settings: DaemonSettings; readonly files: Step['files'] } {
  const { daemonJson, slipwayState } = facts;
  if (daemonJson === undefined) return { settings: {}, files: [] };
  const ownership = parseOwnership(slipwayState);
  const settings = withoutOwnSettings(readDaemonJson(facts, where), ownership);
  const original =
    ownership?.original === undefined ? undefined : decodeDaemonJson(Buffer.from(ownership.original, 'base64'));
  const isUnchanged =
    original !== undefined && isDeepStrictEqual(settings, parseJson(original.text.replace(/^\u{feff}/u, '') || '{}'));
  const isEmptied = Object.keys(settings).length === 0 && (ownership?.made ?? false);
  const content = isUnchanged ? original.text : isEmptied ? undefined : formatJson(settings);
  const encoding = isUnchanged ? encodingOf(original.encoding) : {};
  return { settings, files: [{ path: DAEMON_JSON, mode: '=', content, ...encoding }] };
}

/** The engine listens where the service's own command line and daemon.json say, or else on its default socket. */
function hostsAfterDeprovision({ hosts }: DaemonSettings, facts: Facts, service: EngineService): readonly unknown[] {
  const flags = service.commandOf(facts.engineService).flags.filter(({ name }) => name === 'host');
  const all = [...(Array.isArray(hosts) ? hosts : []), ...flags.map(({ value }) => value)];
  return all.length > 0 ? all : ['unix:///var/run/docker.sock'];
}
