/** The demo from curtain to curtain: sweep, set the stage, play, clean up whatever happens. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { pinsOf } from '../datapath/pins.ts';
import { SidestepError } from '../model/error.ts';
import { type ActSettings, actsOf, putInForce } from './acts.ts';
import {
  AUTHENTICATION_POLICY,
  type Cast,
  castOf,
  HTTP_POLICY,
  instancesOf,
  namespacesOf,
  POLICY,
  podName,
  rolesOf,
} from './cast.ts';
import { BPFFS, bpffsMounted, cleanUp, sweep } from './cleanup.ts';
import { folderExists } from './namespaces.ts';
import type { Claim, Narrator } from './narrator.ts';
import { beforeAll, DEMO_FOLDER, type DemoRecord, readRecords, saveRecord, startTimeOf } from './record.ts';
import { Stage } from './stage.ts';
import type { OpenTap } from './wire.ts';

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
  /** Another file for act 5. */
  readonly authenticationPolicyFile: string | undefined;
  /** Called before every act but the first; the demo goes on when it resolves. */
  readonly beforeAct: (act: number, signal: AbortSignal) => Promise<void>;
  /** Ids of the links pinned in a folder, by name. */
  readonly readLinks: (folder: string) => ReadonlyMap<string, number>;
  /** A device of the demo's own, to hear what is said between the nodes. */
  readonly openTap: OpenTap;
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
  const policies = {
    policy: readPolicy(settings.policyFile, POLICY),
    httpPolicy: readPolicy(settings.httpPolicyFile, HTTP_POLICY),
    authenticationPolicy: readPolicy(settings.authenticationPolicyFile, AUTHENTICATION_POLICY),
  };
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
    narrator.ready({ instance: instancesOf(record.pid)[0], folder: record.folder, namespaces: namespacesByName(cast) });
    const passed = await play(settings, stage, record, policies, narrator);
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

type Policies = Pick<ActSettings, 'policy' | 'httpPolicy' | 'authenticationPolicy'>;

function readPolicy(file: string | undefined, otherwise: string): string {
  if (file === undefined) return otherwise;
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
    instances: instancesOf(pid),
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
  policies: Policies,
  narrator: Narrator,
): Promise<boolean> {
  const claims: Claim[] = [];
  const began = Date.now();
  const links = (): ReadonlyMap<string, number> => settings.readLinks(pinsOf(BPFFS, instancesOf(record.pid)[0]).links);
  if (settings.act !== undefined && settings.act > 2) await putInForce(stage, policies.policy);
  for (const [index, { title, play }] of actsOf({ ...policies, links, openTap: settings.openTap }).entries()) {
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
    'the workloads; the agent on the node loads programs into the kernel, at the veth of each workload. Another node',
    'joins in act 5.',
    ...rolesOf(cast).map((role) => row(podName(role), role.attachment.ipv4, `app=${role.app}`)),
    row(podName(cast.remote), cast.remote.attachment.ipv4, `app=${cast.remote.app}, on the other node`),
  );
}

function namespacesByName(cast: Cast): Readonly<Record<string, string>> {
  const workloads = [...rolesOf(cast), cast.remote].map((role) => [role.pod, role.attachment.namespace]);
  return Object.fromEntries([['node', cast.node.namespace], ['node-2', cast.second.namespace], ...workloads]);
}

function whatToTry(cast: Cast, record: DemoRecord): readonly string[] {
  const { frontend, remote, intruder, backend } = cast;
  const [instance] = instancesOf(record.pid);
  const ask = (namespace: string): string =>
    `  nsenter --net=/run/netns/${namespace} curl -m 1 http://${backend.attachment.ipv4}:8080/`;
  return [
    '',
    'Everything is still there. To try:',
    `  sidestep observe --follow --instance ${instance}`,
    ask(frontend.attachment.namespace),
    ask(remote.attachment.namespace),
    ask(intruder.attachment.namespace),
    `  edit the files in ${join(record.folder, 'manifests')}`,
    `  sidestep status --instance ${instance}`,
    `  sidestep auth list --instance ${instance}`,
    `  sidestep tunnel list --instance ${instance}`,
    'To clean up:',
    '  sidestep demo --clean',
  ];
}
