/** An explanation, as a person reads it. */
import type { AgentStatus } from '../agent/view.ts';
import { formatPolicyRef, formatRuleRef } from '../model/policy.ts';
import type { ExplainedEnd, ExplainedHalf, Explanation } from '../policy/explain.ts';
import type { Miss, Rung } from '../policy/ladder.ts';
import type { Patch } from '../policy/patch.ts';
import { halfText, paint, questionText } from './check-text.ts';
import { manifestYaml } from './policy-yaml.ts';

/** Rules beyond it are told by their number: nobody reads them all, and `-o json` has them. */
const MOST_RUNGS = 12;

export function explainText(
  explanation: Explanation & { readonly revision?: AgentStatus['revision'] },
  color: boolean,
): string {
  const { question, verdict, source, destination, egress, ingress, authentication, patch, revision } = explanation;
  return [
    `${paint(verdict, color)}  ${questionText(question)}`,
    '',
    ...endText('source', source),
    ...endText('destination', destination),
    '',
    ...halfLines('egress', egress, source.name, color),
    ...halfLines('ingress', ingress, destination.name, color),
    ...(authentication === 'required'
      ? [
          'Authentication is required: both ends must be proven (until then: drop reason 189), and between nodes the flow is encrypted.',
          '',
        ]
      : []),
    ...patchLines(patch),
    ...(revision === undefined ? [] : [revisionText(revision)]),
  ].join('\n');
}

function endText(role: string, { name, known, labels }: ExplainedEnd): string[] {
  return [`${role.padEnd(12)} ${name}: ${known}`, `${''.padEnd(12)} ${labels.flatMap(shortLabel).join(', ')}`];
}

/** What every pod has is left out (`-o json` has it). */
function shortLabel(label: string): string[] {
  const bare = label.replace(/^k8s:/, '');
  if (/^io\.cilium\.k8s\.policy\./.test(bare)) return [];
  return [bare.replace(/^io\.kubernetes\.pod\.namespace=/, 'namespace ')];
}

function halfLines(direction: string, half: ExplainedHalf, end: string, color: boolean): string[] {
  const { verdict, tried, nearest, defaultDeny } = half;
  const shown = tried.slice(0, MOST_RUNGS);
  return [
    `${direction.padEnd(12)} ${paint(verdict, color)}  ${halfText(half, end)}`,
    ...(defaultDeny.length > 0 && half.reason !== 'default-deny'
      ? [`  default deny is switched on by ${defaultDeny.map(formatPolicyRef).join(', ')}`]
      : []),
    ...(tried.length === 0 ? [] : ['  tried, in order:']),
    ...shown.flatMap(rungLines),
    ...(tried.length > shown.length ? [`    and ${tried.length - shown.length} more`] : []),
    ...(nearest
      ? [
          `  nearest to allowing it: ${formatRuleRef(nearest.rule)}, but for ${nearest.misses.map(({ field }) => field).join(' and ')}`,
        ]
      : []),
    '',
  ];
}

function rungLines({ rule, action, audited, misses }: Rung): string[] {
  const glyph = misses.length > 0 ? '-' : action === 'deny' ? '×' : '√';
  const trial = audited ? ' (on trial)' : '';
  return [
    `    ${glyph} ${action.padEnd(5)} ${formatRuleRef(rule)}${trial}${misses.length === 0 ? ': takes it' : ''}`,
    ...misses.slice(0, 1).map(missText),
  ];
}

function missText({ field, wanted, found }: Miss): string {
  return `            ${field}: wants ${wanted}; found ${found}`;
}

function patchLines(patch: Patch | undefined): string[] {
  if (patch === undefined) return [];
  const { add, remove, alsoAdmits } = patch;
  return [
    ...(remove.length > 0
      ? [
          'No policy beside a deny rule helps. To admit it, take out:',
          ...remove.map((ref) => `  ${formatRuleRef(ref)}`),
        ]
      : []),
    ...(add.length > 0
      ? [remove.length > 0 ? 'and add:' : 'What would admit it, beside the policies there are:', '']
      : []),
    ...(add.length > 0 ? [add.map(manifestYaml).join('---\n')] : []),
    ...(alsoAdmits.length > 0 ? [`It also admits ${alsoAdmits.join('; ')}.`, ''] : []),
  ];
}

function revisionText({ snapshot, kernel }: AgentStatus['revision']): string {
  const state = snapshot === kernel ? 'all that is compiled is in force' : 'what is compiled waits for Envoy';
  return `Agent: revision ${snapshot} compiled, ${kernel} in force: ${state}.\n`;
}
