/**
 * Does a text match a regular expression of an HTTP rule? As Envoy has it: RE2, the whole text, and byte by byte
 * (Latin-1), so that a letter beyond ASCII in a pattern is the bytes of its UTF-8 form.
 */
import { RE2JS, RE2JSException } from 're2js';
import { SidestepError } from './error.ts';

/** Envoy's RE2 refuses a program of some 350,000 instructions, and one refused pattern refuses its whole configuration. */
const MAX_INSTRUCTIONS = 10_000;
/** `\x{263a}`: no byte has such a value. Pairs before it are skipped, so that `\\x{263a}` is a backslash and text. */
const WIDE_ESCAPE = /^(?:[^\\]|\\[^x]|\\x(?!\{0*[1-9a-f][0-9a-f]{2,}\}))*\\x\{0*[1-9a-f][0-9a-f]{2,}\}/is;

export class Pattern {
  readonly #compiled: RE2JS;

  /** @throws FIELD_INVALID with RE2's own words */
  constructor(text: string) {
    this.#compiled = compile(text);
  }

  matches(text: string): boolean {
    return this.#compiled.testExact(bytes(text));
  }
}

function compile(text: string): RE2JS {
  if (WIDE_ESCAPE.test(text)) throw new SidestepError('FIELD_INVALID', 'matches bytes, and no byte is above \\xff');
  let compiled: RE2JS;
  try {
    compiled = RE2JS.compile(bytes(text));
  } catch (cause) {
    if (!(cause instanceof RE2JSException)) throw cause;
    const why = cause.message.replace(/^error parsing regexp: /, '');
    throw new SidestepError('FIELD_INVALID', `is not a regular expression of RE2: ${why}`, { cause });
  }
  if (compiled.programSize() > MAX_INSTRUCTIONS)
    throw new SidestepError('FIELD_INVALID', `is too large (more than ${MAX_INSTRUCTIONS} instructions)`);
  return compiled;
}

/** One character for each byte. */
function bytes(text: string): string {
  return Buffer.from(text, 'utf8').toString('latin1');
}
