/** Which kernels can be asked at all. */

/** The first whose bpf_sk_lookup has ingress_ifindex: what is steered to Envoy comes by the loopback device, and nothing else may. */
export const OLDEST_KERNEL = '5.17';

/** @param release as uname -r says it, e.g. 6.1.0-56-amd64 */
export function isNewEnough(release: string): boolean {
  const [major = 0, minor = 0] = release.split('.').map(Number);
  const [oldestMajor = 0, oldestMinor = 0] = OLDEST_KERNEL.split('.').map(Number);
  return major > oldestMajor || (major === oldestMajor && minor >= oldestMinor);
}
