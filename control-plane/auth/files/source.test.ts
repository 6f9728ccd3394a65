import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { FakeClock, PATIENCE } from '../fakes.ts';
import { HOUR, newAuthority, newSvid, type TestAuthority, TRUST_DOMAIN } from '../samples.ts';
import type { Svid } from '../svid.ts';
import { FilesSvidSource } from './source.ts';

const NODE_ID = 'spiffe://cluster.local/node/a';
const WEB = { namespace: 'shop', serviceAccount: 'web' };
const WEB_ID = 'spiffe://cluster.local/ns/shop/sa/web';

let dir: string;
let clock: FakeClock;
let authority: TestAuthority;
let sources: FilesSvidSource[];

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'sidestep-files-'));
  clock = new FakeClock();
  authority = newAuthority();
  sources = [];
});

afterEach(async () => {
  for (const source of sources) await source.close();
  rmSync(dir, { recursive: true });
});

function start(rereadMs = 10_000): FilesSvidSource {
  const source = new FilesSvidSource({ dir, trustDomain: TRUST_DOMAIN, nodeId: NODE_ID, clock, rereadMs });
  sources.push(source);
  return source;
}

const svidOf = (id: string, from = authority, to = clock.now() + HOUR) => newSvid(id, from, { from: clock.now(), to });
const keyOf = ({ privateKey }: Svid) => privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();

/** As a person would put it there. */
function put(name: string, svid: Svid, ca = authority.certificate.toString()): void {
  mkdirSync(join(dir, name), { recursive: true });
  writeFileSync(join(dir, name, 'tls.key'), keyOf(svid), { mode: 0o600 });
  writeFileSync(join(dir, name, 'tls.crt'), svid.chain.join(''));
  writeFileSync(join(dir, name, 'ca.crt'), ca);
}

/** As kubelet does: a folder for the version, a link to it replaced in one step, the old folder removed. */
function putAsKubelet(name: string, version: string, svid: Svid, ca = authority.certificate.toString()): void {
  put(`${name}/..${version}`, svid, ca);
  const link = join(dir, name, '..data');
  symlinkSync(`..${version}`, `${link}_tmp`);
  const old = statSync(link, { throwIfNoEntry: false }) && 'there';
  renameSync(`${link}_tmp`, link);
  if (old === undefined)
    for (const file of ['tls.key', 'tls.crt', 'ca.crt']) symlinkSync(`..data/${file}`, join(dir, name, file));
}

const troubleOf = (source: FilesSvidSource) =>
  Object.fromEntries([...source.trouble].map(([id, { code }]) => [id, code]));

describe('the files source', () => {
  it('has what is there when it starts', () => {
    const [node, web] = [svidOf(NODE_ID), svidOf(WEB_ID)];
    put('node', node);
    put('shop.web', web);
    const source = start();
    source.want([WEB]);
    expect(source.node?.serial).toBe(node.serial);
    expect(source.workload(WEB)?.serial).toBe(web.serial);
    expect(source.bundle?.authorities).toHaveLength(1);
    expect(source.trouble.size).toBe(0);
  });

  it('takes the namespace up to the first dot', () => {
    put('node', svidOf(NODE_ID));
    put('shop.web.v2', svidOf('spiffe://cluster.local/ns/shop/sa/web.v2'));
    const source = start();
    source.want([{ namespace: 'shop', serviceAccount: 'web.v2' }]);
    expect(source.workload({ namespace: 'shop', serviceAccount: 'web.v2' })).toBeDefined();
  });

  it('says what is missing, and has it when it comes', async () => {
    const source = start();
    source.want([WEB]);
    expect(source.bundle).toBeUndefined();
    expect(troubleOf(source)).toEqual({ [NODE_ID]: 'SVID_MISSING', [WEB_ID]: 'SVID_MISSING' });
    put('shop.web', svidOf(WEB_ID));
    await clock.advance(10_000);
    expect(troubleOf(source)).toEqual({ [NODE_ID]: 'SVID_MISSING', [WEB_ID]: 'SVID_FILES_INCOMPLETE' });
    put('node', svidOf(NODE_ID));
    await clock.advance(10_000);
    expect(source.workload(WEB)).toBeDefined();
    expect(source.trouble.size).toBe(0);
  });

  it('hears of a change without waiting for the next time that it reads', async () => {
    put('node', svidOf(NODE_ID));
    const source = start(HOUR / 2);
    source.want([WEB]);
    put('shop.web', svidOf(WEB_ID));
    await vi.waitFor(async () => {
      await clock.advance(50);
      expect(source.workload(WEB)).toBeDefined();
    }, PATIENCE);
    const next = svidOf(WEB_ID);
    put('shop.web', next);
    await vi.waitFor(async () => {
      await clock.advance(50);
      expect(source.workload(WEB)?.serial).toBe(next.serial);
    }, PATIENCE);
  });

  it('tells of a change once, and of nothing where nothing has changed', async () => {
    put('node', svidOf(NODE_ID));
    const source = start();
    let calls = 0;
    source.subscribe(() => {
      calls++;
    });
    await clock.advance(60_000);
    expect(calls).toBe(0);
    put('node', svidOf(NODE_ID));
    await clock.advance(10_000);
    expect(calls).toBe(1);
  });
});

describe('files that are replaced', () => {
  beforeEach(() => put('node', svidOf(NODE_ID)));

  it('in place of the old ones: the last good pair is in use until both are there', async () => {
    const [old, next] = [svidOf(WEB_ID), svidOf(WEB_ID)];
    put('shop.web', old);
    const source = start();
    source.want([WEB]);
    const seen = new Set<string | undefined>();
    source.subscribe(() => seen.add(source.workload(WEB)?.serial));
    writeFileSync(join(dir, 'shop.web', 'tls.crt'), next.chain.join(''));
    await clock.advance(4000);
    expect(source.workload(WEB)?.serial).toBe(old.serial);
    // Cut off as it is written.
    writeFileSync(join(dir, 'shop.web', 'tls.key'), keyOf(next).slice(0, 60));
    await clock.advance(500);
    expect(source.workload(WEB)?.serial).toBe(old.serial);
    writeFileSync(join(dir, 'shop.web', 'tls.key'), keyOf(next));
    await clock.advance(10_000);
    expect(source.workload(WEB)?.serial).toBe(next.serial);
    expect(source.trouble.size).toBe(0);
    expect([...seen]).toEqual([next.serial]);
  });

  it('by half for good: the old one stays in use, and the trouble says what is wrong', async () => {
    const old = svidOf(WEB_ID);
    put('shop.web', old);
    const source = start();
    source.want([WEB]);
    writeFileSync(join(dir, 'shop.web', 'tls.crt'), svidOf(WEB_ID).chain.join(''));
    await clock.advance(20_000);
    expect(source.workload(WEB)?.serial).toBe(old.serial);
    expect(troubleOf(source)).toEqual({ [WEB_ID]: 'SVID_KEY_MISMATCH' });
    await clock.advance(HOUR);
    expect(source.workload(WEB)).toBeUndefined();
  });

  it('by kubelet: from one version to the next', async () => {
    const [old, next] = [svidOf(WEB_ID), svidOf(WEB_ID)];
    putAsKubelet('shop.web', '2026_1', old);
    const source = start(HOUR / 2);
    source.want([WEB]);
    expect(source.workload(WEB)?.serial).toBe(old.serial);
    const seen = new Set<string | undefined>();
    source.subscribe(() => seen.add(source.workload(WEB)?.serial));
    putAsKubelet('shop.web', '2026_2', next);
    rmSync(join(dir, 'shop.web', '..2026_1'), { recursive: true });
    await vi.waitFor(async () => {
      await clock.advance(50);
      expect(source.workload(WEB)?.serial).toBe(next.serial);
    }, PATIENCE);
    expect([...seen]).toEqual([next.serial]);
  });

  it('together with their authority: the node is never without a certificate', async () => {
    const source = start();
    const other = newAuthority();
    const next = svidOf(NODE_ID, other);
    const seen: (string | undefined)[] = [];
    source.subscribe(() => seen.push(source.node?.serial));
    writeFileSync(join(dir, 'node', 'ca.crt'), other.certificate.toString());
    await clock.advance(2000);
    expect(seen).toEqual([]);
    put('node', next, other.certificate.toString());
    await clock.advance(10_000);
    expect(new Set(seen)).toEqual(new Set([next.serial]));
    expect(source.bundle?.authorities[0]?.serialNumber).toBe(other.certificate.serialNumber);
  });
});

describe('files that are taken away', () => {
  beforeEach(() => {
    put('node', svidOf(NODE_ID));
    put('shop.web', svidOf(WEB_ID));
  });

  it('with their folder: the certificate is gone at once', async () => {
    const source = start(HOUR);
    source.want([WEB]);
    rmSync(join(dir, 'shop.web'), { recursive: true });
    await vi.waitFor(async () => {
      await clock.advance(50);
      expect(source.workload(WEB)).toBeUndefined();
    }, PATIENCE);
    expect(troubleOf(source)).toEqual({ [WEB_ID]: 'SVID_MISSING' });
  });

  it('one of them: the certificate is gone after a moment', async () => {
    const source = start();
    source.want([WEB]);
    unlinkSync(join(dir, 'shop.web', 'tls.crt'));
    await clock.advance(20_000);
    expect(source.workload(WEB)).toBeUndefined();
    expect(source.trouble.get(WEB_ID)?.path).toBe(join(dir, 'shop.web', 'tls.crt'));
    expect(troubleOf(source)).toEqual({ [WEB_ID]: 'SVID_FILES_INCOMPLETE' });
  });

  it('one of them, when nothing else happens', async () => {
    const source = start(100 * HOUR);
    source.want([WEB]);
    unlinkSync(join(dir, 'shop.web', 'tls.key'));
    await vi.waitFor(async () => {
      await clock.advance(1000);
      expect(source.workload(WEB)).toBeUndefined();
    }, PATIENCE);
    expect(troubleOf(source)).toEqual({ [WEB_ID]: 'SVID_FILES_INCOMPLETE' });
  });

  it('the authority that signed them: they are gone with it', async () => {
    const source = start();
    source.want([WEB]);
    const other = newAuthority();
    put('node', svidOf(NODE_ID, other), other.certificate.toString());
    await clock.advance(10_000);
    expect(source.node).toBeDefined();
    expect(source.workload(WEB)).toBeUndefined();
    expect(troubleOf(source)).toEqual({ [WEB_ID]: 'SVID_AUTHORITY_UNKNOWN' });
  });
});

describe('files that are not used', () => {
  it('a key that everybody can read, which is named', async () => {
    put('node', svidOf(NODE_ID));
    put('shop.web', svidOf(WEB_ID));
    chmodSync(join(dir, 'shop.web', 'tls.key'), 0o644);
    chmodSync(join(dir, 'node', 'tls.key'), 0o640);
    const source = start();
    source.want([WEB]);
    expect(source.node).toBeDefined();
    expect(source.workload(WEB)).toBeUndefined();
    expect(source.trouble.get(WEB_ID)).toMatchObject({
      code: 'SVID_KEY_EXPOSED',
      path: join(dir, 'shop.web', 'tls.key'),
    });
    chmodSync(join(dir, 'shop.web', 'tls.key'), 0o400);
    await clock.advance(10_000);
    expect(source.workload(WEB)).toBeDefined();
  });

  it.each([
    [
      'the certificate of another workload',
      () => svidOf('spiffe://cluster.local/ns/shop/sa/pay'),
      'SVID_ID_UNEXPECTED',
    ],
    ["a node's certificate", () => svidOf(NODE_ID), 'SVID_ID_UNEXPECTED'],
    ['one of another trust domain', () => svidOf('spiffe://other.mesh/ns/shop/sa/web'), 'SVID_OTHER_TRUST_DOMAIN'],
    ['one that has expired', () => svidOf(WEB_ID, authority, clock.now() - 1000), 'SVID_EXPIRED'],
  ])('%s', (_, make, code) => {
    put('node', svidOf(NODE_ID));
    put('shop.web', make());
    const source = start();
    source.want([WEB]);
    expect(source.workload(WEB)).toBeUndefined();
    expect(troubleOf(source)).toEqual({ [WEB_ID]: code });
  });

  it("an authority that only a workload's folder has", () => {
    put('node', svidOf(NODE_ID));
    const other = newAuthority();
    put('shop.web', svidOf(WEB_ID, other), other.certificate.toString());
    const source = start();
    source.want([WEB]);
    expect(source.workload(WEB)).toBeUndefined();
    expect(source.bundle?.authorities).toHaveLength(1);
    expect(troubleOf(source)).toEqual({ [WEB_ID]: 'SVID_AUTHORITY_UNKNOWN' });
  });

  it('a leaf in the place of an authority', () => {
    const leaf = svidOf(NODE_ID);
    put('node', svidOf(NODE_ID), leaf.chain.join(''));
    const source = start();
    expect(source.bundle).toBeUndefined();
    expect(troubleOf(source)).toEqual({ '': 'SVID_MALFORMED', [NODE_ID]: 'SVID_MALFORMED' });
  });

  it('those whose name leads out of the folder', () => {
    put('node', svidOf(NODE_ID));
    const source = start();
    const out = { namespace: '../shop', serviceAccount: 'web' };
    source.want([out]);
    expect([...source.trouble.values()].map(({ code }) => code)).toEqual(['SVID_ID_INVALID']);
    source.want([]);
    expect(source.trouble.size).toBe(0);
  });

  it('a folder that leads round in circles, or is none', () => {
    put('node', svidOf(NODE_ID));
    symlinkSync('shop.web', join(dir, 'shop.web'));
    writeFileSync(join(dir, 'shop.pay'), 'a file');
    const source = start();
    source.want([WEB, { namespace: 'shop', serviceAccount: 'pay' }]);
    expect(source.trouble.get(WEB_ID)?.code).toBe('SVID_FILES_INCOMPLETE');
    expect(source.trouble.get('spiffe://cluster.local/ns/shop/sa/pay')?.code).toBe('SVID_MISSING');
  });

  it('those that nobody wants any more', () => {
    put('node', svidOf(NODE_ID));
    put('shop.web', svidOf(WEB_ID));
    const source = start();
    source.want([WEB]);
    source.want([]);
    expect(source.workload(WEB)).toBeUndefined();
    expect(source.trouble.size).toBe(0);
  });
});

it('a certificate ends when its time ends, though its file is still there', async () => {
  put('node', svidOf(NODE_ID));
  const source = start();
  await clock.advance(HOUR - 1000);
  expect(source.node).toBeDefined();
  await clock.advance(1000);
  expect(source.node).toBeUndefined();
  expect(troubleOf(source)).toEqual({ [NODE_ID]: 'SVID_EXPIRED' });
});
