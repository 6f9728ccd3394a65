/** What a table is made of, and its name. */
import { selectorText } from '../model/labels.ts';
import { concerns, type Direction, formatPolicyRef, type Policy } from '../model/policy.ts';
import { remember } from './remember.ts';

/**
 * enforced: what counts. audit: all, of which the policies that are only audited would count if they were enforced;
 * audit-all: likewise, and no policy is enforced.
 */
export type Stage = 'enforced' | 'audit' | 'audit-all';

export interface TableSpec {
  /** Endpoints with the same key share the table. */
  readonly key: string;
  readonly direction: Direction;
  /** Those that select the endpoints and concern the direction; ingress has no names of ports any more. */
  readonly policies: readonly Policy[];
  readonly stage: Stage;
  /** Default deny is on, whatever policies say. */
  readonly closed: boolean;
}

/** Specs are the same object while the policies are the same list. */
export class TableSpecs {
  readonly #known = new WeakMap<readonly Policy[], Map<string, TableSpec>>();

  /**
   * @param policies that select the endpoints
   * @param ports what the names of ports that they use stand for
   */
  of(
    policies: readonly Policy[],
    { direction, stage, closed }: Omit<TableSpec, 'key' | 'policies'>,
    ports: string,
  ): TableSpec {
    const byTerms = remember(this.#known, policies, () => new Map<string, TableSpec>());
    return remember(byTerms, `${direction} ${stage} ${closed} ${ports}`, () => {
      const concerned = policies.filter((policy) => concerns(policy, direction));
      const key = tableKey({ direction, stage, closed, policies: concerned });
      return { key: ports === '' ? key : `${key} #${ports}`, direction, stage, closed, policies: concerned };
    });
  }
}

/** Names policies and whom they select, and those that are only audited with a question mark. */
function tableKey({ direction, stage, closed, policies }: Omit<TableSpec, 'key'>): string {
  const audited = (policy: Policy): boolean => stage === 'audit-all' || (stage === 'audit' && policy.audit === true);
  const parts = policies.map(
    (policy) => `${formatPolicyRef(policy.ref)}@${selectorText(policy.subject)}${audited(policy) ? '?' : ''}`,
  );
  return `${stage === 'enforced' ? '' : 'audit '}${direction}${closed ? '!' : ''} ${parts.sort().join(' ')}`;
}
