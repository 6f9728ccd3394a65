/**
 * SVIDs from SPIRE: this agent's own over the Workload API, those of workloads over the Delegated Identity API, by the
 * selectors of namespace and service account. SPIRE's agent pushes what changes; while it is away, what it issued is used until
 * it expires.
 */
import { Client, credentials, Metadata, type ServiceError, status } from '@grpc/grpc-js';
import type { Clock } from '../../model/clock.ts';
import { SidestepError } from '../../model/error.ts';
import type { Random } from '../backoff.ts';
import { parseChain } from '../certificate.ts';
import { ownSvid } from '../own-svid.ts';
import { Shelf } from '../shelf.ts';
import { workloadId } from '../spiffe-id.ts';
import type { ServiceAccountRef, Svid, SvidSource, TrustBundle } from '../svid.ts';
import {
  FETCH_SVIDS,
  fetchSvids,
  type Given,
  readBundles,
  readDelegated,
  readFetched,
  SUBSCRIBE_BUNDLES,
  SUBSCRIBE_SVIDS,
  subscribeBundles,
  subscribeSvids,
  WORKLOAD_HEADER,
} from './messages.ts';
import { Subscription } from './subscription.ts';

/** The channel's own waiting must not be longer than ours: a call that fails in it is no news. */
const CHANNEL = { 'grpc.initial_reconnect_backoff_ms': 200, 'grpc.max_reconnect_backoff_ms': 1000 };

export interface SpireSvidSourceOptions {
  readonly trustDomain: string;
  /** Whatever ID of the trust domain the registration entry of this agent has. */
  readonly nodeId: string;
  /** Paths of UNIX sockets of SPIRE's agent: `socket_path` and `admin_socket_path` of its configuration. */
  readonly workloadSocket: string;
  readonly adminSocket: string;
  readonly clock: Clock;
  readonly random: Random;
}

export class SpireSvidSource implements SvidSource {
  readonly kind = 'spire';
  readonly #options: SpireSvidSourceOptions;
  readonly #shelf: Shelf;
  readonly #workloadApi: Client;
  readonly #adminApi: Client;
  readonly #own: readonly Subscription[];
  readonly #workloads = new Map<string, Subscription>();
  /** What SPIRE said last, by ID: it may come before the bundle that vouches for it. */
  readonly #given = new Map<string, Given>();

  constructor(options: SpireSvidSourceOptions) {
    this.#options = options;
    this.#shelf = new Shelf(options.clock);
    this.#workloadApi = new Client(`unix:${options.workloadSocket}`, credentials.createInsecure(), CHANNEL);
    this.#adminApi = new Client(`unix:${options.adminSocket}`, credentials.createInsecure(), CHANNEL);
    const header = new Metadata();
    header.set(WORKLOAD_HEADER, 'true');
    const { nodeId, clock, random } = options;
    this.#own = [
      new Subscription({
        client: this.#workloadApi,
        method: FETCH_SVIDS,
        request: fetchSvids(),
        metadata: header,
        clock,
        random,
        message: (bytes) => this.#told(nodeId, readFetched(bytes)),
        failed: (error) => this.#nodeFailed(error),
      }),
      this.#onAdminSocket(SUBSCRIBE_BUNDLES, subscribeBundles(), '', (bytes) => this.#learn(readBundles(bytes))),
    ];
  }

  get bundle(): TrustBundle | undefined {
    return this.#shelf.bundle;
  }

  get node(): Svid | undefined {
    return this.#shelf.get(this.#options.nodeId);
  }

  get trouble(): ReadonlyMap<string, SidestepError> {
    return this.#shelf.trouble;
  }

  workload(of: ServiceAccountRef): Svid | undefined {
    return this.#shelf.get(workloadId(this.#options.trustDomain, of));
  }

  want(workloads: readonly ServiceAccountRef[]): void {
    const wanted = new Map(workloads.map((of) => [workloadId(this.#options.trustDomain, of), of]));
    for (const [spiffeId, subscription] of this.#workloads) {
      if (wanted.has(spiffeId)) continue;
      subscription.close();
      this.#workloads.delete(spiffeId);
      this.#given.delete(spiffeId);
      this.#shelf.forget(spiffeId);
    }
    for (const [spiffeId, of] of wanted) {
      if (this.#workloads.has(spiffeId)) continue;
      const told = (bytes: Buffer): void => this.#told(spiffeId, readDelegated(bytes));
      this.#workloads.set(spiffeId, this.#onAdminSocket(SUBSCRIBE_SVIDS, subscribeSvids(of), spiffeId, told));
    }
  }

  subscribe(changed: () => void): () => void {
    return this.#shelf.subscribe(changed);
  }

  async close(): Promise<void> {
    for (const subscription of [...this.#own, ...this.#workloads.values()]) subscription.close();
    this.#workloadApi.close();
    this.#adminApi.close();
    this.#shelf.close();
  }

  /** @param spiffeId what its failures are reported under */
  #onAdminSocket(
    method: string,
    request: Uint8Array,
    spiffeId: string,
    message: (bytes: Buffer) => void,
  ): Subscription {
    const { clock, random, adminSocket } = this.#options;
    return new Subscription({
      client: this.#adminApi,
      method,
      request,
      metadata: new Metadata(),
      clock,
      random,
      message,
      failed: (error) => this.#shelf.fail(spiffeId, asSidestepError(error, adminSocket)),
    });
  }

  /** Being refused is the answer to whom no entry is registered any more. */
  #nodeFailed(error: ServiceError): void {
    const { nodeId, workloadSocket } = this.#options;
    const told = asSidestepError(error, workloadSocket);
    if (told.code !== 'SPIRE_REFUSED') {
      this.#shelf.fail(nodeId, told);
      return;
    }
    this.#given.delete(nodeId);
    this.#shelf.drop(nodeId, told);
  }

  #told(spiffeId: string, all: readonly Given[]): void {
    const given = all.find((each) => each.spiffeId === spiffeId);
    if (given !== undefined) {
      this.#given.set(spiffeId, given);
      this.#use(given);
      return;
    }
    this.#given.delete(spiffeId);
    this.#shelf.drop(
      spiffeId,
      all.length === 0
        ? new SidestepError('SVID_MISSING', `SPIRE has no registration entry for ${spiffeId}`)
        : new SidestepError(
            'SVID_ID_UNEXPECTED',
            `SPIRE has ${all.map((each) => each.spiffeId).join(', ')} where ${spiffeId} was expected`,
          ),
    );
  }

  #use(given: Given): void {
    const bundle = this.#shelf.bundle;
    if (bundle === undefined) return;
    try {
      this.#shelf.put(ownSvid(given, given.spiffeId, bundle, this.#options.clock.now()));
    } catch (error) {
      this.#shelf.fail(given.spiffeId, error as SidestepError);
    }
  }

  /** @throws SVID_MALFORMED */
  #learn(bundles: ReadonlyMap<string, Uint8Array>): void {
    const { trustDomain } = this.#options;
    const der = bundles.get(trustDomain);
    if (der === undefined) {
      this.#shelf.fail('', new SidestepError('SVID_OTHER_TRUST_DOMAIN', `SPIRE knows no trust domain ${trustDomain}`));
      return;
    }
    const authorities = parseChain(der);
    this.#shelf.recovered();
    this.#shelf.setBundle({ trustDomain, authorities });
    for (const given of this.#given.values()) this.#use(given);
  }
}

function asSidestepError(error: ServiceError, socket: string): SidestepError {
  const refused = error.code === status.PERMISSION_DENIED || error.code === status.UNAUTHENTICATED;
  const code = refused ? 'SPIRE_REFUSED' : 'SPIRE_UNREACHABLE';
  return new SidestepError(code, `${socket}: ${error.details || error.message}`, { cause: error, path: socket });
}
