/** Selectors of labels, as policies write them -> ours, with the source in every key. Strict: half a selector selects something else. */
import {
  bareKey,
  isIdentityLabel,
  isLabelKey,
  isLabelValue,
  keysOf,
  NAMESPACE_KEY,
  NAMESPACE_LABELS_PREFIX,
  selectorKey,
  sourceOf,
} from '../model/labels.ts';
import { type LabelExpression, OPERATORS, type Selector } from '../model/policy.ts';
import type { Path } from './document.ts';
import { isRecord } from './document.ts';
import type { Refuse } from './policy-fields.ts';
import { isAbsent, needMapping, quote, readList } from './values.ts';

/** Kubernetes gives every namespace this label with its name; a manifest need not have it. */
const NAMESPACE_NAME = `${NAMESPACE_LABELS_PREFIX}kubernetes.io/metadata.name`;
const OF_NAMESPACE = `k8s:${NAMESPACE_KEY}`;

/** @returns the key with its source; undefined: refused */
type ReadKey = (key: string, path: Path, refuse: Refuse) => string | undefined;

/** The subject of a Cilium policy. @param namespace '' in a clusterwide policy: pods of all */
export function readSubject(value: unknown, namespace: string, path: Path, refuse: Refuse): Selector | undefined {
  if (isAbsent(value)) {
    refuse('FIELD_REQUIRED', path, 'is required');
    return undefined;
  }
  const selector = readSelector(value, ciliumKey, path, refuse);
  if (selector === undefined || namespace === '') return selector;
  // A namespaced policy never reaches beyond its namespace, whatever its selector says.
  const labels = [...selector.matchLabels].filter(([key]) => bareKey(key) !== NAMESPACE_KEY);
  return { ...selector, matchLabels: new Map([...labels, [OF_NAMESPACE, namespace]]) };
}

/** A peer of a Cilium policy, scoped as cilium.md §1.5 says. @param namespace '' in a clusterwide policy */
export function readPeerSelector(value: unknown, namespace: string, path: Path, refuse: Refuse): Selector | undefined {
  const selector = readSelector(value, ciliumKey, path, refuse);
  if (selector === undefined) return undefined;
  const keys = keysOf(selector);
  if (keys.some((key) => key.startsWith('reserved:'))) return selector;
  const bare = keys.map(bareKey);
  if (bare.includes(NAMESPACE_KEY)) return selector;
  // Pods of every namespace; without it `{}` would be the whole world.
  if (namespace === '') return withExpression(selector, { key: OF_NAMESPACE, operator: 'Exists', values: [] });
  if (bare.some((key) => key.startsWith(NAMESPACE_LABELS_PREFIX))) return selector;
  return { ...selector, matchLabels: new Map(selector.matchLabels).set(OF_NAMESPACE, namespace) };
}

/** Of pods by their own labels, as Kubernetes has it: the keys have no source. */
export function readPodSelector(value: unknown, path: Path, refuse: Refuse): Selector | undefined {
  return readSelector(value, podKey, path, refuse);
}

/** Of pods by the labels of their namespaces; an empty one takes every namespace. */
export function readNamespaceSelector(value: unknown, path: Path, refuse: Refuse): Selector | undefined {
  const selector = readSelector(value, namespaceLabelKey, path, refuse);
  if (selector === undefined || keysOf(selector).length > 0) return selector;
  return withExpression(selector, { key: OF_NAMESPACE, operator: 'Exists', values: [] });
}

/** Of objects that are no pods (Services, CIDR groups): `any:` before the plain key. */
export function readObjectSelector(value: unknown, path: Path, refuse: Refuse): Selector | undefined {
  return readSelector(value, objectKey, path, refuse);
}

/** What both take. */
export function both(a: Selector, b: Selector): Selector {
  const all = [...(a.matchExpressions ?? []), ...(b.matchExpressions ?? [])];
  const labels = new Map(a.matchLabels);
  for (const [key, value] of b.matchLabels)
    if (labels.has(key)) all.push({ key, operator: 'In', values: [value] });
    else labels.set(key, value);
  return selectorOf(labels, all);
}

/** The same, for pods of one namespace only. */
export function within(namespace: string, selector: Selector): Selector {
  return both({ matchLabels: new Map([[OF_NAMESPACE, namespace]]) }, selector);
}

function withExpression(selector: Selector, expression: LabelExpression): Selector {
  return selectorOf(selector.matchLabels, [...(selector.matchExpressions ?? []), expression]);
}

function selectorOf(matchLabels: ReadonlyMap<string, string>, expressions: readonly LabelExpression[]): Selector {
  return expressions.length === 0 ? { matchLabels } : { matchLabels, matchExpressions: expressions };
}

function readSelector(value: unknown, readKey: ReadKey, path: Path, outer: Refuse): Selector | undefined {
  let readable = true;
  const refuse: Refuse = (...problem) => {
    readable = false;
    outer(...problem);
  };
  const selector = needMapping(value, 'selector', path, refuse);
  if (selector === undefined) return undefined;
  const labels = new Map<string, string>();
  const expressions: LabelExpression[] = [];
  const matchLabels = selector['matchLabels'] ?? {};
  if (!isRecord(matchLabels)) refuse('FIELD_INVALID', [...path, 'matchLabels'], 'must be a mapping');
  else
    for (const [text, label] of Object.entries(matchLabels)) {
      const at = [...path, 'matchLabels', text];
      const key = readKey(text, at, refuse);
      const isGood = key !== undefined && checkValue(label, at, refuse);
      if (!isGood) continue;
      if (bareKey(key) === NAMESPACE_NAME) expressions.push({ ...named, values: [label] });
      else if (labels.has(key)) refuse('FIELD_INVALID', at, 'stands twice');
      else labels.set(key, label);
    }
  const at = [...path, 'matchExpressions'];
  for (const [i, each] of readList(selector['matchExpressions'], at, refuse).entries()) {
    const expression = readExpression(each, readKey, [...at, i], refuse);
    if (expression !== undefined) expressions.push(expression);
  }
  return readable ? selectorOf(labels, expressions) : undefined;
}

const named = { key: OF_NAMESPACE, operator: 'In' } as const;

function readExpression(value: unknown, readKey: ReadKey, path: Path, refuse: Refuse): LabelExpression | undefined {
  const expression = needMapping(value, 'expression', path, refuse);
  if (expression === undefined) return undefined;
  const { key: text, operator: word, values: list } = expression;
  let key: string | undefined;
  if (isAbsent(text)) refuse('FIELD_REQUIRED', [...path, 'key'], 'is required');
  else if (typeof text !== 'string') refuse('FIELD_INVALID', [...path, 'key'], 'must be a string (quote it)');
  else key = readKey(text, [...path, 'key'], refuse);
  const operator = OPERATORS.find((known) => known === word);
  if (isAbsent(word)) refuse('FIELD_REQUIRED', [...path, 'operator'], 'is required');
  else if (operator === undefined)
    refuse('FIELD_INVALID', [...path, 'operator'], `${quote(word)} is not one of ${OPERATORS.join(', ')}`);
  const at = [...path, 'values'];
  const values = readList(list, at, refuse).filter((label, i) => checkValue(label, [...at, i], refuse));
  const wantsValues = operator === 'In' || operator === 'NotIn';
  if (wantsValues && values.length === 0) refuse('FIELD_REQUIRED', at, `${operator} needs at least one value`);
  if (operator !== undefined && !wantsValues && values.length > 0)
    refuse('FIELD_INVALID', at, `${operator} has no values`);
  if (key === undefined || operator === undefined) return undefined;
  // The label is that of every namespace, and its value the name.
  const about = bareKey(key) === NAMESPACE_NAME ? OF_NAMESPACE : key;
  return { key: about, operator, values: [...new Set(values)].sort() };
}

function checkValue(value: unknown, path: Path, refuse: Refuse): value is string {
  if (typeof value !== 'string') refuse('FIELD_INVALID', path, 'must be a string (quote it)');
  else if (!isLabelValue(value)) refuse('FIELD_INVALID', path, `${quote(value)} is not a value that a label can have`);
  else return true;
  return false;
}

function ciliumKey(key: string, path: Path, refuse: Refuse): string | undefined {
  const source = sourceOf(key);
  if (source === 'later')
    refuse(
      'FIELD_NOT_SUPPORTED',
      path,
      'not supported: labels of this source are not for selectors; name ranges, groups and names by their own fields',
    );
  else if (source === 'unknown') refuse('FIELD_INVALID', path, 'unknown source (any, k8s, reserved, unspec)');
  else if (bareKey(selectorKey(key)) === '') refuse('FIELD_INVALID', path, 'a label needs a key');
  else return perIdentity(selectorKey(key), path, refuse);
  return undefined;
}

function podKey(key: string, path: Path, refuse: Refuse): string | undefined {
  return kubernetesKey(key, path, refuse) ? perIdentity(`k8s:${key}`, path, refuse) : undefined;
}

function namespaceLabelKey(key: string, path: Path, refuse: Refuse): string | undefined {
  return kubernetesKey(key, path, refuse) ? `k8s:${NAMESPACE_LABELS_PREFIX}${key}` : undefined;
}

function objectKey(key: string, path: Path, refuse: Refuse): string | undefined {
  return kubernetesKey(key, path, refuse) ? `any:${key}` : undefined;
}

function kubernetesKey(key: string, path: Path, refuse: Refuse): boolean {
  if (!isLabelKey(key)) refuse('FIELD_INVALID', path, `${quote(key)} is not a key that a label can have`);
  return isLabelKey(key);
}

function perIdentity(key: string, path: Path, refuse: Refuse): string | undefined {
  if (isIdentityLabel(bareKey(key))) return key;
  refuse('FIELD_NOT_SUPPORTED', path, 'not supported: differs from replica to replica and is not part of an identity');
  return undefined;
}
