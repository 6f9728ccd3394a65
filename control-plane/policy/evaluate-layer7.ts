/** Where rules look into what passes: would this request, TLS name or query be admitted? */
import { nameFits } from '../model/dns-name.ts';
import { formatRuleRef, type PortMatch, type RuleRef } from '../model/policy.ts';
import { admitsRequest, type HttpRequest, isValidHost } from './http-match.ts';
import { normalizePath } from './http-path.ts';

/** What a flow carries; undefined: may the connection be opened at all? */
export interface Carried {
  /** A request. */
  readonly http?: HttpRequest | undefined;
  /** The name that a TLS client asks for (SNI), lower case. */
  readonly serverName?: string | undefined;
  /** The name that a DNS query asks for, lower case, without the dot at the end. */
  readonly query?: string | undefined;
}

/** A rule that admits the connection, and what it admits of what passes. */
export interface Opening {
  /** undefined: nobody's rule. */
  readonly rule: RuleRef | undefined;
  /** undefined: everything. */
  readonly looks: Pick<PortMatch, 'http' | 'serverNames' | 'dns'> | undefined;
}

export type Layer7Reason = 'rule' | 'no-http-rule' | 'no-server-name' | 'no-dns-rule' | 'bad-path' | 'bad-host';

export interface Layer7Answer {
  readonly verdict: 'ALLOWED' | 'DENIED';
  readonly reason: Layer7Reason;
  readonly rules: readonly RuleRef[];
}

/**
 * All rules that admit the connection add up, however narrowly they name port and peer.
 * @param open nothing is refused here: the rules only see what passes
 */
export function evaluateLayer7(openings: readonly Opening[], carried: Carried, open: boolean): Layer7Answer {
  const meeting = sortedRefs(openings.flatMap(({ rule }) => rule ?? []));
  const denied = (reason: Layer7Reason): Layer7Answer => ({ verdict: 'DENIED', reason, rules: meeting });
  const asked = questionOf(carried);
  if (asked === undefined) return { verdict: 'ALLOWED', reason: 'rule', rules: meeting };
  if (asked.malformed) return denied(asked.malformed);
  const admitting = openings.flatMap(({ rule, looks }) => [
    ...(looks === undefined || open ? [rule] : []),
    ...(looks === undefined ? [] : asked.admittedBy(looks, rule, openings)),
  ]);
  if (admitting.length === 0) return denied(asked.refusal);
  return { verdict: 'ALLOWED', reason: 'rule', rules: sortedRefs(admitting.flatMap((ref) => ref ?? [])) };
}

interface Question {
  readonly refusal: Layer7Reason;
  readonly malformed?: Layer7Reason;
  readonly admittedBy: (
    looks: NonNullable<Opening['looks']>,
    rule: RuleRef | undefined,
    openings: readonly Opening[],
  ) => readonly (RuleRef | undefined)[];
}

function questionOf({ http, serverName, query }: Carried): Question | undefined {
  if (http !== undefined) return httpQuestion(http);
  if (serverName !== undefined)
    return {
      refusal: 'no-server-name',
      admittedBy: ({ serverNames = [] }, rule) =>
        serverNames.some((matchPattern) => nameFits({ matchPattern }, serverName)) ? [rule] : [],
    };
  if (query !== undefined)
    return {
      refusal: 'no-dns-rule',
      // Beside rules for HTTP or TLS they do not count: Envoy does not speak DNS.
      admittedBy: ({ dns = [] }, _, openings) =>
        openings.some(({ looks }) => looks?.http ?? looks?.serverNames)
          ? []
          : dns.flatMap(({ ref, match }) => (nameFits(match, query) ? [ref] : [])),
    };
  return undefined;
}

function httpQuestion(request: HttpRequest): Question {
  const path = normalizePath(request.path);
  const refusal = 'no-http-rule';
  if (path === undefined) return { refusal, malformed: 'bad-path', admittedBy: () => [] };
  if (!isValidHost(request.host)) return { refusal, malformed: 'bad-host', admittedBy: () => [] };
  return {
    refusal,
    admittedBy: ({ http = [] }) =>
      http.flatMap(({ ref, match }) => (admitsRequest(match, { ...request, path }) ? [ref] : [])),
  };
}

/** Each once. */
export function sortedRefs(refs: readonly RuleRef[]): RuleRef[] {
  return [...new Map(refs.map((ref) => [formatRuleRef(ref), ref]))]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([, ref]) => ref);
}
