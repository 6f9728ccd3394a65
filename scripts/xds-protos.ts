/** Envoy's message definitions: those of the npm package, or ours in proto/overlay where that package is too old. */
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import protobuf from 'protobufjs';

const root = join(import.meta.dirname, '..');
const modules = join(root, 'node_modules');
const deps = join(modules, '@grpc/grpc-js-xds/deps');
/** The first that has a file wins. */
const FOLDERS = [
  join(root, 'proto/overlay'),
  ...['envoy-api', 'xds', 'googleapis', 'protoc-gen-validate'].map((name) => join(deps, name)),
  join(modules, 'protobufjs'),
];

/** @param messages full names; their packages are loaded with all that they import */
export function loadProtos(messages: Iterable<string>): protobuf.Root {
  const loaded = new protobuf.Root();
  loaded.resolvePath = (_, target) => {
    const folder = FOLDERS.find((each) => existsSync(join(each, target)));
    if (folder === undefined) throw new Error(`no folder has ${target}`);
    return join(folder, target);
  };
  const packages = new Set([...messages].map((name) => name.slice(0, name.lastIndexOf('.')).replaceAll('.', '/')));
  const files = [...packages].flatMap((path) =>
    FOLDERS.flatMap((folder) => {
      const full = join(folder, path);
      const names = existsSync(full) ? readdirSync(full).filter((name) => name.endsWith('.proto')) : [];
      return names.map((name) => `${path}/${name}`);
    }),
  );
  // The well-known types come with the library.
  return loaded.loadSync([...new Set(files)], { keepCase: true });
}
