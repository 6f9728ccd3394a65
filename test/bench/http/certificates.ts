/** Certificates as a mesh gives them to sidecars: an authority and two workloads, ECDSA P-256, named by SPIFFE ids. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { run } from '../../../control-plane/demo/process.ts';

export interface Certificate {
  readonly chain: string;
  readonly key: string;
}

export interface Certificates {
  readonly authority: string;
  readonly client: Certificate;
  readonly server: Certificate;
}

const NEW_KEY = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'] as const;

export async function issueCertificates(folder: string): Promise<Certificates> {
  const authority = pathsOf(folder, 'authority');
  await openssl(['req', '-x509', ...NEW_KEY, '-days', '1', '-subj', '/O=bench', ...files(authority)]);
  return {
    authority: authority.chain,
    client: await issue(folder, 'client', authority),
    server: await issue(folder, 'server', authority),
  };
}

export function spiffeId(workload: string): string {
  return `spiffe://bench/ns/shop/sa/${workload}`;
}

async function issue(folder: string, name: string, authority: Certificate): Promise<Certificate> {
  const own = pathsOf(folder, name);
  const [request, extensions] = [join(folder, `${name}.csr`), join(folder, `${name}.ext`)];
  writeFileSync(extensions, `subjectAltName=critical,URI:${spiffeId(name)}\nextendedKeyUsage=clientAuth,serverAuth\n`);
  await openssl(['req', ...NEW_KEY, '-subj', `/O=${name}`, '-keyout', own.key, '-out', request]);
  const signer = ['-CA', authority.chain, '-CAkey', authority.key, '-CAcreateserial'];
  await openssl(['x509', '-req', '-in', request, ...signer, '-days', '1', '-extfile', extensions, '-out', own.chain]);
  return own;
}

function pathsOf(folder: string, name: string): Certificate {
  return { chain: join(folder, `${name}.pem`), key: join(folder, `${name}.key`) };
}

function files({ chain, key }: Certificate): string[] {
  return ['-keyout', key, '-out', chain];
}

async function openssl(args: readonly string[]): Promise<void> {
  await run('openssl', args, { timeoutMs: 10_000 });
}
