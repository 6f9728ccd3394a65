/** `headers` and `headerMatches` of an HTTP rule -> headers that must be there. */
import { type HeaderMatch, MISMATCH_ACTIONS } from '../model/policy.ts';
import type { Path } from './document.ts';
import type { Refuse } from './policy-fields.ts';
import { isAbsent, needMapping, quote, readEach, readText } from './values.ts';

/** A token of RFC 9110. */
const NAME = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;
const MAX_NAME = 256;
/** Visible characters, blanks and tabs in between, and bytes above ASCII; neither end is a blank. */
const VALUE = /^[^\s\p{Cc}](?:[^\r\n\0\p{Cc}]|\t)*$/u;
const MAX_VALUE = 4096;

/** Changed, they would make another message of it: what one hop says to the next (RFC 9110 §7.6.1), its length, its target. */
const OF_THE_MESSAGE: ReadonlySet<string> = new Set([
  ...['connection', 'keep-alive', 'proxy-connection', 'te', 'trailer', 'transfer-encoding', 'upgrade'],
  ...['content-length', 'host'],
]);

/** `Name: value`, or a name alone; in two at the first blank, as Cilium does. */
export function readHeaders(value: unknown, path: Path, refuse: Refuse): HeaderMatch[] {
  return readEach(value, path, refuse, (entry, at) => {
    if (entry === '') refuse('FIELD_INVALID', at, 'an empty text is no header');
    const text = readText(entry, at, refuse);
    if (text === undefined) return undefined;
    const blank = text.indexOf(' ');
    const head = blank === -1 ? text : text.slice(0, blank);
    const name = readName(blank === -1 ? head : head.replace(/:$/, ''), at, refuse);
    if (name === undefined) return undefined;
    const rest = blank === -1 ? '' : text.slice(blank + 1).trim();
    if (rest === '') return { name };
    return checkValue(rest, at, refuse) ? { name, value: rest } : undefined;
  });
}

export function readHeaderMatches(value: unknown, path: Path, refuse: Refuse): HeaderMatch[] {
  return readEach(value, path, refuse, (entry, at) => {
    const match = needMapping(entry, 'header-match', at, refuse);
    if (match === undefined) return undefined;
    const written = readText(match['name'], [...at, 'name'], refuse);
    if (isAbsent(match['name']) || match['name'] === '') refuse('FIELD_REQUIRED', [...at, 'name'], 'is required');
    const name = written === undefined ? undefined : readName(written, [...at, 'name'], refuse);
    const expected = readText(match['value'], [...at, 'value'], refuse);
    const isGood = expected === undefined || checkValue(expected, [...at, 'value'], refuse);
    const word = isAbsent(match['mismatch']) || match['mismatch'] === '' ? undefined : match['mismatch'];
    const mismatch = MISMATCH_ACTIONS.find((known) => known === word);
    if (word !== undefined && mismatch === undefined)
      refuse('FIELD_INVALID', [...at, 'mismatch'], `${quote(word)} is not one of ${MISMATCH_ACTIONS.join(', ')}`);
    if ((mismatch === 'ADD' || mismatch === 'REPLACE') && expected === undefined)
      refuse('FIELD_REQUIRED', [...at, 'value'], `${mismatch} needs the value that the header is to have`);
    if (name !== undefined && mismatch !== undefined && mismatch !== 'LOG' && OF_THE_MESSAGE.has(name))
      refuse(
        'FIELD_NOT_SUPPORTED',
        [...at, 'mismatch'],
        `not supported: ${mismatch} of ${name}, which says where the request ends or goes`,
      );
    if (name === undefined || !isGood) return undefined;
    return {
      name,
      ...(expected === undefined ? {} : { value: expected }),
      ...(mismatch === undefined ? {} : { mismatch }),
    };
  });
}

function readName(text: string, path: Path, refuse: Refuse): string | undefined {
  if (text.startsWith(':'))
    refuse('FIELD_NOT_SUPPORTED', path, 'not supported: a pseudo-header; use method, path and host');
  else if (text.length > MAX_NAME || !NAME.test(text))
    refuse(
      'FIELD_INVALID',
      path,
      `${quote(text)} is not the name of a header${text.includes(':') ? ' (a value comes behind a blank)' : ''}`,
    );
  else return text.toLowerCase();
  return undefined;
}

function checkValue(text: string, path: Path, refuse: Refuse): boolean {
  if (text.length <= MAX_VALUE && VALUE.test(text)) return true;
  refuse('FIELD_INVALID', path, `${quote(text)} is not a value that a header can have`);
  return false;
}
