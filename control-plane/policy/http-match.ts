/** Would Envoy say that a request is what a rule admits? The path as Envoy normalises it, method and host as sent. */
import { Pattern } from '../model/pattern.ts';
import type { HeaderMatch, HttpMatch } from '../model/policy.ts';

/** `path` as the client sends it, with its query string; `host` is the Host header, several joined by commas. */
export interface HttpRequest {
  readonly method: string;
  readonly path: string;
  readonly host: string;
  /** The others by name, in lower case; several of one name joined by commas. Absent: none. */
  readonly headers?: ReadonlyMap<string, string>;
}

/** What may stand in an authority (RFC 3986 §3.2); the comma is also what joins several. To anything else Envoy answers 400. */
const HOST = /^[\w.~%!$&'()*+,;=:@[\]-]*$/;

export function isValidHost(host: string): boolean {
  return HOST.test(host);
}

/**
 * @param match undefined: everything is admitted
 * @param request with its path normalised, see http-path.ts
 */
export function admitsRequest(match: HttpMatch | undefined, request: HttpRequest): boolean {
  const fits = (pattern: string | undefined, text: string): boolean =>
    pattern === undefined || new Pattern(pattern).matches(text);
  return (
    fits(match?.method, request.method) &&
    fits(match?.path, request.path) &&
    fits(match?.host, request.host) &&
    (match?.headers ?? []).every((header) => admitsHeader(header, request))
  );
}

/** What `Connection` names is between a client and Envoy, which takes it away before rules see it (RFC 9110 §7.6.1). */
function isForTheHop(name: string, headers: HttpRequest['headers']): boolean {
  return (headers?.get('connection') ?? '').split(',').some((each) => each.trim().toLowerCase() === name);
}

/** One with an action for what is not as it should be keeps nothing from passing (Cilium's `mismatch`). */
function admitsHeader(header: HeaderMatch, request: HttpRequest): boolean {
  return header.mismatch !== undefined || isAsAsked(header, request);
}

function isAsAsked({ name, value }: HeaderMatch, { host, headers }: HttpRequest): boolean {
  const found = name === 'host' ? host : isForTheHop(name, headers) ? undefined : headers?.get(name);
  return found !== undefined && (value === undefined || found === value);
}

/**
 * The request as it goes on, when these are all that fit it: with what their `mismatch` says about headers that are not as they ask.
 * See traffic/header-actions.ts.
 */
export function mendedBy(matches: readonly HttpMatch[], request: HttpRequest): HttpRequest {
  const wrong = matches.flatMap(({ headers = [] }) =>
    headers.filter((header) => header.mismatch !== undefined && !isAsAsked(header, request)),
  );
  if (wrong.length === 0) return request;
  const headers = new Map(request.headers);
  for (const { name, value = '', mismatch } of wrong) {
    const there = headers.get(name);
    if (mismatch === 'DELETE') headers.delete(name);
    else if (mismatch === 'REPLACE') headers.set(name, value);
    else if (mismatch === 'ADD') headers.set(name, there === undefined ? value : `${there},${value}`);
  }
  return { ...request, headers };
}
