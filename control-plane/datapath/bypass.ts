/** Break glass: enforcement off, for everything or one namespace. Works on the pinned table, so it needs no agent. */
import type { KernelMap } from './kernel.ts';

const ON = Uint8Array.of(1, 0, 0, 0);

function keyBytes(id: number): Uint8Array {
  const key = new Uint8Array(4);
  new DataView(key.buffer).setUint32(0, id, true);
  return key;
}

/** FNV-1a, 32 bits: the namespace's number in `endpoints` and `bypass`. 0 means all namespaces, so it is never given out. */
export function namespaceId(namespace: string): number {
  let hash = 0x811c9dc5;
  for (const byte of Buffer.from(namespace)) hash = Math.imul(hash ^ byte, 0x01000193) >>> 0;
  return hash === 0 ? 1 : hash;
}

/** @param namespace undefined for every namespace */
export function setBypass(map: KernelMap, namespace: string | undefined, on: boolean): void {
  const key = keyBytes(namespace === undefined ? 0 : namespaceId(namespace));
  if (on) map.update(key, ON);
  else map.delete(key);
}

/** Namespace ids that are bypassed; 0 among them: all. */
export function readBypass(map: KernelMap): Set<number> {
  const { keys, count } = map.dump();
  const view = new DataView(keys.buffer, keys.byteOffset, keys.byteLength);
  return new Set(Array.from({ length: count }, (_, i) => view.getUint32(i * 4, true)));
}
