import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { loadConfig } from './config.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'sidestep-config-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

function file(text: string): string {
  const path = join(folder, 'config.yaml');
  writeFileSync(path, text);
  return path;
}

test('flags go before the environment, that before the file, that before defaults, and each value knows', () => {
  const path = file('source: /from-file\nflows: 4096\nendpoints: 32\nlogLevel: warn\n');
  const environment = { SIDESTEP_FLOWS: '8192', SIDESTEP_ENDPOINTS: '64' };
  const { config, origins } = loadConfig({ endpoints: '128' }, environment, path);
  expect(config).toMatchObject({
    source: '/from-file',
    flows: 8192,
    endpoints: 128,
    logLevel: 'warn',
    ringBytes: 4 << 20,
  });
  expect(origins).toMatchObject({
    source: `file ${path}`,
    flows: 'environment',
    endpoints: 'flag',
    logLevel: `file ${path}`,
    ringBytes: 'default',
  });
});

test('folders follow the instance', () => {
  const { config } = loadConfig({ source: '.', instance: 'lab' }, {}, undefined);
  expect(config).toMatchObject({ stateDir: '/var/lib/sidestep/lab', runDir: '/run/sidestep/lab' });
});

test('ranges come as a list in a file and with commas in a flag', () => {
  const wanted = ['10.0.0.0/16', 'fd00::/64'];
  expect(loadConfig({ source: '.', podCidrs: wanted.join(',') }, {}, undefined).config.podCidrs).toEqual(wanted);
  const path = file(`source: .\npodCidrs: [10.0.0.0/16, "fd00::/64"]\n`);
  expect(loadConfig({}, {}, path).config.podCidrs).toEqual(wanted);
});

test.each([
  [{ flows: 'many' }, 'flows (flag): "many": must be a number, 1024 to 67108864'],
  [{ flows: '7' }, 'flows (flag): "7": must be at least 1024'],
  [{ flows: '4096.5' }, 'flows (flag): "4096.5": must be a whole number, 1024 to 67108864'],
  [{ ringBytes: '5000' }, 'ringBytes (flag): "5000": must be a power of two'],
  [{ instance: 'Über' }, 'instance (flag): "Über": must be a-z, 0-9 and -, at most 32'],
  [{ stateDir: 'here' }, 'stateDir (flag): "here": must be an absolute path'],
  [{ podCidrs: '10.0.0.0/33' }, 'podCidrs (flag): "10.0.0.0/33": must be a prefix such as 10.0.0.0/16'],
  [{ metricsAddress: '9090' }, 'metricsAddress (flag): "9090": must be HOST:PORT'],
  [{ logLevel: 'loud' }, 'logLevel (flag): "loud": must be one of trace, debug, info, warn, error'],
  [{ source: '' }, 'source (flag): "": must not be empty'],
  [{ enforcement: 'often' }, 'enforcement (flag): "often": must be one of default, always, never'],
  [{ policyAuditMode: 'yes' }, 'policyAuditMode (flag): "yes": must be one of true, false'],
  [{ enrol: 'some' }, 'enrol (flag): "some": must be one of all, labelled'],
])('%j is refused', (flags, message) => {
  expect(() => loadConfig({ source: '.', ...flags }, {}, undefined)).toThrow(
    expect.objectContaining({ code: 'CONFIG_INVALID', message }),
  );
});

test('no source is refused with what to add', () => {
  expect(() => loadConfig({}, {}, undefined)).toThrow(
    expect.objectContaining({ code: 'CONFIG_INVALID', hint: 'Add --source DIR, or set SIDESTEP_SOURCE.' }),
  );
});

test.each([
  ['sourc: .\n', 'there is no option sourc'],
  ['- a\n', 'must hold a mapping'],
  ['a: [\n', 'cannot be read'],
])('the file %j is refused', (text, message) => {
  const path = file(text);
  expect(() => loadConfig({}, {}, path)).toThrow(message);
});
