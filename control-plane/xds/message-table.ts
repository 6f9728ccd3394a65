/** Which fields does a message have? The table's short text, made into what the codec works with. */
import { INT32, type Scalar, scalarOf } from './scalars.ts';

/** Message -> field -> `number[|oneof] [repeated |map ]type`; enum -> word -> number. Keys of maps are strings. */
export interface MessageTable {
  readonly messages: Readonly<Record<string, Readonly<Record<string, string>>>>;
  readonly enums: Readonly<Record<string, Readonly<Record<string, number>>>>;
}

export interface Field {
  readonly name: string;
  readonly number: number;
  readonly oneof: string | undefined;
  readonly kind: 'one' | 'repeated' | 'map';
  readonly type: string;
  /** Undefined: a message. */
  readonly scalar: Scalar | undefined;
  /** Of an enum, both ways. */
  readonly words: ReadonlyMap<unknown, number> | undefined;
  readonly wordOf: ReadonlyMap<unknown, string> | undefined;
}

export interface Message {
  readonly byName: ReadonlyMap<string, Field>;
  readonly byNumber: ReadonlyMap<number, Field>;
}

export class Messages {
  readonly #table: MessageTable;
  readonly #parsed = new Map<string, Message>();

  constructor(table: MessageTable) {
    this.#table = table;
  }

  /** Parsed when it is first asked for. */
  get(name: string): Message | undefined {
    const known = this.#parsed.get(name);
    if (known !== undefined || !Object.hasOwn(this.#table.messages, name)) return known;
    const fields = Object.entries(this.#table.messages[name] ?? {}).map(([field, text]) => this.#field(field, text));
    const message = {
      byName: new Map(fields.map((field) => [field.name, field])),
      byNumber: new Map(fields.map((field) => [field.number, field])),
    };
    this.#parsed.set(name, message);
    return message;
  }

  #field(name: string, text: string): Field {
    const [head = '', ...rest] = text.split(' ');
    const [number, oneof] = head.split('|');
    const type = rest.at(-1) ?? '';
    const kind = rest.length > 1 ? (rest[0] as 'repeated' | 'map') : 'one';
    const values = this.#table.enums[type];
    const words = values && Object.entries(values);
    return {
      name,
      number: Number(number),
      oneof,
      kind,
      type,
      scalar: words === undefined ? scalarOf(type) : INT32,
      words: words && new Map<unknown, number>(words),
      wordOf: words && new Map<unknown, string>(words.map(([word, value]) => [value, word])),
    };
  }
}
