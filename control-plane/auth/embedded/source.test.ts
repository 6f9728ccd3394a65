import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { SidestepError } from '../../model/error.ts';
import { FakeClock } from '../fakes.ts';
import { HOUR, newAuthority, newKeys, TRUST_DOMAIN } from '../samples.ts';
import type { ServiceAccountRef, Svid } from '../svid.ts';
import { verifySvid } from '../verify.ts';
import { CertificateAuthority, LocalLink } from './certificate-authority.ts';
import type { AuthorityLink } from './link.ts';
import { makeRequest } from './request.ts';
import { EmbeddedSvidSource, type EmbeddedSvidSourceOptions } from './source.ts';

const WEB = { namespace: 'shop', serviceAccount: 'web' };
const PAY = { namespace: 'shop', serviceAccount: 'pay' };
const NODE_ID = 'spiffe://cluster.local/node/a';
const WEB_ID = 'spiffe://cluster.local/ns/shop/sa/web';
const MINUTE = HOUR / 60;

let folder: string;
let clock: FakeClock;
let authority: CertificateAuthority;
let way: Way;
let sources: EmbeddedSvidSource[];

/** The way to the authority, which can be cut; like a remote one it asks for nothing without the node's certificate. */
class Way implements AuthorityLink {
  readonly #inner = new LocalLink(authority, 'a');
  cut: SidestepError | undefined;
  asked: string[] = [];
  /** As after a join token that was used: nothing without a certificate. */
  joins = true;

  async node(request: Buffer, current: Svid | undefined) {
    this.asked.push('node');
    if (this.cut) throw this.cut;
    if (current === undefined && !this.joins) throw new SidestepError('CA_TOKEN_USED', 'used before');
    return this.#inner.node(request);
  }

  async workload(of: ServiceAccountRef, request: Buffer, node: Svid | undefined) {
    this.asked.push(of.serviceAccount);
    if (this.cut) throw this.cut;
    if (node === undefined) throw new SidestepError('CA_NODE_REFUSED', 'no certificate yet');
    return this.#inner.workload(of, request);
  }

  close(): void {}
}

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'sidestep-svid-'));
  clock = new FakeClock();
  authority = new CertificateAuthority({
    stateDir: join(folder, 'of-the-authority'),
    trustDomain: TRUST_DOMAIN,
    clock,
    mesh: { runs: (node, _, serviceAccount) => node === 'a' && serviceAccount !== 'elsewhere', admits: () => true },
  });
  way = new Way();
  sources = [];
});

afterEach(async () => {
  for (const source of sources) await source.close();
  rmSync(folder, { recursive: true });
});

async function start(options: Partial<EmbeddedSvidSourceOptions> = {}): Promise<EmbeddedSvidSource> {
  const source = new EmbeddedSvidSource({
    trustDomain: TRUST_DOMAIN,
    node: 'a',
    stateDir: folder,
    bundlePem: authority.bundlePem,
    connect: () => way,
    clock,
    random: () => 0.5,
    ...options,
  });
  sources.push(source);
  await clock.advance(0);
  return source;
}

const troubleOf = (source: EmbeddedSvidSource) =>
  Object.fromEntries([...source.trouble].map(([id, { code }]) => [id, code]));

describe('the embedded source', () => {
  it("has the node's certificate, and those of the workloads that are wanted, as long as they are", async () => {
    const source = await start();
    source.want([WEB, PAY]);
    await clock.advance(0);
    expect(source.node?.spiffeId).toBe(NODE_ID);
    const web = source.workload(WEB);
    expect(web?.spiffeId).toBe(WEB_ID);
    expect(web?.chain[0]?.checkPrivateKey(web.privateKey)).toBe(true);
    expect(verifySvid(web?.chain ?? [], source.bundle, clock.now()).serial).toBe(web?.serial);
    source.want([PAY]);
    expect(source.workload(WEB)).toBeUndefined();
    expect(source.workload(PAY)).toBeDefined();
    expect(source.trouble.size).toBe(0);
  });

  it('tells of every change, and no more once it is not to', async () => {
    const source = await start();
    let calls = 0;
    const stop = source.subscribe(() => {
      calls++;
    });
    source.want([WEB]);
    await clock.advance(0);
    expect(calls).toBe(1);
    await clock.advance(40 * MINUTE);
    expect(calls).toBe(2);
    source.want([]);
    expect(calls).toBe(3);
    stop();
    source.want([WEB]);
    await clock.advance(0);
    expect(calls).toBe(3);
  });

  it('renews at half of the life, with a new key', async () => {
    const source = await start();
    source.want([WEB]);
    await clock.advance(0);
    const [node, web] = [source.node, source.workload(WEB)];
    await clock.advance(24 * MINUTE);
    expect(source.workload(WEB)).toBe(web);
    await clock.advance(MINUTE);
    const renewed = source.workload(WEB);
    expect(renewed?.serial).not.toBe(web?.serial);
    expect(renewed?.chain[0]?.publicKey.equals(web?.chain[0]?.publicKey ?? (undefined as never))).toBe(false);
    expect(source.node).toBe(node);
    await clock.advance(12 * HOUR);
    expect(source.node?.serial).not.toBe(node?.serial);
    expect(source.node?.notAfter).toBeGreaterThan(node?.notAfter ?? Number.NaN);
  });

  it('renews what came together at different times', async () => {
    const times = new Set<number>();
    for (const random of [() => 0, () => 0.999]) {
      const source = await start({ random, stateDir: join(folder, String(random())) });
      source.want([WEB]);
      await clock.advance(0);
      const { serial } = source.workload(WEB) as Svid;
      const from = clock.now();
      while (source.workload(WEB)?.serial === serial) await clock.advance(MINUTE / 2);
      times.add((clock.now() - from) / MINUTE);
      expect((clock.now() - from) / MINUTE).toBeGreaterThan(20);
      expect((clock.now() - from) / MINUTE).toBeLessThan(30);
    }
    expect(times.size).toBe(2);
  });
});

describe('when the authority is away', () => {
  const away = new SidestepError('CA_UNREACHABLE', 'nobody listens');

  it('what there is stays until it expires, and the trouble says until when', async () => {
    const source = await start();
    source.want([WEB]);
    await clock.advance(0);
    const web = source.workload(WEB);
    way.cut = away;
    await clock.advance(31 * MINUTE);
    expect(source.workload(WEB)).toBe(web);
    expect(troubleOf(source)).toEqual({ '': 'CA_UNREACHABLE', [WEB_ID]: 'CA_UNREACHABLE' });
    expect(source.trouble.get(WEB_ID)?.message).toBe(
      `nobody listens; the one in use is valid until ${new Date(web?.notAfter ?? 0).toISOString()}`,
    );
    await clock.advance(28 * MINUTE);
    expect(source.workload(WEB)).toBe(web);
    await clock.advance(MINUTE);
    expect(source.workload(WEB)).toBeUndefined();
    // What came after the end of the last one is about the way again.
    expect(source.trouble.get(WEB_ID)?.code).toMatch(/SVID_EXPIRED|CA_UNREACHABLE/);
    way.cut = undefined;
    await clock.advance(MINUTE);
    expect(source.workload(WEB)?.spiffeId).toBe(WEB_ID);
    expect(source.trouble.size).toBe(0);
  });

  it('it is asked less and less often, and never less than once a minute', async () => {
    const source = await start();
    source.want([WEB]);
    await clock.advance(0);
    way.cut = away;
    await clock.advance(30 * MINUTE);
    way.asked = [];
    await clock.advance(10 * MINUTE);
    // 0.75 s, 1.5, 3, … 45 s each: twice in the first seconds, then 13 in ten minutes.
    expect(way.asked.length).toBeGreaterThanOrEqual(10);
    expect(way.asked.length).toBeLessThanOrEqual(25);
  });

  it('it is asked as soon as ever when the clock was far ahead and is put right', async () => {
    const source = await start();
    clock.set(2 * HOUR);
    way.cut = away;
    source.want([WEB]);
    await clock.advance(10 * MINUTE);
    clock.set(-2 * HOUR);
    way.cut = undefined;
    await clock.advance(MINUTE);
    expect(source.workload(WEB)?.spiffeId).toBe(WEB_ID);
  });

  it('what has expired is taken off within seconds when the clock is set forward', async () => {
    const source = await start();
    source.want([WEB]);
    await clock.advance(0);
    way.cut = away;
    clock.set(2 * HOUR);
    await clock.advance(10_000);
    expect(source.workload(WEB)).toBeUndefined();
  });

  it('nothing of a workload is asked for twice at once, and nothing more once it is not wanted', async () => {
    way.cut = away;
    const source = await start();
    source.want([WEB]);
    source.want([WEB]);
    await clock.advance(0);
    expect(way.asked.filter((each) => each === 'web')).toHaveLength(1);
    source.want([]);
    way.asked = [];
    await clock.advance(10 * MINUTE);
    expect(way.asked).not.toContain('web');
    expect(source.trouble.has(WEB_ID)).toBe(false);
  });

  it('what comes after it is no longer wanted is not taken', async () => {
    const source = await start();
    const real = way.workload.bind(way);
    let answer = (): void => {};
    const held = new Promise<void>((resolve) => {
      answer = resolve;
    });
    way.workload = async (...question) => {
      await held;
      return real(...question);
    };
    source.want([WEB]);
    await clock.advance(0);
    let calls = 0;
    source.subscribe(() => {
      calls++;
    });
    source.want([]);
    answer();
    await clock.advance(HOUR);
    expect(source.workload(WEB)).toBeUndefined();
    expect(calls).toBe(0);
  });

  it("workloads follow at once when the node's certificate is there", async () => {
    way.cut = away;
    const source = await start();
    // Their turns are not those of the node.
    await clock.advance(20_000);
    source.want([WEB, PAY]);
    await clock.advance(5 * MINUTE);
    expect(source.node).toBeUndefined();
    way.cut = undefined;
    while (source.node === undefined) await clock.advance(1000);
    expect([source.workload(WEB), source.workload(PAY)]).not.toContain(undefined);
  });
});

describe('a refusal', () => {
  it('of one workload is no harm to the others, and asked again', async () => {
    const source = await start();
    const elsewhere = { namespace: 'shop', serviceAccount: 'elsewhere' };
    source.want([WEB, elsewhere]);
    await clock.advance(0);
    expect(source.workload(WEB)).toBeDefined();
    expect(troubleOf(source)).toEqual({ 'spiffe://cluster.local/ns/shop/sa/elsewhere': 'CA_WORKLOAD_ELSEWHERE' });
    way.asked = [];
    await clock.advance(5000);
    expect(way.asked).toContain('elsewhere');
  });
});

describe('a restart', () => {
  it('needs no token: key and certificate of the node are kept, for us alone', async () => {
    const first = await start();
    const serial = first.node?.serial;
    await first.close();
    const kept = join(folder, 'svid');
    expect(statSync(kept).mode & 0o777).toBe(0o700);
    expect(statSync(join(kept, 'node.pem')).mode & 0o777).toBe(0o600);
    way.joins = false;
    const second = await start();
    expect(second.node?.serial).toBe(serial);
    await clock.advance(13 * HOUR);
    expect(second.node?.serial).not.toBe(serial);
    expect(second.trouble.size).toBe(0);
  });

  it('leaves no key of a workload on a disk', async () => {
    const source = await start();
    source.want([WEB]);
    await clock.advance(0);
    const key = source.workload(WEB)?.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString() ?? '';
    const files = readdirSync(join(folder, 'svid'));
    expect(files).toEqual(['node.pem']);
    expect(readFileSync(join(folder, 'svid', 'node.pem'), 'utf8')).not.toContain(key.split('\n')[1]);
  });

  it('after the end of the certificate needs a new token', async () => {
    await (await start()).close();
    await clock.advance(25 * HOUR);
    way.joins = false;
    const source = await start();
    expect(source.node).toBeUndefined();
    expect(troubleOf(source)).toEqual({ [NODE_ID]: 'CA_TOKEN_USED' });
  });

  it('does not use a key that others could read', async () => {
    const first = await start();
    const serial = first.node?.serial;
    await first.close();
    chmodSync(join(folder, 'svid', 'node.pem'), 0o644);
    const second = await start();
    expect(second.node?.serial).not.toBe(serial);
    expect(statSync(join(folder, 'svid', 'node.pem')).mode & 0o777).toBe(0o600);
  });

  it("does not use another node's certificate", async () => {
    await (await start()).close();
    way.joins = false;
    const source = await start({ node: 'c' });
    expect(source.node).toBeUndefined();
    expect(source.trouble.get('spiffe://cluster.local/node/c')?.code).toBe('CA_TOKEN_USED');
  });
});

describe("a change of the authority's key", () => {
  it('loses nothing, also over a restart that is given the old bundle', async () => {
    const bundlePem = authority.bundlePem;
    const source = await start({ bundlePem });
    source.want([WEB]);
    await clock.advance(0);
    authority.rotation.stage();
    await clock.advance(35 * MINUTE);
    expect(source.bundle.authorities).toHaveLength(2);
    authority.rotation.promote();
    await clock.advance(24 * HOUR);
    expect(source.trouble.size).toBe(0);
    authority.rotation.retire();
    await clock.advance(35 * MINUTE);
    expect(source.bundle.authorities).toHaveLength(1);
    await source.close();
    way.joins = false;
    const second = await start({ bundlePem });
    expect(second.bundle.authorities[0]?.serialNumber).toBe(authority.bundle.authorities[0]?.serialNumber);
    expect(second.node).toBeDefined();
    await second.close();
    const other = newAuthority().certificate;
    const given = await start({ bundlePem: other.toString() });
    expect(given.bundle.authorities.map(({ serialNumber }) => serialNumber)).toEqual([other.serialNumber]);
    expect(given.node).toBeUndefined();
  });

  it('without waiting takes off what the old one signed, and fetches it anew', async () => {
    const source = await start();
    source.want([WEB, PAY]);
    await clock.advance(0);
    const before = [source.node?.serial, source.workload(PAY)?.serial];
    authority.rotation.stage();
    authority.rotation.promote();
    authority.rotation.retire();
    await clock.advance(35 * MINUTE);
    expect(source.bundle.authorities).toHaveLength(1);
    for (const svid of [source.node, source.workload(WEB), source.workload(PAY)]) {
      expect(before).not.toContain(svid?.serial);
      expect(verifySvid(svid?.chain ?? [], authority.bundle, clock.now()).serial).toBe(svid?.serial);
    }
    expect(source.trouble.size).toBe(0);
  });

  it('is not taken from what is no authority', async () => {
    const { chain } = authority.issueNode('a', makeRequest(newKeys()));
    const real = way.node.bind(way);
    const source = await start();
    way.node = async (request, current) => ({ ...(await real(request, current)), authorities: chain });
    const serial = source.node?.serial;
    await clock.advance(13 * HOUR);
    expect(source.node?.serial).toBe(serial);
    expect(source.trouble.get(NODE_ID)?.code).toBe('CA_PROTOCOL');
  });
});
