/** A snapshot as readable text: what golden cases hold. Numbers are written as names, so that hashing does not show. */
import { stringify } from 'yaml';
import { formatAddress, isMappedIpv4, MAPPED_BITS } from '../../control-plane/model/address.ts';
import { nameMatchText } from '../../control-plane/model/dns-name.ts';
import {
  formatPolicyRef,
  formatRuleRef,
  type HttpMatch,
  type Origin,
  PROTOCOLS,
} from '../../control-plane/model/policy.ts';
import {
  type Admission,
  type Issue,
  PEER_AUTHENTICATION,
  type PolicyTable,
  type PrefixIdentity,
  type ServiceAccountRef,
  type Snapshot,
  type TableEntry,
} from '../../control-plane/model/snapshot.ts';

const RESERVED: Readonly<Record<number, string>> = {
  0: 'any',
  1: 'host',
  2: 'world',
  3: 'unmanaged',
  6: 'remote-node',
  7: 'kube-apiserver',
};
/** Of addresses outside. */
const FIRST_LOCAL_IDENTITY = 1 << 24;

/** Every table with the endpoints that share it, then what Envoy holds requests against, then the addresses. */
export function renderEntries(snapshot: Snapshot): string {
  const names = identityNames(snapshot);
  const lines: string[] = [];
  for (const table of [...snapshot.tables.values()].sort((a, b) => (title(a) < title(b) ? -1 : 1))) {
    lines.push(title(table), `  ${defaultOf(table)}`);
    const rows = table.entries.map((entry) => [
      entry.verdict,
      names.get(entry.identity) ?? `#${entry.identity}`,
      portOf(entry),
      originText(snapshot.origins.get(entry.rule)),
      ...(entry.ruleset === 0 ? [] : [`ruleset ${entry.ruleset}`]),
      ...authText(entry),
    ]);
    lines.push(...align(rows).sort(), '');
  }
  for (const ruleset of [...snapshot.rulesets.values()].sort((a, b) => a.id - b.id)) {
    lines.push(`ruleset ${ruleset.id} of ${ruleset.direction}`);
    lines.push(...align(admissionRows(ruleset)), '');
    if (ruleset.shadow)
      lines.push(`ruleset ${ruleset.id} if everything were enforced`, ...align(admissionRows(ruleset.shadow)), '');
  }
  const addresses = snapshot.addresses.map(({ address, identity, node }) => [
    formatAddress(address),
    names.get(identity) ?? '',
    node === '' ? 'here' : node,
  ]);
  const prefixes = snapshot.prefixes.map((prefix) => [prefixText(prefix), names.get(prefix.identity) ?? '', '']);
  lines.push('addresses', ...align([...addresses, ...prefixes]), '');
  for (const { node, ours, theirs } of snapshot.needs)
    lines.push(`proofs with ${node}`, `  ours    ${accountsText(ours)}`, `  theirs  ${accountsText(theirs)}`, '');
  if (snapshot.certified.length > 0) lines.push(`certificates for ${accountsText(snapshot.certified)}`, '');
  return lines.join('\n');

  function title({ direction, key }: PolicyTable): string {
    const kind = key.startsWith(PEER_AUTHENTICATION) ? 'authentication' : direction;
    const audit = direction === 'egress' ? 'auditEgress' : 'auditIngress';
    const isAudit = snapshot.workloads.some((workload) => workload.tables[audit] === key);
    const users = snapshot.workloads.filter((workload) => workload.tables[isAudit ? audit : kind] === key);
    const names = users.map(({ namespace, name }) => `${namespace}/${name}`).join(', ');
    if (kind === 'authentication') return `what peers elsewhere ask of ${names}`;
    return `${kind} of ${names}${isAudit ? ', if everything were enforced' : ''}`;
  }
  function defaultOf({ enforcing, defaultRule }: PolicyTable): string {
    return enforcing ? `default deny: ${originText(snapshot.origins.get(defaultRule))}` : 'open';
  }
}

/** What `status` says of policies, and everything that is wrong. */
export function renderStatus(snapshot: Snapshot): string {
  return stringify(
    {
      policies: snapshot.policies.map(({ ref, origin, state, selects }) => ({
        policy: formatPolicyRef(ref),
        origin,
        state,
        selects,
      })),
      issues: snapshot.issues.map(issueOf),
    },
    { lineWidth: 0 },
  );
}

function issueOf({ code, path, message, origin, object }: Issue): object {
  return { code, path, message, origin, object };
}

function identityNames(snapshot: Snapshot): ReadonlyMap<number, string> {
  const names = new Map(Object.entries(RESERVED).map(([id, name]) => [Number(id), name]));
  for (const { identity, namespace, pod } of snapshot.addresses) {
    const pods = (names.get(identity)?.split(', ') ?? []).concat(`${namespace}/${pod}`);
    names.set(identity, [...new Set(pods)].join(', '));
  }
  for (const { id, labels } of snapshot.identities.values())
    if (id >= FIRST_LOCAL_IDENTITY) names.set(id, labels.filter((label) => label !== 'reserved:world').join(' '));
  return names;
}

function portOf({ protocol, port, prefix }: TableEntry): string {
  const name = Object.entries(PROTOCOLS).find(([, number]) => number === protocol)?.[0] ?? String(protocol);
  const last = port + 2 ** (32 - prefix) - 1;
  return prefix === 0 ? 'all' : prefix === 16 ? `*/${name}` : `${last === port ? port : `${port}-${last}`}/${name}`;
}

/** Nothing where nothing is said; `host` and `world` are never authenticated, which is not repeated each time. */
function authText({ identity, auth }: TableEntry): string[] {
  const exempt = ['host', 'world'].includes(RESERVED[identity] ?? '') || identity >= FIRST_LOCAL_IDENTITY;
  return auth === 'inherit' || (auth === 'none' && exempt) ? [] : [`authentication ${auth}`];
}

function accountsText(accounts: readonly ServiceAccountRef[]): string {
  return accounts.map(({ namespace, serviceAccount }) => `${namespace}/${serviceAccount}`).join(', ');
}

function admissionRows({ rules, serverNames = [], dns = [] }: Admission): string[][] {
  return [
    ...rules.map(({ ref, match }) => [matchText(match), formatRuleRef(ref)]),
    ...serverNames.map(({ ref, names }) => [`TLS name ${names.join(', ')}`, formatRuleRef(ref)]),
    ...dns.map(({ ref, match }) => [`query ${nameMatchText(match)}`, formatRuleRef(ref)]),
  ];
}

function matchText(match: HttpMatch | undefined): string {
  if (match === undefined) return 'every request (a plain rule)';
  const texts = Object.entries(match).map(([field, pattern]) => `${field} ${pattern}`);
  return texts.length === 0 ? 'every request' : texts.join(', ');
}

function originText(origin: Origin | undefined): string {
  switch (origin?.kind) {
    case 'rules':
      return origin.rules.map(formatRuleRef).join(', ');
    case 'default-deny':
      return origin.policies.map(formatPolicyRef).join(', ');
    case 'reserved':
      return `(${origin.name})`;
    default:
      return '(unknown)';
  }
}

function prefixText({ address, bits }: PrefixIdentity): string {
  return `${formatAddress(address)}/${isMappedIpv4(address) ? bits - MAPPED_BITS : bits}`;
}

function align(rows: readonly (readonly string[])[]): string[] {
  const widths = (rows[0] ?? []).map((_, i) => Math.max(...rows.map((row) => row[i]?.length ?? 0)));
  return rows.map((row) => `  ${row.map((cell, i) => cell.padEnd(widths[i] ?? 0)).join('  ')}`.trimEnd());
}
