/** The tutorials do what they say: each is followed from its first command to its last, and what it says is printed is. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { createNamespace, deleteNamespace, inside, orphans } from '../../control-plane/demo/namespaces.ts';
import { run } from '../../control-plane/demo/process.ts';
import { ROOT } from '../lib/tools.ts';
import { TEST_PREFIX } from '../lib/topology.ts';
import { isAsSaid, readSteps, runSteps } from '../lib/tutorial.ts';

const FOLDER = join(ROOT, 'docs/tutorial');
const SHOP = `${TEST_PREFIX}-${process.pid}-shop`;
const NODE = `${SHOP}-node`;
const ENVIRONMENT = { SHOP, SIDESTEP_INSTANCE: SHOP };

beforeEach(async () => {
  for (const namespace of orphans(TEST_PREFIX)) await deleteNamespace(namespace);
  await createNamespace(NODE);
});
afterEach(async () => {
  // Whatever a tutorial that failed half-way has left.
  const tidy = `bin/sidestep uninstall --instance ${SHOP} --state-dir /run/${SHOP}/state; SHOP=${SHOP} deploy/examples/shop/shop.sh down`;
  await run('nsenter', inside(NODE, ['bash', '-c', `cd ${ROOT}; ${tidy}`]), { tolerate: true });
  await deleteNamespace(NODE);
});

test.each(readdirSync(FOLDER))('%s', { timeout: 150_000 }, async (name) => {
  const steps = readSteps(readFileSync(join(FOLDER, name), 'utf8'));
  expect(steps.length).toBeGreaterThan(5);
  for (const { line, output, printed, passed } of await runSteps(steps, NODE, ENVIRONMENT)) {
    const where = `docs/tutorial/${name}:${line}`;
    expect({ where, passed, printed }).toEqual({ where, passed: true, printed: expect.any(String) });
    if (output !== undefined && !isAsSaid(output, printed))
      expect({ where, printed }).toEqual({ where, printed: output });
  }
});
