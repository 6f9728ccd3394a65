/** The configuration protocol: what is said, and what is made of an answer, whatever it is. */
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { SidestepError } from '../model/error.ts';
import { endpointText, parseEndpoint } from './endpoint.ts';
import { publicKeyOf } from './keys.ts';
import { parseTunnelPrefix, prefixText } from './prefixes.ts';
import { encodePeer, encodeRemoval, encodeSettings, parseAnswer, parseState } from './uapi.ts';
import { UapiClient } from './uapi-client.ts';

const key = (byte: number): Uint8Array => new Uint8Array(32).fill(byte);
const hexOf = (byte: number): string => byte.toString(16).padStart(2, '0').repeat(32);

describe('what is said', () => {
  test('of the device is only what is given, the port last', () => {
    expect(encodeSettings({ port: 51871, fwmark: 0x600, privateKey: key(8) })).toBe(
      `set=1\nprivate_key=${hexOf(8)}\nfwmark=1536\nlisten_port=51871\n\n`,
    );
    expect(encodeSettings({ fwmark: 1 })).toBe('set=1\nfwmark=1\n\n');
  });

  test('of a peer never replaces its prefixes together', () => {
    const peer = {
      publicKey: key(1),
      presharedKey: key(2),
      endpoint: { address: '2001:db8::1', port: 51871 },
      allowed: ['10.0.0.1/32', 'fd00::1/128'].map(parseTunnelPrefix),
      keepalive: 25,
    };
    const lines = encodePeer(peer, [parseTunnelPrefix('10.0.0.2/32')]).split('\n');
    expect(lines).toEqual([
      'set=1',
      `public_key=${hexOf(1)}`,
      `preshared_key=${hexOf(2)}`,
      'endpoint=[2001:db8::1]:51871',
      'allowed_ip=10.0.0.1/32',
      'allowed_ip=fd00::1/128',
      'allowed_ip=-10.0.0.2/32',
      'persistent_keepalive_interval=25',
      '',
      '',
    ]);
  });

  test('of one to be removed does not make it first', () => {
    expect(encodeRemoval(key(1))).toBe(`set=1\npublic_key=${hexOf(1)}\nupdate_only=true\nremove=true\n\n`);
  });
});

const STATE = `private_key=${hexOf(0x48)}
listen_port=51871
fwmark=1536
something_new=1
public_key=${hexOf(1)}
preshared_key=${hexOf(2)}
protocol_version=1
endpoint=192.0.2.1:51871
last_handshake_time_sec=1700000000
last_handshake_time_nsec=123999999
tx_bytes=10
rx_bytes=20
persistent_keepalive_interval=25
allowed_ip=10.0.0.1/32
allowed_ip=fd00::1/128
public_key=${hexOf(3)}
preshared_key=${hexOf(0)}
last_handshake_time_sec=0
last_handshake_time_nsec=0
errno=0

`;

describe('an answer', () => {
  test('is a device with its peers', () => {
    const state = parseState(parseAnswer(STATE).lines);
    expect(state).toMatchObject({ publicKey: publicKeyOf(key(0x48)), port: 51871, fwmark: 0x600 });
    expect(state.peers).toMatchObject([
      {
        publicKey: Buffer.from(key(1)),
        presharedKey: Buffer.from(key(2)),
        endpoint: { address: '192.0.2.1', port: 51871 },
        lastHandshake: 1_700_000_000_123,
        sent: 10,
        received: 20,
        keepalive: 25,
      },
      { publicKey: Buffer.from(key(3)), endpoint: undefined, lastHandshake: 0, allowed: [], keepalive: 0 },
    ]);
    expect(state.peers[0]?.allowed.map(prefixText)).toEqual(['10.0.0.1/32', 'fd00::1/128']);
  });

  test('may be an errno', () => {
    expect(parseAnswer('errno=-98\n\n')).toEqual({ errno: -98, lines: [] });
  });

  test.each(['', '\n', 'fwmark=1\n\n', 'errno\n\n', 'errno=x\n\n', 'errno=0\nfwmark=1\n\n', '=1\nerrno=0\n\n'])(
    'is refused when it is none: %j',
    (text) => {
      expect(() => parseAnswer(text)).toThrow(expect.objectContaining({ code: 'TUNNEL_FAILED' }));
    },
  );

  test.each(['public_key=00', 'private_key=zz', 'listen_port=-1', 'fwmark=0x1', 'listen_port='])(
    'is refused for a value that is none: %s',
    (line) => {
      expect(() => parseState(parseAnswer(`${line}\nerrno=0\n\n`).lines)).toThrow(
        expect.objectContaining({ code: 'TUNNEL_FAILED' }),
      );
    },
  );

  test('changed anywhere is still a state, or refused with our own code', () => {
    const edit = fc.record({
      at: fc.nat(STATE.length),
      cut: fc.nat(40),
      add: fc.string({ unit: 'binary', maxLength: 20 }),
    });
    fc.assert(
      fc.property(fc.array(edit, { minLength: 1, maxLength: 4 }), (edits) => {
        const text = edits.reduce((old, { at, cut, add }) => old.slice(0, at) + add + old.slice(at + cut), STATE);
        try {
          const { peers, port } = parseState(parseAnswer(text).lines);
          expect(Number.isSafeInteger(port) || port > 0).toBe(true);
          for (const { publicKey, allowed } of peers) {
            expect(publicKey).toHaveLength(32);
            for (const { address, bits } of allowed) expect(bits).toBeLessThanOrEqual(address.length * 8);
          }
        } catch (error) {
          expect(error).toBeInstanceOf(SidestepError);
          expect((error as SidestepError).code).toBe('TUNNEL_FAILED');
        }
      }),
      { seed: 5, numRuns: 2000 },
    );
  });
});

describe('endpoints and prefixes', () => {
  test.each(['192.0.2.1:51871', '[2001:db8::1]:1', '[fe80::1%eth0]:65535'])('%s is one', (text) => {
    const endpoint = parseEndpoint(text);
    expect(endpoint && endpointText(endpoint)).toBe(text);
  });
  test.each(['', '192.0.2.1', '192.0.2.1:0', '192.0.2.1:65536', '2001:db8::1:1', '[192.0.2.1]:1', 'host:1', '[]:1'])(
    '%j is none',
    (text) => expect(parseEndpoint(text)).toBeUndefined(),
  );
  test.each(['10.0.0.0/8', '10.1.2.3/32', '0.0.0.0/0', 'fd00::/64', '::/0', 'fd00::1/128'])(
    '%s stays what it is',
    (text) => {
      expect(prefixText(parseTunnelPrefix(text))).toBe(text);
    },
  );
});

describe('over the socket', () => {
  let folder: string;
  let server: Server | undefined;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'sidestep-uapi-'));
  });
  afterEach(() => {
    server?.close();
    rmSync(folder, { recursive: true });
  });
  const client = async (answer: (socket: Socket) => void, timeoutMs = 2000): Promise<UapiClient> => {
    const path = join(folder, 'x.sock');
    server = createServer((socket) => {
      socket.on('error', () => undefined);
      socket.once('data', () => answer(socket));
    });
    await new Promise<void>((resolve) => server?.listen(path, resolve));
    return new UapiClient(path, timeoutMs);
  };

  test('an answer may come in pieces', async () => {
    const uapi = await client(async (socket) => {
      for (const piece of [STATE.slice(0, 100), STATE.slice(100, -1), STATE.slice(-1)]) {
        socket.write(piece);
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
    });
    expect((await uapi.state()).peers).toHaveLength(2);
  });

  test.each([
    ['a port that is taken', 'errno=-98\n\n', 'TUNNEL_PORT_BUSY'],
    ['another refusal', 'errno=-22\n\n', 'TUNNEL_REFUSED'],
    ['one that nobody knows', 'errno=55\n\n', 'TUNNEL_REFUSED'],
    ['what is no answer', 'hello\n\n', 'TUNNEL_FAILED'],
  ])('%s has its own code', async (_, answer, code) => {
    const uapi = await client((socket) => socket.write(answer));
    await expect(uapi.send('set=1\n\n')).rejects.toMatchObject({ code });
  });

  test('one that ends, says nothing or is not there does not keep us waiting', async () => {
    const ends = await client((socket) => socket.end('errno='));
    await expect(ends.state()).rejects.toMatchObject({
      code: 'TUNNEL_FAILED',
      message: expect.stringContaining('middle'),
    });
    server?.close();
    rmSync(join(folder, 'x.sock'), { force: true });
    const silent = await client(() => undefined, 20);
    await expect(silent.state()).rejects.toMatchObject({
      code: 'TUNNEL_FAILED',
      message: expect.stringContaining('20 ms'),
    });
    await expect(new UapiClient(join(folder, 'none.sock'), 100).state()).rejects.toMatchObject({
      code: 'TUNNEL_FAILED',
    });
  });

  test('an answer without end is cut off', async () => {
    const piece = Buffer.alloc(1 << 20, 'x');
    const uapi = await client((socket) => {
      const more = (): void => {
        if (!socket.destroyed) socket.write(piece, more);
      };
      more();
    }, 20_000);
    await expect(uapi.state()).rejects.toMatchObject({ message: expect.stringContaining('more than') });
  });
});
