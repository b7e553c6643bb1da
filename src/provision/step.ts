import type { TextEncodingName } from './text-encoding.ts';

/** A file for the host. It travels over stdin to a folder that only root can open, so an argv never contains it. */
export type RemoteFile = {
  readonly path: string;
  readonly content: string;
  /** Octal digits, or `=` to keep the mode that the file has on the host (644 for a new file). */
  readonly mode: string;
  /** The encoding of the file; absent for UTF-8. */
  readonly encoding?: TextEncodingName;
  /** Whether the file can change without a restart of the engine. */
  readonly live?: true;
};

/** A file to write, or to remove if `content` is undefined. */
export type RemoteFileChange = RemoteFile | { readonly path: string; readonly content: undefined };

/**
 * Remote work as data: a script to run as root, with its variables and files. A step makes no decisions: the plan makes
 * them, from the facts.
 */
export type Step = {
  readonly id: string;
  readonly title: string;
  /** The script's name in `--dry-run`. Also the file of `templates/` to run if `scripts` is absent. */
  readonly template: string;
  /** The files of `templates/` that form the script, in order: the functions of the host's family come first. */
  readonly scripts?: readonly string[];
  readonly variables: Readonly<Record<string, string>>;
  /** The files that the script writes and removes; its variable MANIFEST lists them. */
  readonly files: readonly RemoteFileChange[];
  /** Sentences about what the step takes from others on the host, for the user before it runs. */
  readonly notes?: readonly string[];
  /**
   * Replace variables, so that the script changes nothing and prints what it would do (`preview-step.ts`). Absent if
   * everything that the step does is in `files`.
   */
  readonly previewVariables?: Readonly<Record<string, string>> | undefined;
  /** What the package manager would do on the host, if a dry run has asked it. */
  readonly preview?: StepPreview | undefined;
};

/** A change of one package that is not made yet. `from` is absent for a new package, `to` for a removed one. */
export type PlannedPackage = {
  readonly name: string;
  readonly change: 'install' | 'upgrade' | 'downgrade' | 'remove';
  readonly from?: string;
  readonly to?: string;
};

/** What a script says that it would do. `notes` are sentences. */
export type StepPreview = { readonly packages: readonly PlannedPackage[]; readonly notes: readonly string[] };

export type Plan = readonly Step[];

/** A step in `--dry-run`: without the contents of files, which may be private keys. */
export type PlannedStep = {
  readonly id: string;
  readonly title: string;
  readonly template: string;
  readonly variables: Readonly<Record<string, string>>;
  readonly files: readonly { readonly path: string; readonly change: 'write' | 'remove' }[];
  readonly packages?: readonly PlannedPackage[];
  readonly notes?: readonly string[];
};

export function toPlannedSteps(plan: Plan): readonly PlannedStep[] {
  return plan.map(({ id, title, template, variables, files, notes = [], preview }) => ({
    id,
    title,
    template,
    variables,
    files: files.map(({ path, content }) => ({ path, change: content === undefined ? 'remove' : 'write' })),
    ...preview,
    ...(notes.length > 0 ? { notes: [...notes, ...(preview?.notes ?? [])] } : {}),
  }));
}

/** Reads a file of `templates/` by its name there. */
export type ReadTemplate = (name: string) => Promise<string>;

/** Reads files of `templates/` and joins them into one script. */
export async function joinTemplates(names: readonly string[], readTemplate: ReadTemplate): Promise<string> {
  return (await Promise.all(names.map((name) => readTemplate(name)))).join('\n');
}
