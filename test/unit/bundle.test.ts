/** What the discovery service brings into the bundle, and what it must not. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { build } from 'esbuild';
import { expect, test } from 'vitest';
import { BUNDLE } from '../../scripts/bundle-options.ts';

const root = join(import.meta.dirname, '../..');
const ENTRY = `
  export { XDS_TABLE } from './control-plane/generated/xds.ts';
  export { encodeTraffic, translate } from './control-plane/traffic/resources.ts';
  export { Codec } from './control-plane/xds/codec.ts';
  export { GrpcServer } from './control-plane/xds/grpc-server.ts';
  export { ResourceCache } from './control-plane/xds/resource-cache.ts';
  export { DeltaAdsServer } from './control-plane/xds/server.ts';
`;
/** What it may weigh: grpc-js 385, protobufjs' reader and writer 60, our own 50, in thousands, and some room. */
const MOST_BYTES = 530_000;

test('the discovery service works from a bundle, without a parser of .proto files in it', async () => {
  const { outputFiles, metafile } = await build({
    ...BUNDLE,
    stdin: { contents: ENTRY, resolveDir: root, loader: 'ts' },
    outdir: 'out',
    write: false,
    metafile: true,
  });
  const inputs = Object.keys(metafile.inputs);
  for (const unwanted of ['@grpc/proto-loader', 'protobufjs/src/parse.js', 'protobufjs/src/root.js', 'yargs'])
    expect(inputs.filter((path) => path.includes(`node_modules/${unwanted}`))).toEqual([]);
  const bytes = outputFiles.reduce((sum, file) => sum + file.contents.length, 0);
  expect(bytes).toBeLessThan(MOST_BYTES);

  const folder = mkdtempSync(join(tmpdir(), 'sst-bundle-'));
  try {
    const file = join(folder, 'bundle.mjs');
    writeFileSync(file, outputFiles[0]?.contents ?? '');
    const bundled = await import(/* @vite-ignore */ pathToFileURL(file).href);
    const codec = new bundled.Codec(bundled.XDS_TABLE);
    const resources = bundled.translate(new Map(), { modulePath: '/module.so', port: 15001, marks: [] });
    expect(bundled.encodeTraffic(codec, resources).size).toBe(3);
    const server = new bundled.GrpcServer({ path: join(folder, 'xds.sock') });
    server.register(new bundled.DeltaAdsServer(new bundled.ResourceCache()).service);
    await server.listen();
    server.close();
  } finally {
    rmSync(folder, { recursive: true });
  }
});
