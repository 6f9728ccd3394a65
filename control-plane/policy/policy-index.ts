/** Which policies select an endpoint? Asked for every label set at each revision, so policies are kept by namespace. */
import { type Labels, NAMESPACE_KEY, selects } from '../model/labels.ts';
import type { Policy } from '../model/policy.ts';

const KEY = `k8s:${NAMESPACE_KEY}`;

export class PolicyIndex {
  readonly #byNamespace: ReadonlyMap<string | undefined, readonly Policy[]>;

  constructor(policies: readonly Policy[]) {
    this.#byNamespace = Map.groupBy(policies, ({ subject }) => subject.matchLabels.get(KEY));
  }

  selecting(labels: Labels): Policy[] {
    const candidates = [labels.get(KEY), undefined].flatMap((namespace) => this.#byNamespace.get(namespace) ?? []);
    return candidates.filter((policy) => selects(policy.subject, labels));
  }
}
