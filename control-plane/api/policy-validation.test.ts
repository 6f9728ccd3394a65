/** Every rule of validation as a row of its own: what is written -> accepted, or code and path (cilium.md §1.1 and §1.2). */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { type Field, fieldAnchor, fieldsOf, PLACES, type Place } from './policy-fields.ts';
import { CLUSTERWIDE_HEAD, faults, HEAD, parsePolicy, withSections } from './samples.ts';

type Row = readonly [text: string, ...faults: readonly string[]];

function check(rows: readonly Row[], parse: (text: string) => { issues: readonly { code: string; path: string }[] }) {
  test.each(rows.map(([text, ...expected]) => ({ text, expected })))('$text: $expected', ({ text, expected }) => {
    const { issues } = parse(text);
    expect(issues.map(({ code, path }) => `${code} ${path}`)).toEqual(expected);
  });
}

const list = (count: number, one: (i: number) => string): string =>
  Array.from({ length: count }, (_, i) => one(i)).join(', ');

// One subject, one section at least.
check(
  [
    ['endpointSelector: {}\n  ingress: [{}]'],
    ['ingress: [{}]', 'FIELD_REQUIRED spec.endpointSelector'],
    ['endpointSelector: null\n  ingress: [{}]', 'FIELD_REQUIRED spec.endpointSelector'],
    ['endpointSelector: {}\n  nodeSelector: {}\n  ingress: [{}]', 'FIELD_NOT_SUPPORTED spec.nodeSelector'],
    ['endpointSelector: []\n  ingress: [{}]', 'FIELD_INVALID spec.endpointSelector'],
    ['endpointSelector: {}', 'POLICY_EMPTY spec'],
    ['endpointSelector: {}\n  ingressDeny: [{}]'],
    ['endpointSelector: {}\n  egressDeny: [{}]'],
    ['endpointSelector: {}\n  ingressDeny: []', 'POLICY_EMPTY spec'],
    ['endpointSelector: {}\n  egressDeny: {}', 'FIELD_INVALID spec.egressDeny'],
    ['endpointSelector: {}\n  ingress: []\n  enableDefaultDeny: { ingress: true }', 'POLICY_EMPTY spec'],
    ['endpointSelector: {}\n  ingress: [{}]\n  enableDefaultDeny: { ingress: false, egress: true }'],
    ['endpointSelector: {}\n  ingress: [{}]\n  enableDefaultDeny: { ingress: null }'],
    [
      'endpointSelector: {}\n  ingress: [{}]\n  enableDefaultDeny: { ingress: "false" }',
      'FIELD_INVALID spec.enableDefaultDeny.ingress',
    ],
    ['endpointSelector: {}\n  ingress: [{}]\n  enableDefaultDeny: true', 'FIELD_INVALID spec.enableDefaultDeny'],
    [
      'endpointSelector: {}\n  ingress: [{}]\n  enableDefaultDeny: { in: true }',
      'FIELD_UNKNOWN spec.enableDefaultDeny.in',
    ],
  ],
  (text) => parsePolicy(`${HEAD}spec:\n  ${text}\n`),
);

// What goes along with the rules.
check(
  [
    ['description: why\n  ingress: [{}]'],
    ['description: [why]\n  ingress: [{}]', 'FIELD_INVALID spec.description'],
    [`log: { value: ${'x'.repeat(32)} }\n  ingress: [{}]`],
    [`log: { value: ${'x'.repeat(33)} }\n  ingress: [{}]`, 'FIELD_INVALID spec.log.value'],
    ['log: { value: "a\\nb" }\n  ingress: [{}]', 'FIELD_INVALID spec.log.value'],
    ['log: { value: "é" }\n  ingress: [{}]', 'FIELD_INVALID spec.log.value'],
    ['log: { value: 5 }\n  ingress: [{}]', 'FIELD_INVALID spec.log.value'],
    ['log: { value: "" }\n  ingress: [{}]', 'FIELD_REQUIRED spec.log.value'],
    ['log: {}\n  ingress: [{}]', 'FIELD_REQUIRED spec.log.value'],
    ['log: x\n  ingress: [{}]', 'FIELD_INVALID spec.log'],
    ['labels: [{ key: team, value: red, source: k8s }, { key: a }]\n  ingress: [{}]'],
    ['labels: [{ value: red }]\n  ingress: [{}]', 'FIELD_REQUIRED spec.labels[0].key'],
    ['labels: [{ key: 5 }]\n  ingress: [{}]', 'FIELD_INVALID spec.labels[0].key'],
    ['labels: { team: red }\n  ingress: [{}]', 'FIELD_INVALID spec.labels'],
  ],
  (text) => withSections(text),
);

// Selectors.
check(
  [
    ['matchLabels: { app: web }'],
    ['matchLabels: { "k8s:app": web, "any:tier": a, "reserved:host": "" }'],
    ['matchLabels: { app: web, "k8s:app": web }'],
    ['matchExpressions: [{ key: app, operator: In, values: [a, b] }, { key: "k8s:x/y", operator: Exists }]'],
    ['matchExpressions: [{ key: app, operator: NotIn, values: [""] }, { key: b, operator: DoesNotExist, values: [] }]'],
    ['matchExpressions: []'],
    ['matchExpressions: {}', 'FIELD_INVALID .matchExpressions'],
    ['matchExpressions: [app]', 'FIELD_INVALID .matchExpressions[0]'],
    ['matchExpressions: [{ operator: Exists }]', 'FIELD_REQUIRED .matchExpressions[0].key'],
    ['matchExpressions: [{ key: 5, operator: Exists }]', 'FIELD_INVALID .matchExpressions[0].key'],
    ['matchExpressions: [{ key: "", operator: Exists }]', 'FIELD_INVALID .matchExpressions[0].key'],
    ['matchExpressions: [{ key: "moon:a", operator: Exists }]', 'FIELD_INVALID .matchExpressions[0].key'],
    ['matchExpressions: [{ key: "fqdn:a", operator: Exists }]', 'FIELD_NOT_SUPPORTED .matchExpressions[0].key'],
    [
      'matchExpressions: [{ key: pod-template-hash, operator: Exists }]',
      'FIELD_NOT_SUPPORTED .matchExpressions[0].key',
    ],
    ['matchExpressions: [{ key: a }]', 'FIELD_REQUIRED .matchExpressions[0].operator'],
    ['matchExpressions: [{ key: a, operator: in, values: [b] }]', 'FIELD_INVALID .matchExpressions[0].operator'],
    ['matchExpressions: [{ key: a, operator: In }]', 'FIELD_REQUIRED .matchExpressions[0].values'],
    ['matchExpressions: [{ key: a, operator: NotIn, values: [] }]', 'FIELD_REQUIRED .matchExpressions[0].values'],
    ['matchExpressions: [{ key: a, operator: Exists, values: [b] }]', 'FIELD_INVALID .matchExpressions[0].values'],
    [
      'matchExpressions: [{ key: a, operator: In, values: [b, "c d"] }]',
      'FIELD_INVALID .matchExpressions[0].values[1]',
    ],
    ['matchExpressions: [{ key: a, operator: In, values: [b, 1] }]', 'FIELD_INVALID .matchExpressions[0].values[1]'],
    ['matchExpressions: [{ key: a, operator: Exists, value: b }]', 'FIELD_UNKNOWN .matchExpressions[0].value'],
    ['matchLabels: { "": web }', 'FIELD_INVALID .matchLabels[""]'],
  ],
  (text) => {
    const { issues } = withSections(`ingress: [{ fromEndpoints: [{ ${text} }] }]`);
    return {
      issues: issues.map(({ code, path }) => ({ code, path: path.replace('spec.ingress[0].fromEndpoints[0]', '') })),
    };
  },
);

// One list of peers in one rule; the fields of each direction.
check(
  [
    ['ingress: [{ fromEndpoints: [{}] }, { fromCIDR: [192.0.2.0/24] }]'],
    ['ingress: [{ fromEndpoints: [{}], fromCIDR: [] }]'],
    ['ingress: [{ fromEndpoints: [{}], fromEntities: [world] }]', 'FIELD_INVALID spec.ingress[0]'],
    ['ingress: [{ fromEndpoints: [{}], fromCIDR: [192.0.2.0/24] }]', 'FIELD_INVALID spec.ingress[0]'],
    ['ingress: [{ fromCIDR: [192.0.2.0/24], fromCIDRSet: [{ cidr: 192.0.2.0/24 }] }]', 'FIELD_INVALID spec.ingress[0]'],
    ['ingressDeny: [{ fromEntities: [world], fromCIDR: [192.0.2.0/24] }]', 'FIELD_INVALID spec.ingressDeny[0]'],
    ['egress: [{ toFQDNs: [{ matchName: a.b }], toCIDR: [192.0.2.0/24] }]', 'FIELD_INVALID spec.egress[0]'],
    ['egress: [{ toFQDNs: [{ matchName: a.b }], toEntities: [world] }]', 'FIELD_INVALID spec.egress[0]'],
    [
      'egress: [{ toServices: [{ k8sService: { serviceName: a } }], toEndpoints: [{}] }]',
      'FIELD_INVALID spec.egress[0]',
    ],
    ['egress: [{ toServices: [{ k8sService: { serviceName: a } }], toPorts: [{ ports: [{ port: 1 }] }] }]'],
    ['ingress: [{ toFQDNs: [{ matchName: a.b }] }]', 'FIELD_UNKNOWN spec.ingress[0].toFQDNs'],
    ['ingress: [{ toCIDR: [192.0.2.0/24] }]', 'FIELD_UNKNOWN spec.ingress[0].toCIDR'],
    ['egress: [{ fromCIDR: [192.0.2.0/24] }]', 'FIELD_UNKNOWN spec.egress[0].fromCIDR'],
    [
      'ingressDeny: [{ fromEndpoints: [{}], authentication: { mode: required } }]',
      'FIELD_UNKNOWN spec.ingressDeny[0].authentication',
    ],
    ['egressDeny: [{ toFQDNs: [{ matchName: a.b }] }]', 'FIELD_UNKNOWN spec.egressDeny[0].toFQDNs'],
    [
      'ingressDeny: [{ toPorts: [{ ports: [{ port: 1 }], rules: { http: [{}] } }] }]',
      'FIELD_UNKNOWN spec.ingressDeny[0].toPorts[0].rules',
    ],
    [
      'egressDeny: [{ toPorts: [{ ports: [{ port: 1 }], serverNames: [a] }] }]',
      'FIELD_UNKNOWN spec.egressDeny[0].toPorts[0].serverNames',
    ],
    [
      'egressDeny: [{ toPorts: [{ ports: [{ port: 1 }], listener: {} }] }]',
      'FIELD_UNKNOWN spec.egressDeny[0].toPorts[0].listener',
    ],
  ],
  (text) => withSections(text),
);

// Ranges of addresses.
check(
  [
    ['fromCIDR: [192.0.2.0/24, 192.0.2.1, "2001:db8::/32", "2001:db8::1", 10.1.2.3/8, 0.0.0.0/0]'],
    ['fromCIDR: [""]', 'FIELD_REQUIRED .fromCIDR[0]'],
    ['fromCIDR: [null]', 'FIELD_REQUIRED .fromCIDR[0]'],
    ['fromCIDR: [192.0.2.0/33]', 'FIELD_INVALID .fromCIDR[0]'],
    ['fromCIDR: ["2001:db8::/129"]', 'FIELD_INVALID .fromCIDR[0]'],
    ['fromCIDR: [192.0.2.0/-1]', 'FIELD_INVALID .fromCIDR[0]'],
    ['fromCIDR: [192.0.2.0/255.255.0.255]', 'FIELD_INVALID .fromCIDR[0]'],
    ['fromCIDR: [192.0.2.0/24/8]', 'FIELD_INVALID .fromCIDR[0]'],
    ['fromCIDR: [192.0.2]', 'FIELD_INVALID .fromCIDR[0]'],
    ['fromCIDR: ["fe80::1%eth0"]', 'FIELD_INVALID .fromCIDR[0]'],
    ['fromCIDR: [5]', 'FIELD_INVALID .fromCIDR[0]'],
    ['fromCIDR: 192.0.2.0/24', 'FIELD_INVALID .fromCIDR'],
    ['fromCIDRSet: [{ cidr: 192.0.2.0/24, except: [192.0.2.0/28, 192.0.2.128/25] }]'],
    ['fromCIDRSet: [{ cidr: 192.0.2.0/24, except: [192.0.2.0/24] }]'],
    ['fromCIDRSet: [{ cidr: 192.0.2.1 }]', 'FIELD_INVALID .fromCIDRSet[0].cidr'],
    ['fromCIDRSet: [{ cidr: 192.0.2.0/24, except: [192.0.2.1] }]', 'FIELD_INVALID .fromCIDRSet[0].except[0]'],
    ['fromCIDRSet: [{ cidr: 192.0.2.0/24, except: [192.0.3.0/28] }]', 'FIELD_INVALID .fromCIDRSet[0].except[0]'],
    ['fromCIDRSet: [{ cidr: 192.0.2.0/24, except: [192.0.2.0/23] }]', 'FIELD_INVALID .fromCIDRSet[0].except[0]'],
    ['fromCIDRSet: [{ cidr: "::/0", except: [192.0.2.0/24] }]', 'FIELD_INVALID .fromCIDRSet[0].except[0]'],
    ['fromCIDRSet: [{ cidr: 192.0.2.0/24, except: 192.0.2.0/28 }]', 'FIELD_INVALID .fromCIDRSet[0].except'],
    [
      'fromCIDRSet: [{ cidrGroupRef: office }, { cidrGroupSelector: { matchLabels: { a: b } }, except: [192.0.2.0/28] }]',
    ],
    ['fromCIDRSet: [{}]', 'FIELD_REQUIRED .fromCIDRSet[0]'],
    ['fromCIDRSet: [{ except: [192.0.2.0/28] }]', 'FIELD_REQUIRED .fromCIDRSet[0]'],
    ['fromCIDRSet: [{ cidr: 192.0.2.0/24, cidrGroupRef: office }]', 'FIELD_INVALID .fromCIDRSet[0]'],
    ['fromCIDRSet: [{ cidrGroupRef: office, cidrGroupSelector: {} }]', 'FIELD_INVALID .fromCIDRSet[0]'],
    ['fromCIDRSet: [{ cidrGroupRef: 5 }]', 'FIELD_INVALID .fromCIDRSet[0].cidrGroupRef'],
    ['fromCIDRSet: [{ cidrGroupRef: office, except: [192.0.2.0] }]', 'FIELD_INVALID .fromCIDRSet[0].except[0]'],
    [
      'fromCIDRSet: [{ cidrGroupSelector: { matchLabels: { "k8s:a": b } } }]',
      'FIELD_INVALID .fromCIDRSet[0].cidrGroupSelector.matchLabels["k8s:a"]',
    ],
    [
      'fromCIDRSet: [{ cidrGroup: office }]',
      'FIELD_UNKNOWN .fromCIDRSet[0].cidrGroup',
      'FIELD_REQUIRED .fromCIDRSet[0]',
    ],
    ['fromCIDRSet: [192.0.2.0/24]', 'FIELD_INVALID .fromCIDRSet[0]'],
  ],
  (text) => {
    const { issues } = withSections(`ingress: [{ ${text} }]`);
    return { issues: issues.map(({ code, path }) => ({ code, path: path.replace('spec.ingress[0]', '') })) };
  },
);

// Entities, Services, names.
check(
  [
    [
      'toEntities: [all, world, world-ipv4, world-ipv6, cluster, host, remote-node, kube-apiserver, ingress, init, health, unmanaged, none]',
    ],
    ['toEntities: [cluster-mesh]', 'FIELD_NOT_SUPPORTED .toEntities[0]'],
    ['toEntities: [World]', 'FIELD_INVALID .toEntities[0]'],
    ['toEntities: [5]', 'FIELD_INVALID .toEntities[0]'],
    [
      'toServices: [{ k8sService: { serviceName: a, namespace: b } }, { k8sServiceSelector: { selector: {}, namespace: b } }]',
    ],
    ['toServices: [{}]', 'FIELD_REQUIRED .toServices[0]'],
    ['toServices: [{ k8sService: {} }]', 'FIELD_REQUIRED .toServices[0].k8sService.serviceName'],
    ['toServices: [{ k8sService: { serviceName: 5 } }]', 'FIELD_INVALID .toServices[0].k8sService.serviceName'],
    ['toServices: [{ k8sService: a }]', 'FIELD_INVALID .toServices[0].k8sService'],
    ['toServices: [{ k8sServiceSelector: {} }]', 'FIELD_REQUIRED .toServices[0].k8sServiceSelector.selector'],
    [
      'toServices: [{ k8sServiceSelector: { selector: { matchLabels: { a: 5 } } } }]',
      'FIELD_INVALID .toServices[0].k8sServiceSelector.selector.matchLabels.a',
    ],
    [
      'toServices: [{ k8sService: { serviceName: a }, k8sServiceSelector: { selector: {} } }]',
      'FIELD_INVALID .toServices[0]',
    ],
    [
      'toFQDNs: [{ matchName: example.com }, { matchName: "_srv.Example.com." }, { matchPattern: "*.example.com" }, { matchPattern: "**.example.com" }, { matchPattern: "*" }]',
    ],
    [`toFQDNs: [{ matchName: ${'a'.repeat(255)} }]`],
    [`toFQDNs: [{ matchName: ${'a'.repeat(256)} }]`, 'FIELD_INVALID .toFQDNs[0].matchName'],
    [`toFQDNs: [{ matchPattern: ${'a'.repeat(256)} }]`, 'FIELD_INVALID .toFQDNs[0].matchPattern'],
    ['toFQDNs: [{ matchName: "*.example.com" }]', 'FIELD_INVALID .toFQDNs[0].matchName'],
    ['toFQDNs: [{ matchName: "a..b" }]', 'FIELD_INVALID .toFQDNs[0].matchName'],
    ['toFQDNs: [{ matchName: "." }]', 'FIELD_INVALID .toFQDNs[0].matchName'],
    ['toFQDNs: [{ matchName: "a b" }]', 'FIELD_INVALID .toFQDNs[0].matchName'],
    ['toFQDNs: [{ matchPattern: "[a-z].com" }]', 'FIELD_INVALID .toFQDNs[0].matchPattern'],
    ['toFQDNs: [{ matchName: 5 }]', 'FIELD_INVALID .toFQDNs[0].matchName'],
    ['toFQDNs: [{}]', 'FIELD_REQUIRED .toFQDNs[0]'],
    ['toFQDNs: [{ matchName: "" }]', 'FIELD_REQUIRED .toFQDNs[0]'],
    ['toFQDNs: [{ matchName: a, matchPattern: b }]', 'FIELD_INVALID .toFQDNs[0]'],
    ['toFQDNs: [a]', 'FIELD_INVALID .toFQDNs[0]'],
  ],
  (text) => {
    const { issues } = withSections(`egress: [{ ${text} }]`);
    return { issues: issues.map(({ code, path }) => ({ code, path: path.replace('spec.egress[0]', '') })) };
  },
);

// ICMP.
check(
  [
    [
      'icmps: [{ fields: [{ type: 8 }, { type: 0, family: IPv4 }, { type: "128", family: IPv6 }, { type: EchoRequest, family: IPv6 }] }]',
    ],
    ['icmps: [{ fields: [{ type: ExtendedEcho Reply }, { type: ExtendedEchoReply }, { type: 255 }] }]'],
    ['icmps: []'],
    ['icmps: [], toPorts: [{ ports: [{ port: 1 }] }]'],
    ['icmps: [{ fields: [{ type: 8 }] }], toPorts: []'],
    ['icmps: [{ fields: [{ type: 8 }] }], toPorts: [{ ports: [{ port: 1 }] }]', 'FIELD_INVALID .icmps'],
    [`icmps: [{ fields: [${list(40, (i) => `{ type: ${i} }`)}] }]`],
    [`icmps: [{ fields: [${list(41, (i) => `{ type: ${i} }`)}] }]`, 'FIELD_INVALID .icmps[0].fields'],
    ['icmps: [{}]', 'FIELD_REQUIRED .icmps[0].fields'],
    ['icmps: [{ fields: {} }]', 'FIELD_INVALID .icmps[0].fields', 'FIELD_REQUIRED .icmps[0].fields'],
    ['icmps: [{ fields: [{}] }]', 'FIELD_REQUIRED .icmps[0].fields[0].type'],
    ['icmps: [{ fields: [{ type: 256 }] }]', 'FIELD_INVALID .icmps[0].fields[0].type'],
    ['icmps: [{ fields: [{ type: -1 }] }]', 'FIELD_INVALID .icmps[0].fields[0].type'],
    ['icmps: [{ fields: [{ type: "08" }] }]', 'FIELD_INVALID .icmps[0].fields[0].type'],
    ['icmps: [{ fields: [{ type: PacketTooBig }] }]', 'FIELD_INVALID .icmps[0].fields[0].type'],
    ['icmps: [{ fields: [{ type: echorequest }] }]', 'FIELD_INVALID .icmps[0].fields[0].type'],
    ['icmps: [{ fields: [{ type: toString }] }]', 'FIELD_INVALID .icmps[0].fields[0].type'],
    ['icmps: [{ fields: [{ type: 8, family: IPv5 }] }]', 'FIELD_INVALID .icmps[0].fields[0].family'],
    ['icmps: [{ fields: [{ type: 8, code: 0 }] }]', 'FIELD_UNKNOWN .icmps[0].fields[0].code'],
    ['icmps: [8]', 'FIELD_INVALID .icmps[0]'],
    ['icmps: 8', 'FIELD_INVALID .icmps'],
  ],
  (text) => {
    const { issues } = withSections(`ingress: [{ fromEntities: [all], ${text} }]`);
    return { issues: issues.map(({ code, path }) => ({ code, path: path.replace('spec.ingress[0]', '') })) };
  },
);

// Ports and layer 7.
check(
  [
    ['ports: [{ port: "80", endPort: 90 }]'],
    ['ports: [{ port: "80", endPort: 80 }, { port: "80", endPort: 70 }, { port: "80", endPort: 0 }]'],
    ['ports: [{ port: "0", endPort: 65535 }]'],
    ['ports: [{ port: "80", endPort: "90" }]', 'FIELD_INVALID .ports[0].endPort'],
    ['ports: [{ port: "80", endPort: 65536 }]', 'FIELD_INVALID .ports[0].endPort'],
    ['ports: [{ port: "80", endPort: -1 }]', 'FIELD_INVALID .ports[0].endPort'],
    ['ports: [{ port: http, protocol: TCP }, { port: "0x10" }, { port: a-b-1 }, { port: HTTP }]'],
    ['ports: [{ port: http, endPort: 90 }]', 'FIELD_INVALID .ports[0].endPort'],
    ['ports: [{ port: abcdefghijklmno }]'],
    ['ports: [{ port: abcdefghijklmnop }]', 'FIELD_INVALID .ports[0].port'],
    ['ports: [{ port: -http }]', 'FIELD_INVALID .ports[0].port'],
    ['ports: [{ port: a--b }]', 'FIELD_INVALID .ports[0].port'],
    ['ports: [{ port: http_alt }]', 'FIELD_INVALID .ports[0].port'],
    ['ports: [{ port: "080" }]', 'FIELD_INVALID .ports[0].port'],
    ['ports: [{ port: "0", endPort: 10 }]'],
    ['ports: [{ port: "80", protocol: SCTP }]'],
    ['ports: [{ port: "80", protocol: ICMP }]', 'FIELD_INVALID .ports[0].protocol'],
    ['ports: [{ port: "80", protocol: GRE }]', 'FIELD_NOT_SUPPORTED .ports[0].protocol'],
    ['ports: [{ port: "80", protocol: 6 }]', 'FIELD_INVALID .ports[0].protocol'],
    ['ports: [{ protocol: GRE }]', 'FIELD_REQUIRED .ports[0].port', 'FIELD_NOT_SUPPORTED .ports[0].protocol'],
    [`ports: [${list(41, (i) => `{ port: ${i + 1} }`)}]`, 'FIELD_INVALID .ports'],
    ['ports: []', 'FIELD_REQUIRED .ports'],
    ['ports: [{ port: "80", protocol: TCP }, { port: "443", protocol: TCP, endPort: 450 }], rules: { http: [{}] }'],
    ['ports: [{ port: http, protocol: TCP }], rules: { http: [{}] }'],
    ['ports: [{ port: "0", protocol: TCP }], rules: { http: [{}] }', 'FIELD_INVALID .ports[0].port'],
    ['ports: [{ port: "0", endPort: 90, protocol: TCP }], rules: { http: [{}] }', 'FIELD_INVALID .ports[0].port'],
    ['ports: [{ port: "80" }], rules: { http: [{}] }', 'FIELD_INVALID .ports[0].protocol'],
    ['ports: [{ port: "80", protocol: UDP }], rules: { http: [{}] }', 'FIELD_INVALID .ports[0].protocol'],
    [
      'ports: [{ port: "80", protocol: TCP }], rules: { http: [{}], dns: [{ matchPattern: "*" }] }',
      'FIELD_INVALID .rules',
    ],
    [
      'ports: [{ port: "53", protocol: UDP }, { port: "53", protocol: TCP }, { port: "53" }, { port: dns }], rules: { dns: [{ matchPattern: "*" }, { matchName: a.b }] }',
    ],
    ['ports: [{ port: "0" }], rules: { dns: [{ matchPattern: "*" }] }', 'FIELD_INVALID .ports[0].port'],
    [
      'ports: [{ port: "53", endPort: 54 }], rules: { dns: [{ matchPattern: "*" }] }',
      'FIELD_INVALID .ports[0].endPort',
    ],
    [
      'ports: [{ port: "53", protocol: SCTP }], rules: { dns: [{ matchPattern: "*" }] }',
      'FIELD_INVALID .ports[0].protocol',
    ],
    ['rules: { dns: [{ matchPattern: "*" }] }', 'FIELD_REQUIRED .ports'],
    ['ports: [{ port: "53" }], rules: { dns: [{}] }', 'FIELD_REQUIRED .rules.dns[0]'],
    ['ports: [{ port: "443", protocol: TCP }], serverNames: [example.com, "*.example.com", "**.example.com"]'],
    ['ports: [{ port: "443", protocol: TCP }], serverNames: []', 'FIELD_REQUIRED .serverNames'],
    ['ports: [{ port: "443", protocol: TCP }], serverNames: [""]', 'FIELD_INVALID .serverNames[0]'],
    ['ports: [{ port: "443", protocol: TCP }], serverNames: ["a b"]', 'FIELD_INVALID .serverNames[0]'],
    [`ports: [{ port: "443", protocol: TCP }], serverNames: [${'a'.repeat(256)}]`, 'FIELD_INVALID .serverNames[0]'],
    ['ports: [{ port: "443" }], serverNames: [a.b]', 'FIELD_INVALID .ports[0].protocol'],
    ['ports: [{ port: "0", protocol: TCP }], serverNames: [a.b]', 'FIELD_INVALID .ports[0].port'],
    [
      'ports: [{ port: "443", protocol: TCP }], serverNames: [a.b], rules: { http: [{}] }',
      'FIELD_INVALID .serverNames',
    ],
    ['ports: [{ port: "443", protocol: TCP }], serverNames: a.b', 'FIELD_INVALID .serverNames'],
    ['ports: [{ port: "443", protocol: TCP }], rules: { kafka: [] }', 'FIELD_NOT_SUPPORTED .rules.kafka'],
    ['ports: [{ port: "443", protocol: TCP }], terminatingTLS: {}', 'FIELD_NOT_SUPPORTED .terminatingTLS'],
  ],
  (text) => {
    const { issues } = withSections(`egress: [{ toPorts: [{ ${text} }] }]`);
    return { issues: issues.map(({ code, path }) => ({ code, path: path.replace('spec.egress[0].toPorts[0]', '') })) };
  },
);

test('DNS rules are not for ingress, an empty list of them is none', () => {
  const rule = (dns: string): string => `ingress: [{ toPorts: [{ ports: [{ port: 53 }], rules: { dns: ${dns} } }] }]`;
  expect(faults(withSections(rule('[{ matchPattern: "*" }]')))).toEqual([
    'FIELD_INVALID spec.ingress[0].toPorts[0].rules.dns',
  ]);
  expect(faults(withSections(rule('[]')))).toEqual([]);
});

// Kinds of layer 7 on one port of one policy.
const dnsAt = (port: string, peer = 'toEntities: [all]'): string =>
  `{ ${peer}, toPorts: [{ ports: [${port}], rules: { dns: [{ matchPattern: "*" }] } }] }`;
const httpAt = (port: string): string =>
  `{ toEntities: [world], toPorts: [{ ports: [${port}], rules: { http: [{}] } }] }`;
const namesAt = (port: string): string =>
  `{ toEntities: [world], toPorts: [{ ports: [${port}], serverNames: [a.b] }] }`;
const TCP_53 = '{ port: 53, protocol: TCP }';
check(
  [
    [`${dnsAt(TCP_53)}, ${dnsAt(TCP_53, 'toCIDR: [192.0.2.1]')}`],
    [`${httpAt(TCP_53)}, ${namesAt(TCP_53)}`],
    [`${dnsAt('{ port: 53, protocol: UDP }')}, ${httpAt(TCP_53)}`],
    [`${dnsAt(TCP_53)}, { toPorts: [{ ports: [${TCP_53}] }] }`],
    [`${dnsAt(TCP_53)}, ${httpAt('{ port: 54, protocol: TCP }')}`],
    [`${dnsAt(TCP_53)}, ${httpAt(TCP_53)}`, 'FIELD_INVALID spec.egress[1].toPorts'],
    [`${dnsAt('{ port: 53 }')}, ${namesAt(TCP_53)}`, 'FIELD_INVALID spec.egress[1].toPorts'],
    [`${httpAt('{ port: dns, protocol: TCP }')}, ${dnsAt('{ port: dns }')}`, 'FIELD_INVALID spec.egress[1].toPorts'],
  ],
  (text) => withSections(`egress: [${text}]`),
);

// HTTP rules.
check(
  [
    ['method: GET, path: "/a", host: b, headers: ["X-A: b", X-C], headerMatches: [{ name: X-D, value: e }]'],
    ['headers: []'],
    ['headerMatches: []'],
    ['headers: ["X-A:b"]', 'FIELD_INVALID .headers[0]'],
    ['headers: [""]', 'FIELD_INVALID .headers[0]'],
    ['headers: [" X-A"]', 'FIELD_INVALID .headers[0]'],
    ['headers: ["X-A: a\\nb"]', 'FIELD_INVALID .headers[0]'],
    ['headers: [":path: /"]', 'FIELD_NOT_SUPPORTED .headers[0]'],
    ['headers: [5]', 'FIELD_INVALID .headers[0]'],
    ['headers: X-A', 'FIELD_INVALID .headers'],
    [
      'headerMatches: [{ name: X-A }, { name: X-A, mismatch: LOG }, { name: X-A, mismatch: DELETE }, { name: X-A, value: b, mismatch: ADD }, { name: X-A, value: b, mismatch: REPLACE }]',
    ],
    ['headerMatches: [{}]', 'FIELD_REQUIRED .headerMatches[0].name'],
    ['headerMatches: [{ name: "a b" }]', 'FIELD_INVALID .headerMatches[0].name'],
    ['headerMatches: [{ name: ":method", value: GET }]', 'FIELD_NOT_SUPPORTED .headerMatches[0].name'],
    ['headerMatches: [{ name: 5 }]', 'FIELD_INVALID .headerMatches[0].name'],
    ['headerMatches: [{ name: a, value: 5 }]', 'FIELD_INVALID .headerMatches[0].value'],
    ['headerMatches: [{ name: a, value: "b\\r\\nc: d" }]', 'FIELD_INVALID .headerMatches[0].value'],
    ['headerMatches: [{ name: a, value: b, mismatch: FAIL }]', 'FIELD_INVALID .headerMatches[0].mismatch'],
    ['headerMatches: [{ name: a, mismatch: ADD }]', 'FIELD_REQUIRED .headerMatches[0].value'],
    ['headerMatches: [{ name: a, mismatch: REPLACE }]', 'FIELD_REQUIRED .headerMatches[0].value'],
    ['headerMatches: [{ name: Host, value: b, mismatch: REPLACE }]', 'FIELD_NOT_SUPPORTED .headerMatches[0].mismatch'],
    ['headerMatches: [{ name: Content-Length, mismatch: DELETE }]', 'FIELD_NOT_SUPPORTED .headerMatches[0].mismatch'],
    ['headerMatches: [{ name: Host, value: b, mismatch: LOG }]'],
    ['headerMatches: [{ name: a, secret: { name: s } }]', 'FIELD_NOT_SUPPORTED .headerMatches[0].secret'],
    ['path: "(?!a)"', 'FIELD_INVALID .path'],
    [`path: "a{1000}{1000}"`, 'FIELD_INVALID .path'],
    [`path: "${'a'.repeat(70_000)}"`, 'FIELD_INVALID .path'],
  ],
  (text) => {
    const { issues } = withSections(
      `ingress: [{ toPorts: [{ ports: [{ port: 80, protocol: TCP }], rules: { http: [{ ${text} }] } }] }]`,
    );
    const at = 'spec.ingress[0].toPorts[0].rules.http[0]';
    return { issues: issues.map(({ code, path }) => ({ code, path: path.replace(at, '') })) };
  },
);

// The object itself.
check(
  [
    ['kind: CiliumNetworkPolicy\nmetadata: { name: p }'],
    ['kind: CiliumClusterwideNetworkPolicy\nmetadata: { name: p }'],
    [
      'kind: CiliumClusterwideNetworkPolicy\nmetadata: { name: p, namespace: shop }',
      'FIELD_INVALID metadata.namespace',
    ],
    ['kind: CiliumNetworkPolicy\nmetadata: { name: p, annotations: { sidestep.dev/audit: "true", a: b } }'],
    ['kind: CiliumNetworkPolicy\nmetadata: { name: p, annotations: { sidestep.dev/audit: "false" } }'],
    [
      'kind: CiliumNetworkPolicy\nmetadata: { name: p, annotations: { sidestep.dev/audit: true } }',
      'FIELD_INVALID metadata.annotations["sidestep.dev/audit"]',
    ],
    [
      'kind: CiliumClusterwideNetworkPolicy\nmetadata: { name: p, annotations: { sidestep.dev/audit: "yes" } }',
      'FIELD_INVALID metadata.annotations["sidestep.dev/audit"]',
    ],
    ['kind: CiliumNetworkPolicy\nmetadata: { name: p }\nspecs: {}', 'FIELD_INVALID specs'],
    ['kind: CiliumNetworkPolicy\nmetadata: { name: p }\nspecs: [1]', 'FIELD_INVALID specs[0]'],
    ['kind: CiliumNetworkPolicy\nmetadata: { name: p }\nstatus: { conditions: [] }'],
    ['kind: CiliumNetworkPolicy\nmetadata: { name: p }\nspek: 1', 'FIELD_UNKNOWN spek'],
  ],
  (text) => parsePolicy(`apiVersion: cilium.io/v2\n${text}\nspec: { endpointSelector: {}, ingress: [{}] }\n`),
);

test.each([HEAD, CLUSTERWIDE_HEAD])('%s without spec and specs is empty', (head) => {
  expect(faults(parsePolicy(head))).toEqual(['POLICY_EMPTY spec']);
});

test('of very many problems the first are told, and how many more there are', () => {
  const { issues, policies } = withSections(`ingress: [${list(500, () => '{ x: 1 }')}]`);
  expect(issues).toHaveLength(101);
  expect(issues.at(-1)?.message).toBe('and 400 more problems');
  expect(policies).toEqual([]);
});

test('every field has an anchor in the reference, and a place named by a field is there', () => {
  const page = readFileSync(join(import.meta.dirname, '../../docs/reference/policy.md'), 'utf8');
  for (const place of Object.keys(PLACES) as Place[]) {
    expect(page).toContain(`\n## ${place}\n`);
    for (const [name, field] of Object.entries<Field>(fieldsOf(place))) {
      expect(page).toContain(`<a id="${fieldAnchor(place, name)}"></a>`);
      if (field.of !== undefined) expect(Object.keys(PLACES)).toContain(field.of);
    }
  }
});

test.each([
  ['egress: [{ toGroups: [] }]', 'egress-togroups'],
  ['ingress: [{ zzz: 1 }]', 'ingress'],
  ['ingress: [{ toPorts: [{ ports: [{ port: "80", protocol: GRE }] }] }]', 'port-protocol'],
  ['ingressDeny: [{ toPorts: [{ ports: [{ port: "80" }], rules: {} }] }]', 'deny-ports-rules'],
  ['ingress: [{ fromEndpoints: [{ matchLabels: { a: 5 } }] }]', 'selector-matchlabels'],
  ['egress: [{ toPorts: [{ ports: [{ port: "53" }], rules: { dns: [{ matchName: "*" }] } }] }]', 'name-matchname'],
])('the hint of %s leads to #%s', (sections, anchor) => {
  expect(withSections(sections).issues[0]?.hint).toMatch(new RegExp(`docs/reference/policy\\.md#${anchor}\\.$`));
});
