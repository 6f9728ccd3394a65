/** Names of this instance's devices: at most 15 bytes, and different for every instance, whatever namespace it is in. */
import { createHash } from 'node:crypto';

/** IFNAMSIZ without the zero. */
const MOST_BYTES = 15;

/**
 * Control sockets of user-space WireGuard lie in one folder for all network namespaces, under the device's name. A name that
 * is too long becomes a hash behind "_", which no instance's name has.
 * @param prefix e.g. `swg`
 */
export function deviceName(prefix: string, instance: string): string {
  const plain = `${prefix}-${instance}`;
  if (plain.length <= MOST_BYTES) return plain;
  const hash = createHash('sha256').update(instance).digest('hex');
  return `${prefix}_${hash}`.slice(0, MOST_BYTES);
}

/** Of the device that packets wait in. */
export function holdName(instance: string): string {
  return deviceName('shd', instance);
}

/** Of the device that DNS waits in. */
export function namingName(instance: string): string {
  return deviceName('sdn', instance);
}

export function tunnelName(instance: string): string {
  return deviceName('swg', instance);
}

/** Of the process on a device: built into wireguard-go. */
export function controlSocket(device: string): string {
  return `/var/run/wireguard/${device}.sock`;
}
