import type { Facts } from './facts.ts';
import type { ServiceManager } from './init/service-manager.ts';
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
};

/** Decides what happens to the engine after `fileCount` files changed. An installation step may follow. */
export function engineEffectFor(facts: Facts, fileCount: number, isInstallPlanned: boolean): EngineEffect {
  const { isActive, isEnabled, definition } = facts.engineService;
  const isPresent = facts.dockerd !== undefined && definition !== '';
  const isComplete = isPresent && !isInstallPlanned;
  if (!isComplete) return { engine: isPresent ? 'later' : 'none', enable: false };
  const needsRestart = fileCount > 0 || facts.restartPending;
  return { engine: needsRestart ? 'restart' : isActive ? 'none' : 'start', enable: !isEnabled };
}

/** Returns the step that writes these files and makes the engine load them. */
export function configureStep(
  files: readonly RemoteFileChange[],
  { engine, enable }: EngineEffect,
  containers: 'keep' | 'stop',
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
    scripts: [scripts.services, 'configure.sh'],
    variables: {
      ENGINE: engine,
      ...(engine === 'restart' && containers === 'stop' ? { CONTAINERS: 'stop' } : {}),
      ENABLE: enable ? 'yes' : 'no',
      MANIFEST: formatManifest(files),
    },
    files,
  };
}
