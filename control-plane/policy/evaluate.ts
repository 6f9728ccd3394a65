/**
 * What would a flow get, and why? Reads rules and labels, never compiled entries: property tests hold it against the
 * kernel's own answer, so a mistake in either shows.
 */
import { type Labels, selects } from '../model/labels.ts';
import {
  type AuthenticationMode,
  concerns,
  type Direction,
  formatPolicyRef,
  formatRuleRef,
  type HttpMatch,
  type HttpRule,
  hasHttp,
  type Policy,
  type PolicyRef,
  type PortMatch,
  PROTOCOLS,
  type Rule,
  type RuleRef,
  strictness,
} from '../model/policy.ts';
import type { Authentication } from '../model/snapshot.ts';
import { authenticationOf, httpMode, plainMode, type Say } from './evaluate-authentication.ts';
import { admitsRequest, type HttpRequest, isValidHost } from './http-match.ts';
import { normalizePath } from './http-path.ts';
import { isWildcard, names } from './peers.ts';

export interface FlowQuestion {
  /** Labels of the two ends; reserved identities have `reserved:…`. */
  readonly source: Labels;
  readonly destination: Labels;
  readonly protocol: number;
  /** Destination port; for ICMP the type. */
  readonly port: number;
  /** A request that the flow carries; undefined: may the connection be opened at all? */
  readonly http?: HttpRequest | undefined;
}

export interface HalfAnswer {
  readonly verdict: 'ALLOWED' | 'DENIED';
  /** HTTP rules have a say: Envoy looks into each request. Without one in the question the answer is ALLOWED. */
  readonly l7: boolean;
  /**
   * no-policy: nothing selects the endpoint here. rule: these rules admit. local-host: this node's own processes may.
   * default-deny: these policies ask for it and none admits. no-http-rule: these rules admit the connection, and none
   * this request. bad-path, bad-host: under these rules Envoy sees the request, and refuses it as malformed.
   */
  readonly reason: 'no-policy' | 'rule' | 'local-host' | 'default-deny' | 'no-http-rule' | 'bad-path' | 'bad-host';
  readonly rules: readonly RuleRef[];
  readonly policies: readonly PolicyRef[];
  /** What the connection needs before it passes; none where it is denied as such. */
  readonly authentication: Authentication;
  /** Hubble's policy_match_type. */
  readonly match: number;
}

/** One way in which a rule admits the flow: how much of the port it fixes, and whether it names the peer. */
interface Candidate extends Say {
  readonly rule: RuleRef | undefined;
  /** What it admits of the requests; undefined: all. */
  readonly http: readonly HttpRule[] | undefined;
}

/** Decides the half of one endpoint: egress of the source or ingress of the destination. */
export function evaluateHalf(direction: Direction, question: FlowQuestion, policies: readonly Policy[]): HalfAnswer {
  const [subject, peer] =
    direction === 'egress' ? [question.source, question.destination] : [question.destination, question.source];
  const selecting = policies.filter((policy) => selects(policy.subject, subject) && concerns(policy, direction));
  const closing = selecting.filter((policy) => policy.defaultDeny[direction]);
  const rules = selecting.flatMap((policy) => policy.rules.filter((rule) => rule.direction === direction));
  const candidates = rules.flatMap((rule) => ways(rule, peer, question));
  const localHost = direction === 'ingress' && closing.length > 0 && peer.has('reserved:host');
  // Neither this node's own processes nor the world have anything to prove.
  const exempt = peer.has('reserved:host') || peer.has('reserved:world');
  const asked = (mode: AuthenticationMode | undefined): Authentication => (exempt ? 'none' : authenticationOf(mode));
  if (localHost)
    candidates.push({ prefix: 0, exact: true, rule: undefined, http: undefined, authentication: undefined });
  else if (closing.length > 0 && candidates.some(({ http }) => http)) {
    const mode = httpMode(candidates, ({ http }) => http !== undefined);
    // A rule admits under the authentication that it asks for and not without.
    const counting = candidates.filter(({ authentication }) => strictness(authentication) <= strictness(mode));
    return { ...evaluateHttp(counting, question.http), authentication: asked(mode) };
  }
  // Beside HTTP rules the node's own processes are admitted as such first: they must never end up at Envoy.
  const stronger = localHost && hasHttp(rules) ? namedFirst : narrowerFirst;
  const best = candidates.reduce<Candidate | undefined>((a, b) => (a && !stronger(b, a) ? a : b), undefined);
  if (best) {
    const winners = candidates.filter(
      (candidate) => candidate.prefix === best.prefix && candidate.exact === best.exact,
    );
    const admitting = sortedRefs(winners.flatMap(({ rule }) => rule ?? []));
    const reason = admitting.length > 0 ? 'rule' : 'local-host';
    const authentication = asked(plainMode(candidates, best));
    return {
      verdict: 'ALLOWED',
      l7: false,
      reason,
      rules: admitting,
      policies: [],
      authentication,
      match: matchOf(best),
    };
  }
  const decided = { l7: false, rules: [], authentication: 'none', match: 0 } as const;
  if (closing.length === 0) return { verdict: 'ALLOWED', reason: 'no-policy', policies: [], ...decided };
  const refs = [...new Map(closing.map((policy) => [formatPolicyRef(policy.ref), policy.ref]))]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([, ref]) => ref);
  return { verdict: 'DENIED', reason: 'default-deny', policies: refs, ...decided };
}

/** Where an HTTP rule has a say, all rules add up, however narrowly they name port and peer. */
function evaluateHttp(
  candidates: readonly Candidate[],
  request: HttpRequest | undefined,
): Omit<HalfAnswer, 'authentication'> {
  const meeting = sortedRefs(candidates.flatMap(({ rule }) => rule ?? []));
  const match = matchOf({ prefix: 32, exact: candidates.some(({ exact }) => exact) });
  const answer = (
    verdict: HalfAnswer['verdict'],
    reason: HalfAnswer['reason'],
    rules: RuleRef[],
  ): Omit<HalfAnswer, 'authentication'> => ({
    verdict,
    l7: true,
    reason,
    rules,
    policies: [],
    match,
  });
  if (request === undefined) return answer('ALLOWED', 'rule', meeting);
  const path = normalizePath(request.path);
  if (path === undefined) return answer('DENIED', 'bad-path', meeting);
  if (!isValidHost(request.host)) return answer('DENIED', 'bad-host', meeting);
  const admitting = candidates
    .flatMap(({ rule, http }): { readonly ref: RuleRef | undefined; readonly match: HttpMatch | undefined }[] =>
      http ? [...http] : [{ ref: rule, match: undefined }],
    )
    .filter((each) => admitsRequest(each.match, { ...request, path }));
  if (admitting.length === 0) return answer('DENIED', 'no-http-rule', meeting);
  return answer('ALLOWED', 'rule', sortedRefs(admitting.flatMap(({ ref }) => ref ?? [])));
}

/** Each once. */
function sortedRefs(refs: readonly RuleRef[]): RuleRef[] {
  return [...new Map(refs.map((ref) => [formatRuleRef(ref), ref]))]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([, ref]) => ref);
}

function ways({ ref, peers, ports, authentication }: Rule, peer: Labels, question: FlowQuestion): Candidate[] {
  const wildcard = isWildcard(peers);
  const named = names(peers, peer);
  return admits(ports, question).flatMap((way) => [
    ...(wildcard ? [{ ...way, exact: false, rule: ref, authentication }] : []),
    ...(named ? [{ ...way, exact: true, rule: ref, authentication }] : []),
  ]);
}

/** How narrowly a rule's ports admit the flow: 0 without ports, 16 by protocol, 32 by port; several ways may. */
function admits(
  ports: readonly PortMatch[],
  { protocol, port }: FlowQuestion,
): { readonly prefix: number; readonly http: readonly HttpRule[] | undefined }[] {
  if (ports.length === 0) return [{ prefix: 0, http: undefined }];
  return ports.flatMap((match) => {
    if (match.protocol !== protocol || (match.port !== 0 && match.port !== port)) return [];
    return [{ prefix: match.port === 0 ? 16 : 32, http: protocol === PROTOCOLS.TCP ? match.http : undefined }];
  });
}

/** The narrower port first, then the one that names the peer. */
function narrowerFirst(a: Candidate, b: Candidate): boolean {
  return a.prefix !== b.prefix ? a.prefix > b.prefix : a.exact && !b.exact;
}

/** The one that names the peer first, then the narrower port. */
function namedFirst(a: Candidate, b: Candidate): boolean {
  return a.exact !== b.exact ? a.exact : a.prefix > b.prefix;
}

function matchOf({ prefix, exact }: Pick<Candidate, 'prefix' | 'exact'>): number {
  if (prefix === 0) return exact ? 1 : 4;
  if (prefix === 16) return exact ? 5 : 6;
  return exact ? 2 : 3;
}
