/** Flows under an HTTP rule: every packet of the client goes to Envoy, nobody but Envoy answers, and nothing moves there later. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { FLOW_OFFSETS, FlowSteered } from '../../control-plane/generated/bpf.ts';
import type { TableEntry } from '../../control-plane/model/snapshot.ts';
import { allow, closedTable, HERE, Lab, OPEN } from './lab.ts';
import { ACK, opening, type PacketSpec, RST, SYN, TCP, UDP } from './packets.ts';

const ME = 500;
const PEER = 600;
const RULESET = 20;
const HOST = 0;
const UPLINK = 99;
const ADDRESSES = {
  v4: { me: '10.0.0.1', peer: '10.0.0.2', far: '192.0.2.9' },
  v6: { me: 'fd00::1', peer: 'fd00::2', far: '2001:db8::9' },
} as const;

function redirect(identity: number, rule: number, port: number, ruleset = RULESET): TableEntry {
  return { ...allow(identity, rule, { protocol: TCP, port }), verdict: 'redirect', precedence: 154, ruleset };
}

let lab: Lab;
beforeEach(() => {
  lab = new Lab({ steering: { mark: 0x200, envoyPort: 15001 } });
});
afterEach(() => lab[Symbol.dispose]());

function guarded(direction: 'egress' | 'ingress', entries: readonly TableEntry[]): void {
  lab.install([OPEN, closedTable('guarded', entries)]);
  lab.endpoint({ ifindex: HERE, identity: ME, addresses: ['10.0.0.1', 'fd00::1'], [direction]: 'guarded' });
}

describe.each(['v4', 'v6'] as const)('%s', (family) => {
  const { me, far } = ADDRESSES[family];
  const out = opening(me, far);
  const into = (more: Partial<PacketSpec> = {}): PacketSpec => ({
    ...out({ source: far, destination: me }),
    ...more,
  });

  it('steers what a client sends under an egress rule, from its SYN on, and says so once', async () => {
    guarded('egress', [redirect(2, 30, 80)]);
    expect(lab.send(out()).steered).toBe(true);
    expect(lab.send(out({ tcpFlags: ACK })).steered).toBe(true);
    const events = await lab.events(1);
    expect(events).toHaveLength(1);
    expect(events[0]).toMatchObject({ kind: 'new', egress: { verdict: 'redirect', rule: 30 } });
  });

  it('steers what comes from beyond the uplink under an ingress rule', async () => {
    guarded('ingress', [redirect(2, 31, 80)]);
    expect(lab.deliver(into(), UPLINK).steered).toBe(true);
    expect(lab.deliver(into({ tcpFlags: ACK }), UPLINK).steered).toBe(true);
    expect((await lab.events(1))[0]).toMatchObject({ ingress: { verdict: 'redirect', rule: 31 } });
  });

  it('names a SYN that comes again as one that was lost on its way to Envoy, until somebody answers', async () => {
    guarded('egress', [redirect(2, 30, 80)]);
    lab.send(out());
    expect(lab.flows()[0]?.steered).toBe(FlowSteered.STEERED_FIRST);
    expect(lab.send(out()).steered).toBe(true);
    expect(await lab.events(2)).toMatchObject([
      { kind: 'new' },
      { kind: 'drop', reason: 'SOCKET_LOOKUP_FAILED', egress: { verdict: 'redirect', rule: 30 } },
    ]);
    lab.deliver(into({ sourcePort: 80, destinationPort: 40000, tcpFlags: SYN | ACK }), HOST);
    expect(lab.send(out()).steered).toBe(true);
    expect(lab.counted('SOCKET_LOOKUP_FAILED')).toBe(1);
  });

  it('does not blame the way to Envoy when the answer to a client beyond the uplink is lost', async () => {
    guarded('ingress', [redirect(2, 31, 80)]);
    lab.deliver(into(), UPLINK);
    expect(lab.flows()[0]?.steered).toBe(0);
    lab.deliver(into(), UPLINK);
    expect(lab.counted('SOCKET_LOOKUP_FAILED')).toBe(1);
    const flows = lab.map('flows');
    const { keys, values } = flows.dump();
    values[FLOW_OFFSETS.steered] = FlowSteered.STEERED_ARRIVED;
    flows.update(keys, values);
    expect(lab.deliver(into(), UPLINK).steered).toBe(true);
    expect(lab.counted('SOCKET_LOOKUP_FAILED')).toBe(1);
  });

  it('leaves other ports and protocols alone', () => {
    guarded('egress', [
      redirect(2, 30, 80),
      allow(2, 32, { protocol: TCP, port: 81 }),
      allow(2, 33, { protocol: UDP }),
    ]);
    expect(lab.send(out({ destinationPort: 81 }))).toMatchObject({ passed: true, steered: false });
    expect(lab.send(out({ protocol: UDP, destinationPort: 80 }))).toMatchObject({ passed: true, steered: false });
    expect(lab.send(out({ destinationPort: 82 })).passed).toBe(false);
  });

  it('lets only this host answer a steered connection', () => {
    guarded('egress', [redirect(2, 30, 80)]);
    lab.send(out());
    const answer = into({ sourcePort: 80, destinationPort: 40000, tcpFlags: SYN | ACK });
    expect(lab.deliver(answer, UPLINK).passed).toBe(false);
    expect(lab.deliver(answer, HOST)).toMatchObject({ passed: true, steered: false });
    expect(lab.counted('PROXY_REDIRECTION_NOT_SUPPORTED_FOR_PROTOCOL')).toBe(1);
  });

  it('lets Envoy answer for a pod of another node', () => {
    lab.remote(far, PEER, 7);
    guarded('egress', [redirect(PEER, 30, 80)]);
    lab.send(out());
    const answer = into({ sourcePort: 80, destinationPort: 40000, tcpFlags: SYN | ACK });
    expect(lab.deliver(answer, HOST)).toMatchObject({ passed: true, steered: false });
  });

  it('resets a live connection that comes under an HTTP rule, and names why', async () => {
    guarded('egress', [allow(2, 34)]);
    expect(lab.send(out()).steered).toBe(false);
    lab.deliver(into({ sourcePort: 80, destinationPort: 40000, tcpFlags: SYN | ACK }), UPLINK);
    guarded('egress', [redirect(2, 30, 80)]);
    const { steered, passed } = lab.send(out({ tcpFlags: ACK }));
    // It goes on as the reset that it was turned into.
    expect({ steered, passed }).toEqual({ steered: false, passed: true });
    const events = await lab.events(2);
    expect(events.at(-1)).toMatchObject({
      kind: 'drop',
      reason: 'PROXY_REDIRECTION_NOT_SUPPORTED_FOR_PROTOCOL',
      revoked: true,
    });
    expect(lab.send(out({ sourcePort: 40001 })).steered).toBe(true);
  });

  it('refuses a connection that it meets half-way and that Envoy does not hold', () => {
    guarded('egress', [redirect(2, 30, 80)]);
    lab.send(out({ tcpFlags: ACK }));
    expect(lab.counted('PROXY_REDIRECTION_NOT_SUPPORTED_FOR_PROTOCOL')).toBe(1);
    expect(lab.flows()).toHaveLength(0);
  });

  it('keeps a steered connection with Envoy when its rule goes or is edited, and resets it when it moves elsewhere', () => {
    guarded('egress', [redirect(2, 30, 80)]);
    lab.send(out());
    guarded('egress', [allow(2, 34)]);
    expect(lab.send(out({ tcpFlags: ACK })).steered).toBe(true);
    expect(lab.flows()[0]?.egress.ruleset).toBe(RULESET);
    guarded('egress', [redirect(2, 35, 80, RULESET)]);
    expect(lab.send(out({ tcpFlags: ACK })).steered).toBe(true);
    guarded('egress', [redirect(2, 30, 80, RULESET + 1)]);
    lab.send(out({ tcpFlags: ACK }));
    expect(lab.counted('PROXY_REDIRECTION_NOT_SUPPORTED_FOR_PROTOCOL')).toBe(1);
  });

  it('takes a steered connection back when policy refuses it at layer 4', () => {
    guarded('egress', [redirect(2, 30, 80)]);
    lab.send(out());
    guarded('egress', []);
    lab.send(out({ tcpFlags: ACK }));
    expect(lab.counted('POLICY_DENIED')).toBe(1);
    expect(lab.send(out({ tcpFlags: RST | ACK })).passed).toBe(true);
  });

  it('tells the connection of a client beyond the uplink from that of Envoy with the same ports', () => {
    guarded('ingress', [redirect(2, 31, 80)]);
    const asked = into({ sourcePort: 61500 });
    lab.leg(far, 61500, me, 80);
    // The client's, also when Envoy's is there first.
    expect(lab.deliver(asked, UPLINK)).toMatchObject({ steered: true });
    expect(lab.deliver({ ...asked, tcpFlags: ACK }, UPLINK)).toMatchObject({ steered: true });
    // Envoy's, and the answers to it.
    expect(lab.deliver(asked, HOST)).toMatchObject({ passed: true, steered: false });
    const answer = out({ sourcePort: 80, destinationPort: 61500, tcpFlags: SYN | ACK });
    expect(lab.send(answer)).toMatchObject({ steered: true });
    // Nobody's: it claims to be in the middle of Envoy's.
    lab.forgetFlows();
    lab.leg(far, 61500, me, 80);
    expect(lab.deliver({ ...asked, tcpFlags: ACK }, UPLINK).passed).toBe(false);
    expect(lab.counted('SOCKET_ASSIGN_FAILED')).toBe(1);
  });

  it("drops a workload's new connections from the ports that are Envoy's", () => {
    lab.install([OPEN]);
    lab.endpoint({ ifindex: HERE, identity: ME, addresses: [me] });
    expect(lab.send(out({ sourcePort: 61000 })).passed).toBe(false);
    expect(lab.send(out({ sourcePort: 60999 })).passed).toBe(true);
    expect(lab.counted('SOCKET_ASSIGN_FAILED')).toBe(1);
  });
});

it('sends nothing to Envoy while enforcement is switched off, and says so', async () => {
  guarded('egress', [redirect(2, 30, 80)]);
  const off = new Uint8Array(4);
  const packet = {
    source: '10.0.0.1',
    destination: '192.0.2.9',
    protocol: TCP,
    sourcePort: 40000,
    destinationPort: 80,
  };
  lab.map('bypass').update(off, Uint8Array.of(1, 0, 0, 0));
  expect(lab.send({ ...packet, tcpFlags: SYN })).toMatchObject({ passed: true, steered: false });
  expect((await lab.events(1))[0]).toMatchObject({ bypassed: true });
  lab.map('bypass').delete(off);
  lab.send({ ...packet, tcpFlags: ACK });
  expect(lab.counted('PROXY_REDIRECTION_NOT_SUPPORTED_FOR_PROTOCOL')).toBe(1);
});

it('decides both ends of a local connection in one pass', async () => {
  lab.install([OPEN, closedTable('out', [allow(PEER, 40)]), closedTable('in', [redirect(ME, 41, 80)])]);
  lab.endpoint({ ifindex: HERE, identity: ME, addresses: ['10.0.0.1'], egress: 'out' });
  lab.endpoint({ ifindex: 7, identity: PEER, addresses: ['10.0.0.2'], ingress: 'in' });
  const { steered } = lab.send({
    source: '10.0.0.1',
    destination: '10.0.0.2',
    protocol: TCP,
    sourcePort: 40000,
    destinationPort: 80,
    tcpFlags: SYN,
  });
  expect(steered).toBe(true);
  expect((await lab.events(1))[0]).toMatchObject({
    egress: { verdict: 'allow', rule: 40 },
    ingress: { verdict: 'redirect', rule: 41 },
  });
});

it('does not take the next owner of an address for the last one, though no table has changed', async () => {
  const OTHER = 501;
  lab.install([OPEN, closedTable('in', [redirect(ME, 41, 80), redirect(OTHER, 42, 80, RULESET + 1)])]);
  lab.endpoint({ ifindex: 7, identity: PEER, addresses: ['10.0.0.2'], ingress: 'in' });
  const packet = {
    source: '10.0.0.1',
    destination: '10.0.0.2',
    protocol: TCP,
    sourcePort: 40000,
    destinationPort: 80,
  };
  lab.endpoint({ ifindex: HERE, identity: ME, addresses: ['10.0.0.1'] });
  expect(lab.send({ ...packet, tcpFlags: SYN }).steered).toBe(true);
  expect(lab.send({ ...packet, tcpFlags: ACK }).steered).toBe(true);
  lab.endpoint({ ifindex: HERE, identity: OTHER, addresses: ['10.0.0.1'] });
  lab.send({ ...packet, tcpFlags: ACK });
  expect(lab.counted('PROXY_REDIRECTION_NOT_SUPPORTED_FOR_PROTOCOL')).toBe(1);
  // A connection of its own is judged as its own.
  expect(lab.send({ ...packet, tcpFlags: SYN }).steered).toBe(true);
  expect(lab.flows()).toMatchObject([{ identity: [OTHER, PEER], ingress: { ruleset: RULESET + 1 } }]);
});

it.each(['127.0.0.1', '127.9.9.9', '0.0.0.0', '::1', '::'])(
  'steers nothing to %s, which would be the node',
  (destination) => {
    guarded('egress', [redirect(2, 30, 80)]);
    const source = destination.includes(':') ? 'fd00::1' : '10.0.0.1';
    const sent = lab.send({
      source,
      destination,
      protocol: TCP,
      sourcePort: 40000,
      destinationPort: 80,
      tcpFlags: SYN,
    });
    expect(sent).toMatchObject({ passed: false, steered: false });
    expect(lab.counted('INVALID_PACKET_DROPPED')).toBe(1);
  },
);
