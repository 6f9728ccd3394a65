/**
 * Rules that one peer hears -> its entries in the table. Precedence is solved here (deny > redirect > allow, cilium.md
 * §1.4), so that the longest prefix of each side says what holds on that side.
 */
import { type Origin, type Rule, strictest, strictness } from '../model/policy.ts';
import type { Admission, Ruleset, TableEntry } from '../model/snapshot.ts';
import { authFor } from './authentication-modes.ts';
import { type DecisionPoint, modeAt, openTo, pointAt, pointKeys } from './decision-points.ts';
import { coversOf, portNumber } from './keys.ts';
import { isDenied, refsOf, SILENCE, type Side, sideOf, type Voice } from './sides.ts';

/** Low bytes of Cilium's precedence. */
const PRECEDENCE_ALLOW = 1;
/** Above every redirect and below a denial. */
const PRECEDENCE_LOCAL_HOST = 254;
const PRECEDENCE_DENY = 255;

export type Row = Omit<TableEntry, 'identity'>;

/** Rules of one table about the authentication of one key, or a DNS rule that meets others. */
export type Conflict =
  | { readonly kind: 'authentication'; readonly strict: Rule; readonly mild: Rule }
  | { readonly kind: 'layer7'; readonly dns: Rule; readonly other: Rule };

export interface Column {
  readonly rows: readonly Row[];
  readonly rulesets: readonly Ruleset[];
  readonly conflicts: readonly Conflict[];
}

export interface ColumnTerms {
  /** Of rulesets: key of the table, and what else they depend on. */
  readonly key: string;
  readonly direction: Ruleset['direction'];
  /** What no rule admits is denied. */
  readonly enforcing: boolean;
  /** false: there is no Envoy to look into requests, and what would need it is denied. */
  readonly http: boolean;
  /** Rule id of an origin. */
  readonly numberOf: (origin: Origin) => number;
  /** Ruleset id of a decision point. */
  readonly rulesetOf: (key: string) => number;
  /** Of a table of what is audited: what is enforced of it. */
  readonly enforced?: { readonly isEnforced: (rule: Rule) => boolean; readonly enforcing: boolean };
}

/** Of the peers: everything is looked into, except what the node itself sends to its workloads; see isExempt for proofs. */
export interface Who {
  readonly exempt: boolean;
  readonly looked: boolean;
  /** Its allows beat every redirect. */
  readonly preferred: boolean;
}

/**
 * @param voices what names the peer (for everybody: what is for everybody)
 * @param everybody what is for everybody (for everybody: nothing)
 */
export function columnOf(
  voices: readonly Voice[],
  everybody: readonly Voice[],
  { exempt, looked, preferred }: Who,
  terms: ColumnTerms,
): Column {
  const [own, any] = [sideOf(voices), sideOf(everybody)];
  const ruleOf = (meeting: readonly Voice[]): number => terms.numberOf({ kind: 'rules', rules: refsOf(meeting) });
  const authOf = (mode: Rule['authentication']): TableEntry['auth'] => authFor(exempt, mode);
  const rows = new Map<number, Row>();
  const rulesets: Ruleset[] = [];
  const conflicts: Conflict[] = [];
  for (const [number, contribution] of own) {
    const { key, allow, deny } = contribution;
    const plain = { ...key, ruleset: 0 };
    if (deny.length > 0)
      rows.set(number, { ...plain, verdict: 'deny', precedence: PRECEDENCE_DENY, rule: ruleOf(deny), auth: 'none' });
    // What is denied more widely as well is left to that entry.
    else if (!isDenied(own, number) && !isDenied(any, number)) {
      const precedence = preferred ? PRECEDENCE_LOCAL_HOST : PRECEDENCE_ALLOW;
      const auth = authOf(modeAt(contribution));
      rows.set(number, { ...plain, verdict: 'allow', precedence, rule: ruleOf(allow), auth });
    }
    if (!exempt) conflicts.push(...disagreements(allow));
  }
  for (const [number, key] of looked ? pointKeys(own, any) : []) {
    if (isDenied(own, number) || isDenied(any, number)) continue;
    const point = pointAt(number, key, own, any);
    if (point === undefined) continue;
    conflicts.push(...outvoted(point));
    // Where nothing is refused nothing needs a look that nobody can take.
    if (point.verdict === 'redirect' && !terms.http && !terms.enforcing) continue;
    const { verdict, precedence } = point;
    const entry = { ...key, verdict, precedence, rule: ruleOf(point.voices), auth: authOf(point.mode) } as const;
    if (verdict === 'redirect' && !terms.http)
      rows.set(number, { ...entry, verdict: 'deny', ruleset: 0, auth: 'none' });
    else {
      const ruleset = rulesetAt(point, own, any, terms);
      rulesets.push(ruleset);
      rows.set(number, { ...entry, ruleset: ruleset.id });
    }
  }
  return { rows: inheriting(rows), rulesets, conflicts };
}

function rulesetAt(point: DecisionPoint, own: Side, any: Side, terms: ColumnTerms): Ruleset {
  const key = `${terms.key} ${point.name}`;
  const id = terms.rulesetOf(key);
  const { direction, enforced } = terms;
  const all = terms.enforcing ? point.admission : openTo(point.admission, point.voices);
  if (enforced === undefined) return { id, direction, key, ...all };
  const passing = enforced.enforcing ? enforcedAt(point, own, any, enforced.isEnforced) : undefined;
  return { id, direction, key, ...(passing ?? openTo({ rules: [] }, point.voices)), shadow: all };
}

/** What the rules that are enforced admit there; undefined: they do not look. */
function enforcedAt(
  { key }: DecisionPoint,
  own: Side,
  any: Side,
  isEnforced: (rule: Rule) => boolean,
): Admission | undefined {
  const only = (side: Side): Side =>
    sideOf([...new Set([...side.values()].flatMap(({ allow }) => allow))].filter(({ rule }) => isEnforced(rule)));
  const [ours, everybodys] = [only(own), only(any)];
  const number = portNumber(key);
  return (pointAt(number, key, ours, everybodys) ?? pointAt(number, key, everybodys, SILENCE))?.admission;
}

/**
 * A plain entry that says nothing of authentication takes it from the nearest cover of equal precedence that does. As in
 * Cilium, where only an explicit mode keeps another peer's out: that a wider entry switches authentication off is no more
 * than the default, and the entry for every identity (or the identity's own) still has a say.
 */
function inheriting(rows: ReadonlyMap<number, Row>): Row[] {
  return [...rows].map(([number, row]) => {
    if (row.auth !== 'inherit' || row.verdict !== 'allow') return row;
    for (const cover of coversOf(number)) {
      const from = rows.get(cover);
      if (from === undefined || from.precedence !== row.precedence || from.auth === 'inherit') continue;
      return from.auth === 'none' ? row : { ...row, auth: from.auth };
    }
    return row;
  });
}

/** Named with the first of the strictest rules that the milder one meets. */
function disagreements(meeting: readonly Voice[]): Conflict[] {
  const explicit = meeting.map(({ rule }) => rule).filter((rule) => rule.authentication !== undefined);
  const mode = strictest(explicit);
  const strict = explicit.find((rule) => rule.authentication === mode);
  return explicit.flatMap((mild) =>
    strict && strictness(mild.authentication) < strictness(mode) ? [{ kind: 'authentication', strict, mild }] : [],
  );
}

function outvoted({ outvoted: voices, voices: all }: DecisionPoint): Conflict[] {
  const other = all.find((each) => each.ports.some(({ http, serverNames }) => http ?? serverNames))?.rule;
  return other === undefined ? [] : voices.map(({ rule }) => ({ kind: 'layer7', dns: rule, other }));
}
