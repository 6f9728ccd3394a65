/** Act 5: a second node. What its workload says is proven by certificates and encrypted, or it is not heard. */
import type { SecureView } from '../agent/secure-plane.ts';
import { TUNNEL_PORT } from '../encryption/numbers.ts';
import { SidestepError } from '../model/error.ts';
import type { Act } from './acts.ts';
import type { AgentProcess } from './agent-process.ts';
import { NODE_NAME, POLICY_NAME, podName, type Role, SECOND_NODE_NAME } from './cast.ts';
import type { ObservedFlow } from './flows.ts';
import { inside } from './namespaces.ts';
import type { Claim, Narrator } from './narrator.ts';
import { run } from './process.ts';
import type { Stage } from './stage.ts';
import { until } from './until.ts';
import { type Heard, type OpenTap, WireListener } from './wire.ts';
import type { RequestOutcome } from './workload.ts';

const ACT = 5;
const CLOCK_SLACK_MS = 20;
/** Two agents find each other, and a process starts: with a busy machine's patience. */
const JOIN_MS = 15_000;
/** A packet is held for 4 s at most; then it is refused, and the flow says why. */
const GIVEN_UP_MS = 8_000;
/** In every request, and so in every frame that carries one in the clear. */
const SAID = 'GET /api/v1/data';
const OTHER_ACCOUNT = 'somebody-else';

/** @param policy text of the file with authentication */
export function playNodes(policy: string, openTap: OpenTap): Act {
  return async (stage, narrator) => {
    const joined = await joins(stage, narrator);
    if (!joined.holds) return [joined];
    const claims: Claim[] = [joined];
    const listener = await WireListener.open(openTap, stage.cast.wire, SAID, TUNNEL_PORT);
    try {
      claims.push(await inTheClear(stage, listener));
      narrator.say('  The policy of act 2, with two more lines:');
      narrator.document(policy);
      stage.manifests.write('policy.yaml', policy);
      claims.push(...(await proven(stage, listener)));
      claims.push(...(await withdrawn(stage, narrator)));
    } finally {
      listener.close();
    }
    return claims;
  };
}

async function authenticationOf(agent: AgentProcess): Promise<SecureView | null> {
  const { body } = await agent.get('/v1/authentication');
  return JSON.parse(body) as SecureView | null;
}

async function joins(stage: Stage, narrator: Narrator): Promise<Claim> {
  narrator.say(`  ${SECOND_NODE_NAME} joins, with a token from \`sidestep ca token\`.`);
  stage.announce(stage.cast.remote, SECOND_NODE_NAME);
  const claim = `${SECOND_NODE_NAME} has a certificate; ${NODE_NAME} alone holds the key that signs`;
  try {
    await stage.startSecondAgent();
  } catch (error) {
    if (!(error instanceof SidestepError) || error.code !== 'TOOL_FAILED') throw error;
    return { act: ACT, claim, holds: false, evidence: [error.message, lastTrouble(stage.agent.log())] };
  }
  const views = await until(
    stage,
    () => Promise.all([stage.agent, stage.secondAgent].map(authenticationOf)),
    (both) => both.every((view) => view?.node.expires !== undefined && view.peers.length === 1),
    JOIN_MS,
  );
  return {
    act: ACT,
    claim,
    holds:
      views.every((view) => view?.node.expires !== undefined) &&
      views[0]?.source.authority === true &&
      views[1]?.source.authority === false,
    evidence: views.map((view) => `${view?.node.spiffeId ?? 'nobody'}, ${expiryOf(view)}`),
  };
}

const lastTrouble = (log: string): string => log.split('\n').findLast((line) => line.includes('TUNNEL_')) ?? '';

const expiryOf = (view: SecureView | null | undefined): string =>
  view?.node.expires === undefined ? 'no certificate' : `until ${view.node.expires}, serial ${view.node.serial ?? '-'}`;

async function inTheClear(stage: Stage, listener: WireListener): Promise<Claim> {
  const { remote } = stage.cast;
  const since = Date.now();
  const { result, heard } = await listener.during(() => stage.client(remote, { count: 3 }).finished());
  const flow = await stage.flows.find((each) => isFrom(stage, each, remote, since) && each.verdict === 'FORWARDED');
  return {
    act: ACT,
    claim: `before the policy ${remote.pod} is answered, and who listens between the nodes can read it`,
    holds: allAnswered(result) && flow !== undefined && !flow.encrypted && heard.readable >= result.length,
    evidence: [answersOf(result), heardOf(heard), await shown(stage, flow)],
  };
}

async function proven(stage: Stage, listener: WireListener): Promise<readonly Claim[]> {
  const { remote, backend } = stage.cast;
  const put = Date.now();
  // A node asks for its workloads' certificates once the policy is in force there.
  await until(
    stage,
    () => Promise.all([stage.agent, stage.secondAgent].map(authenticationOf)),
    (both) => both.every((view) => (view?.certificates.length ?? 0) > 0),
  );
  const since = Date.now();
  const before = await retransmissions([remote, backend]);
  const first = await listener.during(() => stage.client(remote, { count: 1 }).finished());
  const lost = (await retransmissions([remote, backend])) - before;
  const rest = await listener.during(() => stage.client(remote, { count: 10, intervalMs: 10 }).finished());
  const flow = await stage.flows.find(
    (each) =>
      isFrom(stage, each, remote, since) &&
      each.verdict === 'FORWARDED' &&
      each.authenticated &&
      each.encrypted &&
      each.allowedBy.some((name) => name.endsWith(`/${POLICY_NAME}`)),
  );
  const [view, other] = await Promise.all([stage.agent, stage.secondAgent].map(authenticationOf));
  const [one] = first.result;
  const held = (view?.held.held ?? 0) + (other?.held.held ?? 0);
  return [
    {
      act: ACT,
      claim: 'the first connection under the policy is not lost: it waits for the proofs if they are not there yet',
      holds: one?.status === 200 && lost === 0,
      evidence: [
        `answered with ${one?.status ?? one?.error} after ${one?.milliseconds ?? '-'} ms, ${since - put} ms after the file was put there; TcpRetransSegs +${lost}; packets held so far: ${held}`,
      ],
    },
    {
      act: ACT,
      claim: 'it is answered, authenticated and encrypted, and nothing of it can be read between the nodes',
      holds:
        allAnswered(rest.result) &&
        flow !== undefined &&
        first.heard.readable + rest.heard.readable === 0 &&
        rest.heard.tunnel > 0,
      evidence: [answersOf(rest.result), heardOf(rest.heard), await shown(stage, flow)],
    },
    proofs(stage, view ?? null),
  ];
}

/** What `sidestep auth list` says on the first node. */
function proofs(stage: Stage, view: SecureView | null): Claim {
  const { remote, backend } = stage.cast;
  const proof = (side: string, { app }: Role) =>
    view?.proofs.find((each) => each.side === side && each.spiffeId.endsWith(`/sa/${app}`));
  const found = [proof('theirs', remote), proof('ours', backend)];
  return {
    act: ACT,
    claim: 'both ends have proven themselves, each with its own certificate',
    holds: found.every((each) => each !== undefined && each.node === SECOND_NODE_NAME && each.confirmed),
    evidence: found.map((each) =>
      each === undefined ? 'a proof is missing' : `${each.side} ${each.spiffeId}, serial ${each.serial}`,
    ),
  };
}

async function withdrawn(stage: Stage, narrator: Narrator): Promise<readonly Claim[]> {
  const { remote } = stage.cast;
  const steady = stage.client(remote, { intervalMs: 20, keepAlive: true });
  const answeredSince = (time: number) => (outcomes: readonly RequestOutcome[]) =>
    outcomes.filter(({ start, status }) => start > time && status === 200).length >= 10;
  await steady.until(answeredSince(0));
  narrator.say(`  kill -9 ${stage.secondAgent.pid} (the agent of ${SECOND_NODE_NAME})`);
  await stage.secondAgent.killHard();
  const died = Date.now();
  const livedOn = await steady.until(answeredSince(died));
  narrator.say(`  ${remote.pod} is given the service account ${OTHER_ACCOUNT}: its certificate was another's.`);
  const changed = Date.now();
  stage.announce(remote, SECOND_NODE_NAME, OTHER_ACCOUNT);
  await steady.until((outcomes) => outcomes.some(({ start, error }) => start > changed && error !== undefined));
  const outcomes = await steady.stop();
  const stopped = outcomes.findLast(({ status }) => status === 200);
  const flow = await stage.flows.find(
    (each) =>
      each.time >= changed - CLOCK_SLACK_MS &&
      each.verdict === 'DROPPED' &&
      each.dropReason === 'AUTH_REQUIRED' &&
      each.source === podName(remote),
    GIVEN_UP_MS,
  );
  const ports = new Set(outcomes.filter(({ start }) => start < changed).map(({ port }) => port));
  return [
    {
      act: ACT,
      claim: 'an agent that is killed stops nothing: what was proven stays so',
      holds: livedOn && ports.size === 1,
      evidence: [
        `${outcomes.filter(({ start }) => start > died && start < changed).length} requests over the same connection without it`,
      ],
    },
    {
      act: ACT,
      claim: 'without its certificate the live transfer stops, and the flow says why',
      holds: outcomes.at(-1)?.error !== undefined && flow?.summary.includes(SECOND_NODE_NAME) === true,
      evidence: [
        `the last answer ${Math.max(0, (stopped?.start ?? 0) - changed)} ms after the change; then ${outcomes.at(-1)?.error ?? 'still answered'}`,
        await shown(stage, flow),
      ],
    },
    await back(stage, narrator),
  ];
}

async function back(stage: Stage, narrator: Narrator): Promise<Claim> {
  const { remote } = stage.cast;
  narrator.say('  The agent starts again, and the service account is what it was.');
  stage.announce(remote, SECOND_NODE_NAME);
  await stage.secondAgent.start({ signal: stage.signal });
  const began = Date.now();
  const outcome = await until(
    stage,
    async () => (await stage.client(remote, { count: 1 }).finished())[0],
    (one) => one?.status === 200,
    JOIN_MS,
  );
  const flow = await stage.flows.find(
    (each) =>
      isFrom(stage, each, remote, began) && each.verdict === 'FORWARDED' && each.authenticated && each.encrypted,
  );
  return {
    act: ACT,
    claim: 'proven anew, it is answered again',
    holds: outcome?.status === 200 && flow !== undefined,
    evidence: [
      `${outcome?.status ?? outcome?.error} within ${Date.now() - began} ms of the agent's return`,
      await shown(stage, flow),
    ],
  };
}

const allAnswered = (outcomes: readonly RequestOutcome[]): boolean =>
  outcomes.length > 0 && outcomes.every(({ status }) => status === 200);

const answersOf = (outcomes: readonly RequestOutcome[]): string =>
  `${outcomes.filter(({ status }) => status === 200).length} of ${outcomes.length} requests answered with 200`;

const heardOf = ({ frames, readable, tunnel }: Heard): string =>
  `between the nodes: ${frames} frames, ${tunnel} of the tunnel; "${SAID}" can be read in ${readable}`;

function isFrom(stage: Stage, flow: ObservedFlow, role: Role, since: number): boolean {
  return (
    flow.time >= since - CLOCK_SLACK_MS &&
    flow.source === podName(role) &&
    flow.destination === podName(stage.cast.backend)
  );
}

async function shown(stage: Stage, flow: ObservedFlow | undefined): Promise<string> {
  return flow === undefined ? 'no flow of it was seen' : ((await stage.flows.lineOf(flow)) ?? flow.raw);
}

/** TcpRetransSegs of the workloads' own network stacks. */
async function retransmissions(roles: readonly Role[]): Promise<number> {
  let all = 0;
  for (const { attachment } of roles) {
    const { stdout } = await run('nsenter', inside(attachment.namespace, ['cat', '/proc/net/snmp']));
    const [names, values] = stdout
      .split('\n')
      .filter((line) => line.startsWith('Tcp:'))
      .map((line) => line.split(' '));
    all += Number(values?.[names?.indexOf('RetransSegs') ?? -1] ?? Number.NaN);
  }
  return all;
}
