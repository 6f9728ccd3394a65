/**
 * Which path does Envoy match a request by? The same steps as its HTTP connection manager takes with our settings
 * (normalize_path, merge_slashes, escaped slashes refused), so that an offline answer is Envoy's own.
 */

/** A request line holds visible ASCII and starts with a slash. To anything else, and to a fragment, Envoy answers 400. */
const MALFORMED = /^[^/]|^$|[^\x21-\x7e]|#/;
/** Of a request's head, Envoy's own limit: it answers 431 to a longer one. */
const MOST_BYTES = 60 << 10;
const ESCAPED_SLASH = /%(?:2f|5c)/i;
const ESCAPED_NUL = '%00';
/** Parameters of a dot segment count for nothing (`/a/..;x/b` is `/b`), unless the dots are escaped. */
const DOT_PARAMETERS = /(?<=\/\.{1,2});[^/]*/g;
const DOT_SEGMENT = /^(?:\.|%2e){1,2}$/i;
const HEX = /^[0-9a-fA-F]{2}/;
const UNRESERVED = /[\w.~-]/;
const MUST_ESCAPE = /["<>^`{|}]/;

/**
 * @param target of the request line: path and query
 * @returns undefined when Envoy refuses the request as malformed (400) or too long (431)
 */
export function normalizePath(target: string): string | undefined {
  if (MALFORMED.test(target) || target.length > MOST_BYTES) return undefined;
  const mark = target.indexOf('?');
  const [sent, query] = mark < 0 ? [target, ''] : [target.slice(0, mark), target.slice(mark)];
  if (ESCAPED_SLASH.test(sent)) return undefined;
  const path = sent.replace(DOT_PARAMETERS, '');
  if (path.includes(ESCAPED_NUL)) return undefined;
  return mergeSlashes(removeDots(path).map(canonicalText).join('/')) + query;
}

/** The segments that are left; a backslash is a slash, and a dot segment at the end leaves its slash. */
function removeDots(path: string): string[] {
  const [before, ...segments] = path.split(/[/\\]/);
  const kept: string[] = [];
  for (const [i, segment] of segments.entries()) {
    if (!DOT_SEGMENT.test(segment)) {
      kept.push(segment);
      continue;
    }
    if (segment.toLowerCase().replaceAll('%2e', '.') === '..') kept.pop();
    if (i === segments.length - 1) kept.push('');
  }
  return [before ?? '', ...kept];
}

/**
 * Unescapes what needs no escape and escapes what does. Unescaping never makes an escape of a percent sign that was
 * none: that sign is escaped instead (`%2%35` becomes `%2525`, not `%25`).
 */
function canonicalText(segment: string): string {
  let text = '';
  let loosePercent = -1;
  for (let i = 0; i < segment.length; i++) {
    const char = segment.charAt(i);
    if (MUST_ESCAPE.test(char)) {
      text += `%${char.charCodeAt(0).toString(16).toUpperCase()}`;
      continue;
    }
    const hex = char === '%' ? HEX.exec(segment.slice(i + 1))?.[0] : undefined;
    if (hex === undefined) {
      if (char === '%') loosePercent = text.length;
      text += char;
      continue;
    }
    i += 2;
    const unescaped = String.fromCharCode(Number.parseInt(hex, 16));
    if (!UNRESERVED.test(unescaped)) {
      text += `%${hex}`;
      continue;
    }
    text += unescaped;
    const after = text.slice(loosePercent + 1) + (text.length === loosePercent + 2 ? segment.charAt(i + 1) : '');
    if (loosePercent >= 0 && after.length === 2 && HEX.test(after))
      text = `${text.slice(0, loosePercent)}%25${text.slice(loosePercent + 1)}`;
  }
  return text;
}

/** Envoy joins what stands between the slashes, so that a path of slashes alone keeps its first and its last. */
function mergeSlashes(path: string): string {
  if (!path.includes('//')) return path;
  return `/${path.split('/').filter(Boolean).join('/')}${path.endsWith('/') ? '/' : ''}`;
}
