import { describe, expect, test } from 'vitest';
import { parseAddress } from '../model/address.ts';
import type { HttpEvent } from '../model/http-event.ts';
import type { Flow } from './flow.ts';
import { FlowPrinter } from './format.ts';
import { HttpRecord } from './http-flow.ts';
import { FORBIDDEN, HTTP_RULE, RESOLVER, RULESET, sampleHttpEvent, sampleHttpFlows } from './sample.ts';
import { FlowStore } from './store.ts';

const STAMP = 'Jan  4 10:15:02';
const RULE = 'CiliumNetworkPolicy/shop/guard#ingress[0].toPorts[0].rules.http[0]';
const BOTH = `${RULE}, CiliumNetworkPolicy/shop/limit#ingress[0].toPorts[0].rules.http[0]`;

function lines(changes: Partial<HttpEvent> = {}): string[] {
  const options = { color: false, numeric: false, printNodeName: false, printPolicyNames: false };
  const printer = new FlowPrinter('compact', options);
  return sampleHttpFlows(changes).map((flow) => printer.print({ flow, node_name: 'node-1', time: flow.time }));
}

function flows(changes: Partial<HttpEvent> = {}): readonly [Flow, Flow | undefined] {
  const [request, response] = sampleHttpFlows(changes);
  if (request === undefined) throw new Error('no flow');
  return [request, response];
}

describe('a request that a rule allows', () => {
  test('is two lines of Hubble’s, each with the rule', () => {
    expect(lines()).toEqual([
      `${STAMP}.123: shop/web-1:45232 (ID:301) -> shop/api-1:8080 (ID:302) http-request FORWARDED ` +
        `(HTTP/1.1 GET http://api:8080/v1/data?x=1; ingress allowed by ${RULE})\n`,
      `${STAMP}.128: shop/web-1:45232 (ID:301) <- shop/api-1:8080 (ID:302) http-response FORWARDED ` +
        `(HTTP/1.1 200 5ms (GET http://api:8080/v1/data?x=1); ingress allowed by ${RULE})\n`,
    ]);
  });

  test('is two records: the answer travels the other way and has a code and a latency', () => {
    const [request, response] = flows();
    expect(request).toMatchObject({
      Type: 'L7',
      verdict: 'FORWARDED',
      event_type: { type: 129 },
      is_reply: false,
      traffic_direction: 'INGRESS',
      IP: { source: '10.0.0.1', destination: '10.0.0.2', ipVersion: 'IPv4' },
      l4: { TCP: { source_port: 45_232, destination_port: 8080 } },
      source: { ID: 107, identity: 301, namespace: 'shop', pod_name: 'web-1' },
      destination: { ID: 108, identity: 302, pod_name: 'api-1' },
      l7: { type: 'REQUEST', http: { method: 'GET', url: 'http://api:8080/v1/data?x=1', protocol: 'HTTP/1.1' } },
      ingress_allowed_by: [
        { name: 'guard', namespace: 'shop', labels: [`sidestep:rule=${HTTP_RULE.rule}`], revision: '5' },
      ],
    });
    expect(request.l7).not.toHaveProperty('latency_ns');
    expect(response).toMatchObject({
      is_reply: true,
      IP: { source: '10.0.0.2', destination: '10.0.0.1' },
      l4: { TCP: { source_port: 8080, destination_port: 45_232 } },
      source: { pod_name: 'api-1' },
      destination: { pod_name: 'web-1' },
      l7: { type: 'RESPONSE', latency_ns: '4600000', http: { code: 200 } },
      ingress_allowed_by: [{ name: 'guard' }],
    });
    expect(request.uuid).not.toBe(response?.uuid);
  });

  test('at both ends names both rules', () => {
    const [request] = flows({
      egress: { ruleset: 17, verdict: 'allow', rule: { ...HTTP_RULE, name: 'limit', rule: 'egress[0]' } },
    });
    expect(request.Summary).toBe(
      `HTTP/1.1 GET http://api:8080/v1/data?x=1; egress allowed by CiliumNetworkPolicy/shop/limit#egress[0]; ingress allowed by ${RULE}`,
    );
    expect(request).toMatchObject({ egress_allowed_by: [{ name: 'limit' }], ingress_allowed_by: [{ name: 'guard' }] });
  });

  test('at the client’s end only is one that leaves', () => {
    const [request] = flows({
      egress: { ruleset: 17, verdict: 'allow', rule: { ...HTTP_RULE, rule: 'egress[0]' } },
      ingress: { ruleset: 1, verdict: 'layer4', rule: undefined },
      destination: parseAddress('192.0.2.1'),
      destinationIdentity: 2,
    });
    expect(request).toMatchObject({ traffic_direction: 'EGRESS', destination: { identity: 2 } });
    expect(request).not.toHaveProperty('ingress_allowed_by');
  });

  test('and that Envoy had to answer itself says so, in the answer', () => {
    const [request, response] = flows({
      code: 503,
      details: 'upstream_reset_before_response_started{connection_failure}',
    });
    expect(request.Summary).not.toContain('answered by Envoy');
    expect(response?.Summary).toMatch(
      /^HTTP\/1\.1 503 5ms .*; answered by Envoy: upstream_reset_before_response_started\{connection_failure\}$/,
    );
  });

  test('and whose client went away has no answer', () => {
    expect(lines({ code: 0, details: 'downstream_remote_disconnect' })).toHaveLength(1);
  });

  test('over IPv6', () => {
    const [request] = flows({ source: parseAddress('fd00::1'), destination: parseAddress('fd00::2') });
    expect(request.IP).toEqual({ source: 'fd00::1', destination: 'fd00::2', ipVersion: 'IPv6' });
    expect(request.source.pod_name).toBe('web-1');
  });
});

describe('a request that no rule admits', () => {
  test('is one line, dropped, and names what it was held against', () => {
    expect(lines(FORBIDDEN)).toEqual([
      `${STAMP}.123: shop/web-1:45232 (ID:301) -> shop/api-1:8080 (ID:302) http-request DROPPED ` +
        `(HTTP/1.1 POST http://api:8080/v1/data?x=1; ingress denied: not admitted by ${BOTH})\n`,
    ]);
  });

  test('says in its record which half refused', () => {
    const [request] = flows(FORBIDDEN);
    expect(request).toMatchObject({
      verdict: 'DROPPED',
      traffic_direction: 'INGRESS',
      l7: { type: 'REQUEST', http: { code: 403 } },
      ingress_denied_by: [{ name: 'guard' }, { name: 'limit' }],
    });
    expect(request).not.toHaveProperty('ingress_allowed_by');
  });

  test('at the client’s end was not asked of the server’s', () => {
    const [request] = flows({
      ...FORBIDDEN,
      deniedBy: 'egress',
      egress: { ruleset: RULESET, verdict: 'deny', rule: undefined },
      ingress: { ruleset: RULESET, verdict: 'none', rule: undefined },
    });
    expect(request).toMatchObject({
      traffic_direction: 'EGRESS',
      egress_denied_by: [{ name: 'guard' }, { name: 'limit' }],
    });
    expect(request).not.toHaveProperty('ingress_denied_by');
  });

  test.each([
    [0, 'ingress denied: unknown connection'],
    [1, 'ingress denied: POST is no request that a rule could admit'],
    [99, 'ingress denied: by rules of an earlier agent'],
  ])('under ruleset %i', (ruleset, words) => {
    const [request] = flows({ ...FORBIDDEN, ingress: { ruleset, verdict: 'deny', rule: undefined } });
    expect(request.Summary).toContain(words);
    expect(request).not.toHaveProperty('ingress_denied_by');
  });
});

test('what is no HTTP that a rule could judge is dropped, in Envoy’s words', () => {
  const [request, response] = flows({
    verdict: 'refused',
    code: 400,
    egress: { ruleset: 1, verdict: 'none', rule: undefined },
    ingress: { ruleset: RULESET, verdict: 'none', rule: undefined },
    details: 'path_normalization_failed',
  });
  expect(request).toMatchObject({ verdict: 'DROPPED' });
  expect(request.Summary).toMatch(/; refused by Envoy: path_normalization_failed$/);
  expect(response).toBeUndefined();
});

describe('what is kept of a request', () => {
  const REFUSED: Partial<HttpEvent> = {
    verdict: 'refused',
    code: 400,
    ingress: { ruleset: RULESET, verdict: 'none', rule: undefined },
    details: 'path_normalization_failed',
  };

  test.each<Partial<HttpEvent>>([{}, { url: `http://api:8080/${'a'.repeat(1500)}` }, { code: 0 }, FORBIDDEN, REFUSED])(
    'says how many records it makes, their verdict, and roughly their size: %j',
    (changes) => {
      const record = new HttpRecord(sampleHttpEvent(changes), RESOLVER);
      const store = new FlowStore({ maxFlows: 10, maxBytes: 1 << 20 });
      for (const flow of record.flows()) {
        store.add(flow);
        expect(flow.verdict).toBe(record.verdict);
      }
      expect(record.count).toBe(store.numbers.kept);
      expect(record.bytes / store.numbers.bytes).toBeGreaterThan(0.9);
      expect(record.bytes / store.numbers.bytes).toBeLessThan(1.2);
    },
  );

  test('makes the same records each time', () => {
    const record = new HttpRecord(sampleHttpEvent(), RESOLVER);
    expect(record.flows()).toBe(record.flows());
  });

  test('keeps the names that things had when it came', () => {
    let pod = 'before';
    const changing = { ...RESOLVER, pod: () => ({ namespace: 'shop', name: pod }), ruleset: () => [HTTP_RULE] };
    const record = new HttpRecord(sampleHttpEvent(FORBIDDEN), changing);
    pod = 'after';
    changing.ruleset = () => [];
    const [flow] = record.flows();
    expect([flow?.source.pod_name, flow?.destination.pod_name]).toEqual(['before', 'before']);
    expect(flow?.ingress_denied_by).toMatchObject([{ name: 'guard' }]);
  });
});
