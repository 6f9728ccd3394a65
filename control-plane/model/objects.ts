/** Kubernetes objects as we keep them: only what is read, converted at the edge. */
import type { Prefix } from './address.ts';
import type { Policy, PolicyRef, Selector } from './policy.ts';
import type { Issue } from './snapshot.ts';

export interface NamespaceObject {
  readonly name: string;
  readonly labels: ReadonlyMap<string, string>;
  /** Annotation `sidestep.dev/audit: "true"`: policy denies nothing to its pods, and names what it would. */
  readonly audit: boolean;
}

/** A container port with a name. */
export interface NamedPort {
  readonly name: string;
  readonly protocol: number;
  readonly port: number;
}

export interface PodObject {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  readonly labels: ReadonlyMap<string, string>;
  readonly serviceAccount: string;
  /** '' where the manifest names none: it is on whatever node reads it. */
  readonly nodeName: string;
  readonly hostNetwork: boolean;
  /** Absolute path, or '' without the annotation. */
  readonly netns: string;
  /** 16 bytes each. */
  readonly addresses: readonly Uint8Array[];
  /** Sorted by name. */
  readonly namedPorts: readonly NamedPort[];
  readonly origin: string;
}

/** A Service, as policies name it. */
export interface ServiceObject {
  readonly namespace: string;
  readonly name: string;
  /** As written, without a source; selectors of Services have keys with `any:`. */
  readonly labels: ReadonlyMap<string, string>;
  /** Of pods in its namespace, which is not part of it; undefined: its endpoints are written by hand. */
  readonly selector: Selector | undefined;
  /** ClusterIPs. */
  readonly addresses: readonly Uint8Array[];
}

/** Part of the endpoints of a Service (EndpointSlice). */
export interface EndpointSliceObject {
  readonly namespace: string;
  readonly name: string;
  readonly service: string;
  readonly addresses: readonly Uint8Array[];
}

/** CiliumCIDRGroup. */
export interface CidrGroupObject {
  readonly name: string;
  /** As written, without a source; selectors of groups have keys with `any:`. */
  readonly labels: ReadonlyMap<string, string>;
  readonly prefixes: readonly Prefix[];
}

export interface NodeObject {
  readonly name: string;
  readonly podRanges: readonly Prefix[];
  readonly addresses: readonly Uint8Array[];
}

/** Another agent, or this one, as it says of itself (SidestepNode). Nothing in it is proof of anything. */
export interface MeshNode {
  /** Of the node: metadata.name. */
  readonly name: string;
  /** Where its agent and its tunnel are reached, canonical text, in order of preference. */
  readonly addresses: readonly string[];
  /** TCP, of sessions between agents. */
  readonly port: number;
  /** UDP. */
  readonly tunnelPort: number;
  /** Base64 of 32 bytes. For people to read: the key that counts comes out of a session. */
  readonly publicKey: string;
  /** That it is going to prove. */
  readonly spiffeId: string;
  /** Where certificates are to be had, if this node's agent holds the key of the embedded CA. */
  readonly certificateAuthority?: {
    readonly address: string;
    readonly port: number;
    /** PEM. */
    readonly bundle: string;
  };
}

/** A policy object as it counts now. */
export interface PolicyObject {
  readonly ref: PolicyRef;
  readonly origin: string;
  /** last-good: an earlier version is in force. refused: it denies what it selects, or nothing of it is enforced. */
  readonly state: 'accepted' | 'last-good' | 'refused';
  /** undefined: nothing of it is enforced. */
  readonly policy: Policy | undefined;
  readonly issues: readonly Issue[];
}

/** Everything a source knows at one moment. */
export interface ObjectSet {
  readonly namespaces: readonly NamespaceObject[];
  readonly pods: readonly PodObject[];
  readonly nodes: readonly NodeObject[];
  readonly meshNodes: readonly MeshNode[];
  readonly services: readonly ServiceObject[];
  readonly endpointSlices: readonly EndpointSliceObject[];
  readonly cidrGroups: readonly CidrGroupObject[];
  readonly policies: readonly PolicyObject[];
  /** What is wrong, policies' own issues included. */
  readonly issues: readonly Issue[];
}
