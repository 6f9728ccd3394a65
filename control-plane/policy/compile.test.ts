import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Numbers } from '../identity/numbers.ts';
import { formatAddress, parseAddress, parsePrefix } from '../model/address.ts';
import { NAMESPACE_KEY } from '../model/labels.ts';
import type { NamespaceObject, ObjectSet, PodObject } from '../model/objects.ts';
import type { AuthenticationMode, Policy, Rule } from '../model/policy.ts';
import { Compiler } from './compile.ts';

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'sidestep-compile-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function pod(name: string, ip: string, more: Partial<PodObject> = {}): PodObject {
  return {
    namespace: 'shop',
    name,
    uid: name,
    labels: new Map([['app', name]]),
    serviceAccount: 'default',
    nodeName: 'here',
    hostNetwork: false,
    namedPorts: [],
    netns: `/run/netns/${name}`,
    addresses: ip === '' ? [] : [parseAddress(ip)],
    origin: 'test',
    ...more,
  };
}

function closing(app: string): Policy {
  const ref = { kind: 'CiliumNetworkPolicy', namespace: 'shop', name: `close-${app}` };
  const matchLabels = new Map([
    ['any:app', app],
    [`k8s:${NAMESPACE_KEY}`, 'shop'],
  ]);
  return { ref, subject: { matchLabels }, defaultDeny: { egress: false, ingress: true }, rules: [], refused: false };
}

function objects(
  pods: readonly PodObject[],
  policies: readonly Policy[] = [],
  namespaces: readonly NamespaceObject[] = [],
): ObjectSet {
  return {
    namespaces,
    pods,
    nodes: [],
    meshNodes: [],
    services: [],
    endpointSlices: [],
    cidrGroups: [],
    policies: policies.map((policy) => ({ ref: policy.ref, origin: 'test', state: 'accepted', policy, issues: [] })),
    issues: [],
  };
}

function newCompiler(path?: string): Compiler {
  return new Compiler(new Numbers(path), { nodeName: 'here', podRanges: [parsePrefix('10.0.0.0/8')] });
}

/** "address pod" of each. */
function owners(compiler: Compiler, ...pods: PodObject[]): string[] {
  return compiler.compile(objects(pods)).addresses.map(({ address, pod: name }) => `${formatAddress(address)} ${name}`);
}

test('who had an address keeps it, whatever order the pods come in', () => {
  const compiler = newCompiler();
  const [first, second] = [pod('first', '10.0.0.1'), pod('second', '10.0.0.1')];
  expect(owners(compiler, second)).toEqual(['10.0.0.1 second']);
  expect(owners(compiler, first, second)).toEqual(['10.0.0.1 second']);
  expect(owners(compiler, first)).toEqual(['10.0.0.1 first']);
  expect(owners(compiler, second, first)).toEqual(['10.0.0.1 first']);
});

test('at start the first pod in order has the address, and the other is named', () => {
  const { addresses, issues, workloads } = newCompiler().compile(
    objects([pod('first', '10.0.0.1'), pod('second', '10.0.0.1')]),
  );
  expect(addresses.map((each) => each.pod)).toEqual(['first']);
  expect(workloads.map(({ name }) => name)).toEqual(['first']);
  expect(issues).toMatchObject([{ code: 'POD_ADDRESS_CONFLICT', object: 'Pod/shop/second' }]);
});

test('pods of other nodes are in the address table and are no workloads; a pod without a node is here', () => {
  const { addresses, workloads } = newCompiler().compile(
    objects([
      pod('here', '10.0.0.1'),
      pod('there', '10.0.0.2', { nodeName: 'there', netns: '' }),
      pod('nowhere', '10.0.0.3', { nodeName: '' }),
    ]),
  );
  expect(addresses.map(({ pod: name, node }) => [name, node])).toEqual([
    ['here', ''],
    ['there', 'there'],
    ['nowhere', ''],
  ]);
  expect(workloads.map(({ name }) => name)).toEqual(['here', 'nowhere']);
});

test('pods of the host network are no workloads and no addresses', () => {
  const snapshot = newCompiler().compile(objects([pod('agent', '192.0.2.1', { hostNetwork: true })]));
  expect([snapshot.addresses, snapshot.workloads, snapshot.issues]).toEqual([[], [], []]);
});

test('the world is what nothing narrower says, and pod ranges are unmanaged', () => {
  const { prefixes } = newCompiler().compile(objects([]));
  expect(prefixes.map(({ address, bits, identity }) => [formatAddress(address), bits, identity])).toEqual([
    ['::', 0, 2],
    ['10.0.0.0', 104, 3],
  ]);
});

test('labels that differ from replica to replica do not make identities', () => {
  const replica = (name: string, hash: string): PodObject =>
    pod(name, `10.0.0.${name.length}`, {
      labels: new Map([
        ['app', 'web'],
        ['pod-template-hash', hash],
      ]),
    });
  const { workloads } = newCompiler().compile(objects([replica('a', 'x'), replica('bb', 'y')]));
  expect(new Set(workloads.map(({ identity }) => identity)).size).toBe(1);
});

test('a pod cannot claim a namespace, or the labels of one, for itself', () => {
  const forged = new Map([
    ['io.kubernetes.pod.namespace', 'ops'],
    ['io.cilium.k8s.namespace.labels.team', 'ops'],
    ['io.cilium.k8s.policy.serviceaccount', 'root'],
  ]);
  const { workloads } = newCompiler().compile(objects([pod('web', '10.0.0.1', { labels: forged })]));
  expect(workloads[0]?.labels).toEqual([
    'k8s:io.cilium.k8s.policy.cluster=default',
    'k8s:io.cilium.k8s.policy.serviceaccount=default',
    'k8s:io.kubernetes.pod.namespace=shop',
  ]);
});

test('labels of the namespace are labels of its pods, also after they change', () => {
  const compiler = newCompiler();
  const pods = [pod('web', '10.0.0.1')];
  const labelsWith = (team: string): readonly string[] | undefined =>
    compiler.compile(objects(pods, [], [{ name: 'shop', labels: new Map([['team', team]]), audit: false }]))
      .workloads[0]?.labels;
  expect(labelsWith('red')).toContain('k8s:io.cilium.k8s.namespace.labels.team=red');
  expect(labelsWith('blue')).toContain('k8s:io.cilium.k8s.namespace.labels.team=blue');
});

test('a change of one policy leaves the tables of the others the same objects', () => {
  const compiler = newCompiler();
  const pods = [pod('web', '10.0.0.1'), pod('api', '10.0.0.2')];
  const [web, api] = [closing('web'), closing('api')];
  const before = compiler.compile(objects(pods, [web, api]));
  const after = compiler.compile(objects(pods, [web, { ...api, refused: true }]));
  const key = (name: string): string =>
    after.workloads.find((workload) => workload.name === name)?.tables.ingress ?? '';
  expect(after.tables.get(key('web'))).toBe(before.tables.get(key('web')));
  expect(after.tables.get(key('api'))).not.toBe(before.tables.get(key('api')));
  expect(after.revision).toBe(before.revision + 1);
});

test('another pod with labels that are known makes no table anew', () => {
  const compiler = newCompiler();
  const web = pod('web', '10.0.0.1');
  const policies = [closing('web')];
  const before = compiler.compile(objects([web], policies));
  const after = compiler.compile(
    objects([web, { ...web, name: 'web-2', uid: 'web-2', addresses: [parseAddress('10.0.0.2')] }], policies),
  );
  expect([...after.tables.values()]).toEqual([...before.tables.values()]);
  for (const [key, table] of after.tables) expect(table).toBe(before.tables.get(key));
});

test('a pod with new labels enters the tables of policies that name it and did not change', () => {
  const compiler = newCompiler();
  const policy = modes('api', [80, 'required']);
  const peers = {
    kind: 'selected',
    selectors: [{ matchLabels: new Map([['any:app', 'web']]) }],
    entities: [],
  } as const;
  const policies = [{ ...policy, rules: policy.rules.map((rule) => ({ ...rule, peers })) }];
  const entries = (...pods: PodObject[]): number[] =>
    [...compiler.compile(objects(pods, policies)).tables.values()].map((table) => table.entries.length);
  const api = pod('api', '10.0.0.2');
  expect(entries(api)).toEqual([0, 1]);
  expect(entries(api, pod('web', '10.0.0.1', { nodeName: 'there' }))).toEqual([0, 2]);
  expect(entries(api)).toEqual([0, 1]);
});

test('a policy names the workloads here that it selects', () => {
  const pods = [
    pod('api', '10.0.0.2'),
    pod('web', '10.0.0.1'),
    pod('far', '10.0.0.3', { nodeName: 'there', labels: new Map([['app', 'api']]) }),
  ];
  const { policies } = newCompiler().compile(objects(pods, [closing('api'), closing('nobody')]));
  expect(policies.map(({ selects }) => selects)).toEqual([['shop/api'], []]);
});

/** Everybody may ask api for paths. */
function http(path: string, more: Partial<Policy> = {}): Policy {
  const policy = closing('api');
  const rule = { ...policy.ref, rule: 'ingress[0]' };
  return {
    ...policy,
    rules: [
      {
        ref: rule,
        direction: 'ingress',
        peers: { kind: 'any' },
        ports: [{ protocol: 6, port: 80, http: [{ ref: { ...rule, rule: `${rule.rule}.http[0]` }, match: { path } }] }],
      },
    ],
    ...more,
  };
}

test('an edit of what an HTTP rule admits keeps the id of its ruleset, another port does not', () => {
  const compiler = newCompiler();
  const pods = [pod('api', '10.0.0.2')];
  const [before] = compiler.compile(objects(pods, [http('/a')])).rulesets.values();
  const [edited] = compiler.compile(objects(pods, [http('/b')])).rulesets.values();
  expect([before?.id, edited?.id]).toEqual([16, 16]);
  expect(edited?.rules.map(({ match }) => match)).toEqual([{ path: '/b' }]);
  const moved = http('/b');
  const rules = moved.rules.map((rule) => ({ ...rule, ports: rule.ports.map((port) => ({ ...port, port: 81 })) }));
  expect([...compiler.compile(objects(pods, [{ ...moved, rules }])).rulesets.keys()]).toEqual([17]);
  expect([...compiler.compile(objects(pods)).rulesets.keys()]).toEqual([]);
  expect([...compiler.compile(objects(pods, [http('/c')])).rulesets.keys()]).toEqual([16]);
});

test('a ruleset keeps its id over a restart', () => {
  const path = join(folder, 'rulesets.json');
  const pods = [pod('api', '10.0.0.2'), pod('web', '10.0.0.1')];
  const other = http('/x', { ref: { kind: 'CiliumNetworkPolicy', namespace: 'shop', name: 'another' } });
  newCompiler(path).compile(objects(pods, [http('/a')]));
  const ids = (policies: readonly Policy[]): number[] => [
    ...newCompiler(path).compile(objects(pods, policies)).rulesets.keys(),
  ];
  expect(ids([http('/a'), other])).toEqual([17]);
  expect(ids([http('/a')])).toEqual([16]);
});

test('without Envoy what an HTTP rule would have to look into is denied, and named', () => {
  const compiler = new Compiler(new Numbers(undefined), { nodeName: 'here', podRanges: [], http: false });
  const { tables, rulesets, origins } = compiler.compile(objects([pod('api', '10.0.0.2')], [http('/a')]));
  const entries = [...tables.values()].flatMap((table) => table.entries);
  expect(entries.map(({ identity, verdict, precedence, ruleset }) => [identity, verdict, precedence, ruleset])).toEqual(
    [
      [0, 'deny', 154, 0],
      [1, 'allow', 254, 0],
    ],
  );
  expect(origins.get(entries[0]?.rule ?? 0)).toMatchObject({ kind: 'rules', rules: [{ rule: 'ingress[0]' }] });
  expect(rulesets.size).toBe(0);
});

test('where nothing asks for default deny HTTP rules see what passes and refuse nothing', () => {
  const open = http('/a', { defaultDeny: { egress: false, ingress: false } });
  const pods = [pod('api', '10.0.0.2')];
  const { tables, rulesets } = newCompiler().compile(objects(pods, [open]));
  expect(
    [...tables.values()].flatMap(({ entries }) => entries.map(({ identity, verdict }) => [identity, verdict])),
  ).toEqual([
    [0, 'redirect'],
    [1, 'allow'],
  ]);
  expect([...rulesets.values()].flatMap(({ rules }) => rules.map(({ ref, match }) => [ref.rule, match]))).toEqual([
    ['ingress[0]', undefined],
    ['ingress[0].http[0]', { path: '/a' }],
  ]);
  const withoutEnvoy = new Compiler(new Numbers(undefined), { nodeName: 'here', podRanges: [], http: false });
  const entries = [...withoutEnvoy.compile(objects(pods, [open])).tables.values()].flatMap((table) => table.entries);
  expect(entries.map(({ identity, verdict }) => [identity, verdict])).toEqual([
    [0, 'allow'],
    [1, 'allow'],
  ]);
});

/** The policy that closes an app, with rules for any peer at these ports under these modes. */
function modes(app: string, ...list: readonly (readonly [number, AuthenticationMode])[]): Policy {
  const policy = closing(app);
  const rules = list.map(
    ([port, authentication], i): Rule => ({
      ref: { ...policy.ref, rule: `ingress[${i}]` },
      direction: 'ingress',
      peers: { kind: 'any' },
      ports: [{ protocol: 6, port }],
      authentication,
    }),
  );
  return { ...policy, rules };
}

test('rules that disagree about authentication are an issue, once for each that is overridden', () => {
  const pods = [pod('api', '10.0.0.2'), pod('web', '10.0.0.1')];
  const issuesOf = (...list: readonly (readonly [number, AuthenticationMode])[]): string[] =>
    newCompiler()
      .compile(objects(pods, [modes('api', ...list)]))
      .issues.map(({ code, path, object, origin }) => `${code} ${object} ${path} ${origin}`);
  const at = (i: number): string =>
    `AUTHENTICATION_CONFLICT CiliumNetworkPolicy/shop/close-api spec.ingress[${i}].authentication.mode test`;
  expect(issuesOf([80, 'required'], [80, 'disabled'])).toEqual([at(1)]);
  expect(issuesOf([80, 'disabled'], [80, 'required'], [80, 'test-always-fail'])).toEqual([at(0), at(1)]);
  expect(issuesOf([80, 'required'], [80, 'required'])).toEqual([]);
  expect(issuesOf([80, 'required'], [81, 'disabled'], [0, 'disabled'])).toEqual([]);
});

test('a conflict is said while the policies are there, also where no table is made anew', () => {
  const compiler = newCompiler();
  const pods = [pod('api', '10.0.0.2'), pod('web', '10.0.0.1')];
  const bad = modes('api', [80, 'required'], [80, 'disabled']);
  const codes = (...policies: Policy[]): string[] =>
    compiler.compile(objects(pods, policies)).issues.map(({ code }) => code);
  expect(codes(bad)).toEqual(['AUTHENTICATION_CONFLICT']);
  expect(codes(bad, closing('web'))).toEqual(['AUTHENTICATION_CONFLICT']);
  expect(codes(closing('web'))).toEqual([]);
});

test('numbers are on disk before the snapshot is handed out', () => {
  const path = join(folder, 'numbers.json');
  const { workloads } = newCompiler(path).compile(objects([pod('web', '10.0.0.1')], [closing('web')]));
  expect(existsSync(path)).toBe(true);
  expect(newCompiler(path).compile(objects([pod('web', '10.0.0.1')])).workloads[0]?.identity).toBe(
    workloads[0]?.identity,
  );
});

test('numbers that were lost are an issue of every snapshot', () => {
  const path = join(folder, 'damaged.json');
  writeFileSync(path, '{');
  const compiler = newCompiler(path);
  for (let i = 0; i < 2; i++) expect(compiler.compile(objects([])).issues).toMatchObject([{ code: 'STATE_UNUSABLE' }]);
});

/** Ingress of api from an app, by these ports. */
function from(app: string, ports: Rule['ports'], name = 'named', direction: 'egress' | 'ingress' = 'ingress'): Policy {
  const ref = { kind: 'CiliumNetworkPolicy', namespace: 'shop', name };
  const peers = { kind: 'selected', selectors: [{ matchLabels: new Map([['any:app', app]]) }], entities: [] } as const;
  return {
    ...closing('api'),
    ref,
    defaultDeny: { egress: direction === 'egress', ingress: direction === 'ingress' },
    rules: [{ ref: { ...ref, rule: `${direction}[0]` }, direction, peers, ports }],
  };
}

test('a new identity changes the tables that name it, and there its own entries alone', () => {
  const compiler = newCompiler();
  const [api, web, job] = [pod('api', '10.0.0.2'), pod('web', '10.0.0.1'), pod('job', '10.0.0.3')];
  const policies = [from('web', [{ protocol: 6, port: 80 }]), closing('job')];
  const before = compiler.compile(objects([api, web, job], policies));
  const red = pod('red', '10.0.0.4', { labels: new Map([...web.labels, ['color', 'red']]) });
  const after = compiler.compile(objects([api, web, job, red], policies));
  const changed = [...after.tables].filter(([key, table]) => before.tables.get(key) !== table);
  expect(changed.filter(([key]) => before.tables.has(key)).map(([key]) => key)).toEqual([
    after.workloads.find(({ name }) => name === 'api')?.tables.ingress,
  ]);
  const [, table] = changed[0] ?? [];
  const old = new Set([...before.tables.values()].flatMap(({ entries }) => entries));
  expect(table?.entries.filter((entry) => !old.has(entry)).map(({ identity }) => identity)).toEqual([
    after.workloads.find(({ name }) => name === 'red')?.identity,
  ]);
});

test('ingress by name goes by the ports of each pod, and pods with other ports have another table', () => {
  const named = (port: number) => [{ name: 'http', protocol: 6, port }];
  const pods = [
    pod('api', '10.0.0.2', { namedPorts: named(80) }),
    pod('api-2', '10.0.0.3', { namedPorts: named(8080), labels: new Map([['app', 'api']]) }),
    pod('web', '10.0.0.1'),
  ];
  const { workloads, tables } = newCompiler().compile(
    objects(pods, [from('web', [{ protocol: 6, port: 0, name: 'http' }])]),
  );
  const portsOf = (name: string): number[] => {
    const key = workloads.find((each) => each.name === name)?.tables.ingress ?? '';
    return tables.get(key)?.entries.flatMap(({ identity, port }) => (identity > 255 ? [port] : [])) ?? [];
  };
  expect([portsOf('api'), portsOf('api-2')]).toEqual([[80], [8080]]);
});

test('egress by name goes by the ports of all pods with the labels of the peer', () => {
  const compiler = newCompiler();
  const web = (name: string, ip: string, port: number): PodObject =>
    pod(name, ip, { labels: new Map([['app', 'web']]), namedPorts: [{ name: 'http', protocol: 6, port }] });
  const policies = [from('web', [{ protocol: 6, port: 0, name: 'http' }], 'out', 'egress')];
  const portsOf = (...pods: PodObject[]): number[] => {
    const { workloads, tables } = compiler.compile(objects([pod('api', '10.0.0.2'), ...pods], policies));
    return tables.get(workloads[0]?.tables.egress ?? '')?.entries.map(({ port }) => port) ?? [];
  };
  expect(portsOf(web('a', '10.0.0.3', 80))).toEqual([80]);
  expect(portsOf(web('a', '10.0.0.3', 80), web('b', '10.0.0.4', 81))).toEqual([80, 81]);
  expect(portsOf(web('b', '10.0.0.4', 81))).toEqual([81]);
});

test('a name of a port that nobody has is an issue of the policy that selects somebody here', () => {
  const issuesOf = (policy: Policy, ...names: string[]): string[] =>
    newCompiler()
      .compile(
        objects(
          [pod('api', '10.0.0.2', { namedPorts: names.map((name) => ({ name, protocol: 6, port: 80 })) })],
          [policy],
        ),
      )
      .issues.map(({ code, object, path }) => `${code} ${object} ${path}`);
  const any = [6, 17, 132].map((protocol) => ({ protocol, port: 0, name: 'http' }));
  const issue = 'NAMED_PORT_UNKNOWN CiliumNetworkPolicy/shop/named spec.ingress[0].toPorts';
  expect(issuesOf(from('web', any))).toEqual([issue]);
  expect(issuesOf(from('web', any), 'https')).toEqual([issue]);
  expect(issuesOf(from('web', any), 'http')).toEqual([]);
  expect(issuesOf({ ...from('web', any), subject: closing('nobody').subject })).toEqual([]);
});

test('a Service or a CIDR group that a rule names and nobody has is an issue of the policy that selects somebody here', () => {
  const naming = (direction: 'egress' | 'ingress', peers: object): Policy => {
    const { rules, ...policy } = from('web', [], 'naming', direction);
    return {
      ...policy,
      rules: rules.map((rule) => ({ ...rule, peers: { kind: 'selected', selectors: [], entities: [], ...peers } })),
    };
  };
  const offices = { cidrGroups: [{ group: { name: 'offices' }, except: [] }] };
  const issuesOf = (policy: Policy, more: object = {}): string[] =>
    newCompiler()
      .compile({ ...objects([pod('api', '10.0.0.2')], [policy]), ...more })
      .issues.map(({ code, object, message }) => `${code} ${object} ${message}`);
  expect(issuesOf(naming('ingress', offices))).toEqual([
    'REFERENCE_UNKNOWN CiliumNetworkPolicy/shop/naming spec.ingress[0].fromCIDRSet: there is no CiliumCIDRGroup offices',
  ]);
  expect(issuesOf(naming('egress', { services: [{ namespace: 'shop', service: { name: 'db' } }] }))).toEqual([
    'REFERENCE_UNKNOWN CiliumNetworkPolicy/shop/naming spec.egress[0].toServices: there is no Service shop/db',
  ]);
  const cidrGroups = [{ name: 'offices', labels: new Map(), prefixes: [] }];
  expect(issuesOf(naming('ingress', offices), { cidrGroups })).toEqual([]);
  expect(issuesOf({ ...naming('ingress', offices), subject: closing('nobody').subject })).toEqual([]);
});

test('a DNS rule on a port of HTTP rules does not count there, and says so', () => {
  const ref = { kind: 'CiliumNetworkPolicy', namespace: 'shop', name: 'dns' };
  const dns = [{ ref: { ...ref, rule: 'egress[0].dns[0]' }, match: { matchName: 'a.org' } }];
  const web = [{ ref: { ...ref, rule: 'egress[0].http[0]' }, match: { path: '/' } }];
  const one = from('web', [{ protocol: 6, port: 53, dns }], 'dns', 'egress');
  const other = from('web', [{ protocol: 6, port: 53, http: web }], 'http', 'egress');
  const pods = [pod('api', '10.0.0.2'), pod('web', '10.0.0.1')];
  const { issues, rulesets } = newCompiler().compile(objects(pods, [one, other]));
  expect(issues.map(({ code, object }) => `${code} ${object}`)).toEqual([
    'LAYER7_CONFLICT CiliumNetworkPolicy/shop/dns',
  ]);
  expect([...rulesets.values()].map((each) => each.dns)).toEqual([undefined]);
  expect([
    ...newCompiler()
      .compile(objects(pods, [one]))
      .rulesets.values(),
  ]).toMatchObject([{ rules: [], dns }]);
});
