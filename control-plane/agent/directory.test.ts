import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import type { EndpointStatus } from '../datapath/endpoint-status.ts';
import { parseAddress } from '../model/address.ts';
import type { AddressIdentity, Snapshot } from '../model/snapshot.ts';
import { Directory } from './directory.ts';

const WEB = parseAddress('10.0.0.1');

function snapshot(revision: number, addresses: readonly AddressIdentity[] = []): Snapshot {
  return {
    revision,
    synced: true,
    workloads: [],
    addresses,
    prefixes: [],
    tables: new Map(),
    identities: new Map(),
    origins: new Map(),
    notes: new Map(),
    rulesets: new Map(),
    nodes: new Map(),
    names: [],
    needs: [],
    certified: [],
    policies: [],
    issues: [],
  };
}

function endpoint(id: number, address: Uint8Array): EndpointStatus {
  return {
    id,
    namespace: 'shop',
    pod: `pod-${id}`,
    identity: 256,
    labels: [],
    addresses: [address],
    state: 'ready',
    code: undefined,
    message: '',
    hint: '',
    interface: undefined,
    egress: { enforcing: false, revision: 1 },
    ingress: { enforcing: false, revision: 1 },
  };
}

beforeEach(() => vi.useFakeTimers());
afterEach(() => vi.useRealTimers());

test('an address is the endpoint’s that had it last, also after its end, but not once it is on another node', () => {
  const directory = new Directory('node-1', '1.0.0');
  expect(directory.endpointAt(WEB)).toBeUndefined();
  directory.update(snapshot(1), [endpoint(7, WEB)]);
  expect(directory.endpointAt(WEB)).toBe(7);
  directory.update(snapshot(2), [endpoint(8, WEB)]);
  expect(directory.endpointAt(WEB)).toBe(8);
  directory.update(snapshot(3), []);
  expect(directory.endpointAt(WEB)).toBe(8);
  const elsewhere = { address: WEB, identity: 300, node: 'node-2', namespace: 'shop', pod: 'web' };
  directory.update(snapshot(4, [elsewhere]), []);
  expect(directory.endpointAt(WEB)).toBeUndefined();
});

test('a request is told by the revision in force when it began, not by the one when it is told of', () => {
  const directory = new Directory('node-1', '1.0.0');
  expect(directory.revisionAt(1_000)).toBe(0);
  for (const [time, revision] of [
    [1_000, 4],
    [2_000, 5],
    // Applied again: nothing new comes into force.
    [2_500, 5],
    [3_000, 6],
  ] as const) {
    vi.setSystemTime(time);
    directory.update(snapshot(revision), []);
  }
  expect([500, 1_000, 1_999.9, 2_000, 2_999, 9_000].map((time) => directory.revisionAt(time))).toEqual([
    4, 4, 4, 5, 5, 6,
  ]);
});
