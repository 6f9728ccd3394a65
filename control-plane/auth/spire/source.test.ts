import { status } from '@grpc/grpc-js';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { FakeClock, PATIENCE } from '../fakes.ts';
import { HOUR, newAuthority, newSvid, type TestAuthority, TRUST_DOMAIN } from '../samples.ts';
import { FakeSpire } from './fake-spire.ts';
import { FETCH_SVIDS, SUBSCRIBE_SVIDS } from './messages.ts';
import { SpireSvidSource } from './source.ts';

const NODE_ID = 'spiffe://cluster.local/agents/of-some-kind';
const WEB = { namespace: 'shop', serviceAccount: 'web' };
const WEB_ID = 'spiffe://cluster.local/ns/shop/sa/web';
const SELECTORS = 'k8s:ns:shop k8s:sa:web';

let clock: FakeClock;
let spire: FakeSpire;
let authority: TestAuthority;
let source: SpireSvidSource;

beforeEach(async () => {
  clock = new FakeClock();
  authority = newAuthority();
  spire = new FakeSpire();
  await spire.start();
  const { workloadSocket, adminSocket } = spire;
  source = new SpireSvidSource({
    trustDomain: TRUST_DOMAIN,
    nodeId: NODE_ID,
    workloadSocket,
    adminSocket,
    clock,
    random: () => 0,
  });
});

afterEach(async () => {
  await source.close();
  spire.close();
});

const troubleOf = () => Object.fromEntries([...source.trouble].map(([id, { code }]) => [id, code]));

/** @param ms of the test's clock that may pass with each look */
const eventually = (look: () => void, ms = 0) =>
  vi.waitFor(async () => {
    await clock.advance(ms);
    look();
  }, PATIENCE);

async function asUsual(): Promise<void> {
  spire.sayBundle(TRUST_DOMAIN, authority.certificate);
  spire.sayNode(newSvid(NODE_ID, authority));
  spire.sayWorkload(SELECTORS, newSvid(WEB_ID, authority));
  source.want([WEB]);
  await eventually(() => {
    expect(source.node?.spiffeId).toBe(NODE_ID);
    expect(source.workload(WEB)?.spiffeId).toBe(WEB_ID);
    expect(source.bundle?.authorities).toHaveLength(1);
    expect(source.trouble.size).toBe(0);
  });
}

describe('the SPIRE source', () => {
  it('asks with the header and the selectors that SPIRE wants, for what is wanted', async () => {
    await asUsual();
    expect(spire.open).toEqual(['FetchX509SVID', `SubscribeToX509SVIDs ${SELECTORS}`, 'SubscribeToX509Bundles'].sort());
    source.want([]);
    expect(source.workload(WEB)).toBeUndefined();
    await eventually(() => expect(spire.open).toEqual(['FetchX509SVID', 'SubscribeToX509Bundles']));
    expect(source.trouble.size).toBe(0);
  });

  it('takes of several certificates the one that it is about', async () => {
    await asUsual();
    const [node, web] = [newSvid(NODE_ID, authority), newSvid(WEB_ID, authority)];
    spire.sayNode(newSvid('spiffe://cluster.local/other', authority), node);
    spire.sayWorkload(SELECTORS, newSvid('spiffe://cluster.local/all-of-shop', authority), web);
    await eventually(() => {
      expect(source.node?.serial).toBe(node.serial);
      expect(source.workload(WEB)?.serial).toBe(web.serial);
    });
  });

  it('waits with a certificate for the bundle that vouches for it', async () => {
    spire.sayNode(newSvid(NODE_ID, authority));
    await eventually(() => expect(spire.open).toContain('FetchX509SVID'));
    expect(source.node).toBeUndefined();
    spire.sayBundle(TRUST_DOMAIN, newAuthority().certificate);
    await eventually(() => expect(troubleOf()).toEqual({ [NODE_ID]: 'SVID_AUTHORITY_UNKNOWN' }));
    spire.sayBundle(TRUST_DOMAIN, authority.certificate);
    await eventually(() => expect(source.node).toBeDefined());
    expect(source.trouble.size).toBe(0);
  });

  it('loses at once what no entry is registered for any more', async () => {
    await asUsual();
    spire.sayWorkload(SELECTORS);
    await eventually(() => expect(source.workload(WEB)).toBeUndefined());
    expect(troubleOf()).toEqual({ [WEB_ID]: 'SVID_MISSING' });
    // A bundle that comes later does not bring it back.
    spire.sayBundle(TRUST_DOMAIN, authority.certificate, newAuthority().certificate);
    await eventually(() => expect(source.bundle?.authorities).toHaveLength(2));
    expect(source.workload(WEB)).toBeUndefined();
    spire.end(FETCH_SVIDS, status.PERMISSION_DENIED);
    await eventually(() => expect(source.node).toBeUndefined());
    expect(source.trouble.get(NODE_ID)?.code).toBe('SPIRE_REFUSED');
  });

  it('does not take a certificate of another ID, or of no authority that it knows', async () => {
    await asUsual();
    spire.sayWorkload(SELECTORS, newSvid('spiffe://cluster.local/ns/shop/sa/pay', authority));
    await eventually(() => expect(source.workload(WEB)).toBeUndefined());
    expect(troubleOf()).toEqual({ [WEB_ID]: 'SVID_ID_UNEXPECTED' });
    spire.sayWorkload(SELECTORS, newSvid(WEB_ID, newAuthority()));
    await eventually(() => expect(troubleOf()).toEqual({ [WEB_ID]: 'SVID_AUTHORITY_UNKNOWN' }));
  });

  it('has no bundle of another trust domain', async () => {
    spire.sayBundle('other.mesh', authority.certificate);
    await eventually(() => expect(troubleOf()).toEqual({ '': 'SVID_OTHER_TRUST_DOMAIN' }));
    expect(source.bundle).toBeUndefined();
  });

  it('outlives nonsense, keeps what it has and asks again', async () => {
    await asUsual();
    const [node, web] = [source.node, source.workload(WEB)];
    spire.sayNonsense();
    await eventually(() => expect(source.trouble.size).toBe(3));
    expect([source.node, source.workload(WEB)]).toEqual([node, web]);
    await eventually(() => expect(source.trouble.size).toBe(0), 500);
  });
});

describe("when SPIRE's agent is away", () => {
  it('what there is stays until it expires; what is new is there when it is back', async () => {
    await asUsual();
    const web = source.workload(WEB);
    spire.stop();
    await eventually(() =>
      expect(troubleOf()).toEqual({
        '': 'SPIRE_UNREACHABLE',
        [NODE_ID]: 'SPIRE_UNREACHABLE',
        [WEB_ID]: 'SPIRE_UNREACHABLE',
      }),
    );
    expect(source.workload(WEB)).toBe(web);
    await spire.start();
    const next = newSvid(WEB_ID, authority);
    spire.sayBundle(TRUST_DOMAIN, authority.certificate);
    spire.sayNode(newSvid(NODE_ID, authority));
    spire.sayWorkload(SELECTORS, next);
    await eventually(() => {
      expect(source.workload(WEB)?.serial).toBe(next.serial);
      expect(source.trouble.size).toBe(0);
    }, 500);
  });

  it('what there is ends with its time', async () => {
    await asUsual();
    spire.stop();
    await eventually(() => expect(source.trouble.size).toBe(3));
    await clock.advance(HOUR);
    expect([source.node, source.workload(WEB)]).toEqual([undefined, undefined]);
  });

  it('a refusal on the admin socket is no loss, and named', async () => {
    await asUsual();
    const web = source.workload(WEB);
    spire.refusing = true;
    spire.end(SUBSCRIBE_SVIDS, status.PERMISSION_DENIED);
    await eventually(() => expect(troubleOf()).toEqual({ [WEB_ID]: 'SPIRE_REFUSED' }));
    expect(source.workload(WEB)).toBe(web);
  });

  it('it is asked no more once the source is closed', async () => {
    spire.stop();
    await eventually(() => expect(source.trouble.size).toBe(2));
    await source.close();
    await clock.advance(HOUR);
    expect(clock.waiting).toBe(0);
  });
});
