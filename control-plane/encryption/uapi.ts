/**
 * WireGuard's configuration protocol for user-space implementations, as text: lines `key=value`, an empty line ends a message.
 * https://www.wireguard.com/xplatform/#configuration-protocol
 */
import { SidestepError } from '../model/error.ts';
import { endpointText, parseEndpoint } from './endpoint.ts';
import { KEY_BYTES, publicKeyOf } from './keys.ts';
import type { EnginePeer, EngineState, TunnelSettings } from './ports.ts';
import { parseTunnelPrefix, prefixText } from './prefixes.ts';
import type { TunnelPeer, TunnelPrefix } from './tunnel.ts';

export const GET = 'get=1\n\n';

const HEX_KEY = /^[0-9a-f]{64}$/;
const NUMBER = /^\d{1,19}$/;
const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

function set(lines: readonly string[]): string {
  return `set=1\n${lines.join('\n')}\n\n`;
}

/** Only what is given: setting the port opens it anew, even when it is the same. */
export function encodeSettings({ privateKey, port, fwmark }: Partial<TunnelSettings>): string {
  const lines = [
    ...(privateKey === undefined ? [] : [`private_key=${hex(privateKey)}`]),
    ...(fwmark === undefined ? [] : [`fwmark=${fwmark}`]),
    ...(port === undefined ? [] : [`listen_port=${port}`]),
  ];
  return set(lines);
}

/** Prefixes are added and taken away one by one: replaced together, they would be nobody's for an instant. */
export function encodePeer(peer: TunnelPeer, lost: readonly TunnelPrefix[]): string {
  return set([
    `public_key=${hex(peer.publicKey)}`,
    `preshared_key=${hex(peer.presharedKey)}`,
    `endpoint=${endpointText(peer.endpoint)}`,
    ...peer.allowed.map((each) => `allowed_ip=${prefixText(each)}`),
    ...lost.map((each) => `allowed_ip=-${prefixText(each)}`),
    `persistent_keepalive_interval=${peer.keepalive ?? 0}`,
  ]);
}

export function encodeRemoval(publicKey: Uint8Array): string {
  return set([`public_key=${hex(publicKey)}`, 'update_only=true', 'remove=true']);
}

export interface Answer {
  /** 0, or a negative errno. */
  readonly errno: number;
  readonly lines: readonly (readonly [key: string, value: string])[];
}

function malformed(what: string): SidestepError {
  return new SidestepError('TUNNEL_FAILED', `WireGuard answers what is no answer: ${what}`);
}

/** @param text with its empty line. @throws TUNNEL_FAILED */
export function parseAnswer(text: string): Answer {
  const lines = text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => {
      const at = line.indexOf('=');
      if (at <= 0) throw malformed(JSON.stringify(line.slice(0, 80)));
      return [line.slice(0, at), line.slice(at + 1)] as const;
    });
  const [key, errno = ''] = lines.at(-1) ?? [];
  if (key !== 'errno' || !/^-?\d{1,5}$/.test(errno)) throw malformed('no errno at its end');
  return { errno: Number(errno), lines: lines.slice(0, -1) };
}

type Draft = { -readonly [K in keyof EnginePeer]: EnginePeer[K] } & { allowed: TunnelPrefix[] };

/** Keys that we do not know are left out: later versions may have more. @throws TUNNEL_FAILED for a value that is none */
export function parseState(lines: Answer['lines']): EngineState {
  const device = { publicKey: undefined as Uint8Array | undefined, port: 0, fwmark: 0 };
  const peers: Draft[] = [];
  let seconds = 0;
  for (const [key, value] of lines) {
    const peer = peers.at(-1);
    if (key === 'public_key') {
      peers.push(newPeer(keyOf(value)));
      seconds = 0;
    } else if (peer === undefined) {
      if (key === 'private_key') device.publicKey = publicKeyOf(keyOf(value));
      else if (key === 'listen_port') device.port = numberOf(value);
      else if (key === 'fwmark') device.fwmark = numberOf(value);
    } else if (key === 'last_handshake_time_sec') seconds = numberOf(value);
    else if (key === 'last_handshake_time_nsec')
      peer.lastHandshake = seconds * 1000 + Math.floor(numberOf(value) / 1_000_000);
    else readPeerLine(peer, key, value);
  }
  return { ...device, peers };
}

function newPeer(publicKey: Uint8Array): Draft {
  const counters = { lastHandshake: 0, received: 0, sent: 0, keepalive: 0 };
  return { publicKey, presharedKey: new Uint8Array(KEY_BYTES), endpoint: undefined, allowed: [], ...counters };
}

function readPeerLine(peer: Draft, key: string, value: string): void {
  switch (key) {
    case 'preshared_key':
      peer.presharedKey = keyOf(value);
      break;
    case 'endpoint':
      peer.endpoint = parseEndpoint(value);
      break;
    case 'rx_bytes':
      peer.received = numberOf(value);
      break;
    case 'tx_bytes':
      peer.sent = numberOf(value);
      break;
    case 'persistent_keepalive_interval':
      peer.keepalive = numberOf(value);
      break;
    case 'allowed_ip':
      peer.allowed.push(prefixOf(value));
      break;
  }
}

function keyOf(value: string): Uint8Array {
  if (!HEX_KEY.test(value)) throw malformed('a key that is none');
  return Buffer.from(value, 'hex');
}

function numberOf(value: string): number {
  if (!NUMBER.test(value)) throw malformed(`the number ${JSON.stringify(value.slice(0, 40))}`);
  return Number(value);
}

function prefixOf(value: string): TunnelPrefix {
  try {
    return parseTunnelPrefix(value);
  } catch (cause) {
    throw new SidestepError(
      'TUNNEL_FAILED',
      `WireGuard answers with the prefix ${JSON.stringify(value.slice(0, 60))}`,
      {
        cause,
      },
    );
  }
}
