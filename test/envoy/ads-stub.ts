/** A discovery service that has nothing to say: every type is empty. Enough for Envoy to become ready. */
import { chmodSync, rmSync } from 'node:fs';
import { Server, ServerCredentials, type ServerDuplexStream } from '@grpc/grpc-js';
import protobuf from 'protobufjs/minimal.js';

const { Reader, Writer } = protobuf;

interface Request {
  readonly typeUrl: string;
  readonly nonce: string;
}

/** Of DeltaDiscoveryRequest: 2 type_url, 6 response_nonce. */
function decode(bytes: Uint8Array): Request {
  const reader = Reader.create(bytes);
  const fields: Record<number, string> = {};
  while (reader.pos < reader.len) {
    const tag = reader.uint32();
    if (tag >>> 3 === 2 || tag >>> 3 === 6) fields[tag >>> 3] = reader.string();
    else reader.skipType(tag & 7);
  }
  return { typeUrl: fields[2] ?? '', nonce: fields[6] ?? '' };
}

/** A DeltaDiscoveryResponse without resources: 4 type_url, 5 nonce. */
function encode({ typeUrl, nonce }: Request): Buffer {
  return Buffer.from(Writer.create().uint32(0x22).string(typeUrl).uint32(0x2a).string(nonce).finish());
}

export interface AdsStub extends AsyncDisposable {
  readonly streams: number;
}

export async function serveNothing(socketPath: string): Promise<AdsStub> {
  let streams = 0;
  const server = new Server();
  server.addService(
    {
      delta: {
        path: '/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources',
        requestStream: true,
        responseStream: true,
        requestSerialize: () => Buffer.alloc(0),
        requestDeserialize: decode,
        responseSerialize: encode,
        responseDeserialize: decode,
      },
    },
    {
      delta: (call: ServerDuplexStream<Request, Request>) => {
        streams++;
        call.on('data', ({ typeUrl, nonce }: Request) => {
          if (nonce === '') call.write({ typeUrl, nonce: '1' });
        });
        call.on('end', () => call.end());
        call.on('error', () => undefined);
      },
    },
  );
  rmSync(socketPath, { force: true });
  await new Promise<void>((resolve, reject) => {
    server.bindAsync(`unix:${socketPath}`, ServerCredentials.createInsecure(), (error) =>
      error ? reject(error) : resolve(),
    );
  });
  chmodSync(socketPath, 0o666);
  return {
    get streams() {
      return streams;
    },
    [Symbol.asyncDispose]: async () => server.forceShutdown(),
  };
}
