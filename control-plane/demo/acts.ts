/** The acts. Every claim is checked twice: by what the client met and by the flow that was reported. */
import { POLICY_NAME, podName, type Role } from './cast.ts';
import type { ObservedFlow } from './flows.ts';
import { playHttp } from './http-act.ts';
import type { Claim, Narrator } from './narrator.ts';
import { playNodes } from './nodes-act.ts';
import { type Stage, TIMEOUT_MS } from './stage.ts';
import type { OpenTap } from './wire.ts';
import type { RequestOutcome } from './workload.ts';

/** How long a changed policy may take; the rule is milliseconds, but the demo may run on a busy machine. */
const IN_FORCE_MS = 3_000;

/** Flow times come from another clock of the kernel's, converted. */
const CLOCK_SLACK_MS = 20;

export type Act = (stage: Stage, narrator: Narrator) => Promise<readonly Claim[]>;

export interface ActSettings {
  /** Text of act 2's policy file. */
  readonly policy: string;
  /** Text of act 4's. */
  readonly httpPolicy: string;
  /** Text of act 5's. */
  readonly authenticationPolicy: string;
  /** A device of the demo's own, to hear what is said between the nodes. */
  readonly openTap: OpenTap;
  /** Ids of the instance's pinned links, by name. */
  readonly links: () => ReadonlyMap<string, number>;
}

export function actsOf(settings: ActSettings): readonly { readonly title: string; readonly play: Act }[] {
  return [
    { title: 'No policy: everyone may talk, and every connection is seen.', play: playWithoutPolicy },
    {
      title: 'A policy: only the frontend may talk to the backend.',
      play: (stage, narrator) => playPolicy(stage, narrator, settings),
    },
    {
      title: 'The agent is killed and comes back, under load.',
      play: (stage, narrator) => playRestart(stage, narrator, settings),
    },
    {
      title: 'A rule about HTTP: Envoy comes, and goes with it.',
      play: playHttp(settings.httpPolicy, settings.policy),
    },
    {
      title: 'Another node: who speaks is proven, and what is said is encrypted.',
      play: playNodes(settings.authenticationPolicy, settings.openTap),
    },
  ];
}

const playWithoutPolicy: Act = async (stage) => {
  const since = Date.now();
  const { frontend, intruder } = stage.cast;
  const [allowed, alsoAllowed] = await Promise.all(
    [frontend, intruder].map((role) => stage.client(role, { count: 3 }).finished()),
  );
  return [
    await answered(stage, 1, frontend, allowed ?? [], since, `${frontend.pod} is answered: no policy forbids it`),
    await answered(
      stage,
      1,
      intruder,
      alsoAllowed ?? [],
      since,
      `${intruder.pod} is answered too: no policy forbids it`,
    ),
  ];
};

async function playPolicy(stage: Stage, narrator: Narrator, { policy }: ActSettings): Promise<readonly Claim[]> {
  const { frontend, intruder } = stage.cast;
  narrator.say('  This file is put into the folder that the agent watches:');
  narrator.document(policy);
  await putInForce(stage, policy);
  const since = Date.now();
  const [answers, refusals] = await Promise.all([
    stage.client(frontend, { count: 3 }).finished(),
    stage.client(intruder, { count: 3 }).finished(),
  ]);
  return [
    await answered(
      stage,
      2,
      frontend,
      answers,
      since,
      `${frontend.pod} is answered: ${POLICY_NAME} admits it`,
      POLICY_NAME,
    ),
    await refused(stage, 2, intruder, refusals, since, `${intruder.pod} is refused, and the flow names ${POLICY_NAME}`),
  ];
}

/** The kernel changes its mind within milliseconds; until then the intruder is still answered. @param policy act 2's file */
export async function putInForce(stage: Stage, policy: string): Promise<void> {
  stage.manifests.write('policy.yaml', policy);
  const probe = stage.client(stage.cast.intruder, { intervalMs: 10 });
  await probe.until((outcomes) => outcomes.some((outcome) => outcome.error !== undefined), IN_FORCE_MS);
  await probe.stop();
}

async function playRestart(stage: Stage, narrator: Narrator, { links }: ActSettings): Promise<readonly Claim[]> {
  const { frontend, intruder } = stage.cast;
  const linksBefore = links();
  const fresh = stage.client(frontend, { intervalMs: 10 });
  const steady = stage.client(frontend, { intervalMs: 10, keepAlive: true });
  const stranger = stage.client(intruder, { intervalMs: 10 });
  await Promise.all([fresh, steady].map((client) => client.until((outcomes) => outcomes.length >= 20)));

  const died = Date.now();
  narrator.say(`  kill -9 ${stage.agent.pid}`);
  await stage.agent.killHard();
  // Three attempts made and lost, or answered, with no agent there: 700 ms each when all is well.
  await stranger.until((outcomes) => startedSince(outcomes, died).length >= 3);
  const back = Date.now();
  narrator.say(`  The agent was away for ${seconds(back - died)}; it starts again.`);
  await stage.startAgent();
  const ready = Date.now();
  narrator.say(`  Ready after ${seconds(ready - back)}.`);
  await Promise.all(
    [fresh, steady].map((client) => client.until((outcomes) => startedSince(outcomes, ready).length >= 20)),
  );
  const linksAfter = links();
  const [freshOutcomes, steadyOutcomes, strangerOutcomes] = await Promise.all(
    [fresh, steady, stranger].map((client) => client.stop()),
  );
  const away = (outcomes: readonly RequestOutcome[] = []): readonly RequestOutcome[] =>
    outcomes.filter((outcome) => outcome.start >= died && outcome.start < back);

  return [
    withEvidence(
      await answered(
        stage,
        3,
        frontend,
        freshOutcomes ?? [],
        ready,
        'no request of the frontend failed, each over a new connection',
        POLICY_NAME,
      ),
      `${away(freshOutcomes).length} of them while no agent ran`,
    ),
    oneConnection(steadyOutcomes ?? [], away(steadyOutcomes).length),
    withEvidence(
      await refused(
        stage,
        3,
        intruder,
        strangerOutcomes ?? [],
        died,
        `${intruder.pod} stayed out, with and without an agent`,
      ),
      `${away(strangerOutcomes).length} of them while no agent ran`,
    ),
    sameLinks(linksBefore, linksAfter),
  ];
}

async function answered(
  stage: Stage,
  act: number,
  role: Role,
  outcomes: readonly RequestOutcome[],
  since: number,
  claim: string,
  policy?: string,
): Promise<Claim> {
  const good = outcomes.filter((outcome) => outcome.status === 200).length;
  const ports = new Set(outcomes.filter((outcome) => outcome.start >= since).map((outcome) => outcome.port));
  const flow = await stage.flows.find(
    (each) =>
      isAttempt(stage, each, role, since) &&
      each.verdict === 'FORWARDED' &&
      ports.has(each.sourcePort) &&
      names(each.allowedBy, policy),
  );
  return {
    act,
    claim,
    holds: outcomes.length > 0 && good === outcomes.length && flow !== undefined,
    evidence: [
      `${good} of ${outcomes.length} requests answered with 200${complaints(outcomes)}`,
      await shown(stage, flow, 'FORWARDED', policy),
    ],
  };
}

async function refused(
  stage: Stage,
  act: number,
  role: Role,
  outcomes: readonly RequestOutcome[],
  since: number,
  claim: string,
): Promise<Claim> {
  const silent = outcomes.filter((outcome) => outcome.error === 'TIMEOUT').length;
  const flow = await stage.flows.find(
    (each) => isAttempt(stage, each, role, since) && each.verdict === 'DROPPED' && names(each.deniedBy, POLICY_NAME),
  );
  return {
    act,
    claim,
    holds: outcomes.length > 0 && silent === outcomes.length && flow !== undefined,
    evidence: [
      `${silent} of ${outcomes.length} attempts heard nothing for ${TIMEOUT_MS} ms${complaints(outcomes, 'TIMEOUT')}`,
      await shown(stage, flow, 'DROPPED', POLICY_NAME),
    ],
  };
}

function isAttempt(stage: Stage, flow: ObservedFlow, role: Role, since: number): boolean {
  return (
    flow.time >= since - CLOCK_SLACK_MS &&
    flow.source === podName(role) &&
    flow.destination === podName(stage.cast.backend)
  );
}

function names(policies: readonly string[], policy: string | undefined): boolean {
  return policy === undefined || policies.some((each) => each.split('/').at(-1) === policy);
}

async function shown(
  stage: Stage,
  flow: ObservedFlow | undefined,
  verdict: string,
  policy: string | undefined,
): Promise<string> {
  if (flow === undefined) return `no ${verdict} flow${policy === undefined ? '' : ` that names ${policy}`} was seen`;
  return (await stage.flows.lineOf(flow)) ?? flow.raw;
}

function complaints(outcomes: readonly RequestOutcome[], expected?: string): string {
  const odd = outcomes
    .filter((outcome) => (expected === undefined ? outcome.status !== 200 : outcome.error !== expected))
    .map((outcome) => outcome.error ?? `answer ${outcome.status}`);
  return odd.length === 0 ? '' : `; the others: ${[...new Set(odd)].join(', ')}`;
}

function oneConnection(outcomes: readonly RequestOutcome[], away: number): Claim {
  const good = outcomes.filter((outcome) => outcome.status === 200).length;
  const ports = new Set(outcomes.map((outcome) => outcome.port));
  return {
    act: 3,
    claim: 'a connection opened before the kill lived through it',
    holds: good === outcomes.length && away > 0 && ports.size === 1,
    evidence: [
      `${good} of ${outcomes.length} requests answered over ${ports.size} connection(s), ${away} of them while no agent ran`,
    ],
  };
}

function sameLinks(before: ReadonlyMap<string, number>, after: ReadonlyMap<string, number>): Claim {
  const list = (links: ReadonlyMap<string, number>): string =>
    [...links]
      .sort()
      .map(([name, id]) => `${name}=${id}`)
      .join(' ');
  return {
    act: 3,
    claim: 'the new agent took over the links of the old one',
    holds: before.size > 0 && list(before) === list(after),
    evidence:
      list(before) === list(after)
        ? [`kernel links ${list(after)}`]
        : [`before: ${list(before)}`, `after: ${list(after)}`],
  };
}

function withEvidence(claim: Claim, more: string): Claim {
  const [first = '', ...rest] = claim.evidence;
  return { ...claim, evidence: [`${first}, ${more}`, ...rest] };
}

function startedSince(outcomes: readonly RequestOutcome[], time: number): readonly RequestOutcome[] {
  return outcomes.filter((outcome) => outcome.start >= time);
}

function seconds(milliseconds: number): string {
  return `${(milliseconds / 1_000).toFixed(1)} s`;
}
