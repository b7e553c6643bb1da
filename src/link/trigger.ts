/** Wakes one waiting loop. `fire` is remembered, so that nothing is missed while the loop is at work. */
export type Trigger = {
  readonly fire: () => void;
  /** Waits until `fire` is called, or this time is over, or the signal aborts. */
  readonly wait: (milliseconds: number, signal: AbortSignal) => Promise<void>;
};

export function createTrigger(): Trigger {
  let isFired = false;
  let wake = (): void => {};
  return {
    fire() {
      isFired = true;
      wake();
    },
    async wait(milliseconds, signal) {
      if (!isFired && !signal.aborted)
        await new Promise<void>((resolve) => {
          const timer = setTimeout(done, milliseconds);
          function done(): void {
            clearTimeout(timer);
            signal.removeEventListener('abort', done);
            resolve();
          }
          signal.addEventListener('abort', done, { once: true });
          wake = done;
        });
      isFired = false;
    },
  };
}
