/** Where this node's certificates come from, by configuration; for the embedded CA also who holds its key. */
import { readFileSync } from 'node:fs';
import { DeferredSource } from '../auth/deferred-source.ts';
import { CertificateAuthority, LocalLink } from '../auth/embedded/certificate-authority.ts';
import { RemoteLink } from '../auth/embedded/remote-link.ts';
import { AuthorityServer } from '../auth/embedded/server.ts';
import { EmbeddedSvidSource } from '../auth/embedded/source.ts';
import { nodeId } from '../auth/spiffe-id.ts';
import type { SvidSource } from '../auth/svid.ts';
import type { Clock } from '../model/clock.ts';
import { SidestepError } from '../model/error.ts';
import type { MeshNode } from '../model/objects.ts';
import type { Config } from './config.ts';
import type { Logger } from './log.ts';
import type { MeshView } from './mesh-view.ts';

export interface CertificateParts {
  readonly mesh: MeshView;
  readonly clock: Clock;
  readonly log: Logger;
}

type Settings = Pick<
  Config,
  | 'svidSource'
  | 'trustDomain'
  | 'node'
  | 'stateDir'
  | 'ca'
  | 'caPort'
  | 'joinTokenFile'
  | 'svidDir'
  | 'spireWorkloadSocket'
  | 'spireAdminSocket'
>;

export class Certificates {
  readonly source: SvidSource;
  readonly #settings: Settings;
  readonly #parts: CertificateParts;
  #deferred: DeferredSource | undefined;
  #authority: CertificateAuthority | undefined;
  #server: AuthorityServer | undefined;

  /** @param source undefined: the embedded authority, wherever it is */
  private constructor(settings: Settings, parts: CertificateParts, source: SvidSource | undefined) {
    this.#settings = settings;
    this.#parts = parts;
    if (source === undefined)
      this.#deferred = new DeferredSource(
        'embedded',
        new SidestepError('CA_UNKNOWN', 'no node of the mesh says that it holds the certificate authority'),
      );
    this.source = source ?? (this.#deferred as DeferredSource);
  }

  /** @throws STATE_UNUSABLE, CA_*, SVID_* */
  static async open(settings: Settings, parts: CertificateParts): Promise<Certificates> {
    const self = new Certificates(settings, parts, await sourceOf(settings, parts.clock));
    await self.meshChanged();
    return self;
  }

  /** The authority, where this process holds its key. */
  get authority(): CertificateAuthority | undefined {
    return this.#authority;
  }

  /** What others must know of it. */
  get announcement(): Pick<MeshNode['certificateAuthority'] & object, 'port' | 'bundle'> | undefined {
    return this.#authority && this.#server && { port: this.#server.port, bundle: this.#authority.bundlePem };
  }

  /** Other nodes may say now where the authority is. */
  async meshChanged(): Promise<void> {
    if (this.#deferred === undefined || this.#deferred.isResolved) return;
    if (this.#holdsKey()) await this.#hold(this.#deferred);
    else this.#join(this.#deferred);
  }

  #holdsKey(): boolean {
    const { ca, joinTokenFile } = this.#settings;
    if (ca !== 'auto') return ca === 'true';
    return joinTokenFile === undefined && this.#parts.mesh.others.length === 0;
  }

  async #hold(deferred: DeferredSource): Promise<void> {
    const { stateDir, trustDomain, node, caPort } = this.#settings;
    const { mesh, clock, log } = this.#parts;
    const authority = new CertificateAuthority({ stateDir, trustDomain, mesh, clock });
    this.#authority = authority;
    // Alone nobody asks, and another process may have the port.
    if (this.#settings.ca === 'true')
      this.#server = await AuthorityServer.listen({ authority, clock, log, port: caPort });
    deferred.resolve(this.#embedded(authority.bundlePem, () => new LocalLink(authority, node)));
  }

  #join(deferred: DeferredSource): void {
    const { trustDomain, node, joinTokenFile } = this.#settings;
    const holder = this.#parts.mesh.others.find(({ certificateAuthority }) => certificateAuthority !== undefined);
    if (holder?.certificateAuthority === undefined) return;
    const { bundle: bundlePem } = holder.certificateAuthority;
    const { clock } = this.#parts;
    deferred.resolve(
      this.#embedded(bundlePem, (bundle) => {
        const joinToken = (): string | undefined =>
          joinTokenFile === undefined ? undefined : readToken(joinTokenFile);
        return new RemoteLink({ trustDomain, node, endpoints: () => this.#authorities(), clock, bundle, joinToken });
      }),
    );
  }

  /** Where others say that it is, now: it may move. */
  #authorities(): { readonly address: string; readonly port: number }[] {
    return this.#parts.mesh.others.flatMap(({ certificateAuthority: authority }) =>
      authority === undefined ? [] : [{ address: authority.address, port: authority.port }],
    );
  }

  #embedded(
    bundlePem: string,
    connect: ConstructorParameters<typeof EmbeddedSvidSource>[0]['connect'],
  ): EmbeddedSvidSource {
    const { trustDomain, node, stateDir } = this.#settings;
    return new EmbeddedSvidSource({
      trustDomain,
      node,
      stateDir,
      bundlePem,
      connect,
      clock: this.#parts.clock,
      random: Math.random,
    });
  }

  async close(): Promise<void> {
    await this.source.close();
    await this.#server?.close();
  }
}

function readToken(file: string): string | undefined {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return undefined; // as if none was given: the error that follows names the token
  }
}

/** Loaded only where they are used. @throws CONFIG_INVALID */
async function sourceOf(settings: Settings, clock: Clock): Promise<SvidSource | undefined> {
  const { svidSource, trustDomain, svidDir } = settings;
  const own = nodeId(trustDomain, settings.node);
  switch (svidSource) {
    case 'embedded':
      return undefined;
    case 'files': {
      if (svidDir === undefined)
        throw new SidestepError('CONFIG_INVALID', 'svidDir: --svid-source files needs a folder of certificates', {
          hint: 'Add --svid-dir DIR; docs/reference/certificates.md says what is in it.',
        });
      const { FilesSvidSource } = await import('../auth/files/source.ts');
      return new FilesSvidSource({ dir: svidDir, trustDomain, nodeId: own, clock });
    }
    case 'spire': {
      const { SpireSvidSource } = await import('../auth/spire/source.ts');
      const { spireWorkloadSocket: workloadSocket, spireAdminSocket: adminSocket } = settings;
      return new SpireSvidSource({ trustDomain, nodeId: own, workloadSocket, adminSocket, clock, random: Math.random });
    }
  }
}
