/** Objects -> Snapshot. */
import type { Numbers } from '../identity/numbers.ts';
import { addressKey, formatAddress } from '../model/address.ts';
import type { ErrorCode } from '../model/error.ts';
import { ERRORS } from '../model/error-codes.ts';
import { type Labels, labelList, selects } from '../model/labels.ts';
import type { ObjectSet, PodObject } from '../model/objects.ts';
import type { Direction, IdentityLabels, Policy } from '../model/policy.ts';
import type {
  AddressIdentity,
  IdentityInfo,
  Issue,
  PolicySummary,
  PolicyTable,
  PrefixIdentity,
  Snapshot,
  WorkloadSpec,
} from '../model/snapshot.ts';
import { compileTable, concerns, tableKey } from './compile-table.ts';
import { podLabels, RESERVED_IDENTITIES, UNMANAGED, WORLD } from './identities.ts';

export interface CompileOptions {
  readonly nodeName: string;
  /** Ranges that pods have addresses from, besides those of Node objects. */
  readonly podRanges: readonly { readonly address: Uint8Array; readonly bits: number }[];
}

interface KnownPod {
  readonly pod: PodObject;
  readonly labels: Labels;
  readonly identity: number;
  readonly local: boolean;
  /** Those of its addresses that are its own. */
  readonly addresses: readonly Uint8Array[];
}

export class Compiler {
  readonly #numbers: Numbers;
  readonly #options: CompileOptions;
  #revision = 0;
  /** Who had an address last time keeps it. */
  #owners = new Map<string, string>();

  constructor(numbers: Numbers, options: CompileOptions) {
    this.#numbers = numbers;
    this.#options = options;
  }

  /** New numbers are on disk when this returns. */
  compile(objects: ObjectSet): Snapshot {
    const issues: Issue[] = [...objects.issues];
    const pods = this.#pods(objects, issues);
    const identities = identitiesOf(pods);
    const policies = objects.policies.flatMap(({ policy }) => policy ?? []);
    const tables = new Map<string, PolicyTable>();
    const number = (origin: Parameters<Numbers['rule']>[0]): number => this.#numbers.rule(origin);
    const tableOf = (direction: Direction, labels: Labels): string => {
      const selecting = policies.filter((policy) => selects(policy.subject, labels) && concerns(policy, direction));
      const key = tableKey(direction, selecting);
      if (!tables.has(key)) tables.set(key, compileTable(direction, selecting, identities, number));
      return key;
    };
    const workloads = pods
      .filter((known) => known.local && known.pod.netns !== '' && known.addresses.length > 0)
      .map(
        (known): WorkloadSpec => ({
          namespace: known.pod.namespace,
          name: known.pod.name,
          uid: known.pod.uid,
          labels: labelList(known.labels),
          serviceAccount: known.pod.serviceAccount,
          netns: known.pod.netns,
          addresses: known.addresses,
          identity: known.identity,
          tables: { egress: tableOf('egress', known.labels), ingress: tableOf('ingress', known.labels) },
        }),
      );
    this.#numbers.save();
    return {
      revision: ++this.#revision,
      synced: true,
      workloads,
      addresses: pods.flatMap((known) => known.addresses.map((address) => this.#address(known, address))),
      prefixes: this.#prefixes(objects),
      tables,
      identities: new Map(
        identities.map(({ id, labels }): [number, IdentityInfo] => [id, { id, labels: labelList(labels) }]),
      ),
      origins: this.#numbers.origins,
      policies: summaries(objects, workloads, pods),
      issues,
    };
  }

  #address(known: KnownPod, address: Uint8Array): AddressIdentity {
    return {
      address,
      identity: known.identity,
      node: known.local ? '' : known.pod.nodeName,
      namespace: known.pod.namespace,
      pod: known.pod.name,
    };
  }

  #prefixes(objects: ObjectSet): PrefixIdentity[] {
    const ranges = [...this.#options.podRanges, ...objects.nodes.flatMap((node) => node.podRanges)];
    return [
      { address: new Uint8Array(16), bits: 0, identity: WORLD },
      ...ranges.map(({ address, bits }) => ({ address, bits, identity: UNMANAGED })),
    ];
  }

  /** Pods with an address of their own; conflicts and gaps become issues. */
  #pods(objects: ObjectSet, issues: Issue[]): KnownPod[] {
    const namespaces = new Map(objects.namespaces.map((namespace) => [namespace.name, namespace]));
    const pods = objects.pods.filter((pod) => !pod.hostNetwork);
    const owners = this.#claim(pods);
    this.#owners = owners;
    return pods.map((pod) => {
      const name = `${pod.namespace}/${pod.name}`;
      const local = pod.nodeName === '' || pod.nodeName === this.#options.nodeName;
      const labels = podLabels(pod, namespaces.get(pod.namespace));
      const complain = (code: ErrorCode, path: string, message: string): void => {
        issues.push({ code, path, message, hint: ERRORS[code].hint, origin: pod.origin, object: `Pod/${name}` });
      };
      if (pod.addresses.length === 0)
        complain('POD_NO_ADDRESS', 'status.podIPs', `pod ${name} has no address; it is not enforced`);
      if (local && pod.netns === '')
        complain(
          'FIELD_REQUIRED',
          'metadata.annotations["sidestep.dev/netns"]',
          `pod ${name} names no network namespace; it is not enforced`,
        );
      const addresses = pod.addresses.filter((address) => {
        const owner = owners.get(addressKey(address));
        if (owner !== name)
          complain(
            'POD_ADDRESS_CONFLICT',
            'status.podIPs',
            `${formatAddress(address)} of pod ${name} belongs to pod ${owner}`,
          );
        return owner === name;
      });
      return { pod, labels, identity: this.#numbers.identity(labelList(labels)), local, addresses };
    });
  }

  /** Who had it keeps it; among newcomers the first. */
  #claim(pods: readonly PodObject[]): Map<string, string> {
    const owners = new Map<string, string>();
    const claim = (keep: boolean): void => {
      for (const pod of pods)
        for (const address of pod.addresses) {
          const key = addressKey(address);
          const name = `${pod.namespace}/${pod.name}`;
          if (!owners.has(key) && (!keep || this.#owners.get(key) === name)) owners.set(key, name);
        }
    };
    claim(true);
    claim(false);
    return owners;
  }
}

function identitiesOf(pods: readonly KnownPod[]): IdentityLabels[] {
  const found = new Map<number, Labels>(RESERVED_IDENTITIES);
  for (const { identity, labels } of pods) found.set(identity, labels);
  return [...found].map(([id, labels]) => ({ id, labels }));
}

function summaries(objects: ObjectSet, workloads: readonly WorkloadSpec[], pods: readonly KnownPod[]): PolicySummary[] {
  const labels = new Map(pods.map(({ pod, labels }) => [`${pod.namespace}/${pod.name}`, labels]));
  const selected = (policy: Policy | undefined): string[] =>
    policy
      ? workloads
          .map((w) => `${w.namespace}/${w.name}`)
          .filter((name) => selects(policy.subject, labels.get(name) ?? new Map()))
      : [];
  // Several specs of one object are one line.
  const byRef = new Map<string, PolicySummary>();
  for (const { ref, origin, state, policy, issues } of objects.policies) {
    const key = `${ref.kind}/${ref.namespace}/${ref.name}`;
    const before = byRef.get(key)?.selects ?? [];
    byRef.set(key, { ref, origin, state, issues, selects: [...new Set([...before, ...selected(policy)])].sort() });
  }
  return [...byRef.values()];
}
