/** Ranges of addresses in policies: fromCIDR, fromCIDRSet, ipBlock and the ranges of CIDR groups. */
import { isIPv4 } from 'node:net';
import { contains, type Prefix, parsePrefix } from '../model/address.ts';
import { SidestepError } from '../model/error.ts';
import type { CidrGroupMatch, CidrMatch } from '../model/policy.ts';
import type { Path } from './document.ts';
import type { Refuse } from './policy-fields.ts';
import { readObjectSelector } from './selectors.ts';
import { isAbsent, needMapping, quote, readEach, readText } from './values.ts';

interface Range extends Prefix {
  readonly family: 4 | 6;
}

export interface CidrSet {
  readonly cidrs: readonly CidrMatch[];
  readonly groups: readonly CidrGroupMatch[];
}

/** fromCIDR, toCIDR: ranges, or addresses alone. */
export function readCidrs(value: unknown, path: Path, refuse: Refuse): CidrMatch[] {
  return readEach(value, path, refuse, (entry, at) => {
    const isAlone = typeof entry === 'string' && entry !== '' && !entry.includes('/');
    const range = readRange(isAlone ? `${entry}/${isIPv4(entry) ? 32 : 128}` : entry, at, refuse);
    return range && { prefix: prefixOf(range), except: [] };
  });
}

/** fromCIDRSet, toCIDRSet. */
export function readCidrSet(value: unknown, path: Path, refuse: Refuse): CidrSet {
  const parts = readEach(value, path, refuse, (entry, at) => readCidrRule(entry, at, refuse));
  return {
    cidrs: parts.flatMap((part) => ('prefix' in part ? [part] : [])),
    groups: parts.flatMap((part) => ('group' in part ? [part] : [])),
  };
}

const SOURCES = ['cidr', 'cidrGroupRef', 'cidrGroupSelector'] as const;

function readCidrRule(value: unknown, path: Path, refuse: Refuse): CidrMatch | CidrGroupMatch | undefined {
  const rule = needMapping(value, 'cidr-set', path, refuse);
  if (rule === undefined) return undefined;
  const written = SOURCES.filter((field) => !isAbsent(rule[field]) && rule[field] !== '');
  if (written.length !== 1) {
    const [code, what] =
      written.length === 0 ? (['FIELD_REQUIRED', 'one'] as const) : (['FIELD_INVALID', 'only one'] as const);
    refuse(code, path, `needs ${what} of ${SOURCES.join(', ')}`);
    return undefined;
  }
  const { cidr, cidrGroupRef, cidrGroupSelector, except } = rule;
  if (written[0] === 'cidr') return readBlock(cidr, except, path, refuse);
  const exceptions = readEach(except, [...path, 'except'], refuse, (entry, at) => readRange(entry, at, refuse));
  const ranges = exceptions.map(prefixOf);
  if (written[0] === 'cidrGroupRef') {
    const name = readText(cidrGroupRef, [...path, 'cidrGroupRef'], refuse);
    return name === undefined ? undefined : { group: { name }, except: ranges };
  }
  const selector = readObjectSelector(cidrGroupSelector, [...path, 'cidrGroupSelector'], refuse);
  return selector && { group: { selector }, except: ranges };
}

/** @param isStrict an exception may not be all of it (Kubernetes) */
export function readBlock(
  cidr: unknown,
  except: unknown,
  path: Path,
  refuse: Refuse,
  isStrict = false,
): CidrMatch | undefined {
  const range = readRange(cidr, [...path, 'cidr'], refuse);
  const exceptions = readEach(except, [...path, 'except'], refuse, (entry, at) => {
    const part = readRange(entry, at, refuse);
    if (part === undefined || range === undefined) return part;
    const isInside = part.family === range.family && part.bits >= range.bits && contains(range, part.address);
    if (!isInside) refuse('FIELD_INVALID', at, `${quote(entry)} does not lie inside of ${quote(cidr)}`);
    else if (isStrict && part.bits === range.bits) refuse('FIELD_INVALID', at, `leaves nothing of ${quote(cidr)}`);
    return part;
  });
  return range && { prefix: prefixOf(range), except: exceptions.map(prefixOf) };
}

/** A range with its length; bits behind it are dropped, as Cilium does. */
export function readPrefix(value: unknown, path: Path, refuse: Refuse): Prefix | undefined {
  const range = readRange(value, path, refuse);
  return range && prefixOf(range);
}

function readRange(value: unknown, path: Path, refuse: Refuse): Range | undefined {
  if (isAbsent(value) || value === '') {
    refuse('FIELD_REQUIRED', path, 'a range must be specified');
    return undefined;
  }
  if (typeof value === 'string')
    try {
      return { ...parsePrefix(value), family: isIPv4(value.split('/')[0] ?? '') ? 4 : 6 };
    } catch (error) {
      if (!(error instanceof SidestepError)) throw error;
    }
  refuse('FIELD_INVALID', path, `${quote(value)} is not a range such as 192.0.2.0/24 or 2001:db8::/32`);
  return undefined;
}

function prefixOf({ address, bits }: Prefix): Prefix {
  return { address, bits };
}
