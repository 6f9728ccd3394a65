/** An Envoy that stands in a namespace with a configuration of its own, as a sidecar or a gateway does. */
import { writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { inside } from '../../../control-plane/demo/namespaces.ts';
import { Child } from '../../../control-plane/demo/process.ts';
import { ROOT } from '../../lib/tools.ts';

export const ENVOY_VERSION = '1.40.0';
/** The one that Sidestep starts. */
export const ENVOY = join(ROOT, 'build/envoy', ENVOY_VERSION, 'envoy');

const PATIENCE_MS = 20_000;
const POLL_MS = 20;

/** Starts it, with one worker, and waits until it is ready. @param name distinguishes the files in the folder */
export async function startStockEnvoy(folder: string, name: string, namespace: string, config: object): Promise<Child> {
  const [file, admin] = [join(folder, `${name}.json`), join(folder, `${name}.sock`)];
  writeFileSync(file, JSON.stringify({ ...config, admin: { address: { pipe: { path: admin } } } }));
  const words = ['-c', file, '--concurrency', '1', '--disable-hot-restart', '-l', 'error'];
  const child = Child.start('nsenter', inside(namespace, [ENVOY, ...words]));
  for (const deadline = Date.now() + PATIENCE_MS; !(await ready(admin)); await sleep(POLL_MS))
    if (child.ended || Date.now() > deadline) throw new Error(`Envoy ${name} is not ready: ${child.stderr}`);
  return child;
}

function ready(socketPath: string): Promise<boolean> {
  return new Promise((resolve) => {
    const asked = request({ socketPath, path: '/ready', agent: false, headers: { host: 'envoy' } }, (answer) => {
      answer.resume();
      resolve(answer.statusCode === 200);
    });
    asked.on('error', () => resolve(false));
    asked.end();
  });
}
