// Prints the slowest test files and the last line of CI, `N passed, N failed`, from vitest's JSON report. A run that
// fails before its tests counts as one failure.
import { readFileSync } from 'node:fs';
import { relative } from 'node:path';

const SLOWEST_COUNT = 15;

const [, , file = '', status = '1'] = process.argv;
let passed = 0;
let failed = 0;
let pending = 0;
try {
  const report = JSON.parse(readFileSync(file, 'utf8'));
  passed = report.numPassedTests;
  failed = report.numFailedTests;
  pending = report.numPendingTests + report.numTodoTests;
  const files = report.testResults.map(({ name, startTime, endTime }) => ({
    name: relative(process.cwd(), name),
    seconds: Math.round((endTime - startTime) / 1000),
  }));
  process.stdout.write('The slowest test files, in seconds:\n');
  for (const { name, seconds } of files.toSorted((a, b) => b.seconds - a.seconds).slice(0, SLOWEST_COUNT))
    process.stdout.write(`${String(seconds).padStart(6)}  ${name}\n`);
} catch (error) {
  process.stdout.write(`There is no test report: ${error.message}\n`);
}
if (pending > 0) {
  process.stdout.write(`${pending} tests were skipped, which counts as failed here\n`);
  failed += pending;
}
if (status !== '0' && failed === 0) failed = 1;
process.stdout.write(`${passed} passed, ${failed} failed\n`);
process.exit(failed === 0 ? 0 : 1);
