/** From the kernel's answer to Envoy's verdict: getsockopt on a cgroup, the module, filter state, RBAC, the restored destination. */
import { mkdirSync, rmdirSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import { type AddressInfo, isIPv6 } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { openKernel } from '../../control-plane/datapath/addon.ts';
import type { KernelMap, KernelObject } from '../../control-plane/datapath/kernel.ts';
import { parseAddress } from '../../control-plane/model/address.ts';
import { removeFolder, runFolder } from '../envoy/real.ts';
import { RULESET, StaticEnvoy } from '../envoy/static-envoy.ts';
import { TEST_PREFIX } from '../lib/topology.ts';
import { compileProgram } from './compile.ts';

const SIZE = 48;
const kernel = openKernel();
const folder = runFolder();
const cgroup = join(kernel.features().cgroup2 ?? '', `${TEST_PREFIX}-${process.pid}-identity`);
let object: KernelObject;
let answers: KernelMap;
let envoy: StaticEnvoy;
let backend: Server;

beforeAll(async () => {
  mkdirSync(cgroup);
  object = kernel.loadObject(await compileProgram('identity'));
  answers = object.map('answers');
  kernel.attachCgroup(object.program('answer_identity'), cgroup, 'getsockopt').pin(PIN);
  backend = createServer((_, response) => response.end('from the backend'));
  await new Promise<void>((resolve) => backend.listen(0, '::', resolve));
  envoy = await StaticEnvoy.start(folder, cgroup);
}, 30_000);

afterAll(async () => {
  await envoy?.stop();
  backend?.close();
  kernel.openLink(PIN).detach();
  removeFolder(PIN);
  removeFolder(folder);
  // The last process has only just left.
  for (let i = 0; i < 100; i++) {
    try {
      rmdirSync(cgroup);
      break;
    } catch {
      await sleep(20);
    }
  }
});

const PIN = `/sys/fs/bpf/${TEST_PREFIX}-${process.pid}-identity`;

interface Identity {
  readonly version?: number;
  readonly ingress?: number;
  readonly length?: number;
  readonly destination: string;
}

function answerWith({ version = 1, ingress = RULESET, length = SIZE, destination }: Identity): void {
  const bytes = new Uint8Array(answers.valueSize);
  const view = new DataView(bytes.buffer);
  // length, version, egress and ingress ruleset, source and destination identity, generation, destination, ports
  [length, version, 1, ingress, 4242, 4343, 7].forEach((value, i) => {
    view.setUint32(i * 4, value, true);
  });
  bytes.set(parseAddress(destination), 28);
  view.setUint16(44, (backend.address() as AddressInfo).port);
  answers.update(new Uint8Array(4), bytes);
}

const HOSTS = ['127.0.0.1', '::1'];

it.each(HOSTS)('tells Envoy all that the kernel answers, and where the client wanted to go (%s)', async (host) => {
  answerWith({ destination: host });
  const { body, told } = await envoy.ask(host);
  const port = (backend.address() as AddressInfo).port;
  expect(told).toEqual({
    status: 200,
    egress: '1',
    ingress: String(RULESET),
    source_identity: '4242',
    destination_identity: '4343',
    generation: '7',
    local: isIPv6(host) ? `[${host}]:${port}` : `${host}:${port}`,
    rule: 'get-only',
  });
  expect(body).toBe('from the backend');
});

it.each(HOSTS)('has what the rule does not admit refused (%s)', async (host) => {
  answerWith({ destination: host });
  expect((await envoy.ask(host, 'POST')).told).toMatchObject({ status: 403, ingress: String(RULESET) });
  answerWith({ destination: host, ingress: RULESET + 1 });
  expect((await envoy.ask(host)).told).toMatchObject({ status: 403, ingress: String(RULESET + 1) });
});

it.each([
  ['of another version', { version: 2 }],
  ['that is too short', { length: SIZE - 4 }],
  ['that is not given', { length: 0 }],
])('takes an answer %s for none', async (_, change) => {
  answerWith({ destination: '127.0.0.1', ...change });
  const { told } = await envoy.ask('127.0.0.1');
  expect(told).toMatchObject({ status: 403, egress: '0', ingress: '0', source_identity: '0', generation: '0' });
  expect(told.local).toBe(`127.0.0.1:${envoy.port}`);
});
