import { expect, test } from 'vitest';
import { parse } from 'yaml';
import type { ParsedPolicy } from './parsed-policy.ts';
import { faults, HEAD, only, parsePolicy, withSections } from './samples.ts';

function peersOf(sections: string): unknown {
  const [rule] = only(withSections(sections)).rules;
  return rule?.peers.kind === 'selected'
    ? {
        selectors: rule.peers.selectors.map(({ matchLabels }) => Object.fromEntries(matchLabels)),
        entities: rule.peers.entities,
      }
    : rule?.peers.kind;
}

const NAMESPACE = 'k8s:io.kubernetes.pod.namespace';

test('the subject is bound to the namespace of the policy, whatever its selector says', () => {
  const text = `${HEAD}spec: { endpointSelector: { matchLabels: { "io.kubernetes.pod.namespace": other } }, ingress: [{}] }`;
  expect([...only(parsePolicy(text)).subject.matchLabels]).toEqual([[NAMESPACE, 'shop']]);
});

test('without a namespace a policy is in the namespace default', () => {
  const text = `${HEAD.replace(', namespace: shop', '')}spec: { endpointSelector: {}, ingress: [{}] }`;
  expect(only(parsePolicy(text)).ref.namespace).toBe('default');
});

test('a peer selector means pods of the same namespace', () => {
  expect(peersOf('ingress: [{ fromEndpoints: [{ matchLabels: { app: web } }, {}] }]')).toEqual({
    selectors: [{ 'any:app': 'web', [NAMESPACE]: 'shop' }, { [NAMESPACE]: 'shop' }],
    entities: [],
  });
});

test.each([
  '"k8s:io.kubernetes.pod.namespace": ops',
  'io.kubernetes.pod.namespace: ops',
  'io.cilium.k8s.namespace.labels.team: red',
])('a peer selector that says %s is not bound to the namespace', (label) => {
  const peers = peersOf(`egress: [{ toEndpoints: [{ matchLabels: { ${label} } }] }]`) as { selectors: object[] };
  expect(peers.selectors[0]).not.toHaveProperty([NAMESPACE], 'shop');
  expect(Object.keys(peers.selectors[0] ?? {})).toHaveLength(1);
});

test('a reserved label is no pod of the namespace', () => {
  expect(peersOf('ingress: [{ fromEndpoints: [{ matchLabels: { "reserved:host": "" } }] }]')).toEqual({
    selectors: [{ 'reserved:host': '' }],
    entities: [],
  });
});

test.each([
  ['ingress: [{}]', []],
  ['ingress: [{ toPorts: [] }]', []],
  ['ingress: [{ fromEndpoints: null }]', []],
])('%s switches default deny on and allows nothing', (sections, rules) => {
  const policy = only(withSections(sections));
  expect(policy.rules).toEqual(rules);
  expect(policy.defaultDeny).toEqual({ ingress: true, egress: false });
});

test('an empty list of peers selects nobody, no list everybody', () => {
  expect(peersOf('ingress: [{ fromEndpoints: [] }]')).toEqual({ selectors: [], entities: [] });
  expect(peersOf('ingress: [{ fromEntities: [] }]')).toEqual({ selectors: [], entities: [] });
  expect(peersOf('ingress: [{ toPorts: [{ ports: [{ port: "80" }] }] }]')).toBe('any');
});

test('an empty section beside another is no section', () => {
  expect(only(withSections('ingress: []\n  egress: [{}]')).defaultDeny).toEqual({ ingress: false, egress: true });
  expect(only(withSections('ingress: null\n  egress: [{}]')).defaultDeny).toEqual({ ingress: false, egress: true });
});

test.each(['ingress: []', 'ingress: []\n  egress: []', 'description: nothing'])('%j alone is refused', (sections) => {
  expect(faults(withSections(sections))).toEqual(['POLICY_EMPTY spec']);
});

test('a policy without spec and specs is refused', () => {
  expect(faults(parsePolicy(HEAD))).toEqual(['POLICY_EMPTY spec']);
});

test.each([
  ['{ port: "80", protocol: TCP }', [[6, 80]]],
  ['{ port: 80, protocol: udp }', [[17, 80]]],
  ['{ port: "0", protocol: TCP }', [[6, 0]]],
  [
    '{ port: "80", protocol: ANY }',
    [
      [6, 80],
      [17, 80],
      [132, 80],
    ],
  ],
  [
    '{ port: "80", protocol: "" }',
    [
      [6, 80],
      [17, 80],
      [132, 80],
    ],
  ],
  [
    '{ port: 65535 }',
    [
      [6, 65535],
      [17, 65535],
      [132, 65535],
    ],
  ],
])('port %s is %j', (port, expected) => {
  const [rule] = only(withSections(`ingress: [{ toPorts: [{ ports: [${port}] }] }]`)).rules;
  expect(rule?.ports.map((match) => [match.protocol, match.port])).toEqual(expected);
});

test.each([
  ['{}', 'FIELD_REQUIRED', 'port'],
  ['{ port: "" }', 'FIELD_REQUIRED', 'port'],
  ['{ port: "65536" }', 'FIELD_INVALID', 'port'],
  ['{ port: -1 }', 'FIELD_INVALID', 'port'],
  ['{ port: 8.5 }', 'FIELD_INVALID', 'port'],
  ['{ port: true }', 'FIELD_INVALID', 'port'],
  ['{ port: "80", protocol: TPC }', 'FIELD_INVALID', 'protocol'],
])('port %s is refused: %s at %s', (port, code, field) => {
  const parsed = withSections(`ingress: [{ toPorts: [{ ports: [${port}] }] }]`);
  expect(faults(parsed)).toEqual([`${code} spec.ingress[0].toPorts[0].ports[0].${field}`]);
});

test('forty ports are taken and one more is refused', () => {
  const ports = (count: number): string =>
    `ingress: [{ toPorts: [{ ports: [${Array.from({ length: count }, (_, i) => `{ port: ${i + 1} }`).join(',')}] }] }]`;
  expect(faults(withSections(ports(40)))).toEqual([]);
  expect(faults(withSections(ports(41)))).toEqual(['FIELD_INVALID spec.ingress[0].toPorts[0].ports']);
});

test('a port rule without ports is refused', () => {
  expect(faults(withSections('ingress: [{ toPorts: [{}] }]'))).toEqual([
    'FIELD_REQUIRED spec.ingress[0].toPorts[0].ports',
  ]);
});

test('endpoints and entities in one rule are refused', () => {
  const parsed = withSections('ingress: [{ fromEndpoints: [{}], fromEntities: [world] }]');
  expect(parsed.issues[0]?.message).toContain('combining fromEndpoints and fromEntities is not supported');
});

/** One rule of ingress with HTTP rules. */
const withHttp = (http: string, ports = '{ port: "80", protocol: TCP }'): ParsedPolicy =>
  withSections(`ingress: [{ toPorts: [{ ports: [${ports}], rules: ${http} }] }]`);

test('HTTP rules are read with their own names, for each of the ports', () => {
  const parsed = withHttp(
    '{ http: [{ method: GET, path: "/a.*" }, { host: a\\.b }] }',
    '{ port: "80", protocol: TCP }, { port: 81, protocol: tcp }',
  );
  const [rule] = only(parsed).rules;
  const named = (name: string): object => ({ ...parsed.ref, rule: name });
  const http = [
    { ref: named('ingress[0].toPorts[0].rules.http[0]'), match: { method: 'GET', path: '/a.*' } },
    { ref: named('ingress[0].toPorts[0].rules.http[1]'), match: { host: 'a\\.b' } },
  ];
  expect(rule?.ref).toEqual(named('ingress[0]'));
  expect(rule?.ports).toEqual([
    { protocol: 6, port: 80, http },
    { protocol: 6, port: 81, http },
  ]);
});

test('below specs the name of an HTTP rule keeps the index', () => {
  const { policies } = parsePolicy(
    `${HEAD}specs:\n  - endpointSelector: {}\n    egress: [{ toPorts: [{ ports: [{ port: 80, protocol: TCP }] }, { ports: [{ port: 81, protocol: TCP }], rules: { http: [{}] } }] }]\n`,
  );
  const names = policies.flatMap(({ rules }) => rules.flatMap(({ ports }) => ports.flatMap(({ http }) => http ?? [])));
  expect(names.map(({ ref }) => ref.rule)).toEqual(['specs[0].egress[0].toPorts[1].rules.http[0]']);
});

test.each([
  ['{ http: [{}] }', [{}]],
  ['{ http: [{ method: "", path: "", host: "" }] }', [{}]],
  ['{ http: [{ method: }] }', [{}]],
  ['{ http: [] }', undefined],
  ['{ http: }', undefined],
  ['{}', undefined],
  ['', undefined],
])('rules %s admit the requests %j (undefined: a plain rule)', (rules, expected) => {
  const [rule] = only(withHttp(rules)).rules;
  expect(rule?.ports.map(({ http }) => http?.map(({ match }) => match))).toEqual([expected]);
});

test.each([
  ['{ port: "0", protocol: TCP }', 'port'],
  ['{ port: 80, protocol: UDP }', 'protocol'],
  ['{ port: 80, protocol: ANY }', 'protocol'],
  ['{ port: 80 }', 'protocol'],
])('HTTP rules for %s are refused, an empty list of them too', (port, field) => {
  const path = `FIELD_INVALID spec.ingress[0].toPorts[0].ports[0].${field}`;
  for (const http of ['[{}]', '[]']) expect(faults(withHttp(`{ http: ${http} }`, port))).toEqual([path]);
  for (const rules of ['{}', '{ http: }']) expect(faults(withHttp(rules, port))).toEqual([]);
});

test.each([
  ['[]', ''],
  ['{ http: {} }', '.http'],
  ['{ http: [GET] }', '.http[0]'],
  ['{ http: [{}, { method: 5 }] }', '.http[1].method'],
  ['{ http: [{ path: "(" }] }', '.http[0].path'],
  ['{ http: [{ path: "(?=/a)" }] }', '.http[0].path'],
  ["{ http: [{ host: '\\x{263a}' }] }", '.http[0].host'],
])('rules %s have a wrong value', (rules, path) => {
  expect(faults(withHttp(rules))).toEqual([`FIELD_INVALID spec.ingress[0].toPorts[0].rules${path}`]);
});

test("a pattern that RE2 cannot read is refused with RE2's own words", () => {
  expect(withHttp('{ http: [{ path: "/a(" }] }').issues[0]?.message).toBe(
    'spec.ingress[0].toPorts[0].rules.http[0].path: "/a(" is not a regular expression of RE2: missing closing ): `/a(`',
  );
});

test.each([
  ['{ htp: [] }', 'spec.ingress[0].toPorts[0].rules.htp: unknown field, did you mean http?'],
  ['{ http: [{ methd: GET }] }', 'spec.ingress[0].toPorts[0].rules.http[0].methd: unknown field, did you mean method?'],
])('rules %s are unknown', (rules, message) => {
  expect(withHttp(rules).issues.map((issue) => issue.message)).toEqual([message]);
});

test.each(['required', 'disabled', 'test-always-fail'])('authentication %s is read in both directions', (mode) => {
  const { rules } = only(
    withSections(
      `ingress: [{ fromEndpoints: [{}], authentication: { mode: ${mode} } }]\n  egress: [{ toEndpoints: [{}], authentication: { mode: ${mode} } }]`,
    ),
  );
  expect(rules.map(({ direction, authentication }) => [direction, authentication])).toEqual([
    ['ingress', mode],
    ['egress', mode],
  ]);
});

test('a rule that says nothing about authentication has none, and null is nothing', () => {
  const { rules } = only(
    withSections('ingress: [{ fromEndpoints: [{}] }, { fromEndpoints: [{}], authentication: null }]'),
  );
  expect(rules.map((rule) => 'authentication' in rule)).toEqual([false, false]);
});

test('a rule with authentication alone switches default deny on and allows nothing', () => {
  const policy = only(withSections('ingress: [{ authentication: { mode: required } }]'));
  expect([policy.rules, policy.defaultDeny.ingress]).toEqual([[], true]);
});

test.each([
  ['{}', 'FIELD_REQUIRED spec.ingress[0].authentication.mode'],
  ['{ mode: null }', 'FIELD_REQUIRED spec.ingress[0].authentication.mode'],
  ['{ mode: "" }', 'FIELD_INVALID spec.ingress[0].authentication.mode'],
  ['{ mode: Required }', 'FIELD_INVALID spec.ingress[0].authentication.mode'],
  ['{ mode: [required] }', 'FIELD_INVALID spec.ingress[0].authentication.mode'],
  ['required', 'FIELD_INVALID spec.ingress[0].authentication'],
  ['[]', 'FIELD_INVALID spec.ingress[0].authentication'],
  ['{ mode: required, type: spire }', 'FIELD_UNKNOWN spec.ingress[0].authentication.type'],
])('authentication %s is refused by its path', (value, fault) => {
  const parsed = withSections(`ingress: [{ fromEndpoints: [{}], authentication: ${value} }]`);
  expect(faults(parsed)).toEqual([fault]);
  expect(parsed.closed).toMatchObject([{ rules: [], refused: true }]);
});

/** What Cilium has and we refuse, where it stands. */
const REFUSED: readonly (readonly [string, string])[] = [
  ['nodeSelector: {}\n  ingress: [{}]', 'spec.nodeSelector'],
  ...['fromRequires', 'fromGroups', 'fromNodes'].flatMap((field) => [
    [`ingress: [{ ${field}: [] }]`, `spec.ingress[0].${field}`] as const,
    [`ingressDeny: [{ ${field}: [] }]`, `spec.ingressDeny[0].${field}`] as const,
  ]),
  ...['toRequires', 'toGroups', 'toNodes'].flatMap((field) => [
    [`egress: [{ ${field}: [] }]`, `spec.egress[0].${field}`] as const,
    [`egressDeny: [{ ${field}: [] }]`, `spec.egressDeny[0].${field}`] as const,
  ]),
  ...['kafka', 'l7proto', 'l7'].map(
    (field) =>
      [
        `egress: [{ toPorts: [{ ports: [{ port: 1 }], rules: { ${field}: [] } }] }]`,
        `spec.egress[0].toPorts[0].rules.${field}`,
      ] as const,
  ),
  ...['terminatingTLS', 'originatingTLS', 'listener'].map(
    (field) =>
      [
        `egress: [{ toPorts: [{ ports: [{ port: 1 }], ${field}: {} }] }]`,
        `spec.egress[0].toPorts[0].${field}`,
      ] as const,
  ),
  [
    'ingress: [{ toPorts: [{ ports: [{ port: 1, protocol: TCP }], rules: { http: [{ headerMatches: [{ name: a, secret: {} }] }] } }] }]',
    'spec.ingress[0].toPorts[0].rules.http[0].headerMatches[0].secret',
  ],
  ...['VRRP', 'IGMP', 'GRE', 'IPIP', 'IPv6', 'ESP', 'AH'].map(
    (protocol) =>
      [
        `ingress: [{ toPorts: [{ ports: [{ port: 1, protocol: ${protocol} }] }] }]`,
        'spec.ingress[0].toPorts[0].ports[0].protocol',
      ] as const,
  ),
  ['ingress: [{ fromEntities: [cluster-mesh] }]', 'spec.ingress[0].fromEntities[0]'],
  [
    'ingress: [{ fromEndpoints: [{ matchLabels: { "cidr:10.0.0.0/8": "" } }] }]',
    'spec.ingress[0].fromEndpoints[0].matchLabels["cidr:10.0.0.0/8"]',
  ],
  [
    'ingress: [{ fromEndpoints: [{ matchLabels: { pod-template-hash: x } }] }]',
    'spec.ingress[0].fromEndpoints[0].matchLabels.pod-template-hash',
  ],
];

test.each(REFUSED)('%s is refused as not supported, with the reason', (sections, path) => {
  const parsed = withSections(sections);
  const issue = parsed.issues.find((each) => each.path === path);
  expect(issue?.code).toBe('FIELD_NOT_SUPPORTED');
  expect(issue?.message).toMatch(/: not supported: .{20,}/);
  expect(parsed.issues.map(({ code }) => code).filter((code) => code === 'FIELD_UNKNOWN')).toEqual([]);
  expect(parsed.policies).toEqual([]);
});

test('a host policy is refused for its selector alone, and nothing of it is enforced', () => {
  const parsed = parsePolicy(
    `${HEAD.replace('CiliumNetworkPolicy', 'CiliumClusterwideNetworkPolicy').replace(', namespace: shop', '')}spec: { nodeSelector: {}, ingress: [{}] }`,
  );
  expect([faults(parsed), parsed.closed]).toEqual([['FIELD_NOT_SUPPORTED spec.nodeSelector'], []]);
});

test.each([
  ['ingres: [{}]', 'spec.ingres: unknown field, did you mean ingress?'],
  ['ingress: [{ fromEndpoint: [] }]', 'spec.ingress[0].fromEndpoint: unknown field, did you mean fromEndpoints?'],
  ['ingress: [{ toPorts: [{ ports: [{ prot: "80" }] }] }]', 'spec.ingress[0].toPorts[0].ports[0].prot: unknown field'],
  ['ingress: [{ zzz: 1 }]', 'spec.ingress[0].zzz: unknown field'],
])('%s is unknown', (sections, message) => {
  expect(withSections(sections).issues.map((issue) => issue.message)).toContain(message);
});

test.each([
  ['ingress: {}', 'spec.ingress'],
  ['ingress: [1]', 'spec.ingress[0]'],
  ['ingress: [{ fromEndpoints: {} }]', 'spec.ingress[0].fromEndpoints'],
  ['ingress: [{ fromEndpoints: [x] }]', 'spec.ingress[0].fromEndpoints[0]'],
  ['ingress: [{ fromEndpoints: [{ matchLabels: [] }] }]', 'spec.ingress[0].fromEndpoints[0].matchLabels'],
  ['ingress: [{ fromEndpoints: [{ matchLabels: { app: 1 } }] }]', 'spec.ingress[0].fromEndpoints[0].matchLabels.app'],
  [
    'ingress: [{ fromEndpoints: [{ matchLabels: { app: "a b" } }] }]',
    'spec.ingress[0].fromEndpoints[0].matchLabels.app',
  ],
  [
    'ingress: [{ fromEndpoints: [{ matchLabels: { app: a, "any:app": b } }] }]',
    'spec.ingress[0].fromEndpoints[0].matchLabels["any:app"]',
  ],
  [
    'ingress: [{ fromEndpoints: [{ matchLabels: { "team:app": b } }] }]',
    'spec.ingress[0].fromEndpoints[0].matchLabels["team:app"]',
  ],
  ['ingress: [{ fromEntities: world }]', 'spec.ingress[0].fromEntities'],
  ['ingress: [{ fromEntities: [moon] }]', 'spec.ingress[0].fromEntities[0]'],
  ['ingress: [{ toPorts: [x] }]', 'spec.ingress[0].toPorts[0]'],
  ['description: 5\n  ingress: [{}]', 'spec.description'],
])('%s has a wrong value', (sections, path) => {
  expect(faults(withSections(sections))).toEqual([`FIELD_INVALID ${path}`]);
});

test('all faults of an object are reported at once, each with its line', () => {
  const parsed = parsePolicy(
    `${HEAD}spec:\n  endpointSelector: {}\n  egress:\n    - toGroups:\n        - aws: {}\n      toPort: []\n  extra:\n    - 1\n`,
  );
  expect(parsed.issues.map(({ path, origin }) => `${path} ${origin}`)).toEqual([
    'spec.extra p.yaml:10',
    'spec.egress[0].toGroups p.yaml:7',
    'spec.egress[0].toPort p.yaml:9',
  ]);
  expect(parsed.issues[1]?.message).toMatch(/^spec\.egress\[0\]\.toGroups: not supported: /);
});

test('a refused policy closes what it selects in each direction that it has a section for', () => {
  const { policies, closed } = withSections('ingress: [{ fromGroups: [] }]\n  egressDeny: [{}]');
  expect(policies).toEqual([]);
  expect(closed).toMatchObject([{ refused: true, rules: [], defaultDeny: { ingress: true, egress: true } }]);
});

test.each([
  'endpointSelector: { matchExpressions: [{ key: app, operator: Is }] }',
  'endpointSelector: { matchLabel: { app: api } }',
  'endpointSelector: { matchLabels: { app: 1 } }',
  'description: no selector',
])('with %s nothing can be closed', (selector) => {
  const { closed, issues } = parsePolicy(`${HEAD}spec:\n  ${selector}\n  ingress: [{}]\n`);
  expect(closed).toEqual([]);
  expect(issues).toHaveLength(1);
});

test('of several specs the readable ones are closed', () => {
  const { closed } = parsePolicy(`${HEAD}specs:\n  - { endpointSelector: {}, ingress: [{}] }\n  - { ingress: [{}] }\n`);
  expect(closed).toHaveLength(1);
});

test('rules of spec and of specs are named by their paths', () => {
  const { policies } = parsePolicy(
    `${HEAD}spec: { endpointSelector: {}, ingress: [{}, { fromEntities: [all] }] }\nspecs:\n  - { endpointSelector: {}, egress: [{ toEntities: [all] }] }\n`,
  );
  expect(policies.flatMap(({ rules }) => rules.map(({ ref }) => ref.rule))).toEqual([
    'ingress[1]',
    'specs[0].egress[0]',
  ]);
});

test('another apiVersion is a bad policy of that name, not another object', () => {
  const parsed = parsePolicy(`${HEAD.replace('v2', 'v3')}spec: { endpointSelector: {}, ingress: [{}] }`);
  expect(faults(parsed)).toEqual(['FIELD_INVALID apiVersion']);
  expect(parsed.closed).toHaveLength(1);
});

test.each([
  'metadata: {}',
  'metadata: { name: "" }',
  'metadata: { name: Big }',
  'metadata: { name: p, namespace: 5 }',
  'metadata: 1',
])('%s is refused', (metadata) => {
  const text = `apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\n${metadata}\nspec: { endpointSelector: {}, ingress: [{}] }`;
  expect(faults(parsePolicy(text))).toHaveLength(1);
});

test('JSON says the same as YAML', () => {
  const text = `${HEAD}spec:\n  endpointSelector: {}\n  ingress:\n    - fromEntities: [world]\n`;
  expect(parsePolicy(JSON.stringify(parse(text), undefined, '\t')).policies).toEqual(parsePolicy(text).policies);
});
