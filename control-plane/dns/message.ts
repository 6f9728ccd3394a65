/** What a DNS message says, as far as policy is concerned: who is asked for, and which addresses are given (RFC 1035). */
import dns from 'dns-packet';
import { parseAddress } from '../model/address.ts';

export interface Question {
  readonly id: number;
  /** Lower case, without the dot at the end; '' is the root. */
  readonly name: string;
  /** `A`, `AAAA`, `HTTPS`, … */
  readonly type: string;
}

export interface LearnedAddress {
  /** 16 bytes. */
  readonly address: Uint8Array;
  /** How long the answer may be kept, in seconds: the least of the records on the way to it. */
  readonly ttl: number;
}

export interface Answer extends Question {
  /** RFC 1035 §4.1.1: 0 is no error, 3 no such name. */
  readonly code: number;
  /** The names that the name asked for stands for, in order. */
  readonly aliases: readonly string[];
  readonly addresses: readonly LearnedAddress[];
}

const HEADER = 12;
const QR = 0x80;
const RD = 0x01;
/** The opcode: 0 is a query. */
const OPCODE = 0x78;
const REFUSED = 5;
/** Type, class, time to live and length of a record. */
const RECORD = 10;
/** The two highest bits of a length. */
const POINTER = 0xc0;
/** A chain longer than that is a loop or an attack; resolvers give up at 8 to 16. */
const MOST_ALIASES = 16;
/** RFC 2181 §8: more is to be taken for 0. */
const LONGEST_TTL = 0x7fffffff;

/** @returns undefined for what is no query with one question that a name can be read from */
export function readQuery(message: Uint8Array): Question | undefined {
  if (message.length < HEADER || ((message[2] ?? 0) & (QR | OPCODE)) !== 0) return undefined;
  return questionOf(Buffer.from(message.buffer, message.byteOffset, message.byteLength));
}

/** @returns undefined for what is no answer to one question, or cannot be read: nothing is learned from it */
export function readAnswer(message: Uint8Array): Answer | undefined {
  if (message.length < HEADER || ((message[2] ?? 0) & (QR | OPCODE)) !== QR) return undefined;
  const bytes = Buffer.from(message.buffer, message.byteOffset, message.byteLength);
  const question = questionOf(bytes);
  if (question === undefined) return undefined;
  const section = answerSection(bytes);
  if (section === undefined) return undefined;
  let answers: readonly dns.Answer[];
  try {
    answers = dns.decode(section).answers ?? [];
  } catch {
    return undefined;
  }
  return { ...question, code: (message[3] ?? 0) & 15, ...follow(question.name, answers) };
}

/**
 * The answer that a server gives to what it will not answer (RFC 1035 §4.1.1): the question, and nothing else.
 * @param query of which readQuery told the question
 */
export function refusalOf(query: Uint8Array): Uint8Array {
  const end = HEADER + nameLength(query, HEADER) + 4;
  const answer = Uint8Array.from(query.subarray(0, end));
  answer[2] = QR | ((query[2] ?? 0) & RD);
  answer[3] = REFUSED;
  // One question; no answer, no authority, nothing additional.
  answer.set([0, 1, 0, 0, 0, 0, 0, 0], 4);
  return answer;
}

/** The only question. Written out in full (RFC 1035 §4.1.2 has nothing before it to point to), and free of dots inside labels. */
function questionOf(message: Buffer): Question | undefined {
  if (message.readUInt16BE(4) !== 1) return undefined;
  const length = nameLength(message, HEADER);
  if (length === 0 || message.length < HEADER + length + 4) return undefined;
  const labels: string[] = [];
  for (let at = HEADER; message[at] !== 0; at += 1 + (message[at] ?? 0)) {
    const label = message.toString('latin1', at + 1, at + 1 + (message[at] ?? 0)).toLowerCase();
    // A dot in a label would make one name look like another.
    if (!/^[\x21-\x2d\x2f-\x7e]+$/.test(label)) return undefined;
    labels.push(label);
  }
  const type = typeName(message.readUInt16BE(HEADER + length));
  return { id: message.readUInt16BE(0), name: labels.join('.'), type };
}

/**
 * The message up to the end of its answers, which are all there: a decoder that goes by the counts of the header alone can be
 * kept busy for half a minute by sixty bytes.
 */
function answerSection(message: Buffer): Buffer | undefined {
  let at = HEADER + nameLength(message, HEADER) + 4;
  for (let left = message.readUInt16BE(6); left > 0; left--) {
    const fixed = endOfName(message, at);
    if (fixed === undefined || fixed + RECORD > message.length) return undefined;
    at = fixed + RECORD + message.readUInt16BE(fixed + RECORD - 2);
    if (at > message.length) return undefined;
  }
  const section = Buffer.from(message.subarray(0, at));
  // No authority, nothing additional.
  section.writeUInt32BE(0, 8);
  return section;
}

/** Behind a name in the message, which may end in a pointer (RFC 1035 §4.1.4). */
function endOfName(message: Uint8Array, start: number): number | undefined {
  for (let at = start; ; ) {
    const length = message[at];
    if (length === undefined || at - start > 255) return undefined;
    if (length === 0) return at + 1;
    if (length >= POINTER) return at + 2;
    if (length > 63) return undefined;
    at += 1 + length;
  }
}

function typeName(type: number): string {
  return TYPES.get(type) ?? `TYPE${type}`;
}

/** The ones that people ask for; the others have RFC 3597's name. */
const TYPES: ReadonlyMap<number, string> = new Map([
  [1, 'A'],
  [2, 'NS'],
  [5, 'CNAME'],
  [6, 'SOA'],
  [12, 'PTR'],
  [15, 'MX'],
  [16, 'TXT'],
  [28, 'AAAA'],
  [33, 'SRV'],
  [64, 'SVCB'],
  [65, 'HTTPS'],
  [255, 'ANY'],
]);

/** Bytes of an uncompressed name at `at`; 0: there is none. */
function nameLength(message: Uint8Array, at: number): number {
  let end = at;
  for (;;) {
    const length = message[end];
    if (length === undefined || length > 63) return 0;
    end += 1 + length;
    if (end - at > 255 || end > message.length) return 0;
    if (length === 0) return end - at;
  }
}

/** From the name asked for along its aliases to addresses; what the answer says of other names is nobody's question. */
function follow(name: string, answers: readonly dns.Answer[]): Pick<Answer, 'aliases' | 'addresses'> {
  const aliases: string[] = [];
  const addresses: LearnedAddress[] = [];
  const byName = new Map<string, dns.Answer[]>();
  for (const answer of answers) {
    const key = plain(answer.name);
    byName.set(key, [...(byName.get(key) ?? []), answer]);
  }
  let ttl = LONGEST_TTL;
  for (let at: string | undefined = name; at !== undefined && aliases.length <= MOST_ALIASES; ) {
    let next: string | undefined;
    for (const record of byName.get(at) ?? []) {
      if (record.type === 'A' || record.type === 'AAAA') {
        const address = addressOf(record.data);
        if (address) addresses.push({ address, ttl: Math.min(ttl, seconds(record.ttl)) });
      } else if (record.type === 'CNAME') {
        next = plain(record.data);
        ttl = Math.min(ttl, seconds(record.ttl));
      }
    }
    if (next === undefined || next === name || aliases.includes(next)) break;
    aliases.push(next);
    at = next;
  }
  return { aliases, addresses };
}

function seconds(ttl: number | undefined): number {
  return ttl === undefined || ttl > LONGEST_TTL ? 0 : ttl;
}

function plain(name: string): string {
  return name.replace(/\.$/, '').toLowerCase();
}

function addressOf(text: string): Uint8Array | undefined {
  try {
    return parseAddress(text);
  } catch {
    return undefined;
  }
}
