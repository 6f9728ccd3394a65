/** Names, keys, settings, and what can be had here: what the tunnel finds in files. */
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { keyText, loadKeys, newKeys, publicKeyOf, replaceKeys } from './keys.ts';
import { deviceName, tunnelName } from './names.ts';
import { chooseTunnel, tunnelSupport } from './probe.ts';
import { assertDeviceSettings } from './settings.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'sidestep-tunnel-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

describe('names', () => {
  test('are the instance’s where they fit, and never longer than the kernel takes', () => {
    expect(tunnelName('default')).toBe('swg-default');
    expect(tunnelName('elevenchars')).toBe('swg-elevenchars');
    expect(tunnelName('twelve-chars')).toMatch(/^swg_[0-9a-f]{11}$/);
  });

  test('of two instances are two', () => {
    const instances = [
      'a',
      'b',
      'x'.repeat(31),
      'x'.repeat(32),
      `${'x'.repeat(31)}y`,
      tunnelName('x'.repeat(31)).slice(4),
    ];
    expect(new Set(instances.map((each) => deviceName('swg', each))).size).toBe(instances.length);
  });
});

describe('the key', () => {
  const file = (): string => join(folder, 'tunnel', 'private.key');
  const load = () => loadKeys(join(folder, 'tunnel'));

  test('is made once, for this node’s eyes only, and is the same ever after', () => {
    const keys = load();
    expect(statSync(file()).mode & 0o777).toBe(0o600);
    expect(statSync(join(folder, 'tunnel')).mode & 0o777).toBe(0o700);
    expect(readFileSync(file(), 'utf8')).toBe(`${keyText(keys.privateKey)}\n`);
    expect(load()).toEqual(keys);
  });

  test('has the public key of RFC 7748 §6.1', () => {
    const bob = Buffer.from('5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb', 'hex');
    expect(Buffer.from(publicKeyOf(bob)).toString('hex')).toBe(
      'de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f',
    );
  });

  test('is clamped, so that two can be compared', () => {
    load();
    writeFileSync(file(), `${Buffer.alloc(32, 0xff).toString('base64')}\n`);
    const { privateKey } = load();
    expect([(privateKey[0] ?? 0) & 7, (privateKey[31] ?? 0) >> 6]).toEqual([0, 1]);
  });

  test.each([0o640, 0o604, 0o660, 0o644])('of mode %o is not taken', (mode) => {
    load();
    chmodSync(file(), mode);
    expect(load).toThrow(expect.objectContaining({ code: 'TUNNEL_KEY_UNSAFE', path: file() }));
  });

  test('in a folder that others may write into is not taken', () => {
    load();
    chmodSync(join(folder, 'tunnel'), 0o770);
    expect(load).toThrow(expect.objectContaining({ code: 'TUNNEL_KEY_UNSAFE' }));
  });

  test('that a link leads to is not taken', () => {
    mkdirSync(join(folder, 'tunnel'), { mode: 0o700 });
    writeFileSync(join(folder, 'other'), keyText(new Uint8Array(32).fill(1)), { mode: 0o600 });
    symlinkSync(join(folder, 'other'), file());
    expect(load).toThrow(expect.objectContaining({ code: 'TUNNEL_KEY_UNSAFE' }));
  });

  test.each(['', 'short', 'A'.repeat(43), `${'A'.repeat(43)}=`, 'x'.repeat(2000), `${'A'.repeat(42)}!=`])(
    'is never replaced, even when it is none: %j',
    (text) => {
      load();
      writeFileSync(file(), text);
      expect(load).toThrow(expect.objectContaining({ code: 'TUNNEL_KEY_UNSAFE' }));
      expect(readFileSync(file(), 'utf8')).toBe(text);
    },
  );

  test('is replaced by another, of which the next agent knows, and nothing of the old one stays', () => {
    const old = load();
    const next = newKeys();
    replaceKeys(join(folder, 'tunnel'), next);
    expect(load()).toMatchObject({ privateKey: next.privateKey, publicKey: next.publicKey });
    expect(next.privateKey).not.toEqual(old.privateKey);
    expect(statSync(file()).mode & 0o777).toBe(0o600);
    expect(readdirSync(join(folder, 'tunnel'))).toEqual(['private.key']);
  });

  test('stays when another cannot be written', () => {
    const old = load();
    expect(() => replaceKeys(join(folder, 'nowhere'), newKeys())).toThrow(
      expect.objectContaining({ code: 'STATE_UNUSABLE' }),
    );
    expect(load()).toEqual(old);
  });

  test('that cannot be written is said to be so', () => {
    writeFileSync(join(folder, 'tunnel'), 'a file in the way');
    expect(load).toThrow(expect.objectContaining({ code: 'STATE_UNUSABLE' }));
  });
});

describe('settings of the device', () => {
  const make = (values: Readonly<Record<string, string>>): void => {
    for (const [path, value] of Object.entries(values)) {
      mkdirSync(join(folder, path, '..'), { recursive: true });
      writeFileSync(join(folder, path), `${value}\n`);
    }
  };
  const read = (path: string): string => readFileSync(join(folder, path), 'utf8').trim();

  test.each([
    ['0', '0'],
    ['1', '2'],
    ['2', '0'],
  ])('let sources pass that WireGuard has checked, where the check of all devices is %s', (all, wanted) => {
    make({ 'ipv4/conf/all/rp_filter': all, 'ipv4/conf/swg-x/rp_filter': '1' });
    expect(assertDeviceSettings('swg-x', folder)).toEqual(['ipv4/conf/swg-x/rp_filter']);
    expect(read('ipv4/conf/swg-x/rp_filter')).toBe(wanted);
    expect(assertDeviceSettings('swg-x', folder)).toEqual([]);
  });

  test('make IPv6 quiet, and there', () => {
    const conf = 'ipv6/conf/swg-x';
    make({ [`${conf}/disable_ipv6`]: '1', [`${conf}/addr_gen_mode`]: '0', [`${conf}/accept_ra`]: '1' });
    expect(assertDeviceSettings('swg-x', folder)).toHaveLength(3);
    expect(['disable_ipv6', 'addr_gen_mode', 'accept_ra'].map((name) => read(`${conf}/${name}`))).toEqual([
      '0',
      '1',
      '0',
    ]);
  });
});

describe('what can be had here', () => {
  const tool = '/bin/sh';
  const device = '/dev/null';

  test('is found', () => {
    expect(tunnelSupport(true, tool, device)).toEqual({ kernel: true, userSpace: true, tun: true, missing: undefined });
    expect(tunnelSupport(false, '/no/such', device).missing).toContain('/no/such');
    expect(tunnelSupport(false, folder, device).missing).toContain('not a program');
    writeFileSync(join(folder, 'plain'), '');
    expect(tunnelSupport(false, join(folder, 'plain'), device).missing).toContain('cannot be run');
    expect(tunnelSupport(false, tool, '/no/tun').missing).toContain('CONFIG_TUN');
    expect(tunnelSupport(true, tool, '/no/tun')).toMatchObject({ kernel: true, tun: false });
  });

  test('is chosen: the kernel’s first', () => {
    const both = tunnelSupport(true, tool, device);
    const process = tunnelSupport(false, tool, device);
    const none = tunnelSupport(false, '/no/such', device);
    expect(chooseTunnel('auto', both)).toBe('kernel');
    expect(chooseTunnel('auto', process)).toBe('user-space');
    expect(chooseTunnel('user-space', both)).toBe('user-space');
    expect(() => chooseTunnel('kernel', process)).toThrow(
      expect.objectContaining({ code: 'TUNNEL_UNAVAILABLE', message: expect.stringContaining('CONFIG_WIREGUARD') }),
    );
    expect(() => chooseTunnel('auto', none)).toThrow(/CONFIG_WIREGUARD.*\/no\/such/);
    expect(() => chooseTunnel('user-space', none)).toThrow(/^\/no\/such/);
  });

  test('is what the install script says', () => {
    const said = execFileSync(join(import.meta.dirname, '../../scripts/wireguard.sh'), ['--path'], {
      encoding: 'utf8',
    });
    expect(said).toMatch(/^\/.*\n$/);
  });
});
