/**
 * Makes this process end with status 1 unless a finished run sets another one. Node exits once there is nothing left to
 * wait for, so a run that waits for something that never comes would end without a word and with status 0. `report`
 * shows the error and returns the status.
 */
export function failUnlessFinished(report: (error: Error) => number | Promise<number>): void {
  process.exitCode = 1;
  process.once('beforeExit', async () => {
    process.exitCode = await report(new Error('The command ended without a result'));
    process.exit();
  });
}
