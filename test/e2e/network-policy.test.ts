/** Kubernetes NetworkPolicy: who reaches whom, written down by hand, and held against real connections and the evaluator. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { matrixText, Reachability, readMatrix } from '../lib/reachability.ts';
import { FAMILIES } from '../lib/traffic.ts';

let world: Reachability;
beforeAll(async () => {
  world = await Reachability.create('knp');
}, 60_000);
afterAll(() => world?.system.remove());

interface Scene {
  readonly what: string;
  /** In namespace x, each by its spec. */
  readonly policies: readonly object[];
  readonly matrix: string;
}

const app = (name: string): object => ({ matchLabels: { app: name } });
const team = (name: string): object => ({ matchLabels: { team: name } });
const only = (port: number | string, protocol = 'TCP'): object => ({ ports: [{ port, protocol }] });
/** Both families of an address outside, as a list has to say it. */
const block = (bits4: string, bits6: string, except: readonly (readonly [string, string])[] = []): object[] => [
  { ipBlock: { cidr: bits4, except: except.map(([each]) => each) } },
  { ipBlock: { cidr: bits6, except: except.map(([, each]) => each) } },
];
/** Ingress of x/api. */
const toApi = (...ingress: object[]): object => ({ podSelector: app('api'), ingress });

const SCENES: readonly Scene[] = [
  {
    what: 'no policy',
    policies: [],
    matrix: `
             x/web x/api x/db  y/web y/job w1    w2
      x/web  .     *     *     *     *     *     *
      x/api  *     .     *     *     *     *     *
      x/db   *     *     .     *     *     *     *
      y/web  *     *     *     .     *     *     *
      y/job  *     *     *     *     .     *     *
      w1     *     *     *     *     *     .     .
      w2     *     *     *     *     *     .     .`,
  },
  {
    what: 'nobody may come in',
    policies: [{ podSelector: {}, policyTypes: ['Ingress'] }],
    matrix: `
             x/web x/api x/db  y/web y/job w1    w2
      x/web  .     -     -     *     *     *     *
      x/api  -     .     -     *     *     *     *
      x/db   -     -     .     *     *     *     *
      y/web  -     -     -     .     *     *     *
      y/job  -     -     -     *     .     *     *
      w1     -     -     -     *     *     .     .
      w2     -     -     -     *     *     .     .`,
  },
  {
    what: 'nobody may go out',
    policies: [{ podSelector: {}, policyTypes: ['Egress'] }],
    matrix: `
             x/web x/api x/db  y/web y/job w1    w2
      x/web  .     -     -     -     -     -     -
      x/api  -     .     -     -     -     -     -
      x/db   -     -     .     -     -     -     -
      y/web  *     *     *     .     *     *     *
      y/job  *     *     *     *     .     *     *
      w1     *     *     *     *     *     .     .
      w2     *     *     *     *     *     .     .`,
  },
  {
    what: 'nobody may come in, and everybody may',
    policies: [
      { podSelector: {}, policyTypes: ['Ingress'] },
      { podSelector: {}, ingress: [{}] },
    ],
    matrix: `
             x/web x/api x/db  y/web y/job w1    w2
      x/web  .     *     *     *     *     *     *
      x/api  *     .     *     *     *     *     *
      x/db   *     *     .     *     *     *     *
      y/web  *     *     *     .     *     *     *
      y/job  *     *     *     *     .     *     *
      w1     *     *     *     *     *     .     .
      w2     *     *     *     *     *     .     .`,
  },
  {
    what: 'pods by label are those of the policy’s own namespace; a port without a protocol is TCP',
    policies: [toApi({ from: [{ podSelector: app('web') }], ports: [{ port: 80 }] })],
    matrix: `
             x/web x/api x/db  y/web y/job w1    w2
      x/web  .     a     *     *     *     *     *
      x/api  *     .     *     *     *     *     *
      x/db   *     -     .     *     *     *     *
      y/web  *     -     *     .     *     *     *
      y/job  *     -     *     *     .     *     *
      w1     *     -     *     *     *     .     .
      w2     *     -     *     *     *     .     .`,
  },
  {
    what: 'namespaces by label',
    policies: [toApi({ from: [{ namespaceSelector: team('red') }] })],
    matrix: `
             x/web x/api x/db  y/web y/job w1    w2
      x/web  .     -     *     *     *     *     *
      x/api  *     .     *     *     *     *     *
      x/db   *     -     .     *     *     *     *
      y/web  *     *     *     .     *     *     *
      y/job  *     *     *     *     .     *     *
      w1     *     -     *     *     *     .     .
      w2     *     -     *     *     *     .     .`,
  },
  {
    what: 'every namespace is every pod, and nobody else',
    policies: [toApi({ from: [{ namespaceSelector: {} }] })],
    matrix: `
             x/web x/api x/db  y/web y/job w1    w2
      x/web  .     *     *     *     *     *     *
      x/api  *     .     *     *     *     *     *
      x/db   *     *     .     *     *     *     *
      y/web  *     *     *     .     *     *     *
      y/job  *     *     *     *     .     *     *
      w1     *     -     *     *     *     .     .
      w2     *     -     *     *     *     .     .`,
  },
  {
    what: 'pods by label in namespaces by label',
    policies: [toApi({ from: [{ namespaceSelector: team('red'), podSelector: app('job') }] })],
    matrix: `
             x/web x/api x/db  y/web y/job w1    w2
      x/web  .     -     *     *     *     *     *
      x/api  *     .     *     *     *     *     *
      x/db   *     -     .     *     *     *     *
      y/web  *     -     *     .     *     *     *
      y/job  *     *     *     *     .     *     *
      w1     *     -     *     *     *     .     .
      w2     *     -     *     *     *     .     .`,
  },
  {
    what: 'pods by label, or namespaces by label',
    policies: [toApi({ from: [{ namespaceSelector: team('red') }, { podSelector: app('web') }] })],
    matrix: `
             x/web x/api x/db  y/web y/job w1    w2
      x/web  .     *     *     *     *     *     *
      x/api  *     .     *     *     *     *     *
      x/db   *     -     .     *     *     *     *
      y/web  *     *     *     .     *     *     *
      y/job  *     *     *     *     .     *     *
      w1     *     -     *     *     *     .     .
      w2     *     -     *     *     *     .     .`,
  },
  {
    what: 'pods by expressions',
    policies: [
      toApi({ from: [{ podSelector: { matchExpressions: [{ key: 'app', operator: 'NotIn', values: ['db'] }] } }] }),
    ],
    matrix: `
             x/web x/api x/db  y/web y/job w1    w2
      x/web  .     *     *     *     *     *     *
      x/api  *     .     *     *     *     *     *
      x/db   *     -     .     *     *     *     *
      y/web  *     -     *     .     *     *     *
      y/job  *     -     *     *     .     *     *
      w1     *     -     *     *     *     .     .
      w2     *     -     *     *     *     .     .`,
  },
  {
    what: 'addresses with an exception, into a pod',
    policies: [
      toApi({
        from: block('198.18.0.0/16', '2001:db8:f::/48', [['198.18.2.0/24', '2001:db8:f:2::/64']]),
      }),
    ],
    matrix: `
             x/web x/api x/db  y/web y/job w1    w2
      x/web  .     -     *     *     *     *     *
      x/api  *     .     *     *     *     *     *
      x/db   *     -     .     *     *     *     *
      y/web  *     -     *     .     *     *     *
      y/job  *     -     *     *     .     *     *
      w1     *     *     *     *     *     .     .
      w2     *     -     *     *     *     .     .`,
  },
  {
    what: 'addresses, out of a pod',
    policies: [
      {
        podSelector: app('web'),
        policyTypes: ['Egress'],
        egress: [{ to: block('198.18.1.0/24', '2001:db8:f:1::/64') }],
      },
    ],
    matrix: `
             x/web x/api x/db  y/web y/job w1    w2
      x/web  .     -     -     -     -     *     -
      x/api  *     .     *     *     *     *     *
      x/db   *     *     .     *     *     *     *
      y/web  *     *     *     .     *     *     *
      y/job  *     *     *     *     .     *     *
      w1     *     *     *     *     *     .     .
      w2     *     *     *     *     *     .     .`,
  },
  {
    what: 'all addresses are those outside: pods are taken by their labels alone',
    policies: [toApi({ from: block('0.0.0.0/0', '::/0') })],
    matrix: `
             x/web x/api x/db  y/web y/job w1    w2
      x/web  .     -     *     *     *     *     *
      x/api  *     .     *     *     *     *     *
      x/db   *     -     .     *     *     *     *
      y/web  *     -     *     .     *     *     *
      y/job  *     -     *     *     .     *     *
      w1     *     *     *     *     *     .     .
      w2     *     *     *     *     *     .     .`,
  },
  {
    what: 'a port by name, which only one of the pods has',
    policies: [{ podSelector: {}, ingress: [only('sql')] }],
    matrix: `
             x/web x/api x/db  y/web y/job w1    w2
      x/web  .     -     b     *     *     *     *
      x/api  -     .     b     *     *     *     *
      x/db   -     -     .     *     *     *     *
      y/web  -     -     b     .     *     *     *
      y/job  -     -     b     *     .     *     *
      w1     -     -     b     *     *     .     .
      w2     -     -     b     *     *     .     .`,
  },
  {
    what: 'a port by name, out of a pod: of those that are asked',
    policies: [{ podSelector: app('web'), policyTypes: ['Egress'], egress: [only('sql')] }],
    matrix: `
             x/web x/api x/db  y/web y/job w1    w2
      x/web  .     -     b     -     -     -     -
      x/api  *     .     *     *     *     *     *
      x/db   *     *     .     *     *     *     *
      y/web  *     *     *     .     *     *     *
      y/job  *     *     *     *     .     *     *
      w1     *     *     *     *     *     .     .
      w2     *     *     *     *     *     .     .`,
  },
  {
    what: 'a range of ports, and UDP beside it',
    policies: [
      toApi({ from: [{ podSelector: app('web') }], ports: [{ port: 79, endPort: 81 }] }),
      toApi({ from: [{ podSelector: app('db') }], ports: [{ port: 53, endPort: 80, protocol: 'UDP' }] }),
      toApi({ from: [{ namespaceSelector: team('red') }], ports: [{ port: 81, endPort: 81 }, { protocol: 'UDP' }] }),
    ],
    matrix: `
             x/web x/api x/db  y/web y/job w1    w2
      x/web  .     ab    *     *     *     *     *
      x/api  *     .     *     *     *     *     *
      x/db   *     u     .     *     *     *     *
      y/web  *     bu    *     .     *     *     *
      y/job  *     bu    *     *     .     *     *
      w1     *     -     *     *     *     .     .
      w2     *     -     *     *     *     .     .`,
  },
  {
    what: 'both ends have a say',
    policies: [
      { podSelector: app('db'), ingress: [{ from: [{ podSelector: app('api') }] }] },
      { podSelector: app('api'), policyTypes: ['Egress'], egress: [{ to: [{ podSelector: {} }], ...only(80) }] },
    ],
    matrix: `
             x/web x/api x/db  y/web y/job w1    w2
      x/web  .     *     -     *     *     *     *
      x/api  a     .     a     -     -     -     -
      x/db   *     *     .     *     *     *     *
      y/web  *     *     -     .     *     *     *
      y/job  *     *     -     *     .     *     *
      w1     *     *     -     *     *     .     .
      w2     *     *     -     *     *     .     .`,
  },
  {
    what: 'policies add up',
    policies: [
      toApi({ from: [{ podSelector: app('web') }], ...only(80) }),
      toApi({ from: [{ podSelector: {} }], ...only(53, 'UDP') }),
      toApi({ from: [{ namespaceSelector: team('red'), podSelector: app('job') }], ...only(81) }),
    ],
    matrix: `
             x/web x/api x/db  y/web y/job w1    w2
      x/web  .     au    *     *     *     *     *
      x/api  *     .     *     *     *     *     *
      x/db   *     u     .     *     *     *     *
      y/web  *     -     *     .     *     *     *
      y/job  *     b     *     *     .     *     *
      w1     *     -     *     *     *     .     .
      w2     *     -     *     *     *     .     .`,
  },
  {
    what: 'egress without a type is of no effect beside a list of types, and makes its type where there is none',
    policies: [
      { podSelector: app('web'), policyTypes: ['Ingress'], egress: [{ to: [{ podSelector: app('api') }] }] },
      { podSelector: app('db'), egress: [{ to: [{ podSelector: app('api') }] }] },
    ],
    matrix: `
             x/web x/api x/db  y/web y/job w1    w2
      x/web  .     *     -     *     *     *     *
      x/api  -     .     -     *     *     *     *
      x/db   -     *     .     -     -     -     -
      y/web  -     *     -     .     *     *     *
      y/job  -     *     -     *     .     *     *
      w1     -     *     -     *     *     .     .
      w2     -     *     -     *     *     .     .`,
  },
];

const policy = (spec: object, i: number): object => ({
  apiVersion: 'networking.k8s.io/v1',
  kind: 'NetworkPolicy',
  metadata: { name: `policy-${i}`, namespace: 'x' },
  spec,
});

describe.each(SCENES)('$what', ({ policies, matrix }) => {
  const expected = matrixText(readMatrix(matrix));
  test('by real connections, and by the evaluator', async () => {
    await world.setPolicies(policies.map(policy));
    const measured = await Promise.all(FAMILIES.map((family) => world.measured(family)));
    expect(measured.map(matrixText)).toEqual(FAMILIES.map(() => expected));
    expect(FAMILIES.map((family) => matrixText(world.evaluated(family)))).toEqual(FAMILIES.map(() => expected));
  });
});
