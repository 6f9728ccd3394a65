import { expect, test } from 'vitest';
import { NAMESPACE_KEY } from '../model/labels.ts';
import type { ObjectSet } from '../model/objects.ts';
import type { Policy } from '../model/policy.ts';
import type { Snapshot, WorkloadSpec } from '../model/snapshot.ts';
import { newCompiler, objectsOf, PODS } from './arbitrary.ts';
import { checkPolicy } from './check.ts';
import type { CompileOptions } from './compile.ts';
import { describe } from './kernel-model.ts';

/** Closes ingress of web in shop, but for one path of port 80. */
function guard(name: string, more: Partial<Policy> = {}): Policy {
  const ref = { kind: 'CiliumNetworkPolicy', namespace: 'shop', name };
  const rule = { ...ref, rule: 'ingress[0]' };
  const http = [{ ref: { ...ref, rule: 'ingress[0].http[0]' }, match: { path: `/${name}` } }];
  const matchLabels = new Map([
    ['any:app', 'web'],
    [`k8s:${NAMESPACE_KEY}`, 'shop'],
  ]);
  return {
    ref,
    subject: { matchLabels },
    defaultDeny: { egress: false, ingress: true },
    rules: [{ ref: rule, direction: 'ingress', peers: { kind: 'any' }, ports: [{ protocol: 6, port: 80, http }] }],
    refused: false,
    ...more,
  };
}
const namespaces = (audit: boolean, ...labels: [string, string][]): ObjectSet['namespaces'] => [
  { name: 'shop', labels: new Map(labels), audit },
];
function compiled(
  policies: Policy[],
  options: Partial<CompileOptions> = {},
  more: Partial<ObjectSet> = {},
): { readonly snapshot: Snapshot; readonly web: WorkloadSpec } {
  const snapshot = newCompiler('here', options).compile({ ...objectsOf(PODS, policies), ...more });
  const web = snapshot.workloads.find(({ name }) => name === 'pod-0');
  if (web === undefined) throw new Error('web is no workload');
  return { snapshot, web };
}
const isEnforcing = ({ snapshot, web }: ReturnType<typeof compiled>, table: keyof WorkloadSpec['tables']) =>
  snapshot.tables.get(web.tables[table])?.enforcing;

test('nothing is audited where nothing asks for it', () => {
  const { tables } = compiled([guard('a')]).web;
  expect([tables.auditEgress, tables.auditIngress]).toEqual(['', '']);
});

test('an audited policy is left out of the table that is enforced and is in the other, in its directions', () => {
  const found = compiled([guard('a'), guard('b', { audit: true })]);
  const { tables } = found.web;
  expect(tables.auditEgress).toBe('');
  expect([tables.ingress.includes('/b@'), tables.auditIngress.includes('/b@')]).toEqual([false, true]);
  expect(isEnforcing(found, 'ingress')).toBe(true);
  const alone = compiled([guard('b', { audit: true })]);
  expect([isEnforcing(alone, 'ingress'), isEnforcing(alone, 'auditIngress')]).toEqual([false, true]);
});

test('rulesets of what is audited say what passes, and what would if all were enforced', () => {
  const audited = guard('b', { audit: true });
  const ofAudit = ({ snapshot, web }: ReturnType<typeof compiled>): unknown[] =>
    [...snapshot.rulesets.values()]
      .filter(({ key }) => key.startsWith(web.tables.auditIngress))
      .map(({ rules, shadow }) => [rules, shadow?.rules ?? []].map((list) => list.map(({ match }) => match?.path)));
  expect(ofAudit(compiled([guard('a'), audited]))).toEqual([[['/a'], ['/a', '/b']]]);
  // Nothing that is enforced refuses: everything passes.
  const open = guard('a', { defaultDeny: { egress: false, ingress: false } });
  expect(ofAudit(compiled([open, audited]))).toEqual([
    [
      [undefined, undefined],
      ['/a', '/b'],
    ],
  ]);
  expect(ofAudit(compiled([audited]))).toEqual([[[undefined], ['/b']]]);
});

test('in an audited namespace, and under an audit of everything, nothing is enforced', () => {
  for (const found of [
    compiled([guard('a')], {}, { namespaces: namespaces(true) }),
    compiled([guard('a')], { enforcement: { mode: 'default', audit: true } }),
  ]) {
    expect([isEnforcing(found, 'ingress'), isEnforcing(found, 'auditIngress')]).toEqual([false, true]);
    expect(found.web.tables.auditEgress).toBe('');
  }
  const elsewhere = compiled([guard('a')], {}, { namespaces: [{ name: 'lab', labels: new Map(), audit: true }] });
  expect(isEnforcing(elsewhere, 'ingress')).toBe(true);
});

test('default deny for everybody, or for nobody', () => {
  const always = compiled([], { enforcement: { mode: 'always', audit: false } });
  expect([isEnforcing(always, 'egress'), isEnforcing(always, 'ingress')]).toEqual([true, true]);
  const { snapshot, web } = always;
  const table = snapshot.tables.get(web.tables.ingress);
  expect(describe(snapshot.origins.get(table?.defaultRule ?? 0))).toBe('default-deny ');
  expect(table?.entries.map(({ identity, verdict }) => [identity, verdict])).toEqual([[1, 'allow']]);
  const never = compiled([guard('a')], { enforcement: { mode: 'never', audit: false } });
  expect([isEnforcing(never, 'ingress'), never.web.tables.auditIngress]).toEqual([false, '']);
  const audited = compiled([], { enforcement: { mode: 'always', audit: true } });
  expect([isEnforcing(audited, 'egress'), isEnforcing(audited, 'auditEgress')]).toEqual([false, true]);
});

test('only pods of enrolled namespaces are workloads where labels decide, and all are known', () => {
  const enrolled = namespaces(false, ['sidestep.dev/enrolled', 'true']);
  const { snapshot } = compiled([], { enrol: 'labelled' }, { namespaces: enrolled });
  expect(snapshot.workloads.map(({ namespace }) => namespace)).toEqual(['shop', 'shop', 'shop', 'shop']);
  expect(snapshot.addresses).toHaveLength(PODS.length);
  expect(compiled([], { enrol: 'all' }).snapshot.workloads).toHaveLength(5);
});

test('the check says AUDIT where a flow passes that would not, and names who would deny it', () => {
  const objects = objectsOf(PODS, [guard('b', { audit: true })]);
  const ask = (port: string, http?: string, terms = {}): unknown => {
    const question = { from: 'shop/pod-1', to: 'shop/pod-0', port, ...(http === undefined ? {} : { http }) };
    const { verdict, ingress } = checkPolicy(objects, question, terms);
    return [verdict, ingress.reason, ingress.policies.map(({ name }) => name)];
  };
  expect(ask('81/TCP')).toEqual(['AUDIT', 'default-deny', ['b']]);
  expect(ask('80/TCP', 'GET /b')).toEqual(['ALLOWED', 'no-policy', []]);
  expect(ask('80/TCP', 'GET /c')).toEqual(['AUDIT', 'no-http-rule', ['b']]);
  expect(ask('81/TCP', undefined, { enforcement: { mode: 'never', audit: false } })).toEqual([
    'ALLOWED',
    'no-policy',
    [],
  ]);
  expect(ask('81/TCP', undefined, { enforcement: { mode: 'always', audit: false } })).toEqual([
    'DENIED',
    'default-deny',
    [],
  ]);
  expect(ask('81/TCP', undefined, { enrol: 'labelled' })).toEqual(['ALLOWED', 'no-endpoint', []]);
});
