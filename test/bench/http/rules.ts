/** The HTTP rule of the bench, as a user writes it, and its counterpart of layer 4. */
import { admit } from '../../lib/policies.ts';

/** Pods labelled `app=client` may GET /api/… from pods labelled `app=<to>`, and nobody may do anything else there. */
export function getOnly(to: string, port: number): object {
  return {
    endpointSelector: { matchLabels: { app: to } },
    ingress: [
      {
        fromEndpoints: [{ matchLabels: { app: 'client' } }],
        toPorts: [
          {
            ports: [{ port: String(port), protocol: 'TCP' }],
            rules: { http: [{ method: 'GET', path: '/api/.*' }] },
          },
        ],
      },
    ],
  };
}

/** The same without a look at requests. */
export function anyRequest(to: string, port: number): object {
  return admit(to, ['client'], [{ port: String(port), protocol: 'TCP' }]);
}
