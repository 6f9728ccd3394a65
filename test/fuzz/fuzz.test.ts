/**
 * Bytes and objects as nobody would write them, for a while: what reads them says what is wrong by coded errors, and nothing else
 * happens. FUZZ_SECONDS for each target (2); SEED to see a run again.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { parse, stringify } from 'yaml';
import { parseManifests } from '../../control-plane/api/manifests.ts';
import { readDatagram, replyTo, resetAfter, TCP } from '../../control-plane/dns/frame.ts';
import { readAnswer, readQuery, refusalOf } from '../../control-plane/dns/message.ts';
import { MessageStream } from '../../control-plane/dns/stream.ts';
import {
  ADDRESS_BYTES,
  formatAddress,
  formatPrefix,
  parseAddress,
  parsePrefix,
} from '../../control-plane/model/address.ts';
import { SidestepError } from '../../control-plane/model/error.ts';
import { Pattern } from '../../control-plane/model/pattern.ts';
import { newCompiler } from '../../control-plane/policy/arbitrary.ts';
import { LEARNED, surfaces } from '../../control-plane/policy/arbitrary-surface.ts';
import { checkPolicy } from '../../control-plane/policy/check.ts';
import { Inventory } from '../../control-plane/sources/inventory.ts';
import { frame } from '../bpf/packets.ts';

const SECONDS = Number(process.env['FUZZ_SECONDS'] ?? 2);
const SEED = Number(process.env['SEED'] ?? Date.now() % 2 ** 31);
/** One input may take this long: a reader that takes longer can be held up by whoever writes to it. */
const MOST_MS = 2_000;

/** As many inputs as there is time for. What fails is made small, and printed with its seed. */
function fuzz<T>(name: string, inputs: fc.Arbitrary<T>, check: (input: T) => void): void {
  test(name, { timeout: (SECONDS + 60) * 1000 }, () => {
    let ran = 0;
    const timed = (input: T): void => {
      const began = performance.now();
      check(input);
      ran++;
      const took = performance.now() - began;
      if (took > MOST_MS) throw new Error(`took ${Math.round(took)} ms`);
    };
    fc.assert(fc.property(inputs, timed), {
      seed: SEED,
      numRuns: Number.MAX_SAFE_INTEGER,
      interruptAfterTimeLimit: SECONDS * 1000,
      markInterruptAsFailure: false,
    });
    console.log(`${name}: ${ran} inputs, SEED=${SEED}`);
    expect(ran).toBeGreaterThan(10);
  });
}

/** Only coded errors count as an answer. */
function orCoded(action: () => void): void {
  try {
    action();
  } catch (error) {
    if (!(error instanceof SidestepError)) throw error;
    expect(error.code).toMatch(/^[A-Z_]+$/);
    expect(error.message).not.toBe('');
  }
}

/** All that policies can say, and pods, namespaces and the rest beside them. */
const EXAMPLES: readonly { readonly manifest: object }[] = parse(
  readFileSync(join(import.meta.dirname, '../unit/cilium-examples.yaml'), 'utf8'),
);
const POD = {
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name: 'a', namespace: 'default', labels: { app: 'a' }, annotations: { 'sidestep.dev/netns': 'a' } },
  spec: { nodeName: 'here', containers: [{ name: 'main', ports: [{ name: 'http', containerPort: 80 }] }] },
  status: { podIPs: [{ ip: '10.0.0.1' }, { ip: 'fd00::1' }] },
};
const OBJECTS: readonly object[] = [...EXAMPLES.map(({ manifest }) => manifest), POD];

/** Every value of a tree, by its path. */
function pathsOf(value: unknown, path: readonly (string | number)[] = []): (readonly (string | number)[])[] {
  if (typeof value !== 'object' || value === null) return [path];
  return [path, ...Object.entries(value).flatMap(([key, each]) => pathsOf(each, [...path, key]))];
}

function withValue(object: object, path: readonly (string | number)[], value: unknown): unknown {
  const [key, ...rest] = path;
  if (key === undefined) return value;
  const copy = structuredClone(object) as Record<string | number, unknown>;
  const inner = copy[key];
  copy[key] = rest.length === 0 || typeof inner !== 'object' || inner === null ? value : withValue(inner, rest, value);
  return copy;
}

const oddValue = fc.oneof(
  fc.constantFrom<unknown>(null, '', 0, -1, 65536, 1e21, true, [], {}, [null], [[]], '0', '-0', '1e3', '\u0000', '💥'),
  fc.constantFrom(
    '0.0.0.0/0',
    '::/0',
    '1.2.3.4/33',
    'a'.repeat(300),
    '__proto__',
    'constructor',
    '(a+)+$',
    '*',
    '**.',
    'k8s:',
  ),
  fc.jsonValue({ maxDepth: 3 }),
);
const damagedObjects = fc
  .array(fc.record({ object: fc.constantFrom(...OBJECTS), at: fc.nat(), value: oddValue, times: fc.nat(3) }), {
    minLength: 1,
    maxLength: 4,
  })
  .map((list) =>
    list.map(({ object, at, value, times }) => {
      let damaged: unknown = object;
      for (let i = 0; i <= times; i++) {
        if (typeof damaged !== 'object' || damaged === null) break;
        const paths = pathsOf(damaged);
        damaged = withValue(damaged, paths[(at * (i + 1)) % paths.length] ?? [], value);
      }
      return damaged;
    }),
  );

/** What the agent does with a text; and a pod beside it is as it is without. */
function takeManifests(text: string): void {
  const inventory = new Inventory();
  inventory.set('good.yaml', parseManifests(stringify(POD), 'good.yaml'));
  inventory.set('odd.yaml', parseManifests(text, 'odd.yaml'));
  const objects = inventory.objects();
  for (const { code, message } of objects.issues)
    expect([code, message]).toEqual([expect.stringMatching(/^[A-Z_]+$/), expect.stringMatching(/./)]);
  orCoded(() => {
    const snapshot = newCompiler().compile(objects, LEARNED);
    expect(snapshot.workloads.some(({ namespace, name }) => namespace === 'default' && name === 'a')).toBe(true);
  });
  orCoded(() => checkPolicy(objects, { from: '192.0.2.1', to: 'default/a', port: '80/TCP', http: 'GET /' }));
}

fuzz('random texts as manifests', fc.string({ unit: 'binary', maxLength: 400 }), takeManifests);
fuzz('random bytes as manifests', fc.uint8Array({ maxLength: 400 }), (bytes) =>
  takeManifests(Buffer.from(bytes).toString('latin1')),
);
fuzz('manifests with odd values, as YAML', damagedObjects, (objects) =>
  takeManifests(objects.map((each) => stringify(each)).join('---\n')),
);
fuzz('manifests with odd values, as JSON', damagedObjects, (objects) =>
  takeManifests(objects.map((each) => JSON.stringify(each)).join('\n---\n')),
);
fuzz(
  'manifests with lines lost, doubled and moved',
  fc.record({
    object: fc.constantFrom(...OBJECTS),
    edits: fc.array(fc.tuple(fc.nat(), fc.nat(), fc.nat(3)), { maxLength: 6 }),
  }),
  ({ object, edits }) => {
    const lines = stringify(object).split('\n');
    for (const [from, to, kind] of edits) {
      const line = lines[from % lines.length] ?? '';
      if (kind === 0) lines.splice(from % lines.length, 1);
      else if (kind === 1) lines.splice(to % lines.length, 0, line);
      else if (kind === 2) lines[from % lines.length] = ` ${line}`;
      else lines[from % lines.length] = line.slice(1);
      if (lines.length === 0) return;
    }
    takeManifests(lines.join('\n'));
  },
);

fuzz(
  'policies over all that they can say, one set after the other in one compiler',
  fc.array(surfaces, { minLength: 1, maxLength: 3 }),
  (list) => {
    const compiler = newCompiler('here', {});
    for (const { objects } of list) orCoded(() => void compiler.compile(objects, LEARNED));
  },
);

const addressText = fc.oneof(
  fc.string({ unit: fc.constantFrom(...'0123456789abcdefABCDEF.:/%[] -'), maxLength: 45 }),
  fc.ipV4(),
  fc.ipV6(),
);
fuzz(
  'addresses and ranges',
  fc.tuple(addressText, fc.oneof(fc.integer({ min: -2, max: 140 }).map(String), fc.string())),
  ([text, bits]) => {
    orCoded(() => {
      const address = parseAddress(text);
      expect(address).toHaveLength(ADDRESS_BYTES);
      expect(parseAddress(formatAddress(address))).toEqual(address);
    });
    orCoded(() => {
      const prefix = parsePrefix(`${text}/${bits}`);
      expect(parsePrefix(formatPrefix(prefix))).toEqual(prefix);
    });
  },
);

const patternText = fc.oneof(
  fc.string({ unit: fc.constantFrom(...'ab()[]{}|*+?.^$\\-,0129:=!<>PpwWdDsSbBzQE'), maxLength: 40 }),
  fc.constantFrom('(a*)*$', '(a|a)*b', '((a{0,100}){0,100}){0,100}', 'a{1001}', '(?P<n>a)', '\\C*', '(?i)(a|b)+c'),
);
fuzz(
  'patterns: in the time of their length, whatever they are',
  fc.tuple(patternText, fc.nat(4000)),
  ([text, length]) => orCoded(() => void new Pattern(text).matches('a'.repeat(length))),
);

/** A question, as a client sends it. */
const QUERY = Buffer.from('123401000001000000000000036170690765786d61706c6503636f6d0000010001', 'hex');
/** api.example.com is an alias with an address. */
const ANSWER = Buffer.from(
  '123481800001000200000000036170690765786d61706c6503636f6d0000010001c00c0005000100000e10000603777777c010c02d000100010000003c0004c6336407',
  'hex',
);
const message = fc
  .record({
    bytes: fc.oneof(fc.constantFrom<Uint8Array>(QUERY, ANSWER), fc.uint8Array({ maxLength: 300 })),
    edits: fc.array(fc.tuple(fc.nat(), fc.nat(255)), { maxLength: 8 }),
    length: fc.nat(600),
  })
  .map(({ bytes, edits, length }) => {
    const damaged = Uint8Array.from(bytes.subarray(0, length < 300 ? length : undefined));
    for (const [at, value] of edits) if (damaged.length > 0) damaged[at % damaged.length] = value;
    return damaged;
  });
fuzz('DNS messages', message, (bytes) => {
  const query = readQuery(bytes);
  if (query) {
    const refusal = refusalOf(bytes);
    // Whoever asked understands it.
    expect(readAnswer(refusal)).toMatchObject({
      id: query.id,
      name: query.name,
      type: query.type,
      code: 5,
      addresses: [],
    });
  }
  for (const { address, ttl } of readAnswer(bytes)?.addresses ?? []) {
    expect(address).toHaveLength(ADDRESS_BYTES);
    expect(ttl).toBeGreaterThanOrEqual(0);
  }
});

const FRAMES = ['10.0.0.1', 'fd00::1'].flatMap((source) =>
  [6, 17].map((protocol) =>
    frame({
      source,
      destination: source.includes(':') ? 'fd00::2' : '10.0.0.2',
      protocol,
      sourcePort: 40000,
      destinationPort: 53,
      tcpFlags: 0x18,
      payload: QUERY,
    }),
  ),
);
const damagedFrame = fc
  .record({
    bytes: fc.constantFrom(...FRAMES),
    edits: fc.array(fc.tuple(fc.nat(), fc.nat(255)), { maxLength: 5 }),
    length: fc.nat(300),
  })
  .map(({ bytes, edits, length }) => {
    const damaged = Uint8Array.from(bytes.subarray(0, length < 120 ? length : undefined));
    for (const [at, value] of edits) if (damaged.length > 0) damaged[at % damaged.length] = value;
    return damaged;
  });
fuzz('frames with DNS, and what is answered to them', damagedFrame, (bytes) => {
  const datagram = readDatagram(bytes, 0);
  if (datagram === undefined) return;
  expect(datagram.payload.length).toBeLessThanOrEqual(bytes.length);
  const reply = readDatagram(replyTo(datagram, QUERY), 0);
  expect(reply?.destinationPort).toBe(datagram.sourcePort);
  if (datagram.protocol === TCP)
    expect(readDatagram(resetAfter(datagram), 0)?.destinationPort).toBe(datagram.destinationPort);
});

const segments = fc.record({
  messages: fc.array(fc.uint8Array({ minLength: 1, maxLength: 40 }), { minLength: 1, maxLength: 4 }),
  cuts: fc.array(fc.nat(), { maxLength: 6 }),
  order: fc.array(fc.nat(), { maxLength: 12 }),
  first: fc.nat(0xffffffff),
});
fuzz('DNS over TCP: segments in any order, some of them twice', segments, ({ messages, cuts, order, first }) => {
  const all = Buffer.concat(messages.flatMap((each) => [Buffer.from([each.length >> 8, each.length & 255]), each]));
  const ends = [...new Set([...cuts.map((cut) => cut % all.length), all.length])].sort((a, b) => a - b);
  const parts = ends.map((end, i) => ({ at: ends[i - 1] ?? 0, end }));
  const stream = new MessageStream<number>(first);
  const read: Uint8Array[] = [];
  for (const { at, end } of [...order.map((n) => parts[n % parts.length] ?? { at: 0, end: 0 }), ...parts]) {
    const { messages: whole, broken } = stream.take({
      sequence: (first + at) >>> 0,
      payload: all.subarray(at, end),
      item: at,
    });
    expect(broken).toBe(false);
    read.push(...whole);
  }
  expect(read.map((each) => Buffer.from(each).toString('hex'))).toEqual(
    messages.map((each) => Buffer.from(each).toString('hex')),
  );
});
