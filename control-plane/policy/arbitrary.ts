/** Random policies about a fixed cast, for properties. */
import fc from 'fast-check';
import { Numbers } from '../identity/numbers.ts';
import { parseAddress } from '../model/address.ts';
import { NAMESPACE_KEY } from '../model/labels.ts';
import type { NamedPort, ObjectSet, PodObject } from '../model/objects.ts';
import {
  AUTHENTICATION_MODES,
  DIRECTIONS,
  type HttpMatch,
  type Peers,
  type Policy,
  type PolicyRef,
  type PortMatch,
  type Selector,
} from '../model/policy.ts';
import { type CompileOptions, Compiler } from './compile.ts';
import type { HttpRequest } from './http-match.ts';

const APPS = ['web', 'api', 'db'];
export const PROTOCOLS = [6, 17, 132, 1];

/** Pods of two namespaces on three nodes, some with equal labels: on one node, on two, and only elsewhere. */
const CAST = [
  ['shop', 'web', 'here'],
  ['shop', 'api', 'here'],
  ['shop', 'db', 'here'],
  ['shop', 'web', 'here'],
  ['lab', 'web', 'here'],
  ['lab', 'api', 'there'],
  ['shop', 'db', 'there'],
  ['lab', 'db', 'far'],
] as const;
/** Pods with equal labels may have other ports. */
const NAMED_PORTS: readonly (readonly NamedPort[])[] = [
  [{ name: 'http', protocol: 6, port: 80 }],
  [{ name: 'http', protocol: 6, port: 81 }],
  [],
  [{ name: 'http', protocol: 6, port: 443 }],
  [
    { name: 'dns', protocol: 17, port: 53 },
    { name: 'http', protocol: 6, port: 84 },
  ],
  [{ name: 'http', protocol: 6, port: 443 }],
];
export const PODS: readonly PodObject[] = CAST.map(([namespace, app, nodeName], i) => ({
  namespace,
  name: `pod-${i}`,
  uid: `uid-${i}`,
  labels: new Map([['app', app]]),
  serviceAccount: `${app}-account`,
  nodeName,
  hostNetwork: false,
  namedPorts: NAMED_PORTS[i] ?? [],
  netns: `/run/netns/pod-${i}`,
  addresses: [parseAddress(`10.0.0.${i + 1}`)],
  origin: 'test',
}));

const selector = (namespace: fc.Arbitrary<string | undefined>): fc.Arbitrary<Selector> =>
  fc.record({ app: fc.option(fc.constantFrom(...APPS)), namespace }).map(({ app, namespace: name }) => ({
    matchLabels: new Map([
      ...(app === null ? [] : [['any:app', app] as const]),
      ...(name === undefined ? [] : [[`k8s:${NAMESPACE_KEY}`, name] as const]),
    ]),
  }));
const namespaces = fc.constantFrom('shop', 'lab');
const peers: fc.Arbitrary<Peers> = fc.oneof(
  fc.constant<Peers>({ kind: 'any' }),
  fc.record({
    kind: fc.constant('selected' as const),
    selectors: fc.array(selector(fc.option(namespaces, { nil: undefined })), { maxLength: 2 }),
    entities: fc.constant([]),
  }),
  fc.record({
    kind: fc.constant('selected' as const),
    selectors: fc.constant([]),
    entities: fc.subarray(['all', 'cluster', 'host', 'world'] as const),
  }),
);
/** Rule ports and asked ports come from the same few, so that half of the questions sit on a boundary. */
const ports = fc.constantFrom(0, 80, 81, 443);
const httpMatch: fc.Arbitrary<HttpMatch> = fc.record(
  {
    method: fc.constantFrom('GET', 'POST', 'GET|PUT'),
    path: fc.constantFrom('/a', '/a.*', '/b|/c', '/a\\?x=[0-9]'),
    host: fc.constantFrom('h', 'h(:80)?'),
  },
  { requiredKeys: [] },
);
/** The HTTP rules of a port, still without names. */
interface PortDraft extends Pick<PortMatch, 'protocol' | 'port' | 'endPort'> {
  readonly http?: readonly HttpMatch[];
}
const portMatch: fc.Arbitrary<PortDraft> = fc.oneof(
  fc.record({ protocol: fc.constantFrom(6, 17, 132), port: ports }),
  fc.record({
    protocol: fc.constantFrom(6, 17),
    port: fc.constantFrom(1, 79, 80),
    endPort: fc.constantFrom(81, 90, 65535),
  }),
  fc.record({
    protocol: fc.constant(6),
    port: fc.constantFrom(80, 81),
    http: fc.array(httpMatch, { minLength: 1, maxLength: 2 }),
  }),
);
/** Mostly required: of two modes that meet one is never seen. */
const MODES = ['required', 'required', ...AUTHENTICATION_MODES] as const;
const section = fc.option(
  fc.array(
    fc.record({ peers, ports: fc.array(portMatch, { maxLength: 3 }), mode: fc.option(fc.constantFrom(...MODES)) }),
    { maxLength: 3 },
  ),
);
export const REQUESTS: readonly HttpRequest[] = [
  { method: 'GET', path: '/a', host: 'h' },
  { method: 'POST', path: '/a?x=1', host: 'h:80' },
  { method: 'PUT', path: '/ab', host: '' },
  { method: 'GET', path: '/c', host: 'h:80' },
  { method: 'HEAD', path: '/', host: 'g' },
];
export const policies = fc
  .array(fc.record({ namespace: namespaces, subject: selector(namespaces), egress: section, ingress: section }), {
    maxLength: 5,
  })
  .map((drafts) =>
    drafts.map(({ namespace, subject, ...sections }, i): Policy => {
      const ref = { kind: 'CiliumNetworkPolicy', namespace, name: `policy-${i}` };
      return {
        ref,
        subject,
        defaultDeny: { egress: sections.egress !== null, ingress: sections.ingress !== null },
        rules: DIRECTIONS.flatMap((direction) =>
          (sections[direction] ?? []).map(({ mode, ...rule }, j) => ({
            ...rule,
            ...(mode === null ? {} : { authentication: mode }),
            direction,
            ports: rule.ports.map(({ http, ...port }, k) =>
              nameHttp(port, http, ref, `${direction}[${j}].toPorts[${k}]`),
            ),
            ref: { ...ref, rule: `${direction}[${j}]` },
          })),
        ),
        refused: false,
      };
    }),
  );

function nameHttp(port: PortMatch, http: readonly HttpMatch[] | undefined, ref: PolicyRef, path: string): PortMatch {
  const named = http?.map((match, i) => ({ ref: { ...ref, rule: `${path}.rules.http[${i}]` }, match }));
  return named ? { ...port, http: named } : port;
}

export function objectsOf(pods: readonly PodObject[], list: readonly Policy[]): ObjectSet {
  return {
    namespaces: [],
    pods,
    nodes: [],
    meshNodes: [],
    services: [],
    endpointSlices: [],
    cidrGroups: [],
    policies: list.map((policy) => ({ ref: policy.ref, origin: 'test', state: 'accepted', policy, issues: [] })),
    issues: [],
  };
}

export function newCompiler(nodeName = 'here', options: Partial<CompileOptions> = {}): Compiler {
  return new Compiler(new Numbers(undefined), { nodeName, podRanges: [], ...options });
}
