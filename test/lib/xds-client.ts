/** A delta discovery client that says what it is told to say, by Envoy's own message definitions and none of our code. */
import { Client, type ClientDuplexStream, credentials } from '@grpc/grpc-js';
import { loadProtos } from '../../scripts/xds-protos.ts';

const METHOD = '/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources';
const protos = loadProtos(['envoy.service.discovery.v3.DeltaDiscoveryRequest']);
const REQUEST = protos.lookupType('envoy.service.discovery.v3.DeltaDiscoveryRequest');
const RESPONSE = protos.lookupType('envoy.service.discovery.v3.DeltaDiscoveryResponse');

const raw = (bytes: Buffer): Buffer => bytes;

export interface Told {
  readonly type_url: string;
  readonly nonce: string;
  readonly system_version_info: string;
  readonly resources: readonly {
    readonly name: string;
    readonly version: string;
    readonly resource: { readonly type_url: string; readonly value: Uint8Array };
  }[];
  readonly removed_resources: readonly string[];
}

export interface Said {
  readonly type_url: string;
  readonly node?: { readonly id: string; readonly cluster?: string };
  readonly resource_names_subscribe?: readonly string[];
  readonly resource_names_unsubscribe?: readonly string[];
  readonly initial_resource_versions?: Readonly<Record<string, string>>;
  readonly response_nonce?: string;
  readonly error_detail?: { readonly code: number; readonly message: string };
}

export function encodeSaid(request: Said): Buffer {
  return Buffer.from(REQUEST.encode(REQUEST.fromObject(request)).finish());
}

export function decodeTold(bytes: Uint8Array): Told {
  return RESPONSE.toObject(RESPONSE.decode(bytes), { arrays: true, defaults: true }) as unknown as Told;
}

export class DeltaClient {
  readonly #client: Client;
  readonly #stream: ClientDuplexStream<Buffer, Buffer>;
  readonly #unread: Told[] = [];
  #wake: () => void = () => undefined;
  /** Set when the server ended the stream. */
  ended: { readonly code: number; readonly details: string } | undefined;

  constructor(socketPath: string) {
    this.#client = new Client(`unix:${socketPath}`, credentials.createInsecure(), {
      'grpc.max_receive_message_length': -1,
      // Two clients of a test are two connections.
      'grpc.use_local_subchannel_pool': 1,
    });
    this.#stream = this.#client.makeBidiStreamRequest(METHOD, raw, raw);
    this.#stream.on('data', (bytes: Buffer) => {
      this.#unread.push(decodeTold(bytes));
      this.#wake();
    });
    this.#stream.on('error', () => undefined);
    this.#stream.on('status', ({ code, details }) => {
      this.ended = { code, details };
      this.#wake();
    });
  }

  say(request: Said): void {
    this.#stream.write(encodeSaid(request));
  }

  sayBytes(bytes: Buffer): void {
    this.#stream.write(bytes);
  }

  ack({ type_url, nonce }: Told, besides: Partial<Said> = {}): void {
    this.say({ type_url, response_nonce: nonce, ...besides });
  }

  nack({ type_url, nonce }: Told, message: string): void {
    this.say({ type_url, response_nonce: nonce, error_detail: { code: 13, message } });
  }

  /** The oldest response not read yet. */
  async heard(timeoutMs = 2000): Promise<Told> {
    const end = Date.now() + timeoutMs;
    for (;;) {
      const told = this.#unread.shift();
      if (told !== undefined) return told;
      if (this.ended !== undefined) throw new Error(`the stream has ended: ${JSON.stringify(this.ended)}`);
      if (Date.now() > end) throw new Error(`nothing was said within ${timeoutMs} ms`);
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
        setTimeout(resolve, 20);
      });
    }
  }

  /** @returns what was said although nothing should have been */
  async silence(ms = 60): Promise<readonly Told[]> {
    await new Promise((resolve) => setTimeout(resolve, ms));
    return this.#unread.splice(0);
  }

  close(): void {
    this.#stream.cancel();
    this.#client.close();
  }
}
