/** What the programs do with single packets: whose they are, what they are, and the corners of the protocols. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { allow, closedTable, HERE, Lab, OPEN } from './lab.ts';
import {
  ACK,
  arpFrame,
  FIN,
  frame,
  ICMP,
  ICMPV6,
  ipPacket,
  opening,
  type PacketSpec,
  RST,
  SYN,
  TCP,
  UDP,
  WORKLOAD_MAC,
} from './packets.ts';

const ME = 500;
const PEER = 600;
const ADDRESSES = {
  v4: { me: '10.0.0.1', peer: '10.0.0.2', far: '192.0.2.9' },
  v6: { me: 'fd00::1', peer: 'fd00::2', far: '2001:db8::9' },
} as const;

let lab: Lab;
beforeEach(() => {
  lab = new Lab();
  lab.install([OPEN]);
  lab.endpoint({ ifindex: HERE, identity: ME, addresses: ['10.0.0.1', 'fd00::1'] });
});
afterEach(() => lab[Symbol.dispose]());

describe.each(['v4', 'v6'] as const)('%s', (family) => {
  const { me, peer, far } = ADDRESSES[family];
  const echo =
    family === 'v4'
      ? { protocol: ICMP, request: 8, reply: 0, unreachable: 3 }
      : { protocol: ICMPV6, request: 128, reply: 129, unreachable: 1 };
  const syn = opening(me, far);

  it('lets a workload speak with its own address and reports the flow once', async () => {
    expect(lab.send(syn()).passed).toBe(true);
    expect(lab.send(syn()).passed).toBe(true);
    const events = await lab.events(1);
    expect(events).toHaveLength(1);
    expect(events[0]).toMatchObject({
      kind: 'new',
      sourceIdentity: ME,
      destinationIdentity: 2,
      sourcePort: 40000,
      destinationPort: 80,
    });
  });

  it('drops a source address that is not the workload’s (132)', async () => {
    expect(lab.send(syn({ source: peer })).passed).toBe(false);
    expect((await lab.events(1))[0]).toMatchObject({ kind: 'drop', reason: 'INVALID_SOURCE_IP' });
    expect(lab.counted('INVALID_SOURCE_IP')).toBe(1);
  });

  it('drops a source MAC that is not the workload’s (132)', () => {
    expect(lab.send(syn({ sourceMac: Uint8Array.of(2, 9, 9, 9, 9, 9) })).passed).toBe(false);
    expect(lab.counted('INVALID_SOURCE_IP')).toBe(1);
  });

  it('drops what a bridge floods to a workload that is not the destination, without an event', () => {
    expect(lab.deliver({ ...syn(), source: far, destination: peer }).passed).toBe(false);
    expect(lab.counted('UNKNOWN_L3_TARGET_ADDRESS')).toBe(1);
  });

  it('drops a local workload’s address that comes from somewhere else (132), also into a live flow', async () => {
    lab.endpoint({ ifindex: 77, identity: PEER, addresses: [peer] });
    const packet = syn({ source: peer, destination: me });
    expect(lab.deliver(packet, 77).passed).toBe(true);
    expect(lab.deliver(packet, 99).passed).toBe(false);
    expect(lab.deliver({ ...packet, tcpFlags: ACK }, 99).passed).toBe(false);
    expect(lab.deliver({ ...packet, tcpFlags: ACK }, 77).passed).toBe(true);
    expect(lab.counted('INVALID_SOURCE_IP')).toBe(2);
  });

  it('accepts a local workload’s packets through the bridge that its veth is a port of', () => {
    lab.endpoint({ ifindex: 77, identity: PEER, addresses: [peer], master: 55 });
    expect(lab.deliver(syn({ source: peer, destination: me }), 55).passed).toBe(true);
    expect(lab.deliver(syn({ source: peer, destination: me, sourcePort: 2 }), 56).passed).toBe(false);
  });

  it('passes answers of a flow and follows it to its close', async () => {
    lab.send(syn());
    const back = { source: far, destination: me, protocol: TCP, sourcePort: 80, destinationPort: 40000 };
    expect(lab.deliver({ ...back, tcpFlags: SYN | ACK }).passed).toBe(true);
    expect(lab.send(syn({ tcpFlags: ACK, payload: new Uint8Array(100) })).passed).toBe(true);
    expect(lab.deliver({ ...back, tcpFlags: FIN | ACK }).passed).toBe(true);
    expect(lab.send(syn({ tcpFlags: FIN | ACK })).passed).toBe(true);
    const [opened, closed] = await lab.events(2);
    expect(opened?.kind).toBe('new');
    const header = family === 'v4' ? 40 : 60;
    expect(closed).toMatchObject({
      kind: 'close',
      sourcePort: 40000,
      packets: [3, 2],
      bytes: [3 * header + 100, 2 * header],
    });
    expect(closed?.tcpFlags).toBe(SYN | ACK | FIN);
  });

  it('decides again for a SYN of the responder and for a SYN after the end', async () => {
    lab.install([OPEN, closedTable('in')]);
    lab.endpoint({ ifindex: HERE, identity: ME, addresses: [me], ingress: 'in' });
    lab.send(syn());
    const back = { source: far, destination: me, protocol: TCP, sourcePort: 80, destinationPort: 40000 };
    expect(lab.deliver({ ...back, tcpFlags: SYN | ACK }).passed).toBe(true);
    expect(lab.deliver({ ...back, tcpFlags: SYN }).passed).toBe(false);
    expect(lab.deliver({ ...back, tcpFlags: ACK }).passed).toBe(true);
    lab.send(syn({ tcpFlags: RST }));
    await lab.events(3);
    expect(lab.send(syn()).passed).toBe(true);
    expect((await lab.events(1))[0]).toMatchObject({ kind: 'new', adopted: false });
  });

  it('adopts a connection it meets half-way, in the orientation that policy admits', async () => {
    lab.install([OPEN, closedTable('in', [allow(2, 20, { protocol: TCP, port: 80 })])]);
    lab.endpoint({ ifindex: HERE, identity: ME, addresses: [me], ingress: 'in' });
    expect(lab.send(syn({ sourcePort: 80, destinationPort: 50000, tcpFlags: ACK })).passed).toBe(true);
    expect((await lab.events(1))[0]).toMatchObject({
      kind: 'new',
      adopted: true,
      sourcePort: 50000,
      destinationPort: 80,
      ingress: { rule: 20 },
    });
  });

  it('turns the orientation of a mid-stream segment round only where its ports do not tell', () => {
    lab.install([OPEN, closedTable('in')]);
    lab.endpoint({ ifindex: HERE, identity: ME, addresses: [me], ingress: 'in' });
    const received = { source: far, destination: me, tcpFlags: ACK };
    expect(lab.deliver(syn({ ...received, sourcePort: 50000, destinationPort: 80 })).passed).toBe(false);
    expect(lab.flows()).toHaveLength(0);
    expect(lab.deliver(syn({ ...received, sourcePort: 9000, destinationPort: 9100 })).passed).toBe(true);
    expect(lab.deliver(syn({ ...received, sourcePort: 50000, destinationPort: 40000 })).passed).toBe(true);
    expect(lab.flows()).toHaveLength(2);
  });

  it('refuses a mid-stream segment that no orientation admits', () => {
    lab.install([OPEN, closedTable('in'), closedTable('out')]);
    lab.endpoint({ ifindex: HERE, identity: ME, addresses: [me], ingress: 'in', egress: 'out' });
    expect(lab.deliver(syn({ source: far, destination: me, tcpFlags: ACK })).passed).toBe(false);
    expect(lab.flows()).toHaveLength(0);
  });

  it('treats an echo and its answer as one flow, named by the request', async () => {
    lab.install([OPEN, closedTable('out', [allow(2, 30)])]);
    lab.endpoint({ ifindex: HERE, identity: ME, addresses: [me], egress: 'out' });
    expect(
      lab.send({ source: me, destination: far, protocol: echo.protocol, icmpType: echo.request, icmpId: 3 }).passed,
    ).toBe(true);
    expect(
      lab.deliver({ source: far, destination: me, protocol: echo.protocol, icmpType: echo.reply, icmpId: 3 }).passed,
    ).toBe(true);
    const events = await lab.events(1);
    expect(events).toHaveLength(1);
    expect(events[0]).toMatchObject({ icmpType: echo.request, egress: { rule: 30 } });
    expect(lab.flows()).toHaveLength(1);
  });

  it('passes an ICMP error about a live flow and refuses one about nothing', () => {
    lab.install([OPEN, closedTable('in')]);
    lab.endpoint({ ifindex: HERE, identity: ME, addresses: [me], ingress: 'in' });
    const datagram: PacketSpec = {
      source: me,
      destination: far,
      protocol: UDP,
      sourcePort: 1000,
      destinationPort: 2000,
    };
    lab.send(datagram);
    const router = family === 'v4' ? '198.51.100.1' : '2001:db8::1';
    const error = (inner: PacketSpec): PacketSpec => ({
      source: router,
      destination: me,
      protocol: echo.protocol,
      icmpType: echo.unreachable,
      icmpCode: 3,
      payload: ipPacket(inner),
    });
    expect(lab.deliver(error(datagram)).passed).toBe(true);
    expect(lab.deliver(error({ ...datagram, destinationPort: 2001 })).passed).toBe(false);
  });

  it('lets the first fragment decide and drops the rest without it (157)', () => {
    const first: PacketSpec = {
      source: me,
      destination: far,
      protocol: UDP,
      sourcePort: 5,
      destinationPort: 6,
      payload: new Uint8Array(16),
      fragment: { offset: 0, more: true, id: 9 },
    };
    const rest = { ...first, fragment: { offset: 24, more: false, id: 9 }, l4: new Uint8Array(40) };
    expect(lab.send(rest).passed).toBe(false);
    expect(lab.counted('IP_FRAGMENTATION_NOT_SUPPORTED')).toBe(1);
    expect(lab.send(first).passed).toBe(true);
    expect(lab.send(rest).passed).toBe(true);
    expect(lab.send({ ...rest, fragment: { offset: 24, more: false, id: 10 } }).passed).toBe(false);
    expect(lab.flows()).toHaveLength(1);
  });

  it('drops a rest whose first fragment was refused', () => {
    lab.install([OPEN, closedTable('out')]);
    lab.endpoint({ ifindex: HERE, identity: ME, addresses: [me], egress: 'out' });
    const first: PacketSpec = {
      source: me,
      destination: far,
      protocol: UDP,
      sourcePort: 5,
      destinationPort: 6,
      payload: new Uint8Array(16),
      fragment: { offset: 0, more: true, id: 9 },
    };
    expect(lab.send(first).passed).toBe(false);
    expect(lab.send({ ...first, fragment: { offset: 24, more: false, id: 9 }, l4: new Uint8Array(8) }).passed).toBe(
      false,
    );
  });

  it('drops a fragment that would overwrite the TCP header, and a first one too small to hold it (135)', () => {
    const tiny: PacketSpec = { ...syn(), fragment: { offset: 0, more: true, id: 4 }, l4: new Uint8Array(16) };
    expect(lab.send(tiny).passed).toBe(false);
    expect(lab.send(syn({ fragment: { offset: 0, more: true, id: 5 } })).passed).toBe(true);
    expect(lab.send(syn({ fragment: { offset: 8, more: false, id: 5 } })).passed).toBe(false);
    expect(lab.counted('CT_TRUNCATED_OR_INVALID_HEADER')).toBe(2);
  });

  it('forgets a flow whose time is over', async () => {
    lab.send(syn());
    const flows = lab.map('flows');
    const { keys, values } = flows.dump();
    const stale = values.slice();
    new DataView(stale.buffer).setBigUint64(8, 1n, true);
    flows.update(keys, stale);
    lab.send(syn({ tcpFlags: ACK }));
    const events = await lab.events(2);
    expect(events.map((e) => e.adopted)).toEqual([false, true]);
  });

  it('limits the unanswered flows of one workload (198) and gives the token back with the answer', () => {
    // One comes back by itself in 20 s: not while this runs.
    lab[Symbol.dispose]();
    lab = new Lab({ flowQuota: 3 });
    lab.install([OPEN]);
    lab.startTokens(3);
    lab.endpoint({ ifindex: HERE, identity: ME, addresses: [me] });
    const ports = [1, 2, 3, 4].map((port) => lab.send(syn({ sourcePort: port })).passed);
    expect(ports).toEqual([true, true, true, false]);
    expect(lab.counted('DROP_RATE_LIMITED')).toBe(1);
    lab.deliver({
      source: far,
      destination: me,
      protocol: TCP,
      sourcePort: 80,
      destinationPort: 1,
      tcpFlags: SYN | ACK,
    });
    expect(lab.send(syn({ sourcePort: 5 })).passed).toBe(true);
  });

  it('refuses an interface that has no endpoint yet (203) and a table that is not there', () => {
    lab.map('endpoints').delete(Uint8Array.of(1, 0, 0, 0));
    expect(lab.send(syn()).passed).toBe(false);
    expect(lab.counted('DROP_EP_NOT_READY')).toBe(1);
    lab.endpoint({ ifindex: HERE, identity: ME, addresses: [me], egress: 'nowhere' });
    expect(lab.send(syn()).passed).toBe(false);
    expect(lab.counted('DROP_EP_NOT_READY')).toBe(2);
  });
});

describe('host and world', () => {
  const inbound: PacketSpec = {
    source: '172.16.0.1',
    destination: '10.0.0.1',
    protocol: TCP,
    sourcePort: 40000,
    destinationPort: 80,
    tcpFlags: SYN,
  };

  it('takes a packet for the host’s only when this node made it', async () => {
    lab.identity('172.16.0.1', 1, true);
    lab.install([OPEN, closedTable('in', [allow(1, 1)])]);
    lab.endpoint({ ifindex: HERE, identity: ME, addresses: ['10.0.0.1'], ingress: 'in' });
    expect(lab.deliver(inbound, 0).passed).toBe(true);
    // The same address on a forwarded packet is somebody behind a masquerade.
    expect(lab.deliver({ ...inbound, sourcePort: 40001 }, 99).passed).toBe(false);
    const events = await lab.events(2);
    expect(events.map((e) => e.sourceIdentity)).toEqual([1, 2]);
  });

  it('does not turn a masqueraded client into the host when a policy is judged again on the answer', () => {
    lab.identity('172.16.0.1', 1, true);
    lab.install([OPEN, closedTable('in', [allow(2, 20), allow(1, 1)])]);
    lab.endpoint({ ifindex: HERE, identity: ME, addresses: ['10.0.0.1'], ingress: 'in' });
    expect(lab.deliver(inbound, 99).passed).toBe(true);
    lab.install([OPEN, closedTable('in', [allow(1, 1)])]);
    lab.endpoint({ ifindex: HERE, identity: ME, addresses: ['10.0.0.1'], ingress: 'in' });
    const answer = lab.send({
      source: '10.0.0.1',
      destination: '172.16.0.1',
      protocol: TCP,
      sourcePort: 80,
      destinationPort: 40000,
      tcpFlags: SYN | ACK,
    });
    expect(lab.counted('POLICY_DENIED')).toBe(1);
    expect(answer.packet[14 + 20 + 13]).toBe(RST);
  });
});

describe('the link itself', () => {
  it('passes honest ARP and drops a sender that is not the workload', () => {
    expect(lab.run('from_workload', arpFrame(WORKLOAD_MAC, '10.0.0.1', '10.0.0.9')).passed).toBe(true);
    expect(lab.run('from_workload', arpFrame(WORKLOAD_MAC, '0.0.0.0', '10.0.0.1')).passed).toBe(true);
    expect(lab.run('from_workload', arpFrame(WORKLOAD_MAC, '10.0.0.7', '10.0.0.9')).passed).toBe(false);
    expect(lab.run('from_workload', arpFrame(Uint8Array.of(2, 8, 8, 8, 8, 8), '10.0.0.1', '10.0.0.9', 2)).passed).toBe(
      false,
    );
  });

  const nd = (type: number, target: string, more: Partial<PacketSpec> = {}): PacketSpec => ({
    source: 'fe80::1',
    destination: 'ff02::1',
    protocol: ICMPV6,
    hopLimit: 255,
    l4: Uint8Array.from([
      type,
      0,
      0,
      0,
      0,
      0,
      0,
      0,
      ...ipPacket({ source: target, destination: target, protocol: 59 }).slice(8, 24),
    ]),
    ...more,
  });

  it('passes neighbour discovery about itself and drops what speaks for others', () => {
    expect(lab.send(nd(135, 'fd00::9')).passed).toBe(true);
    expect(lab.send(nd(135, 'fd00::1', { source: '::' })).passed).toBe(true);
    expect(lab.send(nd(136, 'fd00::1')).passed).toBe(true);
    expect(lab.send(nd(136, 'fd00::9')).passed).toBe(false);
    expect(lab.send(nd(136, 'fd00::1', { hopLimit: 64 })).passed).toBe(false);
    expect(lab.flows()).toHaveLength(0);
  });

  it('drops router advertisements and redirects of a workload (176)', () => {
    expect(lab.send(nd(134, 'fd00::1')).passed).toBe(false);
    expect(lab.send(nd(137, 'fd00::1')).passed).toBe(false);
    expect(lab.counted('FORBIDDEN_ICMPV6_MESSAGE')).toBe(2);
  });

  it('passes a DHCP client that has no address yet, and nothing else from 0.0.0.0', () => {
    const discover: PacketSpec = {
      source: '0.0.0.0',
      destination: '255.255.255.255',
      protocol: UDP,
      sourcePort: 68,
      destinationPort: 67,
    };
    expect(lab.send(discover).passed).toBe(true);
    expect(lab.send({ ...discover, destinationPort: 53 }).passed).toBe(false);
    expect(lab.send({ ...discover, destination: '10.0.0.9' }).passed).toBe(false);
  });

  it('drops frames that are neither IP nor ARP (166)', () => {
    expect(lab.send({ source: '10.0.0.1', destination: '10.0.0.2', protocol: UDP, ethertype: 0x88a8 }).passed).toBe(
      false,
    );
    expect(lab.counted('UNSUPPORTED_L2_PROTOCOL')).toBe(1);
  });
});

describe('headers', () => {
  const base: PacketSpec = {
    source: '10.0.0.1',
    destination: '192.0.2.9',
    protocol: TCP,
    sourcePort: 1,
    destinationPort: 80,
  };
  const base6: PacketSpec = { ...base, source: 'fd00::1', destination: '2001:db8::9' };

  it('finds the ports behind IPv4 options and refuses source routes', async () => {
    expect(lab.send({ ...base, options: Uint8Array.of(1, 1, 1, 0) }).passed).toBe(true);
    expect((await lab.events(1))[0]).toMatchObject({ destinationPort: 80 });
    expect(lab.send({ ...base, options: Uint8Array.of(131, 4, 4, 0) }).passed).toBe(false);
    expect(lab.send({ ...base, options: Uint8Array.of(7, 0, 0, 0) }).passed).toBe(false);
  });

  it('finds the ports behind IPv6 extension headers, up to a bound (156)', async () => {
    const destinationOptions = [60, Uint8Array.of(0, 1, 4, 0, 0, 0, 0)] as const;
    expect(lab.send({ ...base6, extensions: [destinationOptions, destinationOptions] }).passed).toBe(true);
    expect((await lab.events(1))[0]).toMatchObject({ protocol: TCP, destinationPort: 80 });
    expect(lab.send({ ...base6, sourcePort: 2, extensions: Array(9).fill(destinationOptions) }).passed).toBe(false);
    expect(lab.counted('INVALID_IPV6_EXTENSION_HEADER')).toBe(1);
  });

  it('drops lengths that lie (134) and headers that are cut (135)', () => {
    const whole = frame({ ...base, protocol: UDP });
    const longer = whole.slice();
    longer[17] = 200;
    expect(lab.run('from_workload', longer).passed).toBe(false);
    expect(lab.counted('INVALID_PACKET_DROPPED')).toBe(1);
    expect(lab.send({ ...base, l4: new Uint8Array(12) }).passed).toBe(false);
    expect(lab.counted('CT_TRUNCATED_OR_INVALID_HEADER')).toBe(1);
  });
});

describe('bypass', () => {
  it('lets refused flows pass while it is on, says so, and refuses again when it is off', async () => {
    lab.install([OPEN, closedTable('out')]);
    lab.endpoint({ ifindex: HERE, identity: ME, addresses: ['10.0.0.1'], egress: 'out', namespaceId: 42 });
    const packet: PacketSpec = {
      source: '10.0.0.1',
      destination: '192.0.2.9',
      protocol: UDP,
      sourcePort: 1,
      destinationPort: 2,
    };
    expect(lab.send(packet).passed).toBe(false);
    const bypass = lab.map('bypass');
    bypass.update(Uint8Array.of(42, 0, 0, 0), Uint8Array.of(1, 0, 0, 0));
    expect(lab.send(packet).passed).toBe(true);
    expect(lab.send(packet).passed).toBe(true);
    const events = await lab.events(2);
    expect(events[1]).toMatchObject({ kind: 'new', bypassed: true, egress: { rule: 2 } });
    bypass.delete(Uint8Array.of(42, 0, 0, 0));
    expect(lab.send(packet).passed).toBe(false);
  });
});
