/**
 * A file for the host. It travels over stdin into a folder that only root can open, so its content never stands in an
 * argv.
 */
export type RemoteFile = {
  readonly path: string;
  readonly content: string;
  /** Octal digits, or `=`: the mode that the file has on the host, 644 for a new one. */
  readonly mode: string;
  /** The file can change while the machine runs: the engine need not restart for it. */
  readonly live?: true;
};

/** A file to write or, where `content` is undefined, to remove. */
export type RemoteFileChange = RemoteFile | { readonly path: string; readonly content: undefined };

/**
 * Remote work as data: run one script as root, with these variables and these files. A step never decides: the plan
 * decides, by the facts that were gathered before.
 */
export type Step = {
  readonly id: string;
  readonly title: string;
  /** The script's name, which `--dry-run` shows. Also the file of `templates/` to run where `scripts` is absent. */
  readonly template: string;
  /** Files of `templates/` that together are the script, in this order: functions of the host's family come first. */
  readonly scripts?: readonly string[];
  readonly variables: Readonly<Record<string, string>>;
  /** The script writes and removes them as its variable MANIFEST says. */
  readonly files: readonly RemoteFileChange[];
};

export type Plan = readonly Step[];

/** A step as `--dry-run` shows it: without the contents of files, since keys are among them. */
export type PlannedStep = {
  readonly id: string;
  readonly title: string;
  readonly template: string;
  readonly variables: Readonly<Record<string, string>>;
  readonly files: readonly { readonly path: string; readonly change: 'write' | 'remove' }[];
};

export function toPlannedSteps(plan: Plan): readonly PlannedStep[] {
  return plan.map(({ id, title, template, variables, files }) => ({
    id,
    title,
    template,
    variables,
    files: files.map(({ path, content }) => ({ path, change: content === undefined ? 'remove' : 'write' })),
  }));
}

/** Reads a file of `templates/` by its name there. */
export type ReadTemplate = (name: string) => Promise<string>;

/** Reads files of `templates/` and joins them into one script. */
export async function joinTemplates(names: readonly string[], readTemplate: ReadTemplate): Promise<string> {
  return (await Promise.all(names.map((name) => readTemplate(name)))).join('\n');
}
