/** Authentication across nodes, held against the evaluator asked about every pair of identities and every port. */
import fc from 'fast-check';
import { expect, test, vi } from 'vitest';
import { Numbers } from '../identity/numbers.ts';
import { parseAddress } from '../model/address.ts';
import { type Labels, labelsOf, NAMESPACE_KEY, SERVICE_ACCOUNT_KEY } from '../model/labels.ts';
import type { PodObject } from '../model/objects.ts';
import type { AuthenticationMode, Policy, PortMatch } from '../model/policy.ts';
import {
  type NodeNeeds,
  PEER_AUTHENTICATION,
  type PolicyTable,
  type ServiceAccountRef,
  type Snapshot,
} from '../model/snapshot.ts';
import { newCompiler, objectsOf, PODS, PROTOCOLS, policies } from './arbitrary.ts';
import { Compiler } from './compile.ts';
import { evaluateHalf } from './evaluate.ts';
import { lookUp } from './kernel-model.ts';

// Many questions, on machines that do other things as well.
vi.setConfig({ testTimeout: 60_000 });

const RUNS = 300;
/** Those of rules, in and beside their ranges. */
const PORTS = [1, 79, 80, 81, 82, 91, 443];

/** Every flow that rules tell apart. */
const FLOWS = PROTOCOLS.flatMap((protocol) => PORTS.map((port) => ({ protocol, port })));

interface Identity {
  readonly id: number;
  readonly labels: Labels;
  readonly account: ServiceAccountRef;
  readonly here: boolean;
  readonly nodes: readonly string[];
}

/** Of pods; read from what the snapshot says of addresses. */
function identitiesOf(snapshot: Snapshot): Identity[] {
  return [...snapshot.identities.values()]
    .filter(({ id }) => id >= 256)
    .map(({ id, labels: list }) => {
      const labels = labelsOf(list);
      const nodes = snapshot.addresses.filter(({ identity }) => identity === id).map(({ node }) => node);
      return {
        id,
        labels,
        account: {
          namespace: labels.get(`k8s:${NAMESPACE_KEY}`) ?? '',
          serviceAccount: labels.get(`k8s:${SERVICE_ACCOUNT_KEY}`) ?? '',
        },
        here: nodes.includes(''),
        nodes: [...new Set(nodes.filter((node) => node !== ''))],
      };
    });
}

/** As the kernel asks: one look-up by the identity on the other node. */
function asked(table: PolicyTable | undefined, identity: number, protocol: number, port: number): string {
  return (table && lookUp(table, identity, protocol, port)?.auth) ?? 'none';
}

test('what a table asks of a flow to another node is what the ingress policy there does, by the evaluator', () => {
  const seen = { none: 0, required: 0, 'always-fail': 0 };
  fc.assert(
    fc.property(policies, (list) => {
      const snapshot = newCompiler().compile(objectsOf(PODS, list));
      const elsewhere = identitiesOf(snapshot).filter(({ nodes }) => nodes.length > 0);
      for (const { labels, tables } of snapshot.workloads) {
        const table = snapshot.tables.get(tables.authentication);
        expect(table === undefined).toBe(tables.authentication === '');
        for (const peer of elsewhere)
          for (const { protocol, port } of FLOWS) {
            const question = { source: labelsOf(labels), destination: peer.labels, protocol, port };
            const { verdict, authentication } = evaluateHalf('ingress', question, list);
            const expected = verdict === 'ALLOWED' ? authentication : 'none';
            seen[expected]++;
            expect(asked(table, peer.id, protocol, port)).toBe(expected);
          }
      }
    }),
    { numRuns: RUNS },
  );
  expect(Math.min(...Object.values(seen))).toBeGreaterThan(300);
});

test('such tables hold identities on other nodes and nothing that a wider entry says as well, and name rules', () => {
  let entries = 0;
  fc.assert(
    fc.property(policies, (list) => {
      const snapshot = newCompiler().compile(objectsOf(PODS, list));
      const used = new Set(snapshot.workloads.map(({ tables }) => tables.authentication));
      const elsewhere = new Set(snapshot.addresses.filter(({ node }) => node !== '').map(({ identity }) => identity));
      const contents = new Set<string>();
      const tables = [...snapshot.tables.values()].filter(({ key }) => key.startsWith(PEER_AUTHENTICATION));
      for (const table of tables) {
        expect(used.has(table.key)).toBe(true);
        expect(table).toMatchObject({ direction: 'egress', enforcing: false, defaultRule: 0 });
        for (const entry of table.entries) {
          entries++;
          expect(elsewhere.has(entry.identity)).toBe(true);
          expect(entry).toMatchObject({ verdict: 'allow', ruleset: 0 });
          const origin = snapshot.origins.get(entry.rule);
          if (entry.auth === 'none') expect(entry.rule).toBe(0);
          else
            expect(origin?.kind === 'rules' && origin.rules.every(({ rule }) => rule.startsWith('ingress'))).toBe(true);
          const without = { ...table, entries: table.entries.filter((each) => each !== entry) };
          const { identity, protocol, port, prefix } = entry;
          if (entry.auth === 'none' && prefix === 32) expect(asked(without, identity, protocol, port)).not.toBe('none');
        }
        contents.add(JSON.stringify(table.entries));
      }
      expect(contents.size).toBe(tables.length);
    }),
    { numRuns: RUNS },
  );
  expect(entries).toBeGreaterThan(100);
});

const byText = (a: ServiceAccountRef, b: ServiceAccountRef): number =>
  `${a.namespace}/${a.serviceAccount}` < `${b.namespace}/${b.serviceAccount}` ? -1 : 1;

/** The evaluator's own account of who must be proven, pair by pair and flow by flow. */
function needed(
  identities: readonly Identity[],
  list: readonly Policy[],
): { needs: NodeNeeds[]; certified: ServiceAccountRef[] } {
  const isPossible = (source: Identity, destination: Identity): boolean =>
    FLOWS.some((flow) => {
      const question = { source: source.labels, destination: destination.labels, ...flow };
      const halves = [evaluateHalf('egress', question, list), evaluateHalf('ingress', question, list)];
      return (
        halves.every(({ verdict, authentication }) => verdict === 'ALLOWED' && authentication !== 'always-fail') &&
        halves.some(({ authentication }) => authentication === 'required')
      );
    });
  const nodes = new Map<string, { ours: Set<Identity>; theirs: Set<Identity> }>();
  const certified = new Set<Identity>();
  for (const own of identities.filter(({ here }) => here))
    for (const peer of identities) {
      if (!isPossible(own, peer) && !isPossible(peer, own)) continue;
      certified.add(own);
      for (const node of peer.nodes) {
        const need = nodes.get(node) ?? { ours: new Set(), theirs: new Set() };
        need.ours.add(own);
        need.theirs.add(peer);
        nodes.set(node, need);
      }
    }
  const accounts = (of: Set<Identity>): ServiceAccountRef[] =>
    [...new Map([...of].map(({ account }) => [JSON.stringify(account), account])).values()].sort(byText);
  return {
    needs: [...nodes]
      .map(([node, { ours, theirs }]) => ({ node, ours: accounts(ours), theirs: accounts(theirs) }))
      .sort((a, b) => (a.node < b.node ? -1 : 1)),
    certified: accounts(certified),
  };
}

test('needed is what some flow that both ends admit needs, by the evaluator', () => {
  let [some, none] = [0, 0];
  fc.assert(
    fc.property(policies, (list) => {
      const { needs, certified, ...snapshot } = newCompiler().compile(objectsOf(PODS, list));
      expect({ needs, certified }).toEqual(needed(identitiesOf({ needs, certified, ...snapshot }), list));
      if (needs.length > 0) some++;
      else none++;
    }),
    { numRuns: RUNS },
  );
  expect(Math.min(some, none)).toBeGreaterThan(RUNS / 10);
});

test('two nodes ask of each other what the other has ready', () => {
  fc.assert(
    fc.property(policies, (list) => {
      const objects = objectsOf(PODS, list);
      const here = newCompiler('here').compile(objects);
      for (const other of ['there', 'far']) {
        const need = here.needs.find(({ node }) => node === other);
        const mirror = newCompiler(other)
          .compile(objects)
          .needs.find(({ node }) => node === 'here');
        expect(mirror && { ours: mirror.theirs, theirs: mirror.ours }).toEqual(
          need && { ours: need.ours, theirs: need.theirs },
        );
      }
    }),
    { numRuns: RUNS / 3 },
  );
});

function pod(name: string, app: string, nodeName: string, more: Partial<PodObject> = {}): PodObject {
  const [first] = PODS;
  if (first === undefined) throw new Error('there is no pod');
  return {
    ...first,
    name,
    uid: name,
    labels: new Map([['app', app]]),
    serviceAccount: app,
    nodeName,
    addresses: [parseAddress(`10.1.${name.length}.${Buffer.from(name).reduce((a, b) => (a * 31 + b) % 251, 0)}`)],
    ...more,
  };
}

/** Ingress of `app` in the namespace shop: from whom, at which port, under which mode. */
function guard(
  app: string,
  ...rules: readonly (readonly [from: string, port: number | undefined, mode: AuthenticationMode | undefined])[]
): Policy {
  const ref = { kind: 'CiliumNetworkPolicy', namespace: 'shop', name: `guard-${app}` };
  const selector = (name: string): Policy['subject'] => ({
    matchLabels: new Map([
      ['any:app', name],
      [`k8s:${NAMESPACE_KEY}`, 'shop'],
    ]),
  });
  return {
    ref,
    subject: selector(app),
    defaultDeny: { egress: false, ingress: true },
    rules: rules.map(([from, port, mode], i) => ({
      ref: { ...ref, rule: `ingress[${i}]` },
      direction: 'ingress',
      peers: { kind: 'selected', selectors: [selector(from)], entities: [] },
      ports: port === undefined ? [] : [{ protocol: 6, port } satisfies PortMatch],
      ...(mode === undefined ? {} : { authentication: mode }),
    })),
    refused: false,
  };
}

const keyOf = (snapshot: Snapshot, name: string): string =>
  snapshot.workloads.find((workload) => workload.name === name)?.tables.authentication ?? '';

test('while no policy asks for a proof there is nothing: no table, no need, no rule id more', () => {
  const pods = [pod('web', 'web', 'here'), pod('api', 'api', 'there')];
  const open = newCompiler().compile(objectsOf(pods, [guard('api', ['web', 80, 'disabled'])]));
  expect([keyOf(open, 'web'), open.needs, open.certified]).toEqual(['', [], []]);
  expect([...open.tables.keys()].filter((key) => key.startsWith(PEER_AUTHENTICATION))).toEqual([]);
  expect([...open.origins.keys()]).toEqual([0, 1, 2, 3]);
});

test('rules of other nodes have ids here only where they ask for a proof', () => {
  const pods = [pod('web', 'web', 'here'), pod('api', 'api', 'there')];
  const { origins } = newCompiler().compile(
    objectsOf(pods, [guard('api', ['web', 80, 'required'], ['web', 81, undefined], ['web', 82, 'disabled'])]),
  );
  const rules = [...origins.values()].flatMap((origin) => (origin.kind === 'rules' ? origin.rules : []));
  expect(rules.map(({ rule }) => rule)).toEqual(['ingress[0]']);
  expect([...origins.values()].filter(({ kind }) => kind === 'default-deny')).toEqual([]);
});

test('endpoints of which the same is asked share a table, also with other labels', () => {
  const pods = [
    pod('web', 'web', 'here'),
    pod('job1', 'job', 'here'),
    pod('other', 'other', 'here'),
    pod('api-there', 'api', 'there'),
  ];
  const snapshot = newCompiler().compile(
    objectsOf(pods, [guard('api', ['web', 80, 'required'], ['job', 80, 'required'])]),
  );
  // What decides names the rule, so that the tables of web and job differ by it.
  expect(keyOf(snapshot, 'web')).not.toBe(keyOf(snapshot, 'job1'));
  expect(keyOf(snapshot, 'other')).toBe('');
  const one = guard('api', ['web', 80, 'required']);
  const any = { ...one, rules: one.rules.map((rule) => ({ ...rule, peers: { kind: 'any' } as const })) };
  const shared = newCompiler().compile(objectsOf(pods, [any]));
  expect(new Set(shared.workloads.map(({ tables }) => tables.authentication)).size).toBe(1);
});

test('the same rule asks the same of two endpoints at different peers: they do not share a table', () => {
  const pods = [
    pod('web', 'web', 'here'),
    pod('job', 'job', 'here'),
    pod('api', 'api', 'there'),
    pod('db', 'db', 'there'),
  ];
  const base = guard('all', ['any', 80, 'required']);
  const everybody = {
    ...base,
    subject: { matchLabels: new Map([[`k8s:${NAMESPACE_KEY}`, 'shop']]) },
    rules: base.rules.map((rule) => ({ ...rule, peers: { kind: 'any' } as const })),
  };
  const snapshot = newCompiler().compile(
    objectsOf(pods, [everybody, guard('db', ['web', 80, 'disabled']), guard('api', ['job', 80, 'disabled'])]),
  );
  const peersOf = (name: string): readonly string[] =>
    (snapshot.tables.get(keyOf(snapshot, name))?.entries ?? []).map(
      ({ identity }) => snapshot.addresses.find((each) => each.identity === identity)?.pod ?? '',
    );
  expect([peersOf('web'), peersOf('job')]).toEqual([['api'], ['db']]);
});

test('that a peer comes is an edit of the table, another demand is another table', () => {
  const compiler = newCompiler();
  const pods = [pod('web', 'web', 'here'), pod('api-there', 'api', 'there')];
  const policy = guard('api', ['web', 80, 'required']);
  const before = compiler.compile(objectsOf(pods, [policy]));
  const more = [...pods, pod('api-of-another-account', 'api', 'far', { serviceAccount: 'another' })];
  const after = compiler.compile(objectsOf(more, [policy]));
  expect(keyOf(after, 'web')).toBe(keyOf(before, 'web'));
  expect(after.tables.get(keyOf(after, 'web'))?.entries).toHaveLength(2);
  const edited = compiler.compile(objectsOf(more, [guard('api', ['web', 81, 'required'])]));
  expect(keyOf(edited, 'web')).not.toBe(keyOf(before, 'web'));
});

test('a change elsewhere leaves the table the same object', () => {
  const compiler = newCompiler();
  const pods = [pod('web', 'web', 'here'), pod('api-there', 'api', 'there')];
  const policy = guard('api', ['web', 80, 'required']);
  const before = compiler.compile(objectsOf(pods, [policy]));
  const after = compiler.compile(objectsOf(pods, [policy, guard('web')]));
  expect(after.tables.get(keyOf(after, 'web'))).toBe(before.tables.get(keyOf(before, 'web')));
});

test('pods without an address, and those of this node without a namespace to enforce in, need nothing', () => {
  const policy = guard('api', ['web', 80, 'required']);
  const needs = (...pods: PodObject[]): unknown => newCompiler().compile(objectsOf(pods, [policy])).needs;
  expect(needs(pod('web', 'web', 'here'), pod('api-1', 'api', 'there'))).toHaveLength(1);
  expect(needs(pod('web', 'web', 'here'), pod('api-1', 'api', 'there', { addresses: [] }))).toEqual([]);
  expect(needs(pod('web', 'web', 'here', { netns: '' }), pod('api-1', 'api', 'there'))).toEqual([]);
});

test('other nodes have numbers that stay, this one has none', () => {
  const numbers = new Numbers(undefined);
  const options = { nodeName: 'here', podRanges: [] };
  const meshNode = {
    name: 'quiet',
    addresses: ['192.0.2.9'],
    port: 4250,
    tunnelPort: 51871,
    publicKey: '',
    spiffeId: '',
  };
  const objects = objectsOf([pod('a', 'a', 'there'), pod('bb', 'b', 'here')], []);
  const first = new Compiler(numbers, options).compile({
    ...objects,
    meshNodes: [meshNode, { ...meshNode, name: 'here' }],
  });
  expect([...first.nodes]).toEqual([
    ['quiet', 1],
    ['there', 2],
  ]);
  const second = new Compiler(numbers, options).compile(objectsOf([pod('a', 'a', 'there'), pod('bb', 'b', 'far')], []));
  expect([...second.nodes]).toEqual([
    ['far', 3],
    ['there', 2],
  ]);
});
