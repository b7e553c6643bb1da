import { SlipwayError } from '../errors.ts';
import type { EngineSpec } from '../machine/model.ts';
import { RESTART_SCRIPTS } from './configure-engine.ts';
import { describeConflictingFlag } from './command-line.ts';
import { readDaemonJson } from './engine-files.ts';
import { describeContainerStop } from './impact-notes.ts';
import { engineSourceLabels, findEnginePackage } from './engine-install.ts';
import type { Facts } from './facts.ts';
import type { ServiceManager } from './init/service-manager.ts';
import { requireNoMaskedUnit } from './other-engines.ts';
import type { Plan } from './step.ts';
import { findDistro, requireSupportedHost } from './supported-host.ts';

/**
 * Returns one step, even if no newer engine exists: only the package manager knows, after it has fetched its package
 * lists.
 */
export function planUpgrade({ version = '' }: EngineSpec, facts: Facts, where: string): Plan {
  const { distro, serviceManager } = requireSupportedHost(facts, where);
  requireStartableEngine(facts, serviceManager, where);
  const engine = findEnginePackage(facts, distro);
  if (!engine && facts.dockerd === undefined) {
    throw new SlipwayError('ENGINE_MISSING', `${where} has no engine to upgrade`, {
      hint: 'To install one: slipway provision NAME',
    });
  }
  if (!engine) {
    const names = Object.keys(distro.enginePackages).join(' or ');
    throw new SlipwayError('ENGINE_MISSING', `${facts.dockerd} on ${where} belongs to no package of ${names}`, {
      hint: 'Upgrade it the way it was installed: slipway ssh NAME',
    });
  }
  const settings = [readDaemonJson(facts, where)];
  const notes = describeContainerStop(facts, { where, stoppingKeys: [], settings });
  const packages = Object.entries(facts.packages).filter(([, { state }]) => distro.packageStateOf(state) !== 'absent');
  const { scripts, ...upgrade } = distro.upgradeScript(
    packages.map(([name]) => name),
    version,
  );
  return [
    {
      id: 'upgrade-engine',
      title: `Upgrade the engine (${engineSourceLabels[engine.source]}${version === '' ? '' : `, version ${version}`})`,
      ...upgrade,
      scripts: [serviceManager.scripts.services, ...RESTART_SCRIPTS, ...scripts],
      files: [],
      ...(notes.length > 0 ? { notes } : {}),
      previewVariables: distro.previewVariables,
    },
  ];
}

/** Refuses to restart an engine that would not start, before its packages change. */
function requireStartableEngine(facts: Facts, { engine }: ServiceManager, where: string): void {
  requireNoMaskedUnit(facts, where, engine);
  const flag = engine.findConflictingFlag(facts.engineService);
  if (!flag) return;
  throw new SlipwayError('DAEMON_JSON', describeConflictingFlag(flag, where), {
    hint: 'To fix it, and then upgrade: slipway provision NAME',
  });
}

/** A package whose version the upgrade changed. */
export type PackageChange = { readonly name: string; readonly from: string; readonly to: string };

/** The result of an upgrade. Engine versions are upstream's, or those of the packages if only these differ. */
export type UpgradeSummary = {
  readonly engine: string;
  /** Undefined if the engine's version did not change. */
  readonly engineBefore: string | undefined;
  /** All packages that changed, with their full versions. */
  readonly packages: readonly PackageChange[];
};

/** Compares the facts before and after an upgrade. */
export function summarizeUpgrade(before: Facts, after: Facts): UpgradeSummary {
  const packages = Object.entries(after.packages).flatMap(([name, { version: to }]) => {
    const from = before.packages[name]?.version;
    return from === undefined || from === to ? [] : [{ name, from, to }];
  });
  const distro = findDistro(after);
  const upstreamVersionOf = (version: string): string => distro?.upstreamVersionOf(version) ?? version;
  const engine = distro && findEnginePackage(after, distro);
  const replaced = packages.find(({ name }) => name === engine?.name);
  if (!replaced) return { engine: upstreamVersionOf(engine?.version ?? ''), engineBefore: undefined, packages };
  const [from, to] = [upstreamVersionOf(replaced.from), upstreamVersionOf(replaced.to)];
  return from === to
    ? { engine: replaced.to, engineBefore: replaced.from, packages }
    : { engine: to, engineBefore: from, packages };
}
