/** The rule in a flow is the one the kernel matched: it comes out of the kernel's table, not out of ours. */
import { afterEach, beforeEach, expect, it } from 'vitest';
import {
  encodePolicyEntry,
  type PolicyEntry,
  readPolicyEntry,
  readPolicyKey,
} from '../../control-plane/generated/bpf.ts';
import { allow, closedTable, HERE, Lab, OPEN } from './lab.ts';
import { ACK, type PacketSpec, RST, SYN, TCP } from './packets.ts';

let lab: Lab;
beforeEach(() => {
  lab = new Lab();
  lab.install([OPEN, closedTable('in', [allow(2, 40, { protocol: TCP, port: 80 })], 41)]);
  lab.endpoint({ ifindex: HERE, identity: 500, addresses: ['10.0.0.1'], ingress: 'in' });
});
afterEach(() => lab[Symbol.dispose]());

const inbound = (port: number, source = 40000): PacketSpec => ({
  source: '192.0.2.9',
  destination: '10.0.0.1',
  protocol: TCP,
  sourcePort: source,
  destinationPort: port,
  tcpFlags: SYN,
});

function rewrite(change: (entry: PolicyEntry) => PolicyEntry): void {
  const policy = lab.map('policy');
  const { keys, values, count } = policy.dump();
  for (let i = 0; i < count; i++) {
    const key = keys.subarray(i * policy.keySize, (i + 1) * policy.keySize);
    const view = new DataView(values.buffer, values.byteOffset);
    if (readPolicyKey(new DataView(key.buffer, key.byteOffset)).identity === 2)
      policy.update(key, encodePolicyEntry(change(readPolicyEntry(view, i * policy.valueSize))));
  }
}

it('names another rule after the rule id in the table was rewritten', async () => {
  lab.deliver(inbound(80));
  rewrite((entry) => ({ ...entry, rule: 77 }));
  lab.deliver(inbound(80, 40001));
  const events = await lab.events(2);
  expect(events.map((event) => event.ingress.rule)).toEqual([40, 77]);
});

it('names the default-deny rule of the table when nothing matches', async () => {
  lab.deliver(inbound(81));
  expect((await lab.events(1))[0]).toMatchObject({
    kind: 'drop',
    reason: 'POLICY_DENIED',
    deniedBy: 'ingress',
    ingress: { verdict: 'deny', rule: 41 },
  });
});

it('takes a deny over an allow whatever is more specific, and says "denied by a rule" (181)', async () => {
  const deny = { ...allow(0, 50), verdict: 'deny' as const, precedence: 255 };
  lab.install([OPEN, closedTable('in', [allow(2, 40, { protocol: TCP, port: 80 }), deny], 41)]);
  lab.endpoint({ ifindex: HERE, identity: 500, addresses: ['10.0.0.1'], ingress: 'in' });
  expect(lab.deliver(inbound(80)).passed).toBe(false);
  expect((await lab.events(1))[0]).toMatchObject({ reason: 'POLICY_DENY', ingress: { rule: 50 } });
});

it('judges a live connection again when its table has a new revision, and resets it when it is refused', async () => {
  const back: PacketSpec = {
    source: '10.0.0.1',
    destination: '192.0.2.9',
    protocol: TCP,
    sourcePort: 80,
    destinationPort: 40000,
  };
  lab.deliver(inbound(80));
  lab.send({ ...back, tcpFlags: SYN | ACK });
  const before = lab.flows()[0]?.ingress.revision ?? 0;
  // An addition: judged again, still allowed.
  lab.install([
    OPEN,
    closedTable('in', [allow(2, 40, { protocol: TCP, port: 80 }), allow(2, 42, { protocol: TCP, port: 81 })], 41),
  ]);
  expect(lab.deliver({ ...inbound(80), tcpFlags: ACK, payload: new Uint8Array(50) }).passed).toBe(true);
  expect(lab.flows()[0]?.ingress.revision).toBeGreaterThan(before);
  // Taken away: the packet becomes a reset for its receiver, with the right sequence, and says so.
  lab.install([OPEN, closedTable('in', [], 41)]);
  lab.endpoint({ ifindex: HERE, identity: 500, addresses: ['10.0.0.1'], ingress: 'in' });
  const { packet } = lab.deliver({ ...inbound(80), tcpFlags: ACK, sequence: 0x01020304, payload: new Uint8Array(50) });
  expect(packet).toHaveLength(14 + 20 + 20);
  expect(packet[14 + 20 + 13]).toBe(RST);
  expect([...packet.slice(14 + 20 + 4, 14 + 20 + 8)]).toEqual([1, 2, 3, 4]);
  expect(checksum(packet.subarray(14, 34))).toBe(0);
  expect(tcpChecksum(packet.subarray(14))).toBe(0);
  const events = await lab.events(2);
  expect(events.at(-1)).toMatchObject({ kind: 'drop', reason: 'POLICY_DENIED', revoked: true, ingress: { rule: 41 } });
  expect(lab.counted('POLICY_DENIED')).toBe(1);
});

/** RFC 1071: 0 over a header whose checksum field is right. */
function checksum(bytes: Uint8Array): number {
  let sum = 0;
  for (let i = 0; i < bytes.length; i += 2) sum += ((bytes[i] ?? 0) << 8) | (bytes[i + 1] ?? 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
  return ~sum & 0xffff;
}

function tcpChecksum(packet: Uint8Array): number {
  const segment = packet.subarray(20);
  return checksum(
    Uint8Array.of(...packet.subarray(12, 20), 0, 6, segment.length >> 8, segment.length & 255, ...segment),
  );
}
