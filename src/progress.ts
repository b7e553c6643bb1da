/** One line of what a step is doing just now. */
export type Log = (line: string) => void;

/**
 * All that logic knows about output: name a piece of work, do it. How it looks (a live list, plain lines, JSON events) is
 * decided in `cli/progress.ts`. Ids are stable: they stand in the events and in the record's `failure`.
 */
export type Progress = {
  step<T>(id: string, title: string, work: (log: Log) => Promise<T>): Promise<T>;
  /** The id of the step that began last: what a failure is put down to. */
  last(): string;
  /** A fact that the user should see whatever the view. */
  note(text: string): void;
};
