import { SlipwayError } from '../errors.ts';
import type { EngineSpec } from '../machine/model.ts';
import type { Facts } from './facts.ts';
import { enginePackage, isThere, sourceNames, supported } from './plan.ts';
import type { Plan } from './step.ts';

/** One step whatever there is to upgrade: only the package manager knows, and only once it has fetched its lists. */
export function planUpgrade({ version = '' }: EngineSpec, facts: Facts, where: string): Plan {
  supported(facts, where);
  const engine = enginePackage(facts);
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
  const packages = Object.keys(facts.packages).filter((name) => isThere(facts.packages[name] ?? engine));
  return [
    {
      id: 'upgrade-engine',
      title: `Upgrade the engine (${sourceNames[engine.source]}${version === '' ? '' : `, version ${version}`})`,
      template: 'install-engine.debian.sh',
      variables: { SOURCE: 'present', VERSION: version, PACKAGES: packages.join(' ') },
      files: [],
    },
  ];
}

/** A package that has another version than before. */
export type Replaced = { readonly name: string; readonly from: string; readonly to: string };

/** What an upgrade came to. Versions are as people know them, unless only the packages' own parts of them differ. */
export type Upgraded = {
  readonly engine: string;
  /** Undefined where the engine stayed what it was. */
  readonly engineBefore: string | undefined;
  /** All of them, by their full versions. */
  readonly packages: readonly Replaced[];
};

export function upgradedFrom(before: Facts, after: Facts): Upgraded {
  const packages = Object.entries(after.packages).flatMap(([name, { version: to }]) => {
    const from = before.packages[name]?.version;
    return from === undefined || from === to ? [] : [{ name, from, to }];
  });
  const now = enginePackage(after);
  const replaced = packages.find(({ name }) => name === now?.name);
  if (!replaced) return { engine: upstream(now?.version ?? ''), engineBefore: undefined, packages };
  const [from, to] = [upstream(replaced.from), upstream(replaced.to)];
  return from === to
    ? { engine: replaced.to, engineBefore: replaced.from, packages }
    : { engine: to, engineBefore: from, packages };
}

/** `5:27.3.1-1~debian.12~bookworm` -> `27.3.1`. */
function upstream(version: string): string {
  return version.replace(/^\d+:/, '').replace(/[-+~].*$/, '');
}
