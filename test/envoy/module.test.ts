/** The identity module in a real Envoy where the kernel answers nothing: every connection is unknown, and refused. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { removeFolder, runFolder } from './real.ts';
import { StaticEnvoy } from './static-envoy.ts';

const folder = runFolder();
let envoy: StaticEnvoy;

beforeAll(async () => {
  envoy = await StaticEnvoy.start(folder);
});

afterAll(async () => {
  await envoy?.stop();
  removeFolder(folder);
});

it.each(['127.0.0.1', '::1'])('says "0" of everything and refuses the request (%s)', async (host) => {
  const { told } = await envoy.ask(host);
  expect(told).toMatchObject({
    status: 403,
    egress: '0',
    ingress: '0',
    source_identity: '0',
    destination_identity: '0',
    generation: '0',
  });
  // It claims no destination that it does not know.
  expect(told.local).toBe(host === '::1' ? `[::1]:${envoy.port}` : `${host}:${envoy.port}`);
});
