import { configureStep, engineEffectFor } from './configure-engine.ts';
import { DAEMON_JSON, parseDaemonJson, withoutOwnSettings } from './daemon-json.ts';
import { changedFiles, containerImpactOf, engineFilesFor, type EngineConfig } from './engine-files.ts';
import { planEngineInstall } from './engine-install.ts';
import { parseOwnership } from './engine-owner.ts';
import { requireNoOtherEngine } from './other-engines.ts';
import type { Facts } from './facts.ts';
import { defaultServiceManager } from './init/registry.ts';
import type { HostLifetime, ServiceManager } from './init/service-manager.ts';
import { planLifetime } from './lifetime-timers.ts';
import { formatJson } from './remote-files.ts';
import type { Plan, RemoteFile, Step } from './step.ts';
import { type HostFamily, requireSupportedHost, serviceManagerOf } from './supported-host.ts';
import type { EngineSpec } from '../machine/model.ts';

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
  const timers = planLifetime(lifetime, facts);
  const installation = planEngineInstall(engine, facts, address, family);
  if (installation || !facts.engineService.isActive) requireNoOtherEngine(facts, address, family.serviceManager);
  const sources = planPackageSources(engine, facts, family);
  const configure = planEngineConfiguration(input, family.serviceManager, installation !== undefined);
  return [timers, sources, installation?.check, configure, installation?.install].filter((step) => step !== undefined);
}

/** Returns the step that writes and removes the files about package sources; the engine keeps running. */
function planPackageSources(
  engine: EngineSpec,
  facts: Facts,
  { distro, serviceManager }: HostFamily,
): Step | undefined {
  const files = changedFiles(distro.sourceFilesFor(engine, facts), facts);
  if (files.length === 0) return undefined;
  const step = configureStep(files, { engine: 'none', enable: false }, 'keep', serviceManager);
  return { ...step, id: 'package-sources', title: "Update the host's package sources" };
}

function planEngineConfiguration(
  { facts, ...config }: PlanInput,
  serviceManager: ServiceManager,
  isInstallPlanned: boolean,
): Step | undefined {
  const service = serviceManager.engine;
  const files = changedFiles(engineFilesFor(config, facts, service), facts);
  const effect = engineEffectFor(facts, files.length, isInstallPlanned);
  const isNeeded = files.length > 0 || effect.engine === 'restart' || effect.engine === 'start' || effect.enable;
  if (!isNeeded) return undefined;
  return configureStep(files, effect, containerImpactOf(files, facts, config.address, service), serviceManager);
}

/**
 * Returns the files to put on a machine before its first boot, so that its engine starts once, with the right
 * configuration. `planProvision` then finds them and plans nothing.
 */
export function firstBootFilesFor({ lifetime, ...config }: Omit<PlanInput, 'facts'>): readonly RemoteFile[] {
  const { engine, timers } = defaultServiceManager;
  const engineService = { isActive: false, isEnabled: false, definition: '' };
  const engineFiles = engineFilesFor(config, { daemonJson: undefined, slipwayState: undefined, engineService }, engine)
    .filter((file): file is RemoteFile => file.content !== undefined)
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
  const effect = { engine: needsRestart ? 'restart' : 'none', enable: false } as const;
  const names = { id: 'deprovision', title: "Remove Slipway's configuration" };
  if (own.length === 0) {
    // An interrupted run may have removed the files while the engine still runs with their settings.
    return needsRestart && facts.restartPending
      ? { ...configureStep([], effect, 'keep', serviceManager), ...names }
      : undefined;
  }
  const files = [...restoredDaemonJson(facts, where), ...own.map((path) => ({ path, content: undefined }))];
  const containers = containerImpactOf(files, facts, where, service);
  return { ...configureStep(files, effect, containers, serviceManager), ...names };
}

/** Returns daemon.json without Slipway's settings. Removes it if Slipway created it and no other setting is in it. */
function restoredDaemonJson({ daemonJson, slipwayState }: Facts, where: string): Step['files'] {
  if (daemonJson === undefined) return [];
  const ownership = parseOwnership(slipwayState);
  const rest = withoutOwnSettings(parseDaemonJson(daemonJson, where), ownership);
  const isEmptied = Object.keys(rest).length === 0 && (ownership?.made ?? false);
  return [{ path: DAEMON_JSON, mode: '=', content: isEmptied ? undefined : formatJson(rest) }];
}
