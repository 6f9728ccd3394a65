/**
 * `make chaos`: Envoy and the agent are killed and stopped at random while requests go on. One oracle: every request that the
 * backend has seen must be admitted by the offline evaluator under a policy that was in force then. What was refused
 * meanwhile is counted. Exits 1 on a violation. --short: fewer of everything; --seed N: the same again.
 */

import { parseArgs } from 'node:util';
import { checkPolicy } from '../../control-plane/policy/check.ts';
import { readOnce } from '../../control-plane/sources/files.ts';
import { HTTP_PORT, HttpLoad, httpServer } from '../lib/http.ts';
import { NAMESPACE, System } from '../lib/system.ts';

const { values } = parseArgs({
  options: {
    short: { type: 'boolean', default: false },
    seed: { type: 'string', default: String(Date.now() % 2 ** 31) },
  },
});
const ACTIONS = values.short ? 8 : 90;
const REQUESTS = values.short ? 5_000 : 100_000;
/** After an edit both versions may be what held a request: discovery has a deadline, and a request may be under way. */
const GRACE_MS = 8_000;

let state = Number(values.seed) >>> 0;
function random(): number {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  return state / 2 ** 32;
}
const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
const say = (text: string): void => void process.stderr.write(`${text}\n`);

/** Versions of the one policy: what each admits differs, and neither admits all. */
const VERSIONS = [
  [{ method: 'GET', path: '/api/.*' }],
  [{ method: 'GET|HEAD', path: '/api/.*|/' }],
  [{ method: 'HEAD' }, { method: 'GET', path: '/api/a' }],
] as const;

interface Seen {
  readonly time: number;
  readonly method: string;
  readonly url: string;
  readonly address: string;
}

await using system = await System.create('chaos', ['--envoy-strict', 'true']);
const client = await system.pod('client', 'routed');
const server = await system.pod('server', 'routed');
const stranger = await system.pod('stranger', 'bridge');
const backend = await httpServer(server);
await system.agent.start();

const edits: { readonly at: number; readonly version: number }[] = [];
function edit(version: number): void {
  const http = VERSIONS[version] ?? VERSIONS[0];
  const toPorts = [{ ports: [{ port: String(HTTP_PORT), protocol: 'TCP' }], rules: { http } }];
  edits.push({ at: Date.now(), version });
  system.policy('http', {
    endpointSelector: { matchLabels: { app: 'server' } },
    ingress: [{ fromEndpoints: [{ matchLabels: { app: 'client' } }], toPorts }],
  });
}

interface EnvoyView {
  readonly state: string;
  readonly pid?: number;
}
async function envoy(): Promise<EnvoyView> {
  try {
    return JSON.parse((await system.agent.get('/v1/envoy')).body) as EnvoyView;
  } catch {
    return { state: 'unknown' };
  }
}
async function untilReady(): Promise<void> {
  for (const deadline = Date.now() + 30_000; (await envoy()).state !== 'ready'; await pause(50))
    if (Date.now() > deadline) throw new Error(`Envoy does not come back: ${JSON.stringify(await envoy())}`);
}

edit(0);
await untilReady();
await pause(1_000);
const load = [client, stranger].map((from, i) =>
  HttpLoad.start(from, server, 'ipv4', i === 0 ? 16 : 4, random() * 2 ** 31),
);

const done = { 'kill -9 envoy': 0, 'kill -STOP envoy': 0, 'kill -9 agent': 0, edit: 0 };
const requestsSeen = (): number => backend.lines.length;
const began = Date.now();
for (let action = 0; action < ACTIONS || requestsSeen() < REQUESTS / 4; action++) {
  await pause(200 + random() * 900);
  if (Date.now() - began > (values.short ? 60_000 : 600_000)) break;
  const { pid } = await envoy();
  const choice = random();
  if (choice < 0.35 && pid !== undefined) {
    process.kill(pid, 'SIGKILL');
    done['kill -9 envoy']++;
  } else if (choice < 0.5 && pid !== undefined) {
    process.kill(pid, 'SIGSTOP');
    done['kill -STOP envoy']++;
  } else if (choice < 0.75) {
    await system.agent.killHard();
    await pause(random() * 500);
    await system.agent.start();
    done['kill -9 agent']++;
  } else {
    edit(Math.floor(random() * VERSIONS.length));
    done.edit++;
  }
  if (action % 10 === 9) say(`  … ${action + 1} actions, ${requestsSeen()} requests at the backend`);
}
await untilReady();
await pause(500);
const met = await Promise.all(load.map((each) => each.stop()));

const manifests = VERSIONS.map((_, version) => {
  edit(version);
  return readOnce([system.manifests.path]);
});
const verdicts = new Map<string, boolean>();
function admitted(seen: Seen, version: number): boolean {
  const from = seen.address === client.ipv4 ? 'client' : 'stranger';
  const key = `${version} ${from} ${seen.method} ${seen.url}`;
  const known = verdicts.get(key);
  if (known !== undefined) return known;
  const objects = manifests[version];
  if (objects === undefined) throw new Error(`no version ${version}`);
  const { verdict } = checkPolicy(objects, {
    from: `${NAMESPACE}/${from}`,
    to: `${NAMESPACE}/server`,
    port: `${HTTP_PORT}/TCP`,
    http: `${seen.method} ${seen.url}`,
  });
  verdicts.set(key, verdict === 'ALLOWED');
  return verdict === 'ALLOWED';
}

let judged = 0;
const violations: Seen[] = [];
for (const line of backend.lines) {
  if (!line.includes('"request"')) continue;
  const seen = JSON.parse(line) as Seen;
  judged++;
  const inForce = edits.slice(0, edits.length - VERSIONS.length).filter(({ at }, i, all) => {
    const until = (all[i + 1]?.at ?? Number.POSITIVE_INFINITY) + GRACE_MS;
    return at <= seen.time && seen.time <= until;
  });
  if (!inForce.some(({ version }) => admitted(seen, version))) violations.push(seen);
}
const total = met.reduce((sum, outcomes) => sum + Object.values(outcomes).reduce((a, b) => a + b, 0), 0);
const report = {
  seed: Number(values.seed),
  requests: total,
  judged,
  violations: violations.length,
  done,
  client: met[0],
  stranger: met[1],
};
process.stdout.write(`${JSON.stringify(report, undefined, 2)}\n`);
for (const seen of violations.slice(0, 10)) say(`violation: ${JSON.stringify(seen)}`);
process.exitCode = violations.length === 0 && judged > 0 ? 0 : 1;
