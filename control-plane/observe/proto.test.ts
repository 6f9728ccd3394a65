/** Every printed line against proto/: names, types and words are those of the schema, and a protobuf peer reads the same. */
import { join } from 'node:path';
import protobuf from 'protobufjs';
import { describe, expect, test } from 'vitest';
import { DROP_REASONS, type DropReason } from '../generated/reasons.ts';
import type { DnsEvent } from '../model/dns-event.ts';
import type { KernelEvent } from '../model/event.ts';
import type { HttpEvent } from '../model/http-event.ts';
import type { FlowResponse } from './flow.ts';
import { FlowPrinter } from './format.ts';
import {
  ADMITTED,
  DNS_ANSWER,
  ELSEWHERE,
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

type Json = Readonly<Record<string, unknown>>;

const PROTO = join(import.meta.dirname, '../../proto');
const root = new protobuf.Root();
root.resolvePath = (_, target) => join(PROTO, target);
root.loadSync('observer/observer.proto', { keepCase: true }).resolveAll();
const RESPONSE = root.lookupType('observer.GetFlowsResponse');

const SCALARS: Readonly<Record<string, (value: unknown) => boolean>> = {
  string: (value) => typeof value === 'string',
  bool: (value) => typeof value === 'boolean',
  int32: (value) => Number.isInteger(value) && Math.abs(Number(value)) < 2 ** 31,
  uint32: (value) => Number.isInteger(value) && Number(value) >= 0 && Number(value) < 2 ** 32,
  // JSON numbers are too short for them.
  uint64: (value) => typeof value === 'string' && /^\d+$/.test(value) && BigInt(value) < 2n ** 64n,
};

/** What proto3's JSON writes as something else than an object. */
const WELL_KNOWN: Readonly<Record<string, { toMessage(json: unknown): Json; toJson(message: Json): unknown }>> = {
  '.google.protobuf.Timestamp': {
    toMessage: (json) => {
      const [, second, fraction = ''] = /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)\.(\d{6})Z$/.exec(String(json)) ?? [];
      if (second === undefined) throw new Error(`${json} is not a time with microseconds`);
      return { seconds: Date.parse(`${second}Z`) / 1000, nanos: Number(fraction) * 1000 };
    },
    toJson: ({ seconds, nanos }) =>
      `${new Date(Number(seconds) * 1000).toISOString().slice(0, 19)}.${String(Number(nanos) / 1000).padStart(6, '0')}Z`,
  },
  '.google.protobuf.BoolValue': {
    toMessage: (json) => {
      if (typeof json !== 'boolean') throw new Error(`${json} is not a boolean`);
      return { value: json };
    },
    toJson: ({ value }) => value,
  },
};

/** JSON -> what protobufjs makes a message of. @throws for what the schema does not have */
function toMessage(type: protobuf.Type, json: Json): Json {
  for (const { oneof } of type.oneofsArray)
    if (oneof.filter((name) => name in json).length > 1) throw new Error(`${type.name} has more than one of ${oneof}`);
  return mapFields(type, json, (field, value) => {
    const { resolvedType } = field;
    if (resolvedType instanceof protobuf.Enum) {
      if (typeof value !== 'string' || !(value in resolvedType.values))
        throw new Error(`${value} is no word of ${resolvedType.name}`);
      return resolvedType.values[value];
    }
    if (resolvedType instanceof protobuf.Type)
      return WELL_KNOWN[resolvedType.fullName]?.toMessage(value) ?? toMessage(resolvedType, value as Json);
    if (!SCALARS[field.type]?.(value)) throw new Error(`${type.name}.${field.name}: ${value} is not ${field.type}`);
    return value;
  });
}

function toJson(type: protobuf.Type, message: Json): Json {
  return mapFields(type, message, ({ resolvedType }, value) => {
    if (!(resolvedType instanceof protobuf.Type) || value === null) return value;
    return WELL_KNOWN[resolvedType.fullName]?.toJson(value as Json) ?? toJson(resolvedType, value as Json);
  });
}

function mapFields(type: protobuf.Type, object: Json, map: (field: protobuf.Field, value: unknown) => unknown): Json {
  return Object.fromEntries(
    Object.entries(object).map(([name, value]) => {
      const field = type.fields[name];
      if (field === undefined) throw new Error(`${type.name} has no field ${name}`);
      if (!field.repeated) return [name, map(field, value)];
      if (!Array.isArray(value)) throw new Error(`${type.name}.${name} is not a list`);
      return [name, value.map((each) => map(field, each))];
    }),
  );
}

/** Through the wire and back, zero values written out. */
function overTheWire(line: string): Json {
  const bytes = RESPONSE.encode(RESPONSE.create(toMessage(RESPONSE, JSON.parse(line) as Json))).finish();
  const message = RESPONSE.toObject(RESPONSE.decode(bytes), { enums: String, longs: String, defaults: true });
  return toJson(RESPONSE, message);
}

function lineOf(response: FlowResponse): string {
  const options = { color: false, numeric: false, printNodeName: false, printPolicyNames: false };
  return new FlowPrinter('json', options).print(response);
}

function flowLine(changes: Partial<KernelEvent>): string {
  const flow = sampleFlow(changes);
  return lineOf({ flow, node_name: flow.node_name, time: flow.time });
}

const CLOSED = { kind: 'close', tcpFlags: 0xff, durationMs: 12.5, packets: [6, 5], bytes: [400, 330] } as const;
const KINDS: Readonly<Record<string, Partial<KernelEvent>>> = {
  'new, open': {},
  'new, to the world': TO_WORLD,
  'new, admitted': ADMITTED,
  'new, both halves decided': { egress: half('allow', RULE.limitAllows, 3), ingress: half('allow', RULE.twoAllow, 1) },
  'new, by bypass': { bypassed: true, ingress: half('allow', RULE.bypass) },
  'new, adopted': { adopted: true, tcpFlags: 0x10 },
  'new, from nobody known': { sourceIdentity: 0, sourceIfindex: 0, ifindex: 77 },
  'denied by default': REFUSED,
  'denied by a rule': { ...REFUSED, reason: 'POLICY_DENY', ingress: half('deny', RULE.limitDenies, 1) },
  'denied at the egress': {
    ...REFUSED,
    egress: half('deny', RULE.defaultDeny),
    ingress: ELSEWHERE,
    deniedBy: 'egress',
  },
  revoked: { ...REFUSED, revoked: true, reply: true },
  closed: { ...CLOSED, ...ADMITTED },
  'closed, to the world': { ...CLOSED, ...TO_WORLD },
  UDP: { protocol: 17 },
  SCTP: { protocol: 132 },
  ICMP: { protocol: 1, icmpType: 8 },
  ICMPv6: { ...OVER_IPV6, protocol: 58, icmpType: 128 },
  'another protocol': { protocol: 47 },
  'TCP over IPv6': OVER_IPV6,
};

describe('a line of -o json', () => {
  test.each(Object.entries(KINDS))('is one of the schema, and survives the wire: %s', (_, changes) => {
    const line = flowLine(changes);
    expect(overTheWire(line)).toMatchObject(JSON.parse(line));
  });

  test.each<readonly [string, Partial<HttpEvent>, number]>([
    ['allowed', {}, 2],
    ['denied', FORBIDDEN, 1],
    ['malformed', { verdict: 'refused', code: 400, details: 'http1.codec_error' }, 1],
    ['without an answer', { code: 0 }, 1],
  ])('may be of a request, %s', (_, changes, lines) => {
    const flows = sampleHttpFlows(changes);
    expect(flows).toHaveLength(lines);
    for (const flow of flows) {
      const line = lineOf({ flow, node_name: flow.node_name, time: flow.time });
      expect(overTheWire(line)).toMatchObject(JSON.parse(line));
    }
  });

  test.each<readonly [string, Partial<DnsEvent>]>([
    ['a query', {}],
    ['a query over TCP, refused', { protocol: 'TCP', verdict: 'refused' }],
    ['an answer', DNS_ANSWER],
    ['what cannot be read', { name: undefined, verdict: 'refused' }],
  ])('may be of DNS: %s', (_, changes) => {
    const flow = sampleDnsFlow(changes);
    const line = lineOf({ flow, node_name: flow.node_name, time: flow.time });
    expect(overTheWire(line)).toMatchObject(JSON.parse(line));
  });

  test.each(Object.keys(DROP_REASONS) as DropReason[])('may have the reason %s, with its number', (reason) => {
    const line = flowLine({ kind: 'drop', reason });
    expect(overTheWire(line)).toMatchObject(JSON.parse(line));
    expect(root.lookupEnum('flow.DropReason').values[reason]).toBe(DROP_REASONS[reason].number);
  });

  test.each(['PERF_EVENT_RING_BUFFER', 'OBSERVER_EVENTS_QUEUE', 'HUBBLE_RING_BUFFER'] as const)(
    'may tell of events lost in %s',
    (source) => {
      const { time } = sampleFlow();
      const line = lineOf({ lost_events: { source, num_events_lost: '18446744073709551615' }, node_name: 'n', time });
      expect(overTheWire(line)).toMatchObject(JSON.parse(line));
    },
  );
});

describe('what the schema does not have', () => {
  const flow: Json = { ...sampleFlow() };

  test.each<readonly [string, Json]>([
    ['Flow has no field surprise', { ...flow, surprise: 1 }],
    ['Endpoint has no field podName', { ...flow, source: { podName: 'web' } }],
    ['PERHAPS is no word of Verdict', { ...flow, verdict: 'PERHAPS' }],
    ['1 is no word of FlowType', { ...flow, Type: 1 }],
    ['Endpoint.identity: -1 is not uint32', { ...flow, source: { identity: -1 } }],
    ['Policy.revision: 5 is not uint64', { ...flow, ingress_allowed_by: [{ revision: 5 }] }],
    ['Flow.ingress_allowed_by is not a list', { ...flow, ingress_allowed_by: {} }],
    ['Layer4 has more than one of TCP,UDP,ICMPv4,ICMPv6,SCTP', { ...flow, l4: { TCP: {}, UDP: {} } }],
    ['yesterday is not a time with microseconds', { ...flow, time: 'yesterday' }],
    ['no is not a boolean', { ...flow, is_reply: 'no' }],
  ])('is found: %s', (message, json) => {
    expect(() => overTheWire(JSON.stringify({ flow: json }))).toThrow(message);
  });
});
