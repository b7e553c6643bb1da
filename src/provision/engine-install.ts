import { SlipwayError } from '../errors.ts';
import type { EngineSpec } from '../machine/model.ts';
import { RESTART_SCRIPTS } from './configure-engine.ts';
import type { Distro, DistroScript, EngineInstall, PackageSource } from './distros/distro.ts';
import type { Facts } from './facts.ts';
import type { HostFamily } from './supported-host.ts';
import type { Step } from './step.ts';

/** The names of engine sources in titles. */
export const engineSourceLabels = {
  distro: "the distribution's package",
  docker: "Docker's repository",
  url: 'an install script',
};

export type EnginePackage = {
  readonly name: string;
  readonly version: string;
  readonly source: PackageSource;
  readonly isInstalled: boolean;
};

/** Returns the package of the host's engine, which may be incompletely installed, and the source of the package. */
export function findEnginePackage({ packages }: Facts, distro: Distro): EnginePackage | undefined {
  for (const [name, source] of Object.entries(distro.enginePackages)) {
    const { state, version } = packages[name] ?? { state: undefined, version: '' };
    const packageState = state === undefined ? 'absent' : distro.packageStateOf(state);
    if (packageState !== 'absent') return { name, version, source, isInstalled: packageState === 'installed' };
  }
  return undefined;
}

/** The steps of an installation. `check` comes before all steps that change the host. */
export type InstallSteps = { readonly check: Step | undefined; readonly install: Step };

/** Returns the steps that install the engine or another version of it; undefined if the host has the right engine. */
export function planEngineInstall(
  engine: EngineSpec,
  facts: Facts,
  where: string,
  { distro, serviceManager }: HostFamily,
): InstallSteps | undefined {
  const present = findEnginePackage(facts, distro);
  const version = engine.version ?? '';
  const isComplete =
    facts.dockerd !== undefined && present?.isInstalled !== false && facts.engineService.definition !== '';
  const replaced =
    isComplete && version !== '' && present && !distro.isVersionMatch(present.version, version) ? present : undefined;
  if (isComplete && !replaced) return undefined;
  // A package on the host keeps its source, even if it is incomplete: two engines would compete for one socket.
  const source = present?.source ?? engine.source;
  if (engine.source === 'none' || source === 'none') throw engineMissingError(where);
  if (!present && source !== 'url') requireNoForeignProgram(facts, where, distro);
  requireInstallUrl(source, engine);
  requireInstallSpace(facts, where, distro);
  const wanted = { engine, source, facts };
  requireInstallSupported(wanted, where, distro);
  requireNoConflict(wanted, where, distro);
  const toStep = (id: string, title: string, { scripts, ...script }: DistroScript): Step => ({
    id,
    title,
    ...script,
    scripts: [serviceManager.scripts.services, ...RESTART_SCRIPTS, ...scripts],
    files: [],
  });
  const check = distro.checkScript?.(wanted);
  const title = replaced
    ? `Install engine ${version} over ${replaced.version}`
    : `Install the engine (${engineSourceLabels[source]})`;
  return {
    check: check && {
      ...toStep('check-packages', 'Check what the installation would change', check),
      previewVariables: distro.previewVariables,
    },
    install: toStep('install-engine', title, distro.installScript(wanted)),
  };
}

function engineMissingError(where: string): SlipwayError {
  return new SlipwayError(
    'ENGINE_MISSING',
    `${where} has no engine, and with --engine-source none Slipway does not install one`,
    {
      hint: 'Install an engine there, or choose --engine-source docker or distro',
    },
  );
}

/** Refuses to install a package beside an engine that was copied to the host and has no service. */
function requireNoForeignProgram({ dockerd, engineService }: Facts, where: string, distro: Distro): void {
  if (dockerd === undefined || engineService.definition !== '') return;
  const names = Object.keys(distro.enginePackages).join(' or ');
  throw new SlipwayError(
    'ENGINE_CONFLICT',
    `${dockerd} on ${where} belongs to no package of ${names}, and has no service`,
    {
      hint: 'To use it, give it a service named docker, as https://docs.docker.com/engine/install/binaries/ says. To replace it, remove it first. Then run the same command again',
    },
  );
}

function requireInstallUrl(source: EngineSpec['source'], { installUrl }: EngineSpec): void {
  if (source !== 'url' || installUrl !== undefined) return;
  throw new SlipwayError('USAGE', '--engine-source url requires the address of an install script', {
    hint: 'Add --engine-install-url <url>',
  });
}

function requireInstallSpace({ freeKib }: Facts, where: string, { installKib }: Distro): void {
  const fullMount = Object.entries(freeKib).find(([, kib]) => kib < installKib);
  if (!fullMount) return;
  const [mount, kib] = fullMount;
  throw new SlipwayError(
    'HOST_FULL',
    `${where} has ${Math.floor(kib / 1024)} MB free on ${mount}; installing the engine takes about ${installKib / 1024} MB`,
    { hint: 'Free disk space there, then run the same command again' },
  );
}

function requireNoConflict(install: EngineInstall, where: string, distro: Distro): void {
  const conflict = distro.conflictOf(install);
  if (conflict) throw new SlipwayError('PACKAGE_CONFLICT', `${where}: ${conflict.message}`, { hint: conflict.hint });
}

function requireInstallSupported(install: EngineInstall, where: string, distro: Distro): void {
  const limitation = distro.limitationOf(install);
  if (limitation === undefined) return;
  throw new SlipwayError('OS_UNSUPPORTED', `${where}: ${limitation}`, {
    hint: 'Choose another --engine-source, or leave out the options that this distribution does not support',
  });
}
