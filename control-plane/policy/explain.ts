/**
 * `policy explain`: why does a flow get what it gets, and what would change it? The rules that were tried at each end, in order,
 * each with the first field that does not fit; the nearest that would allow it; and a patch.
 */
import { contains, formatPrefix, isMappedIpv4 } from '../model/address.ts';
import { labelList } from '../model/labels.ts';
import type { ObjectSet } from '../model/objects.ts';
import {
  concerns,
  DIRECTIONS,
  type Direction,
  formatPolicyRef,
  type Policy,
  type PolicyRef,
  type Rule,
} from '../model/policy.ts';
import { answerOf, answersTo, type CheckAnswer, type CheckedHalf, resolvedPolicies } from './check.ts';
import { isEnrolled } from './enrolment.ts';
import type { FlowQuestion } from './evaluate.ts';
import { selecting } from './evaluate-staged.ts';
import { type Rung, rungOf } from './ladder.ts';
import { type Patch, patchFor } from './patch.ts';
import { type Asked, type CheckQuestion, type CheckTerms, type End, namespaceOf, readQuestion } from './question.ts';

/** The shape that `-o json` prints; its version is raised when a field changes its meaning. */
export interface Explanation {
  readonly version: 1;
  readonly question: CheckQuestion;
  readonly verdict: CheckAnswer['verdict'];
  readonly authentication: CheckAnswer['authentication'];
  readonly source: ExplainedEnd;
  readonly destination: ExplainedEnd;
  readonly egress: ExplainedHalf;
  readonly ingress: ExplainedHalf;
  /** Absent: nothing is refused, or nothing that policy could admit. */
  readonly patch?: Patch;
  readonly issues?: CheckAnswer['issues'];
}

export interface ExplainedEnd {
  readonly name: string;
  readonly kind: 'pod' | 'node' | 'world' | 'unmanaged' | 'host';
  /** How it is known who it is, and how sure that is. */
  readonly known: string;
  readonly labels: readonly string[];
}

export interface ExplainedHalf extends CheckedHalf {
  /** Policies that switched default deny on at this end. */
  readonly defaultDeny: readonly PolicyRef[];
  /** Policies that do not select this end are none of them. */
  readonly tried: readonly Rung[];
  /** Of a refusal by default or of what passes: the rule that allows with the fewest fields amiss. */
  readonly nearest?: Rung;
}

/** @throws USAGE, NOT_FOUND as checkPolicy */
export function explainPolicy(objects: ObjectSet, question: CheckQuestion, terms: CheckTerms = {}): Explanation {
  const asked = readQuestion(objects, question);
  const policies = resolvedPolicies(objects);
  const answer = answerOf(answersTo(objects, policies, asked, terms));
  const half = (direction: Direction): ExplainedHalf =>
    explainHalf(objects, policies, asked, terms, direction, answer[direction]);
  const halves = { egress: half('egress'), ingress: half('ingress') };
  const patch = answer.verdict === 'ALLOWED' ? undefined : patchOf(objects, policies, asked, terms, answer);
  return {
    version: 1,
    question,
    verdict: answer.verdict,
    authentication: answer.authentication,
    source: explainEnd(asked.source, question.from, asked.flow.source, policies),
    destination: explainEnd(asked.destination, question.to, asked.flow.destination, policies),
    ...halves,
    ...(patch ? { patch } : {}),
    ...(objects.issues.length > 0 ? { issues: objects.issues } : {}),
  };
}

/** Those that select the pod at an end, whose half it is; none where nothing is enforced. */
function policiesAt(
  objects: ObjectSet,
  policies: readonly Policy[],
  { source, destination, flow }: Asked,
  { enrol = 'all' }: CheckTerms,
  direction: Direction,
): readonly Policy[] {
  const end = direction === 'egress' ? source : destination;
  if (end.kind !== 'pod' || !isEnrolled(enrol, namespaceOf(objects, end.pod))) return [];
  return selecting(direction, flow, policies);
}

function explainHalf(
  objects: ObjectSet,
  policies: readonly Policy[],
  asked: Asked,
  terms: CheckTerms,
  direction: Direction,
  checked: CheckedHalf,
): ExplainedHalf {
  const own = policiesAt(objects, policies, asked, terms, direction);
  const concerned = own.filter((policy) => concerns(policy, direction));
  const rungs = concerned.flatMap((policy) =>
    policy.rules
      .filter((rule) => rule.direction === direction)
      .map((rule) => rungOf(rule, policy.audit === true, asked.flow)),
  );
  // Deny rules come first, whatever their order is.
  const tried = [
    ...rungs.filter(({ action }) => action === 'deny'),
    ...rungs.filter(({ action }) => action === 'allow'),
  ];
  const closing = concerned.filter((policy) => policy.defaultDeny[direction]);
  const nearest = checked.verdict === 'ALLOWED' ? undefined : nearestOf(tried);
  return {
    ...checked,
    defaultDeny: [...new Map(closing.map(({ ref }) => [formatPolicyRef(ref), ref])).values()],
    tried,
    ...(nearest ? { nearest } : {}),
  };
}

/** The fewest fields amiss; of equals the first. */
function nearestOf(tried: readonly Rung[]): Rung | undefined {
  const allowing = tried.filter(({ action, misses }) => action === 'allow' && misses.length > 0);
  return allowing.reduce<Rung | undefined>(
    (best, each) => (best && best.misses.length <= each.misses.length ? best : each),
    undefined,
  );
}

/** What Envoy refuses whatever rules say, and what a proof would have to be that nobody can give. */
const BEYOND_POLICY: readonly CheckedHalf['reason'][] = ['authentication-fails', 'bad-path', 'bad-host'];

function patchOf(
  objects: ObjectSet,
  policies: readonly Policy[],
  asked: Asked,
  terms: CheckTerms,
  answer: Omit<CheckAnswer, 'issues'>,
): Patch | undefined {
  const refused = DIRECTIONS.filter(
    (direction) => answer[direction].verdict !== 'ALLOWED' && !BEYOND_POLICY.includes(answer[direction].reason),
  );
  if (refused.length === 0) return undefined;
  const patches = refused.map((direction) => {
    const end = direction === 'egress' ? asked.source : asked.destination;
    const namespace = end.kind === 'pod' ? end.pod.namespace : '';
    const own = policiesAt(objects, policies, asked, terms, direction);
    const audited = answer[direction].verdict === 'AUDIT';
    return patchFor({ direction, namespace, policies: own, question: asked.flow, audited }, (without) =>
      isDenied(objects, withoutRules(policies, without), asked, terms, direction),
    );
  });
  return {
    add: patches.flatMap(({ add }) => add),
    remove: patches.flatMap(({ remove }) => remove),
    alsoAdmits: patches.flatMap(({ alsoAdmits }) => alsoAdmits),
  };
}

function isDenied(
  objects: ObjectSet,
  policies: readonly Policy[],
  asked: Asked,
  terms: CheckTerms,
  direction: Direction,
): boolean {
  return answersTo(objects, policies, asked, terms)[direction]?.verdict !== 'ALLOWED';
}

function withoutRules(policies: readonly Policy[], gone: readonly Rule[]): readonly Policy[] {
  return policies.map((policy) => ({ ...policy, rules: policy.rules.filter((rule) => !gone.includes(rule)) }));
}

function explainEnd(end: End, text: string, labels: FlowQuestion['source'], policies: readonly Policy[]): ExplainedEnd {
  const list = labelList(labels).map((label) => label.replace(/=$/, ''));
  switch (end.kind) {
    case 'pod':
      return {
        name: `${end.pod.namespace}/${end.pod.name}`,
        kind: 'pod',
        known: `a pod, by its manifest (${end.pod.origin})`,
        labels: list,
      };
    case 'node':
      return { name: text, kind: 'node', known: `an address of node ${end.node}`, labels: list };
    case 'reserved': {
      const { name, address } = end;
      if (address === undefined)
        return { name: text, kind: name, known: `the entity ${name}, wherever it is`, labels: list };
      if (name === 'unmanaged')
        return {
          name: text,
          kind: name,
          known: 'an address in a range of pods that no pod has: whoever it is, it is not proven',
          labels: list,
        };
      const range = longestRange(policies, address);
      const where =
        range === undefined
          ? 'an address outside of the cluster that no policy names'
          : `an address outside of the cluster, in ${range}`;
      return { name: text, kind: name, known: where, labels: list };
    }
  }
}

/** Of those that policies name. */
function longestRange(policies: readonly Policy[], address: Uint8Array): string | undefined {
  const family = isMappedIpv4(address);
  const ranges = policies
    .flatMap(({ rules }) => rules.flatMap(({ peers }) => (peers.kind === 'any' ? [] : (peers.cidrs ?? []))))
    .flatMap(({ prefix, except }) => [prefix, ...except])
    .filter((prefix) => isMappedIpv4(prefix.address) === family && contains(prefix, address));
  const longest = ranges.reduce<(typeof ranges)[number] | undefined>(
    (a, b) => (a && a.bits >= b.bits ? a : b),
    undefined,
  );
  return longest && formatPrefix(longest);
}
