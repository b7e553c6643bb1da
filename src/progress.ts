/** How far something is that is counted in bytes; what is not known yet is left out. */
export type ByteProgress = {
  readonly done: number;
  readonly total?: number | undefined;
  /** A second. */
  readonly rate?: number | undefined;
};

/** One line of what a step is doing just now; with `bytes` where the line is made of them. */
export type Log = (line: string, bytes?: ByteProgress) => void;

/**
 * All that logic knows about output: name a piece of work, do it. How it looks (a live list, plain lines, JSON events) is
 * decided in `cli/progress.ts`. Ids are stable: they stand in the events and in the record's `failure`. A step that begins
 * while another one works is a part of that.
 */
export type Progress = {
  step<T>(id: string, title: string, work: (log: Log) => Promise<T>): Promise<T>;
  /** The id of the step that began last: what a failure is put down to. */
  lastStepId(): string;
  /** A fact that the user should see whatever the view. */
  note(text: string): void;
};
