import { expect, test } from 'vitest';
import type { NamedPort } from '../model/objects.ts';
import type { Policy, PortMatch } from '../model/policy.ts';
import { IngressPorts, numbered, unionOfPorts } from './named-ports.ts';

const http = { name: 'http', protocol: 6, port: 8080 };
const ref = { kind: 'NetworkPolicy', namespace: 'shop', name: 'guard' };
const policy = (...ports: PortMatch[]): Policy => ({
  ref,
  subject: { matchLabels: new Map() },
  defaultDeny: { egress: false, ingress: true },
  rules: [{ ref: { ...ref, rule: 'ingress[0]' }, direction: 'ingress', peers: { kind: 'any' }, ports }],
  refused: false,
});

test('a name stands for the ports that have it under that protocol', () => {
  const known = [http, { name: 'http', protocol: 17, port: 1 }, { name: 'http', protocol: 6, port: 8081 }];
  expect(numbered({ protocol: 6, port: 0, name: 'http' }, known)).toEqual([
    { protocol: 6, port: 8080 },
    { protocol: 6, port: 8081 },
  ]);
  expect(numbered({ protocol: 6, port: 0, name: 'https' }, known)).toEqual([]);
  expect(numbered({ protocol: 6, port: 5 }, known)).toEqual([{ protocol: 6, port: 5 }]);
});

const resolved = (ports: IngressPorts, from: Policy, ...known: NamedPort[]): Policy | undefined =>
  ports.resolve([from], known).policies[0];

test('a rule of unknown names only matches nothing, and never every port', () => {
  const ports = new IngressPorts();
  const unknown = policy({ protocol: 6, port: 0, name: 'other' });
  expect(resolved(ports, unknown, http)?.rules).toEqual([]);
  const both = policy({ protocol: 6, port: 0, name: 'other' }, { protocol: 6, port: 0, name: 'http' });
  expect(resolved(ports, both, http)?.rules[0]?.ports).toEqual([{ protocol: 6, port: 8080 }]);
});

test('the same ports give the same object, and policies without names are themselves', () => {
  const ports = new IngressPorts();
  const named = policy({ protocol: 6, port: 0, name: 'http' });
  const other = { name: 'metrics', protocol: 6, port: 9 };
  expect(resolved(ports, named, http)).toBe(resolved(ports, named, http, other));
  expect(resolved(ports, named, { ...http, port: 1 })).not.toBe(resolved(ports, named, http));
  const plain = [policy({ protocol: 6, port: 80 })];
  expect(ports.resolve(plain, [http])).toEqual({ policies: plain, ports: '' });
  expect(ports.resolve(plain, [http]).policies).toBe(plain);
  expect(ports.resolve([named], [http, other]).ports).toBe('http=6/8080');
});

test('ports of several pods add up, each once', () => {
  const other = { name: 'http', protocol: 6, port: 80 };
  expect(unionOfPorts([[http], [http, other]])).toEqual([other, http]);
});
