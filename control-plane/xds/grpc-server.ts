/** Services on one UNIX socket. Messages are bytes here: each service reads and writes its own. */
import { chmodSync, chownSync, lstatSync, rmSync } from 'node:fs';
import {
  type MethodDefinition,
  Server,
  ServerCredentials,
  type ServerDuplexStream,
  type ServerOptions,
  type ServerReadableStream,
  type ServiceDefinition,
  status,
  type UntypedHandleCall,
} from '@grpc/grpc-js';

/** The kernel's limit for the path of a socket, its final zero included. */
const PATH_BYTES = 108;

export interface Service {
  readonly definition: ServiceDefinition;
  readonly implementation: { readonly [method: string]: UntypedHandleCall };
}

/** What a service does with one client's stream. */
export interface Receiver {
  /** @throws for what is not a message: the stream ends with INVALID_ARGUMENT */
  message(bytes: Buffer): void;
  /** The client has left, or was sent away. Called once. */
  closed(): void;
}

/** A service of one method: clients send and are sent messages until they leave. */
export function duplexService(path: string, open: (send: (message: Buffer) => void) => Receiver): Service {
  return service(path, true, (call: ServerDuplexStream<Buffer, Buffer>) => {
    const end = receive(
      call,
      open((message) => call.write(message)),
    );
    call.on('end', () => {
      end();
      call.end();
    });
  });
}

/** A service of one method: clients send messages until they leave, and are answered with an empty one. */
export function clientStreamService(path: string, open: () => Receiver): Service {
  return service(
    path,
    false,
    (call: ServerReadableStream<Buffer, Buffer>, callback: (error: null, message: Buffer) => void) => {
      const end = receive(call, open());
      call.on('end', () => {
        end();
        callback(null, Buffer.alloc(0));
      });
    },
  );
}

type Call = ServerDuplexStream<Buffer, Buffer> | ServerReadableStream<Buffer, Buffer>;

/** @returns what to do when the client has said all */
function receive(call: Call, receiver: Receiver): () => void {
  let open = true;
  const end = (): void => {
    if (!open) return;
    open = false;
    receiver.closed();
  };
  call.on('data', (bytes: Buffer) => {
    if (!open) return;
    try {
      receiver.message(bytes);
    } catch (error) {
      end();
      const details = error instanceof Error ? error.message : String(error);
      call.emit('error', { code: status.INVALID_ARGUMENT, details });
    }
  });
  call.on('cancelled', end);
  call.on('error', end);
  call.on('close', end);
  return end;
}

function service(path: string, responseStream: boolean, handler: unknown): Service {
  const raw = (bytes: Buffer): Buffer => bytes;
  const method: MethodDefinition<Buffer, Buffer> = {
    path,
    requestStream: true,
    responseStream,
    requestSerialize: raw,
    requestDeserialize: raw,
    responseSerialize: raw,
    responseDeserialize: raw,
  };
  const name = path.slice(path.lastIndexOf('/') + 1);
  return { definition: { [name]: method }, implementation: { [name]: handler as UntypedHandleCall } };
}

export interface GrpcServerOptions {
  readonly path: string;
  /** Who may connect: permissions and owner of the socket. */
  readonly mode?: number;
  readonly owner?: { readonly uid: number; readonly gid: number };
  readonly channel?: ServerOptions;
}

export class GrpcServer {
  readonly #options: GrpcServerOptions;
  readonly #server: Server;

  constructor(options: GrpcServerOptions) {
    this.#options = options;
    // A client that comes back names everything it has; there may be a lot.
    this.#server = new Server({ 'grpc.max_receive_message_length': -1, ...options.channel });
  }

  /** Before or after {@link listen}. */
  register({ definition, implementation }: Service): void {
    this.#server.addService(definition, { ...implementation });
  }

  /** Takes the place of a socket that a dead process left behind. */
  async listen(): Promise<void> {
    const { path, mode, owner } = this.#options;
    if (Buffer.byteLength(path) >= PATH_BYTES)
      throw new Error(`${path}: a socket's path has at most ${PATH_BYTES - 1} bytes`);
    const there = lstatSync(path, { throwIfNoEntry: false });
    if (there !== undefined && !there.isSocket()) throw new Error(`${path} is there and is not a socket`);
    rmSync(path, { force: true });
    await new Promise<void>((resolve, reject) => {
      this.#server.bindAsync(`unix:${path}`, ServerCredentials.createInsecure(), (error) =>
        error === null ? resolve() : reject(error),
      );
    });
    if (owner !== undefined) chownSync(path, owner.uid, owner.gid);
    if (mode !== undefined) chmodSync(path, mode);
  }

  /** Streams end at once: clients keep what they have and come back. */
  close(): void {
    this.#server.forceShutdown();
  }
}
