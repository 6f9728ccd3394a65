// Generated from the BTF of bpf/build/sidestep.bpf.o by scripts/generate-bpf.ts; do not edit.
// Integers are little endian but for ports; 64-bit ones are bigint; byte arrays are views into the buffer read.

function bytesAt(view: DataView, offset: number, length: number): Uint8Array {
  return new Uint8Array(view.buffer, view.byteOffset + offset, length);
}
function setBytes(view: DataView, offset: number, length: number, value: Uint8Array): void {
  if (value.length !== length) throw new RangeError("expected " + length + " bytes, got " + value.length);
  bytesAt(view, offset, length).set(value);
}

export const Layout = {
  LAYOUT_VERSION: 2,
} as const;

export const ReservedIdentity = {
  IDENTITY_ANY: 0,
  IDENTITY_HOST: 1,
  IDENTITY_WORLD: 2,
  IDENTITY_UNMANAGED: 3,
  IDENTITY_REMOTE_NODE: 6,
  IDENTITY_KUBE_APISERVER: 7,
  IDENTITY_LOCAL_FIRST: 16777216,
} as const;

export const ReservedRule = {
  RULE_NONE: 0,
  RULE_LOCAL_HOST: 1,
  RULE_BYPASS: 2,
  RULE_NOT_SYNCED: 3,
  RULE_FIRST: 16,
} as const;

export const Verdict = {
  VERDICT_NONE: 0,
  VERDICT_ALLOW: 1,
  VERDICT_DENY: 2,
  VERDICT_REDIRECT: 3,
  VERDICT_DNS: 4,
} as const;

export const Echo = {
  ECHO_NONE: 0,
  ECHO_OF_LOW: 1,
  ECHO_OF_HIGH: 2,
} as const;

export const HalfFlag = {
  HALF_AUDITED: 1,
  HALF_LOOKED: 2,
} as const;

export const Match = {
  MATCH_NONE: 0,
  MATCH_L3_ONLY: 1,
  MATCH_L3_L4: 2,
  MATCH_L4_ONLY: 3,
  MATCH_ALL: 4,
  MATCH_L3_PROTO: 5,
  MATCH_PROTO_ONLY: 6,
} as const;

export const EndpointFlag = {
  ENDPOINT_CHECK_MAC: 1,
  ENDPOINT_LEARNS_NAMES: 2,
} as const;

export const IpcacheFlag = {
  IPCACHE_NODE_ADDRESS: 1,
  IPCACHE_ENCRYPT: 2,
} as const;

export const Authentication = {
  AUTHENTICATION_NONE: 0,
  AUTHENTICATION_REQUIRED: 1,
  AUTHENTICATION_ALWAYS_FAIL: 2,
  AUTHENTICATION_INHERIT: 3,
} as const;

export const AuthenticationSide = {
  SIDE_THEIRS: 0,
  SIDE_OURS: 1,
} as const;

export const ProtectionFlag = {
  PROTECTION_STRICT: 1,
} as const;

export const Security = {
  SECURITY_AUTHENTICATED: 1,
  SECURITY_TUNNEL_IN: 2,
  SECURITY_TUNNEL_OUT: 4,
  SECURITY_HELD: 8,
  SECURITY_DRAINING: 16,
} as const;

export const FlowState = {
  FLOW_NEW: 1,
  FLOW_ESTABLISHED: 2,
  FLOW_CLOSING: 3,
  FLOW_CLOSED: 4,
  FLOW_RESET: 5,
} as const;

export const FlowFlag = {
  FLOW_INITIATOR_IS_HIGH: 1,
  FLOW_ADOPTED: 2,
  FLOW_BYPASSED: 4,
  FLOW_CLOSE_REPORTED: 8,
  FLOW_FIN_INITIATOR: 16,
  FLOW_FIN_RESPONDER: 32,
  FLOW_REDIRECTED: 128,
  FLOW_CHARGED: 64,
} as const;

export const FlowSteered = {
  STEERED_FIRST: 1,
  STEERED_ARRIVED: 2,
} as const;

export const EventKind = {
  EVENT_NEW: 1,
  EVENT_DROP: 2,
  EVENT_CLOSE: 3,
} as const;

export const Hook = {
  HOOK_FROM_WORKLOAD: 1,
  HOOK_TO_WORKLOAD: 2,
  HOOK_TO_ENVOY: 3,
} as const;

export const EventFlag = {
  EVENT_ADOPTED: 1,
  EVENT_BYPASSED: 2,
  EVENT_REPLY: 4,
  EVENT_INGRESS: 8,
  EVENT_REVOKED: 16,
  EVENT_RELATED: 32,
} as const;

export const Statistic = {
  STATISTIC_EVENTS_MADE: 0,
  STATISTIC_EVENTS_LOST: 1,
  STATISTIC_FLOW_INSERT_FAILED: 2,
  STATISTIC_FRAGMENT_INSERT_FAILED: 3,
  STATISTIC_FLOWS_CREATED: 4,
  STATISTIC_FLOWS_ADOPTED: 5,
  STATISTIC_REEVALUATED: 6,
  STATISTIC_RESETS_SENT: 7,
  STATISTIC_STEERED: 8,
  STATISTIC_LEGS_RECORDED: 9,
  STATISTIC_LEGS_BY_SOCKET: 10,
  STATISTIC_IDENTITIES_READ: 11,
  STATISTIC_IDENTITIES_UNKNOWN: 12,
  STATISTIC_HELD: 13,
  STATISTIC_RELEASED: 14,
  STATISTIC_HELD_DUPLICATES: 15,
  STATISTIC_HELD_OVERFLOW: 16,
  STATISTIC_HELD_LOST: 17,
  STATISTIC_UPSTREAM_REFUSED: 18,
  STATISTIC_TUNNEL_ASTRAY: 19,
  STATISTIC_DNS_QUERIES: 20,
  STATISTIC_DNS_ANSWERS: 21,
  STATISTIC_DNS_LOST: 22,
  STATISTIC_COUNT: 24,
} as const;

export interface Endpoint {
  readonly id: number;
  readonly identity: number;
  readonly egressTable: number;
  readonly ingressTable: number;
  readonly namespaceId: number;
  readonly masterIfindex: number;
  readonly mac: Uint8Array;
  readonly flags: number;
  readonly version: number;
  readonly authenticationTable: number;
  readonly auditEgressTable: number;
  readonly auditIngressTable: number;
}
export const ENDPOINT_SIZE = 44;
export const ENDPOINT_OFFSETS = { id: 0, identity: 4, egressTable: 8, ingressTable: 12, namespaceId: 16, masterIfindex: 20, mac: 24, flags: 30, version: 31, authenticationTable: 32, auditEgressTable: 36, auditIngressTable: 40 } as const;
export function readEndpoint(view: DataView, offset = 0): Endpoint {
  return {
    id: view.getUint32(offset + 0, true),
    identity: view.getUint32(offset + 4, true),
    egressTable: view.getUint32(offset + 8, true),
    ingressTable: view.getUint32(offset + 12, true),
    namespaceId: view.getUint32(offset + 16, true),
    masterIfindex: view.getUint32(offset + 20, true),
    mac: bytesAt(view, offset + 24, 6),
    flags: view.getUint8(offset + 30),
    version: view.getUint8(offset + 31),
    authenticationTable: view.getUint32(offset + 32, true),
    auditEgressTable: view.getUint32(offset + 36, true),
    auditIngressTable: view.getUint32(offset + 40, true),
  };
}
export function writeEndpoint(view: DataView, offset: number, value: Endpoint): void {
  view.setUint32(offset + 0, value.id, true);
  view.setUint32(offset + 4, value.identity, true);
  view.setUint32(offset + 8, value.egressTable, true);
  view.setUint32(offset + 12, value.ingressTable, true);
  view.setUint32(offset + 16, value.namespaceId, true);
  view.setUint32(offset + 20, value.masterIfindex, true);
  setBytes(view, offset + 24, 6, value.mac);
  view.setUint8(offset + 30, value.flags);
  view.setUint8(offset + 31, value.version);
  view.setUint32(offset + 32, value.authenticationTable, true);
  view.setUint32(offset + 36, value.auditEgressTable, true);
  view.setUint32(offset + 40, value.auditIngressTable, true);
}
export function encodeEndpoint(value: Endpoint): Uint8Array {
  const bytes = new Uint8Array(44);
  writeEndpoint(new DataView(bytes.buffer), 0, value);
  return bytes;
}

export interface AddressKey {
  readonly scope: number;
  readonly address: Uint8Array;
}
export const ADDRESS_KEY_SIZE = 20;
export const ADDRESS_KEY_OFFSETS = { scope: 0, address: 4 } as const;
export function readAddressKey(view: DataView, offset = 0): AddressKey {
  return {
    scope: view.getUint32(offset + 0, true),
    address: bytesAt(view, offset + 4, 16),
  };
}
export function writeAddressKey(view: DataView, offset: number, value: AddressKey): void {
  view.setUint32(offset + 0, value.scope, true);
  setBytes(view, offset + 4, 16, value.address);
}
export function encodeAddressKey(value: AddressKey): Uint8Array {
  const bytes = new Uint8Array(20);
  writeAddressKey(new DataView(bytes.buffer), 0, value);
  return bytes;
}

export interface EndpointAddress {
  readonly ifindex: number;
  readonly generation: number;
}
export const ENDPOINT_ADDRESS_SIZE = 8;
export const ENDPOINT_ADDRESS_OFFSETS = { ifindex: 0, generation: 4 } as const;
export function readEndpointAddress(view: DataView, offset = 0): EndpointAddress {
  return {
    ifindex: view.getUint32(offset + 0, true),
    generation: view.getUint32(offset + 4, true),
  };
}
export function writeEndpointAddress(view: DataView, offset: number, value: EndpointAddress): void {
  view.setUint32(offset + 0, value.ifindex, true);
  view.setUint32(offset + 4, value.generation, true);
}
export function encodeEndpointAddress(value: EndpointAddress): Uint8Array {
  const bytes = new Uint8Array(8);
  writeEndpointAddress(new DataView(bytes.buffer), 0, value);
  return bytes;
}

export interface IpcacheEntry {
  readonly identity: number;
  readonly node: number;
  readonly flags: number;
}
export const IPCACHE_ENTRY_SIZE = 16;
export const IPCACHE_ENTRY_OFFSETS = { identity: 0, node: 4, flags: 8, spare: 12 } as const;
export function readIpcacheEntry(view: DataView, offset = 0): IpcacheEntry {
  return {
    identity: view.getUint32(offset + 0, true),
    node: view.getUint32(offset + 4, true),
    flags: view.getUint32(offset + 8, true),
  };
}
export function writeIpcacheEntry(view: DataView, offset: number, value: IpcacheEntry): void {
  view.setUint32(offset + 0, value.identity, true);
  view.setUint32(offset + 4, value.node, true);
  view.setUint32(offset + 8, value.flags, true);
}
export function encodeIpcacheEntry(value: IpcacheEntry): Uint8Array {
  const bytes = new Uint8Array(16);
  writeIpcacheEntry(new DataView(bytes.buffer), 0, value);
  return bytes;
}

export interface PrefixKey {
  readonly prefixLength: number;
  readonly scope: number;
  readonly address: Uint8Array;
}
export const PREFIX_KEY_SIZE = 24;
export const PREFIX_KEY_OFFSETS = { prefixLength: 0, scope: 4, address: 8 } as const;
export function readPrefixKey(view: DataView, offset = 0): PrefixKey {
  return {
    prefixLength: view.getUint32(offset + 0, true),
    scope: view.getUint32(offset + 4, true),
    address: bytesAt(view, offset + 8, 16),
  };
}
export function writePrefixKey(view: DataView, offset: number, value: PrefixKey): void {
  view.setUint32(offset + 0, value.prefixLength, true);
  view.setUint32(offset + 4, value.scope, true);
  setBytes(view, offset + 8, 16, value.address);
}
export function encodePrefixKey(value: PrefixKey): Uint8Array {
  const bytes = new Uint8Array(24);
  writePrefixKey(new DataView(bytes.buffer), 0, value);
  return bytes;
}

export interface PolicyKey {
  readonly prefixLength: number;
  readonly table: number;
  readonly identity: number;
  readonly protocol: number;
  readonly port: number;
}
export const POLICY_KEY_SIZE = 16;
export const POLICY_KEY_OFFSETS = { prefixLength: 0, table: 4, identity: 8, protocol: 12, pad: 13, port: 14 } as const;
export function readPolicyKey(view: DataView, offset = 0): PolicyKey {
  return {
    prefixLength: view.getUint32(offset + 0, true),
    table: view.getUint32(offset + 4, true),
    identity: view.getUint32(offset + 8, true),
    protocol: view.getUint8(offset + 12),
    port: view.getUint16(offset + 14, false),
  };
}
export function writePolicyKey(view: DataView, offset: number, value: PolicyKey): void {
  view.setUint32(offset + 0, value.prefixLength, true);
  view.setUint32(offset + 4, value.table, true);
  view.setUint32(offset + 8, value.identity, true);
  view.setUint8(offset + 12, value.protocol);
  view.setUint16(offset + 14, value.port, false);
}
export function encodePolicyKey(value: PolicyKey): Uint8Array {
  const bytes = new Uint8Array(16);
  writePolicyKey(new DataView(bytes.buffer), 0, value);
  return bytes;
}

export interface PolicyEntry {
  readonly rule: number;
  readonly ruleset: number;
  readonly verdict: number;
  readonly precedence: number;
  readonly prefix: number;
  readonly auth: number;
}
export const POLICY_ENTRY_SIZE = 12;
export const POLICY_ENTRY_OFFSETS = { rule: 0, ruleset: 4, verdict: 6, precedence: 7, prefix: 8, auth: 9, spare: 10 } as const;
export function readPolicyEntry(view: DataView, offset = 0): PolicyEntry {
  return {
    rule: view.getUint32(offset + 0, true),
    ruleset: view.getUint16(offset + 4, true),
    verdict: view.getUint8(offset + 6),
    precedence: view.getUint8(offset + 7),
    prefix: view.getUint8(offset + 8),
    auth: view.getUint8(offset + 9),
  };
}
export function writePolicyEntry(view: DataView, offset: number, value: PolicyEntry): void {
  view.setUint32(offset + 0, value.rule, true);
  view.setUint16(offset + 4, value.ruleset, true);
  view.setUint8(offset + 6, value.verdict);
  view.setUint8(offset + 7, value.precedence);
  view.setUint8(offset + 8, value.prefix);
  view.setUint8(offset + 9, value.auth);
}
export function encodePolicyEntry(value: PolicyEntry): Uint8Array {
  const bytes = new Uint8Array(12);
  writePolicyEntry(new DataView(bytes.buffer), 0, value);
  return bytes;
}

export interface PolicyTable {
  readonly revision: number;
  readonly defaultRule: number;
  readonly enforcing: number;
}
export const POLICY_TABLE_SIZE = 16;
export const POLICY_TABLE_OFFSETS = { revision: 0, defaultRule: 4, enforcing: 8, pad: 9, spare: 12 } as const;
export function readPolicyTable(view: DataView, offset = 0): PolicyTable {
  return {
    revision: view.getUint32(offset + 0, true),
    defaultRule: view.getUint32(offset + 4, true),
    enforcing: view.getUint8(offset + 8),
  };
}
export function writePolicyTable(view: DataView, offset: number, value: PolicyTable): void {
  view.setUint32(offset + 0, value.revision, true);
  view.setUint32(offset + 4, value.defaultRule, true);
  view.setUint8(offset + 8, value.enforcing);
}
export function encodePolicyTable(value: PolicyTable): Uint8Array {
  const bytes = new Uint8Array(16);
  writePolicyTable(new DataView(bytes.buffer), 0, value);
  return bytes;
}

export interface FlowKey {
  readonly scope: number;
  readonly protocol: number;
  readonly leg: number;
  readonly echo: number;
  readonly low: Uint8Array;
  readonly high: Uint8Array;
  readonly lowPort: number;
  readonly highPort: number;
}
export const FLOW_KEY_SIZE = 48;
export const FLOW_KEY_OFFSETS = { scope: 0, protocol: 4, leg: 5, echo: 6, pad: 7, low: 8, high: 24, lowPort: 40, highPort: 42, spare: 44 } as const;
export function readFlowKey(view: DataView, offset = 0): FlowKey {
  return {
    scope: view.getUint32(offset + 0, true),
    protocol: view.getUint8(offset + 4),
    leg: view.getUint8(offset + 5),
    echo: view.getUint8(offset + 6),
    low: bytesAt(view, offset + 8, 16),
    high: bytesAt(view, offset + 24, 16),
    lowPort: view.getUint16(offset + 40, false),
    highPort: view.getUint16(offset + 42, false),
  };
}
export function writeFlowKey(view: DataView, offset: number, value: FlowKey): void {
  view.setUint32(offset + 0, value.scope, true);
  view.setUint8(offset + 4, value.protocol);
  view.setUint8(offset + 5, value.leg);
  view.setUint8(offset + 6, value.echo);
  setBytes(view, offset + 8, 16, value.low);
  setBytes(view, offset + 24, 16, value.high);
  view.setUint16(offset + 40, value.lowPort, false);
  view.setUint16(offset + 42, value.highPort, false);
}
export function encodeFlowKey(value: FlowKey): Uint8Array {
  const bytes = new Uint8Array(48);
  writeFlowKey(new DataView(bytes.buffer), 0, value);
  return bytes;
}

export interface Flow {
  readonly createdNs: bigint;
  readonly deadlineNs: bigint;
  readonly packets: readonly [bigint, bigint];
  readonly bytes: readonly [bigint, bigint];
  readonly egress: FlowHalf;
  readonly ingress: FlowHalf;
  readonly identity: readonly [number, number];
  readonly ifindex: readonly [number, number];
  readonly state: number;
  readonly flags: number;
  readonly tcpFlags: Uint8Array;
  readonly version: number;
  readonly security: number;
  readonly holdHook: number;
  readonly steered: number;
  readonly provenUntilNs: bigint;
  readonly generation: number;
  readonly holdIfindex: number;
  readonly held: number;
  readonly released: number;
  readonly originalAddress: Uint8Array;
  readonly originalPort: number;
}
export const FLOW_SIZE = 160;
export const FLOW_OFFSETS = { createdNs: 0, deadlineNs: 8, packets: 16, bytes: 32, egress: 48, ingress: 64, identity: 80, ifindex: 88, state: 96, flags: 97, tcpFlags: 98, version: 100, security: 101, holdHook: 102, steered: 103, provenUntilNs: 104, generation: 112, holdIfindex: 116, held: 120, released: 124, originalAddress: 128, originalPort: 144, spare: 146 } as const;
export function readFlow(view: DataView, offset = 0): Flow {
  return {
    createdNs: view.getBigUint64(offset + 0, true),
    deadlineNs: view.getBigUint64(offset + 8, true),
    packets: [view.getBigUint64(offset + 16 + 0, true), view.getBigUint64(offset + 16 + 8, true)],
    bytes: [view.getBigUint64(offset + 32 + 0, true), view.getBigUint64(offset + 32 + 8, true)],
    egress: readFlowHalf(view, offset + 48),
    ingress: readFlowHalf(view, offset + 64),
    identity: [view.getUint32(offset + 80 + 0, true), view.getUint32(offset + 80 + 4, true)],
    ifindex: [view.getUint32(offset + 88 + 0, true), view.getUint32(offset + 88 + 4, true)],
    state: view.getUint8(offset + 96),
    flags: view.getUint8(offset + 97),
    tcpFlags: bytesAt(view, offset + 98, 2),
    version: view.getUint8(offset + 100),
    security: view.getUint8(offset + 101),
    holdHook: view.getUint8(offset + 102),
    steered: view.getUint8(offset + 103),
    provenUntilNs: view.getBigUint64(offset + 104, true),
    generation: view.getUint32(offset + 112, true),
    holdIfindex: view.getUint32(offset + 116, true),
    held: view.getUint32(offset + 120, true),
    released: view.getUint32(offset + 124, true),
    originalAddress: bytesAt(view, offset + 128, 16),
    originalPort: view.getUint16(offset + 144, false),
  };
}
export function writeFlow(view: DataView, offset: number, value: Flow): void {
  view.setBigUint64(offset + 0, value.createdNs, true);
  view.setBigUint64(offset + 8, value.deadlineNs, true);
  view.setBigUint64(offset + 16 + 0, value.packets[0], true); view.setBigUint64(offset + 16 + 8, value.packets[1], true);
  view.setBigUint64(offset + 32 + 0, value.bytes[0], true); view.setBigUint64(offset + 32 + 8, value.bytes[1], true);
  writeFlowHalf(view, offset + 48, value.egress);
  writeFlowHalf(view, offset + 64, value.ingress);
  view.setUint32(offset + 80 + 0, value.identity[0], true); view.setUint32(offset + 80 + 4, value.identity[1], true);
  view.setUint32(offset + 88 + 0, value.ifindex[0], true); view.setUint32(offset + 88 + 4, value.ifindex[1], true);
  view.setUint8(offset + 96, value.state);
  view.setUint8(offset + 97, value.flags);
  setBytes(view, offset + 98, 2, value.tcpFlags);
  view.setUint8(offset + 100, value.version);
  view.setUint8(offset + 101, value.security);
  view.setUint8(offset + 102, value.holdHook);
  view.setUint8(offset + 103, value.steered);
  view.setBigUint64(offset + 104, value.provenUntilNs, true);
  view.setUint32(offset + 112, value.generation, true);
  view.setUint32(offset + 116, value.holdIfindex, true);
  view.setUint32(offset + 120, value.held, true);
  view.setUint32(offset + 124, value.released, true);
  setBytes(view, offset + 128, 16, value.originalAddress);
  view.setUint16(offset + 144, value.originalPort, false);
}
export function encodeFlow(value: Flow): Uint8Array {
  const bytes = new Uint8Array(160);
  writeFlow(new DataView(bytes.buffer), 0, value);
  return bytes;
}

export interface FragmentKey {
  readonly scope: number;
  readonly id: number;
  readonly protocol: number;
  readonly source: Uint8Array;
  readonly destination: Uint8Array;
}
export const FRAGMENT_KEY_SIZE = 44;
export const FRAGMENT_KEY_OFFSETS = { scope: 0, id: 4, protocol: 8, pad: 9, source: 12, destination: 28 } as const;
export function readFragmentKey(view: DataView, offset = 0): FragmentKey {
  return {
    scope: view.getUint32(offset + 0, true),
    id: view.getUint32(offset + 4, true),
    protocol: view.getUint8(offset + 8),
    source: bytesAt(view, offset + 12, 16),
    destination: bytesAt(view, offset + 28, 16),
  };
}
export function writeFragmentKey(view: DataView, offset: number, value: FragmentKey): void {
  view.setUint32(offset + 0, value.scope, true);
  view.setUint32(offset + 4, value.id, true);
  view.setUint8(offset + 8, value.protocol);
  setBytes(view, offset + 12, 16, value.source);
  setBytes(view, offset + 28, 16, value.destination);
}
export function encodeFragmentKey(value: FragmentKey): Uint8Array {
  const bytes = new Uint8Array(44);
  writeFragmentKey(new DataView(bytes.buffer), 0, value);
  return bytes;
}

export interface Fragment {
  readonly deadlineNs: bigint;
  readonly sourcePort: number;
  readonly destinationPort: number;
  readonly policyPort: number;
}
export const FRAGMENT_SIZE = 16;
export const FRAGMENT_OFFSETS = { deadlineNs: 0, sourcePort: 8, destinationPort: 10, policyPort: 12, spare: 14 } as const;
export function readFragment(view: DataView, offset = 0): Fragment {
  return {
    deadlineNs: view.getBigUint64(offset + 0, true),
    sourcePort: view.getUint16(offset + 8, false),
    destinationPort: view.getUint16(offset + 10, false),
    policyPort: view.getUint16(offset + 12, false),
  };
}
export function writeFragment(view: DataView, offset: number, value: Fragment): void {
  view.setBigUint64(offset + 0, value.deadlineNs, true);
  view.setUint16(offset + 8, value.sourcePort, false);
  view.setUint16(offset + 10, value.destinationPort, false);
  view.setUint16(offset + 12, value.policyPort, false);
}
export function encodeFragment(value: Fragment): Uint8Array {
  const bytes = new Uint8Array(16);
  writeFragment(new DataView(bytes.buffer), 0, value);
  return bytes;
}

export interface Quota {
  readonly refilledNs: bigint;
  readonly tokens: bigint;
}
export const QUOTA_SIZE = 16;
export const QUOTA_OFFSETS = { refilledNs: 0, tokens: 8 } as const;
export function readQuota(view: DataView, offset = 0): Quota {
  return {
    refilledNs: view.getBigUint64(offset + 0, true),
    tokens: view.getBigInt64(offset + 8, true),
  };
}
export function writeQuota(view: DataView, offset: number, value: Quota): void {
  view.setBigUint64(offset + 0, value.refilledNs, true);
  view.setBigInt64(offset + 8, value.tokens, true);
}
export function encodeQuota(value: Quota): Uint8Array {
  const bytes = new Uint8Array(16);
  writeQuota(new DataView(bytes.buffer), 0, value);
  return bytes;
}

export interface Counter {
  readonly packets: bigint;
  readonly bytes: bigint;
}
export const COUNTER_SIZE = 16;
export const COUNTER_OFFSETS = { packets: 0, bytes: 8 } as const;
export function readCounter(view: DataView, offset = 0): Counter {
  return {
    packets: view.getBigUint64(offset + 0, true),
    bytes: view.getBigUint64(offset + 8, true),
  };
}
export function writeCounter(view: DataView, offset: number, value: Counter): void {
  view.setBigUint64(offset + 0, value.packets, true);
  view.setBigUint64(offset + 8, value.bytes, true);
}
export function encodeCounter(value: Counter): Uint8Array {
  const bytes = new Uint8Array(16);
  writeCounter(new DataView(bytes.buffer), 0, value);
  return bytes;
}

export interface ProxyState {
  readonly active: number;
  readonly generation: number;
}
export const PROXY_STATE_SIZE = 8;
export const PROXY_STATE_OFFSETS = { active: 0, generation: 4 } as const;
export function readProxyState(view: DataView, offset = 0): ProxyState {
  return {
    active: view.getUint32(offset + 0, true),
    generation: view.getUint32(offset + 4, true),
  };
}
export function writeProxyState(view: DataView, offset: number, value: ProxyState): void {
  view.setUint32(offset + 0, value.active, true);
  view.setUint32(offset + 4, value.generation, true);
}
export function encodeProxyState(value: ProxyState): Uint8Array {
  const bytes = new Uint8Array(8);
  writeProxyState(new DataView(bytes.buffer), 0, value);
  return bytes;
}

export interface ConnectionIdentity {
  readonly version: number;
  readonly egressRuleset: number;
  readonly ingressRuleset: number;
  readonly sourceIdentity: number;
  readonly destinationIdentity: number;
  readonly generation: number;
  readonly destination: Uint8Array;
  readonly destinationPort: number;
  readonly sourcePort: number;
}
export const CONNECTION_IDENTITY_SIZE = 48;
export const CONNECTION_IDENTITY_OFFSETS = { version: 0, egressRuleset: 4, ingressRuleset: 8, sourceIdentity: 12, destinationIdentity: 16, generation: 20, destination: 24, destinationPort: 40, sourcePort: 42, spare: 44 } as const;
export function readConnectionIdentity(view: DataView, offset = 0): ConnectionIdentity {
  return {
    version: view.getUint32(offset + 0, true),
    egressRuleset: view.getUint32(offset + 4, true),
    ingressRuleset: view.getUint32(offset + 8, true),
    sourceIdentity: view.getUint32(offset + 12, true),
    destinationIdentity: view.getUint32(offset + 16, true),
    generation: view.getUint32(offset + 20, true),
    destination: bytesAt(view, offset + 24, 16),
    destinationPort: view.getUint16(offset + 40, false),
    sourcePort: view.getUint16(offset + 42, false),
  };
}
export function writeConnectionIdentity(view: DataView, offset: number, value: ConnectionIdentity): void {
  view.setUint32(offset + 0, value.version, true);
  view.setUint32(offset + 4, value.egressRuleset, true);
  view.setUint32(offset + 8, value.ingressRuleset, true);
  view.setUint32(offset + 12, value.sourceIdentity, true);
  view.setUint32(offset + 16, value.destinationIdentity, true);
  view.setUint32(offset + 20, value.generation, true);
  setBytes(view, offset + 24, 16, value.destination);
  view.setUint16(offset + 40, value.destinationPort, false);
  view.setUint16(offset + 42, value.sourcePort, false);
}
export function encodeConnectionIdentity(value: ConnectionIdentity): Uint8Array {
  const bytes = new Uint8Array(48);
  writeConnectionIdentity(new DataView(bytes.buffer), 0, value);
  return bytes;
}

export interface AuthenticationKey {
  readonly identity: number;
  readonly node: number;
  readonly side: number;
}
export const AUTHENTICATION_KEY_SIZE = 12;
export const AUTHENTICATION_KEY_OFFSETS = { identity: 0, node: 4, side: 8 } as const;
export function readAuthenticationKey(view: DataView, offset = 0): AuthenticationKey {
  return {
    identity: view.getUint32(offset + 0, true),
    node: view.getUint32(offset + 4, true),
    side: view.getUint32(offset + 8, true),
  };
}
export function writeAuthenticationKey(view: DataView, offset: number, value: AuthenticationKey): void {
  view.setUint32(offset + 0, value.identity, true);
  view.setUint32(offset + 4, value.node, true);
  view.setUint32(offset + 8, value.side, true);
}
export function encodeAuthenticationKey(value: AuthenticationKey): Uint8Array {
  const bytes = new Uint8Array(12);
  writeAuthenticationKey(new DataView(bytes.buffer), 0, value);
  return bytes;
}

export interface AuthenticationEntry {
  readonly expiresNs: bigint;
  readonly epoch: number;
}
export const AUTHENTICATION_ENTRY_SIZE = 16;
export const AUTHENTICATION_ENTRY_OFFSETS = { expiresNs: 0, epoch: 8, spare: 12 } as const;
export function readAuthenticationEntry(view: DataView, offset = 0): AuthenticationEntry {
  return {
    expiresNs: view.getBigUint64(offset + 0, true),
    epoch: view.getUint32(offset + 8, true),
  };
}
export function writeAuthenticationEntry(view: DataView, offset: number, value: AuthenticationEntry): void {
  view.setBigUint64(offset + 0, value.expiresNs, true);
  view.setUint32(offset + 8, value.epoch, true);
}
export function encodeAuthenticationEntry(value: AuthenticationEntry): Uint8Array {
  const bytes = new Uint8Array(16);
  writeAuthenticationEntry(new DataView(bytes.buffer), 0, value);
  return bytes;
}

export interface ProtectionState {
  readonly tunnelIfindex: number;
  readonly holdIfindex: number;
  readonly generation: number;
  readonly flags: number;
}
export const PROTECTION_STATE_SIZE = 16;
export const PROTECTION_STATE_OFFSETS = { tunnelIfindex: 0, holdIfindex: 4, generation: 8, flags: 12 } as const;
export function readProtectionState(view: DataView, offset = 0): ProtectionState {
  return {
    tunnelIfindex: view.getUint32(offset + 0, true),
    holdIfindex: view.getUint32(offset + 4, true),
    generation: view.getUint32(offset + 8, true),
    flags: view.getUint32(offset + 12, true),
  };
}
export function writeProtectionState(view: DataView, offset: number, value: ProtectionState): void {
  view.setUint32(offset + 0, value.tunnelIfindex, true);
  view.setUint32(offset + 4, value.holdIfindex, true);
  view.setUint32(offset + 8, value.generation, true);
  view.setUint32(offset + 12, value.flags, true);
}
export function encodeProtectionState(value: ProtectionState): Uint8Array {
  const bytes = new Uint8Array(16);
  writeProtectionState(new DataView(bytes.buffer), 0, value);
  return bytes;
}

export interface NamingState {
  readonly aliveUntilNs: bigint;
  readonly ifindex: number;
}
export const NAMING_STATE_SIZE = 16;
export const NAMING_STATE_OFFSETS = { aliveUntilNs: 0, ifindex: 8, spare: 12 } as const;
export function readNamingState(view: DataView, offset = 0): NamingState {
  return {
    aliveUntilNs: view.getBigUint64(offset + 0, true),
    ifindex: view.getUint32(offset + 8, true),
  };
}
export function writeNamingState(view: DataView, offset: number, value: NamingState): void {
  view.setBigUint64(offset + 0, value.aliveUntilNs, true);
  view.setUint32(offset + 8, value.ifindex, true);
}
export function encodeNamingState(value: NamingState): Uint8Array {
  const bytes = new Uint8Array(16);
  writeNamingState(new DataView(bytes.buffer), 0, value);
  return bytes;
}

export interface Config {
  readonly scope: number;
  readonly coarseClock: number;
  readonly quotaTokens: bigint;
  readonly quotaIntervalNs: bigint;
  readonly establishedNs: bigint;
  readonly openingNs: bigint;
  readonly closingNs: bigint;
  readonly datagramNs: bigint;
  readonly fragmentNs: bigint;
  readonly markToEnvoy: number;
  readonly loopbackIfindex: number;
  readonly envoyPort: number;
  readonly legPortFirst: number;
  readonly markToTunnel: number;
  readonly markReleased: number;
  readonly markUntracked: number;
  readonly markLookedAt: number;
}
export const CONFIG_SIZE = 96;
export const CONFIG_OFFSETS = { scope: 0, coarseClock: 4, pad: 5, quotaTokens: 8, quotaIntervalNs: 16, establishedNs: 24, openingNs: 32, closingNs: 40, datagramNs: 48, fragmentNs: 56, markToEnvoy: 64, loopbackIfindex: 68, envoyPort: 72, legPortFirst: 74, markToTunnel: 76, markReleased: 80, markUntracked: 84, markLookedAt: 88 } as const;
export function readConfig(view: DataView, offset = 0): Config {
  return {
    scope: view.getUint32(offset + 0, true),
    coarseClock: view.getUint8(offset + 4),
    quotaTokens: view.getBigUint64(offset + 8, true),
    quotaIntervalNs: view.getBigUint64(offset + 16, true),
    establishedNs: view.getBigUint64(offset + 24, true),
    openingNs: view.getBigUint64(offset + 32, true),
    closingNs: view.getBigUint64(offset + 40, true),
    datagramNs: view.getBigUint64(offset + 48, true),
    fragmentNs: view.getBigUint64(offset + 56, true),
    markToEnvoy: view.getUint32(offset + 64, true),
    loopbackIfindex: view.getUint32(offset + 68, true),
    envoyPort: view.getUint16(offset + 72, true),
    legPortFirst: view.getUint16(offset + 74, true),
    markToTunnel: view.getUint32(offset + 76, true),
    markReleased: view.getUint32(offset + 80, true),
    markUntracked: view.getUint32(offset + 84, true),
    markLookedAt: view.getUint32(offset + 88, true),
  };
}
export function writeConfig(view: DataView, offset: number, value: Config): void {
  view.setUint32(offset + 0, value.scope, true);
  view.setUint8(offset + 4, value.coarseClock);
  view.setBigUint64(offset + 8, value.quotaTokens, true);
  view.setBigUint64(offset + 16, value.quotaIntervalNs, true);
  view.setBigUint64(offset + 24, value.establishedNs, true);
  view.setBigUint64(offset + 32, value.openingNs, true);
  view.setBigUint64(offset + 40, value.closingNs, true);
  view.setBigUint64(offset + 48, value.datagramNs, true);
  view.setBigUint64(offset + 56, value.fragmentNs, true);
  view.setUint32(offset + 64, value.markToEnvoy, true);
  view.setUint32(offset + 68, value.loopbackIfindex, true);
  view.setUint16(offset + 72, value.envoyPort, true);
  view.setUint16(offset + 74, value.legPortFirst, true);
  view.setUint32(offset + 76, value.markToTunnel, true);
  view.setUint32(offset + 80, value.markReleased, true);
  view.setUint32(offset + 84, value.markUntracked, true);
  view.setUint32(offset + 88, value.markLookedAt, true);
}
export function encodeConfig(value: Config): Uint8Array {
  const bytes = new Uint8Array(96);
  writeConfig(new DataView(bytes.buffer), 0, value);
  return bytes;
}

export interface Event {
  readonly timeNs: bigint;
  readonly kind: number;
  readonly hook: number;
  readonly reason: number;
  readonly protocol: number;
  readonly tcpFlags: number;
  readonly icmpType: number;
  readonly icmpCode: number;
  readonly flags: number;
  readonly source: Uint8Array;
  readonly destination: Uint8Array;
  readonly sourcePort: number;
  readonly destinationPort: number;
  readonly sourceIdentity: number;
  readonly destinationIdentity: number;
  readonly ifindex: number;
  readonly sourceIfindex: number;
  readonly destinationIfindex: number;
  readonly length: number;
  readonly egress: FlowHalf;
  readonly ingress: FlowHalf;
  readonly security: number;
  readonly durationNs: bigint;
  readonly packets: readonly [bigint, bigint];
  readonly bytes: readonly [bigint, bigint];
}
export const EVENT_SIZE = 160;
export const EVENT_OFFSETS = { timeNs: 0, kind: 8, hook: 9, reason: 10, protocol: 11, tcpFlags: 12, icmpType: 13, icmpCode: 14, flags: 15, source: 16, destination: 32, sourcePort: 48, destinationPort: 50, sourceIdentity: 52, destinationIdentity: 56, ifindex: 60, sourceIfindex: 64, destinationIfindex: 68, length: 72, egress: 76, ingress: 92, security: 108, pad: 109, durationNs: 120, packets: 128, bytes: 144 } as const;
export function readEvent(view: DataView, offset = 0): Event {
  return {
    timeNs: view.getBigUint64(offset + 0, true),
    kind: view.getUint8(offset + 8),
    hook: view.getUint8(offset + 9),
    reason: view.getUint8(offset + 10),
    protocol: view.getUint8(offset + 11),
    tcpFlags: view.getUint8(offset + 12),
    icmpType: view.getUint8(offset + 13),
    icmpCode: view.getUint8(offset + 14),
    flags: view.getUint8(offset + 15),
    source: bytesAt(view, offset + 16, 16),
    destination: bytesAt(view, offset + 32, 16),
    sourcePort: view.getUint16(offset + 48, false),
    destinationPort: view.getUint16(offset + 50, false),
    sourceIdentity: view.getUint32(offset + 52, true),
    destinationIdentity: view.getUint32(offset + 56, true),
    ifindex: view.getUint32(offset + 60, true),
    sourceIfindex: view.getUint32(offset + 64, true),
    destinationIfindex: view.getUint32(offset + 68, true),
    length: view.getUint32(offset + 72, true),
    egress: readFlowHalf(view, offset + 76),
    ingress: readFlowHalf(view, offset + 92),
    security: view.getUint8(offset + 108),
    durationNs: view.getBigUint64(offset + 120, true),
    packets: [view.getBigUint64(offset + 128 + 0, true), view.getBigUint64(offset + 128 + 8, true)],
    bytes: [view.getBigUint64(offset + 144 + 0, true), view.getBigUint64(offset + 144 + 8, true)],
  };
}
export function writeEvent(view: DataView, offset: number, value: Event): void {
  view.setBigUint64(offset + 0, value.timeNs, true);
  view.setUint8(offset + 8, value.kind);
  view.setUint8(offset + 9, value.hook);
  view.setUint8(offset + 10, value.reason);
  view.setUint8(offset + 11, value.protocol);
  view.setUint8(offset + 12, value.tcpFlags);
  view.setUint8(offset + 13, value.icmpType);
  view.setUint8(offset + 14, value.icmpCode);
  view.setUint8(offset + 15, value.flags);
  setBytes(view, offset + 16, 16, value.source);
  setBytes(view, offset + 32, 16, value.destination);
  view.setUint16(offset + 48, value.sourcePort, false);
  view.setUint16(offset + 50, value.destinationPort, false);
  view.setUint32(offset + 52, value.sourceIdentity, true);
  view.setUint32(offset + 56, value.destinationIdentity, true);
  view.setUint32(offset + 60, value.ifindex, true);
  view.setUint32(offset + 64, value.sourceIfindex, true);
  view.setUint32(offset + 68, value.destinationIfindex, true);
  view.setUint32(offset + 72, value.length, true);
  writeFlowHalf(view, offset + 76, value.egress);
  writeFlowHalf(view, offset + 92, value.ingress);
  view.setUint8(offset + 108, value.security);
  view.setBigUint64(offset + 120, value.durationNs, true);
  view.setBigUint64(offset + 128 + 0, value.packets[0], true); view.setBigUint64(offset + 128 + 8, value.packets[1], true);
  view.setBigUint64(offset + 144 + 0, value.bytes[0], true); view.setBigUint64(offset + 144 + 8, value.bytes[1], true);
}
export function encodeEvent(value: Event): Uint8Array {
  const bytes = new Uint8Array(160);
  writeEvent(new DataView(bytes.buffer), 0, value);
  return bytes;
}

export interface FlowHalf {
  readonly revision: number;
  readonly rule: number;
  readonly ruleset: number;
  readonly verdict: number;
  readonly match: number;
  readonly auth: number;
  readonly flags: number;
}
export const FLOW_HALF_SIZE = 16;
export const FLOW_HALF_OFFSETS = { revision: 0, rule: 4, ruleset: 8, verdict: 10, match: 11, auth: 12, flags: 13, spare: 14 } as const;
export function readFlowHalf(view: DataView, offset = 0): FlowHalf {
  return {
    revision: view.getUint32(offset + 0, true),
    rule: view.getUint32(offset + 4, true),
    ruleset: view.getUint16(offset + 8, true),
    verdict: view.getUint8(offset + 10),
    match: view.getUint8(offset + 11),
    auth: view.getUint8(offset + 12),
    flags: view.getUint8(offset + 13),
  };
}
export function writeFlowHalf(view: DataView, offset: number, value: FlowHalf): void {
  view.setUint32(offset + 0, value.revision, true);
  view.setUint32(offset + 4, value.rule, true);
  view.setUint16(offset + 8, value.ruleset, true);
  view.setUint8(offset + 10, value.verdict);
  view.setUint8(offset + 11, value.match);
  view.setUint8(offset + 12, value.auth);
  view.setUint8(offset + 13, value.flags);
}
export function encodeFlowHalf(value: FlowHalf): Uint8Array {
  const bytes = new Uint8Array(16);
  writeFlowHalf(new DataView(bytes.buffer), 0, value);
  return bytes;
}

export const MAPS = {
  authentications: { maxEntries: 65536, keySize: 12, valueSize: 16 },
  bypass: { maxEntries: 1024, keySize: 4, valueSize: 4 },
  counters: { maxEntries: 512, keySize: 4, valueSize: 16 },
  endpoint_addresses: { maxEntries: 16384, keySize: 20, valueSize: 8 },
  endpoints: { maxEntries: 4096, keySize: 4, valueSize: 44 },
  events: { maxEntries: 4194304 },
  flows: { maxEntries: 524288, keySize: 48, valueSize: 160 },
  fragments: { maxEntries: 16384, keySize: 44, valueSize: 16 },
  ipcache: { maxEntries: 131072, keySize: 20, valueSize: 16 },
  ipcache_prefixes: { maxEntries: 16384, keySize: 24, valueSize: 16 },
  listeners: { maxEntries: 16, keySize: 4, valueSize: 8 },
  naming: { maxEntries: 1, keySize: 4, valueSize: 16 },
  policy: { maxEntries: 131072, keySize: 16, valueSize: 12 },
  policy_tables: { maxEntries: 16384, keySize: 4, valueSize: 16 },
  protection: { maxEntries: 1, keySize: 4, valueSize: 16 },
  proxy: { maxEntries: 1, keySize: 4, valueSize: 8 },
  quotas: { maxEntries: 4096, keySize: 4, valueSize: 16 },
  scratch: { maxEntries: 1, keySize: 4, valueSize: 584 },
  statistics: { maxEntries: 24, keySize: 4, valueSize: 8 },
  told: { maxEntries: 0, keySize: 4, valueSize: 48 },
} as const;
export type MapName = keyof typeof MAPS;

/** Variables of .rodata that user space sets before the load. */
export const RODATA = {
  config: { offset: 0, size: 96 },
} as const;
