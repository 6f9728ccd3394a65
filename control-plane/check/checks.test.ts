import { expect, test } from 'vitest';
import { encryption } from './checks.ts';

test('a kernel with WireGuard needs nothing else', () => {
  expect(encryption({ kernel: true, userSpace: false, missing: 'no TUN' })).toMatchObject({ result: 'ok', hint: '' });
});

test('without it: a process does it, and what that costs is said', () => {
  const found = encryption({ kernel: false, userSpace: true, missing: undefined });
  expect(found).toMatchObject({ name: 'WireGuard', result: 'warning' });
  expect(found.hint).toContain('costs more CPU');
});

test('with neither: what is refused then, and what is missing', () => {
  const found = encryption({ kernel: false, userSpace: false, missing: '/dev/net/tun is not there' });
  expect(found.result).toBe('warning');
  expect(found.detail).toContain('/dev/net/tun is not there');
  expect(found.hint).toContain('refused');
});
