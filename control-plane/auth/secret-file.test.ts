import { chmodSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import { GROUP_AND_OTHERS, makeSecretFolder, OTHERS, readSecretFile, writeSecretFile } from './secret-file.ts';

let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'sidestep-secret-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
});

describe('a secret file', () => {
  it('is for its owner alone, whatever was there before', () => {
    const path = join(folder, 'key');
    writeFileSync(path, 'old', { mode: 0o644 });
    writeFileSync(`${path}.new`, 'left by a crash', { mode: 0o666 });
    writeSecretFile(path, 'new');
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(readSecretFile(path, GROUP_AND_OTHERS)).toBe('new');
    expect(readdirSync(folder)).toEqual(['key']);
  });

  it.each([
    [0o600, GROUP_AND_OTHERS, true],
    [0o400, GROUP_AND_OTHERS, true],
    [0o640, GROUP_AND_OTHERS, false],
    [0o640, OTHERS, true],
    [0o604, OTHERS, false],
    [0o602, OTHERS, false],
  ])('of mode %o, with %o forbidden, is read: %s', (mode, forbidden, isRead) => {
    const path = join(folder, 'key');
    writeFileSync(path, 'secret');
    chmodSync(path, mode);
    const read = () => readSecretFile(path, forbidden);
    if (isRead) expect(read()).toBe('secret');
    else expect(read).toThrow(`${path} has mode 0${mode.toString(8)}`);
  });

  it('is judged by where its link leads', () => {
    writeFileSync(join(folder, 'real'), 'secret');
    chmodSync(join(folder, 'real'), 0o644);
    symlinkSync('real', join(folder, 'key'));
    expect(() => readSecretFile(join(folder, 'key'), OTHERS)).toThrow('has mode 0644');
  });

  it('has a folder for its owner alone, too', () => {
    const path = join(folder, 'a', 'b');
    mkdirSync(path, { recursive: true, mode: 0o755 });
    makeSecretFolder(path);
    expect(statSync(path).mode & 0o777).toBe(0o700);
    expect(() => makeSecretFolder(join(folder, 'a', 'b', '\0'))).toThrow('cannot be made');
  });
});
