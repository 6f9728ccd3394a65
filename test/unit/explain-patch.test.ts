import fc from 'fast-check';
import { expect, test, vi } from 'vitest';
import { parseManifests } from '../../control-plane/api/manifests.ts';
import { formatAddress } from '../../control-plane/model/address.ts';
import { bareKey, NAMESPACE_KEY } from '../../control-plane/model/labels.ts';
import type { ObjectSet } from '../../control-plane/model/objects.ts';
import { formatRuleRef, PROTOCOLS, type RuleRef } from '../../control-plane/model/policy.ts';
import {
  CARRIED,
  FLOWS,
  peersOf,
  type Surface,
  type SurfacePeer,
  surfaces,
} from '../../control-plane/policy/arbitrary-surface.ts';
import { checkPolicy } from '../../control-plane/policy/check.ts';
import { type Explanation, explainPolicy } from '../../control-plane/policy/explain.ts';
import type { CheckQuestion, CheckTerms } from '../../control-plane/policy/question.ts';
import { Inventory } from '../../control-plane/sources/inventory.ts';

vi.setConfig({ testTimeout: 60_000 });

const DENIED_FLOWS = 1000;
/** Recorded beside each. */
const OTHERS = 30;

const protocolName = (protocol: number): string =>
  Object.entries(PROTOCOLS).find(([, number]) => number === protocol)?.[0] ?? '';

interface Drawn {
  readonly from: SurfacePeer;
  readonly to: SurfacePeer;
  readonly flow: (typeof FLOWS)[number];
  readonly http: boolean;
}

/** In words, as a person asks. */
function questionOf({ from, to, flow: [protocol, port], http }: Drawn): CheckQuestion {
  const name = (peer: SurfacePeer): string => {
    const namespace = peer.labels.get(`k8s:${NAMESPACE_KEY}`);
    return namespace === undefined ? formatAddress(peer.address) : `${namespace}/${peer.name}`;
  };
  const request = CARRIED[0]?.http;
  const carried =
    http && protocol === PROTOCOLS.TCP && request
      ? { http: `${request.method} ${request.path}`, header: [`host=${request.host}`] }
      : {};
  return { from: name(from), to: name(to), port: `${port}/${protocolName(protocol)}`, names: to.names, ...carried };
}

function withPatch(objects: ObjectSet, { add, remove }: NonNullable<Explanation['patch']>): ObjectSet {
  const inventory = new Inventory();
  inventory.set('patch.yaml', parseManifests(add.map((each) => JSON.stringify(each)).join('\n---\n'), 'patch.yaml'));
  const { policies: added, issues } = inventory.objects();
  expect(issues).toEqual([]);
  const gone = new Set(remove.map(formatRuleRef));
  const kept = objects.policies.map(({ policy, ...rest }) => ({
    ...rest,
    policy: policy && { ...policy, rules: policy.rules.filter(({ ref }) => !gone.has(formatRuleRef(ref))) },
  }));
  return { ...objects, policies: [...kept, ...added] };
}

/** Nobody is ever admitted under authentication that fails for a test. */
function withoutFailing({ objects, enforcement }: Surface): Surface {
  const policies = objects.policies.map(({ policy, ...rest }) => ({
    ...rest,
    policy: policy && {
      ...policy,
      rules: policy.rules.map(({ authentication, ...rule }) =>
        authentication === undefined || authentication === 'test-always-fail' ? rule : { ...rule, authentication },
      ),
    },
  }));
  return { objects: { ...objects, policies }, enforcement };
}

/** Pods of a namespace with the same labels, and one address or kind of address outside. */
function whoIs({ labels, address }: SurfacePeer): string {
  const app = [...labels].flatMap(([key, value]) => (['app', NAMESPACE_KEY].includes(bareKey(key)) ? [value] : []));
  const entity = ['host', 'kube-apiserver', 'remote-node', 'unmanaged'].find((name) => labels.has(`reserved:${name}`));
  return app.length > 0 ? app.sort().join('/') : (entity ?? formatAddress(address));
}

/** An entity is all that have its label. */
function isAlike(patched: SurfacePeer, other: SurfacePeer): boolean {
  return whoIs(patched) === whoIs(other) || other.labels.has(`reserved:${whoIs(patched)}`);
}

/** Whether a patch names the flow: by its ends and its port, or because it takes away what denied it. */
function isNamed(
  patched: Drawn,
  other: Drawn,
  before: ReturnType<typeof checkPolicy>,
  remove: readonly RuleRef[],
): boolean {
  const gone = new Set(remove.map(formatRuleRef));
  const deniedByThose = [...before.egress.policies, ...before.ingress.policies].some((ref) =>
    gone.has(formatRuleRef(ref)),
  );
  const shareName = patched.to.names.some((name) => other.to.names.includes(name));
  const sameEnds = isAlike(patched.from, other.from) && (isAlike(patched.to, other.to) || shareName);
  return deniedByThose || (sameEnds && String(patched.flow) === String(other.flow));
}

test(`of ${DENIED_FLOWS} random denied flows each passes with the patch, and no other changes that the patch does not name`, () => {
  let denied = 0;
  const seen = new Set<string>();
  const flows = FLOWS.filter(([protocol]) => protocolName(protocol) !== '');
  const drawn = (peers: readonly SurfacePeer[]): fc.Arbitrary<Drawn> =>
    fc.record({
      from: fc.constantFrom(...peers),
      to: fc.constantFrom(...peers),
      flow: fc.constantFrom(...flows),
      http: fc.nat(3).map((n) => n === 0),
    });
  const [first] = fc.sample(surfaces, 1);
  const peers = peersOf((first as { objects: ObjectSet }).objects).filter(({ host }) => !host);
  const scenes = fc.record({
    surface: surfaces.map(withoutFailing),
    one: drawn(peers),
    others: fc.array(drawn(peers), { minLength: OTHERS, maxLength: OTHERS }),
  });
  for (let round = 0; denied < DENIED_FLOWS; round++) {
    for (const {
      surface: { objects, enforcement },
      one,
      others,
    } of fc.sample(scenes, { numRuns: 500, seed: 11 + round })) {
      if (denied === DENIED_FLOWS) break;
      const terms: CheckTerms = { enforcement };
      const question = questionOf(one);
      const explained = explainPolicy(objects, question, terms);
      expect(explained.verdict).toBe(checkPolicy(objects, question, terms).verdict);
      if (explained.verdict === 'ALLOWED') {
        expect(explained.patch).toBeUndefined();
        continue;
      }
      const reasons = [explained.egress, explained.ingress].map(({ reason }) => reason);
      denied++;
      for (const reason of reasons) seen.add(reason);
      const { patch } = explained;
      if (patch === undefined) throw new Error(`no patch for ${JSON.stringify(question)}`);
      const patched = withPatch(objects, patch);
      const after = checkPolicy(patched, question, terms);
      expect([question, patch, after.verdict, after.egress.reason, after.ingress.reason]).toEqual([
        question,
        patch,
        'ALLOWED',
        expect.anything(),
        expect.anything(),
      ]);
      for (const other of others) {
        const asked = questionOf(other);
        const before = checkPolicy(objects, asked, terms);
        if (before.verdict === checkPolicy(patched, asked, terms).verdict) continue;
        const named = isNamed(one, other, before, patch.remove);
        expect([question, patch, asked, named]).toEqual([question, patch, asked, true]);
      }
    }
  }
  expect([...seen].sort()).toEqual(expect.arrayContaining(['default-deny', 'deny-rule', 'no-http-rule']));
});
