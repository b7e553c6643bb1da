import { availableParallelism } from 'node:os';
import { defineConfig } from 'vitest/config';
import { LongestFirstSequencer } from './test/longest-first.ts';

// CI reads the figures from a file; people read the terminal.
const report = process.env.SLIPWAY_TEST_REPORT;

/** Tests that hold a command to its time run alone, since a test beside them would take that time. */
const TIMED_TESTS = ['test/contract/ls.test.ts'];

export default defineConfig({
  test: {
    reporters: report ? ['default', ['json', { outputFile: report }]] : ['default'],
    sequence: { sequencer: LongestFirstSequencer },
    projects: [
      // What is slow on a busy machine is not wrong.
      {
        test: {
          name: 'unit',
          include: ['test/unit/**/*.test.ts'],
          testTimeout: 30_000,
          hookTimeout: 60_000,
          maxWorkers: availableParallelism(),
          sequence: { groupOrder: 0 },
        },
      },
      {
        test: {
          name: 'contract',
          include: ['test/contract/**/*.test.ts'],
          exclude: TIMED_TESTS,
          testTimeout: 30_000,
          hookTimeout: 60_000,
          maxWorkers: availableParallelism(),
          sequence: { groupOrder: 1 },
        },
      },
      {
        test: {
          name: 'timed',
          include: TIMED_TESTS,
          testTimeout: 30_000,
          maxWorkers: 1,
          sequence: { groupOrder: 2 },
        },
      },
      {
        test: {
          name: 'e2e',
          include: ['test/e2e/**/*.test.ts'],
          globalSetup: ['test/e2e/setup.ts'],
          // Hosts boot and engines install here; what is slow on a busy machine is not wrong.
          testTimeout: 180_000,
          hookTimeout: 180_000,
          maxWorkers: 3,
          sequence: { groupOrder: 3 },
        },
      },
      // Needs an image that takes a quarter of an hour to build, so only `npm run test:arm` runs it.
      ...(process.env.SLIPWAY_ARM
        ? [
            {
              test: {
                name: 'arm',
                include: ['test/arm/**/*.test.ts'],
                globalSetup: ['test/e2e/setup.ts'],
              },
            },
          ]
        : []),
      // Takes an hour, so only `npm run soak` runs it.
      ...(process.env.SLIPWAY_SOAK
        ? [
            {
              test: {
                name: 'soak',
                include: ['test/soak/**/*.test.ts'],
                globalSetup: ['test/e2e/setup.ts'],
                hookTimeout: 900_000,
              },
            },
          ]
        : []),
    ],
  },
});
