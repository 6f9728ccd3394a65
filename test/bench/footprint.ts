/** What the agent costs while nothing happens. */
import { readFileSync } from 'node:fs';
import { admit } from '../lib/policies.ts';
import { System } from '../lib/system.ts';

export interface Footprint {
  readonly pods: number;
  /** Megabytes (10^6). */
  readonly rss: number;
  /** Of one core. */
  readonly cpu: number;
  readonly seconds: number;
}

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

export async function footprint(pods: number, seconds: number, progress: (text: string) => void): Promise<Footprint> {
  await using system = await System.create('idle');
  for (let i = 0; i < pods; i++) {
    await system.pod(`pod-${i}`, 'routed', `app-${i % 20}`);
    if ((i + 1) % 25 === 0) progress(`${i + 1} of ${pods} pods`);
  }
  for (let i = 0; i < 20; i++) system.policy(`policy-${i}`, admit(`app-${i}`, [`app-${(i + 1) % 20}`]));
  await system.agent.start();
  const { pid } = system.agent;
  if (pid === undefined) throw new Error('the agent does not run');
  // The first seconds belong to the start.
  await pause(5_000);
  const before = cpuSeconds(pid);
  await pause(seconds * 1000);
  return { pods, rss: residentBytes(pid) / 1e6, cpu: (cpuSeconds(pid) - before) / seconds, seconds };
}

function residentBytes(pid: number): number {
  return Number(/VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) * 1024;
}

/** utime + stime; the kernel's USER_HZ is 100 on every architecture that we know. */
function cpuSeconds(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? [];
  return (Number(fields[11]) + Number(fields[12])) / 100;
}
