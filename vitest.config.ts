import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    projects: [
      {
        test: {
          name: 'unit',
          include: ['control-plane/**/*.test.ts', 'test/unit/**/*.test.ts', 'test/golden/**/*.test.ts'],
        },
      },
      // For as long as it is told to (make fuzz).
      { test: { name: 'fuzz', include: ['test/fuzz/**/*.test.ts'] } },
      // With a real Envoy; the manager starts it as the agent does, which needs root.
      {
        test: {
          name: 'envoy',
          include: ['test/envoy/**/*.test.ts'],
          fileParallelism: false,
          testTimeout: 60_000,
          hookTimeout: 60_000,
        },
      },
      // Tunnels and held frames between network namespaces, which needs root.
      {
        test: {
          name: 'tunnel',
          include: ['test/tunnel/**/*.test.ts'],
          fileParallelism: false,
          testTimeout: 30_000,
          hookTimeout: 30_000,
        },
      },
      // With a real SPIRE, which scripts/spire.sh builds.
      {
        test: {
          name: 'spire',
          include: ['test/spire/**/*.test.ts'],
          fileParallelism: false,
          testTimeout: 120_000,
          hookTimeout: 120_000,
        },
      },
      { test: { name: 'bpf', include: ['test/bpf/**/*.test.ts'], fileParallelism: false } },
      {
        test: {
          name: 'e2e',
          include: ['test/e2e/**/*.test.ts'],
          fileParallelism: false,
          testTimeout: 120_000,
          hookTimeout: 120_000,
        },
      },
    ],
  },
});
