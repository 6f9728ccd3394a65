/**
 * Which policies select an endpoint? Asked for every label set at each revision, so policies are kept by namespace, and
 * an answer is kept while neither the label set nor a policy that could select it changes.
 */
import { type Labels, NAMESPACE_KEY, selects } from '../model/labels.ts';
import type { Policy } from '../model/policy.ts';
import { sameItems } from './remember.ts';

const KEY = `k8s:${NAMESPACE_KEY}`;
const NONE: readonly Policy[] = [];

interface Answer {
  readonly own: readonly Policy[];
  readonly everywhere: readonly Policy[];
  readonly selecting: readonly Policy[];
}

export class PolicyIndex {
  #byNamespace: ReadonlyMap<string | undefined, readonly Policy[]> = new Map();
  readonly #answers = new WeakMap<Labels, Answer>();
  #last: readonly Policy[] = NONE;

  update(policies: readonly Policy[]): void {
    if (sameItems(this.#last, policies)) return;
    this.#last = policies;
    const before = this.#byNamespace;
    const lists = Map.groupBy(policies, ({ subject }) => subject.matchLabels.get(KEY));
    this.#byNamespace = new Map(
      [...lists].map(([namespace, list]) => [namespace, unlessSame(before.get(namespace), list)]),
    );
  }

  /** The same list while the answer is the same. */
  selecting(labels: Labels): readonly Policy[] {
    const own = this.#byNamespace.get(labels.get(KEY)) ?? NONE;
    const everywhere = this.#byNamespace.get(undefined) ?? NONE;
    const known = this.#answers.get(labels);
    if (known?.own === own && known.everywhere === everywhere) return known.selecting;
    const found = [...own, ...everywhere].filter((policy) => selects(policy.subject, labels));
    const selecting = unlessSame(known?.selecting, found);
    this.#answers.set(labels, { own, everywhere, selecting });
    return selecting;
  }
}

function unlessSame(before: readonly Policy[] | undefined, list: readonly Policy[]): readonly Policy[] {
  return before?.length === list.length && list.every((policy, i) => policy === before[i]) ? before : list;
}
