/**
 * DNS that the kernel puts aside: queries of pods whose policy says what they may ask for, and answers to pods whose policy admits
 * by name. A query goes on or is refused; an answer goes on when the kernel knows its addresses. What goes on is as it came.
 */
import type { Clock } from '../model/clock.ts';
import { nameFits } from '../model/dns-name.ts';
import type { DnsRule } from '../model/policy.ts';
import { type Datagram, readDatagram, replyTo, resetAfter, TCP, TCP_FLAGS } from './frame.ts';
import { type Answer, type Question, readAnswer, readQuery, refusalOf } from './message.ts';
import { MessageStream, withLength } from './stream.ts';

/** A flow that a frame belongs to, as the kernel has it. */
export interface DnsFlow {
  /** Of the workload that asks; otherwise of who answers it. */
  readonly fromClient: boolean;
  /** What it may ask for; undefined: everything. */
  readonly rules: readonly DnsRule[] | undefined;
  /** Its client has sent no more than opens it and this. Of TCP. */
  readonly begins: boolean;
}

/** A message that was looked at. */
export interface Seen {
  readonly datagram: Datagram;
  readonly verdict: 'allowed' | 'refused';
  /** undefined: it cannot be read. */
  readonly question: Question | undefined;
  /** The rule that allows a query, or all that do not. */
  readonly rules: readonly DnsRule[];
  readonly answer?: Answer;
}

export interface InterceptorPorts {
  /** undefined: nobody knows it any more. */
  readonly flowOf: (datagram: Datagram) => DnsFlow | undefined;
  /** undefined: nothing in it is new. Resolves when the kernel has it; it never rejects. */
  readonly learn: (answer: Answer, datagram: Datagram) => Promise<void> | undefined;
  readonly writeBack: (frame: Uint8Array) => void;
  readonly saw: (seen: Seen) => void;
  readonly clock: Clock;
  readonly limits?: Partial<InterceptorLimits>;
}

export interface InterceptorLimits {
  /** Answers that wait at once; more go on unlearned. */
  readonly waiting: number;
  /** So long an answer waits. Resolvers ask again after 5 s. */
  readonly ageMs: number;
  /** Connections that are followed, each way counted; the one that was quiet longest is forgotten. */
  readonly streams: number;
}

export interface DnsNumbers {
  readonly queries: number;
  readonly refused: number;
  readonly answers: number;
  /** Answers that waited until the kernel knew. */
  readonly learned: number;
  /** Went on before the kernel knew: it took too long, or too many waited. */
  readonly unlearned: number;
  /** Could not be read, or belonged to no flow. */
  readonly unreadable: number;
}

const LIMITS: InterceptorLimits = { waiting: 4096, ageMs: 1000, streams: 4096 };

interface Followed {
  readonly messages: MessageStream<Datagram>;
  /** Its client asked for what it may not: nothing of it goes on. */
  over: boolean;
}

export class Interceptor {
  readonly #ports: InterceptorPorts;
  readonly #limits: InterceptorLimits;
  readonly #streams = new Map<string, Followed>();
  #waiting = 0;
  readonly #numbers = { queries: 0, refused: 0, answers: 0, learned: 0, unlearned: 0, unreadable: 0 };

  constructor(ports: InterceptorPorts) {
    this.#ports = ports;
    this.#limits = { ...LIMITS, ...ports.limits };
  }

  get numbers(): DnsNumbers {
    return { ...this.#numbers };
  }

  /** @param ethernet where the frame's Ethernet header begins */
  take(frame: Uint8Array, ethernet = 0): void {
    const datagram = readDatagram(frame, ethernet);
    const flow = datagram && this.#ports.flowOf(datagram);
    if (datagram === undefined || flow === undefined) {
      // The kernel puts no fragment aside, so what this is nobody can say, and what nobody has looked at does not go on.
      this.#numbers.unreadable++;
      return;
    }
    const tcp = datagram.protocol === TCP;
    if (!flow.fromClient) this.#answers(datagram, tcp ? this.#answered(datagram) : [datagram.payload]);
    else if (tcp) this.#querySegment(datagram, flow);
    else this.#query(datagram, flow.rules);
  }

  #query(datagram: Datagram, rules: readonly DnsRule[] | undefined): void {
    const { verdict, question } = this.#asked(datagram, datagram.payload, rules);
    if (verdict === 'allowed') this.#ports.writeBack(datagram.bytes);
    else if (question) this.#ports.writeBack(replyTo(datagram, refusalOf(datagram.payload)));
  }

  #asked(datagram: Datagram, message: Uint8Array, rules: readonly DnsRule[] | undefined): Seen {
    this.#numbers.queries++;
    const question = readQuery(message);
    const rule = question && rules?.find(({ match }) => nameFits(match, question.name));
    const verdict = rules === undefined || rule ? 'allowed' : 'refused';
    return this.#saw({ datagram, question, verdict, rules: rule ? [rule] : (rules ?? []) });
  }

  #saw(seen: Seen): Seen {
    if (seen.verdict === 'refused') this.#numbers.refused++;
    this.#ports.saw(seen);
    return seen;
  }

  #querySegment(datagram: Datagram, { rules, begins }: DnsFlow): void {
    const isKnown = this.#streams.has(keyOf(datagram));
    const stream = this.#follow(datagram);
    if (stream.over) return;
    const { messages, complete, broken } = stream.messages.take(segmentOf(datagram));
    // In the middle of one nobody can say where a message begins, nor what the server has of it: the client begins anew.
    if (!isKnown && !begins && rules !== undefined) {
      this.#end(stream, datagram);
      return;
    }
    for (const message of messages) {
      const { verdict, question } = this.#asked(datagram, message, rules);
      if (verdict === 'allowed') continue;
      if (question) this.#end(stream, datagram, withLength(refusalOf(message)));
      else this.#end(stream, datagram);
      return;
    }
    if (broken) {
      this.#saw({ datagram, question: undefined, verdict: 'refused', rules: rules ?? [] });
      this.#end(stream, datagram);
      return;
    }
    for (const { bytes } of complete) this.#ports.writeBack(bytes);
  }

  /** The server's bytes and ours cannot both stand behind each other: it is the last that the client hears. */
  #end(stream: Followed, datagram: Datagram, answer?: Uint8Array): void {
    const { FIN, PSH, ACK, RST } = TCP_FLAGS;
    stream.over = true;
    const reply = answer ? replyTo(datagram, answer, FIN | PSH | ACK) : replyTo(datagram, new Uint8Array(0), RST | ACK);
    this.#ports.writeBack(reply);
    this.#ports.writeBack(resetAfter(datagram));
  }

  #answered(datagram: Datagram): readonly Uint8Array[] {
    return this.#follow(datagram).messages.take(segmentOf(datagram)).messages;
  }

  /** The frame that makes messages whole waits for what they say. */
  #answers(datagram: Datagram, messages: readonly Uint8Array[]): void {
    const learning = messages.flatMap((message) => {
      this.#numbers.answers++;
      const answer = readAnswer(message);
      if (answer) this.#saw({ datagram, question: answer, verdict: 'allowed', rules: [], answer });
      return (answer && this.#ports.learn(answer, datagram)) ?? [];
    });
    const isFull = this.#waiting >= this.#limits.waiting;
    if (learning.length > 0 && isFull) this.#numbers.unlearned++;
    if (learning.length === 0 || isFull) this.#ports.writeBack(datagram.bytes);
    else void this.#wait(datagram, Promise.all(learning));
  }

  async #wait(datagram: Datagram, learning: Promise<unknown>): Promise<void> {
    const { promise: late, resolve } = Promise.withResolvers<'late'>();
    const cancel = this.#ports.clock.after(this.#limits.ageMs, () => resolve('late'));
    this.#waiting++;
    const outcome = await Promise.race([learning, late]);
    this.#waiting--;
    cancel();
    if (outcome === 'late') this.#numbers.unlearned++;
    else this.#numbers.learned++;
    this.#ports.writeBack(datagram.bytes);
  }

  #follow(datagram: Datagram): Followed {
    const key = keyOf(datagram);
    const opens = (datagram.flags & TCP_FLAGS.SYN) !== 0;
    const known = opens ? undefined : this.#streams.get(key);
    const stream = known ?? { messages: new MessageStream<Datagram>(segmentOf(datagram).sequence), over: false };
    this.#streams.delete(key);
    this.#streams.set(key, stream);
    if (this.#streams.size > this.#limits.streams) {
      const [quiet = ''] = this.#streams.keys();
      this.#streams.delete(quiet);
    }
    return stream;
  }
}

function segmentOf(datagram: Datagram): { sequence: number; payload: Uint8Array; item: Datagram } {
  const opens = (datagram.flags & TCP_FLAGS.SYN) !== 0 ? 1 : 0;
  return { sequence: (datagram.sequence + opens) >>> 0, payload: datagram.payload, item: datagram };
}

function keyOf({ source, sourcePort, destination, destinationPort }: Datagram): string {
  const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');
  return `${hex(source)} ${sourcePort} ${hex(destination)} ${destinationPort}`;
}
