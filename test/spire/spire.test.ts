/** The source of certificates against a real SPIRE: issue, rotate, take back, and a restart of SPIRE's agent under use. */
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { SpireSvidSource } from '../../control-plane/auth/spire/source.ts';
import type { ServiceAccountRef } from '../../control-plane/auth/svid.ts';
import { verifySvid } from '../../control-plane/auth/verify.ts';
import { systemClock } from '../../control-plane/model/clock.ts';
import { OWN_SELECTORS, Spire, type SpireAgent, TRUST_DOMAIN } from './spire.ts';

/** Any ID will do for the source. */
const OWN_ID = `spiffe://${TRUST_DOMAIN}/sidestep/a`;
const WEB = { namespace: 'shop', serviceAccount: 'web' };
const PAY = { namespace: 'shop', serviceAccount: 'pay' };
/** What waits for SPIRE waits long: the machine may be busy. */
const PATIENCE = { timeout: 60_000, interval: 50 };

let spire: Spire;
let agent: SpireAgent;
let source: SpireSvidSource;
let ownEntry: string;

const idOf = ({ namespace, serviceAccount }: ServiceAccountRef) =>
  `spiffe://${TRUST_DOMAIN}/ns/${namespace}/sa/${serviceAccount}`;
const selectorsOf = ({ namespace, serviceAccount }: ServiceAccountRef) => [
  `k8s:ns:${namespace}`,
  `k8s:sa:${serviceAccount}`,
];
const register = (of: ServiceAccountRef, ttl?: number) => spire.createEntry(agent, idOf(of), selectorsOf(of), ttl);
const troubleOf = () => Object.fromEntries([...source.trouble].map(([id, { code }]) => [id, code]));

beforeAll(async () => {
  spire = await Spire.start([{ name: 'a', delegate: OWN_ID }]);
  [agent] = spire.agents as [SpireAgent];
  ownEntry = await spire.createEntry(agent, OWN_ID, OWN_SELECTORS);
  source = new SpireSvidSource({
    trustDomain: TRUST_DOMAIN,
    nodeId: OWN_ID,
    workloadSocket: agent.workloadSocket,
    adminSocket: agent.adminSocket,
    clock: systemClock,
    random: Math.random,
  });
});

afterAll(async () => {
  await source?.close();
  await spire?.close();
});

describe('certificates from SPIRE', () => {
  it("are the node's own, and those of workloads by namespace and service account", async () => {
    await register(WEB);
    source.want([WEB, PAY]);
    await vi.waitFor(() => expect([source.node, source.workload(WEB)]).not.toContain(undefined), PATIENCE);
    for (const [svid, id] of [
      [source.node, OWN_ID],
      [source.workload(WEB), idOf(WEB)],
    ] as const) {
      if (svid === undefined || source.bundle === undefined) throw new Error('missing');
      const verified = verifySvid(svid.chain, source.bundle, Date.now());
      expect(verified).toMatchObject({ spiffeId: id, serial: svid.serial });
      expect(svid.chain[0]?.checkPrivateKey(svid.privateKey)).toBe(true);
      expect(svid.notAfter).toBeGreaterThan(Date.now());
    }
    await vi.waitFor(() => expect(troubleOf()).toEqual({ [idOf(PAY)]: 'SVID_MISSING' }), PATIENCE);
  });

  it('come when their entry is made, and go when it is deleted', async () => {
    const entry = await register(PAY);
    await vi.waitFor(() => expect(source.workload(PAY)?.spiffeId).toBe(idOf(PAY)), PATIENCE);
    expect(source.trouble.size).toBe(0);
    const deleted = Date.now();
    await spire.deleteEntry(entry);
    await vi.waitFor(() => expect(source.workload(PAY)).toBeUndefined(), PATIENCE);
    console.log(`      gone ${Date.now() - deleted} ms after the entry's deletion was asked for`);
    expect(troubleOf()).toEqual({ [idOf(PAY)]: 'SVID_MISSING' });
    expect(source.workload(WEB)).toBeDefined();
  });

  it('are renewed without a gap', async () => {
    const entry = await register(PAY, 30);
    await vi.waitFor(() => expect(source.workload(PAY)).toBeDefined(), PATIENCE);
    const serials = new Set<string | undefined>();
    const stop = source.subscribe(() => serials.add(source.workload(PAY)?.serial));
    const first = source.workload(PAY)?.serial;
    await vi.waitFor(() => expect(source.workload(PAY)?.serial).not.toBe(first), PATIENCE);
    stop();
    expect(serials).not.toContain(undefined);
    await spire.deleteEntry(entry);
    await vi.waitFor(() => expect(source.workload(PAY)).toBeUndefined(), PATIENCE);
  });

  it('bring a new authority before it signs', async () => {
    await spire.prepareAuthority();
    await vi.waitFor(() => expect(source.bundle?.authorities).toHaveLength(2), PATIENCE);
    expect([source.node, source.workload(WEB)]).not.toContain(undefined);
  });
});

describe("SPIRE's agent", () => {
  it('is away for a while: what there is stays, and what was taken back meanwhile goes', async () => {
    const entry = await register(PAY);
    await vi.waitFor(() => expect(source.workload(PAY)).toBeDefined(), PATIENCE);
    const lost = new Set<string>();
    const stop = source.subscribe(() => {
      if (source.node === undefined) lost.add('node');
      if (source.workload(WEB) === undefined) lost.add('web');
    });
    const web = source.workload(WEB)?.serial;
    await agent.stop();
    await vi.waitFor(
      () =>
        expect(troubleOf()).toEqual({
          '': 'SPIRE_UNREACHABLE',
          [OWN_ID]: 'SPIRE_UNREACHABLE',
          [idOf(WEB)]: 'SPIRE_UNREACHABLE',
          [idOf(PAY)]: 'SPIRE_UNREACHABLE',
        }),
      PATIENCE,
    );
    expect(source.trouble.get(idOf(WEB))?.message).toMatch(/; the one in use is valid until \d{4}-/);
    expect(source.workload(WEB)?.serial).toBe(web);
    await spire.deleteEntry(entry);
    await agent.start();
    await vi.waitFor(() => expect(troubleOf()).toEqual({ [idOf(PAY)]: 'SVID_MISSING' }), PATIENCE);
    stop();
    expect([...lost]).toEqual([]);
    expect([source.node, source.workload(WEB)]).not.toContain(undefined);
  });

  it('refuses an agent whose own entry is deleted, and takes it back', async () => {
    await spire.deleteEntry(ownEntry);
    await vi.waitFor(() => expect(source.node).toBeUndefined(), PATIENCE);
    expect(source.trouble.get(OWN_ID)?.code).toBe('SPIRE_REFUSED');
    ownEntry = await spire.createEntry(agent, OWN_ID, OWN_SELECTORS);
    await vi.waitFor(() => expect(source.node?.spiffeId).toBe(OWN_ID), PATIENCE);
  });
});
