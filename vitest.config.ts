import { defineConfig } from 'vitest/config';

// unit: nothing but npm's packages and memory; e2e: real broker processes from dist/;
// interop: real peers (Kafka's jars, kcat, Mosquitto's clients, ...), each skipped with a visible line where it is missing.
export default defineConfig({
  test: {
    projects: [
      {
        test: {
          name: 'unit',
          include: ['test/**/*.test.ts', 'firmware-bridge/gateway/**/*.test.ts'],
          exclude: ['test/e2e/**', 'test/interop/**', '**/node_modules/**'],
          testTimeout: 20_000,
        },
      },
      {
        test: {
          name: 'e2e',
          include: ['test/e2e/**/*.test.ts'],
          globalSetup: ['test/support/build.ts'],
          // After the unit tests: processes that are timed (a stop within 2 s) want the machine for themselves.
          sequence: { groupOrder: 1 },
          testTimeout: 120_000,
          hookTimeout: 60_000,
          fileParallelism: false,
        },
      },
      {
        test: {
          name: 'interop',
          include: ['test/interop/**/*.test.ts'],
          globalSetup: ['test/support/build.ts'],
          sequence: { groupOrder: 2 },
          testTimeout: 300_000,
          hookTimeout: 180_000,
          fileParallelism: false,
        },
      },
    ],
  },
});
