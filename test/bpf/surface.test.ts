/** What policies can name, as the kernel looks it up: ranges of ports, ICMP types, ranges of addresses, nodes; and what refuses. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ReservedIdentity } from '../../control-plane/generated/bpf.ts';
import { MAPPED_BITS } from '../../control-plane/model/address.ts';
import type { TableEntry } from '../../control-plane/model/snapshot.ts';
import { allow, closedTable, HERE, Lab, OPEN } from './lab.ts';
import { ACK, frame, ICMP, ICMPV6, ipPacket, opening, type PacketSpec, TCP, UDP } from './packets.ts';

const ME = 500;
const WORLD = 2;
const SCTP = 132;
/** Of addresses outside, as the compiler numbers them. */
const FIRST_RANGE = ReservedIdentity.IDENTITY_LOCAL_FIRST;
const RULE = 30;
const DENY_RULE = 31;
/** Hubble's policy_match_type. */
const MATCH = { L3_ONLY: 1, L3_L4: 2, L4_ONLY: 3, ALL: 4, L3_PROTO: 5, PROTO_ONLY: 6 } as const;
const ADDRESSES = {
  v4: {
    me: '10.0.0.1',
    far: '192.0.2.9',
    wide: ['192.0.0.0', MAPPED_BITS + 8],
    narrow: ['192.0.2.0', MAPPED_BITS + 24],
  },
  v6: { me: 'fd00::1', far: '2001:db8::9', wide: ['2001::', 16], narrow: ['2001:db8::', 32] },
} as const;

let lab: Lab;
beforeEach(() => {
  lab = new Lab();
});
afterEach(() => lab[Symbol.dispose]());

function guarded(direction: 'egress' | 'ingress', entries: readonly TableEntry[]): void {
  lab.install([OPEN, closedTable('guarded', entries)]);
  lab.endpoint({ ifindex: HERE, identity: ME, addresses: ['10.0.0.1', 'fd00::1'], [direction]: 'guarded' });
}

function ports(protocol: number, port: number, prefix: number, identity = WORLD): TableEntry {
  return { ...allow(identity, RULE, { protocol, port }), prefix };
}

function deny(entry: TableEntry): TableEntry {
  return { ...entry, verdict: 'deny', precedence: 255, rule: DENY_RULE };
}

describe.each(['v4', 'v6'] as const)('%s', (family) => {
  const { me, far, wide, narrow } = ADDRESSES[family];
  const protocol = family === 'v4' ? ICMP : ICMPV6;
  const echo = family === 'v4' ? { request: 8, answer: 0 } : { request: 128, answer: 129 };
  const out = opening(me, far);
  const into = (more: Partial<PacketSpec> = {}): PacketSpec => out({ source: far, destination: me, ...more });
  const icmp = (type: number, id: number): PacketSpec => out({ protocol, icmpType: type, icmpId: id });

  describe('a range of ports', () => {
    it.each([
      [17, 32768, 65535],
      [20, 8192, 12287],
      [24, 8192, 8447],
      [30, 8080, 8083],
      [31, 8080, 8081],
    ])('of prefix %i is %i to %i, in each protocol of its own', (prefix, first, last) => {
      guarded('egress', [ports(TCP, first, prefix), ports(SCTP, first, prefix)]);
      const passes = (port: number, of: number): boolean =>
        lab.send(out({ protocol: of, sourcePort: 1000 + (port % 1000), destinationPort: port })).passed;
      for (const of of [TCP, SCTP]) {
        expect([first, last, first + ((last - first) >> 1)].map((port) => passes(port, of))).toEqual([
          true,
          true,
          true,
        ]);
        expect(passes(first - 1, of)).toBe(false);
        if (last < 65535) expect(passes(last + 1, of)).toBe(false);
      }
      expect(passes(first, UDP)).toBe(false);
    });

    it('leaves a part of it to the narrower one inside', async () => {
      guarded('egress', [
        ports(TCP, 8080, 28),
        deny({ ...ports(TCP, 8084, 31) }),
        { ...ports(TCP, 8085, 32), rule: 33 },
      ]);
      const passed = [8083, 8084, 8085, 8086].map((port) => lab.send(out({ destinationPort: port })).passed);
      expect(passed).toEqual([true, false, true, true]);
      const events = await lab.events(4);
      expect(events.map(({ egress }) => [egress.rule, egress.match])).toEqual([
        [RULE, MATCH.L3_L4],
        [DENY_RULE, MATCH.L3_L4],
        [33, MATCH.L3_L4],
        [RULE, MATCH.L3_L4],
      ]);
    });

    it('for every peer is told as one of ports alone', async () => {
      guarded('egress', [ports(TCP, 80, 28, 0)]);
      expect(lab.send(out()).passed).toBe(true);
      expect((await lab.events(1))[0]?.egress).toMatchObject({ rule: RULE, match: MATCH.L4_ONLY });
    });
  });

  describe('ICMP', () => {
    it('is admitted by its type, zero being one, and neither by the other family nor by ports', () => {
      guarded('egress', [ports(protocol, 0, 32), ports(protocol, 13, 32), ports(TCP, echo.request, 32)]);
      const passed = [0, 13, 14, echo.request].map((type) => lab.send(icmp(type, 7)).passed);
      expect(passed).toEqual([true, true, false, false]);
      const other = { ...icmp(13, 7), protocol: protocol === ICMP ? ICMPV6 : ICMP };
      expect(lab.send(other).passed).toBe(false);
    });

    it('is refused by its type where everything else passes', async () => {
      guarded('egress', [allow(WORLD, RULE), deny(ports(protocol, echo.request, 32, 0))]);
      expect(lab.send(icmp(13, 7)).passed).toBe(true);
      expect(lab.send(icmp(echo.request, 7)).passed).toBe(false);
      expect((await lab.events(2))[1]).toMatchObject({ reason: 'POLICY_DENY', egress: { rule: DENY_RULE } });
    });

    it('cannot ask in a flow that it began by answering, nor the other end in one that it was asked in', () => {
      guarded('egress', [allow(WORLD, RULE), deny(ports(protocol, echo.request, 32, 0))]);
      expect(lab.send(icmp(echo.answer, 7)).passed).toBe(true);
      expect(lab.send(icmp(echo.request, 7)).passed).toBe(false);
      expect(lab.deliver(into({ protocol, icmpType: echo.request, icmpId: 9 })).passed).toBe(true);
      expect(lab.send(icmp(echo.answer, 9)).passed).toBe(true);
      expect(lab.send(icmp(echo.request, 9)).passed).toBe(false);
    });

    it('errors about an echo come to who asked', () => {
      guarded('ingress', []);
      const unreachable = (inner: PacketSpec): PacketSpec =>
        into({ protocol, icmpType: family === 'v4' ? 3 : 1, payload: ipPacket(inner) });
      expect(lab.send(icmp(echo.request, 7)).passed).toBe(true);
      expect(lab.deliver(unreachable(icmp(echo.request, 7))).passed).toBe(true);
      expect(lab.deliver(unreachable(icmp(echo.request, 8))).passed).toBe(false);
      expect(lab.deliver(unreachable(icmp(echo.answer, 7))).passed).toBe(false);
    });
  });

  describe('a refusal', () => {
    const cases: readonly [string, readonly TableEntry[]][] = [
      ['of the peer over an admission of the port', [deny(allow(WORLD, 0)), ports(TCP, 80, 32, 0)]],
      ['of the port over an admission of the peer', [allow(WORLD, RULE), deny(ports(TCP, 80, 32, 0))]],
      ['of everybody over an admission of peer and port', [ports(TCP, 80, 32), deny(allow(0, 0))]],
      ['of a range over an admission of the port in it', [ports(TCP, 80, 32), deny(ports(TCP, 64, 26, 0))]],
      [
        'over a redirect',
        [{ ...ports(TCP, 80, 32), verdict: 'redirect', precedence: 154, ruleset: 20 }, deny(allow(0, 0))],
      ],
    ];
    it.each(cases)('%s counts', async (_, entries) => {
      guarded('egress', entries);
      expect(lab.send(out()).passed).toBe(false);
      expect((await lab.events(1))[0]).toMatchObject({
        reason: 'POLICY_DENY',
        egress: { rule: DENY_RULE, verdict: 'deny' },
      });
    });

    it('of the host beats that the node reaches its workloads', () => {
      lab.identity(far, 1, true);
      guarded('ingress', [deny(allow(1, 0)), { ...allow(0, RULE), precedence: 254 }]);
      expect(lab.deliver(into(), 0).passed).toBe(false);
    });
  });

  describe('a range of addresses', () => {
    const [outer, inner] = [FIRST_RANGE, FIRST_RANGE + 1];
    const range = ([address, bits]: readonly [string, number], identity: number): void =>
      lab.prefix(address, bits, identity);
    it('has its own identity, and the longest one counts', async () => {
      range(wide, outer);
      guarded('egress', [allow(outer, RULE)]);
      expect(lab.send(out()).passed).toBe(true);
      range(narrow, inner);
      expect(lab.send(out({ sourcePort: 40001 })).passed).toBe(false);
      const events = await lab.events(2);
      expect(events.map(({ destinationIdentity }) => destinationIdentity)).toEqual([outer, inner]);
    });

    it('is that of senders, too', async () => {
      range(narrow, inner);
      guarded('ingress', [ports(TCP, 80, 32, inner)]);
      expect(lab.deliver(into()).passed).toBe(true);
      expect((await lab.events(1))[0]).toMatchObject({ sourceIdentity: inner, ingress: { match: MATCH.L3_L4 } });
    });

    it('has no pods and no nodes in it', async () => {
      range(narrow, inner);
      lab.identity(far, 600);
      guarded('egress', [allow(inner, RULE)]);
      expect(lab.send(out()).passed).toBe(false);
      lab.identity(far, ReservedIdentity.IDENTITY_REMOTE_NODE);
      expect(lab.send(out({ sourcePort: 40001 })).passed).toBe(false);
      const events = await lab.events(2);
      expect(events.map(({ destinationIdentity }) => destinationIdentity)).toEqual([600, 6]);
    });

    it('has nothing to prove', () => {
      range(narrow, inner);
      guarded('egress', [
        { ...allow(inner, RULE), auth: 'inherit' },
        { ...allow(0, 34), auth: 'required' },
      ]);
      expect(lab.send(out())).toMatchObject({ passed: true, steered: false });
      guarded('egress', [{ ...allow(0, 34), auth: 'required' }]);
      expect(lab.send(out({ sourcePort: 40001 }))).toMatchObject({ passed: true, steered: false });
    });
  });

  it('knows the other nodes and the API server from the world', async () => {
    const { IDENTITY_REMOTE_NODE: node, IDENTITY_KUBE_APISERVER: server } = ReservedIdentity;
    guarded('egress', [allow(node, RULE), { ...allow(server, 35), rule: 35 }]);
    expect(lab.send(out()).passed).toBe(false);
    lab.identity(far, node);
    expect(lab.send(out({ sourcePort: 40001 })).passed).toBe(true);
    lab.identity(far, server);
    expect(lab.send(out({ sourcePort: 40002 })).passed).toBe(true);
    const events = await lab.events(3);
    expect(events.map(({ egress }) => egress.rule)).toEqual([100, RULE, 35]);
  });

  it('reads the ports of SCTP, and takes answers for answers', async () => {
    guarded('egress', [ports(SCTP, 3868, 32)]);
    expect(lab.send(out({ protocol: SCTP, destinationPort: 3868 })).passed).toBe(true);
    expect(lab.send(out({ protocol: SCTP, destinationPort: 3869 })).passed).toBe(false);
    guarded('ingress', []);
    expect(lab.deliver(into({ protocol: SCTP, sourcePort: 3868, destinationPort: 40000 })).passed).toBe(true);
    expect((await lab.events(2))[0]).toMatchObject({ protocol: SCTP, destinationPort: 3868, egress: { rule: RULE } });
  });

  it('refuses what DNS rules would have to look into while no agent does, and names it', async () => {
    guarded('egress', [{ ...ports(UDP, 53, 32), verdict: 'dns', precedence: 134, ruleset: 20 }]);
    expect(lab.send(out({ protocol: UDP, destinationPort: 53 })).passed).toBe(false);
    expect((await lab.events(2))[1]).toMatchObject({
      reason: 'SOCKET_LOOKUP_FAILED',
      egress: { verdict: 'dns', rule: RULE },
    });
  });
});

it('judges the answers of a live flow by what was asked, also when a policy changes', () => {
  guarded('ingress', [ports(ICMP, 8, 32)]);
  const asked: PacketSpec = { source: '192.0.2.9', destination: '10.0.0.1', protocol: ICMP, icmpType: 8, icmpId: 5 };
  expect(lab.deliver(asked).passed).toBe(true);
  guarded('ingress', [ports(ICMP, 8, 32), ports(TCP, 80, 32)]);
  const answer = frame({ ...asked, source: '10.0.0.1', destination: '192.0.2.9', icmpType: 0, tcpFlags: ACK });
  expect(lab.run('from_workload', answer).passed).toBe(true);
  expect(lab.flows()).toHaveLength(1);
});
