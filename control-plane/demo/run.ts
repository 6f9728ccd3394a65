/** The demo from curtain to curtain: sweep, set the stage, play, clean up whatever happens. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { pinsOf } from '../datapath/pins.ts';
import { SidestepError } from '../model/error.ts';
import { actsOf, putInForce } from './acts.ts';
import { type Cast, castOf, HTTP_POLICY, namespacesOf, POLICY, podName, rolesOf } from './cast.ts';
import { BPFFS, bpffsMounted, cleanUp, sweep } from './cleanup.ts';
import { folderExists } from './namespaces.ts';
import type { Claim, Narrator } from './narrator.ts';
import { beforeAll, DEMO_FOLDER, type DemoRecord, readRecords, saveRecord, startTimeOf } from './record.ts';
import { Stage } from './stage.ts';

export interface DemoSettings {
  /** The sidestep program and its first arguments: the demo starts it again for the agent and for the workloads. */
  readonly command: readonly string[];
  readonly keep: boolean;
  /** Only this one, 1 to 4; undefined: all. */
  readonly act: number | undefined;
  /** Another file for act 2. */
  readonly policyFile: string | undefined;
  /** Another file for act 4. */
  readonly httpPolicyFile: string | undefined;
  /** Called before every act but the first; the demo goes on when it resolves. */
  readonly beforeAct: (act: number, signal: AbortSignal) => Promise<void>;
  /** Ids of the links pinned in a folder, by name. */
  readonly readLinks: (folder: string) => ReadonlyMap<string, number>;
  /** Aborted: stop, clean up, reject with the signal's reason. */
  readonly signal: AbortSignal;
}

/**
 * @returns whether every claim held
 * @throws KERNEL_PERMISSION, TOOL_MISSING, TOOL_FAILED, AGENT_NOT_READY; the signal's reason
 */
export async function runDemo(settings: DemoSettings, narrator: Narrator): Promise<boolean> {
  if (process.geteuid?.() !== 0)
    throw new SidestepError('KERNEL_PERMISSION', 'The demo makes network namespaces: run it as root.');
  const policy = settings.policyFile === undefined ? POLICY : readPolicy(settings.policyFile);
  const httpPolicy = settings.httpPolicyFile === undefined ? HTTP_POLICY : readPolicy(settings.httpPolicyFile);
  await sweep(settings.command, { kept: false });
  const cast = castOf(process.pid);
  const record = recordOf(cast);
  settings.signal.throwIfAborted();
  saveRecord(record);
  const stage = new Stage(cast, record, settings.command, settings.signal);
  let kept = false;
  try {
    introduce(cast, narrator);
    const started = Date.now();
    await stage.setUp();
    narrator.say(`Stage set in ${seconds(started).toFixed(1)} s.`);
    narrator.ready({ instance: record.instance, folder: record.folder, namespaces: namespacesByName(cast) });
    const passed = await play(settings, stage, record, policy, httpPolicy, narrator);
    if (settings.keep) {
      await stage.strike();
      settings.signal.throwIfAborted();
      saveRecord({ ...record, kept: true });
      kept = true;
      stage.release();
      narrator.say(...whatToTry(cast, record));
    }
    return passed;
  } finally {
    if (!kept) {
      stage.killAll();
      await cleanUp(record, settings.command);
    }
  }
}

function readPolicy(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (cause) {
    throw new SidestepError('INPUT_INVALID', `${file} cannot be read`, { cause, path: file });
  }
}

function recordOf(cast: Cast): DemoRecord {
  const { pid } = process;
  return {
    pid,
    startTime: startTimeOf(pid),
    instance: `demo-${pid}`,
    folder: join(DEMO_FOLDER, String(pid)),
    namespaces: namespacesOf(cast),
    before: beforeAll({ bpffs: bpffsMounted(), netnsFolder: folderExists() }, readRecords()),
    kept: false,
  };
}

async function play(
  settings: DemoSettings,
  stage: Stage,
  record: DemoRecord,
  policy: string,
  httpPolicy: string,
  narrator: Narrator,
): Promise<boolean> {
  const claims: Claim[] = [];
  const began = Date.now();
  const links = (): ReadonlyMap<string, number> => settings.readLinks(pinsOf(BPFFS, record.instance).links);
  if (settings.act !== undefined && settings.act > 2) await putInForce(stage, policy);
  for (const [index, { title, play }] of actsOf({ policy, httpPolicy, links }).entries()) {
    const act = index + 1;
    if (settings.act !== undefined && act !== settings.act) continue;
    if (act > 1) await settings.beforeAct(act, settings.signal);
    settings.signal.throwIfAborted();
    narrator.act(act, title);
    const actBegan = Date.now();
    const ofAct = await play(stage, narrator);
    // A killed client proves nothing: what an aborted act says is not told.
    settings.signal.throwIfAborted();
    for (const claim of ofAct) narrator.claim(claim);
    narrator.actEnds(act, seconds(actBegan));
    claims.push(...ofAct);
  }
  const falseClaims = claims.filter((claim) => !claim.holds).map(({ act, claim }) => `act ${act}: ${claim}`);
  narrator.outcome({ passed: falseClaims.length === 0, falseClaims, seconds: seconds(began) });
  return falseClaims.length === 0;
}

function seconds(since: number): number {
  return (Date.now() - since) / 1_000;
}

function introduce(cast: Cast, narrator: Narrator): void {
  const row = (name: string, address: string, what: string): string =>
    `  ${name.padEnd(30)} ${address.padEnd(12)} ${what}`;
  narrator.say(
    'One node and three workloads, each in a network namespace of its own on this machine. Nothing is installed in',
    'the workloads; the agent on the node loads programs into the kernel, at the veth of each workload.',
    ...rolesOf(cast).map((role) => row(podName(role), role.attachment.ipv4, `app=${role.app}`)),
  );
}

function namespacesByName(cast: Cast): Readonly<Record<string, string>> {
  const workloads = rolesOf(cast).map((role) => [role.pod, role.attachment.namespace]);
  return Object.fromEntries([['node', cast.node.namespace], ...workloads]);
}

function whatToTry(cast: Cast, record: DemoRecord): readonly string[] {
  const { frontend, intruder, backend } = cast;
  const ask = (namespace: string): string =>
    `  nsenter --net=/run/netns/${namespace} curl -m 1 http://${backend.attachment.ipv4}:8080/`;
  return [
    '',
    'Everything is still there. To try:',
    `  sidestep observe --follow --instance ${record.instance}`,
    ask(frontend.attachment.namespace),
    ask(intruder.attachment.namespace),
    `  edit the files in ${join(record.folder, 'manifests')}`,
    `  sidestep status --instance ${record.instance}`,
    'To clean up:',
    '  sidestep demo --clean',
  ];
}
