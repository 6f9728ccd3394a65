/**
 * CiliumNetworkPolicy (cilium.io/v2) -> our rules. Strict: what we do not do is refused by path, never ignored.
 * Semantics of fields: docs.cilium.io, security/policy; the fields it may have stand in policy-fields.ts.
 */

import type { ErrorCode } from '../model/error.ts';
import {
  bareKey,
  isIdentityLabel,
  isLabelValue,
  NAMESPACE_KEY,
  NAMESPACE_LABELS_PREFIX,
  selectorKey,
  sourceOf,
} from '../model/labels.ts';
import {
  AUTHENTICATION_MODES,
  type AuthenticationMode,
  type Direction,
  type Entity,
  type Peers,
  type Policy,
  type PolicyRef,
  type Rule,
  type RuleRef,
  type Selector,
} from '../model/policy.ts';
import type { Issue } from '../model/snapshot.ts';
import { formatPath, isRecord, issue, type Manifest, nameProblems, type Path } from './document.ts';
import { type Place, refuseFields } from './policy-fields.ts';
import { readPorts } from './port-rules.ts';

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
    if (this.#manifest.apiVersion !== CILIUM_POLICY.apiVersion)
      this.#refuse(
        'FIELD_INVALID',
        ['apiVersion'],
        `${JSON.stringify(value['apiVersion'])} must be ${CILIUM_POLICY.apiVersion}`,
      );
    for (const { path, code, message } of nameProblems(this.#manifest)) this.#refuse(code, path, message);
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
    refuseFields(value, place, path, (...problem) => this.#refuse(...problem));
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
    // A selector that we cannot read whole selects something else than what it says.
    const before = this.#issues.length;
    this.#fields(value, 'selector', path);
    const labels = new Map<string, string>();
    const matchLabels = value['matchLabels'] ?? {};
    if (!isRecord(matchLabels)) {
      this.#refuse('FIELD_INVALID', [...path, 'matchLabels'], 'must be a mapping');
      return undefined;
    }
    for (const [key, text] of Object.entries(matchLabels)) {
      const at = [...path, 'matchLabels', key];
      if (labels.has(selectorKey(key))) this.#refuse('FIELD_INVALID', at, 'stands twice');
      else if (this.#label(key, text, at)) labels.set(selectorKey(key), String(text));
    }
    return this.#issues.length === before ? labels : undefined;
  }

  #label(key: string, value: unknown, path: Path): boolean {
    const source = sourceOf(key);
    if (source === 'later') this.#refuse('FIELD_NOT_SUPPORTED', path, 'labels of this source are not supported');
    else if (source === 'unknown') this.#refuse('FIELD_INVALID', path, 'unknown source (any, k8s, reserved, unspec)');
    else if (bareKey(key) === '') this.#refuse('FIELD_INVALID', path, 'a label needs a key');
    else if (!isIdentityLabel(bareKey(key)))
      this.#refuse('FIELD_NOT_SUPPORTED', path, 'differs from replica to replica and is not part of an identity');
    else if (typeof value !== 'string') this.#refuse('FIELD_INVALID', path, 'must be a string (quote it)');
    else if (!isLabelValue(value))
      this.#refuse('FIELD_INVALID', path, `${JSON.stringify(value)} is not a value that a label can have`);
    else return true;
    return false;
  }

  #rule(value: unknown, direction: Direction, path: Path, specPath: Path): Rule[] {
    if (!isRecord(value)) {
      this.#refuse('FIELD_INVALID', path, 'must be a mapping');
      return [];
    }
    this.#fields(value, direction, path);
    const peers = this.#peers(value, direction, path);
    // `rule` is the path below `spec`; below `specs` it keeps the index.
    const rulePath = specPath.length === 1 ? path.slice(1) : path;
    const ports = readPorts(
      value['toPorts'],
      [...path, 'toPorts'],
      (below) => this.#ruleRef([...rulePath, 'toPorts', ...below]),
      (...problem) => this.#refuse(...problem),
    );
    const mode = this.#authentication(value['authentication'], [...path, 'authentication']);
    // `- {}` switches default deny on and allows nothing; so does a rule that names neither peers nor ports.
    if (peers?.kind === 'any' && ports?.length === 0) return [];
    const asked = mode === undefined ? {} : { authentication: mode };
    return peers && ports ? [{ ref: this.#ruleRef(rulePath), direction, peers, ports, ...asked }] : [];
  }

  /** undefined: nothing is said. */
  #authentication(value: unknown, path: Path): AuthenticationMode | undefined {
    if (value === undefined || value === null) return undefined;
    if (!isRecord(value)) {
      this.#refuse('FIELD_INVALID', path, 'must be a mapping');
      return undefined;
    }
    this.#fields(value, 'authentication', path);
    const at = [...path, 'mode'];
    const text = value['mode'] ?? undefined;
    const mode = AUTHENTICATION_MODES.find((known) => known === text);
    if (text === undefined) this.#refuse('FIELD_REQUIRED', at, 'is required');
    else if (mode === undefined)
      this.#refuse('FIELD_INVALID', at, `${JSON.stringify(text)} is not one of ${AUTHENTICATION_MODES.join(', ')}`);
    return mode;
  }

  #ruleRef(path: Path): RuleRef {
    return { ...this.#ref, rule: formatPath(path) };
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
        `combining ${endpointsField} and ${entitiesField} is not supported; write two rules`,
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
}
