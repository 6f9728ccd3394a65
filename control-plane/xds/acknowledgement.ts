/** Which revision does every connected client have, and who is waiting to hear it? */
import type { Subscription } from './subscription.ts';

export interface Rejection {
  readonly stream: number;
  readonly typeUrl: string;
  readonly name: string;
  /** Of the content that was refused; undefined when it was the removal. */
  readonly version: string | undefined;
  /** The client's own words. */
  readonly message: string;
}

export interface Acknowledgement {
  /**
   * acknowledged: every client has everything of the revision. rejected: every client has answered, and at least one
   * refused something. pending: an answer is missing, or there is no client at all.
   */
  readonly outcome: 'acknowledged' | 'rejected' | 'pending';
  readonly clients: number;
  readonly rejections: readonly Rejection[];
}

export interface Listening {
  readonly id: number;
  readonly subscriptions: ReadonlyMap<string, Subscription>;
}

/** A client that has not asked for one of the types yet is behind. */
export function assess(clients: Iterable<Listening>, revision: number, types: readonly string[]): Acknowledgement {
  const rejections: Rejection[] = [];
  let count = 0;
  let pending = false;
  for (const { id, subscriptions } of clients) {
    count++;
    for (const typeUrl of types) {
      const subscription = subscriptions.get(typeUrl);
      const progress = subscription?.progress(revision) ?? 'pending';
      pending ||= progress === 'pending';
      if (progress !== 'refused') continue;
      for (const [name, refusal] of subscription?.refusals ?? [])
        rejections.push({ stream: id, typeUrl, name, ...refusal });
    }
  }
  if (pending || count === 0) return { outcome: 'pending', clients: count, rejections };
  return { outcome: rejections.length > 0 ? 'rejected' : 'acknowledged', clients: count, rejections };
}

/** Those who wait for a question to be answered. */
export class Waiters {
  readonly #waiting = new Set<() => void>();

  /** Asks now and after every {@link check}, until there is an answer or the time is over; then the last one counts. */
  wait(ask: () => Acknowledgement, deadlineMs: number): Promise<Acknowledgement> {
    const first = ask();
    if (first.outcome !== 'pending' || deadlineMs <= 0) return Promise.resolve(first);
    return new Promise((resolve) => {
      const finish = (answer: Acknowledgement): void => {
        clearTimeout(timer);
        this.#waiting.delete(check);
        resolve(answer);
      };
      const check = (): void => {
        const answer = ask();
        if (answer.outcome !== 'pending') finish(answer);
      };
      const timer = setTimeout(() => finish(ask()), deadlineMs);
      // Whoever is about to end does not wait for an answer.
      timer.unref();
      this.#waiting.add(check);
    });
  }

  check(): void {
    for (const check of [...this.#waiting]) check();
  }
}
