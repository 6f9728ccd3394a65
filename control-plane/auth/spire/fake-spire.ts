/** For tests: the two sockets of SPIRE's agent, saying what they are told to, by protobufjs and the definitions in proto/. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Server, ServerCredentials, type ServerWritableStream, status } from '@grpc/grpc-js';
import protobuf from 'protobufjs';
import type { Svid } from '../svid.ts';
import { FETCH_SVIDS, SUBSCRIBE_BUNDLES, SUBSCRIBE_SVIDS, WORKLOAD_HEADER } from './messages.ts';

const protos = new protobuf.Root();
protos.resolvePath = (_, target) => join(import.meta.dirname, '../../../proto', target);
protos.loadSync(['spire/workload.proto', 'spire/delegated.proto'], { keepCase: true }).resolveAll();
const DELEGATED = 'spire.api.agent.delegatedidentity.v1';

type Call = ServerWritableStream<Buffer, Buffer>;

function encode(type: string, message: object): Buffer {
  return Buffer.from(protos.lookupType(type).encode(message).finish());
}

export class FakeSpire {
  readonly #folder = mkdtempSync(join(tmpdir(), 'sidestep-spire-'));
  readonly workloadSocket = join(this.#folder, 'workload.sock');
  readonly adminSocket = join(this.#folder, 'admin.sock');
  #servers: readonly Server[] = [];
  #calls: { readonly path: string; readonly key: string; readonly call: Call }[] = [];
  /** What was said last, by path and selectors: new calls are answered with it. */
  readonly #said = new Map<string, Buffer>();
  /** Calls are refused. */
  refusing = false;

  async start(): Promise<void> {
    this.#servers = await Promise.all([
      this.#listen(this.workloadSocket, [FETCH_SVIDS]),
      this.#listen(this.adminSocket, [SUBSCRIBE_SVIDS, SUBSCRIBE_BUNDLES]),
    ]);
  }

  /** What was said is forgotten, as by an agent that ends. */
  stop(): void {
    for (const server of this.#servers) server.forceShutdown();
    this.#calls = [];
    this.#said.clear();
  }

  close(): void {
    this.stop();
    rmSync(this.#folder, { recursive: true });
  }

  sayNode(...svids: readonly Svid[]): void {
    this.#say(FETCH_SVIDS, '', {
      svids: svids.map(({ spiffeId, chain, privateKey }) => ({
        spiffe_id: spiffeId,
        x509_svid: Buffer.concat(chain.map(({ raw }) => raw)),
        x509_svid_key: privateKey.export({ type: 'pkcs8', format: 'der' }),
      })),
    });
  }

  sayWorkload(key: string, ...svids: readonly Svid[]): void {
    this.#say(SUBSCRIBE_SVIDS, key, {
      x509_svids: svids.map(({ spiffeId, chain, privateKey }) => {
        const [, , trust_domain, ...path] = spiffeId.split('/');
        return {
          x509_svid: { cert_chain: chain.map(({ raw }) => raw), id: { trust_domain, path: `/${path.join('/')}` } },
          x509_svid_key: privateKey.export({ type: 'pkcs8', format: 'der' }),
        };
      }),
    });
  }

  sayBundle(trustDomain: string, ...authorities: readonly { readonly raw: Buffer }[]): void {
    const der = Buffer.concat(authorities.map(({ raw }) => raw));
    this.#say(SUBSCRIBE_BUNDLES, '', { ca_certificates: { [`spiffe://${trustDomain}`]: der } });
  }

  /** To every call that is open. */
  sayNonsense(): void {
    for (const { call } of this.#calls) call.write(Buffer.from('ffff', 'hex'));
  }

  /** @param path all calls of it end with this */
  end(path: string, code: status): void {
    for (const each of this.#calls.filter((open) => open.path === path)) fail(each.call, code);
    this.#calls = this.#calls.filter((open) => open.path !== path);
  }

  get open(): readonly string[] {
    return this.#calls.map(({ path, key }) => `${path.slice(path.lastIndexOf('/') + 1)} ${key}`.trim()).sort();
  }

  #say(path: string, key: string, message: object): void {
    const types: Readonly<Record<string, string>> = {
      [FETCH_SVIDS]: 'X509SVIDResponse',
      [SUBSCRIBE_SVIDS]: `${DELEGATED}.SubscribeToX509SVIDsResponse`,
      [SUBSCRIBE_BUNDLES]: `${DELEGATED}.SubscribeToX509BundlesResponse`,
    };
    const bytes = encode(types[path] ?? '', message);
    this.#said.set(path + key, bytes);
    for (const each of this.#calls) if (each.path === path && each.key === key) each.call.write(bytes);
  }

  async #listen(socket: string, paths: readonly string[]): Promise<Server> {
    const server = new Server();
    const raw = (bytes: Buffer): Buffer => bytes;
    for (const path of paths) {
      const method = {
        path,
        requestStream: false,
        responseStream: true,
        requestSerialize: raw,
        requestDeserialize: raw,
        responseSerialize: raw,
        responseDeserialize: raw,
      };
      server.addService({ method }, { method: (call: Call) => this.#answer(path, call) });
    }
    await new Promise<void>((resolve, reject) =>
      server.bindAsync(`unix:${socket}`, ServerCredentials.createInsecure(), (error) =>
        error === null ? resolve() : reject(error),
      ),
    );
    return server;
  }

  #answer(path: string, call: Call): void {
    const withHeader = call.metadata.get(WORKLOAD_HEADER)[0] === 'true';
    if (this.refusing || (path === FETCH_SVIDS && !withHeader)) {
      fail(call, status.PERMISSION_DENIED);
      return;
    }
    const key = path === SUBSCRIBE_SVIDS ? selectorsOf(call.request) : '';
    const open = { path, key, call };
    this.#calls.push(open);
    call.on('cancelled', () => {
      this.#calls = this.#calls.filter((each) => each !== open);
    });
    const said = this.#said.get(path + key);
    if (said !== undefined) call.write(said);
  }
}

function fail(call: Call, code: status): void {
  call.emit('error', { code, details: 'as the test says' });
}

/** `k8s:ns:shop k8s:sa:web` */
function selectorsOf(request: Buffer): string {
  const type = protos.lookupType(`${DELEGATED}.SubscribeToX509SVIDsRequest`);
  const { selectors } = type.toObject(type.decode(request)) as { selectors: { type: string; value: string }[] };
  return selectors.map((selector) => `${selector.type}:${selector.value}`).join(' ');
}
