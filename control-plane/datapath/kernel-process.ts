/** The part of the port to the kernel that starts and watches processes which may outlive the agent. */
import type { ProcessEnd, SpawnOptions } from '../model/process.ts';

export interface ProcessKernel {
  /**
   * Starts a program in a session of its own, in the folder `/`, without our file descriptors. Its user must be allowed
   * to run it, not to walk to it. @returns its pid. @throws with the errno of what failed, the start of the program included
   */
  spawn(program: string, args: readonly string[], options: SpawnOptions): number;
  /**
   * undefined: it runs. Does not wait, but takes the end of a child, which is a zombie until then.
   * @param startTime tells a process that was not our child from another that has its number by now
   */
  waitPid(pid: number, startTime?: number): ProcessEnd | undefined;
  /** Clock ticks after boot: with the pid it names one process until the next boot. undefined: there is none. */
  processStartTime(pid: number): number | undefined;
  /** Never signals another process that has the number by now. @returns false when it has ended */
  signalProcess(pid: number, startTime: number, signal: number): boolean;
}
