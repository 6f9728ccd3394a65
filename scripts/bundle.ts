/**
 * Makes dist/: one ESM file for every command, split so that a command loads only what it needs, with the addon,
 * Envoy's module and the kernel programs beside it. What is installed is this folder; tests and development run the sources.
 */
import { copyFileSync, mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { build } from 'esbuild';
import { BUNDLE } from './bundle-options.ts';

const root = join(import.meta.dirname, '..');
const dist = join(root, 'dist');

rmSync(dist, { recursive: true, force: true });
mkdirSync(dist);
await build({
  entryPoints: { sidestep: join(root, 'control-plane/cli/main.ts') },
  outdir: dist,
  outExtension: { '.js': '.mjs' },
  chunkNames: 'chunks/[name]-[hash]',
  ...BUNDLE,
});
for (const [from, to] of [
  ['native/sidestep.node', 'sidestep.node'],
  ['native/libsidestep_identity.so', 'libsidestep_identity.so'],
  ['bpf/build/sidestep.bpf.o', 'sidestep.bpf.o'],
  ['package.json', 'package.json'],
] as const)
  copyFileSync(join(root, from), join(dist, to));
console.log('  BUNDLE dist/sidestep.mjs');
