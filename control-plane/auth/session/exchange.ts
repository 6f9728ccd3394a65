/**
 * Which identities are proven in one session, by whom, and when again? Each is proven once, unasked or asked for, and again when
 * its certificate was renewed. Runs as jobs of the session, one at a time.
 *
 * An identity of ours is written down as accepted when the other end has said so. Only an answer is written before it leaves:
 * whoever asked may send a packet as soon as it has it.
 */
import { setImmediate as yieldToOthers } from 'node:timers/promises';
import type { Clock } from '../../model/clock.ts';
import { SidestepError } from '../../model/error.ts';
import { ERRORS, type ErrorCode } from '../../model/error-codes.ts';
import type { Proof, Whereabouts } from '../peers.ts';
import { parseSpiffeId } from '../spiffe-id.ts';
import type { Svid, SvidSource, TrustBundle } from '../svid.ts';
import type { Counters } from './counters.ts';
import { type Binding, checkPlace, makeProof, verifyProof } from './identity-proof.ts';
import type { Ledger, Side } from './ledger.ts';
import type { Message, MessageOf, WireProof } from './messages.ts';
import { Outbox } from './outbox.ts';
import { svidOf } from './own-svid.ts';

/** So many signatures are made before others may go on. */
const SIGN_AT_ONCE = 32;

export interface Targets {
  /** SPIFFE IDs of this node to keep proven to the other, and of the other to have proven. */
  readonly ours: ReadonlySet<string>;
  readonly theirs: ReadonlySet<string>;
}

export interface ExchangePorts {
  readonly peer: string;
  /** We are the prover; they are. */
  readonly outgoing: Binding;
  readonly incoming: Binding;
  readonly source: Pick<SvidSource, 'workload'>;
  /** undefined: nothing can be verified now. */
  readonly bundle: () => TrustBundle | undefined;
  readonly whereabouts: Whereabouts;
  readonly ledger: Ledger;
  readonly clock: Clock;
  readonly counters: Counters;
  readonly mostIdentities: number;
  readonly retryMs: number;
  readonly epoch: () => number;
  readonly targets: () => Targets;
  readonly send: (message: Message) => void;
  readonly isOver: () => boolean;
  /** For those who wait: a proof was refused, by either end. */
  readonly refused: (side: Side, identity: string, code: string, why: SidestepError) => void;
}

interface Sent {
  readonly serial: string;
  readonly expires: number;
  readonly since: number;
  state: 'sent' | 'accepted' | 'refused';
  /** Why it was refused. */
  code: string;
}

export class Exchange {
  readonly #ports: ExchangePorts;
  readonly #out: Outbox;
  /** Ours, by SPIFFE ID: the last proof of each. */
  readonly #sent = new Map<string, Sent>();
  /** Written down before they were answered. */
  readonly #provisional = new Set<string>();
  /** Ours that the other end wants. */
  readonly #asked = new Set<string>();
  /** Of these, those of which it knows that we have none. */
  readonly #told = new Set<string>();
  /** Theirs that we have asked for, and when. */
  readonly #wanted = new Map<string, number>();
  readonly #proven = new Set<string>();
  /** Theirs that we do not take, or that are not offered, and why. */
  readonly #refused = new Map<string, { readonly code: ErrorCode; readonly offered: boolean }>();

  constructor(ports: ExchangePorts) {
    this.#ports = ports;
    this.#out = new Outbox(ports.outgoing.session, ports.send);
  }

  /** Proves and asks for what is to be and is not yet. */
  async reconcile(): Promise<void> {
    const { targets, isOver } = this.#ports;
    const { ours, theirs } = targets();
    let made = 0;
    for (const identity of new Set([...ours, ...this.#asked, ...this.#sent.keys()])) {
      const needed = ours.has(identity) || this.#asked.has(identity);
      if (!this.#keep(identity, needed) || ++made % SIGN_AT_ONCE !== 0) continue;
      this.#out.flush();
      await yieldToOthers();
      if (isOver()) return;
    }
    // Also what is proven already: so it is proven again when it is renewed.
    for (const identity of theirs) this.#want(identity);
    this.#out.flush();
  }

  /** A certificate was renewed, and its proof is in the last third of its life. */
  isRenewalDue(): boolean {
    const now = this.#ports.clock.now();
    for (const [identity, sent] of this.#sent) {
      const svid = sent.state === 'accepted' && now >= renewalOf(sent) ? this.#svidOf(identity) : undefined;
      if (svid !== undefined && svid.serial !== sent.serial) return true;
    }
    return false;
  }

  /** Somebody waits for these two: what was refused is tried again, or is the answer if that was a moment ago. */
  demand(ours: string, theirs: string): void {
    const { ledger, clock, retryMs, refused, peer } = this.#ports;
    const now = clock.now();
    const sent = this.#sent.get(ours);
    if (sent === undefined || isPast(sent.since, retryMs, now)) this.#keep(ours, true, true);
    else if (sent.state === 'refused') refused('ours', ours, sent.code, refusedByPeer(peer, ours, sent.code));
    const asked = this.#wanted.get(theirs);
    const known = this.#refused.get(theirs);
    const isValid = ledger.isValid('theirs', theirs, now);
    if (!isValid && (asked === undefined || isPast(asked, retryMs, now))) {
      this.#wanted.delete(theirs);
      this.#want(theirs);
    } else if (!isValid && known !== undefined) {
      const why = known.offered ? wasRefused : notProven;
      refused('theirs', theirs, known.code, why(peer, theirs, known.code));
    }
    this.#out.flush();
  }

  /** Ours that are gone, also those of an earlier session. */
  withdraw(identities: Iterable<string>): void {
    for (const identity of identities) this.#takeBack(identity);
    this.#out.flush();
  }

  /** Theirs that are in the ledger no more; the other end hears it. */
  drop(proof: Pick<Proof, 'spiffeId' | 'serial'>, code: ErrorCode): void {
    this.#proven.delete(proof.spiffeId);
    this.#note(proof.spiffeId, code);
    this.#out.refused.push({ identity: proof.spiffeId, serial: proof.serial, code });
    this.#out.flush();
  }

  /** Asks again for what was refused, where the reason may have gone. */
  askAgain(): void {
    const { incoming, whereabouts } = this.#ports;
    const bundle = this.#ports.bundle();
    if (bundle === undefined) return;
    for (const [identity, { code }] of [...this.#refused]) {
      if (code !== 'AUTH_IDENTITY_ELSEWHERE' && !code.startsWith('SVID_')) continue;
      if (!isInPlace(identity, incoming.prover, { bundle, whereabouts })) continue;
      this.#refused.delete(identity);
      this.#wanted.delete(identity);
      this.#want(identity);
    }
    this.#out.flush();
  }

  /** The session is over: what was written ahead of its answer is taken back. */
  end(): void {
    for (const identity of this.#provisional) this.#ports.ledger.withdraw('ours', identity, 'AUTH_SESSION_LOST');
    this.#provisional.clear();
  }

  /** @throws AUTH_ENTRY_FAILED */
  async receive(message: Message): Promise<void> {
    if (message.kind === 'prove') await this.#judge(message);
    else if (message.kind === 'want') await this.#answer(message);
    else if (message.kind === 'accepted') await this.#taken(message);
    else if (message.kind === 'refused') this.#notTaken(message);
    else if (message.kind === 'withdraw') this.#gone(message);
    else throw new SidestepError('AUTH_PROTOCOL', `${this.#ports.peer}: ${message.kind} in an open session`);
    if (!this.#ports.isOver()) this.#out.flush();
  }

  /** @param again also one that was refused. @returns whether a proof was made */
  #keep(identity: string, needed: boolean, again = false): boolean {
    const svid = this.#svidOf(identity);
    if (svid === undefined) {
      if (this.#sent.has(identity)) this.#takeBack(identity);
      else if (this.#asked.has(identity) && !this.#told.has(identity)) this.#tell(identity, 'AUTH_SVID_MISSING');
      return false;
    }
    const due = needed && isDue(this.#sent.get(identity), svid, again, this.#ports.clock.now());
    if (!due) return false;
    const proof = this.#make(svid);
    if (proof === undefined) return false;
    this.#out.proofs.push(proof);
    return true;
  }

  #make(svid: Svid): WireProof | undefined {
    const { counters, outgoing, clock, refused } = this.#ports;
    try {
      const proof = makeProof(svid, outgoing);
      const { identity, serial, expires } = proof;
      this.#sent.set(identity, { serial, expires, since: clock.now(), state: 'sent', code: '' });
      this.#told.delete(identity);
      counters.proofs.made++;
      return proof;
    } catch (error) {
      const why = asError(error, 'AUTH_SVID_UNUSABLE');
      counters.failed('proofs', why.code);
      refused('ours', svid.spiffeId, why.code, why);
      this.#tell(svid.spiffeId, why.code);
      return undefined;
    }
  }

  #svidOf(identity: string): Svid | undefined {
    const { source, clock } = this.#ports;
    const svid = svidOf(source, identity);
    return svid?.spiffeId === identity && svid.notAfter > clock.now() ? svid : undefined;
  }

  #takeBack(identity: string): void {
    this.#sent.delete(identity);
    this.#provisional.delete(identity);
    this.#ports.ledger.withdraw('ours', identity, 'AUTH_SVID_MISSING');
    this.#tell(identity, 'AUTH_IDENTITY_WITHDRAWN');
  }

  #tell(identity: string, code: ErrorCode): void {
    if (this.#asked.has(identity)) this.#told.add(identity);
    this.#out.withdrawn.push({ identity, code });
  }

  #want(identity: string): void {
    if (this.#wanted.has(identity)) return;
    this.#wanted.set(identity, this.#ports.clock.now());
    this.#out.wanted.push(identity);
  }

  async #judge({ session, proofs }: MessageOf<'prove'>): Promise<void> {
    const ofThisSession = Buffer.from(session).equals(this.#ports.incoming.session);
    for (const proof of proofs) {
      await this.#judgeOne(proof, ofThisSession);
      if (this.#ports.isOver()) return;
    }
    await yieldToOthers();
  }

  async #judgeOne(wire: WireProof, ofThisSession: boolean): Promise<void> {
    const { peer, ledger, counters, clock, refused } = this.#ports;
    const { identity, serial } = wire;
    let proof: Proof;
    let chain: Parameters<Ledger['proven']>[1];
    try {
      const verified = this.#verify(wire, ofThisSession);
      proof = { node: peer, spiffeId: identity, serial, expires: verified.expires, epoch: this.#ports.epoch() };
      chain = verified.chain;
    } catch (error) {
      const why = asError(error, 'AUTH_PROOF_MALFORMED');
      counters.failed('proofs', why.code);
      this.#note(identity, why.code);
      this.#out.refused.push({ identity, serial, code: why.code });
      refused('theirs', identity, why.code, why);
      return;
    }
    counters.proofs.verified++;
    this.#proven.add(identity);
    this.#refused.delete(identity);
    // Not standing: it was dropped while it was written, and the other end hears that next.
    const stands = await ledger.proven(proof, chain, clock.now());
    if (stands) this.#out.accepted.push({ identity, serial });
  }

  #verify(wire: WireProof, ofThisSession: boolean): ReturnType<typeof verifyProof> {
    const { peer, incoming, whereabouts, clock, mostIdentities } = this.#ports;
    const bundle = this.#ports.bundle();
    if (!ofThisSession) throw new SidestepError('AUTH_PROOF_REPLAYED', `${peer}: a proof of another session`);
    if (bundle === undefined) throw new SidestepError('AUTH_SVID_MISSING', 'there is no trust bundle');
    if (this.#proven.size >= mostIdentities && !this.#proven.has(wire.identity))
      throw new SidestepError('AUTH_LIMIT', `${peer} has proven ${mostIdentities} identities`);
    return verifyProof(wire, incoming, { bundle, whereabouts, now: clock.now() });
  }

  async #answer({ identities }: MessageOf<'want'>): Promise<void> {
    const { trustDomain } = this.#ports.bundle() ?? {};
    for (const identity of identities) {
      const id = parseSpiffeId(identity);
      if (id?.kind !== 'workload' || id.trustDomain !== trustDomain) this.#tell(identity, 'AUTH_NOT_A_WORKLOAD');
      else if (this.#asked.size >= this.#ports.mostIdentities && !this.#asked.has(identity))
        this.#tell(identity, 'AUTH_LIMIT');
      else await this.#answerOne(identity);
      if (this.#ports.isOver()) return;
    }
  }

  async #answerOne(identity: string): Promise<void> {
    const { ledger, peer, clock } = this.#ports;
    this.#asked.add(identity);
    this.#told.delete(identity);
    if (!this.#keep(identity, true, true) || ledger.get('ours', identity) !== undefined) return;
    const sent = this.#sent.get(identity);
    if (sent === undefined) return;
    this.#provisional.add(identity);
    await ledger.accepted(this.#proofOf(identity, sent, peer), false, clock.now());
  }

  #proofOf(spiffeId: string, { serial, expires }: Sent, node: string): Proof {
    return { node, spiffeId, serial, expires, epoch: this.#ports.epoch() };
  }

  async #taken({ proofs }: MessageOf<'accepted'>): Promise<void> {
    const { ledger, peer, clock, isOver } = this.#ports;
    for (const { identity, serial } of proofs) {
      const sent = this.#sent.get(identity);
      if (sent?.state !== 'sent' || sent.serial !== serial) continue;
      sent.state = 'accepted';
      if (this.#provisional.delete(identity)) ledger.confirm(identity);
      else await ledger.accepted(this.#proofOf(identity, sent, peer), true, clock.now());
      if (isOver()) return;
    }
  }

  #notTaken({ proofs }: MessageOf<'refused'>): void {
    const { ledger, peer, refused } = this.#ports;
    for (const { identity, serial, code } of proofs) {
      const sent = this.#sent.get(identity);
      if (sent?.serial === serial) {
        sent.state = 'refused';
        sent.code = code;
      }
      // One that was taken before stays until it expires when its successor is refused.
      if (ledger.get('ours', identity)?.proof.serial === serial) {
        this.#provisional.delete(identity);
        ledger.withdraw('ours', identity, known(code));
      }
      refused('ours', identity, code, refusedByPeer(peer, identity, code));
    }
  }

  #gone({ identities }: MessageOf<'withdraw'>): void {
    const { ledger, peer, refused } = this.#ports;
    for (const { identity, code } of identities) {
      // Not there yet is not gone: an agent that has just started has its certificates a moment later.
      if (code === 'AUTH_IDENTITY_WITHDRAWN') {
        this.#proven.delete(identity);
        ledger.withdraw('theirs', identity, code);
      }
      // Who begins to wait a moment later is told, too.
      if (!this.#proven.has(identity)) this.#note(identity, known(code), false);
      refused('theirs', identity, code, notProven(peer, identity, code));
    }
  }

  #note(identity: string, code: ErrorCode, offered = true): void {
    const { ledger, mostIdentities } = this.#ports;
    if (code === 'AUTH_IDENTITY_ELSEWHERE') ledger.withdraw('theirs', identity, code);
    if (this.#refused.size < mostIdentities || this.#refused.has(identity))
      this.#refused.set(identity, { code, offered });
  }
}

/** Also where the clock was set back meanwhile: nobody knows then how long it was. */
function isPast(since: number, ms: number, now: number): boolean {
  return now - since >= ms || since - now >= ms;
}

function isDue(sent: Sent | undefined, svid: Svid, again: boolean, now: number): boolean {
  if (sent === undefined) return true;
  if (sent.state === 'sent') return false;
  if (again && (sent.state === 'refused' || now >= sent.expires)) return true;
  return sent.serial !== svid.serial && (sent.state === 'refused' || now >= renewalOf(sent));
}

/** When a third of its life is left. */
function renewalOf({ since, expires }: Sent): number {
  return expires - (expires - since) / 3;
}

function isInPlace(...where: Parameters<typeof checkPlace>): boolean {
  try {
    checkPlace(...where);
    return true;
  } catch {
    return false;
  }
}

function wasRefused(peer: string, identity: string, code: ErrorCode): SidestepError {
  return new SidestepError(code, `${identity} of ${peer} was refused a moment ago`);
}

function notProven(peer: string, identity: string, code: string): SidestepError {
  return new SidestepError('AUTH_REFUSED_BY_PEER', `${peer} does not prove ${identity.slice(0, 120)}: ${code}`);
}

function refusedByPeer(peer: string, identity: string, code: string): SidestepError {
  return new SidestepError(
    'AUTH_REFUSED_BY_PEER',
    `${peer} does not take the proof of ${identity.slice(0, 120)}: ${code}`,
  );
}

function known(code: string): ErrorCode {
  return Object.hasOwn(ERRORS, code) ? (code as ErrorCode) : 'AUTH_REFUSED_BY_PEER';
}

function asError(error: unknown, code: ErrorCode): SidestepError {
  return error instanceof SidestepError ? error : new SidestepError(code, String(error), { cause: error });
}
