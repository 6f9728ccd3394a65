/** Starts programs as the addon does, with util-linux: for tests of what is above it. */
import { spawn } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { join } from 'node:path';
import type { Spawn } from '../../control-plane/envoy/launcher.ts';

export const spawnBySetpriv: Spawn = (program, args, { uid, gid, capabilities, cgroup, stdout, env }) => {
  const output = openSync(stdout, 'a', 0o666);
  const caps = ['-all', ...capabilities.map((number) => `+cap_${number}`)].join(',');
  const user = [`--reuid=${uid}`, `--regid=${gid}`, '--clear-groups', `--inh-caps=${caps}`, `--ambient-caps=${caps}`];
  // Joined before the program runs, as the addon does.
  const script = cgroup === undefined ? 'exec "$@"' : `echo $$ > '${join(cgroup, 'cgroup.procs')}' && exec "$@"`;
  const child = spawn('/bin/sh', ['-c', script, 'sh', 'setpriv', ...user, '--', program, ...args], {
    detached: true,
    stdio: ['ignore', output, output],
    env,
  });
  closeSync(output);
  child.unref();
  child.on('error', () => undefined);
  if (child.pid === undefined) throw new Error(`${program} was not started`);
  return child.pid;
};
