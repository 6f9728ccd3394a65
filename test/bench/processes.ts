/** What processes took of the machine: time of its processors, and memory. */
import { readdirSync, readFileSync } from 'node:fs';

/** Seconds that the threads of these processes have run, exact to the nanosecond. */
export function cpuSeconds(pids: readonly number[]): number {
  let nanoseconds = 0;
  for (const pid of pids)
    for (const thread of readdirSync(`/proc/${pid}/task`))
      nanoseconds += Number(readFileSync(`/proc/${pid}/task/${thread}/schedstat`, 'utf8').split(' ')[0]);
  return nanoseconds / 1e9;
}

/** Seconds that all processors together have been idle. The kernel measures it; it only samples what they did instead. */
export function idleSeconds(): number {
  const [, idle = '', iowait = ''] = /^cpu +\d+ \d+ \d+ (\d+) (\d+)/.exec(readFileSync('/proc/stat', 'utf8')) ?? [];
  return (Number(idle) + Number(iowait)) / 100;
}

/** Megabytes (10^6), proportional set size: what several share is counted once. */
export function megabytes(pids: readonly number[]): number {
  const bytes = pids.map((pid) => {
    const [, kilobytes] = /^Pss:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8')) ?? [];
    return Number(kilobytes) * 1024;
  });
  return bytes.reduce((sum, each) => sum + each, 0) / 1e6;
}
