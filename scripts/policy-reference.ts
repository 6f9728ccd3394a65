/** The page docs/reference/policy.md: what holds for all policies, then every field by place. */
import { ENTITY_TEXTS } from '../control-plane/api/entities.ts';
import { FOREIGN_POLICIES } from '../control-plane/api/foreign-policy.ts';
import { ICMP_TYPES } from '../control-plane/api/icmp-rules.ts';
import { type Field, fieldAnchor, fieldsOf, PLACES, type Place } from '../control-plane/api/policy-fields.ts';

const GENERAL = [
  'Policies are read as they are written for Cilium (`cilium.io/v2`) and for Kubernetes (`networking.k8s.io/v1`), with the semantics that they have there. Nothing is ignored: a field that does not exist is refused by its path (`FIELD_UNKNOWN`),',
  'one that exists there and is not supported here too (`FIELD_NOT_SUPPORTED`), a value that does not fit (`FIELD_INVALID`), a value that is missing (`FIELD_REQUIRED`), and a policy without effect (`POLICY_EMPTY`). Every issue has the path, the line, and the anchor on this page.',
  '',
  '- A selecting policy with a section for a direction switches default deny on in that direction, a deny section too. `ingress: [{}]` of a CiliumNetworkPolicy switches it on and admits nobody (of a NetworkPolicy it admits everybody); a missing peer list admits every peer; an empty one nobody.',
  '- Policies of all kinds that select a pod add up. What a deny rule matches is refused, whatever else is allowed and however exactly.',
  "- A node's own processes may always reach its pods (probes) unless a rule refuses `host`. What they send is never looked into.",
  '- A range of addresses (`fromCIDR`, `ipBlock`, …) is about addresses outside of the cluster: it takes neither pods nor nodes, as Cilium has it and Kubernetes leaves it open.',
  '- A request that no HTTP rule admits is answered 403. A plain rule and HTTP rules that meet at one port for one peer add up: requests go through Envoy, and any that one of them admits passes. `CONNECT` and upgrades are refused (to h2c: ignored), except to WebSocket: what follows a handshake',
  '  that a rule admits and the server accepts is not looked into. The path has its query string (`/a` does not match `/a?x=1`) and is compared as Envoy normalises it: dot segments resolved, slashes merged, `\\` a slash, letters, digits and `-._~` unescaped; a path with an escaped slash (`%2F`, `%5C`) or',
  '  `%00` is answered 400, as is a fragment.',
  '- Of rules for the same peer and port an explicit authentication mode beats none and a stricter one a milder one, and the conflict is an issue (`AUTHENTICATION_CONFLICT`). An HTTP rule takes no mode from a plain one. A broader `disabled` is no more than the default. A plain rule that asks for more than the',
  '  HTTP rules it meets admits no request there. `host` and `world` are never authenticated; a pod that no source knows cannot be proven, so that nothing passes between it and a rule with `required`. Either end may ask, and the node of the client knows what the other end asks for.',
  '- An edit that is refused leaves the last good version in force. A new policy that is refused closes what it selects, in each direction it has a section for (only on trial where it has the annotation for that). One whose selector cannot be read enforces nothing. `sidestep status` exits 79 in each case.',
  '- The label `kubernetes.io/metadata.name` of a namespace is its name, written in its manifest or not.',
  '',
];

export function policyLines(): string[] {
  return [
    ...GENERAL,
    ...(Object.keys(PLACES) as Place[]).flatMap(placeLines),
    ...entityLines(),
    ...icmpLines(),
    ...kindLines(),
  ];
}

function placeLines(place: Place): string[] {
  return [
    `## ${place}`,
    '',
    PLACES[place].text,
    '',
    '| field | value | meaning |',
    '|---|---|---|',
    ...Object.entries(fieldsOf(place)).map(([name, field]) => fieldRow(place, name, field)),
    '',
  ];
}

function fieldRow(place: Place, name: string, { type, of, text, refused }: Field): string {
  const anchor = `<a id="${fieldAnchor(place, name)}"></a>\`${name}\``;
  const kind = of === undefined ? type : `[${type}](#${of})`;
  const meaning = refused === undefined ? text : `${text} **Refused** (\`${refused.code}\`): ${refused.reason}.`;
  return `| ${anchor} | ${kind} | ${meaning.replaceAll('|', '\\|')} |`;
}

function entityLines(): string[] {
  return [
    '## entities',
    '',
    '| entity | who |',
    '|---|---|',
    ...Object.entries(ENTITY_TEXTS).map(([name, text]) => `| \`${name}\` | ${text} |`),
    '',
  ];
}

function icmpLines(): string[] {
  return [
    '## icmp-types',
    '',
    ...Object.entries(ICMP_TYPES).map(
      ([family, types]) =>
        `- ${family}: ${Object.entries(types)
          .map(([name, number]) => `\`${name}\` ${number}`)
          .join(', ')}.`,
    ),
    '',
  ];
}

function kindLines(): string[] {
  return [
    '## other-kinds',
    '',
    'Policies of `policy.networking.k8s.io` are refused by name (`KIND_NOT_SUPPORTED`):',
    '',
    ...Object.entries(FOREIGN_POLICIES).map(([kind, reason]) => `- ${kind}: ${reason}.`),
    '',
    'Any other kind is an object that is not read (`OBJECT_UNKNOWN_KIND`).',
  ];
}
