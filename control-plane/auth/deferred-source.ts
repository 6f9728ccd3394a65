/** A source of certificates that is not known yet: what is wanted is kept until it is. */
import type { SidestepError } from '../model/error.ts';
import type { ServiceAccountRef, Svid, SvidSource, TrustBundle } from './svid.ts';

export class DeferredSource implements SvidSource {
  readonly kind: SvidSource['kind'];
  readonly #subscribers = new Set<() => void>();
  #inner: SvidSource | undefined;
  #wanted: readonly ServiceAccountRef[] = [];
  #waitsFor: SidestepError;

  /** @param waitsFor what is missing until `resolve` */
  constructor(kind: SvidSource['kind'], waitsFor: SidestepError) {
    this.kind = kind;
    this.#waitsFor = waitsFor;
  }

  get isResolved(): boolean {
    return this.#inner !== undefined;
  }

  resolve(source: SvidSource): void {
    this.#inner = source;
    source.subscribe(() => this.#changed());
    source.want(this.#wanted);
    this.#changed();
  }

  /** Why there still is none. */
  waitFor(error: SidestepError): void {
    this.#waitsFor = error;
  }

  get bundle(): TrustBundle | undefined {
    return this.#inner?.bundle;
  }

  get node(): Svid | undefined {
    return this.#inner?.node;
  }

  get trouble(): ReadonlyMap<string, SidestepError> {
    return this.#inner?.trouble ?? new Map([['', this.#waitsFor]]);
  }

  want(workloads: readonly ServiceAccountRef[]): void {
    this.#wanted = workloads;
    this.#inner?.want(workloads);
  }

  workload(of: ServiceAccountRef): Svid | undefined {
    return this.#inner?.workload(of);
  }

  subscribe(changed: () => void): () => void {
    this.#subscribers.add(changed);
    return () => this.#subscribers.delete(changed);
  }

  async close(): Promise<void> {
    this.#subscribers.clear();
    await this.#inner?.close();
  }

  #changed(): void {
    for (const changed of this.#subscribers) changed();
  }
}
