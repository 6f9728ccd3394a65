import {
  chmodSync,
  lstatSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { MeshNode } from '../model/objects.ts';
import { readOnce } from './files.ts';
import { removeMeshNode, writeMeshNode } from './mesh-node-file.ts';

let folder: string;
let state: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'sidestep-mesh-node-'));
  state = mkdtempSync(join(tmpdir(), 'sidestep-mesh-node-state-'));
});
afterEach(() => {
  for (const each of [folder, state]) rmSync(each, { recursive: true, force: true });
});

const NODE: MeshNode = {
  name: 'n1',
  addresses: ['192.0.2.1'],
  port: 4250,
  tunnelPort: 51871,
  publicKey: Buffer.alloc(32, 7).toString('base64'),
  spiffeId: 'spiffe://cluster.local/node/n1',
};

test('what a node writes the others read, and only the last of it', () => {
  expect(writeMeshNode(folder, NODE, state)).toBe(true);
  expect(writeMeshNode(folder, { ...NODE, name: 'n2', spiffeId: 'spiffe://cluster.local/node/n2' }, state)).toBe(true);
  expect(writeMeshNode(folder, { ...NODE, port: 5000 }, state)).toBe(true);
  const { meshNodes, issues } = readOnce([folder]);
  expect(issues).toEqual([]);
  expect(meshNodes.map(({ name, port }) => [name, port])).toEqual([
    ['n1', 5000],
    ['n2', 4250],
  ]);
  expect(readdirSync(folder).sort()).toEqual(['sidestepnode-n1.yaml', 'sidestepnode-n2.yaml']);
});

test('the same again is not written: who watches the folder sees nothing', () => {
  writeMeshNode(folder, NODE, state);
  const path = join(folder, 'sidestepnode-n1.yaml');
  const { ino } = statSync(path);
  expect(writeMeshNode(folder, { ...NODE }, state)).toBe(false);
  expect(statSync(path).ino).toBe(ino);
});

test('the file takes the place of the old one in one step, and everybody may read it', () => {
  writeMeshNode(folder, NODE, state);
  const path = join(folder, 'sidestepnode-n1.yaml');
  const { ino } = statSync(path);
  writeMeshNode(folder, { ...NODE, port: 5000 }, state);
  expect(statSync(path).ino).not.toBe(ino);
  expect(statSync(path).mode & 0o777 & ~process.umask()).toBe(0o644 & ~process.umask());
});

test('what an agent that died left half written is taken away, and a link in its place is not followed', () => {
  const victim = join(folder, 'victim');
  writeFileSync(victim, 'untouched');
  symlinkSync(victim, join(folder, '.sidestepnode-n1.yaml.new'));
  writeMeshNode(folder, NODE, state);
  expect(readFileSync(victim, 'utf8')).toBe('untouched');
  expect(lstatSync(join(folder, 'sidestepnode-n1.yaml')).isFile()).toBe(true);
});

test('a node that others would refuse is not written, and the field is named', () => {
  for (const [bad, path] of [
    [{ ...NODE, name: 'Upper' }, 'metadata.name'],
    [{ ...NODE, name: '../n1' }, 'metadata.name'],
    [{ ...NODE, addresses: [] }, 'spec.addresses'],
    [{ ...NODE, publicKey: 'x' }, 'spec.publicKey'],
  ] as const)
    expect(() => writeMeshNode(folder, bad, state)).toThrow(expect.objectContaining({ code: 'CONFIG_INVALID', path }));
  expect(readdirSync(folder)).toEqual([]);
});

test('a folder that cannot be written is an error with a code', () => {
  expect(() => writeMeshNode(join(folder, 'nowhere'), NODE, state)).toThrow(
    expect.objectContaining({ code: 'SOURCE_UNWRITABLE' }),
  );
});

test('a node that leaves takes its file along, once or twice, and no other', () => {
  const other = mkdtempSync(join(tmpdir(), 'sidestep-mesh-node-state-'));
  writeMeshNode(folder, { ...NODE, name: 'n2', spiffeId: 'spiffe://cluster.local/node/n2' }, other);
  rmSync(other, { recursive: true });
  expect(removeMeshNode(state)).toBe(false);
  writeMeshNode(folder, NODE, state);
  expect(removeMeshNode(state)).toBe(true);
  expect(removeMeshNode(state)).toBe(false);
  expect(readdirSync(folder)).toEqual(['sidestepnode-n2.yaml']);
});

test('a node whose file is there already knows of it, too', () => {
  writeMeshNode(folder, NODE, state);
  for (const file of readdirSync(state)) rmSync(join(state, file));
  expect(writeMeshNode(folder, NODE, state)).toBe(false);
  expect(removeMeshNode(state)).toBe(true);
});

test('a note that says nothing is refused by name', () => {
  writeMeshNode(folder, NODE, state);
  for (const file of readdirSync(state)) writeFileSync(join(state, file), '{"folder":1}');
  expect(() => removeMeshNode(state)).toThrow(expect.objectContaining({ code: 'STATE_UNUSABLE' }));
});

test('an old file that cannot be read is written anew', () => {
  const path = join(folder, 'sidestepnode-n1.yaml');
  writeFileSync(path, 'half a fi');
  chmodSync(path, 0);
  expect(writeMeshNode(folder, NODE, state)).toBe(true);
  expect(readOnce([folder]).meshNodes).toHaveLength(1);
});
