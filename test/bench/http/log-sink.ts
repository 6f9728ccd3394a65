/**
 * log-sink.ts SOCKET: does with stock Envoy's access log what the agent does with that of its own: the same reader, the
 * same flow records with names, the same store. A process of its own, started as the agent is.
 */
import { accessLogService } from '../../../control-plane/envoy/access-log.ts';
import { HttpRecord } from '../../../control-plane/observe/http-flow.ts';
import { FlowStore } from '../../../control-plane/observe/store.ts';
import type { Resolver } from '../../../control-plane/observe/to-flow.ts';
import { GrpcServer } from '../../../control-plane/xds/grpc-server.ts';

const [, , path = ''] = process.argv;
const labels = ['k8s:app=bench', 'k8s:io.kubernetes.pod.namespace=shop'];
const resolver: Resolver = {
  nodeName: 'node-1',
  version: '0',
  labels: () => labels,
  pod: () => ({ namespace: 'shop', name: 'bench' }),
  origin: () => undefined,
  note: () => undefined,
  ruleset: () => undefined,
  admission: () => undefined,
  shadow: () => undefined,
  endpoint: () => undefined,
  endpointAt: () => 1,
  revisionAt: () => 1,
  unproven: () => undefined,
};
// The agent's own limits (agent/config.ts).
const store = new FlowStore({ maxFlows: 65535, maxBytes: 64 << 20 });
const server = new GrpcServer({ path });
server.register(
  // Without rules nothing is decided; what is not refused is two records, of the request and of its answer.
  accessLogService(
    (event) => store.addLatent(new HttpRecord({ ...event, verdict: 'allowed' }, resolver)),
    () => undefined,
  ),
);
await server.listen();
process.stdout.write('{"ready":true}\n');
