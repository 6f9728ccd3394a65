/** The raw addon, as native/src exports it. Only control-plane/datapath/addon.ts uses it. */
export interface MapInfo {
  name: string;
  kind: string;
  keySize: number;
  valueSize: number;
  maxEntries: number;
}
export interface MapChunk {
  keys: Buffer;
  values: Buffer;
  count: number;
  cursor?: Buffer;
}
export declare class BpfMap {
  static open(path: string): BpfMap;
  get info(): MapInfo;
  lookup(key: Uint8Array): Buffer | null;
  update(key: Uint8Array, value: Uint8Array, flags: number): void;
  delete(key: Uint8Array): boolean;
  /** [written, errno] */
  updateBatch(keys: Uint8Array, values: Uint8Array, count: number): number[];
  deleteBatch(keys: Uint8Array, count: number): number;
  chunk(cursor: Uint8Array | undefined, size: number): MapChunk;
}
export declare class BpfProgram {
  static open(path: string): BpfProgram;
  get id(): number;
  get name(): string;
  pin(path: string): void;
  testRun(packet: Uint8Array, repeat: number, ifindex: number, ingressIfindex: number, mark: number): { returnValue: number; packet: Buffer; durationNs: number };
}
export declare class BpfObject {
  static load(
    bytes: Uint8Array,
    pinDirectory: string | undefined,
    rodata: { offset: number; data: Uint8Array }[],
    sizes: { name: string; maxEntries: number }[],
    privateMaps: string[],
  ): BpfObject;
  get mapNames(): string[];
  get programNames(): string[];
  map(name: string): BpfMap;
  program(name: string): BpfProgram;
}
export declare class BpfLink {
  static open(path: string): BpfLink;
  static attachTcx(program: BpfProgram, ifindex: number, ingress: boolean): BpfLink;
  static attachCgroup(program: BpfProgram, path: string, hook: string): BpfLink;
  static attachSkLookup(program: BpfProgram, netns?: string): BpfLink;
  info(): { id: number; programId: number; ifindex: number; target: bigint };
  pin(path: string): void;
  update(program: BpfProgram): void;
  detach(): void;
}
export declare class BpfRing {
  static open(map: BpfMap, recordSize: number, buffers: Uint8Array[], callback: (index: number, count: number) => void): BpfRing;
  credit(index: number): void;
  get delivered(): bigint;
  close(): void;
}
export declare class InterfaceWatch {
  static open(callback: () => void): InterfaceWatch;
  close(): void;
}
export interface Interface {
  ifindex: number;
  name: string;
  kind: string;
  mac: Buffer;
  peerIfindex: number;
  masterIfindex: number;
  up: boolean;
  mtu: number;
  addresses: { address: Buffer; prefixLength: number }[];
}
export interface Features {
  bpf: boolean;
  tcx: boolean;
  clsact: boolean;
  ringBuffer: boolean;
  lpmTrie: boolean;
  lruHash: boolean;
  coarseClock: boolean;
  skLookup: boolean;
  cgroupSockopt: boolean;
  socketDestroy: boolean;
  wireguard: boolean;
}
export interface PolicyRule {
  fwmark: number;
  mask: number;
  table: number;
  priority: number;
}
export interface TableRoute {
  local: boolean;
  unreachable: boolean;
  prefixLength: number;
  ifindex: number;
  metric: number;
}
export interface Way {
  ifindex: number;
  mtu?: number;
}
export interface FwMark {
  mark: number;
  mask: number;
}
export interface PacketRules {
  untrackedIn: FwMark[];
  untrackedFrom: string[];
  untrackedOut: FwMark[];
  notForwarded: FwMark[];
}
export interface WireGuardPrefix {
  address: Buffer;
  bits: number;
}
export interface WireGuardPeerChange {
  publicKey: Uint8Array;
  presharedKey: Uint8Array;
  address: string;
  port: number;
  keepalive: number;
  allowed: { address: Uint8Array; bits: number }[];
  lost: { address: Uint8Array; bits: number }[];
}
export interface WireGuardPeerState {
  publicKey: Buffer;
  presharedKey: Buffer;
  endpoint?: string;
  keepalive: number;
  allowed: WireGuardPrefix[];
  lastHandshake: number;
  received: number;
  sent: number;
}
export interface WireGuardState {
  publicKey?: Buffer;
  port: number;
  fwmark: number;
  peers: WireGuardPeerState[];
}
export declare class Tap {
  static open(name: string, callback: (frames: Buffer[]) => void): Tap;
  get ifindex(): number;
  get headerLength(): number;
  dropped(): number;
  credit(): void;
  write(frame: Uint8Array): void;
  close(): void;
}
export interface SpawnOptions {
  uid: number;
  gid: number;
  capabilities: number[];
  cgroup: string | undefined;
  stdout: string;
  file: string | undefined;
  env: { name: string; value: string }[];
}
export interface ProcessEnd {
  code?: number;
  signal?: number;
}
export declare function tcxPrograms(ifindex: number, ingress: boolean): number[];
export declare function attachClsact(program: BpfProgram, ifindex: number, ingress: boolean): void;
export declare function detachClsact(ifindex: number, ingress: boolean): void;
export declare function clsactProgram(ifindex: number, ingress: boolean): number;
export declare function interfaces(netns?: string): Interface[];
export declare function netnsId(netns?: string): bigint;
export declare function possibleCpus(): number;
export declare function monotonicNs(): bigint;
export declare function isBpffs(path: string): boolean;
export declare function mountBpffs(path: string): void;
export declare function unmount(path: string): void;
export declare function features(): Features;
export declare function ensureRule(family: number, rule: PolicyRule): boolean;
export declare function removeRule(family: number, rule: PolicyRule): boolean;
export declare function rules(family: number): PolicyRule[];
export declare function ensureLocalRoute(family: number, table: number): boolean;
export declare function removeLocalRoute(family: number, table: number): boolean;
export declare function routes(family: number, table: number): TableRoute[];
export declare function ensureDeviceRoute(family: number, table: number, ifindex: number): boolean;
export declare function removeDeviceRoute(family: number, table: number, ifindex: number): boolean;
export declare function ensureUnreachableRoute(family: number, table: number): boolean;
export declare function removeUnreachableRoute(family: number, table: number): boolean;
export declare function wayTo(address: string, mark: number): Way | null;
export declare function createWireguard(name: string): boolean;
export declare function setLinkUp(ifindex: number, mtu: number): void;
export declare function ensureLinkAddress(ifindex: number, address: string): boolean;
export declare function deleteLink(ifindex: number): boolean;
export declare function setWireguard(name: string, settings: { privateKey: Uint8Array; port: number; fwmark: number }): void;
export declare function setWireguardPeer(name: string, peer: WireGuardPeerChange): void;
export declare function removeWireguardPeer(name: string, publicKey: Uint8Array): void;
export declare function wireguard(name: string): WireGuardState;
export declare function ensurePacketTable(name: string, rules: PacketRules): boolean;
export declare function removePacketTable(name: string): boolean;
export declare function destroySockets(addresses: Uint8Array[], cgroup: string): number;
export declare function spawn(program: string, args: string[], options: SpawnOptions): number;
export declare function waitPid(pid: number, startTime?: number): ProcessEnd | null;
export declare function processStartTime(pid: number): number | null;
export declare function signalProcess(pid: number, startTime: number, signal: number): boolean;
