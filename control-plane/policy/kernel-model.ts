/** What the kernel programs, Envoy and the agent do with a snapshot, in as few words as possible; for properties. */
import { addressKey, isMappedIpv4, maskAddress } from '../model/address.ts';
import { nameFits } from '../model/dns-name.ts';
import { formatPolicyRef, formatRuleRef, type Origin } from '../model/policy.ts';
import type { Admission, Authentication, PolicyTable, Ruleset, Snapshot, TableEntry } from '../model/snapshot.ts';
import type { Carried } from './evaluate-layer7.ts';
import { HOST, WORLD } from './identities.ts';

/** Exact addresses first (of pods), then the longest prefix by its bits. */
export function identityOf({ addresses, prefixes }: Snapshot, address: Uint8Array): number {
  const key = addressKey(address);
  const exact = addresses.find((each) => addressKey(each.address) === key);
  if (exact) return exact.identity;
  const [longest] = prefixes
    .filter((each) => addressKey(maskAddress(address, each.bits)) === addressKey(each.address))
    .sort((a, b) => b.bits - a.bits);
  if (longest === undefined) throw new Error(`${isMappedIpv4(address)}: nothing is everywhere`);
  return longest.identity;
}

/** The longest prefix of one identity's entries, as an LPM table answers. */
export function lookUp(table: PolicyTable, identity: number, protocol: number, port: number): TableEntry | undefined {
  return table.entries
    .filter(
      (e) =>
        e.identity === identity &&
        (e.prefix < 16 || e.protocol === protocol) &&
        (e.prefix <= 16 || (e.port ^ port) >> (32 - e.prefix) === 0),
    )
    .sort((a, b) => b.prefix - a.prefix)[0];
}

export interface Decision {
  /** `ALLOWED redirect 3 rule …`: verdict, what looks into it, kind of match, and who says so. */
  readonly text: string;
  readonly allowed: boolean;
  readonly looks: boolean;
  readonly ruleset: Ruleset | undefined;
  readonly authentication: Authentication;
}

export function decide(snapshot: Snapshot, key: string, identity: number, protocol: number, port: number): Decision {
  const table = snapshot.tables.get(key);
  if (table === undefined) throw new Error(`there is no table ${key}`);
  const exact = lookUp(table, identity, protocol, port);
  const any = lookUp(table, 0, protocol, port);
  const exactWins = exact !== undefined && (any === undefined || isStronger(exact, any));
  const entry = exactWins ? exact : any;
  if (entry === undefined) {
    const origin = describe(snapshot.origins.get(table.defaultRule));
    return {
      text: table.enforcing ? `DENIED no 0 ${origin}` : 'ALLOWED no 0 no-policy ',
      allowed: !table.enforcing,
      looks: false,
      ruleset: undefined,
      authentication: 'none',
    };
  }
  const { verdict, prefix } = entry;
  const match = prefix === 0 ? [4, 1] : prefix === 16 ? [6, 5] : [3, 2];
  const looks = verdict === 'redirect' || verdict === 'dns';
  const origin = describe(snapshot.origins.get(entry.rule));
  const who = verdict === 'deny' ? origin.replace(/^rule/, 'deny-rule') : origin;
  return {
    text: `${verdict === 'deny' ? 'DENIED' : 'ALLOWED'} ${looks ? 'yes' : 'no'} ${match[exactWins ? 1 : 0]} ${who}`,
    allowed: verdict !== 'deny',
    looks,
    ruleset: snapshot.rulesets.get(entry.ruleset),
    authentication: authenticationOf(identity, entry, exactWins ? any : exact),
  };
}

/** Precedence, then deny, then the longer port prefix, then the identity's own. */
function isStronger(exact: TableEntry, any: TableEntry): boolean {
  if (exact.precedence !== any.precedence) return exact.precedence > any.precedence;
  if (exact.verdict !== any.verdict) return exact.verdict === 'deny';
  return exact.prefix >= any.prefix;
}

/** What becomes of the field `auth` of the entry that won and of the one that lost. */
function authenticationOf(identity: number, winner: TableEntry, loser: TableEntry | undefined): Authentication {
  const isExempt = identity === HOST || identity === WORLD || identity >= 1 << 24;
  if (winner.verdict === 'deny' || isExempt) return 'none';
  if (winner.auth !== 'inherit') return winner.auth;
  return loser && loser.auth !== 'inherit' && loser.precedence === winner.precedence ? loser.auth : 'none';
}

export function describe(origin: Origin | undefined): string {
  switch (origin?.kind) {
    case 'rules':
      return `rule ${origin.rules.map(formatRuleRef).join(' ')}`;
    case 'default-deny':
      return `default-deny ${origin.policies.map(formatPolicyRef).join(' ')}`;
    default:
      return `${origin?.name ?? 'unknown'} `;
  }
}

/** Names of what admits what a flow carries. */
export function admitting({ rules, serverNames = [], dns = [] }: Admission, carried: Carried): string[] {
  const { http, serverName, query } = carried;
  const fits = (pattern: string | undefined, text: string): boolean =>
    pattern === undefined || new RegExp(`^(?:${pattern})$`).test(text);
  const found = rules.flatMap(({ ref, match }) => {
    if (match === undefined) return [ref];
    const { method, path, host } = match;
    return http && fits(method, http.method) && fits(path, http.path) && fits(host, http.host) ? [ref] : [];
  });
  if (serverName !== undefined)
    found.push(
      ...serverNames.flatMap(({ ref, names }) =>
        names.some((n) => nameFits({ matchPattern: n }, serverName)) ? [ref] : [],
      ),
    );
  if (query !== undefined) found.push(...dns.flatMap(({ ref, match }) => (nameFits(match, query) ? [ref] : [])));
  return [...new Set(found.map(formatRuleRef))].sort();
}
