/** The few shapes of policy that the suites need, in Cilium's words. */

export const TCP_PORT = 7000;
export const UDP_PORT = 7001;

interface Port {
  readonly port: string;
  readonly protocol: 'TCP' | 'UDP' | 'ANY';
}

function toPorts(ports: readonly Port[]): object {
  return ports.length === 0 ? {} : { toPorts: [{ ports }] };
}

export const TCP: readonly Port[] = [{ port: String(TCP_PORT), protocol: 'TCP' }];
export const UDP: readonly Port[] = [{ port: String(UDP_PORT), protocol: 'UDP' }];

/** Only pods labelled `app=<from>` may reach pods labelled `app=<to>`. No ports: all. */
export function admit(to: string, from: readonly string[], ports: readonly Port[] = []): object {
  return {
    endpointSelector: { matchLabels: { app: to } },
    ingress: [{ fromEndpoints: from.map((app) => ({ matchLabels: { app } })), ...toPorts(ports) }],
  };
}

/** Only these entities may reach pods labelled `app=<to>`. */
export function admitEntities(to: string, entities: readonly string[], ports: readonly Port[] = []): object {
  return { endpointSelector: { matchLabels: { app: to } }, ingress: [{ fromEntities: entities, ...toPorts(ports) }] };
}

/** Pods labelled `app=<from>` may reach only these entities. */
export function limitToEntities(from: string, entities: readonly string[], ports: readonly Port[] = []): object {
  return { endpointSelector: { matchLabels: { app: from } }, egress: [{ toEntities: entities, ...toPorts(ports) }] };
}

/** Pods labelled `app=<to>` may be reached by nobody but their own node. */
export function admitNobody(to: string): object {
  return { endpointSelector: { matchLabels: { app: to } }, ingress: [{ fromEndpoints: [] }] };
}
