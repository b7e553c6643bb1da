/**
 * Runs a program's `main` and ends the process with the status that it returns, or that `reportFailure` returns for an
 * error. A run without either is a failure too: Node exits once there is nothing left to wait for, so a run that waits
 * for something that never comes would otherwise end without a word and with status 0.
 */
export async function runMain(
  main: () => Promise<number>,
  reportFailure: (error: unknown) => number | Promise<number>,
): Promise<void> {
  process.exitCode = 1;
  process.once('beforeExit', async () => {
    process.exitCode = await reportFailure(new Error('The command ended without a result'));
    process.exit();
  });
  try {
    process.exitCode = await main();
  } catch (error) {
    process.exitCode = await reportFailure(error);
  }
  // Timers and sockets of an abandoned connection must not keep the process alive.
  process.stdout.write('', () => process.exit());
}
