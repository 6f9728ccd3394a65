/**
 * This node's own SidestepNode in the folder that the agents share: one file for each node, replaced in one step, so that
 * a reader sees the old one or the new one.
 */
import { closeSync, fsyncSync, openSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseManifests } from '../api/manifests.ts';
import { renderMeshNode } from '../api/mesh-node.ts';
import { SidestepError } from '../model/error.ts';
import type { MeshNode } from '../model/objects.ts';

/** In the folder of `--source`; the name begins with a dot while it is written, and is not read then. */
function fileOf(name: string): string {
  return `sidestepnode-${name}.yaml`;
}

/**
 * @param folder that the other agents watch
 * @returns whether it was written; not when the file says the same already
 * @throws CONFIG_INVALID when other agents would refuse it, SOURCE_UNWRITABLE
 */
export function writeMeshNode(folder: string, node: MeshNode): boolean {
  const text = renderMeshNode(node);
  const [fault] = parseManifests(text, fileOf(node.name)).issues;
  if (fault)
    throw new SidestepError('CONFIG_INVALID', `this node cannot be made known to others: ${fault.message}`, {
      path: fault.path,
    });
  const path = join(folder, fileOf(node.name));
  if (contentOf(path) === text) return false;
  const temporary = join(folder, `.${fileOf(node.name)}.new`);
  try {
    rmSync(temporary, { force: true });
    const file = openSync(temporary, 'wx', 0o644);
    try {
      writeFileSync(file, text);
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
    renameSync(temporary, path);
  } catch (cause) {
    throw unwritable(path, cause);
  }
  return true;
}

/** When the node leaves for good. @throws SOURCE_UNWRITABLE */
export function removeMeshNode(folder: string, name: string): void {
  const path = join(folder, fileOf(name));
  try {
    rmSync(path, { force: true });
  } catch (cause) {
    throw unwritable(path, cause);
  }
}

function contentOf(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined; // written anew, and what is wrong shows then
  }
}

function unwritable(path: string, cause: unknown): SidestepError {
  const why = cause instanceof Error ? cause.message : String(cause);
  return new SidestepError('SOURCE_UNWRITABLE', `${path}: ${why}`, { cause, path });
}
