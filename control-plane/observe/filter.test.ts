import { describe, expect, test } from 'vitest';
import { parseAddress } from '../model/address.ts';
import { compileFilter, FILTER_OPTIONS, type FilterOption, type FilterTerm } from './filter.ts';
import type { Flow } from './flow.ts';
import {
  ADMITTED,
  DNS_ANSWER,
  FORBIDDEN,
  half,
  OVER_IPV6,
  REFUSED,
  RULE,
  sampleDnsFlow,
  sampleFlow,
  sampleHttpFlows,
  TO_WORLD,
} from './sample.ts';

/** One of each kind; the names are what a filter is expected to leave. */
const FLOWS = {
  // shop/web-1 10.0.0.1:45232 (301) -> shop/api-1 10.0.0.2:8080 (302)
  plain: sampleFlow(),
  admitted: sampleFlow(ADMITTED),
  refused: sampleFlow(REFUSED),
  // shop/web-1 -> 192.0.2.1
  world: sampleFlow({ ...TO_WORLD, protocol: 17, destinationPort: 53 }),
  // other/web-9 -> shop/api-1
  other: sampleFlow({
    source: parseAddress('10.0.0.9'),
    sourceIdentity: 309,
    sourcePort: 8080,
    destinationPort: 9090,
    tcpFlags: 0x12,
  }),
  six: sampleFlow({ ...OVER_IPV6, protocol: 58, icmpType: 128 }),
} satisfies Record<string, Flow>;
type Name = keyof typeof FLOWS;

const all = Object.keys(FLOWS) as Name[];

function left(...terms: readonly FilterTerm[]): Name[] {
  const test = compileFilter(terms);
  return all.filter((name) => test(FLOWS[name]));
}

function only(option: FilterOption, ...values: readonly string[]): FilterTerm {
  return { option, values, not: false };
}

function except(option: FilterOption, ...values: readonly string[]): FilterTerm {
  return { option, values, not: true };
}

const CASES: readonly (readonly [FilterOption, string, readonly Name[]])[] = [
  ['pod', 'shop/web-1', ['plain', 'admitted', 'refused', 'world', 'six']],
  ['pod', 'shop/', all],
  ['pod', 'other/web-9', ['other']],
  ['from-pod', 'shop/api', []],
  ['to-pod', 'shop/api', ['plain', 'admitted', 'refused', 'other', 'six']],
  ['namespace', 'other', ['other']],
  ['namespace', 'sho', []],
  ['from-namespace', 'shop', ['plain', 'admitted', 'refused', 'world', 'six']],
  ['to-namespace', 'other', []],
  ['ip', '192.0.2.1', ['world']],
  ['ip', '10.0.0.8/29', ['other']],
  ['ip', '10.0.0.15/29', ['other']],
  ['ip', 'fd00::/64', ['six']],
  ['ip', '::/0', ['six']],
  ['from-ip', '10.0.0.0/30', ['plain', 'admitted', 'refused', 'world']],
  ['to-ip', '10.0.0.1', []],
  ['to-ip', 'fd00::2', ['six']],
  ['port', '8080', ['plain', 'admitted', 'refused', 'other']],
  ['from-port', '8080', ['other']],
  ['to-port', '53', ['world']],
  ['to-port', '80', []],
  ['label', 'k8s:app=api', ['plain', 'admitted', 'refused', 'other', 'six']],
  ['from-label', 'app=api', []],
  ['to-label', 'reserved:world', ['world']],
  ['identity', '309', ['other']],
  ['from-identity', '302', []],
  ['to-identity', 'world', ['world']],
  ['verdict', 'DROPPED', ['refused']],
  ['verdict', 'forwarded', ['plain', 'admitted', 'world', 'other', 'six']],
  ['verdict', 'AUDIT', []],
  ['protocol', 'tcp', ['plain', 'admitted', 'refused', 'other']],
  ['protocol', 'UDP', ['world']],
  ['protocol', 'sctp', []],
  ['protocol', 'icmp', ['six']],
  ['protocol', 'icmpv4', []],
  ['protocol', 'icmpv6', ['six']],
  ['type', 'drop', ['refused']],
  ['type', 'trace', ['plain', 'world', 'other', 'six']],
  ['type', 'policy-verdict', ['admitted']],
  ['drop-reason-desc', 'POLICY_DENIED', ['refused']],
  ['drop-reason-desc', 'policy_deny', []],
  ['traffic-direction', 'egress', ['world']],
  ['traffic-direction', 'INGRESS', ['plain', 'admitted', 'refused', 'other', 'six']],
  ['tcp-flags', 'SYN', ['plain', 'admitted', 'refused', 'other']],
  ['tcp-flags', 'syn,ack', ['other']],
  ['ip-version', '4', ['plain', 'admitted', 'refused', 'world', 'other']],
  ['ip-version', 'v6', ['six']],
  ['ip-version', 'IPv6', ['six']],
  ['node-name', 'node-1', all],
  ['node-name', 'node', []],
  ['uuid', FLOWS.world.uuid, ['world']],
  ['policy', 'guard', ['admitted', 'refused']],
  ['policy', 'shop/guard', ['admitted', 'refused']],
  ['policy', 'CiliumNetworkPolicy/shop/guard', ['admitted', 'refused']],
  ['policy', 'other/guard', []],
  // What none of them is.
  ['type', 'l7', []],
  ['protocol', 'http', []],
  ['http-method', 'GET', []],
  ['http-path', '.', []],
  ['http-status', '2+', []],
  ['protocol', 'dns', []],
  ['dns-query', '.', []],
];

test.each(CASES)('--%s %s', (option, value, names) => {
  expect(left(only(option, value))).toEqual(names);
  expect(left(except(option, value))).toEqual(all.filter((name) => !names.includes(name)));
});

test('every option is among them', () => {
  expect(new Set(CASES.map(([option]) => option))).toEqual(new Set(FILTER_OPTIONS));
});

test('without a filter every flow is wanted', () => {
  expect(left()).toEqual(all);
});

test('values of one option are alternatives', () => {
  expect(left(only('ip', '192.0.2.1', 'fd00::1'))).toEqual(['world', 'six']);
  expect(left(only('verdict', 'DROPPED', 'AUDIT'))).toEqual(['refused']);
});

test('different options must all hold', () => {
  expect(left(only('to-port', '8080'), only('verdict', 'FORWARDED'))).toEqual(['plain', 'admitted']);
  expect(left(only('from-pod', 'shop/'), only('to-pod', 'other/'))).toEqual([]);
});

test('behind --not no alternative may hold, and each --not counts for itself', () => {
  expect(left(except('protocol', 'tcp', 'udp'))).toEqual(['six']);
  expect(left(except('protocol', 'tcp'), except('protocol', 'udp'))).toEqual(['six']);
  expect(left(only('protocol', 'tcp'), except('from-namespace', 'shop'))).toEqual(['other']);
});

describe('a pod', () => {
  test('is found by the beginning of its name, in exactly the namespace', () => {
    expect(left(only('from-pod', 'shop/we'))).toEqual(['plain', 'admitted', 'refused', 'world', 'six']);
    expect(left(only('from-pod', 'shop/eb-1'))).toEqual([]);
    expect(left(only('from-pod', 'sho/web-1'))).toEqual([]);
  });

  test('without a namespace is looked for in all of them', () => {
    expect(left(only('pod', 'web'))).toEqual(all);
    expect(left(only('pod', '/web-9'))).toEqual(['other']);
  });

  test('is never an address without a name', () => {
    expect(left(only('to-pod', '192'))).toEqual([]);
  });
});

describe('a label', () => {
  test('is looked for in every source, or in the one that is named', () => {
    expect(left(only('label', 'world'))).toEqual(['world']);
    expect(left(only('label', 'any:world'))).toEqual(['world']);
    expect(left(only('label', 'k8s:world'))).toEqual([]);
  });

  test('without a value has any value', () => {
    expect(left(only('from-label', 'app'))).toEqual(all);
  });

  test('with commas asks for all of them at one end', () => {
    expect(left(only('label', 'app=web, k8s:io.kubernetes.pod.namespace=other'))).toEqual(['other']);
    expect(left(only('label', 'app==web,app=api'))).toEqual([]);
  });
});

test('an IPv6 address may be written in any way', () => {
  expect(left(only('ip', 'FD00:0:0::0001'))).toEqual(['six']);
});

test('identity 0 is called unknown, as in lines', () => {
  const test = compileFilter([only('identity', 'unknown')]);
  expect([sampleFlow({ sourceIdentity: 0 }), sampleFlow()].map(test)).toEqual([true, false]);
});

test('flags are asked of TCP only, and ports of what has them', () => {
  expect(left(only('tcp-flags', 'SYN'), only('protocol', 'udp', 'icmp'))).toEqual([]);
  expect(left(only('port', '0'))).toEqual([]);
});

test('a flow with several policies is found by each', () => {
  const flow = sampleFlow({ egress: half('allow', RULE.limitAllows), ingress: half('deny', RULE.defaultDeny) });
  expect(['guard', 'limit', 'gua'].map((name) => compileFilter([only('policy', name)])(flow))).toEqual([
    true,
    true,
    false,
  ]);
});

describe('requests and responses', () => {
  const [request, response] = sampleHttpFlows();
  const [forbidden] = sampleHttpFlows(FORBIDDEN);
  if (!request || !response || !forbidden) throw new Error('no flows');
  const flows = { request, response, forbidden, packet: FLOWS.plain };

  test.each<readonly [string, string, readonly FilterTerm[]]>([
    ['type', 'request response forbidden', [only('type', 'l7')]],
    ['protocol', 'request response forbidden', [only('protocol', 'http')]],
    ['TCP, which they are as well', 'request response forbidden packet', [only('protocol', 'tcp')]],
    ['method, in any case', 'forbidden', [only('http-method', 'post')]],
    ['methods', 'request response forbidden', [only('http-method', 'GET', 'POST')]],
    ['path, somewhere', 'request response forbidden', [only('http-path', '1/da')]],
    ['path, anchored', 'request response forbidden', [only('http-path', '^/v1/data$')]],
    ['path without its query', '', [only('http-path', 'x=1')]],
    ['path without the host', '', [only('http-path', 'api')]],
    ['code', 'response', [only('http-status', '200')]],
    ['codes', 'forbidden', [only('http-status', '4+', '50+')]],
    ['beginning of a code', 'forbidden', [only('http-status', '40+')]],
    ['what it is not', 'request response packet', [except('http-status', '403')]],
    ['policy', 'request response forbidden', [only('policy', 'shop/guard')]],
    ['direction and type', 'forbidden', [only('type', 'l7'), only('verdict', 'DROPPED'), only('to-pod', 'shop/api')]],
    ['end, which turns with the response', 'response', [only('type', 'l7'), only('from-pod', 'shop/api')]],
  ])('are found by their %s', (_, names, terms) => {
    const test = compileFilter(terms);
    const found = Object.entries(flows).flatMap(([name, flow]) => (test(flow) ? [name] : []));
    expect(found.join(' ')).toBe(names);
  });

  test('are not to be found among events that are none', () => {
    const terms = [only('http-status', '200'), only('type', 'drop', 'trace')];
    expect(() => compileFilter(terms)).toThrow('--type "drop,trace": wanted l7 beside --http-status');
    expect(compileFilter([only('http-status', '200'), only('type', 'drop', 'l7')])(response)).toBe(true);
    expect(compileFilter([only('http-status', '200'), except('type', 'drop')])(response)).toBe(true);
  });
});

describe('DNS', () => {
  const flows = { query: sampleDnsFlow(), answer: sampleDnsFlow(DNS_ANSWER), packet: sampleFlow() };

  test.each<readonly [string, string, readonly FilterTerm[]]>([
    ['protocol', 'query answer', [only('protocol', 'dns')]],
    ['name', 'query answer', [only('dns-query', '^api[.]example[.]com[.]$')]],
    ['another name', '', [only('dns-query', '^example')]],
  ])('is found by its %s', (_, names, terms) => {
    const test = compileFilter(terms);
    expect(
      Object.entries(flows)
        .flatMap(([name, flow]) => (test(flow) ? [name] : []))
        .join(' '),
    ).toBe(names);
  });
});

test.each<readonly [FilterOption, string]>([
  ['dns-query', '('],
  ['http-path', '('],
  ['http-status', '600'],
  ['http-status', '4'],
  ['http-status', '404+'],
  ['http-status', '+'],
  ['pod', ''],
  ['pod', '/'],
  ['from-pod', 'a/b/c'],
  ['ip', '10.0.0'],
  ['ip', '10.0.0.1/33'],
  ['ip', '10.0.0.1/'],
  ['to-ip', '10.0.0.0/8/9'],
  ['from-ip', 'fe80::1%eth0'],
  ['port', '65536'],
  ['from-port', '-1'],
  ['to-port', ''],
  ['label', ''],
  ['label', 'app!=web'],
  ['from-label', 'app in (web)'],
  ['to-label', '!app'],
  ['identity', 'nobody'],
  ['to-identity', ''],
  ['from-identity', '-1'],
  ['verdict', 'ALLOWED'],
  ['protocol', 'quic'],
  ['type', 'l8'],
  ['drop-reason-desc', 'POLICY'],
  ['traffic-direction', 'in'],
  ['tcp-flags', 'SYN,FOO'],
  ['ip-version', '5'],
])('--%s %j is refused, by name', (option, value) => {
  expect(() => compileFilter([only(option, value)])).toThrow(
    expect.objectContaining({ code: 'INPUT_INVALID', message: expect.stringContaining(`--${option} "`) }),
  );
});
