/**
 * SVIDs out of files: `<dir>/node/` for this node, `<dir>/<namespace>.<service account>/` for workloads, each in the layout of
 * a Kubernetes secret. The trust bundle is node/ca.crt and nothing else: whoever may write a workload's folder must not be able
 * to add an authority. Files may be replaced in any way and at any moment; what does not fit together is read again.
 */
import { type FSWatcher, statSync, watch } from 'node:fs';
import { join } from 'node:path';
import type { Clock } from '../../model/clock.ts';
import { SidestepError } from '../../model/error.ts';
import { parseChain, readCertificate } from '../certificate.ts';
import { ownSvid } from '../own-svid.ts';
import { Shelf } from '../shelf.ts';
import { isSegment, workloadId } from '../spiffe-id.ts';
import type { ServiceAccountRef, Svid, SvidSource, TrustBundle } from '../svid.ts';
import { type FolderContent, markOf, readFolder } from './folder.ts';

const NODE_FOLDER = 'node';
/** One replacement makes several events. */
const DEBOUNCE_MS = 50;
/** inotify can overflow, and does not see what happens behind a mount. */
const REREAD_MS = 10_000;
/** While what is there does not fit together. */
const RETRY_MS = 200;
/** Files that do not fit together for so long are no replacement on its way. */
const GRACE_MS = 5000;

export interface FilesSvidSourceOptions {
  readonly dir: string;
  readonly trustDomain: string;
  /** SPIFFE ID that node/tls.crt must have. */
  readonly nodeId: string;
  readonly clock: Clock;
  readonly rereadMs?: number;
}

interface Entry {
  readonly spiffeId: string;
  readonly folder: string;
  /** Of the content that is in use. */
  mark: string | undefined;
  /** Since when what is there does not fit together. */
  tornSince: number | undefined;
}

export class FilesSvidSource implements SvidSource {
  readonly kind = 'files';
  readonly #options: FilesSvidSourceOptions;
  readonly #shelf: Shelf;
  readonly #node: Entry;
  readonly #workloads = new Map<string, Entry>();
  /** By path, with the inode that is watched: another folder may come to stand there. */
  readonly #watchers = new Map<string, { readonly inode: bigint; readonly watcher: FSWatcher }>();
  #cancelReread = (): void => {};
  #cancelLook: (() => void) | undefined;
  #closed = false;

  constructor(options: FilesSvidSourceOptions) {
    this.#options = options;
    this.#shelf = new Shelf(options.clock);
    this.#node = entryOf(options.nodeId, join(options.dir, NODE_FOLDER));
    this.#look();
    this.#reread();
  }

  get bundle(): TrustBundle | undefined {
    return this.#shelf.bundle;
  }

  get node(): Svid | undefined {
    return this.#shelf.get(this.#options.nodeId);
  }

  get trouble(): ReadonlyMap<string, SidestepError> {
    return this.#shelf.trouble;
  }

  workload(of: ServiceAccountRef): Svid | undefined {
    return this.#shelf.get(workloadId(this.#options.trustDomain, of));
  }

  want(workloads: readonly ServiceAccountRef[]): void {
    const { dir, trustDomain } = this.#options;
    const wanted = new Map(workloads.map((of) => [workloadId(trustDomain, of), of]));
    // Those with a name that cannot be an identity have no entry, only trouble.
    for (const spiffeId of [...this.#workloads.keys(), ...this.#shelf.trouble.keys()]) {
      if (wanted.has(spiffeId) || spiffeId === this.#node.spiffeId || spiffeId === '') continue;
      this.#unwatch(this.#workloads.get(spiffeId)?.folder ?? '');
      this.#workloads.delete(spiffeId);
      this.#shelf.forget(spiffeId);
    }
    for (const [spiffeId, { namespace, serviceAccount }] of wanted) {
      if (this.#workloads.has(spiffeId)) continue;
      if (!isSegment(namespace) || !isSegment(serviceAccount)) {
        this.#shelf.fail(spiffeId, new SidestepError('SVID_ID_INVALID', `${spiffeId} cannot be an identity`));
        continue;
      }
      const entry = entryOf(spiffeId, join(dir, `${namespace}.${serviceAccount}`));
      this.#workloads.set(spiffeId, entry);
      this.#watch(entry.folder);
      this.#read(entry);
    }
  }

  subscribe(changed: () => void): () => void {
    return this.#shelf.subscribe(changed);
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#cancelReread();
    this.#cancelLook?.();
    for (const path of [...this.#watchers.keys()]) this.#unwatch(path);
    this.#shelf.close();
  }

  #reread(): void {
    this.#cancelReread = this.#options.clock.after(this.#options.rereadMs ?? REREAD_MS, () => {
      this.#look();
      this.#reread();
    });
  }

  #soon(ms: number): void {
    if (this.#closed) return;
    this.#cancelLook ??= this.#options.clock.after(ms, () => {
      this.#cancelLook = undefined;
      this.#look();
    });
  }

  /** The node first: its folder has the bundle that the others are held against. */
  #look(): void {
    const entries = [this.#node, ...this.#workloads.values()];
    // Watch first, then read: what changes in between is seen twice rather than never.
    for (const path of [this.#options.dir, ...entries.map(({ folder }) => folder)]) this.#watch(path);
    for (const entry of entries) this.#read(entry);
  }

  #read(entry: Entry): void {
    const { spiffeId, folder } = entry;
    const isNode = entry === this.#node;
    let content: FolderContent | undefined;
    try {
      const mark = markOf(folder);
      if (mark === entry.mark && this.#shelf.get(spiffeId) !== undefined) return;
      entry.mark = undefined;
      content = readFolder(folder, isNode);
      if (content === undefined) {
        entry.tornSince = undefined;
        this.#shelf.drop(spiffeId, new SidestepError('SVID_MISSING', `there is no folder ${folder}`, { path: folder }));
        return;
      }
      this.#use(entry, content);
      entry.tornSince = undefined;
      entry.mark = mark;
    } catch (error) {
      this.#refused(entry, content, asSidestepError(error, folder));
    }
  }

  /** @throws what ownSvid throws */
  #use({ spiffeId }: Entry, { chain, privateKey, authorities }: FolderContent): void {
    const bundle = authorities === undefined ? this.#shelf.bundle : this.#bundleOf(authorities);
    if (bundle === undefined)
      throw new SidestepError('SVID_FILES_INCOMPLETE', 'there is no trust bundle yet: node/ca.crt');
    // In this order the node is never without one when both are replaced.
    this.#shelf.put(ownSvid({ chain, privateKey }, spiffeId, bundle, this.#options.clock.now()));
    this.#shelf.setBundle(bundle);
  }

  /** What was good stays in use, for a moment without a word. */
  #refused(entry: Entry, content: FolderContent | undefined, error: SidestepError): void {
    const now = this.#options.clock.now();
    entry.tornSince ??= now;
    if (now - entry.tornSince < GRACE_MS) {
      this.#soon(RETRY_MS);
      if (this.#shelf.get(entry.spiffeId) !== undefined) return;
    }
    if (content?.authorities !== undefined) this.#useBundleAlone(content.authorities);
    // A file that is taken away is taken back; one that is wrong may be a mistake.
    if (error.code === 'SVID_FILES_INCOMPLETE') this.#shelf.drop(entry.spiffeId, error);
    else this.#shelf.fail(entry.spiffeId, error);
  }

  /** The workloads need it even where the node's own certificate cannot be used. */
  #useBundleAlone(authorities: string): void {
    try {
      this.#shelf.setBundle(this.#bundleOf(authorities));
    } catch (error) {
      this.#shelf.fail('', asSidestepError(error, join(this.#node.folder, 'ca.crt')));
    }
  }

  /** @throws SVID_MALFORMED */
  #bundleOf(pem: string): TrustBundle {
    const authorities = parseChain(pem);
    const path = join(this.#node.folder, 'ca.crt');
    if (authorities.length === 0 || !authorities.every((each) => readCertificate(each).isCa))
      throw new SidestepError('SVID_MALFORMED', `${path} does not hold certificates of authorities`, { path });
    this.#shelf.recovered();
    return { trustDomain: this.#options.trustDomain, authorities };
  }

  #watch(path: string): void {
    try {
      const inode = statSync(path, { bigint: true, throwIfNoEntry: false })?.ino;
      if (this.#watchers.get(path)?.inode === inode) return;
      this.#unwatch(path);
      if (inode === undefined) return;
      const watcher = watch(path, { persistent: false }, () => this.#soon(DEBOUNCE_MS));
      watcher.on('error', () => this.#unwatch(path));
      this.#watchers.set(path, { inode, watcher });
    } catch {
      // Gone meanwhile, not ours to read, or no watches left: it is read again every few seconds anyway.
    }
  }

  #unwatch(path: string): void {
    this.#watchers.get(path)?.watcher.close();
    this.#watchers.delete(path);
  }
}

function entryOf(spiffeId: string, folder: string): Entry {
  return { spiffeId, folder, mark: undefined, tornSince: undefined };
}

function asSidestepError(error: unknown, path: string): SidestepError {
  if (error instanceof SidestepError) return error;
  const message = `${path}: ${error instanceof Error ? error.message : error}`;
  return new SidestepError('SVID_FILES_INCOMPLETE', message, { cause: error, path });
}
