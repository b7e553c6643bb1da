import { SlipwayError } from '../errors.ts';
import type { EngineSpec } from '../machine/model.ts';
import type { Facts } from './facts.ts';
import { findEnginePackage, isPackagePresent, engineSourceLabels, requireSupportedOs } from './plan.ts';
import type { Plan } from './step.ts';

/** One step whatever there is to upgrade: only the package manager knows, and only once it has fetched its lists. */
export function planUpgrade({ version = '' }: EngineSpec, facts: Facts, where: string): Plan {
  requireSupportedOs(facts, where);
  const engine = findEnginePackage(facts);
  if (!engine && facts.dockerd === undefined) {
    throw new SlipwayError('ENGINE_MISSING', `${where} has no engine to upgrade`, {
      hint: 'Install one there: slipway provision NAME',
    });
  }
  if (!engine) {
    throw new SlipwayError(
      'ENGINE_MISSING',
      `${facts.dockerd} on ${where} belongs to no package of docker.io or docker-ce`,
      {
        hint: 'Upgrade it the way it came there: slipway ssh NAME',
      },
    );
  }
  const packages = Object.keys(facts.packages).filter((name) => isPackagePresent(facts.packages[name] ?? engine));
  return [
    {
      id: 'upgrade-engine',
      title: `Upgrade the engine (${engineSourceLabels[engine.source]}${version === '' ? '' : `, version ${version}`})`,
      template: 'install-engine.debian.sh',
      variables: { SOURCE: 'present', VERSION: version, PACKAGES: packages.join(' ') },
      files: [],
    },
  ];
}

/** A package that has another version than before. */
export type PackageChange = { readonly name: string; readonly from: string; readonly to: string };

/** What an upgrade came to. Versions are as people know them, unless only the packages' own parts of them differ. */
export type UpgradeSummary = {
  readonly engine: string;
  /** Undefined where the engine stayed what it was. */
  readonly engineBefore: string | undefined;
  /** All of them, by their full versions. */
  readonly packages: readonly PackageChange[];
};

export function summarizeUpgrade(before: Facts, after: Facts): UpgradeSummary {
  const packages = Object.entries(after.packages).flatMap(([name, { version: to }]) => {
    const from = before.packages[name]?.version;
    return from === undefined || from === to ? [] : [{ name, from, to }];
  });
  const now = findEnginePackage(after);
  const replaced = packages.find(({ name }) => name === now?.name);
  if (!replaced) return { engine: upstreamVersionOf(now?.version ?? ''), engineBefore: undefined, packages };
  const [from, to] = [upstreamVersionOf(replaced.from), upstreamVersionOf(replaced.to)];
  return from === to
    ? { engine: replaced.to, engineBefore: replaced.from, packages }
    : { engine: to, engineBefore: from, packages };
}

/** `5:27.3.1-1~debian.12~bookworm` -> `27.3.1`. */
function upstreamVersionOf(version: string): string {
  return version.replace(/^\d+:/, '').replace(/[-+~].*$/, '');
}
