/** Writes Kubernetes manifests into a watched folder, each change in one step. */
import { mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { stringify } from 'yaml';

export interface PodManifest {
  readonly namespace: string;
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly addresses: readonly string[];
  /** Name under /run/netns, or a path. Absent: the pod is on another node. */
  readonly netns?: string;
  readonly node: string;
  /** Absent: `default`. */
  readonly serviceAccount?: string;
  readonly uid?: string;
}

export class ManifestFolder {
  readonly path: string;

  constructor(path: string) {
    this.path = path;
    mkdirSync(path, { recursive: true });
  }

  /** A reader sees the old file or the new one, never half of it. */
  write(file: string, content: string): void {
    const temporary = join(this.path, `.${file}.tmp`);
    writeFileSync(temporary, content);
    renameSync(temporary, join(this.path, file));
  }

  remove(file: string): void {
    rmSync(join(this.path, file), { force: true });
  }
}

export function namespaceManifest(name: string): string {
  return stringify({ apiVersion: 'v1', kind: 'Namespace', metadata: { name } });
}

export function podManifest(pod: PodManifest): string {
  return stringify({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      name: pod.name,
      namespace: pod.namespace,
      ...(pod.uid === undefined ? {} : { uid: pod.uid }),
      labels: pod.labels,
      ...(pod.netns === undefined ? {} : { annotations: { 'sidestep.dev/netns': pod.netns } }),
    },
    spec: {
      nodeName: pod.node,
      ...(pod.serviceAccount === undefined ? {} : { serviceAccountName: pod.serviceAccount }),
    },
    status: { podIPs: pod.addresses.map((ip) => ({ ip })) },
  });
}
