/**
 * CiliumNetworkPolicy (cilium.io/v2) -> our rules. Strict: what we do not do is refused by path, never ignored.
 * Semantics of fields: docs.cilium.io, security/policy; known fields of its CRD that we lack stand in UNSUPPORTED.
 */

import type { ErrorCode } from '../model/error.ts';
import { bareKey, NAMESPACE_KEY, NAMESPACE_LABELS_PREFIX, selectorKey } from '../model/labels.ts';
import {
  type Direction,
  type Entity,
  type Peers,
  type Policy,
  type PolicyRef,
  type PortMatch,
  PROTOCOLS,
  type Rule,
  type Selector,
} from '../model/policy.ts';
import type { Issue } from '../model/snapshot.ts';
import { formatPath, isRecord, issue, type Manifest, type Path } from './document.ts';

export const CILIUM_POLICY = { apiVersion: 'cilium.io/v2', kind: 'CiliumNetworkPolicy' } as const;

const ENTITIES: readonly string[] = ['all', 'cluster', 'host', 'world'] satisfies Entity[];
/** Cilium's other entities: known, not done yet. */
const LATER_ENTITIES = [
  'world-ipv4',
  'world-ipv6',
  'cluster-mesh',
  'remote-node',
  'kube-apiserver',
  'ingress',
  'init',
  'health',
  'unmanaged',
  'none',
];
const LATER_PROTOCOLS = ['SCTP', 'ICMP', 'ICMPV6', 'VRRP', 'IGMP', 'GRE', 'IPIP', 'IPV6', 'ESP', 'AH'];
/** Cilium's own bound. */
const MAX_PORTS = 40;

/** Fields by place: what we read, and what exists in Cilium and is refused as not supported. */
const FIELDS = {
  object: { known: ['apiVersion', 'kind', 'metadata', 'spec', 'specs', 'status'], later: [] },
  spec: {
    known: ['endpointSelector', 'ingress', 'egress', 'description'],
    later: ['nodeSelector', 'ingressDeny', 'egressDeny', 'enableDefaultDeny', 'labels', 'log'],
  },
  selector: { known: ['matchLabels'], later: ['matchExpressions'] },
  ingress: {
    known: ['fromEndpoints', 'fromEntities', 'toPorts'],
    later: ['fromCIDR', 'fromCIDRSet', 'fromRequires', 'fromGroups', 'fromNodes', 'icmps', 'authentication'],
  },
  egress: {
    known: ['toEndpoints', 'toEntities', 'toPorts'],
    later: [
      'toCIDR',
      'toCIDRSet',
      'toRequires',
      'toServices',
      'toGroups',
      'toNodes',
      'toFQDNs',
      'icmps',
      'authentication',
    ],
  },
  portRule: { known: ['ports'], later: ['terminatingTLS', 'originatingTLS', 'serverNames', 'listener', 'rules'] },
  port: { known: ['port', 'protocol'], later: ['endPort'] },
} as const;

type Place = keyof typeof FIELDS;

export interface ParsedPolicy {
  readonly ref: PolicyRef;
  readonly issues: readonly Issue[];
  /** Without issues: what it says. */
  readonly policies: readonly Policy[];
  /** With issues: denies what it selects in each direction it has a section for; empty where no selector can be read. */
  readonly closed: readonly Policy[];
}

export function parseCiliumPolicy(manifest: Manifest): ParsedPolicy {
  return new PolicyParser(manifest).parse();
}

class PolicyParser {
  readonly #manifest: Manifest;
  readonly #ref: PolicyRef;
  readonly #issues: Issue[] = [];

  constructor(manifest: Manifest) {
    this.#manifest = manifest;
    this.#ref = { kind: manifest.kind, namespace: manifest.namespace || 'default', name: manifest.name };
  }

  parse(): ParsedPolicy {
    const { value } = this.#manifest;
    this.#fields(value, 'object', []);
    if (this.#manifest.name === '') this.#refuse('FIELD_REQUIRED', ['metadata', 'name'], 'is required');
    const specs = this.#specs(value);
    if (specs.length === 0 && this.#issues.length === 0)
      this.#refuse('POLICY_EMPTY', ['spec'], 'the policy has neither spec nor specs');
    const parsed = specs.map(({ spec, path }) => this.#spec(spec, path));
    const valid = this.#issues.length === 0;
    return {
      ref: this.#ref,
      issues: this.#issues,
      policies: valid ? parsed.flatMap((p) => p ?? []) : [],
      closed: valid ? [] : parsed.flatMap((p) => (p ? [{ ...p, rules: [], refused: true }] : [])),
    };
  }

  #specs(value: Record<string, unknown>): { spec: unknown; path: Path }[] {
    const specs: { spec: unknown; path: Path }[] = [];
    if (value['spec'] !== undefined && value['spec'] !== null) specs.push({ spec: value['spec'], path: ['spec'] });
    if (value['specs'] !== undefined && value['specs'] !== null)
      for (const [i, spec] of this.#list(value['specs'], ['specs']).entries()) specs.push({ spec, path: ['specs', i] });
    return specs;
  }

  #refuse(code: ErrorCode, path: Path, message: string): void {
    const where = formatPath(path);
    const object = `${this.#ref.kind}/${this.#ref.namespace}/${this.#ref.name}`;
    this.#issues.push(issue(code, where, `${where}: ${message}`, this.#manifest.originOf(path), object));
  }

  #fields(value: Record<string, unknown>, place: Place, path: Path): void {
    const known: readonly string[] = FIELDS[place].known;
    const later: readonly string[] = FIELDS[place].later;
    for (const field of Object.keys(value)) {
      if (known.includes(field)) continue;
      if (later.includes(field)) this.#refuse('FIELD_NOT_SUPPORTED', [...path, field], 'not supported');
      else this.#refuse('FIELD_UNKNOWN', [...path, field], `unknown field${suggestion(field, [...known, ...later])}`);
    }
  }

  #list(value: unknown, path: Path): readonly unknown[] {
    if (Array.isArray(value)) return value;
    this.#refuse('FIELD_INVALID', path, 'must be a list');
    return [];
  }

  /** undefined when the selector cannot be read: then nothing of it can be enforced. */
  #spec(spec: unknown, path: Path): Policy | undefined {
    if (!isRecord(spec)) {
      this.#refuse('FIELD_INVALID', path, 'must be a mapping');
      return undefined;
    }
    this.#fields(spec, 'spec', path);
    if (spec['description'] !== undefined && typeof spec['description'] !== 'string')
      this.#refuse('FIELD_INVALID', [...path, 'description'], 'must be a string');
    const subject = this.#subject(spec['endpointSelector'], [...path, 'endpointSelector']);
    const sections = (['ingress', 'egress'] as const).map((direction) => ({
      direction,
      value: spec[direction],
      path: [...path, direction],
    }));
    const present = { ingress: false, egress: false };
    const rules: Rule[] = [];
    for (const { direction, value, path: at } of sections) {
      // An empty or null list beside another section is no section (the API server drops it).
      if (value === undefined || value === null || (Array.isArray(value) && value.length === 0)) continue;
      present[direction] = true;
      for (const [i, rule] of this.#list(value, at).entries())
        rules.push(...this.#rule(rule, direction, [...at, i], path));
    }
    // Deny sections are refused above, but they too say which direction the author meant to close.
    const meant = {
      ingress: present.ingress || spec['ingressDeny'] !== undefined,
      egress: present.egress || spec['egressDeny'] !== undefined,
    };
    if (!meant.ingress && !meant.egress)
      this.#refuse('POLICY_EMPTY', path, 'needs an ingress or egress section that is not empty');
    if (subject === undefined) return undefined;
    return { ref: this.#ref, subject, defaultDeny: meant, rules, refused: false };
  }

  #subject(value: unknown, path: Path): Selector | undefined {
    if (value === undefined || value === null) {
      this.#refuse('FIELD_REQUIRED', path, 'is required');
      return undefined;
    }
    const labels = this.#matchLabels(value, path);
    if (labels === undefined) return undefined;
    // A namespaced policy never reaches beyond its namespace, whatever its selector says.
    for (const key of labels.keys()) if (bareKey(key) === NAMESPACE_KEY) labels.delete(key);
    return { matchLabels: labels.set(`k8s:${NAMESPACE_KEY}`, this.#ref.namespace) };
  }

  #peerSelector(value: unknown, path: Path): Selector | undefined {
    const labels = this.#matchLabels(value, path);
    if (labels === undefined) return undefined;
    const keys = [...labels.keys()];
    const named = keys.some(
      (key) => bareKey(key) === NAMESPACE_KEY || bareKey(key).startsWith(NAMESPACE_LABELS_PREFIX),
    );
    if (!named && !keys.some((key) => key.startsWith('reserved:')))
      labels.set(`k8s:${NAMESPACE_KEY}`, this.#ref.namespace);
    return { matchLabels: labels };
  }

  #matchLabels(value: unknown, path: Path): Map<string, string> | undefined {
    if (!isRecord(value)) {
      this.#refuse('FIELD_INVALID', path, 'must be a mapping');
      return undefined;
    }
    this.#fields(value, 'selector', path);
    // A selector that we cannot read whole selects something else than what it says.
    if ('matchExpressions' in value) return undefined;
    const labels = new Map<string, string>();
    const matchLabels = value['matchLabels'] ?? {};
    if (!isRecord(matchLabels)) {
      this.#refuse('FIELD_INVALID', [...path, 'matchLabels'], 'must be a mapping');
      return undefined;
    }
    for (const [key, text] of Object.entries(matchLabels)) {
      if (typeof text !== 'string') {
        this.#refuse('FIELD_INVALID', [...path, 'matchLabels', key], 'must be a string (quote it)');
        return undefined;
      }
      labels.set(selectorKey(key), text);
    }
    return labels;
  }

  #rule(value: unknown, direction: Direction, path: Path, specPath: Path): Rule[] {
    if (!isRecord(value)) {
      this.#refuse('FIELD_INVALID', path, 'must be a mapping');
      return [];
    }
    this.#fields(value, direction, path);
    // `- {}` switches default deny on and allows nothing.
    if (Object.keys(value).length === 0) return [];
    const peers = this.#peers(value, direction, path);
    const ports = this.#ports(value['toPorts'], [...path, 'toPorts']);
    // `rule` is the path below `spec`; below `specs` it keeps the index.
    const rule = formatPath(specPath.length === 1 ? path.slice(1) : path);
    return peers && ports ? [{ ref: { ...this.#ref, rule }, direction, peers, ports }] : [];
  }

  #peers(rule: Record<string, unknown>, direction: Direction, path: Path): Peers | undefined {
    const [endpointsField, entitiesField] =
      direction === 'ingress' ? ['fromEndpoints', 'fromEntities'] : ['toEndpoints', 'toEntities'];
    const endpoints = rule[endpointsField] ?? undefined;
    const entities = rule[entitiesField] ?? undefined;
    if (endpoints === undefined && entities === undefined) return { kind: 'any' };
    if (endpoints !== undefined && entities !== undefined) {
      this.#refuse(
        'FIELD_INVALID',
        path,
        `combining ${endpointsField} and ${entitiesField} in one rule is not supported; write two rules`,
      );
      return undefined;
    }
    const selectors =
      endpoints === undefined
        ? []
        : this.#list(endpoints, [...path, endpointsField]).map((s, i) =>
            this.#peerSelector(s, [...path, endpointsField, i]),
          );
    const names =
      entities === undefined
        ? []
        : this.#list(entities, [...path, entitiesField]).map((e, i) => this.#entity(e, [...path, entitiesField, i]));
    return {
      kind: 'selected',
      selectors: selectors.filter((selector) => selector !== undefined),
      entities: names.filter((entity) => entity !== undefined),
    };
  }

  #entity(value: unknown, path: Path): Entity | undefined {
    if (typeof value === 'string' && ENTITIES.includes(value)) return value as Entity;
    if (typeof value === 'string' && LATER_ENTITIES.includes(value))
      this.#refuse('FIELD_NOT_SUPPORTED', path, `entity ${value} is not supported`);
    else this.#refuse('FIELD_INVALID', path, `${JSON.stringify(value)} is not an entity (${ENTITIES.join(', ')})`);
    return undefined;
  }

  /** undefined when a port rule cannot be read; empty: every port. */
  #ports(value: unknown, path: Path): PortMatch[] | undefined {
    if (value === undefined || value === null) return [];
    const before = this.#issues.length;
    const matches: PortMatch[] = [];
    for (const [i, rule] of this.#list(value, path).entries()) {
      const at = [...path, i];
      if (!isRecord(rule)) {
        this.#refuse('FIELD_INVALID', at, 'must be a mapping');
        continue;
      }
      this.#fields(rule, 'portRule', at);
      const ports = rule['ports'] ?? undefined;
      if (ports === undefined || (Array.isArray(ports) && ports.length === 0)) {
        this.#refuse('FIELD_REQUIRED', [...at, 'ports'], 'at least one port is required');
        continue;
      }
      const list = this.#list(ports, [...at, 'ports']);
      if (list.length > MAX_PORTS) this.#refuse('FIELD_INVALID', [...at, 'ports'], `at most ${MAX_PORTS} ports`);
      for (const [j, port] of list.entries()) matches.push(...this.#port(port, [...at, 'ports', j]));
    }
    return this.#issues.length === before ? matches : undefined;
  }

  #port(value: unknown, path: Path): PortMatch[] {
    if (!isRecord(value)) {
      this.#refuse('FIELD_INVALID', path, 'must be a mapping');
      return [];
    }
    this.#fields(value, 'port', path);
    const port = this.#portNumber(value['port'], [...path, 'port']);
    const protocols = this.#protocols(value['protocol'], [...path, 'protocol']);
    return port === undefined ? [] : protocols.map((protocol) => ({ protocol, port }));
  }

  #portNumber(value: unknown, path: Path): number | undefined {
    if (value === undefined || value === null || value === '') {
      this.#refuse('FIELD_REQUIRED', path, 'a port must be specified ("0" is every port)');
      return undefined;
    }
    const text = String(value);
    if ((typeof value === 'string' || typeof value === 'number') && /^\d+$/.test(text)) {
      if (Number(text) <= 65535) return Number(text);
    } else if (typeof value === 'string' && /^[a-zA-Z0-9-]{1,15}$/.test(value) && /[a-zA-Z]/.test(value)) {
      this.#refuse('FIELD_NOT_SUPPORTED', path, `named port ${JSON.stringify(value)} is not supported`);
      return undefined;
    }
    this.#refuse('FIELD_INVALID', path, `${JSON.stringify(value)} is not a port (0 to 65535)`);
    return undefined;
  }

  /** ANY and an empty protocol are TCP, UDP and SCTP, as Cilium has it. */
  #protocols(value: unknown, path: Path): readonly number[] {
    const text = value === undefined || value === null || value === '' ? 'ANY' : value;
    if (typeof text === 'string') {
      const name = text.toUpperCase();
      if (name === 'ANY') return [PROTOCOLS.TCP, PROTOCOLS.UDP, PROTOCOLS.SCTP];
      if (name === 'TCP' || name === 'UDP') return [PROTOCOLS[name]];
      if (LATER_PROTOCOLS.includes(name)) {
        this.#refuse('FIELD_NOT_SUPPORTED', path, `protocol ${text} is not supported`);
        return [];
      }
    }
    this.#refuse('FIELD_INVALID', path, `${JSON.stringify(value)} is not a protocol (TCP, UDP, ANY)`);
    return [];
  }
}

/** ", did you mean …" for a field one or two letters away. */
function suggestion(field: string, fields: readonly string[]): string {
  const near = fields.find((candidate) => distance(candidate.toLowerCase(), field.toLowerCase()) <= 2);
  return near === undefined ? '' : `, did you mean ${near}?`;
}

/** Levenshtein. */
function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++)
      next.push(
        Math.min((row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1, (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1)),
      );
    row = next;
  }
  return row[b.length] ?? 0;
}
