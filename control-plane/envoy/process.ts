/** What /proc says of a process. */
import { readdirSync, readFileSync } from 'node:fs';
import type { EnvoyProcess, ProcessLook } from './ports.ts';

interface Stat {
  readonly state: string;
  readonly ticks: number;
  readonly startTime: number;
}

function read(path: string): Stat | undefined {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
  // The second field is the program's name in brackets, which may hold anything (proc(5)).
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  const field = (number: number): string => fields[number - 3] ?? '';
  return { state: field(3), ticks: Number(field(14)) + Number(field(15)), startTime: Number(field(22)) };
}

/** @returns undefined when there is none */
export function processOf(pid: number): EnvoyProcess | undefined {
  const stat = read(`/proc/${pid}/stat`);
  return stat && { pid, startTime: stat.startTime };
}

/** @returns undefined when it is gone, be the pid another's by now */
export function lookAt({ pid, startTime }: EnvoyProcess): ProcessLook | undefined {
  const stat = read(`/proc/${pid}/stat`);
  if (stat === undefined || stat.startTime !== startTime) return undefined;
  // Z, X: dead, and only waits for its parent to notice; while another of its threads ends it still holds its ports.
  if ('ZX'.includes(stat.state))
    return threads(pid) > 1 ? { state: stat.state, mainThreadTicks: stat.ticks } : undefined;
  const main = read(`/proc/${pid}/task/${pid}/stat`);
  return main && { state: main.state, mainThreadTicks: main.ticks };
}

function threads(pid: number): number {
  try {
    return readdirSync(`/proc/${pid}/task`).length;
  } catch {
    return 0;
  }
}
