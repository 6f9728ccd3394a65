/** TLS between workloads: a server that says which name it was asked for, and who asks it. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Duplex } from 'node:stream';
import { connect as connectTls } from 'node:tls';
import { TestCa } from '../../control-plane/auth/session/test-ca.ts';
import { inside } from '../../control-plane/demo/namespaces.ts';
import { Child, run } from '../../control-plane/demo/process.ts';
import { ROOT } from './tools.ts';
import type { Host } from './topology.ts';
import type { Family } from './traffic.ts';

const PEER = [process.execPath, join(ROOT, 'test/tools/tls-peer.ts')];

export interface TlsAnswer {
  /** no TLS: somebody was reached who does not speak it. closed: before anything came. */
  readonly outcome: 'answered' | 'closed' | 'no TLS' | 'timeout';
  /** What the server says it was asked for. */
  readonly name: string;
}

/** With a certificate that nobody trusts; it runs until its topology is removed. */
export async function tlsServer(host: Host, port: number): Promise<Child> {
  const folder = mkdtempSync(join(tmpdir(), 'sidestep-tls-'));
  try {
    const { chain, privateKey } = await (await TestCa.create()).issue('spiffe://cluster.local/ns/shop/sa/server');
    const [certificate, key] = [join(folder, 'tls.crt'), join(folder, 'tls.key')];
    writeFileSync(certificate, chain.map(String).join(''));
    writeFileSync(key, privateKey.export({ type: 'pkcs8', format: 'pem' }));
    const child = Child.start('nsenter', inside(host.namespace, [...PEER, 'serve', String(port), certificate, key]));
    await child.waitForLine((line) => line === 'listening');
    return child;
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** @param name that the client asks for; '': none */
export async function askTls(from: Host, to: Host, family: Family, port: number, name: string): Promise<TlsAnswer> {
  const { stdout } = await run('nsenter', inside(from.namespace, [...PEER, 'ask', to[family], String(port), name]));
  return JSON.parse(stdout) as TlsAnswer;
}

/** What a client says first. @param name undefined: it asks for none */
export function clientHello(name: string | undefined): Promise<Buffer> {
  return new Promise((resolve) => {
    const socket = new Duplex({ read: () => undefined, write: (bytes: Buffer) => resolve(bytes) });
    connectTls({ socket, ...(name === undefined ? {} : { servername: name }) }).on('error', () => undefined);
  });
}
