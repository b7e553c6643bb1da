import type { Facts } from './facts.ts';
import type { ServiceManager } from './init/service-manager.ts';
import { type LocalSocket, localSocketVariable } from './local-socket.ts';
import { formatManifest } from './remote-files.ts';
import type { RemoteFileChange, Step } from './step.ts';

/** What happens to the engine after its files are written. */
export type EngineEffect = {
  /**
   * `later`: the installation that follows restarts the engine. `none`: the engine keeps running, or its installation
   * starts it.
   */
  readonly engine: 'restart' | 'start' | 'later' | 'none';
  /** Whether to enable the engine at boot. */
  readonly enable: boolean;
  /** Whether to disable it again, before its files change. */
  readonly disable?: boolean;
};

/** Decides what happens to the engine, which may have to read new files. An installation step may follow. */
export function engineEffectFor(facts: Facts, hasNewFiles: boolean, isInstallPlanned: boolean): EngineEffect {
  const { isActive, isEnabled, definition } = facts.engineService;
  const isPresent = facts.dockerd !== undefined && definition !== '';
  const isComplete = isPresent && !isInstallPlanned;
  if (!isComplete) return { engine: isPresent ? 'later' : 'none', enable: false };
  const needsRestart = hasNewFiles || facts.restartPending;
  return { engine: needsRestart ? 'restart' : isActive ? 'none' : 'start', enable: !isEnabled };
}

/** The functions that restart an engine or take its new files back, for the scripts of steps. */
export const RESTART_SCRIPTS = ['engine-info.sh', 'restart-engine.sh'] as const;

/** Returns the step that writes these files and makes the engine load them. */
export function configureStep(
  files: readonly RemoteFileChange[],
  { engine, enable, disable = false }: EngineEffect,
  { containers, socket }: { readonly containers: 'keep' | 'stop'; readonly socket: LocalSocket },
  { scripts }: ServiceManager,
): Step {
  const write = "Write the engine's configuration and certificates";
  const titles = {
    restart: 'Configure the engine and restart it',
    start: 'Start the engine',
    later: write,
    none: files.length > 0 ? write : 'Enable the engine at boot',
  };
  return {
    id: 'configure-engine',
    title: titles[engine],
    template: 'configure.sh',
    scripts: [scripts.services, ...RESTART_SCRIPTS, 'configure.sh'],
    variables: {
      ENGINE: engine,
      ...((engine === 'restart' || engine === 'later') && containers === 'stop' ? { CONTAINERS: 'stop' } : {}),
      ...(engine === 'restart' || engine === 'start' ? localSocketVariable(socket) : {}),
      ENABLE: enable ? 'yes' : disable ? 'undo' : 'no',
      MANIFEST: formatManifest(files),
    },
    files,
  };
}

/** Returns the step that writes files which the engine does not read. */
export function writeFilesStep(files: readonly RemoteFileChange[], serviceManager: ServiceManager): Step {
  const socket = { isExpected: true, isLost: false };
  return configureStep(files, { engine: 'none', enable: false }, { containers: 'keep', socket }, serviceManager);
}
