/** Recommended policies as files are written: each rule with a comment that says what it is for. */
import { Document, isMap, isSeq, type Node, visit } from 'yaml';
import type { Recommendation, RecommendedRule } from '../policy/recommend.ts';

/** @returns YAML documents that the agent takes */
export function policyYaml(policies: readonly Recommendation[]): string {
  return policies.map(documentText).join('---\n');
}

/** The same as objects. */
export function policyDocuments(policies: readonly Recommendation[]): readonly object[] {
  return policies.map(objectOf);
}

function objectOf({ namespace, name, subject, sections }: Recommendation): object {
  return {
    apiVersion: 'cilium.io/v2',
    kind: 'CiliumNetworkPolicy',
    metadata: { name, namespace },
    spec: {
      endpointSelector: { matchLabels: subject },
      ...Object.fromEntries(
        Object.entries(sections).map(([direction, rules]) => [direction, rules.map(({ fields }) => fields)]),
      ),
    },
  };
}

function documentText(policy: Recommendation): string {
  const document = new Document(objectOf(policy));
  for (const [direction, rules] of Object.entries(policy.sections)) comment(document.getIn(['spec', direction]), rules);
  return asWritten(document);
}

/** One manifest, as people write them. */
export function manifestYaml(manifest: object): string {
  return asWritten(new Document(manifest));
}

function asWritten(document: Document): string {
  // Label selectors and ports are short: one line each.
  visit(document, {
    Map: (_, node) => {
      node.flow =
        node.items.every(({ value }) => !isMap(value) && !isSeq(value)) &&
        node.items.length <= 2 &&
        !isTop(node, document);
    },
  });
  return document.toString({ lineWidth: 0, flowCollectionPadding: true });
}

function isTop(node: Node, document: Document): boolean {
  return node === document.contents || node === document.get('metadata');
}

function comment(section: unknown, rules: readonly RecommendedRule[]): void {
  if (!isSeq(section)) return;
  rules.forEach(({ why }, i) => {
    const item = section.items[i];
    if (isMap(item)) item.commentBefore = ` ${why}`;
  });
}
