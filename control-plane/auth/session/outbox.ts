/** What is to be said about identities, packed into few frames. */
import { type Answer, type Gone, MAX_LIST, type Message, type Refusal, type WireProof } from './messages.ts';

/** With room for lengths and tags below MAX_FRAME_BYTES. */
const FRAME_BUDGET = 48 * 1024;
/** Tags and lengths of one entry. */
const ENTRY_BYTES = 32;

export class Outbox {
  readonly #session: Uint8Array;
  readonly #send: (message: Message) => void;
  withdrawn: Gone[] = [];
  accepted: Answer[] = [];
  refused: Refusal[] = [];
  proofs: WireProof[] = [];
  wanted: string[] = [];

  constructor(session: Uint8Array, send: (message: Message) => void) {
    this.#session = session;
    this.#send = send;
  }

  flush(): void {
    const send = this.#send;
    // Answers before questions: who waits for both has heard of the one when the other comes.
    for (const identities of packed(this.withdrawn, textSize)) send({ kind: 'withdraw', identities });
    for (const proofs of packed(this.accepted, textSize)) send({ kind: 'accepted', proofs });
    for (const proofs of packed(this.refused, textSize)) send({ kind: 'refused', proofs });
    for (const proofs of packed(this.proofs, proofSize)) send({ kind: 'prove', session: this.#session, proofs });
    for (const identities of packed(this.wanted, ({ length }) => length)) send({ kind: 'want', identities });
    this.withdrawn = [];
    this.accepted = [];
    this.refused = [];
    this.proofs = [];
    this.wanted = [];
  }
}

function* packed<T>(entries: readonly T[], sizeOf: (entry: T) => number): Generator<T[]> {
  let pack: T[] = [];
  let size = 0;
  for (const entry of entries) {
    const more = sizeOf(entry) + ENTRY_BYTES;
    if (pack.length > 0 && (size + more > FRAME_BUDGET || pack.length >= MAX_LIST)) {
      yield pack;
      pack = [];
      size = 0;
    }
    pack.push(entry);
    size += more;
  }
  if (pack.length > 0) yield pack;
}

/** Of texts in ASCII, which all of them are. */
function textSize(entry: Readonly<Record<string, string>>): number {
  return Object.values(entry).reduce((sum, { length }) => sum + length, 0);
}

function proofSize({ identity, serial, chain, signature }: WireProof): number {
  const certificates = chain.reduce((sum, { length }) => sum + length + ENTRY_BYTES, 0);
  return identity.length + serial.length + certificates + signature.length;
}
