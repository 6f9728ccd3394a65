/** The fields of NetworkPolicy (networking.k8s.io/v1) and of CiliumCIDRGroup, by place. */
import type { PlaceFields } from './policy-fields.ts';

export const KUBERNETES_PLACES = {
  'network-policy': {
    text: '`networking.k8s.io/v1`, kind NetworkPolicy, of a namespace (`default` where none is written). It only allows, and adds up with every other policy. The annotation `sidestep.dev/audit: "true"` counts as with a CiliumNetworkPolicy.',
    fields: {
      apiVersion: { type: 'text', text: '`networking.k8s.io/v1`.' },
      kind: { type: 'text', text: '`NetworkPolicy`.' },
      metadata: { type: 'mapping', text: 'Name, namespace and annotations; the rest is not read.' },
      spec: {
        type: 'mapping',
        of: 'network-policy-spec',
        text: 'Missing: as `{}`, which isolates every pod of the namespace for ingress.',
      },
      status: { type: 'mapping', text: 'Written by controllers and not read.' },
    },
  },
  'network-policy-spec': {
    text: 'What may reach, and be reached by, the pods that its selector takes.',
    fields: {
      podSelector: {
        type: 'selector',
        of: 'selector',
        text: 'The pods that it is about; `{}` (default): every pod of the namespace.',
      },
      policyTypes: {
        type: 'list of texts',
        text: '`Ingress` and `Egress`: the directions that it isolates. Default: `Ingress`, and `Egress` where `egress` has a rule. A section of a direction that is not listed is void.',
      },
      ingress: { type: 'list', of: 'network-policy-ingress', text: 'What may come in; empty or missing: nothing.' },
      egress: { type: 'list', of: 'network-policy-egress', text: 'What may go out; empty or missing: nothing.' },
    },
  },
  'network-policy-ingress': {
    text: 'Peers and ports; `{}` admits everything.',
    fields: {
      from: { type: 'list', of: 'network-policy-peer', text: 'Any of the peers; empty or missing: every peer.' },
      ports: { type: 'list', of: 'network-policy-port', text: 'Any of the ports; empty or missing: every port.' },
    },
  },
  'network-policy-egress': {
    text: 'Peers and ports; `{}` admits everything.',
    fields: {
      to: { type: 'list', of: 'network-policy-peer', text: 'Any of the peers; empty or missing: every peer.' },
      ports: { type: 'list', of: 'network-policy-port', text: 'Any of the ports; empty or missing: every port.' },
    },
  },
  'network-policy-peer': {
    text: 'At least one of them.',
    fields: {
      podSelector: {
        type: 'selector',
        of: 'selector',
        text: 'Pods of the namespaces of `namespaceSelector`, or where that is missing of the own one.',
      },
      namespaceSelector: {
        type: 'selector',
        of: 'selector',
        text: 'Every pod (or those of `podSelector`) of the namespaces with these labels; `{}`: of every namespace.',
      },
      ipBlock: {
        type: 'mapping',
        of: 'ip-block',
        text: 'Addresses outside of the cluster, never pods or nodes (as Cilium); not with the selectors.',
      },
    },
  },
  'ip-block': {
    text: 'A range of addresses.',
    fields: {
      cidr: { type: 'CIDR', text: 'With its length. Required.' },
      except: { type: 'list of CIDRs', text: 'Parts of it that do not count; each is smaller than it.' },
    },
  },
  'network-policy-port': {
    text: 'One port, or a range; `{}` is every TCP port.',
    fields: {
      port: {
        type: 'number or text',
        text: '1 to 65535, or the name of a container port of the pod that is asked for; missing: every port of the protocol.',
      },
      endPort: { type: 'number', text: 'The last port of a range; not below `port`, which must be a number.' },
      protocol: { type: 'text', text: '`TCP` (default), `UDP` or `SCTP`.' },
    },
  },
  'cidr-group': {
    text: '`cilium.io/v2` or `cilium.io/v2alpha1`, kind CiliumCIDRGroup, of no namespace. Its labels are what `cidrGroupSelector` looks at.',
    fields: {
      apiVersion: { type: 'text', text: '`cilium.io/v2` or `cilium.io/v2alpha1`.' },
      kind: { type: 'text', text: '`CiliumCIDRGroup`.' },
      metadata: { type: 'mapping', text: 'Name and labels; the rest is not read.' },
      spec: { type: 'mapping', of: 'cidr-group-spec', text: 'Required.' },
      status: { type: 'mapping', text: 'Written by controllers and not read.' },
    },
  },
  'cidr-group-spec': {
    text: 'Its ranges.',
    fields: {
      externalCIDRs: { type: 'list of CIDRs', text: 'With their lengths; bits behind them are dropped. Required.' },
    },
  },
} as const satisfies Readonly<Record<string, PlaceFields>>;
