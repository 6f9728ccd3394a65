/** Rules of one policy that are fine by themselves and cannot meet on a port: Cilium's agents find that out at run time only. */
import type { PortMatch, Rule } from '../model/policy.ts';
import type { Path } from './document.ts';
import type { Refuse } from './policy-fields.ts';

/** A rule, and where it is written. */
export interface PlacedRule {
  readonly rule: Rule;
  readonly path: Path;
}

/** One port of an endpoint is looked into by DNS or by Envoy, whoever is at the other end (cilium.md §1.4). */
export function refuseMixedLayer7(rules: readonly PlacedRule[], refuse: Refuse): void {
  const kinds = new Map<string, string>();
  for (const { rule, path } of rules) {
    const mixed = rule.ports.find((port) => {
      const kind = kindOf(port);
      if (kind === undefined) return false;
      const key = keyOf(rule, port);
      const first = kinds.get(key) ?? kind;
      kinds.set(key, first);
      return first !== kind;
    });
    if (mixed === undefined) continue;
    const [here, there] = [kindOf(mixed), kinds.get(keyOf(rule, mixed))];
    const message = `${here} on port ${mixed.name ?? mixed.port}, where another rule of this policy has ${there}; give them ports of their own`;
    refuse('FIELD_INVALID', [...path, 'toPorts'], message);
  }
}

function keyOf({ direction }: Rule, { protocol, port, endPort, name }: PortMatch): string {
  return [direction, protocol, port, endPort, name].join(' ');
}

/** Server names and HTTP rules are both for Envoy, and add up. */
function kindOf({ http, dns, serverNames }: PortMatch): string | undefined {
  if (dns !== undefined) return 'DNS rules';
  return http === undefined && serverNames === undefined ? undefined : 'HTTP rules or server names';
}
