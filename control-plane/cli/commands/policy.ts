/** `sidestep policy …`: check and validate read files and need no agent; list asks it. */
import { type Command, Option } from 'commander';
import type { PolicyRow } from '../../agent/view.ts';
import { formatPolicyRef, formatRuleRef } from '../../model/policy.ts';
import type { CheckAnswer, CheckedHalf, CheckQuestion } from '../../policy/check.ts';
import { EXIT, type Io } from '../io.ts';
import { addList } from './list.ts';
import { issueText } from './policy-issues.ts';
import { addDiff, addRecommend } from './policy-recordings.ts';

interface CheckOptions extends CheckQuestion {
  readonly filename: string;
  readonly output: 'text' | 'json';
}

export function addPolicyCommands(program: Command, io: Io): void {
  const policy = program.command('policy').description('ask what policy says, validate it, list what is in force');
  addCheck(policy, io);
  addValidate(policy, io);
  addDiff(policy, io);
  addRecommend(policy, io);
  addList<PolicyRow>(
    policy,
    io,
    '/v1/policies',
    'policies that the agent knows, their state, and the endpoints here that they select',
    'sidestep policy list',
    ['NAMESPACE', 'NAME', 'KIND', 'STATE', 'SELECTS', 'ORIGIN'],
    (row) => [row.namespace, row.name, row.kind, stateText(row), row.selects.join(',') || '-', row.origin],
  );
}

function append(value: string, before: readonly string[] = []): readonly string[] {
  return [...before, value];
}

function stateText({ state, issues }: PolicyRow): string {
  return issues.length === 0 ? state : `${state} (${issues.length} issue${issues.length === 1 ? '' : 's'})`;
}

function outputOption(): Option {
  return new Option('-o, --output <format>', 'how to print').choices(['text', 'json']).default('text');
}

function addCheck(policy: Command, io: Io): void {
  policy
    .command('check')
    .description('would this flow pass, and which policy decides? From files alone, without an agent')
    .requiredOption('-f, --filename <path>', 'folder of manifests, or one file')
    .requiredOption('--from <end>', 'who opens the flow: NAMESPACE/POD, an IP address, world or host')
    .requiredOption('--to <end>', 'who answers')
    .requiredOption('--port <port>', 'PORT/TCP, /UDP or /SCTP; TYPE/ICMP or /ICMPv6')
    .option('--http <request>', "a request that the flow carries, METHOD PATH: 'GET /api?x=1', the path as it is sent")
    .option(
      '--header <header>',
      'NAME=VALUE: a header of the request, repeatable; host=NAME is the Host header (default: an empty one)',
      append,
    )
    .addOption(outputOption())
    .addHelpText(
      'after',
      "\nExamples:\n  sidestep policy check -f manifests --from shop/web --to shop/api --port 8080/TCP\n  sidestep policy check -f manifests --from shop/web --to shop/api --port 8080/TCP --http 'GET /api?x=1'\n  sidestep policy check -f manifests --from world --to shop/api --port 8/ICMP -o json\n\nWithout --http a flow under HTTP rules is allowed; each of its requests is decided.\nExit: 0 allowed, 79 denied, 65 something in the files is refused (the verdict is printed all the same).",
    )
    .action(async (options: CheckOptions) => {
      const [{ readOnce }, { checkPolicy }] = await Promise.all([
        import('../../sources/files.ts'),
        import('../../policy/check.ts'),
      ]);
      const answer = checkPolicy(readOnce([options.filename]), options);
      const issues = answer.issues ?? [];
      io.err(issueText(issues));
      io.out(options.output === 'json' ? `${JSON.stringify(answer)}\n` : checkText(options, answer, io.color));
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

function checkText(question: CheckQuestion, answer: CheckAnswer, color: boolean): string {
  const request = question.http === undefined ? '' : `  ${[question.http, ...(question.header ?? [])].join(' ')}`;
  return [
    `${paint(answer.verdict, color)}  ${question.from} -> ${question.to} ${question.port}${request}`,
    `  egress   ${paint(answer.egress.verdict, color)}  ${halfText(answer.egress, question.from)}`,
    `  ingress  ${paint(answer.ingress.verdict, color)}  ${halfText(answer.ingress, question.to)}`,
    ...(answer.authentication === 'required'
      ? ['  authentication required: both ends must be proven, and between nodes the flow is encrypted']
      : []),
    ...(answer.l7 && question.http === undefined ? ['  HTTP rules decide each request: ask with --http'] : []),
    '',
  ].join('\n');
}

function halfText({ reason, policies }: CheckedHalf, end: string): string {
  const names = policies.map((each) => (each.rule === '' ? formatPolicyRef(each) : formatRuleRef(each))).join(', ');
  switch (reason) {
    case 'rule':
      return `by ${names}`;
    case 'default-deny':
      return `default deny, switched on by ${names}; no rule admits it`;
    case 'deny-rule':
      return `denied by ${names}`;
    case 'no-server-name':
      return `no rule admits this TLS name; those of ${names} admit others`;
    case 'no-dns-rule':
      return `no DNS rule admits this query; those of ${names} admit others`;
    case 'no-http-rule':
      return `no HTTP rule admits this request; those of ${names} admit others`;
    case 'bad-path':
      return `Envoy, which the HTTP rules of ${names} ask for, refuses such a path as malformed (400) or too long (431)`;
    case 'bad-host':
      return `Envoy, which the HTTP rules of ${names} ask for, answers 400 to such a Host header`;
    case 'authentication-fails':
      return `admitted by ${names}, under authentication that always fails (test-always-fail)`;
    case 'local-host':
      return 'by the rule that a node may reach its own pods';
    case 'no-policy':
      return `no policy selects ${end} in this direction`;
    case 'no-endpoint':
      return `${end} is not a pod, or not enrolled; nothing is enforced there`;
  }
}

function paint(verdict: CheckAnswer['verdict'], color: boolean): string {
  const text = verdict.padEnd('ALLOWED'.length);
  return color ? `\u001b[${{ ALLOWED: 32, AUDIT: 33, DENIED: 31 }[verdict]}m${text}\u001b[0m` : text;
}
