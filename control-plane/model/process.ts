/** How a process that may outlive the agent is started, and how it ended. Asked for by envoy/, done by datapath/. */

export interface SpawnOptions {
  readonly uid: number;
  readonly gid: number;
  /** Numbers of linux/capability.h: all that it has, and all that it can ever get. */
  readonly capabilities: readonly number[];
  /** Folder of the cgroup that it is started in; undefined: ours. */
  readonly cgroup: string | undefined;
  /** File that stdout and stderr are appended to; made with mode 0600 where it is not there. */
  readonly stdout: string;
  /** Opened by us for reading; the program finds it as /proc/self/fd/200, wherever it stands. */
  readonly file?: string;
  /** Nothing is inherited. */
  readonly env: Readonly<Record<string, string>>;
}

/** Both are undefined for a process that was not our child: nobody tells us. */
export interface ProcessEnd {
  readonly code: number | undefined;
  readonly signal: number | undefined;
}
