import fc from 'fast-check';
import { expect, test } from 'vitest';
import { Numbers } from '../identity/numbers.ts';
import { parseAddress } from '../model/address.ts';
import { labelList } from '../model/labels.ts';
import type { PodObject } from '../model/objects.ts';
import { objectsOf } from './arbitrary.ts';
import { Pods, type PodView } from './pods.ts';

const pod = (n: number, app: number, more: Partial<PodObject> = {}): PodObject => ({
  namespace: n % 2 === 0 ? 'shop' : 'lab',
  name: `pod-${n}`,
  uid: `${n}`,
  labels: new Map([['app', `app-${app}`]]),
  serviceAccount: 'default',
  nodeName: n % 3 === 0 ? 'here' : `node-${n % 4}`,
  hostNetwork: false,
  namedPorts: [],
  netns: `/run/netns/pod-${n}`,
  addresses: [parseAddress(`10.0.0.${n + 1}`)],
  origin: 'test',
  ...more,
});
/** Versions of the same pods: other labels, a name of a port, an address more, none, on the host, without a namespace. */
const versions = [...Array(12).keys()].map((n) => [
  pod(n, n % 4),
  pod(n, 5),
  pod(n, n % 4, { namedPorts: [{ name: 'http', protocol: 6, port: 80 + n }] }),
  pod(n, n % 4, { addresses: [parseAddress(`10.0.0.${n + 1}`), parseAddress(`fd00::${n + 1}`)] }),
  pod(n, 6, { hostNetwork: true }),
  pod(n, 7, { addresses: [] }),
  pod(n, 3, { netns: '' }),
]);
const newPods = (): Pods => new Pods(new Numbers(undefined), 'here', (namespace) => namespace?.name !== 'nobody');

function plain({ pods, workloads, addresses, nodes, identities, identityInfos, ports, issues }: PodView): unknown {
  return {
    pods,
    workloads,
    addresses,
    nodes: [...nodes].sort(),
    identities: [...identities].map(([id, labels]) => `${id} ${labelList(labels).join(' ')}`).sort(),
    infos: [...identityInfos.keys()].sort((a, b) => a - b),
    ports: [...ports].sort(([a], [b]) => a - b),
    issues,
  };
}

test('a view that goes on from the last one is the one that is made anew', () => {
  const version = fc.oneof({ weight: 8, arbitrary: fc.nat(1) }, fc.nat(6));
  /** A pod becomes another version of itself, or goes. */
  const edit = fc.array(fc.tuple(fc.nat(11), fc.option(version, { freq: 4 })), { minLength: 1, maxLength: 3 });
  let shortWays = 0;
  fc.assert(
    fc.property(fc.array(edit, { minLength: 2, maxLength: 8 }), fc.boolean(), (edits, byName) => {
      const old = newPods();
      const drawn = new Map(versions.map((_, n) => [n, 0]));
      let before: PodView | undefined;
      for (const changes of edits) {
        for (const [n, v] of changes)
          if (v === null) drawn.delete(n);
          else drawn.set(n, v);
        const pods = [...drawn].flatMap(([n, v]) => versions[n]?.[v] ?? []);
        const objects = objectsOf(byName ? pods.toSorted((a, b) => (a.name < b.name ? -1 : 1)) : pods, []);
        const view = old.view(objects);
        expect(plain(view)).toEqual(plain(newPods().view(objects)));
        if (view.pods.some((each) => before?.pods.includes(each))) shortWays++;
        before = view;
      }
    }),
    { numRuns: 300 },
  );
  // Pods that were there before are the same objects, so it was not made anew.
  expect(shortWays).toBeGreaterThan(100);
});

test('a pod whose address comes from one that goes in the same change has it', () => {
  const pods = newPods();
  const address = [parseAddress('10.9.9.9')];
  pods.view(objectsOf([pod(0, 0, { addresses: address }), pod(1, 1)], []));
  const { addresses, issues } = pods.view(objectsOf([pod(2, 2, { addresses: address }), pod(1, 1)], []));
  expect(issues).toEqual([]);
  expect(addresses.map((each) => each.pod)).toContain('pod-2');
});

test('an address that somebody has is not given away', () => {
  const pods = newPods();
  const address = [parseAddress('10.9.9.9')];
  const first = pod(5, 0, { addresses: address });
  pods.view(objectsOf([first], []));
  const { addresses, issues } = pods.view(objectsOf([pod(2, 2, { addresses: address }), first], []));
  expect(issues.map(({ code }) => code)).toEqual(['POD_ADDRESS_CONFLICT']);
  expect(addresses.map((each) => each.pod)).toEqual(['pod-5']);
});
