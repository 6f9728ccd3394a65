/** Who plays in the demo, and the policy of act 2. */
import type { Attachment, NodeNetwork } from './network.ts';
import { DEMO_PREFIX } from './record.ts';

export const NAMESPACE = 'production';
export const NODE_NAME = 'demo-node';
export const PORT = 8080;
export const POLICY_NAME = 'secure-app-access';

export interface Role {
  readonly pod: string;
  readonly app: string;
  readonly attachment: Attachment;
}

export interface Cast {
  readonly node: NodeNetwork;
  readonly frontend: Role;
  readonly backend: Role;
  readonly intruder: Role;
}

/** @param pid owner of the namespaces: part of their names */
export function castOf(pid: number): Cast {
  const role = (pod: string, app: string, index: number): Role => ({
    pod,
    app,
    attachment: {
      namespace: `${DEMO_PREFIX}-${pid}-${pod}`,
      nodeInterface: `to-${app}`.slice(0, 15),
      ipv4: `10.77.0.${index}`,
      ipv6: `fd77::${index}`,
    },
  });
  return {
    node: { namespace: `${DEMO_PREFIX}-${pid}-node`, ipv4: '10.77.255.1', ipv6: 'fd77::ff:1' },
    frontend: role('frontend-web-9a2b', 'frontend-web', 10),
    backend: role('backend-api-6f8c', 'backend-api', 11),
    intruder: role('intruder-0b1c', 'intruder', 12),
  };
}

export function rolesOf(cast: Cast): readonly Role[] {
  return [cast.frontend, cast.backend, cast.intruder];
}

/** The node comes first: cleaning up runs there. */
export function namespacesOf(cast: Cast): readonly string[] {
  return [cast.node.namespace, ...rolesOf(cast).map((role) => role.attachment.namespace)];
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

export const HTTP_POLICY = `${POLICY}    toPorts:
    - ports:
      - port: "${PORT}"
        protocol: TCP
      rules:
        http:
        - method: GET
          path: /api/.*
`;
