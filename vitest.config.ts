import { availableParallelism } from 'node:os';
import { defineConfig } from 'vitest/config';

// CI reads the figures from a file; people read the terminal.
const report = process.env.SLIPWAY_TEST_REPORT;

export default defineConfig({
  test: {
    reporters: report ? ['default', ['json', { outputFile: report }]] : ['default'],
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
          testTimeout: 30_000,
          hookTimeout: 60_000,
          sequence: { groupOrder: 1 },
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
          sequence: { groupOrder: 2 },
        },
      },
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
