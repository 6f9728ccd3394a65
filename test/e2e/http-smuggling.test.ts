/**
 * Requests whose bytes two readers could read differently. Envoy judges what it reads; the server here keeps the bytes that
 * reach it and answers every empty line, so that a request which Envoy did not see as one would be seen.
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ByteClient, ByteServer, type Exchange } from '../lib/bytes.ts';
import { HTTP_PORT } from '../lib/http.ts';
import { podName, System } from '../lib/system.ts';
import { clientHello } from '../lib/tls.ts';
import type { Workload } from '../lib/topology.ts';

const HOST = 'Host: shop\r\n';
const FORBIDDEN = `POST /admin HTTP/1.1\r\n${HOST}Content-Length: 0\r\n\r\n`;
const get = (headers = '', path = '/api/x'): string => `GET ${path} HTTP/1.1\r\n${HOST}${headers}\r\n`;
const ALLOWED = get();
const UPGRADE = 'Connection: Upgrade\r\n';
/** A request that is admitted and broken off. */
const BEGUN =
  /^(GET \/api\/x HTTP\/1\.1\r\nhost: shop\r\nx-forwarded-proto: http\r\ntransfer-encoding: chunked\r\n\r\n)?$/;
const UNENDING = `${'5'.repeat(40)}\r\n`;

interface Attempt {
  /** Written one after the other, each after an answer or silence. */
  readonly parts: readonly string[];
  /** Of the answers, in order. */
  readonly statuses: readonly number[];
  /** Words of the flow that names the refusal; absent: all of it is harmless. */
  readonly refused?: string;
  /** What reached the server. */
  readonly arrived: RegExp | '';
}

/** Envoy writes requests anew: this is all of one that it passes on. */
const head = (more = ''): string =>
  `GET /api/x HTTP/1.1\\r\\nhost: shop\\r\\n${more}x-forwarded-proto: http\\r\\n\\r\\n`;
const only = (...heads: string[]): RegExp => new RegExp(`^${heads.join('')}$`);
const BY_RULE = 'not admitted by';
const malformed = (...parts: string[]): Attempt => ({
  parts,
  statuses: [400],
  refused: 'refused by Envoy',
  arrived: '',
});
const brokenOff = (...parts: string[]): Attempt => ({
  parts,
  statuses: [400],
  refused: 'by Envoy: http1.codec_error',
  arrived: BEGUN,
});
const unimplemented = (...parts: string[]): Attempt => ({ ...malformed(...parts), statuses: [501] });
const denied = (...parts: string[]): Attempt => ({ parts, statuses: [403], refused: BY_RULE, arrived: '' });

const HELLO = (await clientHello('shop')).toString('latin1');

const BODIES: Record<string, Attempt> = {
  'Content-Length and Transfer-Encoding': malformed(
    `${get(`Content-Length: ${FORBIDDEN.length}\r\nTransfer-Encoding: chunked\r\n`)}0\r\n\r\n${FORBIDDEN}`,
  ),
  'Transfer-Encoding twice': unimplemented(
    `${get('Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n')}0\r\n\r\n${FORBIDDEN}`,
  ),
  'a Transfer-Encoding that is almost one': unimplemented(
    `${get('Transfer-Encoding: xchunked\r\n')}0\r\n\r\n${FORBIDDEN}`,
  ),
  'Transfer-Encoding with a blank before the colon': malformed(
    `${get('Transfer-Encoding : chunked\r\nContent-Length: 3\r\n')}0\r\n\r\n${FORBIDDEN}`,
  ),
  'two Content-Lengths': malformed(
    `${get(`Content-Length: 0\r\nContent-Length: ${FORBIDDEN.length}\r\n`)}${FORBIDDEN}`,
  ),
  'a Content-Length with a sign': malformed(`${get('Content-Length: +3\r\n')}abc${FORBIDDEN}`),
  'a chunk of more bytes than there are numbers': {
    ...brokenOff(`${get('Transfer-Encoding: chunked\r\n')}${UNENDING}abc\r\n0\r\n\r\n${FORBIDDEN}`),
  },
  'chunks that end in a bare LF': {
    ...brokenOff(`${get('Transfer-Encoding: chunked\r\n')}3\nabc\n0\n\n${FORBIDDEN}`),
  },
  'trailers that name another length': {
    parts: [`${get('Transfer-Encoding: chunked\r\n')}0\r\nContent-Length: ${FORBIDDEN.length}\r\n\r\n${FORBIDDEN}`],
    statuses: [200, 403],
    refused: BY_RULE,
    arrived: /^GET \/api\/x HTTP\/1\.1\r\nhost: shop\r\n[a-z:\- \r\n]*\r\n\r\n0\r\n\r\n$/,
  },
  'a body behind Expect: 100-continue, and a request behind it': {
    parts: [`${get('Expect: 100-continue\r\nContent-Length: 3\r\n')}abc${FORBIDDEN}`],
    statuses: [100, 200, 403],
    refused: BY_RULE,
    arrived: /^GET \/api\/x HTTP\/1\.1\r\nhost: shop\r\ncontent-length: 3\r\nx-forwarded-proto: http\r\n\r\nabc$/,
  },
};

const LINES: Record<string, Attempt> = {
  'bare LFs': {
    parts: [`${ALLOWED}${FORBIDDEN}`.replaceAll('\r', '')],
    statuses: [200, 403],
    refused: BY_RULE,
    arrived: only(head()),
  },
  'a header in a header, by a bare LF': {
    parts: [get('X-A: a\nX-B: b\r\n')],
    statuses: [200],
    arrived: only(head('x-a: a\\r\\nx-b: b\\r\\n')),
  },
  'a header in a header, by a bare CR': {
    parts: [get('X-A: a\rTransfer-Encoding: chunked\r\n')],
    statuses: [200],
    arrived: only(head('x-a: aTransfer-Encoding: chunked\\r\\n')),
  },
  'a NUL in a header': malformed(get('X-A: a\0b\r\n')),
  'a folded header': {
    parts: [get('X-A: a\r\n Transfer-Encoding: chunked\r\n')],
    statuses: [200],
    arrived: only(head('x-a: a Transfer-Encoding: chunked\\r\\n')),
  },
  'a fold before any header': malformed(`GET /api/x HTTP/1.1\r\n X-A: a\r\n${HOST}\r\n`),
  'empty lines first': denied(`\r\n\r\n${FORBIDDEN}`),
  'a blank in the path': malformed(`GET /api/x /admin HTTP/1.1\r\n${HOST}\r\n`),
  'a fragment in the path': malformed(get('', '/api/x#/../../admin')),
  'a version that nobody has': denied(`POST /admin HTTP/1.2\r\n${HOST}Content-Length: 0\r\n\r\n`),
  'no version': malformed('GET /admin\r\n'),
  // What rules about requests do not admit: the flow says what it was.
  'a handshake of TLS': { parts: [HELLO], statuses: [], refused: 'TLS name shop', arrived: '' },
  'HTTP/1.0 without a host': malformed('POST /admin HTTP/1.0\r\n\r\n'),
  'HTTP/1.0, and a request behind it': {
    parts: [`GET /api/x HTTP/1.0\r\n${HOST}\r\n${FORBIDDEN}`],
    statuses: [200],
    arrived: only(head()),
  },
  'a request that is admitted and one that is not, at once': {
    parts: [ALLOWED + FORBIDDEN],
    statuses: [200, 403],
    refused: BY_RULE,
    arrived: only(head()),
  },
  'one that is not, and one that is': {
    parts: [FORBIDDEN + ALLOWED],
    statuses: [403, 200],
    refused: BY_RULE,
    arrived: only(head()),
  },
};

const TARGETS: Record<string, Attempt> = {
  'an absolute target of another host': {
    parts: [`GET http://other/api/x HTTP/1.1\r\n${HOST}\r\n`],
    statuses: [200],
    // The rules were held against this host, too.
    arrived: /^GET \/api\/x HTTP\/1\.1\r\nhost: other\r\nx-forwarded-proto: http\r\n\r\n$/,
  },
  'an absolute target that is forbidden': denied(`GET http://shop/admin HTTP/1.1\r\n${HOST}\r\n`),
  'an absolute target without a path': denied(`GET http://shop HTTP/1.1\r\n${HOST}\r\n`),
  'an absolute target whose path is a query': {
    ...malformed(`GET http://shop?/api/x HTTP/1.1\r\n${HOST}\r\n`),
    statuses: [404],
  },
  'an absolute target of another scheme': malformed(`GET ftp://shop/api/x HTTP/1.1\r\n${HOST}\r\n`),
  'a target without a slash': malformed(`GET api/x HTTP/1.1\r\n${HOST}\r\n`),
  'Host twice': {
    parts: [get('Host: other\r\n')],
    statuses: [200],
    // One header: whom the rules saw, the server sees.
    arrived: /^GET \/api\/x HTTP\/1\.1\r\nhost: shop,other\r\nx-forwarded-proto: http\r\n\r\n$/,
  },
  'a path in Host': malformed('GET /api/x HTTP/1.1\r\nHost: shop/admin\r\n\r\n'),
  CONNECT: {
    ...denied('CONNECT shop:80 HTTP/1.1\r\nHost: shop:80\r\n\r\n', FORBIDDEN),
    refused: 'CONNECT is no request',
  },
  'CONNECT to a path': malformed(`CONNECT /api/x HTTP/1.1\r\n${HOST}\r\n`, FORBIDDEN),
  'OPTIONS of everything': { ...malformed(`OPTIONS * HTTP/1.1\r\n${HOST}\r\n`), statuses: [404] },
};

const HEADERS: Record<string, Attempt> = {
  underscores: {
    parts: [get('Content_Length: 50\r\nTransfer_Encoding: chunked\r\n')],
    statuses: [200],
    arrived: only(head('content_length: 50\\r\\ntransfer_encoding: chunked\\r\\n')),
  },
  'what Envoy itself would say': {
    parts: [
      get(
        'x-envoy-original-path: /secret\r\nx-envoy-original-dst-host: 192.0.2.2:80\r\nx-envoy-internal: true\r\n' +
          'x-envoy-upstream-alt-stat-name: a\r\nx-envoy-decorator-operation: b\r\nx-sidestep-ingress: 1\r\n',
      ),
    ],
    statuses: [200],
    // To the same server, by the same path, once.
    arrived: /^GET \/api\/x HTTP\/1\.1\r\nhost: shop\r\n[a-z0-9:\-. /\r\n]*x-forwarded-proto: http\r\n\r\n$/,
  },
  'how often Envoy should try': {
    parts: [get('x-envoy-retry-on: 5xx\r\nx-envoy-max-retries: 5\r\nx-forwarded-for: 127.0.0.1\r\n', '/api/fail')],
    statuses: [503],
    arrived: /^GET \/api\/fail (?!(.|\s)*GET )/,
  },
  'another client': {
    parts: [`POST /admin HTTP/1.1\r\n${HOST}x-forwarded-for: 10.60.0.99\r\nContent-Length: 0\r\n\r\n`],
    statuses: [403],
    refused: BY_RULE,
    arrived: '',
  },
  'that the host is a hop': malformed(
    `${get('Connection: host, content-length\r\nContent-Length: 3\r\n')}abc${FORBIDDEN}`,
  ),
};

const SWITCHES: Record<string, Attempt> = {
  'to h2c, and HTTP/2 behind it': {
    parts: [
      get(`Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n`),
      http2('POST', '/admin'),
    ],
    // Nothing was switched: it is read as HTTP/1.
    statuses: [200, 400],
    refused: 'refused by Envoy',
    arrived: only(head()),
  },
  'to h2c, and HTTP/1 behind it': {
    parts: [get(`${UPGRADE}Upgrade: h2c\r\n`), FORBIDDEN],
    statuses: [200, 403],
    refused: BY_RULE,
    arrived: only(head()),
  },
  'to a protocol that nobody knows': {
    parts: [`${get(`${UPGRADE}Upgrade: other\r\n`)}${FORBIDDEN}`],
    statuses: [403],
    refused: 'upgrade_failed',
    arrived: '',
  },
  'to WebSocket, which the server does not, and a request behind it at once': {
    parts: [`${get(`${UPGRADE}Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n`)}${FORBIDDEN}`],
    statuses: [200],
    arrived: only(head('connection: Upgrade\\r\\nupgrade: websocket\\r\\nsec-websocket-version: 13\\r\\n')),
  },
  'to WebSocket, which the server does not, and a request behind the answer': {
    parts: [get(`${UPGRADE}Upgrade: websocket\r\nSec-WebSocket-Version: 777\r\n`), FORBIDDEN],
    statuses: [200],
    arrived: only(head('connection: Upgrade\\r\\nupgrade: websocket\\r\\nsec-websocket-version: 777\\r\\n')),
  },
  'to WebSocket with a body': {
    parts: [`${get(`${UPGRADE}Upgrade: websocket\r\nTransfer-Encoding: chunked\r\n`)}0\r\n\r\n${FORBIDDEN}`],
    statuses: [200],
    arrived: /^GET \/api\/x HTTP\/1\.1\r\nhost: shop\r\n[a-z:\- \r\n]*$/i,
  },
};

const HTTP2: Record<string, Attempt> = {
  'of an admitted request, which does arrive': {
    parts: [http2('GET', '/api/x')],
    statuses: [],
    arrived: /^PRI \* HTTP\/2\.0/,
  },
  'of a forbidden request': { parts: [http2('POST', '/admin')], statuses: [], refused: BY_RULE, arrived: '' },
  'of a forbidden path with an admitted one behind a NUL': {
    parts: [http2('GET', '/admin\0/api/x')],
    statuses: [],
    arrived: '',
  },
  'of a tunnel': {
    parts: [http2('CONNECT', '/api/x', [[':protocol', 'websocket']])],
    statuses: [],
    arrived: '',
  },
  'with a header of HTTP/1': {
    parts: [http2('GET', '/api/x', [['transfer-encoding', 'chunked']])],
    statuses: [],
    arrived: '',
  },
  'with a line break in a header': {
    parts: [http2('GET', '/api/x', [['x-a', `a\r\n\r\n${FORBIDDEN}`]])],
    statuses: [],
    arrived: '',
  },
};

/** Preface, settings, and one request without a body; RFC 9113, with header fields as literals of RFC 7541 §6.2.2. */
function http2(method: string, path: string, more: readonly (readonly [string, string])[] = []): string {
  const text = (value: string): string => `${String.fromCharCode(value.length)}${value}`;
  const fields = [[':method', method], [':scheme', 'http'], [':authority', 'shop'], [':path', path], ...more].map(
    ([name = '', value = '']) => `\0${text(name)}${text(value)}`,
  );
  const frame = (type: number, flags: number, stream: number, payload: string): string =>
    `\0\0${String.fromCharCode(payload.length, type, flags)}\0\0\0${String.fromCharCode(stream)}${payload}`;
  // HEADERS with END_STREAM and END_HEADERS.
  return `PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n${frame(4, 0, 0, '')}${frame(1, 5, 1, fields.join(''))}`;
}

const ALL = { BODIES, LINES, TARGETS, HEADERS, SWITCHES, HTTP2 };

interface Outcome {
  readonly answer: Exchange;
  readonly arrived: string;
}

let system: System;
let client: Workload;
let since: number;
/** One after the other, because the server is to tell whose bytes are whose; asserted one by one. */
const outcomes = new Map<Attempt, Outcome>();

beforeAll(async () => {
  system = await System.create('smuggling', ['--envoy-strict', 'true']);
  client = await system.pod('client', 'routed');
  const server = await system.pod('server', 'routed');
  const backend = await ByteServer.start(server, HTTP_PORT);
  system.policy('guard', {
    endpointSelector: { matchLabels: { app: 'server' } },
    ingress: [
      {
        fromEndpoints: [{ matchLabels: { app: 'client' } }],
        toPorts: [
          {
            ports: [{ port: String(HTTP_PORT), protocol: 'TCP' }],
            rules: { http: [{ method: 'GET', path: '/api/.*' }] },
          },
        ],
      },
    ],
  });
  await system.start();
  const sender = ByteClient.start(client);
  const exchange = (parts: readonly string[], quietMs = 150): Promise<Exchange> =>
    sender.exchange(server.ipv4, { port: HTTP_PORT, parts, quietMs });
  for (let tries = 0; !(await exchange([ALLOWED])).bytes.includes('200 OK'); tries++)
    if (tries > 50) throw new Error('no honest request is answered');
  since = Date.now();
  for (const attempt of Object.values(ALL).flatMap((group) => Object.values(group))) {
    const mark = backend.now;
    const answer = await exchange(attempt.parts);
    outcomes.set(attempt, { answer, arrived: backend.bytes(mark) });
  }
});

afterAll(() => system?.remove());

async function check(attempt: Attempt): Promise<void> {
  const { answer, arrived } = outcomes.get(attempt) ?? {};
  const statuses = [...(answer?.bytes ?? '').matchAll(/HTTP\/1\.[01] (\d+) /g)].map(([, status]) => Number(status));
  expect(arrived).not.toMatch(/admin|POST/);
  if (attempt.arrived === '') expect(arrived).toBe('');
  else expect(arrived).toMatch(attempt.arrived);
  expect(statuses).toEqual(attempt.statuses);
  if (attempt.refused === undefined) return;
  const { refused } = attempt;
  await system.flow(
    refused,
    (each) =>
      each.time >= since - 20 &&
      // The request's, or where that was admitted, the answer's.
      [
        [each.source, each.sourcePort],
        [each.destination, each.destinationPort],
      ].some(([end, port]) => end === podName(client) && port === answer?.port) &&
      each.raw.includes(refused),
  );
}

describe('where a body ends', () => {
  test.each(Object.entries(BODIES))('%s', (_, attempt) => check(attempt));
});
describe('lines', () => {
  test.each(Object.entries(LINES))('%s', (_, attempt) => check(attempt));
});
describe('whom a request is for', () => {
  test.each(Object.entries(TARGETS))('%s', (_, attempt) => check(attempt));
});
describe('headers that say', () => {
  test.each(Object.entries(HEADERS))('%s', (_, attempt) => check(attempt));
});
describe('a switch', () => {
  test.each(Object.entries(SWITCHES))('%s', (_, attempt) => check(attempt));
});
describe('HTTP/2 at once', () => {
  test.each(Object.entries(HTTP2))('%s', (_, attempt) => check(attempt));
});
