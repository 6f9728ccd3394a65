import { expect, test } from 'vitest';
import { parseManifests } from '../api/manifests.ts';
import { explainPolicy } from '../policy/explain.ts';
import type { CheckQuestion } from '../policy/question.ts';
import { Inventory } from '../sources/inventory.ts';
import { explainText } from './explain-text.ts';

const pod = (name: string, address: string, namespace = 'shop'): string => `
apiVersion: v1
kind: Pod
metadata: { name: ${name}, namespace: ${namespace}, labels: { app: ${name} }, annotations: { sidestep.dev/netns: ${name} } }
spec: { nodeName: n1 }
status: { podIPs: [{ ip: ${address} }] }`;

const POLICIES = `
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: { name: api, namespace: shop }
spec:
  endpointSelector: { matchLabels: { app: api } }
  ingress:
  - fromEndpoints: [{ matchLabels: { app: web } }]
    toPorts: [{ ports: [{ port: "8080", protocol: TCP }], rules: { http: [{ method: GET, path: "/api/.*", headers: ["X-Team: shop"] }] } }]
  - fromCIDRSet: [{ cidr: 192.0.2.0/24, except: [192.0.2.128/25] }]
    toPorts: [{ ports: [{ port: "80", endPort: 90, protocol: TCP }] }]
  - fromEntities: [host]
---
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: { name: db, namespace: shop }
spec:
  endpointSelector: { matchLabels: { app: db } }
  ingress:
  - fromEndpoints: [{ matchExpressions: [{ key: app, operator: In, values: [api, web] }] }]
    icmps: [{ fields: [{ type: 8 }] }]
  ingressDeny:
  - fromEndpoints: [{ matchLabels: { app: scraper } }]
---
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: { name: web, namespace: shop }
spec:
  endpointSelector: { matchLabels: { app: web } }
  egress:
  - toFQDNs: [{ matchPattern: "*.example.com" }]
    toPorts: [{ ports: [{ port: "443", protocol: TCP }] }]
  - toEndpoints: [{ matchLabels: { app: dns } }]
    toPorts: [{ ports: [{ port: "53", protocol: ANY }], rules: { dns: [{ matchPattern: "*.example.com" }] } }]
  - toEndpoints: [{ matchLabels: { app: api } }]
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: { name: dns, namespace: shop }
spec:
  podSelector: { matchLabels: { app: dns } }
  ingress:
  - from: [{ podSelector: {} }]
    ports: [{ port: dns, protocol: UDP }]`;

function explain(question: CheckQuestion) {
  const inventory = new Inventory();
  const pods = ['web', 'api', 'db', 'scraper', 'dns'].map((name, i) => pod(name, `10.0.0.${i + 1}`));
  const text = [...pods, pod('web', '10.0.1.1', 'blog'), POLICIES].join('\n---\n');
  inventory.set('all.yaml', parseManifests(text, 'all.yaml'));
  expect(inventory.objects().issues).toEqual([]);
  return explainPolicy(inventory.objects(), question);
}

/** `field: wanted; found` of the first thing amiss with each rule, in the order of the ladder. */
function ladder(question: CheckQuestion, direction: 'egress' | 'ingress' = 'ingress'): string[] {
  return explain(question)[direction].tried.map(({ action, rule, misses: [miss] }) =>
    miss
      ? `${rule.rule} ${miss.field}: ${miss.wanted}; ${miss.found}`
      : `${rule.rule} ${action === 'deny' ? 'denies' : 'fits'}`,
  );
}

const api = { to: 'shop/api', port: '8080/TCP' };

test.each<[string, CheckQuestion, 'egress' | 'ingress', readonly string[]]>([
  [
    'labels, ranges, entities',
    { ...api, from: 'shop/scraper' },
    'ingress',
    [
      'ingress[0] fromEndpoints: app=web, namespace shop; a pod with app=scraper, namespace shop',
      'ingress[1] fromCIDRSet: 192.0.2.0/24 except 192.0.2.128/25; a pod',
      'ingress[2] fromEntities: host; a pod',
    ],
  ],
  [
    'the namespace of a pod',
    { ...api, from: 'blog/web' },
    'ingress',
    [
      'ingress[0] fromEndpoints: app=web, namespace shop; a pod with app=web, namespace blog',
      'ingress[1] fromCIDRSet: 192.0.2.0/24 except 192.0.2.128/25; a pod',
      'ingress[2] fromEntities: host; a pod',
    ],
  ],
  [
    'ports',
    { ...api, from: '192.0.2.1' },
    'ingress',
    [
      'ingress[0] fromEndpoints: app=web, namespace shop; world 192.0.2.1',
      'ingress[1] toPorts: 80-90/TCP; 8080/TCP',
      'ingress[2] fromEntities: host; world 192.0.2.1',
    ],
  ],
  [
    'requests',
    { ...api, from: 'shop/web', http: 'GET /api/x' },
    'ingress',
    [
      'ingress[0] rules.http: GET /api/.* header x-team: shop; GET /api/x',
      'ingress[1] fromCIDRSet: 192.0.2.0/24 except 192.0.2.128/25; a pod',
      'ingress[2] fromEntities: host; a pod',
    ],
  ],
  [
    'a denial, and types of ICMP',
    { from: 'shop/scraper', to: 'shop/db', port: '0/ICMP' },
    'ingress',
    [
      'ingressDeny[0] denies',
      'ingress[0] fromEndpoints: namespace shop, app In (api, web); a pod with namespace shop, app=scraper',
    ],
  ],
  [
    'names of addresses',
    { from: 'shop/web', to: '198.51.100.7', names: ['www.example.org'], port: '443/TCP' },
    'egress',
    [
      'egress[0] toFQDNs: *.example.com; world 198.51.100.7, known as www.example.org',
      'egress[1] toEndpoints: app=dns, namespace shop; world 198.51.100.7, known as www.example.org',
      'egress[2] toEndpoints: app=api, namespace shop; world 198.51.100.7, known as www.example.org',
    ],
  ],
  [
    'queries',
    { from: 'shop/web', to: 'shop/dns', port: '53/UDP', query: 'example.org' },
    'egress',
    [
      'egress[0] toFQDNs: *.example.com; a pod',
      'egress[1] rules.dns: *.example.com; example.org',
      'egress[2] toEndpoints: app=api, namespace shop; a pod with app=dns, namespace shop',
    ],
  ],
  [
    'names of ports, in a NetworkPolicy',
    { from: 'shop/web', to: 'shop/dns', port: '53/UDP' },
    'ingress',
    ['ingress[0] ports: dns/UDP (a name that no port of it has); 53/UDP'],
  ],
])('what does not fit: %s', (_, question, direction, expected) => {
  expect(ladder(question, direction)).toEqual(expected);
});

test('the nearest is the one with the fewest fields amiss, and of equals the first', () => {
  expect(explain({ ...api, from: '192.0.2.200', port: '85/TCP' }).ingress.nearest?.rule.rule).toBe('ingress[1]');
  expect(explain({ ...api, from: 'shop/scraper' }).ingress.nearest?.rule.rule).toBe('ingress[0]');
  expect(explain({ ...api, from: 'host' }).ingress.nearest).toBeUndefined();
});

test('as it is read', () => {
  expect(explainText(explain({ ...api, from: 'shop/scraper' }), false)).toBe(`DENIED   shop/scraper -> shop/api 8080/TCP

source       shop/scraper: a pod, by its manifest (all.yaml:23)
             app=scraper, namespace shop
destination  shop/api: a pod, by its manifest (all.yaml:9)
             app=api, namespace shop

egress       ALLOWED  no policy selects shop/scraper in this direction

ingress      DENIED   default deny, switched on by CiliumNetworkPolicy/shop/api; no rule admits it
  tried, in order:
    - allow CiliumNetworkPolicy/shop/api#ingress[0]
            fromEndpoints: wants app=web, namespace shop; found a pod with app=scraper, namespace shop
    - allow CiliumNetworkPolicy/shop/api#ingress[1]
            fromCIDRSet: wants 192.0.2.0/24 except 192.0.2.128/25; found a pod
    - allow CiliumNetworkPolicy/shop/api#ingress[2]
            fromEntities: wants host; found a pod
  nearest to allowing it: CiliumNetworkPolicy/shop/api#ingress[0], but for fromEndpoints

What would admit it, beside the policies there are:

apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata:
  name: api-from-scraper-8080
  namespace: shop
spec:
  endpointSelector:
    matchLabels: { app: api }
  ingress:
    - fromEndpoints:
        - matchLabels: { app: scraper }
      toPorts:
        - ports:
            - { port: "8080", protocol: TCP }

It also admits the same to every pod of namespace shop with app=api, and every pod with the labels of the other end.
`);
});

test('a denial: what has to go, and what has to come', () => {
  const text = explainText(explain({ from: 'shop/scraper', to: 'shop/db', port: '8/ICMP' }), false);
  expect(text).toContain('× deny  CiliumNetworkPolicy/shop/db#ingressDeny[0]: takes it\n');
  expect(text).toContain(
    'No policy beside a deny rule helps. To admit it, take out:\n  CiliumNetworkPolicy/shop/db#ingressDeny[0]\nand add:\n',
  );
  expect(text).toContain('- fields:\n            - { family: IPv4, type: 8 }');
});

test('what an agent adds: whether all of it is in force', () => {
  const text = explainText({ ...explain({ ...api, from: 'host' }), revision: { snapshot: 7, kernel: 6 } }, false);
  expect(text).toContain('Agent: revision 7 compiled, 6 in force: what is compiled waits for Envoy.');
});
