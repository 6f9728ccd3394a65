/**
 * This node's own SidestepNode in the folder that the agents share: one file for each node, replaced in one step, so that
 * a reader sees the old one or the new one.
 */
import { closeSync, fsyncSync, openSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import * as z from 'zod/mini';
import { parseManifests } from '../api/manifests.ts';
import { renderMeshNode } from '../api/mesh-node.ts';
import { SidestepError } from '../model/error.ts';
import type { MeshNode } from '../model/objects.ts';

/** In the folder of `--source`; the name begins with a dot while it is written, and is not read then. */
function fileOf(name: string): string {
  return `sidestepnode-${name}.yaml`;
}

/** In the state folder: where this node's file is, for whoever takes the node away and was told no options of the agent. */
const NOTE = 'announced.json';
const NOTE_SHAPE = z.object({ folder: z.string(), name: z.string() });

/**
 * @param folder that the other agents watch
 * @param stateDir of this agent
 * @returns whether it was written; not when the file says the same already
 * @throws CONFIG_INVALID when other agents would refuse it, SOURCE_UNWRITABLE, STATE_UNUSABLE
 */
export function writeMeshNode(folder: string, node: MeshNode, stateDir: string): boolean {
  const text = renderMeshNode(node);
  const [fault] = parseManifests(text, fileOf(node.name)).issues;
  if (fault)
    throw new SidestepError('CONFIG_INVALID', `this node cannot be made known to others: ${fault.message}`, {
      path: fault.path,
    });
  const path = join(folder, fileOf(node.name));
  // First: a file that nobody knows of would stay for ever.
  writeNote(stateDir, JSON.stringify({ folder: resolve(folder), name: node.name }));
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

/**
 * When the node leaves for good.
 * @param stateDir that writeMeshNode was given
 * @returns whether there was a file of it
 * @throws SOURCE_UNWRITABLE, STATE_UNUSABLE
 */
export function removeMeshNode(stateDir: string): boolean {
  const note = contentOf(join(stateDir, NOTE));
  if (note === undefined) return false;
  const path = noted(stateDir, note);
  if (contentOf(path) === undefined) return false;
  try {
    rmSync(path, { force: true });
    return true;
  } catch (cause) {
    throw unwritable(path, cause);
  }
}

function writeNote(stateDir: string, note: string): void {
  const path = join(stateDir, NOTE);
  if (contentOf(path) === note) return;
  try {
    writeFileSync(`${path}.new`, note);
    renameSync(`${path}.new`, path);
  } catch (cause) {
    throw new SidestepError('STATE_UNUSABLE', `${path} cannot be written`, { cause, path });
  }
}

function noted(stateDir: string, note: string): string {
  try {
    const { folder, name } = NOTE_SHAPE.parse(JSON.parse(note));
    return join(folder, fileOf(name));
  } catch (cause) {
    const path = join(stateDir, NOTE);
    throw new SidestepError('STATE_UNUSABLE', `${path} does not say where this node's file is`, { cause, path });
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
