import type { EngineSpec } from '../../machine/model.ts';
import type { Facts } from '../facts.ts';

/** Where an engine's packages come from: the distribution itself or Docker's repository. */
export type PackageSource = 'distro' | 'docker';

/** Where an installation takes the engine from. */
export type InstallSource = Exclude<EngineSpec['source'], 'none'>;

export type EngineInstall = { readonly engine: EngineSpec; readonly source: InstallSource; readonly facts: Facts };

/** The distribution's part of a step: its script and the variables that the script reads. */
export type DistroScript = {
  /** The script's name in `--dry-run`. */
  readonly template: string;
  /** A file of `templates/`. The service manager's functions stand before it. */
  readonly script: string;
  readonly variables: Readonly<Record<string, string>>;
};

/**
 * A family of distributions that share a package manager, as far as Slipway depends on one. Everything here is data or
 * a pure function: what acts is the shell in its scripts.
 */
export type Distro = {
  /** Also names the function `facts_of_NAME` in `factsScript`. */
  readonly name: string;
  /** How sentences call it: "Debian, Ubuntu and their derivatives". */
  readonly label: string;
  /**
   * A file of `templates/`: defines `facts_of_NAME`, which prints the facts about packages and adds this family's paths
   * to `files`.
   */
  readonly factsScript: string;
  /** True where the facts are those of a host of this family. */
  isRecognized(facts: Facts): boolean;
  /**
   * The packages that an engine itself can be, each with the source that offers it. The first that a host has is the
   * one.
   */
  readonly enginePackages: Readonly<Record<string, PackageSource>>;
  /** Says what a package's state in the facts, a word of the package manager's, means. */
  packageStateOf(state: string): 'absent' | 'incomplete' | 'installed';
  /** True where a package's version is the one that `--engine-version` asks for, which may be its beginning. */
  isVersionMatch(version: string, wanted: string): boolean;
  /** Returns the engine's own version, without what the distribution adds to it. */
  upstreamVersionOf(version: string): string;
  /** The free space that an installation needs, on each file system that it writes to. */
  readonly installKib: number;
  /**
   * Says in a sentence why this family can't carry out an installation that is otherwise valid; undefined where it can.
   */
  limitationOf(install: EngineInstall): string | undefined;
  installScript(install: EngineInstall): DistroScript;
  /** `packages` are those on the host that belong to the engine; `version` is '' for the newest. */
  upgradeScript(packages: readonly string[], version: string): DistroScript;
};
