/** `sidestep policy explain`: why, and what would change it. From files, from an agent's folder, or of a recorded flow. */
import { type Command, Option } from 'commander';
import type { NameRow } from '../../agent/naming-plane.ts';
import type { AgentStatus } from '../../agent/view.ts';
import { SidestepError } from '../../model/error.ts';
import type { Flow } from '../../observe/flow.ts';
import type { CheckQuestion, CheckTerms } from '../../policy/question.ts';
import { withAgentOptions } from '../agent-options.ts';
import { type AgentAddress, getJson } from '../client.ts';
import { explainText } from '../explain-text.ts';
import { EXIT, type Io } from '../io.ts';
import { issueText } from './policy-issues.ts';
import { type QuestionOptions, questionOf, withQuestion } from './policy-question.ts';
import { readRecords } from './records.ts';

interface ExplainOptions extends QuestionOptions {
  readonly filename?: string;
  readonly flow?: string;
  readonly uuid?: string;
  readonly instance: string;
  readonly runDir?: string;
  readonly output: 'text' | 'json';
}

/** What an agent adds to files: how it enforces, what names stand for, and whether all of it is in force. */
interface Live {
  readonly source: string;
  readonly terms: CheckTerms;
  readonly revision: AgentStatus['revision'];
  readonly names: readonly NameRow[];
}

export function addExplain(policy: Command, io: Io): void {
  const command = policy
    .command('explain')
    .description(
      'why does a flow get what it gets: the rules that were tried, the first field that does not fit, and a patch',
    )
    .option('-f, --filename <path>', "folder of manifests, or one file (default: the running agent's own folder)");
  withAgentOptions(withQuestion(command))
    .option('--flow <file>', 'about a recorded flow instead: lines of `sidestep observe -o json`; - is stdin')
    .option('--uuid <uuid>', 'which of them (default: the last one that was refused or audited)')
    .addOption(new Option('-o, --output <format>', 'how to print').choices(['text', 'json']).default('text'))
    .addHelpText(
      'after',
      `
Examples:
  sidestep policy explain -f manifests --from shop/scraper --to shop/api --port 8080/TCP
  sidestep policy explain --from shop/web --to 192.0.2.7 --name api.example.com --port 443/TCP
  sidestep observe --verdict DROPPED --last 1 -o json | sidestep policy explain --flow -

The patch is complete manifests: write them where your policies are. Without -f the agent is asked for its folder, how it
enforces, which names it knows, and whether what is compiled is in force.
Exit: 0 allowed, 79 denied or audited, 65 something in the files is refused (it is explained all the same).`,
    )
    .action(async (options: ExplainOptions) => {
      const live = options.filename === undefined ? await askAgent(options) : undefined;
      const [{ readOnce }, { explainPolicy }] = await Promise.all([
        import('../../sources/files.ts'),
        import('../../policy/explain.ts'),
      ]);
      const asked = options.flow === undefined ? questionOf(options) : await recorded(options.flow, options.uuid);
      const question = live ? withNames(asked, live.names) : asked;
      const objects = readOnce([options.filename ?? live?.source ?? '']);
      const explanation = {
        ...explainPolicy(objects, question, live?.terms),
        ...(live ? { revision: live.revision } : {}),
      };
      io.err(issueText(explanation.issues ?? []));
      io.out(options.output === 'json' ? `${JSON.stringify(explanation)}\n` : explainText(explanation, io.color));
      const code = explanation.verdict === 'ALLOWED' ? EXIT.FINE : EXIT.FOUND;
      io.setExitCode(explanation.issues ? EXIT.BAD_INPUT : code);
    });
}

async function askAgent({ instance, runDir }: ExplainOptions): Promise<Live> {
  const agent: AgentAddress = { instance, runDir };
  const [status, names] = await Promise.all([
    getJson<AgentStatus>(agent, '/v1/status'),
    getJson<readonly NameRow[]>(agent, '/v1/names'),
  ]);
  const value = (option: string): unknown => status.config[option]?.value;
  const mode = value('enforcement') as NonNullable<CheckTerms['enforcement']>['mode'];
  const audit = value('policyAuditMode') === true;
  const enrol = value('enrol') as NonNullable<CheckTerms['enrol']>;
  return {
    source: String(value('source')),
    terms: { enforcement: { mode, audit }, enrol },
    revision: status.revision,
    names,
  };
}

/** Names that the node knows for the address, where the question says none. */
function withNames(question: CheckQuestion, known: readonly NameRow[]): CheckQuestion {
  if (question.names !== undefined) return question;
  const names = known.flatMap(({ name, addresses }) =>
    addresses.some(({ address }) => address === question.to) ? [name] : [],
  );
  return names.length === 0 ? question : { ...question, names };
}

/** @throws NOT_FOUND, INPUT_INVALID */
async function recorded(file: string, uuid: string | undefined): Promise<CheckQuestion> {
  let found: Flow | undefined;
  for await (const { response } of readRecords(file)) {
    if (!('flow' in response) || response.flow.is_reply) continue;
    const { flow } = response;
    const isRefused = flow.verdict === 'DROPPED' || flow.verdict === 'AUDIT';
    if (uuid === undefined ? isRefused || found === undefined : flow.uuid === uuid) found = flow;
  }
  if (found === undefined)
    throw new SidestepError('NOT_FOUND', uuid === undefined ? `${file} has no flow` : `${file} has no flow ${uuid}`);
  return questionOfFlow(found);
}

function questionOfFlow({ source, destination, IP, l4, l7 }: Flow): CheckQuestion {
  const end = (each: Flow['source'], address: string): string =>
    each.pod_name === undefined || each.pod_name === '' ? address : `${each.namespace}/${each.pod_name}`;
  const [, host = '', path = '/'] = /^[a-z]+:\/\/([^/?]*)(.*)$/s.exec(l7?.http?.url ?? '') ?? [];
  return {
    from: end(source, IP.source),
    to: end(destination, IP.destination),
    port: portOf(l4),
    ...(l7?.http ? { http: `${l7.http.method} ${path === '' ? '/' : path}`, header: [`host=${host}`] } : {}),
    ...(l7?.dns ? { query: l7.dns.query } : {}),
  };
}

function portOf(l4: Flow['l4']): string {
  if (l4 === undefined) return '0/TCP';
  if ('TCP' in l4) return `${l4.TCP.destination_port}/TCP`;
  if ('UDP' in l4) return `${l4.UDP.destination_port}/UDP`;
  if ('SCTP' in l4) return `${l4.SCTP.destination_port}/SCTP`;
  return 'ICMPv4' in l4 ? `${l4.ICMPv4.type}/ICMP` : `${l4.ICMPv6.type}/ICMPv6`;
}
