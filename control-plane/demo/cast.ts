/** Who plays in the demo, and the policies of its acts. */
import type { Attachment, NodeNetwork } from './network.ts';
import { DEMO_PREFIX } from './record.ts';

export const NAMESPACE = 'production';
export const NODE_NAME = 'demo-node';
export const SECOND_NODE_NAME = 'demo-node-2';
export const PORT = 8080;
export const POLICY_NAME = 'secure-app-access';

export interface Role {
  readonly pod: string;
  readonly app: string;
  readonly attachment: Attachment;
}

export interface Cast {
  readonly node: NodeNetwork;
  /** Act 5: another node, and a frontend on it. */
  readonly second: NodeNetwork;
  readonly remote: Role;
  /** Namespace of what is between the two nodes. */
  readonly wire: string;
  readonly frontend: Role;
  readonly backend: Role;
  readonly intruder: Role;
}

/** @param pid owner of the namespaces: part of their names */
export function castOf(pid: number): Cast {
  const role = (pod: string, app: string, index: number, node = 77): Role => ({
    pod,
    app,
    attachment: {
      namespace: `${DEMO_PREFIX}-${pid}-${pod}`,
      nodeInterface: `to-${app}`.slice(0, 15),
      ipv4: `10.${node}.0.${index}`,
      ipv6: `fd${node}::${index}`,
    },
  });
  return {
    node: { namespace: `${DEMO_PREFIX}-${pid}-node`, ipv4: '10.77.255.1', ipv6: 'fd77::ff:1' },
    second: { namespace: `${DEMO_PREFIX}-${pid}-node-2`, ipv4: '10.78.255.1', ipv6: 'fd78::ff:1' },
    remote: role('frontend-web-d41e', 'frontend-web', 10, 78),
    wire: `${DEMO_PREFIX}-${pid}-wire`,
    frontend: role('frontend-web-9a2b', 'frontend-web', 10),
    backend: role('backend-api-6f8c', 'backend-api', 11),
    intruder: role('intruder-0b1c', 'intruder', 12),
  };
}

/** On the first node. */
export function rolesOf(cast: Cast): readonly Role[] {
  return [cast.frontend, cast.backend, cast.intruder];
}

/** The nodes come first, in the order of `instancesOf`: cleaning up runs there. */
export function namespacesOf(cast: Cast): readonly string[] {
  const workloads = [...rolesOf(cast), cast.remote].map((role) => role.attachment.namespace);
  return [cast.node.namespace, cast.second.namespace, ...workloads, cast.wire];
}

/** Names of the agents, one for each node. */
export function instancesOf(pid: number): readonly [string, string] {
  return [`demo-${pid}`, `demo-${pid}-2`];
}

/** As a flow names it. */
export function podName(role: Role): string {
  return `${NAMESPACE}/${role.pod}`;
}

export const POLICY = `apiVersion: "cilium.io/v2"
kind: CiliumNetworkPolicy
metadata:
  name: "${POLICY_NAME}"
  namespace: ${NAMESPACE}
spec:
  endpointSelector:
    matchLabels:
      app: backend-api
  ingress:
  - fromEndpoints:
    - matchLabels:
        app: frontend-web
`;

export const AUTHENTICATION_POLICY = `${POLICY}    authentication:
      mode: "required"
`;

export const HTTP_POLICY = `${POLICY}    toPorts:
    - ports:
      - port: "${PORT}"
        protocol: TCP
      rules:
        http:
        - method: GET
          path: /api/.*
`;
