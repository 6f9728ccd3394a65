import { chmodSync, mkdtempSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { readDynamicSymbols } from './elf.ts';
import { envoyPaths } from './paths.ts';
import { planner } from './plan.ts';
import { type EnvoyRequirements, parseVersion, probeEnvoy } from './probe.ts';

const CALLBACKS = ['get_socket_fd', 'restore_local_address', 'set_filter_state'].map(
  (name) => `envoy_dynamic_module_callback_listener_filter_${name}`,
);
const HOOKS = ['program_init', 'listener_filter_config_new', 'listener_filter_new', 'listener_filter_on_accept'].map(
  (name) => `envoy_dynamic_module_on_${name}`,
);
const X86 = 62;
const ARM = 183;

/** A 64-bit ELF file with nothing but dynamic symbols: null section, their names, themselves. */
function elf(defined: readonly string[], missing: readonly string[], machine = X86): Buffer {
  const names = Buffer.from(`\0${[...defined, ...missing].map((name) => `${name}\0`).join('')}`);
  const symbols = Buffer.alloc(24 * (1 + defined.length + missing.length));
  let at = 1;
  [...defined, ...missing].forEach((name, i) => {
    symbols.writeUInt32LE(at, 24 * (i + 1));
    symbols.writeUInt16LE(i < defined.length ? 1 : 0, 24 * (i + 1) + 6);
    at += name.length + 1;
  });
  const header = Buffer.alloc(64);
  header.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]);
  header.writeUInt16LE(machine, 18);
  const sections = Buffer.alloc(64 * 3);
  const section = (i: number, type: number, offset: number, size: number, link: number): void => {
    sections.writeUInt32LE(type, 64 * i + 4);
    sections.writeBigUInt64LE(BigInt(offset), 64 * i + 24);
    sections.writeBigUInt64LE(BigInt(size), 64 * i + 32);
    sections.writeUInt32LE(link, 64 * i + 40);
  };
  section(1, 3, 64, names.length, 0);
  section(2, 11, 64 + names.length, symbols.length, 1);
  header.writeBigUInt64LE(BigInt(64 + names.length + symbols.length), 40);
  header.writeUInt16LE(64, 58);
  header.writeUInt16LE(3, 60);
  return Buffer.concat([header, names, symbols, sections]);
}

let folder: string;
let requirements: EnvoyRequirements;
let said: string;
let asked: number;
const launcher = {
  version: async (): Promise<string> => {
    asked++;
    return said;
  },
};

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'sidestep-probe-'));
  requirements = { binary: join(folder, 'envoy'), module: join(folder, 'identity.so'), version: '1.40.0', uid: 65534 };
  said = '/opt/envoy  version: 9e5580933739775e8bce696a57a2e1bc99368f23/1.40.0/Clean/RELEASE/BoringSSL\n';
  asked = 0;
  write('binary', elf([...CALLBACKS, 'main'], ['malloc']), 0o755);
  write('module', elf(HOOKS, [...CALLBACKS, 'getsockopt']), 0o644);
});

afterEach(() => rmSync(folder, { recursive: true }));

function write(which: 'binary' | 'module', bytes: Uint8Array, mode: number): void {
  writeFileSync(requirements[which], bytes);
  chmodSync(requirements[which], mode);
}

const probe = (changes: Partial<EnvoyRequirements> = {}): Promise<unknown> =>
  probeEnvoy({ ...requirements, ...changes }, launcher);
const refuses = (code: string, words: RegExp): object => ({
  code,
  message: expect.stringMatching(words),
  hint: expect.stringMatching(/./),
});

describe('an Envoy', () => {
  test('that fits is told by its version, and the module by its content', async () => {
    expect(await probe()).toEqual({ version: '1.40.0', moduleHash: expect.stringMatching(/^[0-9a-f]{64}$/) });
  });

  test('of any version that is not too old will do when none is asked for', async () => {
    said = said.replace('1.40.0', '1.41.2');
    expect(await probe({ version: undefined })).toMatchObject({ version: '1.41.2' });
    await expect(probe()).rejects.toMatchObject(refuses('ENVOY_VERSION', /is 1\.41\.2, wanted is 1\.40\.0$/));
    said = said.replace('1.41.2', '1.39.9');
    await expect(probe({ version: undefined })).rejects.toMatchObject(
      refuses('ENVOY_VERSION', /is 1\.39\.9, older than 1\.40$/),
    );
  });

  test.each([
    ['envoy  version: abc/1.40.0/Clean/RELEASE/BoringSSL', '1.40.0'],
    ['envoy  version: abc/1.41.0-dev/Modified/DEBUG/BoringSSL', '1.41.0-dev'],
  ])('says %j', (text, version) => {
    expect(parseVersion('envoy', text)).toBe(version);
  });

  test.each(['', 'Segmentation fault', 'v24.1.0'])('does not say %j', (text) => {
    expect(() => parseVersion('/opt/x', text)).toThrow(
      expect.objectContaining(refuses('ENVOY_MISSING', /\/opt\/x --version does not answer as Envoy does/)),
    );
  });

  test('that is not there, not a file or not to be run is missing', async () => {
    await expect(probe({ binary: join(folder, 'none') })).rejects.toMatchObject(
      refuses('ENVOY_MISSING', /none is not there$/),
    );
    await expect(probe({ binary: folder })).rejects.toMatchObject(refuses('ENVOY_MISSING', /is not a file$/));
    chmodSync(requirements.binary, 0o750);
    await expect(probe()).rejects.toMatchObject(refuses('ENVOY_MISSING', /may not be used by user 65534$/));
    expect(await probe({ uid: 0 })).toBeDefined();
    expect(await probe({ uid: statSync(requirements.binary).uid })).toBeDefined();
  });

  test('without dynamic symbols is of no use', async () => {
    write('binary', Buffer.from('#!/bin/sh\n'), 0o755);
    await expect(probe()).rejects.toMatchObject(refuses('ENVOY_VERSION', /the file is cut off$/));
  });
});

describe('the module', () => {
  test('that is not there is missing', async () => {
    rmSync(requirements.module);
    await expect(probe()).rejects.toMatchObject(refuses('ENVOY_MODULE_MISSING', /identity\.so is not there$/));
    expect(asked).toBe(0);
  });

  test('must be readable by the user of Envoy', async () => {
    chmodSync(requirements.module, 0o600);
    await expect(probe()).rejects.toMatchObject(refuses('ENVOY_MODULE_MISSING', /may not be used by user 65534$/));
  });

  test.each(CALLBACKS)('does not fit an Envoy without %s', async (name) => {
    write(
      'binary',
      elf(
        CALLBACKS.filter((each) => each !== name),
        [],
      ),
      0o755,
    );
    await expect(probe()).rejects.toMatchObject(
      refuses('ENVOY_MODULE_MISMATCH', new RegExp(`this Envoy does not offer ${name}$`)),
    );
  });

  test('does not fit an Envoy that lacks anything else it asks for', async () => {
    write('module', elf(HOOKS, [...CALLBACKS, 'envoy_dynamic_module_callback_of_tomorrow']), 0o644);
    await expect(probe()).rejects.toMatchObject(refuses('ENVOY_MODULE_MISMATCH', /_of_tomorrow$/));
  });

  test.each(HOOKS)('is none without %s', async (name) => {
    write(
      'module',
      elf(
        HOOKS.filter((each) => each !== name),
        CALLBACKS,
      ),
      0o644,
    );
    await expect(probe()).rejects.toMatchObject(refuses('ENVOY_MODULE_MISMATCH', new RegExp(`${name} is missing$`)));
  });

  test('must be for the same processor', async () => {
    write('module', elf(HOOKS, CALLBACKS, ARM), 0o644);
    await expect(probe()).rejects.toMatchObject(refuses('ENVOY_MODULE_MISMATCH', /another processor/));
  });

  test.each([
    ['empty', Buffer.alloc(0), /the file is cut off$/],
    ['not ELF', Buffer.alloc(200, 'x'), /it is not a 64-bit ELF file$/],
    ['cut off', elf(HOOKS, CALLBACKS).subarray(0, 300), /the file is cut off$/],
  ])('that is %s is none', async (_, bytes, words) => {
    write('module', bytes, 0o644);
    await expect(probe()).rejects.toMatchObject(refuses('ENVOY_MODULE_MISMATCH', words));
  });
});

test('symbols of a real program are read', () => {
  const { machine, undefined: missing } = readDynamicSymbols(process.execPath);
  expect([X86, ARM]).toContain(machine);
  expect([...missing].some((name) => name === 'malloc' || name === 'free')).toBe(true);
});

describe('the plan', () => {
  const plan = (options = { concurrency: 2, drainSeconds: 60, rejectUnknownFields: false }) =>
    planner(requirements, envoyPaths(folder), options, launcher);

  test('runs the binary once, and again when a file has changed', async () => {
    const again = plan();
    const first = await again();
    expect(await again()).toEqual(first);
    expect(asked).toBe(1);
    utimesSync(requirements.binary, 1, 1);
    await again();
    expect(asked).toBe(2);
    write('module', elf([...HOOKS, 'more'], CALLBACKS), 0o644);
    expect((await again()).identity.module).not.toBe(first.identity.module);
    expect(asked).toBe(3);
  });

  test('is another with another command line', async () => {
    const { identity } = await plan()();
    const more = await plan({ concurrency: 4, drainSeconds: 60, rejectUnknownFields: false })();
    expect(more.identity.configuration).not.toBe(identity.configuration);
    expect(more.identity).toMatchObject({
      binary: identity.binary,
      version: identity.version,
      module: identity.module,
    });
  });

  test('writes a configuration that Envoy’s user can read', async () => {
    const { command } = await plan()();
    const path = command.arguments[1] ?? '';
    expect(path).toBe(join(folder, 'envoy.json'));
    expect(statSync(path).mode & 0o777).toBe(0o644);
  });

  test('asks for strictness only where it is wanted', async () => {
    const strict = '--reject-unknown-dynamic-fields';
    expect((await plan()()).command.arguments).not.toContain(strict);
    const wanted = plan({ concurrency: 2, drainSeconds: 60, rejectUnknownFields: true });
    expect((await wanted()).command.arguments).toContain(strict);
  });
});
