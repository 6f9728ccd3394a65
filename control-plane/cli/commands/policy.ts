/** `sidestep policy …`: check and validate read files and need no agent; list asks it. */
import { type Command, Option } from 'commander';
import type { PolicyRow } from '../../agent/view.ts';
import { formatPolicyRef } from '../../model/policy.ts';
import { checkText } from '../check-text.ts';
import { EXIT, type Io } from '../io.ts';
import { addList } from './list.ts';
import { addExplain } from './policy-explain.ts';
import { issueText } from './policy-issues.ts';
import { type QuestionOptions, questionOf, withQuestion } from './policy-question.ts';
import { addDiff, addRecommend } from './policy-recordings.ts';

interface CheckOptions extends QuestionOptions {
  readonly filename: string;
  readonly output: 'text' | 'json';
}

export function addPolicyCommands(program: Command, io: Io): void {
  const policy = program.command('policy').description('ask what policy says, validate it, list what is in force');
  addCheck(policy, io);
  addExplain(policy, io);
  addValidate(policy, io);
  addDiff(policy, io);
  addRecommend(policy, io);
  addList<PolicyRow>(
    policy,
    io,
    '/v1/policies',
    'policies that the agent knows, their state, and the endpoints here that they select',
    'sidestep policy list',
    ['NAMESPACE', 'NAME', 'KIND', 'STATE', 'MODE', 'SELECTS', 'ORIGIN'],
    (row) => [
      row.namespace,
      row.name,
      row.kind,
      stateText(row),
      row.audit ? 'audited' : 'enforced',
      row.selects.join(',') || '-',
      row.origin,
    ],
  );
}

function stateText({ state, issues }: PolicyRow): string {
  return issues.length === 0 ? state : `${state} (${issues.length} issue${issues.length === 1 ? '' : 's'})`;
}

function outputOption(): Option {
  return new Option('-o, --output <format>', 'how to print').choices(['text', 'json']).default('text');
}

function addCheck(policy: Command, io: Io): void {
  withQuestion(
    policy
      .command('check')
      .description('would this flow pass, and which policy decides? From files alone, without an agent')
      .requiredOption('-f, --filename <path>', 'folder of manifests, or one file'),
  )
    .addOption(outputOption())
    .addHelpText(
      'after',
      "\nExamples:\n  sidestep policy check -f manifests --from shop/web --to shop/api --port 8080/TCP\n  sidestep policy check -f manifests --from shop/web --to shop/api --port 8080/TCP --http 'GET /api?x=1'\n  sidestep policy check -f manifests --from world --to shop/api --port 8/ICMP -o json\n\nWithout --http a flow under HTTP rules is allowed, and each of its requests is decided; likewise --server-name and --dns-query.\nWhy, and what would admit it: `sidestep policy explain`.\nExit: 0 allowed, 79 denied, 65 something in the files is refused (the verdict is printed all the same).",
    )
    .action(async (options: CheckOptions) => {
      const [{ readOnce }, { checkPolicy }] = await Promise.all([
        import('../../sources/files.ts'),
        import('../../policy/check.ts'),
      ]);
      const question = questionOf(options);
      const answer = checkPolicy(readOnce([options.filename]), question);
      const issues = answer.issues ?? [];
      io.err(issueText(issues));
      io.out(options.output === 'json' ? `${JSON.stringify(answer)}\n` : checkText(question, answer, io.color));
      io.setExitCode(issues.length > 0 ? EXIT.BAD_INPUT : answer.verdict === 'ALLOWED' ? EXIT.FINE : EXIT.FOUND);
    });
}

function addValidate(policy: Command, io: Io): void {
  policy
    .command('validate')
    .description('what is wrong with these files? Every issue with its path and code')
    .argument('<file...>', 'files, or folders of them')
    .addOption(outputOption())
    .addHelpText(
      'after',
      '\nExamples:\n  sidestep policy validate policy.yaml\n  sidestep policy validate manifests -o json | jq -r .issues[].path\n\nExit: 0 nothing, 65 something is refused.',
    )
    .action(async (files: readonly string[], options: { readonly output: string }) => {
      const { readOnce } = await import('../../sources/files.ts');
      const { namespaces, pods, nodes, meshNodes, policies, issues } = readOnce(files);
      const refs = new Set(policies.map(({ ref }) => formatPolicyRef(ref)));
      const objects = namespaces.length + pods.length + nodes.length + meshNodes.length + refs.size;
      if (options.output === 'json') io.out(`${JSON.stringify({ valid: issues.length === 0, objects, issues })}\n`);
      else io.out(issues.length > 0 ? issueText(issues) : `${objects} object${objects === 1 ? '' : 's'}, no issues\n`);
      io.setExitCode(issues.length > 0 ? EXIT.BAD_INPUT : EXIT.FINE);
    });
}
