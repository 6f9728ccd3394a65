/** SVIDs from the embedded authority: makes the keys, has them signed, renews in time. Keys of workloads are on no disk. */
import { generateKeyPairSync } from 'node:crypto';
import type { Clock } from '../../model/clock.ts';
import { SidestepError } from '../../model/error.ts';
import type { ErrorCode } from '../../model/error-codes.ts';
import type { Random } from '../backoff.ts';
import { readCertificate } from '../certificate.ts';
import { ownSvid } from '../own-svid.ts';
import { Shelf } from '../shelf.ts';
import { nodeId, workloadId } from '../spiffe-id.ts';
import type { ServiceAccountRef, Svid, SvidSource, TrustBundle } from '../svid.ts';
import type { AuthorityLink, Issued } from './link.ts';
import { NodeStore } from './node-store.ts';
import { Renewal } from './renewal.ts';
import { makeRequest } from './request.ts';

/** Failures that are about the way to the authority, not about what was asked. */
const OF_THE_WAY: readonly ErrorCode[] = ['CA_UNREACHABLE', 'CA_IMPOSTOR', 'CA_PROTOCOL', 'CA_BUSY', 'CA_FAILED'];

export interface EmbeddedSvidSourceOptions {
  readonly trustDomain: string;
  /** Name of this node. */
  readonly node: string;
  /** `svid/` in it is the source's. */
  readonly stateDir: string;
  /** PEM of the authority, given beforehand: what it is recognized by. */
  readonly bundlePem: string;
  /** @param bundle as it is known at the time */
  readonly connect: (bundle: () => TrustBundle) => AuthorityLink;
  readonly clock: Clock;
  readonly random: Random;
}

export class EmbeddedSvidSource implements SvidSource {
  readonly kind = 'embedded';
  readonly #options: EmbeddedSvidSourceOptions;
  readonly #nodeId: string;
  readonly #store: NodeStore;
  readonly #shelf: Shelf;
  readonly #link: AuthorityLink;
  readonly #nodeRenewal: Renewal;
  readonly #workloads = new Map<string, Renewal>();
  #bundle: TrustBundle;

  /** @throws STATE_UNUSABLE, SVID_MALFORMED for a bundle that is none */
  constructor(options: EmbeddedSvidSourceOptions) {
    const { trustDomain, node, stateDir, bundlePem, clock } = options;
    this.#options = options;
    this.#nodeId = nodeId(trustDomain, node);
    this.#store = new NodeStore(stateDir);
    this.#shelf = new Shelf(clock);
    this.#bundle = { trustDomain, authorities: this.#store.readBundle(bundlePem) };
    if (this.#bundle.authorities.length === 0)
      throw new SidestepError('SVID_MALFORMED', 'the bundle of the certificate authority holds no certificate');
    this.#shelf.setBundle(this.#bundle);
    this.#link = options.connect(() => this.#bundle);
    this.#nodeRenewal = this.#renewal(this.#nodeId, () => this.#obtainNode());
    this.#resume();
  }

  get bundle(): TrustBundle {
    return this.#bundle;
  }

  get node(): Svid | undefined {
    return this.#shelf.get(this.#nodeId);
  }

  get trouble(): ReadonlyMap<string, SidestepError> {
    return this.#shelf.trouble;
  }

  workload(of: ServiceAccountRef): Svid | undefined {
    return this.#shelf.get(workloadId(this.#options.trustDomain, of));
  }

  want(workloads: readonly ServiceAccountRef[]): void {
    const wanted = new Map(workloads.map((of) => [workloadId(this.#options.trustDomain, of), of]));
    for (const [spiffeId, renewal] of this.#workloads) {
      if (wanted.has(spiffeId)) continue;
      renewal.stop();
      this.#workloads.delete(spiffeId);
      this.#shelf.forget(spiffeId);
    }
    for (const [spiffeId, of] of wanted) {
      if (this.#workloads.has(spiffeId)) continue;
      const renewal = this.#renewal(spiffeId, () => this.#obtainWorkload(spiffeId, of));
      this.#workloads.set(spiffeId, renewal);
      renewal.now();
    }
  }

  subscribe(changed: () => void): () => void {
    return this.#shelf.subscribe(changed);
  }

  async close(): Promise<void> {
    for (const renewal of [this.#nodeRenewal, ...this.#workloads.values()]) renewal.stop();
    this.#link.close();
    this.#shelf.close();
  }

  /** With the certificate of before the restart, if it is still good; else with a new one. */
  #resume(): void {
    try {
      const svid = this.#store.readSvid(this.#nodeId, this.#bundle, this.#options.clock.now());
      if (svid !== undefined) {
        this.#shelf.put(svid);
        this.#nodeRenewal.plan(svid);
        return;
      }
    } catch (error) {
      this.#shelf.fail(this.#nodeId, asSidestepError(error));
    }
    this.#nodeRenewal.now();
  }

  #renewal(spiffeId: string, obtain: () => Promise<Svid>): Renewal {
    const { clock, random } = this.#options;
    return new Renewal({
      clock,
      random,
      obtain,
      obtained: (svid) => this.#obtained(svid),
      failed: (thrown) => {
        const error = asSidestepError(thrown);
        if (OF_THE_WAY.includes(error.code)) this.#shelf.fail('', error);
        this.#shelf.fail(spiffeId, error);
      },
    });
  }

  #obtained(svid: Svid): void {
    const isFirst = svid.spiffeId === this.#nodeId && this.node === undefined;
    if (svid.spiffeId === this.#nodeId) this.#store.writeSvid(svid);
    this.#shelf.recovered();
    this.#shelf.put(svid);
    // Without the node's own certificate nothing was signed for them.
    if (isFirst) this.#renewMissing();
  }

  #renewMissing(): void {
    for (const [spiffeId, renewal] of this.#workloads) if (this.#shelf.get(spiffeId) === undefined) renewal.now();
  }

  #obtainNode(): Promise<Svid> {
    return this.#obtain(this.#nodeId, (request) => this.#link.node(request, this.node));
  }

  #obtainWorkload(spiffeId: string, of: ServiceAccountRef): Promise<Svid> {
    return this.#obtain(spiffeId, (request) => this.#link.workload(of, request, this.node));
  }

  /** A new key each time. */
  async #obtain(spiffeId: string, ask: (request: Buffer) => Promise<Issued>): Promise<Svid> {
    const keys = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const { chain, authorities } = await ask(makeRequest(keys));
    this.#learn(authorities);
    return ownSvid({ chain, privateKey: keys.privateKey }, spiffeId, this.#bundle, this.#options.clock.now());
  }

  /** The authority's word on its own bundle. What an authority that has left it had signed is fetched anew. */
  #learn(authorities: TrustBundle['authorities']): void {
    const known = new Set(this.#bundle.authorities.map(({ fingerprint256 }) => fingerprint256));
    const isNews = authorities.length !== known.size || authorities.some((each) => !known.has(each.fingerprint256));
    if (!isNews) return;
    if (!authorities.every((each) => readCertificate(each).isCa))
      throw new SidestepError('CA_PROTOCOL', 'the bundle in the answer holds what is no authority');
    this.#store.writeBundle(this.#options.bundlePem, authorities);
    this.#bundle = { trustDomain: this.#options.trustDomain, authorities };
    const had = this.node !== undefined;
    this.#shelf.setBundle(this.#bundle);
    if (had && this.node === undefined) this.#nodeRenewal.now();
    this.#renewMissing();
  }
}

function asSidestepError(error: unknown): SidestepError {
  if (error instanceof SidestepError) return error;
  const message = error instanceof Error ? error.message : String(error);
  return new SidestepError('CA_FAILED', message, { cause: error });
}
