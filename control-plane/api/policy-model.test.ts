/** What accepted policies mean: every field of the surface -> the words of the model (cilium.md §1). */
import { expect, test } from 'vitest';
import { formatPrefix } from '../model/address.ts';
import type { Peers, Policy, Rule, Selector } from '../model/policy.ts';
import { CLUSTERWIDE_HEAD, HEAD, only, parsePolicy, withSections } from './samples.ts';

const NAMESPACE = 'k8s:io.kubernetes.pod.namespace';

function firstRule(policy: Policy): Rule {
  const [rule] = policy.rules;
  if (rule === undefined) throw new Error('no rule');
  return rule;
}

function selectedBy(sections: string, head = HEAD): Peers & { kind: 'selected' } {
  const { peers } = firstRule(only(withSections(sections, head)));
  if (peers.kind !== 'selected') throw new Error(peers.kind);
  return peers;
}

/** `key=value` and `key Operator values`, of each selector. */
function conditions(selectors: readonly Selector[]): string[][] {
  return selectors.map(({ matchLabels, matchExpressions = [] }) => [
    ...[...matchLabels].map(([key, value]) => `${key}=${value}`),
    ...matchExpressions.map(({ key, operator, values }) => [key, operator, ...values].join(' ')),
  ]);
}

/** `prefix` or `prefix - except - except`. */
function ranges(peers: Peers & { kind: 'selected' }): string[] {
  return (peers.cidrs ?? []).map(({ prefix, except }) => [prefix, ...except].map(formatPrefix).join(' - '));
}

test('expressions keep their operators, with sorted values and the source in the key', () => {
  const text =
    'ingress: [{ fromEndpoints: [{ matchExpressions: [{ key: app, operator: In, values: [b, a, b] }, { key: "k8s:x", operator: Exists }] }] }]';
  expect(conditions(selectedBy(text).selectors)).toEqual([[`${NAMESPACE}=shop`, 'any:app In a b', 'k8s:x Exists']]);
});

test.each([
  [
    '{ matchExpressions: [{ key: io.kubernetes.pod.namespace, operator: Exists }] }',
    [`any:${NAMESPACE.slice(4)} Exists`],
  ],
  [
    '{ matchExpressions: [{ key: io.cilium.k8s.namespace.labels.team, operator: In, values: [red] }] }',
    ['any:io.cilium.k8s.namespace.labels.team In red'],
  ],
  ['{ matchExpressions: [{ key: "reserved:host", operator: Exists }] }', ['reserved:host Exists']],
  // A namespace's own label with its name is the namespace itself.
  ['{ matchLabels: { io.cilium.k8s.namespace.labels.kubernetes.io/metadata.name: ops } }', [`${NAMESPACE} In ops`]],
])('the peer %s is not bound to the namespace of the policy', (selector, expected) => {
  expect(conditions(selectedBy(`ingress: [{ fromEndpoints: [${selector}] }]`).selectors)).toEqual([expected]);
});

test('a clusterwide policy is about pods of every namespace, and so are its peers', () => {
  const policy = only(
    withSections('ingress: [{ fromEndpoints: [{}, { matchLabels: { app: web } }] }]', CLUSTERWIDE_HEAD),
  );
  expect(policy.ref).toEqual({ kind: 'CiliumClusterwideNetworkPolicy', namespace: '', name: 'p' });
  expect(conditions([policy.subject])).toEqual([['any:app=api']]);
  const { peers } = firstRule(policy);
  expect(peers.kind === 'selected' && conditions(peers.selectors)).toEqual([
    [`${NAMESPACE} Exists`],
    ['any:app=web', `${NAMESPACE} Exists`],
  ]);
});

test.each(['"reserved:host": ""', 'io.kubernetes.pod.namespace: ops'])(
  'a clusterwide peer with %s needs no namespace beside it',
  (label) => {
    const text = `ingress: [{ fromEndpoints: [{ matchLabels: { ${label} } }] }]`;
    expect(conditions(selectedBy(text, CLUSTERWIDE_HEAD).selectors)[0]).toHaveLength(1);
  },
);

test('a clusterwide peer by a label of its namespace takes pods only', () => {
  const text = 'ingress: [{ fromEndpoints: [{ matchLabels: { io.cilium.k8s.namespace.labels.team: red } }] }]';
  expect(conditions(selectedBy(text, CLUSTERWIDE_HEAD).selectors)).toEqual([
    ['any:io.cilium.k8s.namespace.labels.team=red', `${NAMESPACE} Exists`],
  ]);
});

test('addresses alone are ranges of one; bits behind the length are dropped', () => {
  const peers = selectedBy('egress: [{ toCIDR: [192.0.2.1, 10.1.2.3/8, "2001:db8::1", "2001:db8::1/32"] }]');
  expect(ranges(peers)).toEqual(['192.0.2.1/32', '10.0.0.0/8', '2001:db8::1/128', '2001:db8::/32']);
  expect([peers.selectors, peers.entities]).toEqual([[], []]);
});

test('sets have exceptions, and groups by name or by their labels', () => {
  const peers = selectedBy(
    'ingress: [{ fromCIDRSet: [{ cidr: 10.0.0.0/8, except: [10.96.0.0/12] }, { cidrGroupRef: office, except: [192.0.2.0/28] }, { cidrGroupSelector: { matchLabels: { site: a } } }] }]',
  );
  expect(ranges(peers)).toEqual(['10.0.0.0/8 - 10.96.0.0/12']);
  const [byName, byLabels] = peers.cidrGroups ?? [];
  expect(byName?.group).toEqual({ name: 'office' });
  expect(byName?.except.map(formatPrefix)).toEqual(['192.0.2.0/28']);
  expect(byLabels && 'selector' in byLabels.group && conditions([byLabels.group.selector])).toEqual([['any:site=a']]);
});

test('an empty list of ranges is nobody, as is one of Services or names', () => {
  for (const field of ['toCIDR', 'toCIDRSet', 'toServices', 'toFQDNs'])
    expect(selectedBy(`egress: [{ ${field}: [] }]`)).toEqual({ kind: 'selected', selectors: [], entities: [] });
});

test('world of one family is a range, the other entities are themselves', () => {
  const peers = selectedBy('egress: [{ toEntities: [world-ipv4, cluster, world-ipv6, kube-apiserver] }]');
  expect(ranges(peers)).toEqual(['0.0.0.0/0', '::/0']);
  expect(peers.entities).toEqual(['cluster', 'kube-apiserver']);
});

test('Services are meant by name, in one namespace or in all, or by their labels', () => {
  const { services = [] } = selectedBy(
    'egress: [{ toServices: [{ k8sService: { serviceName: a, namespace: b } }, { k8sService: { serviceName: a } }, { k8sServiceSelector: { selector: { matchLabels: { c: d } } } }] }]',
  );
  expect(
    services.map(({ namespace, service }) => [
      namespace,
      'name' in service ? service.name : conditions([service.selector]),
    ]),
  ).toEqual([
    ['b', 'a'],
    ['', 'a'],
    ['', [['any:c=d']]],
  ]);
});

test.each([
  ['{ matchName: "Example.COM." }', { matchName: 'example.com' }],
  ['{ matchPattern: "*.Example.com." }', { matchPattern: '*.example.com' }],
  ['{ matchPattern: "**.example.com" }', { matchPattern: '**.example.com' }],
  ['{ matchPattern: "a**b.com" }', { matchPattern: 'a*b.com' }],
  ['{ matchPattern: "*" }', { matchPattern: '*' }],
])('the name %s is %j', (name, expected) => {
  expect(selectedBy(`egress: [{ toFQDNs: [${name}] }]`).names).toEqual([expected]);
});

test.each([
  ['{ type: 8 }', [{ protocol: 1, port: 8 }]],
  ['{ type: "0" }', [{ protocol: 1, port: 0 }]],
  ['{ type: EchoReply, family: IPv4 }', [{ protocol: 1, port: 0 }]],
  ['{ type: EchoRequest, family: IPv6 }', [{ protocol: 58, port: 128 }]],
  [
    '{ type: 3 }, { type: 1, family: IPv6 }',
    [
      { protocol: 1, port: 3 },
      { protocol: 58, port: 1 },
    ],
  ],
])('the ICMP types %s are %j', (fields, expected) => {
  expect(firstRule(only(withSections(`ingress: [{ icmps: [{ fields: [${fields}] }] }]`))).ports).toEqual(expected);
});

test.each([
  ['{ port: "80", endPort: 90, protocol: TCP }', { port: 80, endPort: 90 }],
  ['{ port: "80", endPort: 80, protocol: TCP }', { port: 80 }],
  ['{ port: "80", endPort: 70, protocol: TCP }', { port: 80 }],
  ['{ port: "0", endPort: 65535, protocol: TCP }', { port: 0 }],
  ['{ port: "0", endPort: 9, protocol: TCP }', { port: 1, endPort: 9 }],
  ['{ port: "0", endPort: 1, protocol: TCP }', { port: 1 }],
  ['{ port: HTTP, protocol: TCP }', { port: 0, name: 'http' }],
  ['{ port: "0x10", protocol: TCP }', { port: 0, name: '0x10' }],
])('the port %s is %j', (port, expected) => {
  const rule = firstRule(only(withSections(`ingress: [{ toPorts: [{ ports: [${port}] }] }]`)));
  expect(rule.ports).toEqual([{ protocol: 6, ...expected }]);
});

test.each([
  ['X-A: b c', { name: 'x-a', value: 'b c' }],
  ['X-A b', { name: 'x-a', value: 'b' }],
  ['X-A', { name: 'x-a' }],
  ['X-A: ', { name: 'x-a' }],
])('the header %j is %j', (header, expected) => {
  const text = `ingress: [{ toPorts: [{ ports: [{ port: 80, protocol: TCP }], rules: { http: [{ headers: ["${header}"] }] } }] }]`;
  expect(firstRule(only(withSections(text))).ports[0]?.http?.[0]?.match).toEqual({ headers: [expected] });
});

test('headers and headerMatches are one list, in that order', () => {
  const text =
    'ingress: [{ toPorts: [{ ports: [{ port: 80, protocol: TCP }], rules: { http: [{ headerMatches: [{ name: B, value: c, mismatch: REPLACE }, { name: D, mismatch: LOG }], headers: [A] }] } }] }]';
  expect(firstRule(only(withSections(text))).ports[0]?.http?.[0]?.match).toEqual({
    headers: [{ name: 'a' }, { name: 'b', value: 'c', mismatch: 'REPLACE' }, { name: 'd', mismatch: 'LOG' }],
  });
});

test('DNS rules are for UDP and TCP of a port, named by their paths', () => {
  const text =
    'egress: [{ toPorts: [{ ports: [{ port: 53 }], rules: { dns: [{ matchName: a.b }, { matchPattern: "*.c" }] } }] }]';
  const rule = firstRule(only(withSections(text)));
  expect(
    rule.ports.map(({ protocol, port, dns }) => [protocol, port, dns?.map(({ ref, match }) => [ref.rule, match])]),
  ).toEqual(
    [6, 17].map((protocol) => [
      protocol,
      53,
      [
        ['egress[0].toPorts[0].rules.dns[0]', { matchName: 'a.b' }],
        ['egress[0].toPorts[0].rules.dns[1]', { matchPattern: '*.c' }],
      ],
    ]),
  );
});

test('TLS names are sorted, each once', () => {
  const text = 'egress: [{ toPorts: [{ ports: [{ port: 443, protocol: TCP }], serverNames: [b.c, "*.A.b", b.c] }] }]';
  expect(firstRule(only(withSections(text))).ports).toEqual([
    { protocol: 6, port: 443, serverNames: ['*.a.b', 'b.c'] },
  ]);
});

test('deny sections give rules that deny, and switch default deny on', () => {
  const policy = only(withSections('ingressDeny: [{ fromEntities: [world] }]\n  egressDeny: [{}]'));
  expect(policy.rules.map(({ ref, direction, deny }) => [ref.rule, direction, deny])).toEqual([
    ['ingressDeny[0]', 'ingress', true],
  ]);
  expect(policy.defaultDeny).toEqual({ ingress: true, egress: true });
});

test.each([
  ['{}', { ingress: true, egress: false }],
  ['{ ingress: false }', { ingress: false, egress: false }],
  ['{ egress: true }', { ingress: true, egress: true }],
  ['{ ingress: null, egress: false }', { ingress: true, egress: false }],
])('enableDefaultDeny %s beside ingress is %j', (value, expected) => {
  expect(only(withSections(`ingress: [{}]\n  enableDefaultDeny: ${value}`)).defaultDeny).toEqual(expected);
});

test('what goes along with the rules is kept', () => {
  const policy = only(
    withSections(
      'ingress: [{}]\n  log: { value: because }\n  labels: [{ key: team, value: red, source: k8s }, { key: a }]',
    ),
  );
  expect([policy.log, policy.labels]).toEqual(['because', ['k8s:team=red', 'unspec:a']]);
  expect('audit' in policy).toBe(false);
});

test('a policy on trial says so, a refused one too: nobody asked to be closed', () => {
  const head = HEAD.replace('name: p', 'name: p, annotations: { sidestep.dev/audit: "true" }');
  expect(only(withSections('ingress: [{}]', head)).audit).toBe(true);
  expect(withSections('ingress: [{ x: 1 }]', head).closed).toMatchObject([{ audit: true, refused: true }]);
});

test('a rule with a part that cannot be read closes, it does not widen', () => {
  const { policies, closed } = parsePolicy(
    `${HEAD}spec: { endpointSelector: {}, enableDefaultDeny: { ingress: false }, ingress: [{ fromNodes: [{}] }] }`,
  );
  expect(policies).toEqual([]);
  expect(closed).toMatchObject([{ rules: [], defaultDeny: { ingress: true, egress: false } }]);
});
