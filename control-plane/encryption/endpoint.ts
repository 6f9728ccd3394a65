/** UDP endpoints as WireGuard writes them: `192.0.2.1:51871`, `[2001:db8::1]:51871`. */
import { isIPv4, isIPv6 } from 'node:net';

export interface Endpoint {
  readonly address: string;
  readonly port: number;
}

export function endpointText({ address, port }: Endpoint): string {
  return isIPv6(address) ? `[${address}]:${port}` : `${address}:${port}`;
}

/** @returns undefined for anything else */
export function parseEndpoint(text: string): Endpoint | undefined {
  const [, six, four, digits] = /^(?:\[([^\]]+)\]|([^:]+)):(\d{1,5})$/.exec(text) ?? [];
  const port = Number(digits);
  if (!(port > 0 && port <= 65535)) return undefined;
  if (six !== undefined && isIPv6(six)) return { address: six, port };
  return four !== undefined && isIPv4(four) ? { address: four, port } : undefined;
}
