/** Recommended policies as a user gets them: written, read again by the parser, asked by the evaluator. */
import fc from 'fast-check';
import { describe, expect, it, test } from 'vitest';
import { parseManifests } from '../api/manifests.ts';
import { DIRECTIONS, type Policy } from '../model/policy.ts';
import type { RecordedFlow } from '../model/recorded-flow.ts';
import { judgeRecorded } from '../policy/diff.ts';
import { recommend } from '../policy/recommend.ts';
import { OUTSIDE, questions, RECORDED_PODS } from '../policy/recorded-samples.ts';
import { policyYaml } from './policy-yaml.ts';

type End = RecordedFlow['source'];
const [web, api, db, , labWeb] = RECORDED_PODS as [End, End, End, End, End];
const [host, world, , named] = OUTSIDE as [End, End, End, End];

function seen(source: End, destination: End, port: number, more: Partial<RecordedFlow> = {}): RecordedFlow {
  return { source, destination, protocol: 6, port, verdict: 'ALLOWED', count: 1, ...more };
}

function read(yaml: string): Policy[] {
  return parseManifests(yaml, 'recommended.yaml').objects.flatMap((object) => {
    if (object.kind !== 'Policy') throw new Error(`a ${object.kind}`);
    expect(object.object.issues).toEqual([]);
    return [...object.object.policies];
  });
}

function policiesFor(flows: readonly RecordedFlow[]): { readonly yaml: string; readonly policies: Policy[] } {
  const yaml = policyYaml(recommend(flows, { directions: DIRECTIONS }).policies);
  return { yaml, policies: yaml === '' ? [] : read(yaml) };
}

describe('recommended policies', () => {
  it('admit everything that was recorded, whatever it was', () => {
    fc.assert(
      fc.property(fc.array(questions, { minLength: 1, maxLength: 20 }), (asked) => {
        const flows = asked
          .filter(({ source, destination }) => !source.names.length && !destination.names.length)
          .map((flow): RecordedFlow => ({ ...flow, verdict: 'ALLOWED' }));
        const { policies } = policiesFor(flows);
        for (const flow of flows) expect(judgeRecorded(flow, policies)).toMatchObject({ verdict: 'ALLOWED' });
      }),
      { numRuns: 200 },
    );
  });

  const RECORDED = [
    seen(web, api, 80, { http: { method: 'GET', path: '/items/7', host: 'api' } }),
    seen(web, api, 80, { http: { method: 'GET', path: '/items/8?full=1', host: 'api' } }),
    seen(api, db, 443),
    seen(api, db, 8, { protocol: 1 }),
    seen(labWeb, api, 81),
    seen(api, world, 443, { protocol: 17 }),
    seen(host, api, 80),
    seen(web, db, 443, { verdict: 'DENIED' }),
    seen(db, api, 80, { verdict: 'AUDIT' }),
  ];

  test.each<readonly [string, RecordedFlow]>([
    ['another number in the path', seen(web, api, 80, { http: { method: 'GET', path: '/items/1234', host: 'x' } })],
    ['what audit let pass', seen(db, api, 80)],
    ['the node itself', seen(host, api, 443)],
  ])('admit %s', (_, flow) => {
    expect(judgeRecorded(flow, policiesFor(RECORDED).policies)).toMatchObject({ verdict: 'ALLOWED' });
  });

  test.each<readonly [string, RecordedFlow]>([
    ['another method', seen(web, api, 80, { http: { method: 'POST', path: '/items/7', host: 'api' } })],
    ['another path', seen(web, api, 80, { http: { method: 'GET', path: '/items/7/more', host: 'api' } })],
    ['a word where numbers were', seen(web, api, 80, { http: { method: 'GET', path: '/items/all', host: 'api' } })],
    ['another port', seen(web, api, 443)],
    ['another protocol', seen(api, db, 443, { protocol: 17 })],
    ['another type of ICMP', seen(api, db, 13, { protocol: 1 })],
    ['the same app in another namespace', seen(labWeb, api, 80)],
    ['the way back', seen(db, api, 443)],
    ['another address outside', seen(api, named, 443, { protocol: 17 })],
    ['what was denied', seen(web, db, 443)],
    ['the world', seen(world, api, 80)],
  ])('deny %s', (_, flow) => {
    const { policies } = policiesFor(RECORDED);
    expect(judgeRecorded(flow, policies)).toMatchObject({ verdict: 'DENIED' });
  });

  it('are short, and each rule says what it is for', () => {
    const flows = [seen(web, api, 80, { count: 4 }), seen(labWeb, api, 80), seen(api, named, 443), seen(host, api, 80)];
    expect(
      policyYaml(recommend(flows, { directions: DIRECTIONS, namespace: 'shop' }).policies),
    ).toBe(`apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata:
  name: api
  namespace: shop
spec:
  endpointSelector:
    matchLabels: { app: api }
  egress:
    # 1 flow, such as shop/pod-1 -> api.example.com 443/TCP
    - toFQDNs:
        - { matchName: api.example.com }
      toPorts:
        - ports:
            - { port: "443", protocol: TCP }
  ingress:
    # 5 flows, such as shop/pod-0 -> shop/pod-1 80/TCP
    - fromEndpoints:
        - matchLabels: { app: web }
        - matchLabels: { app: web, k8s:io.kubernetes.pod.namespace: lab }
      toPorts:
        - ports:
            - { port: "80", protocol: TCP }
---
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata:
  name: web
  namespace: shop
spec:
  endpointSelector:
    matchLabels: { app: web }
  egress:
    # 4 flows, such as shop/pod-0 -> shop/pod-1 80/TCP
    - toEndpoints:
        - matchLabels: { app: api }
      toPorts:
        - ports:
            - { port: "80", protocol: TCP }
`);
  });

  it('say what they are not for', () => {
    const unknown: End = { ...world, labels: new Map() };
    const { left } = recommend([seen(api, unknown, 80)], { directions: DIRECTIONS });
    expect(left).toMatchObject([{ why: 'nothing is known of the other end' }]);
  });
});
