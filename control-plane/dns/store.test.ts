import { appendFileSync, mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { NameFile } from './store.ts';

const A = '00000000000000000000ffffc0000201';
const B = '00000000000000000000ffffc0000202';
let folder: string;
let path: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'names-'));
  path = join(folder, 'state', 'names.jsonl');
});
afterEach(() => rmSync(folder, { recursive: true }));

describe('names in a file', () => {
  it('are read as they were written, and as they were changed since', () => {
    new NameFile(path).write([
      ['a.example', [[A, 5]]],
      ['b.example', [[A, 6]]],
    ]);
    const file = new NameFile(path);
    file.append([
      'a.example',
      [
        [A, 5],
        [B, 9],
      ],
    ]);
    expect(new NameFile(path).read()).toEqual([
      ['b.example', [[A, 6]]],
      [
        'a.example',
        [
          [A, 5],
          [B, 9],
        ],
      ],
    ]);
    expect(statSync(path).mode & 0o777).toBe(0o600);
  });

  it('what was cut off, or is none, is left out', () => {
    const file = new NameFile(path);
    expect(file.read()).toEqual([]);
    file.write([['a.example', [[A, 5]]]]);
    appendFileSync(path, '["b.example",[["xyz",1]]]\nnonsense\n["c.example",[["0000');
    expect(file.read()).toEqual([['a.example', [[A, 5]]]]);
  });

  it('is to be written anew when most of it says nothing any more', () => {
    const file = new NameFile(path);
    file.write([]);
    let anew = 0;
    for (let i = 0; i < 10_001; i++) if (file.append(['a.example', [[A, i]]])) anew++;
    expect(anew).toBe(1);
    expect(file.read()).toEqual([['a.example', [[A, 10_000]]]]);
  });
});
