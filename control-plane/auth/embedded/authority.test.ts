import { chmodSync, mkdtempSync, readdirSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import { HOUR, NOW, newKeys, TRUST_DOMAIN } from '../samples.ts';
import { verifySvid } from '../verify.ts';
import { Authority } from './authority.ts';

const ID = 'spiffe://cluster.local/node/a';
const DAY = 24 * HOUR;
const MINUTE = HOUR / 60;
let folder: string;

beforeEach(() => {
  folder = join(mkdtempSync(join(tmpdir(), 'sidestep-ca-')), 'ca');
  onTestFinished(() => rmSync(folder, { recursive: true }));
});

const open = (now = NOW): Authority => Authority.open(folder, TRUST_DOMAIN, now);
const issue = (authority: Authority, now = NOW) => authority.issue(ID, newKeys().publicKey, HOUR, now);
const serials = (authority: Authority) => authority.bundle.authorities.map(({ serialNumber }) => serialNumber);

describe('the authority', () => {
  it('makes its key at the first start, for itself alone, and has it after a restart', () => {
    const first = open();
    expect(statSync(folder).mode & 0o777).toBe(0o700);
    for (const file of readdirSync(folder)) expect(statSync(join(folder, file)).mode & 0o777).toBe(0o600);
    const leaf = issue(first);
    const second = open(NOW + DAY);
    expect(serials(second)).toEqual(serials(first));
    expect(verifySvid([leaf], second.bundle, NOW).spiffeId).toBe(ID);
  });

  it('is valid for ten years, and nothing that it signs is valid longer', () => {
    const authority = open();
    const [root] = authority.bundle.authorities;
    expect(root?.validToDate.getTime()).toBe(NOW + 3650 * DAY);
    const late = authority.issue(ID, newKeys().publicKey, 10 * DAY, NOW + 3645 * DAY);
    expect(late.validToDate).toEqual(root?.validToDate);
  });

  it('dates certificates back, for nodes whose clock is behind', () => {
    const leaf = issue(open());
    expect(verifySvid([leaf], open().bundle, NOW - 10 * MINUTE).notAfter).toBe(NOW + HOUR);
  });

  it('dates one of a short life back by a part of it, so that it is not half over at once', () => {
    const leaf = open().issue(ID, newKeys().publicKey, MINUTE, NOW);
    expect(leaf.validFromDate).toEqual(new Date(NOW - 10_000));
  });

  it('goes on with the only key there is when the first start was cut off', () => {
    const first = open();
    rmSync(join(folder, 'signing'));
    expect(serials(open())).toEqual(serials(first));
    expect(readdirSync(folder)).toContain('signing');
  });
});

describe('a change of the key', () => {
  it('is known to all before it signs, and the old one as long as something of it lives', () => {
    const authority = open();
    const old = issue(authority);
    authority.stage(NOW + 1000);
    expect(authority.bundle.authorities).toHaveLength(2);
    const between = issue(authority);
    expect(between.issuer).toBe(old.issuer);
    const bundleOfThen = authority.bundle;

    authority.promote();
    const fresh = issue(authority, NOW + 2000);
    for (const leaf of [old, between, fresh])
      expect(verifySvid([leaf], bundleOfThen, NOW + 2000).spiffeId, 'with the bundle of before').toBe(ID);
    expect(readdirSync(folder).filter((file) => file.endsWith('.key'))).toHaveLength(1);

    authority.retire();
    expect(authority.bundle.authorities).toHaveLength(1);
    expect(() => verifySvid([old], authority.bundle, NOW)).toThrow('none of the 1 known authorities');
    expect(verifySvid([fresh], authority.bundle, NOW + 2000).spiffeId).toBe(ID);
  });

  it('outlives a restart after each step', () => {
    open().stage(NOW + 1000);
    const staged = open();
    expect(staged.bundle.authorities).toHaveLength(2);
    const before = issue(staged);
    open().promote();
    const promoted = open();
    expect(serials(promoted)).toEqual(serials(staged).toReversed());
    expect(verifySvid([before], promoted.bundle, NOW).spiffeId).toBe(ID);
    open().retire();
    expect(serials(open())).toEqual(serials(promoted).slice(0, 1));
  });

  it('needs a new key', () => {
    expect(() => open().promote()).toThrow('no new key was staged');
  });
});

describe('a folder that cannot be used', () => {
  const keyFile = () => readdirSync(folder).find((file) => file.endsWith('.key')) as string;
  const codeOf = (trustDomain = TRUST_DOMAIN): unknown => {
    try {
      Authority.open(folder, trustDomain, NOW);
      return 'usable';
    } catch (error) {
      return (error as { code?: string }).code;
    }
  };

  it('has a key that others can read', () => {
    open();
    chmodSync(join(folder, keyFile()), 0o640);
    expect(codeOf()).toBe('SVID_KEY_EXPOSED');
  });

  it.each([
    ['no key any more', () => rmSync(join(folder, keyFile()))],
    ['nonsense for a key', () => writeFileSync(join(folder, keyFile()), 'nonsense')],
    [
      'another key',
      () => {
        const key = newKeys().privateKey.export({ type: 'pkcs8', format: 'pem' });
        writeFileSync(join(folder, keyFile()), key);
      },
    ],
    ['a note of a key that is not there', () => writeFileSync(join(folder, 'signing'), 'ABC\n')],
    [
      'a certificate under another name',
      () => {
        const file = keyFile().replace('.key', '.crt');
        renameSync(join(folder, file), join(folder, 'ABC.crt'));
      },
    ],
    [
      'two keys and no note',
      () => {
        open().stage(NOW);
        rmSync(join(folder, 'signing'));
      },
    ],
  ])('has %s: no new authority is made', (_, harm) => {
    open();
    harm();
    const before = readdirSync(folder);
    expect(codeOf()).toBe('CA_STATE_UNUSABLE');
    expect(readdirSync(folder)).toEqual(before);
  });

  it('is of another trust domain', () => {
    open();
    expect(codeOf('other.mesh')).toBe('CA_STATE_UNUSABLE');
  });
});
