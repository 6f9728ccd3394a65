/** The fields of CiliumNetworkPolicy and CiliumClusterwideNetworkPolicy (cilium.io/v2), by place. */
import type { Field, PlaceFields, Refusal } from './policy-fields.ts';

const later = (reason: string): { readonly refused: Refusal } => ({ refused: { code: 'FIELD_NOT_SUPPORTED', reason } });
const nowhere = (reason: string): { readonly refused: Refusal } => ({ refused: { code: 'FIELD_UNKNOWN', reason } });

const ABOUT_DENY = 'Refuses what it matches, whatever other rules allow; `{}` refuses nothing.';

const FROM: Readonly<Record<string, Field>> = {
  fromEndpoints: {
    type: 'list of selectors',
    of: 'selector',
    text: "Pods (and reserved identities) that any of the selectors takes; `{}` is every pod of the policy's namespace, in a clusterwide policy every pod.",
  },
  fromEntities: { type: 'list of entities', text: 'Groups of peers by name, see [entities](#entities).' },
  fromCIDR: {
    type: 'list of CIDRs or addresses',
    text: 'Addresses outside of the cluster; never pods or nodes, whatever addresses they have.',
  },
  fromCIDRSet: {
    type: 'list',
    of: 'cidr-set',
    text: 'As `fromCIDR`, with exceptions and groups; single addresses need their `/32` or `/128`.',
  },
  fromRequires: {
    type: 'list of selectors',
    text: 'Conditions on every other rule.',
    ...later('Cilium has deprecated it and takes empty lists only; write the condition into the selectors'),
  },
  fromNodes: {
    type: 'list of selectors',
    text: 'Nodes by their labels.',
    ...later('nodes have no labels of their own here; use the entities host and remote-node'),
  },
  fromGroups: {
    type: 'list',
    text: "Addresses that a cloud provider's security groups stand for.",
    ...later("the addresses would have to be asked of a cloud provider's API; use a CiliumCIDRGroup"),
  },
};

const TO: Readonly<Record<string, Field>> = {
  toEndpoints: {
    type: 'list of selectors',
    of: 'selector',
    text: "Pods (and reserved identities) that any of the selectors takes; `{}` is every pod of the policy's namespace, in a clusterwide policy every pod.",
  },
  toEntities: { type: 'list of entities', text: 'Groups of peers by name, see [entities](#entities).' },
  toCIDR: {
    type: 'list of CIDRs or addresses',
    text: 'Addresses outside of the cluster; never pods or nodes, whatever addresses they have.',
  },
  toCIDRSet: {
    type: 'list',
    of: 'cidr-set',
    text: 'As `toCIDR`, with exceptions and groups; single addresses need their `/32` or `/128`.',
  },
  toServices: {
    type: 'list',
    of: 'service',
    text: 'Kubernetes Services: one with a pod selector stands for its pods, one without for the addresses of its endpoints.',
  },
  toRequires: {
    type: 'list of selectors',
    text: 'Conditions on every other rule.',
    ...later('Cilium has deprecated it and takes empty lists only; write the condition into the selectors'),
  },
  toNodes: {
    type: 'list of selectors',
    text: 'Nodes by their labels.',
    ...later('nodes have no labels of their own here; use the entities host and remote-node'),
  },
  toGroups: {
    type: 'list',
    text: "Addresses that a cloud provider's security groups stand for.",
    ...later("the addresses would have to be asked of a cloud provider's API; use a CiliumCIDRGroup"),
  },
};

const TO_PORTS: Field = {
  type: 'list',
  of: 'ports',
  text: 'Destination ports, any of the entries; missing or empty: every protocol and port.',
};
const DENY_PORTS: Field = { ...TO_PORTS, of: 'deny-ports' };
const ICMPS: Field = {
  type: 'list',
  of: 'icmp',
  text: 'ICMP types instead of ports; not together with `toPorts`.',
};
const AUTHENTICATION: Field = {
  type: 'mapping',
  of: 'authentication',
  text: 'Whether both ends must be proven; see [authentication](#authentication).',
};
const NO_AUTHENTICATION: Field = {
  ...AUTHENTICATION,
  ...nowhere('a deny rule lets nothing pass that could be proven'),
};

export const CILIUM_PLACES = {
  policy: {
    text: '`cilium.io/v2`, kind CiliumNetworkPolicy, of a namespace (`default` where none is written), or CiliumClusterwideNetworkPolicy, of none. `sidestep.dev/audit: "true"` among its annotations: it denies nothing, and what it would deny passes with the verdict AUDIT.',
    fields: {
      apiVersion: { type: 'text', text: '`cilium.io/v2`.' },
      kind: { type: 'text', text: '`CiliumNetworkPolicy` or `CiliumClusterwideNetworkPolicy`.' },
      metadata: {
        type: 'mapping',
        text: 'Name, namespace (only of a CiliumNetworkPolicy) and annotations; the rest is not read.',
      },
      spec: { type: 'mapping', of: 'spec', text: 'One rule set; one of `spec` and `specs` must be there.' },
      specs: { type: 'list', of: 'spec', text: 'Several rule sets, each with a subject of its own.' },
      description: { type: 'text', text: 'As older manifests have it, beside `spec`; not read.' },
      status: { type: 'mapping', text: 'Written by controllers and not read.' },
    },
  },
  spec: {
    text: 'What holds for the pods that its selector takes. One section that is not empty must be there; an empty list beside another section is no section.',
    fields: {
      endpointSelector: {
        type: 'selector',
        of: 'selector',
        text: 'The pods that it is about; `{}` is every pod of the namespace, or of all of them in a clusterwide policy. Required.',
      },
      nodeSelector: {
        type: 'selector',
        text: 'Nodes that it is about.',
        ...later(
          "host policies filter a node's own traffic, which no hook here sees; protect pods with endpointSelector",
        ),
      },
      ingress: {
        type: 'list',
        of: 'ingress',
        text: 'What may come in; `[{}]` switches default deny on and admits nobody.',
      },
      egress: {
        type: 'list',
        of: 'egress',
        text: 'What may go out; `[{}]` switches default deny on and admits nothing.',
      },
      ingressDeny: {
        type: 'list',
        of: 'ingress-deny',
        text: 'What may not come in, whatever any policy allows; switches default deny on as `ingress` does.',
      },
      egressDeny: {
        type: 'list',
        of: 'egress-deny',
        text: 'What may not go out, whatever any policy allows; switches default deny on as `egress` does.',
      },
      enableDefaultDeny: {
        type: 'mapping',
        of: 'enable-default-deny',
        text: 'Whether what no rule allows is refused, by direction.',
      },
      labels: { type: 'list', of: 'rule-label', text: 'Labels of the rules, shown with what they decide.' },
      description: { type: 'text', text: 'For people; not read.' },
      log: { type: 'mapping', of: 'log', text: 'What flow records say of what its rules decide.' },
    },
  },
  'enable-default-deny': {
    text: 'Decided over all policies that select a pod: default deny is on where any of them asks for it. A refused policy closes what it has sections for, whatever stands here.',
    fields: {
      ingress: { type: 'true or false', text: 'Default: whether there is `ingress` or `ingressDeny`.' },
      egress: { type: 'true or false', text: 'Default: whether there is `egress` or `egressDeny`.' },
    },
  },
  log: {
    text: 'As Cilium, which shows it as `policy_log`.',
    fields: { value: { type: 'text', text: 'At most 32 printable characters of ASCII. Required.' } },
  },
  'rule-label': {
    text: 'A label, as Cilium writes it.',
    fields: {
      key: { type: 'text', text: 'Required.' },
      value: { type: 'text', text: 'Default: empty.' },
      source: { type: 'text', text: 'Default: `unspec`.' },
    },
  },
  selector: {
    text: "Labels that all must fit. A key may name its source (`k8s:app`, `reserved:host`), else any source counts; `io.kubernetes.pod.namespace`, `io.cilium.k8s.policy.serviceaccount`, `io.cilium.k8s.policy.cluster` and `io.cilium.k8s.namespace.labels.KEY` are labels of every pod. A CiliumNetworkPolicy's own selector never leaves its namespace; a peer's means that namespace, too, unless it has a condition on the namespace or on its labels, or on a reserved label. In a clusterwide policy a peer's takes pods of every namespace. Labels that differ from replica to replica (`pod-template-hash`, …) are no part of an identity and cannot be selected. Selectors of Services and CIDR groups, and those of NetworkPolicy, have plain Kubernetes keys.",
    fields: {
      matchLabels: { type: 'mapping of texts', text: 'Keys with the value that they must have.' },
      matchExpressions: { type: 'list', of: 'expression', text: 'Conditions on keys, all of which must hold.' },
    },
  },
  expression: {
    text: 'One condition on one key.',
    fields: {
      key: { type: 'text', text: 'As in `matchLabels`. Required.' },
      operator: {
        type: 'text',
        text: '`In`, `NotIn` (holds where the key is missing, too), `Exists` or `DoesNotExist`. Required.',
      },
      values: { type: 'list of texts', text: 'Of `In` and `NotIn`, at least one; of the others none.' },
    },
  },
  ingress: {
    text: 'Peers and ports that may come in. One list of peers in one rule (Cilium does not combine them either); none: every peer; an empty one: nobody.',
    fields: {
      ...FROM,
      toPorts: TO_PORTS,
      icmps: ICMPS,
      authentication: AUTHENTICATION,
      toFQDNs: { type: 'list', text: 'Names of peers.', ...nowhere('names are for egress: who comes in has none') },
    },
  },
  egress: {
    text: 'Peers and ports that may be reached. One list of peers in one rule (Cilium does not combine them either); none: every peer; an empty one: nobody.',
    fields: {
      ...TO,
      toFQDNs: {
        type: 'list',
        of: 'name',
        text: 'Addresses outside of the cluster that DNS gave for a name; the answers that the pod itself gets are what counts.',
      },
      toPorts: TO_PORTS,
      icmps: ICMPS,
      authentication: AUTHENTICATION,
    },
  },
  'ingress-deny': {
    text: ABOUT_DENY,
    fields: { ...FROM, toPorts: DENY_PORTS, icmps: ICMPS, authentication: NO_AUTHENTICATION },
  },
  'egress-deny': {
    text: ABOUT_DENY,
    fields: {
      ...TO,
      toFQDNs: {
        type: 'list',
        text: 'Names of peers.',
        ...nowhere('a deny rule has no names: an address can have others, that would be refused with it'),
      },
      toPorts: DENY_PORTS,
      icmps: ICMPS,
      authentication: NO_AUTHENTICATION,
    },
  },
  'cidr-set': {
    text: 'Exactly one of `cidr`, `cidrGroupRef`, `cidrGroupSelector`.',
    fields: {
      cidr: { type: 'CIDR', text: 'With its length; bits behind it are dropped.' },
      cidrGroupRef: {
        type: 'text',
        text: 'The name of a [CiliumCIDRGroup](#cidr-group); one that is not there is empty.',
      },
      cidrGroupSelector: { type: 'selector', of: 'selector', text: 'Every CiliumCIDRGroup whose labels it takes.' },
      except: { type: 'list of CIDRs', text: 'Parts of it that do not count; each must lie inside of `cidr`.' },
    },
  },
  service: {
    text: 'Exactly one of both.',
    fields: {
      k8sService: { type: 'mapping', of: 'service-name', text: 'A Service by its name.' },
      k8sServiceSelector: { type: 'mapping', of: 'service-selector', text: 'Services by their labels.' },
    },
  },
  'service-name': {
    text: 'A Service by its name.',
    fields: {
      serviceName: { type: 'text', text: 'Required.' },
      namespace: { type: 'text', text: 'Default: the Services of that name in every namespace (as Cilium).' },
    },
  },
  'service-selector': {
    text: 'Services by their labels.',
    fields: {
      selector: { type: 'selector', of: 'selector', text: 'Of Services. Required.' },
      namespace: { type: 'text', text: 'Default: every namespace.' },
    },
  },
  name: {
    text: 'Exactly one of both; at most 255 of `a-z A-Z 0-9 - _ .`; upper case and a dot at the end make no difference.',
    fields: {
      matchName: { type: 'text', text: 'The whole name.' },
      matchPattern: {
        type: 'text',
        text: 'With `*` for any number of characters inside of one label, `**.` at the beginning for one or more labels; `*` alone is every name.',
      },
    },
  },
  icmp: {
    text: 'A list of types, any of which fits.',
    fields: { fields: { type: 'list', of: 'icmp-field', text: 'One to 40 types.' } },
  },
  'icmp-field': {
    text: 'A type of ICMP or ICMPv6.',
    fields: {
      family: { type: 'text', text: '`IPv4` (default) or `IPv6`.' },
      type: {
        type: 'number or text',
        text: '0 to 255, or the name of a type, see [ICMP types](#icmp-types). Required.',
      },
    },
  },
  authentication: {
    text: 'A rule without it says nothing: it has that of a broader rule for the same peer (the next wider port), and then that of the rules for the other kind of peer (everybody, or those named), where these are as strong.',
    fields: {
      mode: {
        type: 'text',
        text: '`required` lets a flow pass only when both ends are proven and, between nodes, its packets are encrypted; `disabled` asks for nothing; `test-always-fail` lets nothing pass. Required.',
      },
    },
  },
  ports: {
    text: 'Ports, and what may be asked for there.',
    fields: {
      ports: { type: 'list', of: 'port', text: 'One to 40 ports, any of which fits. Required.' },
      rules: { type: 'mapping', of: 'l7', text: 'What requests or queries pass; missing: all.' },
      serverNames: {
        type: 'list of texts',
        text: 'TLS names (SNI), any of which fits, as `matchPattern` with its wildcards, at most 255 characters; needs `protocol: TCP` and a port that is not `"0"`, and no `rules`. The connection is passed on unread, or closed.',
      },
      terminatingTLS: {
        type: 'mapping',
        text: 'A certificate for decrypting what clients send.',
        ...later("it needs secrets of the cluster in the node's Envoy; use toFQDNs, or HTTP rules on plain HTTP"),
      },
      originatingTLS: {
        type: 'mapping',
        text: 'A certificate for encrypting what goes to servers.',
        ...later("it needs secrets of the cluster in the node's Envoy; authentication encrypts between nodes"),
      },
      listener: {
        type: 'mapping',
        text: 'A listener of a CiliumEnvoyConfig.',
        ...later('Envoy is configured by policies and routes only; there is no CiliumEnvoyConfig'),
      },
    },
  },
  'deny-ports': {
    text: 'Ports; a deny rule ends at layer 4.',
    fields: {
      ports: { type: 'list', of: 'port', text: 'One to 40 ports, any of which fits. Required.' },
      rules: { type: 'mapping', text: 'Requests.', ...nowhere('a deny rule ends at layer 4') },
      serverNames: { type: 'list', text: 'TLS names.', ...nowhere('a deny rule ends at layer 4') },
      terminatingTLS: { type: 'mapping', text: 'A certificate.', ...nowhere('a deny rule ends at layer 4') },
      originatingTLS: { type: 'mapping', text: 'A certificate.', ...nowhere('a deny rule ends at layer 4') },
      listener: { type: 'mapping', text: 'A listener.', ...nowhere('a deny rule ends at layer 4') },
    },
  },
  port: {
    text: 'One port, or a range.',
    fields: {
      port: {
        type: 'number or text',
        text: 'A number (decimal, without zeros in front), `"0"` for every port, or a name: of a container port of the pod that is asked for, at most 15 of `a-z 0-9 -` with a letter. Required.',
      },
      endPort: {
        type: 'number',
        text: 'The last port of a range; one that is not above `port` says nothing and leaves that port alone (as Cilium).',
      },
      protocol: { type: 'text', text: '`TCP`, `UDP`, `SCTP`, or `ANY` (default): all three.' },
    },
  },
  l7: {
    text: 'One of both; rules of one policy for one port are of one kind, too (HTTP rules and server names are one). An empty list is no rule: plain layer 4, on a port that would be fit for one.',
    fields: {
      http: {
        type: 'list',
        of: 'http',
        text: 'Requests that pass, any of the rules; `[{}]` admits and shows every request. Needs `protocol: TCP`, written, and a port that is not `"0"`.',
      },
      dns: {
        type: 'list',
        of: 'name',
        text: 'Names that may be asked for, any of the rules; others are answered REFUSED. Only in `egress`, with `UDP`, `TCP` or `ANY` (both), and a port that is neither `"0"` nor a range.',
      },
      kafka: { type: 'list', text: 'Kafka requests.', ...later('Cilium 1.20 has removed it, too') },
      l7proto: { type: 'text', text: 'A parser of proxylib.', ...later('Cilium 1.20 has removed it, too') },
      l7: { type: 'list', text: 'Rules of such a parser.', ...later('Cilium 1.20 has removed it, too') },
    },
  },
  http: {
    text: 'All that is written must match; `{}` admits every request. `method`, `path` and `host` are regular expressions of RE2 that must match the whole text, byte by byte; empty: any.',
    fields: {
      method: { type: 'RE2', text: 'The method.' },
      path: { type: 'RE2', text: 'The path with its query string, as Envoy normalises it.' },
      host: { type: 'RE2', text: 'The Host header as it was sent, port and case included.' },
      headers: {
        type: 'list of texts',
        text: '`Name: value` for a header with exactly that value, `Name` for one that is there; split at the first blank.',
      },
      headerMatches: {
        type: 'list',
        of: 'header-match',
        text: 'Headers, and what is done about one that does not fit.',
      },
    },
  },
  'header-match': {
    text: 'A header that must be there.',
    fields: {
      name: { type: 'text', text: 'Of the header, in any case. Required.' },
      value: { type: 'text', text: 'Exactly; missing: any value.' },
      mismatch: {
        type: 'text',
        text: 'What happens where it does not fit: missing, the rule does not match; `LOG` lets the request pass and records it; `ADD`, `REPLACE` and `DELETE` pass it with the header added, replaced, taken away, and record that, too; these three are **refused** (`FIELD_NOT_SUPPORTED`) for headers that frame or route the message (`Host`, `Content-Length`, `Connection`, …).',
      },
      secret: {
        type: 'mapping',
        text: 'A secret that holds the value.',
        ...later("it needs secrets of the cluster in the node's Envoy; write the value"),
      },
    },
  },
} as const satisfies Readonly<Record<string, PlaceFields>>;
