import { describe, expect, test } from 'vitest';
import { XDS_TABLE, type XdsMessages } from '../generated/xds.ts';
import { formatAddress } from '../model/address.ts';
import type { HttpEvent } from '../model/http-event.ts';
import { Codec } from '../xds/codec.ts';
import { httpEvent, parseRuleRef } from './access-log.ts';
import { accessLogSample, type Sample } from './access-log-samples.ts';
import { type HttpLogEntry, logEntries } from './access-log-wire.ts';

function requestsOf(bytes: Uint8Array): HttpLogEntry[] {
  return [...logEntries(bytes)].filter((entry) => 'request' in entry);
}

const RULE = {
  kind: 'CiliumNetworkPolicy',
  namespace: 'production',
  name: 'secure-app-access',
  rule: 'ingress[0].toPorts[0].rules.http[0]',
};

function entryOf(name: Sample): HttpLogEntry {
  const entries = [...requestsOf(accessLogSample(name))];
  expect(entries).toHaveLength(1);
  return entries[0] as HttpLogEntry;
}

const eventOf = (name: Sample): HttpEvent => httpEvent(entryOf(name));

describe('an entry of a real Envoy', () => {
  test('that a rule allowed names the rule, the ends, the answer and how long it took', () => {
    const event = eventOf('ALLOWED');
    expect(event).toMatchObject({
      sourceIdentity: 4711,
      destinationIdentity: 4712,
      destinationPort: 28401,
      method: 'GET',
      url: 'http://backend:8080/api/v1/data?x=1',
      protocol: 'HTTP/1.1',
      code: 200,
      verdict: 'allowed',
      deniedBy: undefined,
      egress: { ruleset: 1, verdict: 'layer4', rule: undefined },
      ingress: { ruleset: 16, verdict: 'allow', rule: RULE },
      details: 'via_upstream',
    });
    expect([event.source, event.destination].map(formatAddress)).toEqual(['127.0.0.1', '127.0.0.1']);
    expect(event.durationMs).toBeCloseTo(3.667571, 6);
    expect(new Date(event.time).toISOString()).toMatch(/^2026-11-24T22:10:02\./);
  });

  test.each<readonly [Sample, Partial<HttpEvent>]>([
    [
      'DENIED',
      {
        method: 'POST',
        code: 403,
        verdict: 'denied',
        deniedBy: 'ingress',
        egress: { ruleset: 1, verdict: 'layer4', rule: undefined },
        ingress: { ruleset: 16, verdict: 'deny', rule: undefined },
      },
    ],
    [
      'DENIED_AT_EGRESS',
      {
        code: 403,
        verdict: 'denied',
        deniedBy: 'egress',
        egress: { ruleset: 16, verdict: 'deny', rule: undefined },
        ingress: { ruleset: 1, verdict: 'none', rule: undefined },
      },
    ],
    [
      'UNKNOWN',
      { code: 403, verdict: 'denied', deniedBy: 'egress', egress: { ruleset: 0, verdict: 'deny', rule: undefined } },
    ],
    ['ESCAPED_SLASH', { code: 400, verdict: 'refused', deniedBy: undefined, details: 'path_normalization_failed' }],
    ['UNREACHABLE', { code: 503, verdict: 'allowed', details: expect.stringMatching(/connection_failure/) as string }],
    ['NUMBERLESS_METHOD', { method: 'PURGE', verdict: 'denied' }],
    ['MALFORMED', { code: 400, verdict: 'refused', method: 'OTHER', url: 'http://', details: 'http1.codec_error' }],
  ])('%s', (name, expected) => {
    expect(eventOf(name)).toMatchObject(expected);
  });

  test.each<Sample>(['ALLOWED', 'DENIED', 'UNREACHABLE', 'ESCAPED_SLASH'])(
    'is read as the table of all its fields reads it: %s',
    (name) => {
      const message = new Codec<XdsMessages>(XDS_TABLE).decode(
        'envoy.service.accesslog.v3.StreamAccessLogsMessage',
        accessLogSample(name),
      );
      const [whole] = message.http_logs?.log_entry ?? [];
      const { common_properties: common, request, response } = entryOf(name);
      expect(request.path).toBe(whole?.request?.path);
      expect(request.authority).toBe(whole?.request?.authority);
      expect(response.response_code).toBe(whole?.response?.response_code?.value);
      expect(response.response_code_details).toBe(whole?.response?.response_code_details);
      expect(common.start_time?.nanos).toBe(whole?.common_properties?.start_time?.nanos);
      expect(common.duration?.nanos).toBe(whole?.common_properties?.duration?.nanos);
    },
  );
});

describe('an entry', () => {
  const entry = entryOf('ALLOWED');
  const withCommon = (changes: Partial<HttpLogEntry['common_properties']>): HttpEvent =>
    httpEvent({ ...entry, common_properties: { ...entry.common_properties, ...changes } });

  test('of an IPv6 connection, with a zone or without', () => {
    const { source, destination } = withCommon({
      downstream_direct_remote_address: { address: 'fd00::1', port_value: 1 },
      downstream_local_address: { address: 'fe80::2%eth0', port_value: 2 },
    });
    expect([source, destination].map(formatAddress)).toEqual(['fd00::1', 'fe80::2']);
  });

  test("names the connection's own address, whatever a header says", () => {
    // As ALLOWED, with 192.0.2.9 where Envoy tells what X-Forwarded-For says.
    const forged = Buffer.from(
      accessLogSample('ALLOWED').toString('latin1').replace('127.0.0.1', '192.0.2.9'),
      'latin1',
    );
    const [told] = [...requestsOf(forged)];
    expect(told && formatAddress(httpEvent(told).source)).toBe('127.0.0.1');
  });

  test('without addresses is one of nobody', () => {
    const { common_properties: common } = entry;
    const { downstream_direct_remote_address: _, ...rest } = common;
    expect(formatAddress(httpEvent({ ...entry, common_properties: rest }).source)).toBe('::');
  });

  test('with numbers that are none is one of an unknown connection', () => {
    expect(withCommon({ filter_state_objects: new Map([['sidestep.ingress', 'x']]) })).toMatchObject({
      sourceIdentity: 0,
      ingress: { ruleset: 0 },
    });
  });

  test('keeps only the beginning of a very long URL', () => {
    const path = `/${'a'.repeat(60_000)}`;
    expect(httpEvent({ ...entry, request: { ...entry.request, path } }).url).toHaveLength(2049);
  });
});

describe('the wire', () => {
  test('several entries of one message, and several messages in one', () => {
    const two = Buffer.concat([accessLogSample('ALLOWED'), accessLogSample('DENIED')]);
    const paths = [...requestsOf(two)].map(({ request }) => request.path);
    expect(paths).toEqual(['/api/v1/data?x=1', '/api/v1/data']);
  });

  test('a message without requests has none', () => {
    expect([...requestsOf(new Uint8Array())]).toEqual([]);
    // The identifier alone: field 1, two bytes.
    expect([...requestsOf(Uint8Array.of(0x0a, 2, 0x0a, 0))]).toEqual([]);
  });

  test('what is cut off is refused, wherever', () => {
    const whole = accessLogSample('ALLOWED');
    for (let length = 1; length < whole.length; length++)
      expect(() => [...requestsOf(whole.subarray(0, length))]).toThrow(RangeError);
  });
});

test.each([
  [
    'CiliumNetworkPolicy/shop/guard#ingress[0]',
    { kind: 'CiliumNetworkPolicy', namespace: 'shop', name: 'guard', rule: 'ingress[0]' },
  ],
  ['ClusterPolicy/guard#egress[1]', { kind: 'ClusterPolicy', namespace: '', name: 'guard', rule: 'egress[1]' }],
  ['layer4', undefined],
  ['', undefined],
  ['a/b/c/d#e', undefined],
])('the rule called %j', (text, ref) => {
  expect(parseRuleRef(text)).toEqual(ref);
});
