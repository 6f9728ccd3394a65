/** Names of ports in policies that nobody has: the rules match nothing, and whoever wrote them should hear of it. */
import type { NamedPort, PolicyObject } from '../model/objects.ts';
import type { Policy, PortMatch, Rule } from '../model/policy.ts';
import type { Issue } from '../model/snapshot.ts';
import type { IdentityPorts } from './compile-table.ts';
import { hasNamedPorts, numbered } from './named-ports.ts';
import { remember } from './remember.ts';
import { distinct, originsOf, ruleIssue } from './table-issues.ts';

/** An endpoint here. */
interface Selected {
  readonly ports: readonly NamedPort[];
  readonly policies: readonly Policy[];
}

/**
 * Said only of policies that select endpoints here: ingress goes by the ports of those, egress by the ports of any pod.
 * @param known named ports of every pod
 */
export function portIssues(
  endpoints: readonly Selected[],
  known: IdentityPorts,
  objects: readonly PolicyObject[],
): readonly Issue[] {
  const own = new Map<Policy, NamedPort[]>();
  const usesNames = new Map<Policy, boolean>();
  for (const { ports, policies } of endpoints)
    for (const policy of policies)
      if (remember(usesNames, policy, () => policy.rules.some(hasNamedPorts)))
        remember(own, policy, () => []).push(...ports);
  if (own.size === 0) return [];
  const origins = originsOf(objects);
  const everybodys = [...known.values()].flat();
  return distinct(
    [...own].flatMap(([policy, ports]) =>
      policy.rules
        .filter(hasNamedPorts)
        .flatMap((rule) => unknownIn(rule, rule.direction === 'ingress' ? ports : everybodys, origins)),
    ),
  );
}

function unknownIn(rule: Rule, known: readonly NamedPort[], origins: ReadonlyMap<string, string>): Issue[] {
  // A port of protocol ANY is three; that one of them is known is enough.
  const isKnown = (match: PortMatch): boolean => numbered(match, known).length > 0;
  const named = Map.groupBy(rule.ports, ({ name }) => name ?? '');
  named.delete('');
  const unknown = [...named].flatMap(([name, matches]) => (matches.some(isKnown) ? [] : [name]));
  const whose = rule.direction === 'ingress' ? 'pods that the policy selects' : 'pods';
  return unknown.map((name) =>
    ruleIssue('NAMED_PORT_UNKNOWN', rule, fieldOf(rule), origins, (path) => {
      return `${path}: none of the ${whose} has a port named ${name}; the name matches nothing`;
    }),
  );
}

/** Where ports stand in the syntax of the kind. */
function fieldOf({ ref }: Rule): string {
  return ref.kind === 'NetworkPolicy' ? 'ports' : 'toPorts';
}
