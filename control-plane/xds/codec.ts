/**
 * Plain objects <-> protobuf bytes, by a table of names and numbers instead of generated code: the table is small, needs
 * no compiling at the start, and what it does not list is skipped unread. Reading and writing the bytes is protobufjs'.
 */
import protobuf from 'protobufjs/minimal.js';
import { type Field, type Message, Messages, type MessageTable } from './message-table.ts';
import { STRING } from './scalars.ts';
import { typeUrlOf } from './types.ts';

const { Reader, Writer } = protobuf;
const ANY = 'google.protobuf.Any';
const DELIMITED = 2;

type Plain = Readonly<Record<string, unknown>>;

/** Says which field of which message is wrong. */
export class CodecError extends Error {
  readonly #what: string;
  readonly #path: string;

  constructor(what: string, path = '') {
    super(`${path}: ${what}`);
    this.name = 'CodecError';
    this.#what = what;
    this.#path = path;
  }

  /** The same, seen from outside of a field. */
  static inside(error: unknown, field: string): unknown {
    return error instanceof CodecError ? new CodecError(error.#what, field + error.#path) : error;
  }
}

/** `Types`: the type of the plain object for each message's full name. */
export class Codec<Types> {
  readonly #messages: Messages;

  constructor(table: MessageTable) {
    this.#messages = new Messages(table);
  }

  /**
   * An Any may be given as `{'@type': name, ...fields}`.
   * @throws CodecError for a field that the table does not have, a value that does not fit, two fields of one oneof
   */
  encode<Name extends keyof Types & string>(name: Name, message: Types[Name]): Uint8Array {
    const writer = Writer.create();
    try {
      this.#write(writer, name, message as Plain);
    } catch (error) {
      throw CodecError.inside(error, name);
    }
    return writer.finish();
  }

  /** What is absent stays absent; fields that the table does not have are left out; an Any of a known type is opened. */
  decode<Name extends keyof Types & string>(name: Name, bytes: Uint8Array): Types[Name] {
    const reader = Reader.create(bytes);
    return this.#read(reader, name, reader.len) as Types[Name];
  }

  #message(name: string): Message {
    const message = this.#messages.get(name);
    if (message === undefined) throw new CodecError(`there is no message ${name} in the table`);
    return message;
  }

  /** @param besides a key that is no field */
  #write(writer: protobuf.Writer, name: string, message: Plain, besides?: string): void {
    const { byName } = this.#message(name);
    let oneofs: Set<string> | undefined;
    for (const key of Object.keys(message)) {
      const value = message[key];
      if (value === undefined || key === besides) continue;
      const field = byName.get(key);
      if (field === undefined) throw new CodecError(`${name} has no field ${key}`);
      if (field.oneof !== undefined) {
        oneofs ??= new Set();
        if (oneofs.has(field.oneof)) throw new CodecError(`more than one of ${field.oneof} is set`);
        oneofs.add(field.oneof);
      }
      try {
        this.#writeField(writer, field, value);
      } catch (error) {
        throw CodecError.inside(error, `.${key}`);
      }
    }
  }

  #writeField(writer: protobuf.Writer, field: Field, value: unknown): void {
    if (field.kind === 'one') {
      this.#writeOne(writer, field, field.number, value);
    } else if (field.kind === 'repeated') {
      if (!Array.isArray(value)) throw new CodecError('is not a list');
      // Unpacked, which every reader takes; no list of numbers in use is long.
      for (const each of value) this.#writeOne(writer, field, field.number, each);
    } else {
      if (typeof value !== 'object' || value === null) throw new CodecError('is not a map');
      for (const [key, each] of Object.entries(value)) {
        writer.uint32((field.number << 3) | DELIMITED).fork();
        writer.uint32((1 << 3) | DELIMITED).string(key);
        this.#writeOne(writer, field, 2, each);
        writer.ldelim();
      }
    }
  }

  #writeOne(writer: protobuf.Writer, field: Field, number: number, given: unknown): void {
    const { scalar, type } = field;
    if (scalar !== undefined) {
      const value = field.words?.get(given) ?? given;
      if (!scalar.fits(value)) throw new CodecError(`${JSON.stringify(given)} is not ${type}`);
      scalar.write(writer.uint32((number << 3) | scalar.wire), value);
      return;
    }
    if (typeof given !== 'object' || given === null) throw new CodecError(`is not ${type}`);
    writer.uint32((number << 3) | DELIMITED).fork();
    if (type === ANY && '@type' in given) this.#writeAny(writer, given as Plain);
    else this.#write(writer, type, given as Plain);
    writer.ldelim();
  }

  #writeAny(writer: protobuf.Writer, message: Plain): void {
    const name = String(message['@type']);
    writer.uint32((1 << 3) | DELIMITED).string(typeUrlOf(name));
    writer.uint32((2 << 3) | DELIMITED).fork();
    this.#write(writer, name, message, '@type');
    writer.ldelim();
  }

  #read(reader: protobuf.Reader, name: string, end: number): Plain {
    const { byNumber } = this.#message(name);
    const message: Record<string, unknown> = {};
    while (reader.pos < end) {
      const tag = reader.uint32();
      const field = byNumber.get(tag >>> 3);
      if (field === undefined) reader.skipType(tag & 7);
      else this.#readField(reader, field, tag & 7, message);
    }
    return name === ANY ? this.#openAny(message) : message;
  }

  #readField(reader: protobuf.Reader, field: Field, wire: number, message: Record<string, unknown>): void {
    const { name, scalar } = field;
    if (field.kind === 'one') {
      message[name] = this.#readOne(reader, field);
    } else if (field.kind === 'map') {
      // Without a prototype, so that no key is special.
      message[name] ??= Object.create(null);
      this.#readEntry(reader, field, message[name] as Record<string, unknown>);
    } else {
      message[name] ??= [];
      const list = message[name] as unknown[];
      const packed = wire === DELIMITED && scalar !== undefined && scalar.wire !== DELIMITED;
      const end = packed ? reader.uint32() + reader.pos : reader.pos + 1;
      while (reader.pos < end) list.push(this.#readOne(reader, field));
    }
  }

  #readEntry(reader: protobuf.Reader, field: Field, map: Record<string, unknown>): void {
    const end = reader.uint32() + reader.pos;
    let key: unknown = '';
    let value: unknown = field.scalar === undefined ? {} : undefined;
    while (reader.pos < end) {
      const tag = reader.uint32();
      if (tag >>> 3 === 1) key = STRING.read(reader);
      else if (tag >>> 3 === 2) value = this.#readOne(reader, field);
      else reader.skipType(tag & 7);
    }
    map[String(key)] = value;
  }

  #readOne(reader: protobuf.Reader, { scalar, wordOf, type }: Field): unknown {
    if (scalar === undefined) return this.#read(reader, type, reader.uint32() + reader.pos);
    const value = scalar.read(reader);
    return wordOf?.get(value) ?? value;
  }

  #openAny(any: Plain): Plain {
    const name = String(any['type_url'] ?? '').split('/')[1] ?? '';
    if (this.#messages.get(name) === undefined) return any;
    const reader = Reader.create((any['value'] as Uint8Array | undefined) ?? new Uint8Array());
    return { '@type': name, ...this.#read(reader, name, reader.len) };
  }
}
