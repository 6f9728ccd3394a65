/**
 * Names: DNS that waits in a device of its own, what it says, and which addresses names stand for. Opened when a policy first
 * asks for names. Where it stops, what names stood for stays in the tables; see bpf/lib/names.h for what passes then.
 */
import { join } from 'node:path';
import type { AttachKind } from '../datapath/attachments.ts';
import { findFlow } from '../datapath/flow-lookup.ts';
import { addressesInUse } from '../datapath/flow-sweep.ts';
import { attachPutBack } from '../datapath/hold-device.ts';
import type { Closeable, Kernel, KernelObject } from '../datapath/kernel.ts';
import type { Tap } from '../datapath/kernel-devices.ts';
import { Naming } from '../datapath/naming.ts';
import { NameBook, type NamedAddress } from '../dns/book.ts';
import { type Datagram, TCP } from '../dns/frame.ts';
import { type DnsFlow, type DnsNumbers, Interceptor, type Seen } from '../dns/interceptor.ts';
import { NameFile } from '../dns/store.ts';
import { namingName } from '../encryption/names.ts';
import { Verdict } from '../generated/bpf.ts';
import { formatAddress } from '../model/address.ts';
import { systemClock } from '../model/clock.ts';
import type { DnsEvent } from '../model/dns-event.ts';
import { nameFits, nameMatchText } from '../model/dns-name.ts';
import { SidestepError } from '../model/error.ts';
import type { DnsRule } from '../model/policy.ts';
import type { Snapshot } from '../model/snapshot.ts';
import type { Config } from './config.ts';
import type { Logger } from './log.ts';

/** An agent that says nothing for longer is none. A pause of the collector is far below, a retry of a resolver far above. */
const ALIVE_MS = 2500;
const BEAT_MS = 500;
const EXPIRY_MS = 5000;
/** A client's SYN, the ACK of its answer, and the query itself; one more for a retransmission. */
const OPENING_PACKETS = 4;

export interface NamingPlaneParts {
  readonly config: Pick<Config, 'instance' | 'stateDir'>;
  readonly kernel: Kernel;
  readonly object: KernelObject;
  readonly attach: AttachKind;
  readonly log: Logger;
  /** The book has changed. Resolves when the kernel knows; never rejects. */
  readonly changed: () => Promise<void>;
  readonly record: (event: DnsEvent) => void;
}

/** What came by, since the agent started, and what is known. */
export interface NamesView extends DnsNumbers {
  /** Somebody is admitted by name, or asks under rules: messages are put aside. */
  readonly active: boolean;
  readonly names: number;
  readonly addresses: number;
  /** Names and addresses that were forgotten for want of room. */
  readonly forgotten: number;
}

/** A name, and what it stands for. */
export interface NameRow {
  readonly name: string;
  /** What of policy takes it: only then are its addresses in the tables. */
  readonly taken: readonly string[];
  /** With when each ends unless a flow has it, RFC 3339. */
  readonly addresses: readonly { readonly address: string; readonly until: string }[];
}

export class NamingPlane {
  readonly #parts: NamingPlaneParts;
  readonly #book = new NameBook(systemClock);
  readonly #naming: Naming;
  readonly #file: NameFile;
  readonly #interceptor: Interceptor;
  readonly #timers: NodeJS.Timeout[] = [];
  #tap: Tap | undefined;
  #putBack: Closeable | undefined;
  #snapshot: Snapshot | undefined;
  #expiring = false;
  #closed = false;
  /** Of the book; the same list while it says the same. */
  #addresses: readonly NamedAddress[] | undefined;

  /** Knows what an earlier agent knew; nothing is open yet. */
  constructor(parts: NamingPlaneParts) {
    this.#parts = parts;
    const { kernel, object } = parts;
    this.#naming = new Naming(object, () => kernel.monotonicNs());
    this.#file = new NameFile(join(parts.config.stateDir, 'names.jsonl'));
    this.#book.restore(this.#file.read());
    this.#interceptor = new Interceptor({
      flowOf: (datagram) => this.#flowOf(datagram),
      learn: (answer) => this.#learn(answer),
      writeBack: (frame) => this.#tap?.write(frame),
      saw: (seen) => this.#saw(seen),
      clock: systemClock,
    });
  }

  /** What the compiler admits by name. */
  get addresses(): readonly NamedAddress[] {
    this.#addresses ??= this.#book.addresses();
    return this.#addresses;
  }

  /** The one asked for last comes first. */
  list(): readonly NameRow[] {
    const matches = this.#snapshot?.names ?? [];
    return this.#book
      .content()
      .map(([name, addresses]) => ({
        name,
        taken: matches.filter((match) => nameFits(match, name)).map(nameMatchText),
        addresses: addresses.map(([key, until]) => ({
          address: formatAddress(Buffer.from(key, 'hex')),
          until: new Date(until).toISOString(),
        })),
      }))
      .reverse();
  }

  view(): NamesView {
    return {
      active: this.#tap !== undefined,
      names: this.#book.size,
      addresses: this.addresses.length,
      forgotten: this.#book.evicted,
      ...this.#interceptor.numbers,
    };
  }

  /** Another policy is in force. Opens the device when names first count. */
  update(snapshot: Snapshot): void {
    this.#snapshot = snapshot;
    if (this.#timers.length > 0 || this.#closed || !needsNames(snapshot)) return;
    this.#save((file) => file.write(this.#book.content()));
    this.#openTap();
    this.#every(BEAT_MS, () => this.#beat());
    this.#every(EXPIRY_MS, () => void this.#expire());
  }

  #every(ms: number, action: () => void): void {
    const timer = setInterval(action, ms);
    timer.unref();
    this.#timers.push(timer);
  }

  #openTap(): void {
    const { kernel, object, attach, config, log } = this.#parts;
    if (this.#closed) return;
    try {
      this.#tap = kernel.openTap(namingName(config.instance), {
        frames: (frames) => {
          for (const frame of frames) this.#take(frame);
        },
        gone: () => {
          this.#putBack?.close();
          this.#tap = undefined;
          this.#naming.gone();
          this.#openTap();
        },
      });
      this.#putBack = attachPutBack(kernel, object, 'put_back_dns', this.#tap.ifindex, attach);
      this.#beat();
    } catch (error) {
      if (!(error instanceof SidestepError)) throw error;
      log.error({ err: error, code: error.code }, 'names cannot be learned, and DNS under rules is refused');
    }
  }

  #beat(): void {
    if (this.#tap) this.#naming.alive(this.#tap.ifindex, ALIVE_MS);
  }

  #take(frame: Uint8Array): void {
    try {
      this.#interceptor.take(frame, this.#tap?.headerLength ?? 0);
    } catch (error) {
      if (!(error instanceof SidestepError)) throw error;
      this.#parts.log.warn({ err: error, code: error.code }, 'a DNS message could not go on');
    }
  }

  #flowOf(datagram: Datagram): DnsFlow | undefined {
    const found = findFlow(this.#parts.object.map('flows'), datagram);
    if (found === undefined) return undefined;
    const { flow, fromInitiator } = found;
    const { verdict, ruleset } = flow.egress;
    return {
      fromClient: fromInitiator,
      rules: verdict === Verdict.VERDICT_DNS ? this.#rulesOf(ruleset) : undefined,
      begins: flow.packets[0] <= OPENING_PACKETS,
    };
  }

  /** A decision point that is unknown admits nothing. */
  #rulesOf(id: number): readonly DnsRule[] | undefined {
    const ruleset = this.#snapshot?.rulesets.get(id);
    // A plain rule admits everything.
    return ruleset && ruleset.rules.length > 0 ? undefined : (ruleset?.dns ?? []);
  }

  /** Names that no policy takes are kept for policies to come, but nothing waits for them. */
  #learn(answer: Parameters<NameBook['learn']>[0]): Promise<void> | undefined {
    if (!this.#book.learn(answer)) return undefined;
    this.#addresses = undefined;
    this.#save((file) => file.append(this.#book.entry(answer.name)) && file.write(this.#book.content()));
    if (!(this.#snapshot?.names ?? []).some((match) => nameFits(match, answer.name))) return undefined;
    return this.#parts.changed();
  }

  #saw({ datagram, question, verdict, rules, answer }: Seen): void {
    const { source, destination, sourcePort, destinationPort } = datagram;
    const found = findFlow(this.#parts.object.map('flows'), datagram);
    const [clientIdentity, serverIdentity] = found?.flow.identity ?? [0, 0];
    const reply = answer !== undefined;
    this.#parts.record({
      time: Date.now(),
      client: reply ? destination : source,
      server: reply ? source : destination,
      clientPort: reply ? destinationPort : sourcePort,
      serverPort: reply ? sourcePort : destinationPort,
      clientIdentity,
      serverIdentity,
      protocol: datagram.protocol === TCP ? 'TCP' : 'UDP',
      name: question?.name,
      type: question?.type ?? '',
      verdict,
      rules: rules.map(({ ref }) => ref),
      ...(answer
        ? {
            answer: {
              code: answer.code,
              addresses: answer.addresses.map(({ address }) => address),
              aliases: answer.aliases,
              ttl: Math.min(...answer.addresses.map(({ ttl }) => ttl), 0x7fffffff),
            },
          }
        : {}),
    });
  }

  /** What a live flow has stays, however old: only what has ended is asked after, and seldom. */
  async #expire(): Promise<void> {
    if (this.#expiring || !this.#book.hasEnded) return;
    this.#expiring = true;
    try {
      const inUse = await addressesInUse(this.#parts.object.map('flows'));
      if (!this.#closed && this.#book.expire(inUse)) {
        this.#addresses = undefined;
        this.#save((file) => file.write(this.#book.content()));
        await this.#parts.changed();
      }
    } finally {
      this.#expiring = false;
    }
  }

  #save(write: (file: NameFile) => void): void {
    try {
      write(this.#file);
    } catch (error) {
      this.#parts.log.error({ err: error }, 'names could not be written: the next agent asks for them anew');
    }
  }

  close(): void {
    this.#closed = true;
    for (const timer of this.#timers) clearInterval(timer);
    if (this.#tap) this.#naming.gone();
    this.#putBack?.close();
    this.#tap?.close();
  }
}

/** Somebody is admitted by name, or asks under rules. */
function needsNames({ workloads, rulesets }: Snapshot): boolean {
  return (
    workloads.some(({ learnsNames }) => learnsNames) || [...rulesets.values()].some(({ dns }) => dns !== undefined)
  );
}
