import type { EngineSpec } from '../../machine/model.ts';
import type { Facts } from '../facts.ts';
import type { RemoteFileChange } from '../step.ts';

/** The source of an engine's packages: the distribution, or Docker's repository. */
export type PackageSource = 'distro' | 'docker';

/** The source of an installation. */
export type InstallSource = Exclude<EngineSpec['source'], 'none'>;

export type EngineInstall = { readonly engine: EngineSpec; readonly source: InstallSource; readonly facts: Facts };

/** The distribution's part of a step: its script and the variables that the script reads. */
export type DistroScript = {
  /** The script's name in `--dry-run`. */
  readonly template: string;
  /** Files of `templates/`, in order. They run after the service manager's functions are defined. */
  readonly scripts: readonly string[];
  readonly variables: Readonly<Record<string, string>>;
};

/** Why a step would change what belongs to somebody else: the rest of a sentence about the host, and what to do. */
export type Conflict = { readonly message: string; readonly hint: string };

/**
 * What Slipway needs to know about a family of distributions that share a package manager. All members are data or pure
 * functions; only the scripts act.
 */
export type Distro = {
  /** Also in the name of the function `facts_of_NAME` in `factsScript`. */
  readonly name: string;
  /** The name in sentences: "Debian, Ubuntu and their derivatives". */
  readonly label: string;
  /**
   * A file of `templates/` that defines `facts_of_NAME`, which prints the facts about packages and adds this family's
   * paths to `files`.
   */
  readonly factsScript: string;
  /** Returns whether the facts are those of a host of this family. */
  isRecognized(facts: Facts): boolean;
  /** The packages that can contain the engine, each with its source. The first one found on a host counts. */
  readonly enginePackages: Readonly<Record<string, PackageSource>>;
  /** Interprets a package's state in the facts, which is the package manager's own word. */
  packageStateOf(state: string): 'absent' | 'incomplete' | 'installed';
  /** Returns whether a package's version matches `--engine-version`, which may be only the beginning of a version. */
  isVersionMatch(version: string, wanted: string): boolean;
  /** Returns the engine's upstream version, without the distribution's additions. */
  upstreamVersionOf(version: string): string;
  /** The free space that an installation needs on each file system that it writes to. */
  readonly installKib: number;
  /** Returns a sentence that says why this family does not support an installation; undefined if it does. */
  limitationOf(install: EngineInstall): string | undefined;
  /** Returns why an installation does not fit to the package sources of the host; undefined if it does. */
  conflictOf(install: EngineInstall): Conflict | undefined;
  /** Returns the files about package sources that the host must have, or must not have. */
  sourceFilesFor(engine: EngineSpec, facts: Facts): readonly RemoteFileChange[];
  /**
   * Returns the script that prepares an installation and refuses one that would take something from the host. It runs
   * before anything else is changed; absent if `installScript` needs no preparation.
   */
  checkScript?(install: EngineInstall): DistroScript;
  installScript(install: EngineInstall): DistroScript;
  /** `packages` are the engine's packages on the host; `version` is '' for the newest. */
  upgradeScript(packages: readonly string[], version: string): DistroScript;
  /**
   * The variables with which the scripts above change nothing, and print what they would do: lines `package CHANGE NAME
   * OLD NEW` and `note SENTENCE`. Absent if they can't.
   */
  readonly previewVariables?: Readonly<Record<string, string>>;
};
