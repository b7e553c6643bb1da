/** The progress of work that is counted in bytes; unknown figures are missing. */
export type ByteProgress = {
  readonly done: number;
  readonly total?: number | undefined;
  /** Bytes per second. */
  readonly rate?: number | undefined;
};

/** Reports what a step is doing, in one line; with `bytes` if the line shows a progress in bytes. */
export type Log = (line: string, bytes?: ByteProgress) => void;

/**
 * The only interface to output below the command line: operations name a piece of work and do it. `terminal/progress/`
 * decides how it looks (a live list, plain lines, JSON events). Ids are stable: events and the record's `failure`
 * contain them. A step that starts inside another step is part of it.
 */
export type Progress = {
  step<T>(id: string, title: string, work: (log: Log) => Promise<T>): Promise<T>;
  /** Returns the id of the step that started last; a failure is recorded with it. */
  lastStepId(): string;
  /** Shows a fact to the user in every kind of view. */
  note(text: string): void;
};
