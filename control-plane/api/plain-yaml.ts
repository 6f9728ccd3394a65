/**
 * The YAML that manifests are mostly written in, read in one pass without a tree beside the value: a file of a million
 * entries takes seconds and little memory, where a general parser takes gigabytes. It reads block and flow collections and
 * scalars of one line; whatever else stands in a text (anchors, tags, block scalars, tabs, mistakes) it leaves to the
 * general parser, which is also what says what is wrong. What it does read it reads as that one does (plain-yaml.test.ts).
 */

/** A value, and the line of everything in it. */
export interface PlainDocument {
  readonly value: unknown;
  /** Line that it begins on; 0 is the first. */
  readonly first: number;
  /** Of each collection the line of each entry, in the order of its keys. */
  readonly lines: ReadonlyMap<object, readonly number[]>;
}

/** What would be more than a letter of a manifest, or no end of a line to us but one to others. */
const UNUSUAL = /[^\x20-\x7e\n\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd]/;
/** Nobody nests deeper, and a stack is finite. */
const MAX_DEPTH = 64;

const PLAIN_KEY = /[A-Za-z_][\w./-]*(?::[\w./-]+)*(?=:(?: |$))/my;
const DOUBLE_QUOTED = /"(?:[^"\\\n]|\\["\\/bfnrt]|\\u[0-9a-fA-F]{4})*"/y;
const SINGLE_QUOTED = /'(?:[^'\n]|'')*'/y;
/** A scalar without quotes: neither an indicator at its beginning nor `: ` or ` #` within. */
const PLAIN =
  /(?:[^\s\-?:,[\]{}#&*!|>'"%@`]|[-:](?=[^\s,[\]{}]))(?:[^\s:#]|:(?=\S)|(?<=\S)#|[^\S\n]+(?=[^\s#:]|:\S))*/y;
const PLAIN_IN_FLOW =
  /(?:[^\s\-?:,[\]{}#&*!|>'"%@`]|[-:](?=[^\s,[\]{}]))(?:[^\s:#,[\]{}]|:(?=[^\s,[\]{}])|(?<=\S)#|[^\S\n]+(?=[^\s#:,[\]{}]|:[^\s,[\]{}]))*/y;
const END_OF_LINE = / *(?: #[^\n]*)?(?:\n|$)/y;
const NULL = /^(?:~|null|Null|NULL)$/;
const TRUE = /^(?:true|True|TRUE)$/;
const FALSE = /^(?:false|False|FALSE)$/;
const SIMPLE_INTEGER = /^(?:0|-?[1-9]\d{0,14})$/;
const OTHER_NUMBER =
  /^(?:0o[0-7]+|0x[0-9a-fA-F]+|[-+]?\d+|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)|[-+]?(?:\.\d+|\d+(?:\.\d*)?)(?:[eE][-+]?\d+)?)$/;
/** Directives, and the marks between documents. */
const MARK = /^(?:%|---|\.\.\.)/m;
const INDEX = /^(?:0|[1-9]\d*)$/;

class Unusual extends Error {}

/** @returns undefined: it is not as plain as that; an empty text is null */
export function readPlainYaml(text: string): PlainDocument | undefined {
  if (UNUSUAL.test(text) || MARK.test(text)) return undefined;
  try {
    return new Reader(text).read();
  } catch (error) {
    if (error instanceof Unusual) return undefined;
    throw error;
  }
}

/** Of what a path leads to, or of its nearest parent that is there; 0 is the first. */
export function lineOfPath({ value, first, lines }: PlainDocument, path: readonly (string | number)[]): number {
  let at: unknown = value;
  let line = first;
  for (const part of path) {
    if (typeof at !== 'object' || at === null) break;
    const index = Array.isArray(at) ? Number(part) : Object.keys(at).indexOf(String(part));
    const next = lines.get(at)?.[index];
    if (next === undefined) break;
    line = next;
    at = (at as Record<string | number, unknown>)[part];
  }
  return line;
}

class Reader {
  readonly #text: string;
  readonly #lines = new Map<object, number[]>();
  /** Where we are: in front of the first character of a line that is not blank, or behind its last token. */
  #at = 0;
  #line = 0;
  /** Of what stands at `#at`: its column. -1: the end. */
  #column = -1;

  constructor(text: string) {
    this.#text = text;
  }

  read(): PlainDocument {
    this.#nextLine();
    const first = this.#line;
    let value: unknown = null;
    if (this.#column !== -1) {
      if (this.#column !== 0) throw new Unusual();
      value = this.#block(0);
    }
    if (this.#column !== -1) throw new Unusual();
    return { value, first, lines: this.#lines };
  }

  /** To the next line with something on it, from the beginning of a line. */
  #nextLine(): void {
    for (;;) {
      const start = this.#at;
      while (this.#text[this.#at] === ' ') this.#at++;
      const next = this.#text[this.#at];
      if (next === undefined) {
        this.#column = -1;
        return;
      }
      if (next !== '\n' && next !== '#') {
        this.#column = this.#at - start;
        return;
      }
      const end = this.#text.indexOf('\n', this.#at);
      this.#at = end === -1 ? this.#text.length : end + 1;
      this.#line++;
    }
  }

  /** What the expression takes from here on; undefined: nothing. */
  #take(expression: RegExp): string | undefined {
    expression.lastIndex = this.#at;
    const found = expression.exec(this.#text)?.[0];
    if (found !== undefined) this.#at += found.length;
    return found;
  }

  /** Nothing more may stand on the line but a comment. */
  #endLine(): void {
    if (this.#take(END_OF_LINE) === undefined) throw new Unusual();
    this.#line++;
    this.#nextLine();
  }

  #isAtEndOfLine(): boolean {
    END_OF_LINE.lastIndex = this.#at;
    return END_OF_LINE.test(this.#text);
  }

  /** A dash that is followed by something, or by nothing. */
  #isDash(): boolean {
    const next = this.#text[this.#at + 1];
    return this.#text[this.#at] === '-' && (next === ' ' || next === '\n' || next === undefined);
  }

  /** The collection or scalar that begins here. */
  #block(depth: number): unknown {
    if (depth > MAX_DEPTH) throw new Unusual();
    if (this.#isDash()) return this.#sequence(depth);
    const start = this.#at;
    const key = this.#key();
    if (key !== undefined) return this.#mapping(key, depth);
    this.#at = start;
    return this.#inline(this.#column - 1, depth);
  }

  #sequence(depth: number): unknown[] {
    const column = this.#column;
    const list: unknown[] = [];
    const lines: number[] = [];
    this.#lines.set(list, lines);
    while (this.#column === column && this.#isDash()) {
      const line = this.#line;
      this.#at++;
      if (this.#isAtEndOfLine()) {
        this.#endLine();
        // An entry on lines of its own; one that is not there at all is left to those who know best.
        if (this.#column <= column) throw new Unusual();
        lines.push(this.#line);
        list.push(this.#block(depth + 1));
      } else {
        const start = this.#at;
        while (this.#text[this.#at] === ' ') this.#at++;
        this.#column = column + 1 + this.#at - start;
        lines.push(line);
        list.push(this.#block(depth + 1));
      }
    }
    if (this.#column > column) throw new Unusual();
    return list;
  }

  #mapping(first: string, depth: number): Record<string, unknown> {
    const column = this.#column;
    const mapping: Record<string, unknown> = {};
    const lines: number[] = [];
    this.#lines.set(mapping, lines);
    for (let key: string | undefined = first; ; key = this.#key()) {
      if (key === undefined) throw new Unusual();
      lines.push(this.#line);
      this.#add(mapping, key, this.#valueOf(column, depth));
      if (this.#column > column) throw new Unusual();
      if (this.#column < column || this.#isDash()) return mapping;
    }
  }

  #add(mapping: Record<string, unknown>, key: string, value: unknown): void {
    // Keys that are given twice are a mistake, those that look like an index lose their place in the order.
    if (key === '__proto__' || INDEX.test(key) || Object.hasOwn(mapping, key)) throw new Unusual();
    mapping[key] = value;
  }

  /** Behind the colon of a key of a block mapping. */
  #valueOf(column: number, depth: number): unknown {
    if (!this.#isAtEndOfLine()) {
      while (this.#text[this.#at] === ' ') this.#at++;
      return this.#inline(column, depth + 1);
    }
    this.#endLine();
    if (this.#column > column || (this.#column === column && this.#isDash())) return this.#block(depth + 1);
    return null;
  }

  /** A key with its colon, if there is one here. */
  #key(): string | undefined {
    const quoted = this.#quoted();
    const key = quoted ?? this.#take(PLAIN_KEY);
    if (key === undefined) return undefined;
    if (quoted === undefined && (NULL.test(key) || TRUE.test(key) || FALSE.test(key))) throw new Unusual();
    const after = this.#text[this.#at + 1];
    if (this.#text[this.#at] !== ':' || (after !== ' ' && after !== '\n' && after !== undefined)) return undefined;
    this.#at++;
    return key;
  }

  /** A value on the line of its key or dash, and the end of that line. @param column lines that go on stand right of it */
  #inline(column: number, depth: number): unknown {
    const next = this.#text[this.#at];
    const value = next === '{' || next === '[' ? this.#flow(column, depth) : this.#scalar(PLAIN);
    this.#endLine();
    return value;
  }

  #scalar(plain: RegExp): unknown {
    const quoted = this.#quoted();
    if (quoted !== undefined) return quoted;
    const text = this.#take(plain);
    if (text === undefined) throw new Unusual();
    if (NULL.test(text)) return null;
    if (TRUE.test(text)) return true;
    if (FALSE.test(text)) return false;
    if (SIMPLE_INTEGER.test(text)) return Number(text);
    if (OTHER_NUMBER.test(text)) throw new Unusual();
    return text;
  }

  #quoted(): string | undefined {
    const next = this.#text[this.#at];
    if (next === "'") return this.#take(SINGLE_QUOTED)?.slice(1, -1).replaceAll("''", "'");
    const text = next === '"' ? this.#take(DOUBLE_QUOTED) : undefined;
    // Only with the escapes that JSON has, too.
    return text === undefined ? undefined : JSON.parse(text);
  }

  #flow(column: number, depth: number): unknown {
    if (depth > MAX_DEPTH) throw new Unusual();
    const isList = this.#text[this.#at++] === '[';
    const end = isList ? ']' : '}';
    const list: unknown[] = [];
    const mapping: Record<string, unknown> = {};
    const lines: number[] = [];
    this.#lines.set(isList ? list : mapping, lines);
    this.#space(column);
    if (this.#text[this.#at] === end) this.#at++;
    else
      for (;;) {
        lines.push(this.#line);
        if (isList) list.push(this.#flowValue(column, depth));
        else this.#flowEntry(mapping, column, depth);
        this.#space(column);
        const next = this.#text[this.#at++];
        if (next === end) break;
        if (next !== ',') throw new Unusual();
        this.#space(column);
      }
    return isList ? list : mapping;
  }

  #flowEntry(mapping: Record<string, unknown>, column: number, depth: number): void {
    const quoted = this.#quoted();
    const key = quoted ?? this.#take(PLAIN_IN_FLOW);
    if (key === undefined || this.#text[this.#at] !== ':') throw new Unusual();
    // JSON needs no blank behind the colon.
    if (quoted === undefined && !' \n'.includes(this.#text[this.#at + 1] ?? '')) throw new Unusual();
    if (!/^[A-Za-z_]/.test(key) || NULL.test(key) || TRUE.test(key) || FALSE.test(key)) throw new Unusual();
    this.#at++;
    this.#space(column);
    this.#add(mapping, key, this.#flowValue(column, depth));
  }

  #flowValue(column: number, depth: number): unknown {
    const next = this.#text[this.#at];
    if (next === '{' || next === '[') return this.#flow(column, depth + 1);
    const value = this.#scalar(PLAIN_IN_FLOW);
    // A pair without braces, or a text of several lines.
    this.#space(column);
    if (!',]}'.includes(this.#text[this.#at] ?? ' ')) throw new Unusual();
    return value;
  }

  /** Blanks and ends of lines within a flow collection. */
  #space(column: number): void {
    for (;;) {
      while (this.#text[this.#at] === ' ') this.#at++;
      if (this.#text[this.#at] !== '\n') return;
      this.#at++;
      this.#line++;
      const start = this.#at;
      while (this.#text[this.#at] === ' ') this.#at++;
      if (this.#at - start <= column && this.#text[this.#at] !== '\n') throw new Unusual();
    }
  }
}
