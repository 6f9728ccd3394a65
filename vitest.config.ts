import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    projects: [
      { test: { name: 'unit', include: ['control-plane/**/*.test.ts', 'test/unit/**/*.test.ts', 'test/golden/**/*.test.ts'] } },
    ],
  },
});
