/** Asks again and again: what a change brings about comes within milliseconds, on a busy machine within seconds. */
import { setTimeout as delay } from 'node:timers/promises';
import type { Stage } from './stage.ts';

const PATIENCE_MS = 5_000;
const POLL_MS = 20;

/** Asks until `wanted`, or the patience ends. @returns the last answer */
export async function until<T>(
  stage: Stage,
  ask: () => Promise<T>,
  wanted: (answer: T) => boolean,
  patienceMs = PATIENCE_MS,
): Promise<T> {
  for (const deadline = Date.now() + patienceMs; ; await delay(POLL_MS)) {
    stage.signal.throwIfAborted();
    const answer = await ask();
    if (wanted(answer) || Date.now() > deadline) return answer;
  }
}
