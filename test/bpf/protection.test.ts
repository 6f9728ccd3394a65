/** Authentication and encryption, packet by packet: what is held, what comes back, what must have come through the tunnel. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Protection, type Proven } from '../../control-plane/datapath/protection.ts';
import { Security } from '../../control-plane/generated/bpf.ts';
import type { TableEntry } from '../../control-plane/model/snapshot.ts';
import { allow, closedTable, HERE, Lab, OPEN } from './lab.ts';
import { ACK, frame, type PacketSpec, SYN, TCP, UDP } from './packets.ts';

const ME = 500;
const PEER = 600;
const NODE = 7;
const WORLD_ADDRESS = '192.0.2.9';
const UPLINK = 99;
const TUNNEL = 50;
const HOLD = 51;
/** Mark of what was held and goes on. */
const RELEASED = 0x700;
const PLAIN = 0;
const SECURED = Security.SECURITY_AUTHENTICATED | Security.SECURITY_TUNNEL_IN | Security.SECURITY_TUNNEL_OUT;
const ADDRESSES = {
  v4: { me: '10.0.0.1', peer: '10.1.0.2', neighbour: '10.0.0.3' },
  v6: { me: 'fd00::1', peer: 'fd01::2', neighbour: 'fd00::3' },
} as const;

let lab: Lab;
let protection: Protection;
beforeEach(() => {
  lab = new Lab();
  const bootTime = (): number => Date.now() - Number(lab.kernel.monotonicNs()) / 1e6;
  protection = new Protection(lab.object, { total: 0, add: () => undefined }, bootTime);
  protection.setDevices({ tunnel: TUNNEL, hold: HOLD, strict: false });
});
afterEach(() => lab[Symbol.dispose]());

function required(identity: number, rule = 30, auth: TableEntry['auth'] = 'required'): TableEntry {
  return { ...allow(identity, rule), auth };
}

function guarded(direction: 'egress' | 'ingress' | 'both', entries: readonly TableEntry[]): void {
  lab.install([OPEN, closedTable('guarded', entries)]);
  const tables = direction === 'both' ? { egress: 'guarded', ingress: 'guarded' } : { [direction]: 'guarded' };
  lab.endpoint({ ifindex: HERE, identity: ME, addresses: ['10.0.0.1', 'fd00::1'], ...tables });
}

function proof(identity: number, side: Proven['side'], node = NODE, seconds = 60): Proven {
  return { identity, node, side, expires: Date.now() + seconds * 1000, epoch: 1 };
}
const PROVEN = (): Proven[] => [proof(ME, 'ours'), proof(PEER, 'theirs')];

describe.each(['v4', 'v6'] as const)('%s', (family) => {
  const { me, peer, neighbour } = ADDRESSES[family];
  beforeEach(() => lab.remote(peer, PEER, NODE));
  const out = (more: Partial<PacketSpec> = {}): PacketSpec => ({
    source: me,
    destination: peer,
    protocol: TCP,
    sourcePort: 40000,
    destinationPort: 80,
    tcpFlags: SYN,
    ...more,
  });
  const into = (more: Partial<PacketSpec> = {}): PacketSpec => out({ source: peer, destination: me, ...more });
  const putBack = (spec: PacketSpec): number => lab.run('put_back', frame(spec)).returnValue;

  it('passes a flow of two proven identities, and says so', async () => {
    guarded('egress', [required(PEER)]);
    protection.replace(PROVEN());
    expect(lab.send(out())).toMatchObject({ passed: true, steered: false });
    const [event] = await lab.events(1);
    expect(event).toMatchObject({ kind: 'new', security: { authenticated: true, encrypted: true } });
  });

  it.each([
    ['theirs', [proof(ME, 'ours')]],
    ['ours', [proof(PEER, 'theirs')]],
    ['both', []],
    ['those of another node', [proof(ME, 'ours', NODE + 1), proof(PEER, 'theirs', NODE + 1)]],
    ['the sides mixed up', [proof(ME, 'theirs'), proof(PEER, 'ours')]],
    ['one that has expired', [proof(ME, 'ours'), proof(PEER, 'theirs', NODE, -1)]],
  ])('holds the first packet while a proof is missing: %s', (_, proofs) => {
    guarded('egress', [required(PEER)]);
    protection.replace(proofs);
    expect(lab.send(out()).steered).toBe(true);
    expect(lab.statistic('STATISTIC_HELD')).toBe(1);
    expect(lab.flows()).toHaveLength(1);
  });

  it('drops retransmissions of a packet that waits, and lets it pass when it comes back proven', async () => {
    guarded('egress', [required(PEER)]);
    lab.send(out());
    expect(lab.send(out()).passed).toBe(false);
    expect(lab.statistic('STATISTIC_HELD_DUPLICATES')).toBe(1);
    protection.replace(PROVEN());
    expect(putBack(out())).toBe(7);
    expect(lab.send(out(), RELEASED)).toMatchObject({ passed: true, steered: false });
    const events = await lab.events(1);
    expect(events.map(({ kind }) => kind)).toEqual(['new']);
    expect(lab.send(out({ tcpFlags: ACK }))).toMatchObject({ passed: true, steered: false });
  });

  it('refuses a packet that comes back unproven, by name, and holds the next one', async () => {
    guarded('egress', [required(PEER)]);
    lab.send(out());
    expect(lab.send(out(), RELEASED).passed).toBe(false);
    const [event] = await lab.events(1);
    expect(event).toMatchObject({ kind: 'drop', reason: 'AUTH_REQUIRED', egress: { rule: 30 } });
    expect(lab.flows()).toHaveLength(0);
    expect(lab.send(out()).steered).toBe(true);
  });

  it('refuses at once where nothing can be held', async () => {
    protection.setDevices({ tunnel: TUNNEL, hold: 0, strict: false });
    guarded('egress', [required(PEER)]);
    expect(lab.send(out())).toMatchObject({ passed: false, steered: false });
    expect((await lab.events(1))[0]).toMatchObject({ reason: 'AUTH_REQUIRED' });
  });

  it('believes no mark: what says that it was held is judged like any other', () => {
    guarded('egress', [required(PEER)]);
    expect(lab.send(out(), RELEASED).passed).toBe(false);
    expect(lab.flows()).toHaveLength(0);
  });

  it('puts nothing back that it does not know', () => {
    guarded('egress', [required(PEER)]);
    expect(putBack(out())).toBe(2);
    expect(lab.statistic('STATISTIC_HELD_LOST')).toBe(1);
  });

  it('keeps datagrams in order: what comes while others wait goes behind them', () => {
    guarded('egress', [required(PEER)]);
    const datagram = out({ protocol: UDP });
    expect(lab.send(datagram).steered).toBe(true);
    expect(lab.send(datagram).steered).toBe(true);
    protection.replace(PROVEN());
    // The first is back; the second still waits, so the third must, too.
    expect(lab.send(datagram, RELEASED)).toMatchObject({ passed: true, steered: false });
    expect(lab.send(datagram).steered).toBe(true);
    expect(lab.send(datagram, RELEASED)).toMatchObject({ passed: true, steered: false });
    expect(lab.send(datagram, RELEASED)).toMatchObject({ passed: true, steered: false });
    expect(lab.send(datagram)).toMatchObject({ passed: true, steered: false });
  });

  it('holds so many datagrams of a flow and no more', () => {
    guarded('egress', [required(PEER)]);
    const held = Array.from({ length: 70 }, () => lab.send(out({ protocol: UDP })).steered).filter(Boolean);
    expect(held).toHaveLength(64);
    expect(lab.statistic('STATISTIC_HELD_OVERFLOW')).toBe(6);
  });

  it('lets a flow in from another node only through the tunnel', async () => {
    guarded('ingress', [required(PEER)]);
    protection.replace(PROVEN());
    expect(lab.deliver(into(), UPLINK).passed).toBe(false);
    expect((await lab.events(1))[0]).toMatchObject({ kind: 'drop', reason: 'UNENCRYPTED_TRAFFIC' });
    expect(lab.deliver(into(), TUNNEL)).toMatchObject({ passed: true, steered: false });
  });

  it('asks every packet of the flow for the tunnel', async () => {
    guarded('ingress', [required(PEER)]);
    protection.replace(PROVEN());
    lab.deliver(into(), TUNNEL);
    lab.send(out({ sourcePort: 80, destinationPort: 40000, tcpFlags: SYN | ACK }));
    await lab.events(1);
    expect(lab.deliver(into({ tcpFlags: ACK }), TUNNEL).passed).toBe(true);
    expect(lab.deliver(into({ tcpFlags: ACK }), UPLINK).passed).toBe(false);
    expect((await lab.events(1))[0]).toMatchObject({ reason: 'UNENCRYPTED_TRAFFIC' });
    // The flow lives on.
    expect(lab.deliver(into({ tcpFlags: ACK }), TUNNEL).passed).toBe(true);
  });

  it('asks answers for the tunnel, too', () => {
    guarded('egress', [required(PEER)]);
    protection.replace(PROVEN());
    lab.send(out());
    const answer = into({ sourcePort: 80, destinationPort: 40000, tcpFlags: SYN | ACK });
    expect(lab.deliver(answer, UPLINK).passed).toBe(false);
    expect(lab.deliver(answer, TUNNEL).passed).toBe(true);
  });

  it('holds what came through the tunnel unproven, and takes it back from its own device only', () => {
    guarded('ingress', [required(PEER)]);
    expect(lab.deliver(into(), TUNNEL).steered).toBe(true);
    protection.replace(PROVEN());
    expect(lab.deliver(into(), HOLD)).toMatchObject({ passed: true, steered: false });
  });

  it.each([
    ['must have been authenticated: so must this', 'required', SECURED],
    ['must not: as it is', 'none', PLAIN],
  ] as const)(
    'a datagram from the lower port that answers what is forgotten, and which %s',
    async (_, auth, security) => {
      guarded('ingress', [required(PEER, 30, auth)]);
      protection.replace(PROVEN());
      const answer = { protocol: UDP, sourcePort: 80, destinationPort: 40000 };
      expect(lab.send(out(answer))).toMatchObject({ passed: true, steered: false });
      expect(lab.flows()).toMatchObject([{ security }]);
      // One from the higher port begins something of its own, of which no policy says anything.
      expect(lab.send(out({ ...answer, sourcePort: 40000, destinationPort: 80 })).passed).toBe(true);
      expect(lab.flows().map((flow) => flow.security)).toContain(PLAIN);
    },
  );

  it('such a datagram waits for a proof', () => {
    guarded('ingress', [required(PEER)]);
    expect(lab.send(out({ protocol: UDP, sourcePort: 80, destinationPort: 40000 })).steered).toBe(true);
  });

  it('stops a live flow when a proof is withdrawn, names it, and goes on when it is back', async () => {
    guarded('egress', [required(PEER)]);
    protection.replace(PROVEN());
    lab.send(out());
    await lab.events(1);
    protection.replace([proof(ME, 'ours')]);
    expect(lab.send(out({ tcpFlags: ACK }))).toMatchObject({ passed: false, steered: false });
    expect((await lab.events(1))[0]).toMatchObject({ kind: 'drop', reason: 'AUTH_REQUIRED' });
    protection.replace(PROVEN());
    expect(lab.send(out({ tcpFlags: ACK }))).toMatchObject({ passed: true, steered: false });
  });

  it('takes proofs one by one beside those that are there', () => {
    guarded('egress', [required(PEER)]);
    protection.add([proof(ME, 'ours')]);
    expect(lab.send(out()).steered).toBe(true);
    protection.add([proof(PEER, 'theirs')]);
    expect(protection.entries()).toHaveLength(2);
    expect(lab.send(out(), RELEASED)).toMatchObject({ passed: true, steered: false });
  });

  it('stops a live flow when the proof that takes the place of another runs out', async () => {
    guarded('egress', [required(PEER)]);
    protection.replace(PROVEN());
    lab.send(out());
    protection.add([proof(PEER, 'theirs', NODE, 0.3)]);
    expect(lab.send(out({ tcpFlags: ACK })).passed).toBe(true);
    await expect.poll(() => lab.send(out({ tcpFlags: ACK })).passed).toBe(false);
  });

  it('stops a live flow when a proof runs out', async () => {
    guarded('egress', [required(PEER)]);
    protection.replace([proof(ME, 'ours'), proof(PEER, 'theirs', NODE, 0.3)]);
    lab.send(out());
    await expect.poll(() => lab.send(out({ tcpFlags: ACK })).passed).toBe(false);
  });

  it('never passes what is to fail always', async () => {
    guarded('egress', [required(PEER, 30, 'always-fail')]);
    protection.replace(PROVEN());
    expect(lab.send(out())).toMatchObject({ passed: false, steered: false });
    expect((await lab.events(1))[0]).toMatchObject({ reason: 'AUTH_REQUIRED' });
  });

  it('asks nothing of host and world', () => {
    guarded('both', [required(0)]);
    lab.identity(WORLD_ADDRESS, 2);
    if (family === 'v4') expect(lab.send(out({ destination: WORLD_ADDRESS }))).toMatchObject({ passed: true });
    expect(lab.deliver(into(), 0)).toMatchObject({ passed: true, steered: false });
  });

  it('holds what a peer asks for whose policy only the other node enforces', () => {
    const table = { ...closedTable('authentication x', [required(PEER)]), enforcing: false };
    lab.install([OPEN, table]);
    lab.endpoint({
      ifindex: HERE,
      identity: ME,
      addresses: ['10.0.0.1', 'fd00::1'],
      authentication: 'authentication x',
    });
    expect(lab.send(out()).steered).toBe(true);
    protection.replace(PROVEN());
    expect(lab.send(out(), RELEASED)).toMatchObject({ passed: true, steered: false });
    expect(lab.flows()[0]?.security).toBe(
      Security.SECURITY_AUTHENTICATED | Security.SECURITY_TUNNEL_IN | Security.SECURITY_TUNNEL_OUT,
    );
  });

  it('between two workloads of this node asks for both certificates, and for no tunnel', () => {
    guarded('egress', [required(PEER)]);
    lab.endpoint({ ifindex: 60, identity: PEER, addresses: [neighbour] });
    const local = out({ destination: neighbour });
    expect(lab.send(local).steered).toBe(true);
    protection.replace([proof(ME, 'ours', 0), proof(PEER, 'ours', 0)]);
    expect(lab.send(local, RELEASED)).toMatchObject({ passed: true, steered: false });
    expect(lab.flows()[0]?.security).toBe(Security.SECURITY_AUTHENTICATED);
  });

  it('in strict mode lets nothing leave or come in that is not encrypted', async () => {
    protection.setDevices({ tunnel: TUNNEL, hold: HOLD, strict: true });
    lab.install([OPEN]);
    lab.endpoint({ ifindex: HERE, identity: ME, addresses: ['10.0.0.1', 'fd00::1'] });
    expect(lab.send(out()).passed).toBe(false);
    expect((await lab.events(1))[0]).toMatchObject({ reason: 'UNENCRYPTED_TRAFFIC' });
    lab.remote(peer, PEER, NODE, true);
    expect(lab.send(out())).toMatchObject({ passed: true, steered: false });
    expect(lab.deliver(into({ sourcePort: 1000 }), UPLINK).passed).toBe(false);
    expect(lab.deliver(into({ sourcePort: 1000 }), TUNNEL).passed).toBe(true);
  });
});
