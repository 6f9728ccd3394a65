import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import {
  encodeAddressKey,
  IpcacheFlag,
  readEndpoint,
  readEndpointAddress,
  readIpcacheEntry,
  readPolicyTable,
} from '../generated/bpf.ts';
import { parseAddress, parsePrefix } from '../model/address.ts';
import type { PolicyTable, PrefixIdentity, Snapshot, TableEntry, WorkloadSpec } from '../model/snapshot.ts';
import type { AttachKind } from './attachments.ts';
import { Datapath } from './datapath.ts';
import type { NetworkInterface } from './kernel.ts';
import { MemoryKernel } from './memory.ts';
import { pinsOf } from './pins.ts';

const MAC = Uint8Array.from([2, 0, 0, 0, 0, 1]);

let folder: string;
let kernel: MemoryKernel;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'sidestep-datapath-'));
  kernel = new MemoryKernel();
  veth(7, '/run/netns/web');
  veth(8, '/run/netns/api');
});

afterEach(() => rmSync(folder, { recursive: true }));

/** Joins a namespace to the node by a veth whose host side has this index. */
function veth(ifindex: number, netns: string): void {
  const side = (index: number, peer: number): NetworkInterface => ({
    ifindex: index,
    name: `veth${index}`,
    kind: 'veth',
    mac: MAC,
    peerIfindex: peer,
    masterIfindex: 0,
    up: true,
    mtu: 1500,
    addresses: [],
  });
  kernel.own = [...kernel.own, side(ifindex, ifindex + 100)];
  kernel.inside.set(netns, [side(ifindex + 100, ifindex)]);
}

function start(options: { policyEntries?: number; attach?: AttachKind } = {}): Datapath {
  const { policyEntries = 64, attach = 'tcx' } = options;
  const object = kernel.loadObject(new Uint8Array(), { maxEntries: { policy: policyEntries, policy_tables: 32 } });
  return new Datapath(kernel, object, pinsOf(folder, 'test'), { attach, flowQuota: 16, encryptPods: false });
}

function workload(name: string, address: string, table = name): WorkloadSpec {
  return {
    namespace: 'shop',
    name,
    uid: name,
    labels: [],
    serviceAccount: 'default',
    netns: `/run/netns/${name}`,
    addresses: [parseAddress(address)],
    identity: name.length + 256,
    tables: { egress: `${table}-out`, ingress: `${table}-in`, authentication: '', auditEgress: '', auditIngress: '' },
    learnsNames: false,
  };
}

function table(key: string, identities: readonly number[]): PolicyTable {
  const entries = identities.map(
    (identity): TableEntry => ({
      identity,
      protocol: 6,
      port: 80,
      prefix: 32,
      verdict: 'allow',
      precedence: 1,
      rule: 100 + identity,
      ruleset: 0,
      auth: 'inherit',
    }),
  );
  return { key, direction: key.endsWith('-in') ? 'ingress' : 'egress', enforcing: true, defaultRule: 16, entries };
}

function snapshot(workloads: readonly WorkloadSpec[], tables: readonly PolicyTable[]): Snapshot {
  return {
    revision: 1,
    synced: true,
    workloads,
    addresses: [],
    prefixes: [],
    tables: new Map(tables.map((each) => [each.key, each])),
    rulesets: new Map(),
    nodes: new Map(),
    names: [],
    needs: [],
    certified: [],
    identities: new Map(),
    origins: new Map(),
    notes: new Map(),
    policies: [],
    issues: [],
  };
}

const u32 = (value: number): Uint8Array => {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, value, true);
  return bytes;
};

function endpoint(ifindex: number): ReturnType<typeof readEndpoint> | undefined {
  const bytes = kernel.map('endpoints').lookup(u32(ifindex));
  return bytes && readEndpoint(new DataView(bytes.buffer, bytes.byteOffset));
}

const web = workload('web', '10.0.0.1');
const api = workload('api', '10.0.0.2');
const both = (entries: readonly number[]): Snapshot =>
  snapshot([web, api], [table('web-out', []), table('web-in', entries), table('api-out', []), table('api-in', [])]);

describe('a change', () => {
  test('is in the tables before the endpoint points to them, and the hooks come last', () => {
    start().apply(both([300]));
    const { journal } = kernel;
    const last = (what: string): number => journal.findLastIndex((line) => line.startsWith(what));
    const first = (what: string): number => journal.findIndex((line) => line.startsWith(what));
    expect(first('policy set')).toBeLessThan(first('endpoints set'));
    expect(last('policy_tables set')).toBeLessThan(first('endpoints set'));
    expect(last('endpoint_addresses set')).toBeLessThan(first('endpoints set'));
    expect(first('endpoints set')).toBeLessThan(first('link'));
    expect(journal.indexOf('link 7 egress attach')).toBeLessThan(journal.indexOf('link 7 ingress attach'));
  });

  test('that only adds is written in place, with one new revision and no flip', () => {
    const datapath = start();
    datapath.apply(both([300]));
    kernel.journal.length = 0;
    expect(datapath.apply(both([300, 301])).writes).toBe(2);
    expect(kernel.journal.map((line) => line.split(' ')[0])).toEqual(['policy', 'policy_tables']);
  });

  test('that takes away builds another table and flips the endpoint with one write', () => {
    const datapath = start();
    datapath.apply(both([300, 301]));
    const before = endpoint(7)?.ingressTable;
    kernel.journal.length = 0;
    datapath.apply(both([301]));
    expect(kernel.journal.map((line) => line.split(' ').slice(0, 2).join(' '))).toEqual([
      'policy set',
      'policy_tables set',
      'endpoints set',
    ]);
    expect(endpoint(7)?.ingressTable).not.toBe(before);
    const entries = kernel.map('policy').size;
    datapath.sweepTables();
    expect(kernel.map('policy').size).toBe(entries - 2);
  });

  test('that is none writes nothing', () => {
    const datapath = start();
    datapath.apply(both([300]));
    expect(datapath.apply(both([300])).writes).toBe(0);
  });
});

describe('a pod of another node', () => {
  const remote = (identity: number, asks: readonly number[]): Snapshot => ({
    ...snapshot(
      [{ ...web, tables: { ...web.tables, authentication: 'web-auth' } }],
      [table('web-out', []), table('web-in', []), table('web-auth', asks)],
    ),
    addresses: [{ address: parseAddress('10.1.0.2'), identity, node: 'b', namespace: 'shop', pod: 'db' }],
    nodes: new Map([['b', 2]]),
  });
  const key = Buffer.concat([new Uint8Array(4), parseAddress('10.1.0.2')]);
  const entry = (): ReturnType<typeof readIpcacheEntry> => {
    const bytes = kernel.map('ipcache').lookup(key) ?? new Uint8Array(16);
    return readIpcacheEntry(new DataView(bytes.buffer, bytes.byteOffset));
  };

  test('that has another identity is sent to encrypted until endpoints know what that one asks for', () => {
    const datapath = start();
    datapath.apply(remote(600, [600]));
    expect(entry()).toMatchObject({ identity: 600, flags: 0 });
    const seen: string[] = [];
    const note = (map: string, update: (key: Uint8Array, value: Uint8Array) => void) => {
      return (...args: [Uint8Array, Uint8Array]): void => {
        update(...args);
        seen.push(`${map} ${entry().identity} ${entry().flags}`);
      };
    };
    for (const name of ['ipcache', 'endpoints'] as const) {
      const map = kernel.map(name);
      map.update = note(name, map.update.bind(map));
    }
    datapath.apply(remote(601, [601]));
    const { IPCACHE_ENCRYPT } = IpcacheFlag;
    expect(seen).toEqual([`ipcache 601 ${IPCACHE_ENCRYPT}`, `endpoints 601 ${IPCACHE_ENCRYPT}`, 'ipcache 601 0']);
    expect(datapath.apply(remote(601, [601])).writes).toBe(0);
  });
});

describe('a policy table that does not fit', () => {
  test('leaves the last complete one in force, is named at its endpoint, and comes when there is room', () => {
    const datapath = start({ policyEntries: 3 });
    datapath.apply(both([300, 301]));
    const before = endpoint(7);
    datapath.apply(both([300, 301, 302, 303]));
    expect(endpoint(7)).toEqual(before);
    expect(kernel.map('policy').size).toBe(2);
    expect(datapath.failures.get('web-in')).toMatchObject({ code: 'MAP_FULL' });
    const [status, other] = datapath.endpoints;
    expect(status).toMatchObject({ pod: 'web', state: 'degraded', code: 'MAP_FULL' });
    expect(other).toMatchObject({ pod: 'api', state: 'ready' });
    datapath.apply(both([300, 301, 302]));
    expect(datapath.endpoints[0]).toMatchObject({ state: 'ready', code: undefined });
    expect(kernel.map('policy').size).toBe(3);
  });

  test('leaves the last one in force under its old name, too, and over a restart', () => {
    start({ policyEntries: 3 }).apply(both([300, 301]));
    const before = endpoint(7);
    const selectedByMore = snapshot(
      [{ ...web, tables: { ...web.tables, ingress: 'web-two-policies-in' } }, api],
      [table('web-out', []), table('web-two-policies-in', [300, 301, 302]), table('api-out', []), table('api-in', [])],
    );
    const next = start({ policyEntries: 3 });
    next.apply(selectedByMore);
    next.sweepTables();
    expect(endpoint(7)?.ingressTable).toBe(before?.ingressTable);
    expect(kernel.map('policy').size).toBe(2);
    expect(next.endpoints[0]).toMatchObject({ state: 'degraded', code: 'MAP_FULL' });
  });

  test('closes an endpoint that never had one', () => {
    const datapath = start({ policyEntries: 3 });
    datapath.apply(both([300, 301, 302, 303]));
    expect(endpoint(7)?.ingressTable).toBe(0);
    expect(datapath.endpoints[0]).toMatchObject({ state: 'degraded', code: 'MAP_FULL' });
    expect(kernel.links.size).toBe(4);
  });
});

describe('an address', () => {
  test('that moves to another workload gets a new generation, and its flows are to be forgotten', () => {
    const datapath = start();
    datapath.apply(snapshot([web], []));
    const key = Buffer.concat([new Uint8Array(4), parseAddress('10.0.0.1')]);
    const read = (): { ifindex: number; generation: number } | undefined => {
      const bytes = kernel.map('endpoint_addresses').lookup(key);
      return bytes && readEndpointAddress(new DataView(bytes.buffer, bytes.byteOffset));
    };
    expect(read()).toEqual({ ifindex: 7, generation: 1 });
    const { changedAddresses } = datapath.apply(snapshot([workload('api', '10.0.0.1')], []));
    expect(read()).toEqual({ ifindex: 8, generation: 2 });
    expect([...changedAddresses]).toContain(Buffer.from(parseAddress('10.0.0.1')).toString('hex'));
  });
});

describe('a workload that is gone', () => {
  test('loses its hooks before its endpoint, so that nothing passes in between', () => {
    const datapath = start();
    datapath.apply(both([300]));
    kernel.journal.length = 0;
    datapath.apply(snapshot([api], [table('api-out', []), table('api-in', [])]));
    const at = (what: string): number => kernel.journal.findIndex((line) => line.startsWith(what));
    expect(at('link 7 egress detach')).toBeGreaterThanOrEqual(0);
    expect(at('link 7 ingress detach')).toBeLessThan(at('endpoints delete'));
    expect(readdirSync(pinsOf(folder, 'test').links).sort()).toEqual(['8-egress', '8-ingress']);
  });

  test('together with its interface leaves no pin, also when the agent was away', () => {
    start().apply(both([300]));
    kernel.own = kernel.own.filter(({ ifindex }) => ifindex !== 7);
    kernel.inside.delete('/run/netns/web');
    start();
    expect(readdirSync(pinsOf(folder, 'test').links).sort()).toEqual(['8-egress', '8-ingress']);
  });

  test('but still in the manifests waits, and the others go on', () => {
    kernel.inside.delete('/run/netns/web');
    const datapath = start();
    datapath.apply(both([300]));
    expect(datapath.endpoints[0]).toMatchObject({ state: 'waiting', code: 'POD_NETNS_MISSING' });
    expect(datapath.endpoints[1]).toMatchObject({ state: 'ready' });
  });
});

describe('the next agent', () => {
  test('takes over the links of the last one and swaps the programs in them', () => {
    start().apply(both([300]));
    const ids = [...kernel.links].map((link) => link.id).sort();
    const datapath = start();
    datapath.apply(both([300]));
    expect([...kernel.links].map((link) => link.id).sort()).toEqual(ids);
    expect(kernel.journal.filter((line) => line.endsWith('update')).map((line) => line.split(' ')[2])).toEqual([
      'egress',
      'egress',
      'ingress',
      'ingress',
    ]);
    expect(datapath.endpoints.map(({ state }) => state)).toEqual(['ready', 'ready']);
  });

  test('keeps the old tables until the endpoints are flipped, then sweeps them', () => {
    start().apply(both([300]));
    const datapath = start();
    expect(kernel.map('policy').size).toBe(1);
    datapath.apply(both([300]));
    expect(kernel.map('policy').size).toBe(2);
    datapath.sweepTables();
    expect(kernel.map('policy').size).toBe(1);
  });

  test.each([
    ['tcx', 'clsact'],
    ['clsact', 'tcx'],
  ] as const)(
    'that attaches differently (%s, then %s) has its own in place before it takes the others out',
    (one, other) => {
      start({ attach: one }).apply(both([300]));
      kernel.journal.length = 0;
      const datapath = start({ attach: other });
      datapath.apply(both([300]));
      const words = kernel.journal.filter((line) => /^(link|filter) /.test(line)).map((line) => line.split(' ')[2 + 1]);
      expect(words).toEqual([...new Array(4).fill('attach'), ...new Array(4).fill('detach')]);
      expect(datapath.endpoints.map(({ state }) => state)).toEqual(['ready', 'ready']);
    },
  );
});

/** Revision of the table with this kernel id. */
function revisionOf(id: number | undefined): number {
  const bytes = kernel.map('policy_tables').lookup(u32(id ?? 0)) ?? new Uint8Array(16);
  return readPolicyTable(new DataView(bytes.buffer, bytes.byteOffset)).revision;
}

describe('what is only audited', () => {
  const audited: WorkloadSpec = { ...web, tables: { ...web.tables, auditIngress: 'audit-in' } };
  const withAudit = (entries: readonly number[]): Snapshot => {
    const { tables } = both([300]);
    return snapshot([audited, api], [...tables.values(), table('audit-in', entries)]);
  };

  test('is a table of its own beside the one that is enforced', () => {
    const datapath = start();
    datapath.apply(withAudit([301]));
    const { auditEgressTable, auditIngressTable, ingressTable } = endpoint(7) ?? {};
    expect(auditEgressTable).toBe(0);
    expect(auditIngressTable).not.toBe(ingressTable);
    expect(revisionOf(auditIngressTable)).toBeGreaterThan(0);
    expect(endpoint(8)).toMatchObject({ auditEgressTable: 0, auditIngressTable: 0 });
    datapath.sweepTables();
    expect(revisionOf(auditIngressTable)).toBeGreaterThan(0);
  });

  test('makes live flows of its direction be judged again when it comes, changes and goes', () => {
    const datapath = start();
    datapath.apply(both([300]));
    const { egressTable, ingressTable } = endpoint(7) ?? {};
    const steps = [withAudit([301]), withAudit([301, 302]), withAudit([303]), both([300])];
    const egress = revisionOf(egressTable);
    let last = revisionOf(ingressTable);
    for (const step of steps) {
      datapath.apply(step);
      expect(endpoint(7)?.ingressTable).toBe(ingressTable);
      expect(revisionOf(ingressTable)).toBeGreaterThan(last);
      last = revisionOf(ingressTable);
    }
    expect(revisionOf(egressTable)).toBe(egress);
    expect(datapath.apply(both([300])).writes).toBe(0);
  });

  test('costs one write for each table, however many workloads share it', () => {
    const shared = { ...web.tables, auditIngress: 'audit-in' };
    const twins = (entries: readonly number[]): Snapshot => ({
      ...withAudit(entries),
      workloads: [audited, { ...api, tables: shared }],
    });
    const datapath = start();
    datapath.apply(twins([301]));
    // The entry and the revision of the table that is audited, and the revision of the other.
    expect(datapath.apply(twins([301, 302])).writes).toBe(3);
  });

  test('that does not fit leaves the last in force, and the endpoint says so', () => {
    const datapath = start({ policyEntries: 3 });
    datapath.apply(withAudit([301]));
    const { auditIngressTable } = endpoint(7) ?? {};
    datapath.apply(withAudit([302, 303, 304]));
    expect(endpoint(7)?.auditIngressTable).toBe(auditIngressTable);
    expect(datapath.endpoints[0]).toMatchObject({ state: 'degraded', code: 'MAP_FULL' });
  });
});

describe('identities of addresses outside', () => {
  const range = (text: string, identity: number): PrefixIdentity => ({ ...parsePrefix(text), identity });
  const outside = (...prefixes: PrefixIdentity[]): Snapshot => ({ ...both([300, 301]), prefixes });
  const at = (address: string): number | undefined => {
    const bytes = kernel.map('ipcache').lookup(encodeAddressKey({ scope: 0, address: parseAddress(address) }));
    return bytes && readIpcacheEntry(new DataView(bytes.buffer, bytes.byteOffset)).identity;
  };
  const WORLD = range('::/0', 2);

  test('are ranges, and single ones are looked up as such', () => {
    start().apply(
      outside(WORLD, range('192.0.2.0/24', 300), range('192.0.2.9/32', 301), range('2001:db8::9/128', 302)),
    );
    expect(kernel.map('ipcache_prefixes').size).toBe(2);
    expect([at('192.0.2.9'), at('2001:db8::9'), at('192.0.2.8')]).toEqual([301, 302, undefined]);
  });

  test('never hide a pod, and no flow is forgotten for them', () => {
    const datapath = start();
    datapath.apply(outside(WORLD));
    const pod = { address: parseAddress('10.1.0.9'), identity: 400, node: 'n2', namespace: 'shop', pod: 'far' };
    const single = [range('10.1.0.9/32', 300), range('192.0.2.9/32', 301)];
    const { changedAddresses } = datapath.apply({ ...outside(WORLD, ...single), addresses: [pod] });
    expect([at('10.1.0.9'), at('192.0.2.9')]).toEqual([400, 301]);
    expect([...changedAddresses]).toEqual([Buffer.from(pod.address).toString('hex')]);
    expect(datapath.apply({ ...outside(WORLD), addresses: [pod] }).changedAddresses.size).toBe(0);
    // The pod ends, and the range has its address.
    expect(datapath.apply(outside(WORLD, ...single)).changedAddresses.size).toBe(1);
    expect(at('10.1.0.9')).toBe(300);
  });

  test('that change make live flows be judged again by the tables that tell them apart, after they are written', () => {
    const datapath = start();
    datapath.apply(outside(WORLD, range('10.0.0.0/8', 300)));
    const { egressTable, ingressTable } = endpoint(7) ?? {};
    const before = [revisionOf(egressTable), revisionOf(ingressTable)];
    kernel.journal.length = 0;
    // 300 and 301 have entries, 302 has none.
    datapath.apply(outside(WORLD, range('10.0.0.0/8', 300), range('10.1.0.0/16', 302)));
    expect(revisionOf(egressTable)).toBe(before[0]);
    expect(revisionOf(ingressTable)).toBeGreaterThan(before[1] ?? 0);
    const written = kernel.journal.map((line) => line.split(' ')[0]);
    expect(written).toEqual(['ipcache_prefixes', 'policy_tables']);
    expect(datapath.apply(outside(WORLD, range('10.0.0.0/8', 300), range('10.1.0.0/16', 302))).writes).toBe(0);
  });
});

describe('a hook that is not in force', () => {
  test('is named when somebody detached it', () => {
    const datapath = start();
    datapath.apply(both([300]));
    for (const link of kernel.links) if (link.ifindex === 7) link.detach();
    datapath.apply(both([300]));
    expect(datapath.endpoints[0]).toMatchObject({ state: 'degraded', code: 'KERNEL_CALL_FAILED' });
  });

  test('is named when a program of others runs before it', () => {
    const other = kernel.loadObject(new Uint8Array()).program('from_workload');
    kernel.attachTcx(other, 7, 'ingress');
    const datapath = start();
    datapath.apply(both([300]));
    expect(datapath.endpoints[0]).toMatchObject({ state: 'degraded', code: 'KERNEL_FEATURE_MISSING' });
  });
});
