/** What `sidestep auth list` shows of sessions and proofs. */
import type { ErrorCode } from '../../model/error-codes.ts';
import type { Dialler } from './dialler.ts';
import type { Held, Side } from './ledger.ts';
import type { Session } from './session.ts';

/** none: nobody needs one; waiting: for its time to be dialled; the rest in order. */
export type PeerState = 'none' | 'waiting' | 'dialling' | 'hello' | 'keys' | 'open';

export interface LastError {
  readonly code: ErrorCode;
  readonly text: string;
  /** Milliseconds since the epoch, as all times here. */
  readonly at: number;
}

export interface PeerView {
  readonly node: string;
  readonly state: PeerState;
  readonly since: number;
  readonly dialledBy?: 'us' | 'them';
  /** Of the other end. */
  readonly address?: string;
  /** Of the tunnel key in use. */
  readonly epoch?: number;
  /** Another one: the other agent was started again. */
  readonly boot?: string;
  readonly retryAt?: number;
  /** Since the last session was open, or why it is not any more. */
  readonly lastError?: LastError;
  /** Pairs that packets are held for. */
  readonly waiting: number;
}

export interface ProofView {
  readonly node: string;
  readonly spiffeId: string;
  readonly side: Side;
  readonly serial: string;
  readonly since: number;
  readonly expires: number;
  /** Of the tunnel key of the session in which it was proven. */
  readonly epoch: number;
  /** Of ours: the other node has said that it takes it. */
  readonly confirmed: boolean;
}

export function proofView({ proof, since, confirmed }: Held, side: Side): ProofView {
  return { ...proof, side, since, confirmed };
}

export interface PeerFacts {
  readonly session: Session | undefined;
  readonly dialler: Pick<Dialler, 'session' | 'isDialling' | 'pausesUntil'>;
  /** While there is no session. */
  readonly since: number;
  readonly lastError: LastError | undefined;
  readonly waiting: number;
}

export function peerView(node: string, facts: PeerFacts): PeerView {
  const session = facts.session ?? facts.dialler.session;
  const { lastError, dialler } = facts;
  return {
    node,
    state: stateOf(facts),
    since: session?.since ?? facts.since,
    ...(session ? { dialledBy: session.channel.dialledBy, address: session.channel.address } : {}),
    ...(session?.epoch ? { epoch: session.epoch } : {}),
    ...(session?.hello ? { boot: Buffer.from(session.hello.boot).toString('hex') } : {}),
    ...(dialler.pausesUntil === undefined ? {} : { retryAt: dialler.pausesUntil }),
    ...(lastError ? { lastError } : {}),
    waiting: facts.waiting,
  };
}

function stateOf({ session, dialler }: PeerFacts): PeerState {
  if (session !== undefined) return session.state === 'open' ? 'open' : 'keys';
  if (dialler.session !== undefined) return 'hello';
  if (dialler.isDialling) return 'dialling';
  return dialler.pausesUntil === undefined ? 'none' : 'waiting';
}
