/** One connected client: its subscriptions, and which of them may speak now. */
import type { ResourceCache } from './resource-cache.ts';
import { type Answer, Subscription } from './subscription.ts';
import { additionsWaitFor, rankOf, removalsWaitFor, WILDCARD_TYPES } from './types.ts';
import { type ClientNode, decodeDeltaRequest, encodeDeltaResponse } from './wire.ts';

export interface StreamOptions {
  readonly cache: ResourceCache;
  /** Longest time for which news of one type wait for another type (milliseconds). */
  readonly holdMs: number;
  readonly send: (response: Buffer) => void;
  readonly onAnswer: (typeUrl: string, nonce: string, answer: Answer) => void;
  /** The client is further than before. */
  readonly onProgress: () => void;
}

export class Stream {
  node: ClientNode = { id: '', cluster: '' };
  /** The client has said who it is. */
  opened = false;
  readonly subscriptions = new Map<string, Subscription>();
  readonly #options: StreamOptions;
  #nonce = 0;
  #flushing = false;
  #closed = false;
  /** Since when news are held back, by type. */
  readonly #heldBack = new Map<string, number>();
  #timer: NodeJS.Timeout | undefined;

  constructor(options: StreamOptions) {
    this.#options = options;
  }

  /** @throws for what is not a request */
  receive(bytes: Uint8Array): void {
    const request = decodeDeltaRequest(bytes);
    if (request.typeUrl === '') throw new Error('the request names no resource type');
    if (request.node !== undefined) this.node = request.node;
    this.opened = true;
    const known = this.subscriptions.get(request.typeUrl);
    if (known === undefined) {
      const subscription = new Subscription();
      subscription.begin(request, WILDCARD_TYPES.has(request.typeUrl));
      this.subscriptions.set(request.typeUrl, subscription);
    } else {
      const answer = known.update(request);
      if (answer !== undefined) this.#options.onAnswer(request.typeUrl, request.nonce, answer);
    }
    this.schedule();
  }

  /** Soon, so that what is set together is sent together and in order. */
  schedule(): void {
    if (this.#flushing || this.#closed) return;
    this.#flushing = true;
    queueMicrotask(() => {
      this.#flushing = false;
      if (!this.#closed) this.#flush();
    });
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
  }

  #flush(): void {
    const types = [...this.subscriptions].sort(([a], [b]) => rankOf(a) - rankOf(b));
    for (const [typeUrl, subscription] of types) this.#speak(typeUrl, subscription);
    clearTimeout(this.#timer);
    const earliest = Math.min(...this.#heldBack.values()) + this.#options.holdMs;
    const wait = earliest - performance.now();
    // What is past its time was let go just now, or has nothing new.
    if (wait > 0 && Number.isFinite(wait)) this.#timer = setTimeout(() => this.schedule(), wait + 1).unref();
    this.#options.onProgress();
  }

  #speak(typeUrl: string, subscription: Subscription): void {
    const { cache, send } = this.#options;
    const content = cache.get(typeUrl);
    const nonce = String(this.#nonce + 1);
    const changes = subscription.next(content, cache.revision, nonce, this.#limits(typeUrl, subscription));
    if (changes === undefined || content === undefined) return;
    this.#nonce++;
    send(
      encodeDeltaResponse({
        typeUrl,
        nonce,
        systemVersion: String(cache.revision),
        removed: changes.flatMap(([name, version]) => (version === undefined ? [name] : [])),
        resources: changes.flatMap(([name]) => content.get(name) ?? []),
      }),
    );
  }

  /** What may be said about a type now: everything, unless another type has to be told first. */
  #limits(typeUrl: string, subscription: Subscription): { additions: boolean; removals: boolean } {
    const additions = !this.#anyBusy(additionsWaitFor(typeUrl), 'additions');
    // Never in front of the type's own additions.
    const removals = additions && !this.#anyBusy(removalsWaitFor(typeUrl), 'all');
    const limits = { additions, removals };
    if (removals || !subscription.busy(this.#options.cache.get(typeUrl), 'all')) {
      this.#heldBack.delete(typeUrl);
      return limits;
    }
    // Order is worth a moment, not more: what waits may be what forbids something.
    const since = this.#heldBack.get(typeUrl) ?? performance.now();
    this.#heldBack.set(typeUrl, since);
    const late = performance.now() >= since + this.#options.holdMs;
    return late ? { additions: true, removals: true } : limits;
  }

  #anyBusy(types: readonly string[], which: 'all' | 'additions'): boolean {
    return types.some((type) => this.subscriptions.get(type)?.busy(this.#options.cache.get(type), which) ?? false);
  }
}
