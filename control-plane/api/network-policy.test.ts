/** NetworkPolicy: tables from the API's own description and cilium.md §1.8. */
import { expect, test } from 'vitest';
import { formatPrefix } from '../model/address.ts';
import type { Rule, Selector } from '../model/policy.ts';
import { faults, KUBERNETES_HEAD, only, parsePolicy } from './samples.ts';

const NAMESPACE = 'k8s:io.kubernetes.pod.namespace';
const withSpec = (spec: string) => parsePolicy(`${KUBERNETES_HEAD}spec: ${spec}\n`);

function ruleOf(rule: string): Rule {
  const [found] = only(withSpec(`{ podSelector: {}, ingress: [${rule}] }`)).rules;
  if (found === undefined) throw new Error('no rule');
  return found;
}

function text({ matchLabels, matchExpressions = [] }: Selector): string {
  return [
    ...[...matchLabels].map(([key, value]) => `${key}=${value}`),
    ...matchExpressions.map(({ key, operator, values }) => [key, operator, ...values].join(' ')),
  ].join(', ');
}

function peersOf(from: string): unknown {
  const { peers } = ruleOf(`{ from: ${from} }`);
  if (peers.kind === 'any') return 'any';
  const cidrs = (peers.cidrs ?? []).map(({ prefix, except }) => [prefix, ...except].map(formatPrefix).join(' - '));
  return [...peers.selectors.map(text), ...cidrs];
}

test.each([
  ['{ podSelector: {} }', true, false, 0],
  ['{ podSelector: {}, ingress: [] }', true, false, 0],
  ['{ podSelector: {}, ingress: [{}] }', true, false, 1],
  ['{ podSelector: {}, egress: [] }', true, false, 0],
  ['{ podSelector: {}, egress: [{}] }', true, true, 1],
  ['{ podSelector: {}, egress: [{}], policyTypes: [] }', true, true, 1],
  ['{ podSelector: {}, policyTypes: [Egress] }', false, true, 0],
  ['{ podSelector: {}, policyTypes: [Egress], ingress: [{}] }', false, true, 0],
  ['{ podSelector: {}, policyTypes: [Ingress], egress: [{}] }', true, false, 0],
  ['{ podSelector: {}, policyTypes: [Ingress, Egress], egress: [{}] }', true, true, 1],
  ['{}', true, false, 0],
  ['null', true, false, 0],
])('spec %s isolates ingress %j and egress %j with %i rules', (spec, ingress, egress, rules) => {
  const policy = only(withSpec(spec));
  expect([policy.defaultDeny, policy.rules.length]).toEqual([{ ingress, egress }, rules]);
});

test('the subject is pods of the namespace', () => {
  expect(text(only(withSpec('{ podSelector: {} }')).subject)).toBe(`${NAMESPACE}=shop`);
  const spec =
    '{ podSelector: { matchLabels: { app: a }, matchExpressions: [{ key: b, operator: NotIn, values: [c] }] } }';
  expect(text(only(withSpec(spec)).subject)).toBe(`${NAMESPACE}=shop, k8s:app=a, k8s:b NotIn c`);
});

test('rules are named by their paths, and the kind is its own', () => {
  const { rules } = only(withSpec('{ podSelector: {}, ingress: [{}, {}], egress: [{}] }'));
  expect(rules.map(({ ref }) => `${ref.kind}/${ref.namespace}/${ref.name}#${ref.rule}`)).toEqual([
    'NetworkPolicy/shop/p#ingress[0]',
    'NetworkPolicy/shop/p#ingress[1]',
    'NetworkPolicy/shop/p#egress[0]',
  ]);
});

test.each([
  ['[]', 'any'],
  ['null', 'any'],
  ['[{ podSelector: {} }]', [`${NAMESPACE}=shop`]],
  ['[{ podSelector: { matchLabels: { app: web } } }]', [`${NAMESPACE}=shop, k8s:app=web`]],
  ['[{ namespaceSelector: {} }]', [`${NAMESPACE} Exists`]],
  ['[{ namespaceSelector: { matchLabels: { team: red } } }]', ['k8s:io.cilium.k8s.namespace.labels.team=red']],
  ['[{ namespaceSelector: { matchLabels: { kubernetes.io/metadata.name: ops } } }]', [`${NAMESPACE} In ops`]],
  [
    '[{ namespaceSelector: { matchExpressions: [{ key: kubernetes.io/metadata.name, operator: NotIn, values: [a] }] } }]',
    [`${NAMESPACE} NotIn a`],
  ],
  ['[{ namespaceSelector: {}, podSelector: { matchLabels: { app: web } } }]', [`k8s:app=web, ${NAMESPACE} Exists`]],
  ['[{ namespaceSelector: {}, podSelector: {} }]', [`${NAMESPACE} Exists`]],
  [
    '[{ podSelector: {} }, { ipBlock: { cidr: 10.0.0.0/8, except: [10.1.0.0/16] } }]',
    [`${NAMESPACE}=shop`, '10.0.0.0/8 - 10.1.0.0/16'],
  ],
])('from %s is %j', (from, expected) => {
  expect(peersOf(from)).toEqual(expected);
});

test.each([
  ['[]', []],
  ['[{}]', [{ protocol: 6, port: 0 }]],
  ['[{ protocol: UDP }]', [{ protocol: 17, port: 0 }]],
  ['[{ port: 80 }]', [{ protocol: 6, port: 80 }]],
  ['[{ port: 80, endPort: 90, protocol: SCTP }]', [{ protocol: 132, port: 80, endPort: 90 }]],
  ['[{ port: 80, endPort: 80 }]', [{ protocol: 6, port: 80 }]],
  ['[{ port: http }]', [{ protocol: 6, port: 0, name: 'http' }]],
])('ports %s are %j', (ports, expected) => {
  expect(ruleOf(`{ ports: ${ports} }`).ports).toEqual(expected);
});

test.each([
  ['{ podSelector: {}, ingres: [] }', 'FIELD_UNKNOWN spec.ingres'],
  ['{ podSelector: [] }', 'FIELD_INVALID spec.podSelector'],
  ['{ podSelector: { matchLabels: { "k8s:app": a } } }', 'FIELD_INVALID spec.podSelector.matchLabels["k8s:app"]'],
  ['{ policyTypes: [ingress] }', 'FIELD_INVALID spec.policyTypes[0]'],
  ['{ policyTypes: Ingress }', 'FIELD_INVALID spec.policyTypes'],
  ['{ ingress: {} }', 'FIELD_INVALID spec.ingress'],
  ['{ ingress: [{ to: [] }] }', 'FIELD_UNKNOWN spec.ingress[0].to'],
  ['{ egress: [{ from: [] }] }', 'FIELD_UNKNOWN spec.egress[0].from'],
  ['{ ingress: [{ from: [{}] }] }', 'FIELD_REQUIRED spec.ingress[0].from[0]'],
  [
    '{ ingress: [{ from: [{ ipBlock: { cidr: 10.0.0.0/8 }, podSelector: {} }] }] }',
    'FIELD_INVALID spec.ingress[0].from[0].ipBlock',
  ],
  ['{ ingress: [{ from: [{ ipBlock: {} }] }] }', 'FIELD_REQUIRED spec.ingress[0].from[0].ipBlock.cidr'],
  ['{ ingress: [{ from: [{ ipBlock: { cidr: 10.0.0.1 } }] }] }', 'FIELD_INVALID spec.ingress[0].from[0].ipBlock.cidr'],
  [
    '{ ingress: [{ from: [{ ipBlock: { cidr: 10.0.0.0/8, except: [10.0.0.0/8] } }] }] }',
    'FIELD_INVALID spec.ingress[0].from[0].ipBlock.except[0]',
  ],
  [
    '{ ingress: [{ from: [{ ipBlock: { cidr: 10.0.0.0/8, except: [11.0.0.0/16] } }] }] }',
    'FIELD_INVALID spec.ingress[0].from[0].ipBlock.except[0]',
  ],
  ['{ ingress: [{ ports: [{ port: "80" }] }] }', 'FIELD_INVALID spec.ingress[0].ports[0].port'],
  ['{ ingress: [{ ports: [{ port: 0 }] }] }', 'FIELD_INVALID spec.ingress[0].ports[0].port'],
  ['{ ingress: [{ ports: [{ port: HTTP }] }] }', 'FIELD_INVALID spec.ingress[0].ports[0].port'],
  ['{ ingress: [{ ports: [{ port: http, endPort: 90 }] }] }', 'FIELD_INVALID spec.ingress[0].ports[0].endPort'],
  ['{ ingress: [{ ports: [{ port: 80, endPort: 70 }] }] }', 'FIELD_INVALID spec.ingress[0].ports[0].endPort'],
  ['{ ingress: [{ ports: [{ endPort: 70 }] }] }', 'FIELD_REQUIRED spec.ingress[0].ports[0].port'],
  ['{ ingress: [{ ports: [{ port: 80, protocol: ANY }] }] }', 'FIELD_INVALID spec.ingress[0].ports[0].protocol'],
])('spec %s is refused: %s', (spec, fault) => {
  const parsed = withSpec(spec);
  expect(faults(parsed)).toEqual([fault]);
  expect(parsed.policies).toEqual([]);
});

test('one of an API version that is gone is a bad policy, not another object', () => {
  const parsed = parsePolicy(
    `${KUBERNETES_HEAD.replace('networking.k8s.io/v1', 'extensions/v1beta1')}spec: { podSelector: {} }`,
  );
  expect([faults(parsed), parsed.closed.length]).toEqual([['FIELD_INVALID apiVersion'], 1]);
});

test.each(['ClusterNetworkPolicy', 'AdminNetworkPolicy', 'BaselineAdminNetworkPolicy'])(
  '%s is refused by name',
  (kind) => {
    const parsed = parsePolicy(
      `apiVersion: policy.networking.k8s.io/v1alpha2\nkind: ${kind}\nmetadata: { name: p }\nspec: {}\n`,
    );
    expect(faults(parsed)).toEqual(['KIND_NOT_SUPPORTED kind']);
    expect(parsed.issues[0]?.message).toContain('CiliumClusterwideNetworkPolicy');
  },
);
