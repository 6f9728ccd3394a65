/** Policies that are only audited: they refuse nothing, cut nothing, send nothing anywhere that is not there, and are named. */
import { createServer, type Server } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { KernelEvent } from '../../control-plane/model/event.ts';
import type { PolicyTable, TableEntry } from '../../control-plane/model/snapshot.ts';
import { allow, closedTable, HERE, Lab, OPEN } from './lab.ts';
import { ACK, opening, type PacketSpec, SYN, TCP, UDP } from './packets.ts';

const ME = 500;
const PEER = 600;
const WORLD = 2;
const UPLINK = 99;
const RULESET = 20;
/** Rules of the table that is enforced, and of the one that is audited. */
const ENFORCED = 30;
const AUDITED = 40;
const DEFAULT_AUDITED = 41;
const me = '10.0.0.1';
const far = '192.0.2.9';

let lab: Lab;
beforeEach(() => {
  lab = new Lab({ steering: { mark: 0x200, envoyPort: 15001 } });
});
afterEach(() => lab[Symbol.dispose]());

const out = opening(me, far);
const into = (more: Partial<PacketSpec> = {}): PacketSpec =>
  out({ source: far, destination: me, sourcePort: 80, destinationPort: 40000, tcpFlags: SYN | ACK, ...more });

function redirect(rule: number, ruleset = RULESET): TableEntry {
  return { ...allow(WORLD, rule, { protocol: TCP, port: 80 }), verdict: 'redirect', precedence: 154, ruleset };
}

function deny(rule: number): TableEntry {
  return { ...allow(WORLD, rule), verdict: 'deny', precedence: 255 };
}

const everything = (entries: readonly TableEntry[]): PolicyTable => closedTable('audited', entries, DEFAULT_AUDITED);

/** @param audited undefined: nothing is audited */
function policies(enforced: PolicyTable, audited?: PolicyTable): void {
  lab.install([OPEN, enforced, ...(audited ? [audited] : [])]);
  lab.endpoint({
    ifindex: HERE,
    identity: ME,
    addresses: [me],
    egress: enforced.key,
    ...(audited ? { auditEgress: audited.key } : {}),
  });
}

/** A policy that is audited changed: live flows are judged anew, as Datapath sees to. */
function changed(enforced: PolicyTable, audited?: PolicyTable): void {
  policies(enforced, audited);
  lab.tables.touch(enforced.key);
}

const half = ({ kind, egress }: KernelEvent): unknown[] => [kind, egress.verdict, egress.rule, egress.audited];

describe('what would be refused', () => {
  it.each([
    ['by default', [], DEFAULT_AUDITED, 0],
    ['by a rule', [deny(AUDITED)], AUDITED, 1],
  ] as const)('%s passes at the speed of any other, and is named', async (_, entries, rule, match) => {
    policies(OPEN, everything(entries));
    expect(lab.send(out()).passed).toBe(true);
    expect(lab.deliver(into(), UPLINK).passed).toBe(true);
    expect(lab.send(out({ tcpFlags: ACK })).passed).toBe(true);
    const [event, ...more] = await lab.events(1);
    expect(event).toMatchObject({ kind: 'new', egress: { verdict: 'allow', rule, match, audited: true } });
    expect(more).toEqual([]);
    expect(lab.statistic('STATISTIC_REEVALUATED')).toBe(0);
  });

  it('is not named where everything counted would admit it, which then is the rule that is enforced', async () => {
    policies(closedTable('guarded', [allow(WORLD, ENFORCED)]), everything([allow(WORLD, AUDITED)]));
    expect(lab.send(out()).passed).toBe(true);
    expect((await lab.events(1)).map(half)).toEqual([['new', 'allow', ENFORCED, false]]);
  });

  it('is refused all the same where what is enforced refuses it', async () => {
    policies(closedTable('guarded', [deny(ENFORCED)]), everything([allow(WORLD, AUDITED)]));
    expect(lab.send(out()).passed).toBe(false);
    expect((await lab.events(1)).map(half)).toEqual([['drop', 'deny', ENFORCED, false]]);
  });

  it('at either end is told of that end', async () => {
    const { key } = everything([]);
    lab.install([OPEN, everything([])]);
    lab.endpoint({ ifindex: HERE, identity: ME, addresses: [me] });
    lab.endpoint({ ifindex: 7, identity: PEER, addresses: ['10.0.0.2'], auditIngress: key });
    expect(lab.send(out({ destination: '10.0.0.2' })).passed).toBe(true);
    expect((await lab.events(1))[0]).toMatchObject({
      egress: { rule: 0, audited: false },
      ingress: { rule: DEFAULT_AUDITED, audited: true },
    });
  });

  it('is not asked while enforcement is switched off', async () => {
    policies(closedTable('guarded', []), everything([]));
    lab.map('bypass').update(new Uint8Array(4), Uint8Array.of(1, 0, 0, 0));
    expect(lab.send(out()).passed).toBe(true);
    expect((await lab.events(1))[0]).toMatchObject({ bypassed: true, egress: { rule: 2, audited: false } });
  });

  it('is nothing where the second table is missing', async () => {
    policies(OPEN, everything([]));
    lab.install([OPEN]);
    lab.tables.sweep(new Set());
    expect(lab.send(out()).passed).toBe(true);
    expect((await lab.events(1)).map(half)).toEqual([['new', 'allow', 0, false]]);
  });
});

describe('a live flow', () => {
  it('goes on, and is told of once, when a policy comes that would revoke it', async () => {
    policies(OPEN);
    lab.send(out());
    lab.deliver(into(), UPLINK);
    changed(OPEN, everything([]));
    for (let i = 0; i < 3; i++) expect(lab.send(out({ tcpFlags: ACK })).passed).toBe(true);
    expect(lab.deliver(into({ tcpFlags: ACK }), UPLINK).passed).toBe(true);
    // Judged again for another reason, it says nothing new; what comes behind shows that nothing was said.
    changed(OPEN, everything([]));
    expect(lab.send(out({ tcpFlags: ACK })).passed).toBe(true);
    expect(lab.send(out({ sourcePort: 40001 })).passed).toBe(true);
    const events = await lab.events(3);
    expect(events.map((event) => [...half(event), event.sourcePort])).toEqual([
      ['new', 'allow', 0, false, 40000],
      ['new', 'allow', DEFAULT_AUDITED, true, 40000],
      ['new', 'allow', DEFAULT_AUDITED, true, 40001],
    ]);
    expect(events[1]).toMatchObject({ revoked: true, destinationPort: 80 });
    expect(lab.flows()).toHaveLength(2);
  });

  it('is told of from its initiator when the answer comes first', async () => {
    policies(OPEN);
    lab.send(out());
    changed(OPEN, everything([]));
    expect(lab.deliver(into(), UPLINK).passed).toBe(true);
    expect((await lab.events(2))[1]).toMatchObject({ revoked: true, sourcePort: 40000, egress: { audited: true } });
  });

  it('is refused when the policy is enforced', () => {
    policies(OPEN, everything([]));
    lab.send(out());
    policies(everything([]));
    lab.send(out({ tcpFlags: ACK }));
    expect(lab.counted('POLICY_DENIED')).toBe(1);
  });
});

describe('requests that are only audited', () => {
  let server: Server;
  beforeEach(async () => {
    server = createServer();
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  });
  afterEach(() => new Promise((resolve) => server.close(resolve)));

  /** A listener where Envoy's would be: slot 0, IPv4. */
  function envoy(): void {
    const handle = (server as unknown as { readonly _handle: { readonly fd: number } })._handle;
    const value = new Uint8Array(8);
    new DataView(value.buffer).setUint32(0, handle.fd, true);
    lab.map('listeners').update(new Uint8Array(4), value);
  }

  it('go to Envoy while it listens, and past it while it does not', async () => {
    policies(OPEN, everything([redirect(AUDITED)]));
    expect(lab.send(out())).toMatchObject({ passed: true, steered: false });
    envoy();
    expect(lab.send(out({ sourcePort: 40001 }))).toMatchObject({ passed: true, steered: true });
    expect(lab.send(out({ sourcePort: 40001, tcpFlags: ACK }))).toMatchObject({ steered: true });
    expect(lab.send(out({ protocol: UDP, sourcePort: 40002 }))).toMatchObject({ passed: true, steered: false });
    const events = await lab.events(3);
    expect(events.map(half)).toEqual([
      ['new', 'allow', 0, false],
      ['new', 'redirect', AUDITED, false],
      ['new', 'allow', DEFAULT_AUDITED, true],
    ]);
    expect(lab.flows().map(({ egress }) => egress.ruleset)).toContain(RULESET);
  });

  it('do not move a live connection, nor one that is met half-way', () => {
    policies(OPEN);
    lab.send(out());
    envoy();
    changed(OPEN, everything([redirect(AUDITED)]));
    expect(lab.send(out({ tcpFlags: ACK }))).toMatchObject({ passed: true, steered: false });
    expect(lab.send(out({ sourcePort: 40001, tcpFlags: ACK }))).toMatchObject({ passed: true, steered: false });
    expect(lab.counted('PROXY_REDIRECTION_NOT_SUPPORTED_FOR_PROTOCOL')).toBe(0);
  });

  it('are held against the ruleset that counts all, which says what is enforced, too', () => {
    const enforced = closedTable('guarded', [redirect(ENFORCED, RULESET)]);
    envoy();
    policies(enforced, everything([redirect(AUDITED, RULESET + 1)]));
    expect(lab.send(out())).toMatchObject({ steered: true });
    expect(lab.flows()[0]?.egress).toMatchObject({ ruleset: RULESET + 1, rule: AUDITED });
  });

  it('leave a connection with the ruleset that it began with', () => {
    const enforced = closedTable('guarded', [redirect(ENFORCED, RULESET)]);
    envoy();
    policies(enforced);
    lab.send(out());
    changed(enforced, everything([redirect(AUDITED, RULESET + 1)]));
    expect(lab.send(out({ tcpFlags: ACK }))).toMatchObject({ steered: true });
    expect(lab.flows()[0]?.egress).toMatchObject({ ruleset: RULESET });
    expect(lab.counted('PROXY_REDIRECTION_NOT_SUPPORTED_FOR_PROTOCOL')).toBe(0);
  });

  it('are refused without Envoy where an enforced rule wants it, too', () => {
    const enforced = closedTable('guarded', [redirect(ENFORCED, RULESET)]);
    policies(enforced, everything([redirect(AUDITED, RULESET + 1)]));
    expect(lab.send(out())).toMatchObject({ steered: true });
    expect(lab.flows()[0]?.egress).toMatchObject({ ruleset: RULESET });
  });

  it('and connections that would be refused as such are told apart under one enforced rule', async () => {
    const enforced = closedTable('guarded', [redirect(ENFORCED, RULESET)]);
    policies(enforced, everything([deny(AUDITED)]));
    expect(lab.send(out())).toMatchObject({ steered: true });
    expect((await lab.events(1)).map(half)).toEqual([['new', 'redirect', AUDITED, true]]);
    expect(lab.flows()[0]?.egress).toMatchObject({ ruleset: RULESET });
  });
});
