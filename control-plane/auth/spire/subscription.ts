/** One stream of messages from a gRPC server, opened again for as long as it is wanted. */
import { type Client, type ClientReadableStream, type Metadata, type ServiceError, status } from '@grpc/grpc-js';
import type { Clock } from '../../model/clock.ts';
import { backoffMs, type Random } from '../backoff.ts';

const RETRY = { firstMs: 500, mostMs: 5000 };

export interface SubscriptionOptions {
  readonly client: Client;
  /** `/package.Service/Method` */
  readonly method: string;
  readonly request: Uint8Array;
  readonly metadata: Metadata;
  readonly clock: Clock;
  readonly random: Random;
  /** What it throws ends the stream like a failure. */
  readonly message: (bytes: Buffer) => void;
  /** It will be opened again. */
  readonly failed: (error: ServiceError) => void;
}

const raw = (bytes: Uint8Array): Buffer => Buffer.from(bytes);

export class Subscription {
  readonly #options: SubscriptionOptions;
  #stream: ClientReadableStream<Buffer> | undefined;
  #cancelRetry = (): void => {};
  #failures = 0;
  #closed = false;

  constructor(options: SubscriptionOptions) {
    this.#options = options;
    this.#open();
  }

  close(): void {
    this.#closed = true;
    this.#cancelRetry();
    this.#stream?.cancel();
  }

  #open(): void {
    const { client, method, request, metadata, message } = this.#options;
    const stream = client.makeServerStreamRequest(method, raw, raw, request, metadata);
    this.#stream = stream;
    stream.on('data', (bytes: Buffer) => {
      if (this.#closed || this.#stream !== stream) return;
      this.#failures = 0;
      try {
        message(bytes);
      } catch (cause) {
        this.#again(stream, failure(status.INTERNAL, (cause as Error).message));
        stream.cancel();
      }
    });
    stream.on('error', (error: ServiceError) => this.#again(stream, error));
    // A server that ends the stream in good order has gone, too.
    stream.on('end', () => this.#again(stream, failure(status.UNAVAILABLE, 'the stream was ended')));
  }

  /** Once for each stream, whatever it ends with. */
  #again(stream: ClientReadableStream<Buffer>, error: ServiceError): void {
    if (this.#closed || this.#stream !== stream) return;
    const { clock, random, failed } = this.#options;
    this.#stream = undefined;
    this.#failures++;
    this.#cancelRetry = clock.after(backoffMs(this.#failures, RETRY, random), () => this.#open());
    failed(error);
  }
}

function failure(code: status, details: string): ServiceError {
  return Object.assign(new Error(details), { code, details, metadata: undefined as never });
}
