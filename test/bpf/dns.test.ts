/** DNS, packet by packet: what the agent must look at first, what goes on, and what becomes of both without an agent. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Naming } from '../../control-plane/datapath/naming.ts';
import type { TableEntry } from '../../control-plane/model/snapshot.ts';
import { allow, closedTable, HERE, Lab, OPEN } from './lab.ts';
import { ACK, frame, type PacketSpec, SYN, TCP, UDP } from './packets.ts';

const ME = 500;
const DNS = 600;
const UPLINK = 99;
const TAP = 52;
const LOOKED_AT = 0x600;
const ADDRESSES = {
  v4: { me: '10.0.0.1', server: '10.1.0.53' },
  v6: { me: 'fd00::1', server: 'fd01::53' },
} as const;

let lab: Lab;
let naming: Naming;
beforeEach(() => {
  lab = new Lab();
  naming = new Naming(lab.object, () => lab.kernel.monotonicNs());
  naming.alive(TAP, 60_000);
});
afterEach(() => lab[Symbol.dispose]());

const rules = (identity: number): TableEntry => ({ ...allow(identity, 30), verdict: 'dns', ruleset: 20 });

function guarded(entries: readonly TableEntry[], learnsNames: boolean): void {
  lab.install([OPEN, closedTable('guarded', entries)]);
  lab.endpoint({ ifindex: HERE, identity: ME, addresses: ['10.0.0.1', 'fd00::1'], egress: 'guarded', learnsNames });
}

describe.each(['v4', 'v6'] as const)('%s', (family) => {
  const { me, server } = ADDRESSES[family];
  beforeEach(() => lab.identity(server, DNS));
  const ask = (more: Partial<PacketSpec> = {}): PacketSpec => ({
    source: me,
    destination: server,
    protocol: UDP,
    sourcePort: 40000,
    destinationPort: 53,
    payload: Buffer.from('query'),
    ...more,
  });
  const answer = (more: Partial<PacketSpec> = {}): PacketSpec =>
    ask({ source: server, destination: me, sourcePort: 53, destinationPort: 40000, ...more });
  const putBack = (spec: PacketSpec): number => lab.run('put_back_dns', frame(spec)).returnValue;

  describe('answers', () => {
    it('of a workload that learns names are put aside, and go on when they come back by the device', () => {
      guarded([allow(DNS, 30)], true);
      expect(lab.send(ask())).toMatchObject({ passed: true, steered: false });
      expect(lab.deliver(answer(), UPLINK)).toMatchObject({ steered: true });
      expect(lab.statistic('STATISTIC_DNS_ANSWERS')).toBe(1);
      expect(putBack(answer())).toBe(7);
      expect(lab.deliver(answer(), TAP, LOOKED_AT)).toMatchObject({ passed: true, steered: false });
      // Counted once, when it goes on.
      expect(lab.flows()[0]?.packets).toEqual([1n, 1n]);
    });

    it('with the mark, by another way: they wait as all do', () => {
      guarded([allow(DNS, 30)], true);
      lab.send(ask());
      for (const way of [UPLINK, 0]) expect(lab.deliver(answer(), way, LOOKED_AT)).toMatchObject({ steered: true });
    });

    it('of other workloads, of other ports, and what is no answer go on at once', () => {
      guarded([allow(DNS, 30)], true);
      lab.send(ask({ destinationPort: 5353 }));
      expect(lab.deliver(answer({ sourcePort: 5353 }), UPLINK)).toMatchObject({ passed: true, steered: false });
      expect(lab.deliver(answer({ sourcePort: 53, destinationPort: 40001 }), UPLINK)).toMatchObject({ steered: false });
      guarded([allow(DNS, 30)], false);
      lab.forgetFlows();
      lab.send(ask());
      expect(lab.deliver(answer(), UPLINK)).toMatchObject({ passed: true, steered: false });
    });

    it('that nobody asked for are judged as what they are', () => {
      guarded([allow(DNS, 30)], true);
      lab.install([OPEN, closedTable('guarded', [allow(DNS, 30)]), closedTable('closed', [])]);
      lab.endpoint({
        ifindex: HERE,
        identity: ME,
        addresses: [me],
        egress: 'guarded',
        ingress: 'closed',
        learnsNames: true,
      });
      expect(lab.deliver(answer(), UPLINK)).toMatchObject({ passed: false });
    });

    it('over TCP: only segments with something in them', () => {
      guarded([allow(DNS, 30)], true);
      const none = { protocol: TCP, payload: new Uint8Array(0) };
      lab.send(ask({ ...none, tcpFlags: SYN }));
      expect(lab.deliver(answer({ ...none, tcpFlags: SYN | ACK }), UPLINK)).toMatchObject({ steered: false });
      expect(lab.send(ask({ protocol: TCP, tcpFlags: ACK }))).toMatchObject({ passed: true, steered: false });
      expect(lab.deliver(answer({ ...none, tcpFlags: ACK }), UPLINK)).toMatchObject({ steered: false });
      expect(lab.deliver(answer({ protocol: TCP, tcpFlags: ACK }), UPLINK)).toMatchObject({ steered: true });
    });

    it('in fragments go on unread', () => {
      guarded([allow(DNS, 30)], true);
      lab.send(ask());
      const fragment = { offset: 0, more: true, id: 9 };
      expect(lab.deliver(answer({ fragment }), UPLINK)).toMatchObject({ passed: true, steered: false });
    });

    it('go on unread when no agent has been heard of for a while, or it said good-bye', () => {
      guarded([allow(DNS, 30)], true);
      lab.send(ask());
      naming.alive(TAP, -100);
      expect(lab.deliver(answer(), UPLINK)).toMatchObject({ passed: true, steered: false });
      naming.alive(TAP, 60_000);
      expect(lab.deliver(answer(), UPLINK)).toMatchObject({ steered: true });
      naming.gone();
      expect(lab.deliver(answer(), UPLINK)).toMatchObject({ passed: true, steered: false });
    });
  });

  describe('queries under rules', () => {
    it('are put aside, the first and each, and go on when they come back', async () => {
      guarded([rules(DNS)], true);
      expect(lab.send(ask())).toMatchObject({ steered: true });
      const [event] = await lab.events(1);
      expect(event).toMatchObject({ kind: 'new' });
      expect(putBack(ask())).toBe(7);
      expect(lab.send(ask(), LOOKED_AT)).toMatchObject({ passed: true, steered: false });
      expect(lab.flows()[0]?.packets).toEqual([1n, 0n]);
      expect(lab.send(ask())).toMatchObject({ steered: true });
      expect(lab.send(ask(), LOOKED_AT)).toMatchObject({ passed: true, steered: false });
      expect(lab.flows()[0]?.packets).toEqual([2n, 0n]);
      expect(lab.statistic('STATISTIC_DNS_QUERIES')).toBe(2);
    });

    it('their answers wait whatever the port is', () => {
      guarded([rules(DNS)], true);
      lab.send(ask({ destinationPort: 1053 }));
      expect(lab.deliver(answer({ sourcePort: 1053 }), UPLINK)).toMatchObject({ steered: true });
    });

    it('over TCP: what opens passes, what asks waits', () => {
      guarded([rules(DNS)], true);
      const none = { protocol: TCP, payload: new Uint8Array(0) };
      expect(lab.send(ask({ ...none, tcpFlags: SYN }))).toMatchObject({ passed: true, steered: false });
      lab.deliver(answer({ ...none, tcpFlags: SYN | ACK }), UPLINK);
      expect(lab.send(ask({ ...none, tcpFlags: ACK }))).toMatchObject({ passed: true, steered: false });
      expect(lab.send(ask({ protocol: TCP, tcpFlags: ACK }))).toMatchObject({ steered: true });
      expect(lab.send(ask({ protocol: TCP, tcpFlags: SYN, sourcePort: 40001 }))).toMatchObject({ steered: true });
    });

    it('are refused by name without an agent, and so are fragments', async () => {
      guarded([rules(DNS)], true);
      naming.alive(TAP, -100);
      expect(lab.send(ask())).toMatchObject({ passed: false });
      expect(lab.send(ask())).toMatchObject({ passed: false });
      const events = (await lab.events(3)).filter(({ kind }) => kind === 'drop');
      expect(events.map((event) => 'reason' in event && event.reason)).toEqual(Array(2).fill('SOCKET_LOOKUP_FAILED'));
      naming.alive(TAP, 60_000);
      expect(lab.send(ask({ fragment: { offset: 0, more: true, id: 9 } }))).toMatchObject({ passed: false });
      expect(lab.counted('IP_FRAGMENTATION_NOT_SUPPORTED')).toBe(1);
    });

    it('go on unread where enforcement is off', () => {
      guarded([rules(DNS)], true);
      lab.map('bypass').update(new Uint8Array(4), new Uint8Array(4));
      expect(lab.send(ask())).toMatchObject({ passed: true, steered: false });
    });
  });

  it('what the agent writes and belongs to no flow goes nowhere', () => {
    expect(putBack(answer())).toBe(2);
    expect(lab.statistic('STATISTIC_DNS_LOST')).toBe(1);
  });
});
