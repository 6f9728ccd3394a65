/**
 * Who gets which certificate? The rules of the embedded authority, apart from how requests come in. It runs in one process of
 * the mesh; a node has its own identity, and those of workloads that the source says run on it, and no others.
 */
import { generateKeyPairSync } from 'node:crypto';
import { join } from 'node:path';
import type { Clock } from '../../model/clock.ts';
import { SidestepError } from '../../model/error.ts';
import type { Whereabouts } from '../peers.ts';
import { authorityId, isSegment, nodeId, workloadId } from '../spiffe-id.ts';
import type { ServiceAccountRef, Svid, TrustBundle } from '../svid.ts';
import { Authority } from './authority.ts';
import { type JoinRequest, JoinTokens } from './join-tokens.ts';
import type { AuthorityLink, Issued } from './link.ts';
import { readRequest } from './request.ts';

const HOUR_MS = 3_600_000;
const SERVER_TTL_MS = 24 * HOUR_MS;

/** What the authority knows of the mesh. */
export interface Mesh extends Whereabouts {
  /** Is it still a node of the mesh? Asked at renewals and for workloads, not at the join. */
  admits(node: string): boolean;
}

export interface CertificateAuthorityOptions {
  /** `ca/` in it is the authority's. */
  readonly stateDir: string;
  readonly trustDomain: string;
  readonly mesh: Mesh;
  readonly clock: Clock;
  /** Default: 24 hours. */
  readonly nodeTtlMs?: number;
  /** Default: 1 hour. */
  readonly workloadTtlMs?: number;
}

export class CertificateAuthority {
  readonly #options: CertificateAuthorityOptions;
  readonly #authority: Authority;
  readonly #tokens: JoinTokens;

  /** Makes the key at the first start. @throws STATE_UNUSABLE, CA_STATE_UNUSABLE, SVID_KEY_EXPOSED */
  constructor(options: CertificateAuthorityOptions) {
    const folder = join(options.stateDir, 'ca');
    this.#options = options;
    this.#authority = Authority.open(folder, options.trustDomain, options.clock.now());
    this.#tokens = new JoinTokens(join(folder, 'tokens.json'));
  }

  get bundle(): TrustBundle {
    return this.#authority.bundle;
  }

  /** PEM, to be given to agents before they join. */
  get bundlePem(): string {
    return this.bundle.authorities.join('');
  }

  /** The key's own rotation, see Authority. */
  get rotation(): Pick<Authority, 'promote' | 'retire'> & { stage(): void } {
    return {
      stage: () => this.#authority.stage(this.#options.clock.now()),
      promote: () => this.#authority.promote(),
      retire: () => this.#authority.retire(),
    };
  }

  /** Good for one join of this node; an earlier one is void. @throws INPUT_INVALID, STATE_UNUSABLE */
  createJoinToken(node: string, ttlMs: number): string {
    return this.#tokens.create(node, ttlMs, this.#options.clock.now());
  }

  /**
   * @param exported of the TLS connection that the request came in by
   * @throws CA_TOKEN_*, CA_REQUEST_*, STATE_UNUSABLE
   */
  join(join: JoinRequest, exported: Uint8Array): Issued {
    // First the request: a bad one must not use the token up.
    const key = readRequest(join.request);
    this.#tokens.redeem(join, exported, this.#options.clock.now());
    return this.#issue(nodeId(this.#options.trustDomain, join.node), key, this.#nodeTtl);
  }

  /** @param caller the node that has proven its identity. @throws CA_NODE_REFUSED, CA_REQUEST_* */
  renewNode(caller: string, request: Uint8Array): Issued {
    this.#checkAdmitted(caller);
    return this.issueNode(caller, request);
  }

  /** For the node that the authority itself runs on. @throws CA_REQUEST_* */
  issueNode(node: string, request: Uint8Array): Issued {
    return this.#issue(nodeId(this.#options.trustDomain, node), readRequest(request), this.#nodeTtl);
  }

  /** @param caller the node that has proven its identity. @throws CA_NODE_REFUSED, CA_WORKLOAD_ELSEWHERE, CA_REQUEST_* */
  signWorkload(caller: string, of: ServiceAccountRef, request: Uint8Array): Issued {
    this.#checkAdmitted(caller);
    return this.issueWorkload(caller, of, request);
  }

  /** For the node that the authority itself runs on. @throws CA_WORKLOAD_ELSEWHERE, CA_REQUEST_* */
  issueWorkload(node: string, of: ServiceAccountRef, request: Uint8Array): Issued {
    const { namespace, serviceAccount } = of;
    const { mesh, trustDomain, workloadTtlMs = HOUR_MS } = this.#options;
    const exists = isSegment(namespace) && isSegment(serviceAccount) && mesh.runs(node, namespace, serviceAccount);
    if (!exists)
      throw new SidestepError(
        'CA_WORKLOAD_ELSEWHERE',
        `no pod of ${namespace}/${serviceAccount} is known to run on the node ${node}`,
      );
    return this.#issue(workloadId(trustDomain, of), readRequest(request), workloadTtlMs);
  }

  /** A new certificate for the authority's server; its key is nowhere else. */
  newServerSvid(): Svid {
    const { trustDomain } = this.#options;
    const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const spiffeId = authorityId(trustDomain);
    const { chain } = this.#issue(spiffeId, publicKey, SERVER_TTL_MS);
    const [leaf] = chain;
    const notAfter = leaf.validToDate.getTime();
    return { spiffeId, chain, privateKey, notAfter, serial: leaf.serialNumber };
  }

  get #nodeTtl(): number {
    return this.#options.nodeTtlMs ?? 24 * HOUR_MS;
  }

  #checkAdmitted(node: string): void {
    if (!this.#options.mesh.admits(node))
      throw new SidestepError('CA_NODE_REFUSED', `the node ${node} is no longer one of this mesh`);
  }

  #issue(spiffeId: string, key: Parameters<Authority['issue']>[1], ttlMs: number) {
    const leaf = this.#authority.issue(spiffeId, key, ttlMs, this.#options.clock.now());
    return { chain: [leaf] as const, authorities: this.bundle.authorities };
  }
}

/** The authority in the same process. */
export class LocalLink implements AuthorityLink {
  readonly #authority: CertificateAuthority;
  readonly #node: string;

  constructor(authority: CertificateAuthority, node: string) {
    this.#authority = authority;
    this.#node = node;
  }

  async node(request: Buffer): Promise<Issued> {
    return this.#authority.issueNode(this.#node, request);
  }

  async workload(of: ServiceAccountRef, request: Buffer): Promise<Issued> {
    return this.#authority.issueWorkload(this.#node, of, request);
  }

  close(): void {}
}
