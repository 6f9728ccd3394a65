/** Act 4: an HTTP rule. Envoy comes with it, enforces and explains it, is replaced when it dies, and goes with it. */
import { readFileSync } from 'node:fs';
import type { Act } from './acts.ts';
import { podName } from './cast.ts';
import type { ObservedFlow } from './flows.ts';
import type { Claim, Narrator } from './narrator.ts';
import type { Stage } from './stage.ts';
import { until } from './until.ts';
import type { RequestOutcome } from './workload.ts';

const ACT = 4;
const TAKEN_OVER = 'Envoy killed: nothing passes without it, by name, and another one takes over';
const CLOCK_SLACK_MS = 20;

interface EnvoyView {
  readonly state: string;
  readonly pid?: number;
}

async function envoyOf(stage: Stage): Promise<EnvoyView> {
  const { body } = await stage.agent.get('/v1/envoy');
  return JSON.parse(body) as EnvoyView;
}

/** @param policy text of the file with the HTTP rule; @param before that of the file it replaces */
export function playHttp(policy: string, before: string): Act {
  return async (stage, narrator) => {
    const { frontend } = stage.cast;
    const none = await envoyOf(stage);
    narrator.say('  The same file, with an HTTP rule: the frontend may read, not write.');
    narrator.document(policy);
    const put = Date.now();
    stage.manifests.write('policy.yaml', policy);
    const one = async (method: string): Promise<RequestOutcome | undefined> =>
      (await stage.client(frontend, { count: 1, method }).finished())[0];
    const refusal = until(
      stage,
      () => one('POST'),
      (outcome) => outcome?.status === 403,
    );
    const [inForce, running] = await Promise.all([
      refusal.then(() => Date.now()),
      until(
        stage,
        () => envoyOf(stage),
        (view) => view.state === 'ready',
      ),
    ]);
    const since = Date.now();
    const [reads, writes] = await Promise.all([
      stage.client(frontend, { count: 3 }).finished(),
      stage.client(frontend, { count: 3, method: 'POST' }).finished(),
    ]);
    const claims: Claim[] = [
      {
        act: ACT,
        claim: 'Envoy was not there before, and is there now that a rule needs it',
        holds: none.state === 'stopped' && running.state === 'ready' && running.pid !== undefined,
        evidence: [
          `before: ${none.state}; now: ${running.state}, pid ${running.pid ?? '-'}, ${memoryOf(running.pid)}; enforced ${inForce - put} ms after the file was put there`,
        ],
      },
      ...(await Promise.all([readsPass(stage, reads, since), writesRefused(stage, writes, since)])),
    ];

    const next = await playKill(stage, narrator, running, claims);

    narrator.say('  The rule goes.');
    stage.manifests.write('policy.yaml', before);
    const open = await until(
      stage,
      () => one('POST'),
      (outcome) => outcome?.status === 200,
    );
    const gone = await until(
      stage,
      () => envoyOf(stage),
      (view) => view.state === 'stopped',
    );
    claims.push({
      act: ACT,
      claim: 'without the rule Envoy is gone',
      holds: open?.status === 200 && gone.state === 'stopped' && !isAlive(next.pid),
      evidence: [`a POST is answered with ${open?.status ?? open?.error}; Envoy: ${gone.state}, no process`],
    });
    return claims;
  };
}

/** @returns the Envoy that took over */
async function playKill(stage: Stage, narrator: Narrator, running: EnvoyView, claims: Claim[]): Promise<EnvoyView> {
  if (running.pid === undefined || running.pid <= 1) {
    claims.push({ act: ACT, claim: TAKEN_OVER, holds: false, evidence: ['there was no Envoy to kill'] });
    return running;
  }
  const steady = stage.client(stage.cast.frontend, { intervalMs: 10 });
  await steady.until((outcomes) => outcomes.some((outcome) => outcome.status === 200));
  const killed = Date.now();
  narrator.say(`  kill -9 ${running.pid} (Envoy)`);
  process.kill(running.pid, 'SIGKILL');
  const next = await until(
    stage,
    () => envoyOf(stage),
    (view) => view.state === 'ready' && view.pid !== running.pid,
  );
  const back = Date.now();
  await steady.until((outcomes) => outcomes.some(({ start, status }) => start > back && status === 200));
  claims.push(await replaced(stage, await steady.stop(), killed, next, running));
  return next;
}

async function readsPass(stage: Stage, outcomes: readonly RequestOutcome[], since: number): Promise<Claim> {
  const own = stage.cast.frontend.attachment.ipv4;
  const good = outcomes.filter(({ status, seenAs }) => status === 200 && seenAs === own).length;
  const flow = await requestFlow(stage, since, 'FORWARDED', 'GET');
  return {
    act: ACT,
    claim: "GET is answered, and the backend sees the frontend's own address",
    holds: outcomes.length > 0 && good === outcomes.length && flow !== undefined,
    evidence: [
      `${good} of ${outcomes.length} answered with 200, seen as ${outcomes[0]?.seenAs ?? '-'}`,
      await shown(stage, flow),
    ],
  };
}

async function writesRefused(stage: Stage, outcomes: readonly RequestOutcome[], since: number): Promise<Claim> {
  const good = outcomes.filter(({ status }) => status === 403).length;
  const flow = await requestFlow(stage, since, 'DROPPED', 'POST');
  return {
    act: ACT,
    claim: 'POST is refused, and the line names the rule',
    holds: outcomes.length > 0 && good === outcomes.length && flow !== undefined && flow.deniedBy.length > 0,
    evidence: [`${good} of ${outcomes.length} answered with 403`, await shown(stage, flow)],
  };
}

async function replaced(
  stage: Stage,
  outcomes: readonly RequestOutcome[],
  killed: number,
  next: EnvoyView,
  before: EnvoyView,
): Promise<Claim> {
  const during = outcomes.filter(({ start, status }) => start >= killed && status === undefined);
  const flow = await stage.flows.find(
    (each) =>
      each.time >= killed - CLOCK_SLACK_MS &&
      each.verdict === 'DROPPED' &&
      each.dropReason === 'SOCKET_LOOKUP_FAILED' &&
      each.source === podName(stage.cast.frontend),
  );
  const last = outcomes.at(-1);
  return {
    act: ACT,
    claim: TAKEN_OVER,
    holds:
      next.state === 'ready' &&
      next.pid !== before.pid &&
      last?.status === 200 &&
      during.length > 0 &&
      flow !== undefined,
    evidence: [
      `${during.length} attempts refused at once meanwhile; Envoy ${next.pid ?? '-'} took over; then ${last?.status ?? last?.error}`,
      flow === undefined ? 'no flow said why' : ((await stage.flows.lineOf(flow)) ?? flow.raw),
    ],
  };
}

function requestFlow(stage: Stage, since: number, verdict: string, method: string): Promise<ObservedFlow | undefined> {
  return stage.flows.find(
    (flow) =>
      flow.time >= since - CLOCK_SLACK_MS &&
      flow.verdict === verdict &&
      flow.method === method &&
      flow.source === podName(stage.cast.frontend),
  );
}

async function shown(stage: Stage, flow: ObservedFlow | undefined): Promise<string> {
  return flow === undefined ? 'no flow of it was seen' : ((await stage.flows.lineOf(flow)) ?? flow.raw);
}

function memoryOf(pid: number | undefined): string {
  try {
    const kilobytes = /VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
    return `${Math.round(Number(kilobytes) / 1000)} MB`;
  } catch {
    return 'no memory';
  }
}

function isAlive(pid: number | undefined): boolean {
  try {
    // A zombie has ended.
    return pid !== undefined && !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return false;
  }
}
