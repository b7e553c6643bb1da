// The file that Node starts for `slipway`. It answers shell completion, and the commands that scripts call again and
// again, without loading what other commands need.
import { writeSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { systemCode } from '../errors.ts';
import { COMPLETE_COMMAND, runCompletion } from '../completion/answer.ts';
import { resolveSlipwayHome } from '../computer/slipway-home.ts';
import { runFastPath } from './fast-path.ts';

const argv = process.argv.slice(2);

if (argv[0] === COMPLETE_COMMAND) {
  const home = resolveSlipwayHome(process.env, homedir());
  const paths = { specFile: join(__dirname, 'completion', 'slipway.json'), records: home, home };
  printSync(runCompletion(argv.slice(1), paths));
} else void start();

async function start(): Promise<void> {
  const answer = await runFastPath(argv, { env: process.env, nodeVersion: process.version });
  if (answer === undefined) await import('../cli/main.ts');
  else printSync(answer);
}

/** Writes to stdout synchronously, which starts faster than Node's stream. The stream waits where a pipe is full. */
function printSync(text: string): void {
  let rest = Buffer.from(text);
  try {
    while (rest.length > 0) rest = rest.subarray(writeSync(1, rest));
  } catch (error) {
    // A reader that closed the pipe is not an error.
    if (systemCode(error) === 'EPIPE') return;
    process.stdout.once('error', () => process.exit()).write(rest);
  }
}
