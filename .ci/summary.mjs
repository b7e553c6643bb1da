// Prints the last line of CI, `N passed, N failed`, from vitest's JSON report. A run that fails before its tests counts
// as one failure.
import { readFileSync } from 'node:fs';

const [, , file = '', status = '1'] = process.argv;
let passed = 0;
let failed = 0;
let pending = 0;
try {
  const report = JSON.parse(readFileSync(file, 'utf8'));
  passed = report.numPassedTests;
  failed = report.numFailedTests;
  pending = report.numPendingTests + report.numTodoTests;
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
