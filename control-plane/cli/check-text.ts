/** Answers of policy, in words. */
import { formatPolicyRef, formatRuleRef } from '../model/policy.ts';
import type { CheckAnswer, CheckedHalf } from '../policy/check.ts';
import type { CheckQuestion } from '../policy/question.ts';

function carries({ http, serverName, query }: CheckQuestion): boolean {
  return (http ?? serverName ?? query) !== undefined;
}

/** `shop/web -> shop/api 8080/TCP  GET /`. */
export function questionText({
  from,
  to,
  port,
  http,
  header = [],
  serverName,
  query,
  names = [],
}: CheckQuestion): string {
  const carried = [
    ...(http === undefined ? [] : [[http, ...header].join(' ')]),
    ...(serverName === undefined ? [] : [`TLS name ${serverName}`]),
    ...(query === undefined ? [] : [`DNS query ${query}`]),
  ];
  const known = names.length === 0 ? '' : ` (${names.join(', ')})`;
  return [`${from} -> ${to}${known} ${port}`, ...carried].join('  ');
}

export function checkText(question: CheckQuestion, answer: CheckAnswer, color: boolean): string {
  return [
    `${paint(answer.verdict, color)}  ${questionText(question)}`,
    `  egress   ${paint(answer.egress.verdict, color)}  ${halfText(answer.egress, question.from)}`,
    `  ingress  ${paint(answer.ingress.verdict, color)}  ${halfText(answer.ingress, question.to)}`,
    ...(answer.authentication === 'required'
      ? ['  authentication required: both ends must be proven, and between nodes the flow is encrypted']
      : []),
    ...(answer.l7 && !carries(question)
      ? ['  rules look into what passes, and decide each request: ask with --http, --server-name or --dns-query']
      : []),
    '',
  ].join('\n');
}

/** Why one end says what it says. @param end its name */
export function halfText({ reason, policies }: CheckedHalf, end: string): string {
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

export function paint(verdict: CheckAnswer['verdict'], color: boolean): string {
  const text = verdict.padEnd('ALLOWED'.length);
  return color ? `\u001b[${{ ALLOWED: 32, AUDIT: 33, DENIED: 31 }[verdict]}m${text}\u001b[0m` : text;
}
