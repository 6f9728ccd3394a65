/** Does a name fit what a policy says of names? Cilium's matchName and matchPattern. */
import type { NameMatch } from './policy.ts';

/** What a wildcard stands for, within one label (Cilium's pkg/fqdn/matchpattern). */
const WILD = /^[-a-z0-9_]*$/;
const LABEL = /^[-a-z0-9_]+$/;

/**
 * @param name lower case, without the dot at the end
 * `*` alone takes every name. Otherwise it stands for none or more characters of one label; `**.` in front for one or more labels.
 */
export function nameFits(match: NameMatch, name: string): boolean {
  if ('matchName' in match) return match.matchName === name;
  const { matchPattern: pattern } = match;
  if (pattern === '*') return true;
  const names = name.split('.');
  if (!pattern.startsWith('**.')) return labelsFit(pattern.split('.'), names);
  const patterns = pattern.slice('**.'.length).split('.');
  const free = names.length - patterns.length;
  return (
    free >= 1 && names.slice(0, free).every((label) => LABEL.test(label)) && labelsFit(patterns, names.slice(free))
  );
}

/** The text of a match, equal for equal ones. */
export function nameMatchText(match: NameMatch): string {
  return 'matchName' in match ? match.matchName : match.matchPattern;
}

function labelsFit(patterns: readonly string[], labels: readonly string[]): boolean {
  return patterns.length === labels.length && patterns.every((pattern, i) => labelFits(pattern, labels[i] ?? ''));
}

/** As long as pattern times label at most, whatever they are. */
function labelFits(pattern: string, label: string): boolean {
  const [first = '', ...rest] = pattern.split('*');
  if (rest.length === 0) return pattern === label;
  const last = rest.pop() ?? '';
  if (!label.startsWith(first) || !label.endsWith(last) || label.length < first.length + last.length) return false;
  const end = label.length - last.length;
  let at = first.length;
  // The earliest place of each part is as good as any other: what is between them is free.
  for (const part of rest) {
    const found = label.indexOf(part, at);
    if (found === -1 || found + part.length > end || !WILD.test(label.slice(at, found))) return false;
    at = found + part.length;
  }
  return WILD.test(label.slice(at, end));
}
