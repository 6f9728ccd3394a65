/** `sidestep policy diff` and `recommend`: policies and what was seen, without an agent. */
import { type Command, Option } from 'commander';
import { SidestepError } from '../../model/error.ts';
import { DIRECTIONS, type Direction, formatPolicyRef, formatRuleRef } from '../../model/policy.ts';
import type { RecordedFlow } from '../../model/recorded-flow.ts';
import type { Judged, PolicyDiff } from '../../policy/diff.ts';
import type { Recommended } from '../../policy/recommend.ts';
import { EXIT, type Io } from '../io.ts';
import { issueText } from './policy-issues.ts';
import { readRecords } from './records.ts';

interface Recorded {
  readonly flows: readonly RecordedFlow[];
  readonly skipped: number;
}

/** @throws INPUT_INVALID with file and line */
async function readRecording(file: string): Promise<Recorded> {
  const { Recording } = await import('../../observe/recording.ts');
  const recording = new Recording();
  for await (const { response } of readRecords(file)) if ('flow' in response) recording.add(response.flow);
  return { flows: recording.flows(), skipped: recording.skipped };
}

export function addDiff(policy: Command, io: Io): void {
  policy
    .command('diff')
    .description('what would these policies change for flows that were recorded? Without an agent')
    .requiredOption('-f, --filename <path>', 'folder of manifests, or one file: the policies as they would be')
    .requiredOption('--flows <file>', 'lines of `sidestep observe -o json`; - is stdin')
    .addOption(new Option('-o, --output <format>', 'how to print').choices(['text', 'json']).default('text'))
    .addHelpText(
      'after',
      '\nExamples:\n  sidestep observe --all -o json > flows.jsonl\n  sidestep policy diff -f new-policies --flows flows.jsonl\n\nEach flow is asked at the ends that the recording node decided. What audit let pass counts as allowed.\nExit: 0 nothing would change, 79 something would, 65 something in the files is refused.',
    )
    .action(async (options: { readonly filename: string; readonly flows: string; readonly output: string }) => {
      const [{ readOnce }, { diffPolicies }, { flowText }] = await Promise.all([
        import('../../sources/files.ts'),
        import('../../policy/diff.ts'),
        import('../../policy/recommend.ts'),
      ]);
      const objects = readOnce([options.filename]);
      io.err(issueText(objects.issues));
      const { flows, skipped } = await readRecording(options.flows);
      const diff = diffPolicies(
        flows,
        objects.policies.flatMap(({ policy: each }) => each ?? []),
      );
      if (options.output === 'json') io.out(`${JSON.stringify(diffJson(diff, skipped, flowText))}\n`);
      else io.out(diffText(diff, flowText, io.color));
      const found = diff.changes.length > 0 ? EXIT.FOUND : EXIT.FINE;
      io.setExitCode(objects.issues.length > 0 ? EXIT.BAD_INPUT : found);
    });
}

function diffJson({ kinds, flows, changes }: PolicyDiff, skipped: number, text: (flow: RecordedFlow) => string) {
  return {
    flows,
    kinds,
    skipped,
    changes: changes.map(({ flow, from, to, because }) => ({
      flow: text(flow),
      count: flow.count,
      from,
      to,
      reason: because.reason,
      policies: [...because.rules.map(formatRuleRef), ...because.policies.map(formatPolicyRef)],
    })),
  };
}

function diffText({ kinds, flows, changes }: PolicyDiff, text: (flow: RecordedFlow) => string, color: boolean): string {
  const paint = (word: string): string => (color ? `\u001b[${word === 'DENIED' ? 31 : 32}m${word}\u001b[0m` : word);
  const lines = changes.map(
    ({ flow, from, to, because }) =>
      `${from} -> ${paint(to)}  ${text(flow)}  (${flow.count} flow${flow.count === 1 ? '' : 's'}; ${becauseText(because)})`,
  );
  const changed = changes.reduce((sum, { flow }) => sum + flow.count, 0);
  return [...lines, `${changed} of ${flows} flows would change (${changes.length} of ${kinds} kinds)`, ''].join('\n');
}

function becauseText({ reason, rules, policies }: Judged): string {
  const names = rules.map(formatRuleRef).join(', ');
  if (reason === 'default-deny')
    return `no rule admits it, and default deny is switched on by ${policies.map(formatPolicyRef).join(', ')}`;
  if (reason === 'no-policy') return 'no policy selects its ends';
  return names === '' ? reason : `${reason === 'rule' ? 'by' : `${reason},`} ${names}`;
}

export function addRecommend(policy: Command, io: Io): void {
  policy
    .command('recommend')
    .description('policies that admit what was recorded, and nothing else. Without an agent')
    .requiredOption('--flows <file>', 'lines of `sidestep observe -o json`; - is stdin')
    .option('-n, --namespace <namespace>', 'only for its pods')
    .addOption(
      new Option('--direction <direction>', 'what to write rules for').choices(['both', ...DIRECTIONS]).default('both'),
    )
    .addOption(new Option('-o, --output <format>', 'how to print').choices(['yaml', 'json']).default('yaml'))
    .addHelpText(
      'after',
      '\nExamples:\n  sidestep observe --all -o json > flows.jsonl\n  sidestep policy recommend --flows flows.jsonl > policies.yaml\n  sidestep policy recommend --flows flows.jsonl -n shop --direction ingress\n\nEach rule says which flows it is for: read them, and take out what should not be. docs/tutorial/visibility-first.md goes on from here.\nExit: 0 everything recorded is admitted, 79 no policy can be written for some of it (stderr says for what).',
    )
    .action(async (options: { flows: string; namespace?: string; direction: 'both' | Direction; output: string }) => {
      const [{ recommend, flowText }, { policyYaml, policyDocuments }] = await Promise.all([
        import('../../policy/recommend.ts'),
        import('../policy-yaml.ts'),
      ]);
      const { flows } = await readRecording(options.flows);
      const directions = options.direction === 'both' ? DIRECTIONS : [options.direction];
      const made = recommend(flows, { directions, namespace: options.namespace });
      if (made.policies.length === 0)
        throw new SidestepError(
          'NOT_FOUND',
          'no recorded flow has a pod at an end that policies could be written for',
          {
            hint: 'Record with `sidestep observe --all -o json` while the pods do what they should.',
          },
        );
      io.out(
        options.output === 'json' ? `${JSON.stringify(policyDocuments(made.policies))}\n` : policyYaml(made.policies),
      );
      io.err(leftText(made, flowText));
      io.setExitCode(made.left.length > 0 ? EXIT.FOUND : EXIT.FINE);
    });
}

function leftText({ left }: Recommended, text: (flow: RecordedFlow) => string): string {
  return left.map(({ flow, why }) => `no rule for ${text(flow)}: ${why}\n`).join('');
}
