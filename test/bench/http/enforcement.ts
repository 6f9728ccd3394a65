/** A policy file with an HTTP rule is renamed into place → the first request that is refused by it. */
import { setTimeout as sleep } from 'node:timers/promises';
import { inside } from '../../../control-plane/demo/namespaces.ts';
import { Child } from '../../../control-plane/demo/process.ts';
import { System } from '../../lib/system.ts';
import { percentile } from '../statistics.ts';
import { program } from '../tool.ts';
import { envoyOf, SERVER_PORT, startServer } from './bed.ts';
import { getOnly } from './rules.ts';

/** Between two requests: the resolution of the answer. */
const PAUSE_US = 1000;
const PATIENCE_MS = 15_000;

export interface Distribution {
  /** Milliseconds. */
  readonly p50: number;
  readonly p90: number;
  readonly worst: number;
  /** Its first one. */
  readonly first: number;
  readonly count: number;
}

export interface Enforcement {
  /** No Envoy runs. */
  readonly cold: Distribution;
  /** One runs, for another rule. */
  readonly warm: Distribution;
  /** Of the cold ones: the process is started → its listeners answer. */
  readonly start: Distribution;
  /** Edits around which a request stayed without an answer. */
  readonly unanswered: number;
}

export interface Edits {
  readonly cold: number;
  readonly warm: number;
}

/** What the load program says: the status that requests get from now on. */
interface Change {
  readonly status: number;
  /** Nanoseconds, CLOCK_MONOTONIC, as process.hrtime. */
  readonly answered: number;
}

export async function enforcement(edits: Edits): Promise<Enforcement> {
  await using system = await System.create('edits', ['--envoy-concurrency', '1', '--envoy-idle-seconds', '0']);
  const [client, server] = [await system.pod('client', 'routed'), await system.pod('server', 'routed')];
  await system.pod('other', 'routed');
  await startServer(server);
  await system.agent.start();
  const command = [await program('http-load'), 'watch', server.ipv4, String(SERVER_PORT), '600', String(PAUSE_US)];
  const watch = Child.start('nsenter', inside(client.namespace, command));
  try {
    const trial = new Trial(system, watch);
    const cold: number[] = [];
    for (let i = 0; i < edits.cold; i++) {
      cold.push(await trial.putRule());
      // The manager is to note that it is ready before it is told to end it.
      await envoyOf(system);
      await trial.removeRule();
      await stopped(system);
    }
    const start = startTimes(system.agent.log());
    system.policy('other', getOnly('other', SERVER_PORT));
    await envoyOf(system);
    const warm: number[] = [];
    for (let i = 0; i < edits.warm; i++) {
      warm.push(await trial.putRule());
      await trial.removeRule();
    }
    const [first, again, starts] = [cold, warm, start].map(distribution) as [Distribution, Distribution, Distribution];
    return { cold: first, warm: again, start: starts, unanswered: trial.unanswered };
  } finally {
    await watch.stop();
  }
}

class Trial {
  readonly #system: System;
  readonly #watch: Child;
  #read = 0;
  unanswered = 0;

  constructor(system: System, watch: Child) {
    this.#system = system;
    this.#watch = watch;
  }

  /** @returns milliseconds until it was in force */
  async putRule(): Promise<number> {
    // Not in step with anything that ticks.
    await sleep(20 + ((this.#read * 7) % 30));
    const at = Number(process.hrtime.bigint());
    this.#system.policy('http', getOnly('server', SERVER_PORT));
    const { answered } = await this.#until(403);
    return (answered - at) / 1e6;
  }

  async removeRule(): Promise<void> {
    this.#system.removePolicy('http');
    await this.#until(200);
  }

  async #until(status: number): Promise<Change> {
    const wanted = (line: string): boolean => (JSON.parse(line) as Change).status === status;
    const line = await this.#watch.waitForLine(wanted, { from: this.#read, timeoutMs: PATIENCE_MS });
    const end = this.#watch.lines.indexOf(line, this.#read) + 1;
    const between = this.#watch.lines.slice(this.#read, end);
    if (between.some((each) => (JSON.parse(each) as Change).status === 0)) this.unanswered++;
    this.#read = end;
    return JSON.parse(line) as Change;
  }
}

async function stopped(system: System): Promise<void> {
  for (const deadline = Date.now() + PATIENCE_MS; Date.now() < deadline; await sleep(20)) {
    const { state } = JSON.parse((await system.agent.get('/v1/envoy')).body) as { state: string };
    if (state === 'stopped') return;
  }
  throw new Error('Envoy does not stop');
}

/** From the manager's own words, milliseconds. */
function startTimes(log: string): number[] {
  const states = log
    .split('\n')
    .filter((line) => line.includes('"msg":"envoy '))
    .map((line) => JSON.parse(line) as { time: number; state: string });
  return states.flatMap(({ time, state }, i) => {
    const next = states[i + 1];
    return state === 'starting' && next?.state === 'ready' ? [next.time - time] : [];
  });
}

function distribution(milliseconds: readonly number[]): Distribution {
  return {
    p50: percentile(milliseconds, 0.5),
    p90: percentile(milliseconds, 0.9),
    worst: Math.max(...milliseconds),
    first: milliseconds[0] ?? Number.NaN,
    count: milliseconds.length,
  };
}
