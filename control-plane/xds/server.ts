/**
 * Delta ADS: sends every connected client the resources of a cache that it asked for, each content once, and keeps what
 * the clients say to them. Knows nothing of what the resources mean.
 */
import { EventEmitter } from 'node:events';
import { type Acknowledgement, assess, type Rejection, Waiters } from './acknowledgement.ts';
import { duplexService, type Receiver, type Service } from './grpc-server.ts';
import type { ResourceCache } from './resource-cache.ts';
import { Stream } from './stream.ts';
import type { Answer } from './subscription.ts';
import type { ClientNode } from './wire.ts';

const METHOD = '/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources';
const HOLD_MS = 1000;

export interface Client {
  /** Counts the streams; a client that comes back is a new one. */
  readonly stream: number;
  readonly node: ClientNode;
  readonly since: Date;
}

export interface Ack {
  readonly client: Client;
  readonly typeUrl: string;
  readonly nonce: string;
  /** Name -> version that the client now has; undefined: removed. */
  readonly versions: ReadonlyMap<string, string | undefined>;
}

export interface Nack {
  readonly client: Client;
  readonly typeUrl: string;
  readonly nonce: string;
  /** The resource that was refused: a response of several is taken apart until the bad ones stand alone. */
  readonly names: readonly string[];
  /** A gRPC status code. */
  readonly code: number;
  readonly message: string;
}

export interface DeltaAdsEvents {
  opened: [Client];
  closed: [Client];
  ack: [Ack];
  nack: [Nack];
}

export interface TypeStatus {
  readonly typeUrl: string;
  readonly wildcard: boolean;
  readonly names: readonly string[];
  readonly inFlight: boolean;
  /** What the client has: the last acknowledged versions. */
  readonly held: ReadonlyMap<string, string>;
  readonly rejections: readonly Rejection[];
}

export interface ClientStatus extends Client {
  readonly types: readonly TypeStatus[];
}

export interface DeltaAdsOptions {
  /** Longest time for which a type's news wait until another type's are acknowledged, in milliseconds. */
  readonly holdMs?: number;
}

interface Connected {
  readonly id: number;
  readonly since: Date;
  readonly stream: Stream;
}

export class DeltaAdsServer {
  readonly events = new EventEmitter<DeltaAdsEvents>();
  readonly #cache: ResourceCache;
  readonly #holdMs: number;
  readonly #connected = new Map<number, Connected>();
  readonly #waiters = new Waiters();
  readonly #stopListening: () => void;
  #streams = 0;

  constructor(cache: ResourceCache, options: DeltaAdsOptions = {}) {
    this.#cache = cache;
    this.#holdMs = options.holdMs ?? HOLD_MS;
    this.#stopListening = cache.onChange(() => {
      for (const { stream } of this.#connected.values()) stream.schedule();
    });
  }

  /** To be registered with a gRPC server. */
  get service(): Service {
    return duplexService(METHOD, (send) => this.#open(send));
  }

  /** Every client that has said who it is, with what it has and what it refused. */
  clients(): ClientStatus[] {
    return this.#introduced().map((connected) => ({
      ...describe(connected),
      types: [...connected.stream.subscriptions].map(([typeUrl, subscription]) => ({
        typeUrl,
        wildcard: subscription.wildcard,
        names: [...subscription.names],
        inFlight: subscription.inFlight,
        held: new Map(subscription.held),
        rejections: [...subscription.refusals].map(([name, refusal]) => ({
          stream: connected.id,
          typeUrl,
          name,
          ...refusal,
        })),
      })),
    }));
  }

  /** How far all clients are with a revision of the cache, for the types that the caller cares for. */
  progress(revision: number, types: readonly string[]): Acknowledgement {
    const listening = this.#introduced().map(({ id, stream }) => ({ id, subscriptions: stream.subscriptions }));
    return assess(listening, revision, types);
  }

  /** Resolves when no answer is missing; at the deadline with what is known then, outcome `pending` included. */
  acknowledged(
    revision: number,
    { types, deadlineMs }: { readonly types: readonly string[]; readonly deadlineMs: number },
  ): Promise<Acknowledgement> {
    return this.#waiters.wait(() => this.progress(revision, types), deadlineMs);
  }

  /** The streams themselves end with the gRPC server. */
  close(): void {
    this.#stopListening();
    for (const { stream } of this.#connected.values()) stream.close();
  }

  #introduced(): Connected[] {
    return [...this.#connected.values()].filter(({ stream }) => stream.opened);
  }

  #open(send: (message: Buffer) => void): Receiver {
    const stream = new Stream({
      cache: this.#cache,
      holdMs: this.#holdMs,
      send,
      onAnswer: (typeUrl, nonce, answer) => this.#answered(connected, typeUrl, nonce, answer),
      onProgress: () => this.#waiters.check(),
    });
    const connected: Connected = { id: ++this.#streams, since: new Date(), stream };
    this.#connected.set(connected.id, connected);
    return {
      message: (bytes) => {
        const before = stream.opened;
        stream.receive(bytes);
        if (!before) this.events.emit('opened', describe(connected));
      },
      closed: () => {
        stream.close();
        this.#connected.delete(connected.id);
        if (stream.opened) this.events.emit('closed', describe(connected));
        this.#waiters.check();
      },
    };
  }

  #answered(connected: Connected, typeUrl: string, nonce: string, answer: Answer): void {
    const client = describe(connected);
    if (answer.kind === 'ack') {
      this.events.emit('ack', { client, typeUrl, nonce, versions: new Map(answer.changes) });
    } else {
      const { names, code, message } = answer;
      this.events.emit('nack', { client, typeUrl, nonce, names, code, message });
    }
  }
}

function describe({ id, since, stream }: Connected): Client {
  return { stream: id, node: stream.node, since };
}
