/** How everything of ours is bundled. */
import type { BuildOptions } from 'esbuild';

export const BUNDLE = {
  bundle: true,
  splitting: true,
  format: 'esm',
  platform: 'node',
  target: 'node24',
  minifySyntax: true,
  minifyWhitespace: true,
  legalComments: 'none',
  // grpc-js asks for it only when it is to tell about itself (channelz, ORCA), which it never is here.
  external: ['@grpc/proto-loader'],
  // Packages written for CommonJS call require; ESM has none of its own.
  banner: {
    js: "import { createRequire as __createRequire } from 'node:module'; const require = __createRequire(import.meta.url);",
  },
} as const satisfies BuildOptions;
