/** A file for the host. It travels over stdin into a folder that only root can open, so its content meets no argv. */
export type RemoteFile = {
  readonly path: string;
  readonly content: string;
  /** Octal digits, or `=`: as the file there has it, 644 for a new one. */
  readonly mode: string;
  /** The engine need not be restarted for it. */
  readonly live?: true;
};

/**
 * Remote work as data: run one template as root, with these variables and these files. A step never decides; whatever
 * must be decided was gathered as facts before.
 */
export type Step = {
  readonly id: string;
  readonly title: string;
  /** A file of `templates/`. */
  readonly template: string;
  readonly variables: Readonly<Record<string, string>>;
  /** Laid, or where `content` is undefined taken away, by the template through its MANIFEST. */
  readonly files: readonly (RemoteFile | { readonly path: string; readonly content: undefined })[];
};

export type Plan = readonly Step[];

/** What a plan would do, for `--dry-run`: no file contents, since keys are among them. */
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
