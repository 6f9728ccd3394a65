/** One entry of ingress, egress, ingressDeny or egressDeny -> a rule. */
import type { Direction, PolicyRef, PortMatch, Rule, RuleRef } from '../model/policy.ts';
import { readAuthentication } from './authentication-rule.ts';
import { formatPath, type Path } from './document.ts';
import { readIcmps } from './icmp-rules.ts';
import type { Refuse } from './policy-fields.ts';
import { readPorts } from './port-rules.ts';
import { readPeers } from './rule-peers.ts';
import { needMapping } from './values.ts';

/** A section of a Cilium policy. */
export const SECTIONS = {
  ingress: { direction: 'ingress', isDeny: false, place: 'ingress' },
  ingressDeny: { direction: 'ingress', isDeny: true, place: 'ingress-deny' },
  egress: { direction: 'egress', isDeny: false, place: 'egress' },
  egressDeny: { direction: 'egress', isDeny: true, place: 'egress-deny' },
} as const satisfies Readonly<Record<string, { direction: Direction; isDeny: boolean; place: string }>>;
export type Section = keyof typeof SECTIONS;

/** @param base of the paths that rules are named by: below `spec`, or the whole path below `specs` */
export function readRule(
  value: unknown,
  section: Section,
  ref: PolicyRef,
  path: Path,
  base: Path,
  refuse: Refuse,
): Rule[] {
  const { direction, isDeny, place } = SECTIONS[section];
  const rule = needMapping(value, place, path, refuse);
  if (rule === undefined) return [];
  const name = (below: Path): RuleRef => ({ ...ref, rule: formatPath([...path.slice(base.length), ...below]) });
  const peers = readPeers(rule, direction, ref.namespace, path, refuse);
  const ports = readPortsAndTypes(rule, direction, isDeny, path, name, refuse);
  const mode = isDeny ? undefined : readAuthentication(rule['authentication'], [...path, 'authentication'], refuse);
  // `- {}` switches default deny on and says nothing; so does a rule that names neither peers nor ports.
  if (peers === undefined || ports === undefined || (peers.kind === 'any' && ports.length === 0)) return [];
  return [
    {
      ref: name([]),
      direction,
      ...(isDeny ? { deny: true as const } : {}),
      peers,
      ports,
      ...(mode === undefined ? {} : { authentication: mode }),
    },
  ];
}

function readPortsAndTypes(
  rule: Record<string, unknown>,
  direction: Direction,
  isDeny: boolean,
  path: Path,
  name: (below: Path) => RuleRef,
  refuse: Refuse,
): readonly PortMatch[] | undefined {
  const ports = readPorts(rule['toPorts'], [...path, 'toPorts'], {
    direction,
    isDeny,
    name: (below) => name(['toPorts', ...below]),
    refuse,
  });
  const types = readIcmps(rule['icmps'], [...path, 'icmps'], refuse);
  if (types === undefined) return ports;
  if (Array.isArray(rule['toPorts']) && rule['toPorts'].length > 0)
    refuse('FIELD_INVALID', [...path, 'icmps'], 'not together with toPorts; write two rules');
  // Types that cannot be read are refused; an empty list would stand for every port.
  return types.length === 0 ? undefined : types;
}
