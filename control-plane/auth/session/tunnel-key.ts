/** The tunnel's preshared key: from the session's TLS exporter, so that it is known to nobody but its two verified ends. */
import { lengthPrefixed } from './encoding.ts';
import type { Channel } from './ports.ts';

const LABEL = 'EXPERIMENTAL-sidestep-tunnel-psk';

export interface TunnelEnd {
  readonly node: string;
  /** WireGuard's, 32 bytes. */
  readonly publicKey: Uint8Array;
}

/** @returns 32 bytes, the same at both ends; another epoch, key or name gives another */
export function presharedKey(
  channel: Pick<Channel, 'exporter'>,
  epoch: number,
  lower: TunnelEnd,
  higher: TunnelEnd,
): Uint8Array {
  const number = Buffer.alloc(8);
  number.writeBigUInt64BE(BigInt(epoch));
  const names = lengthPrefixed([lower.node, higher.node]);
  return channel.exporter(LABEL, Buffer.concat([number, lower.publicKey, higher.publicKey, names]));
}
