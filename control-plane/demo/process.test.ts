import { expect, test } from 'vitest';
import { Child, run } from './process.ts';

test('run hands over input and gives back output', async () => {
  expect(await run('cat', [], { input: 'hello' })).toEqual({ code: 0, stdout: 'hello', stderr: '' });
});

test('a program that fails is an error with its own words, unless that is tolerated', async () => {
  await expect(run('sh', ['-c', 'echo broken >&2; exit 3'])).rejects.toMatchObject({
    code: 'TOOL_FAILED',
    message: expect.stringContaining('broken'),
  });
  expect(await run('sh', ['-c', 'exit 3'], { tolerate: true })).toMatchObject({ code: 3 });
});

test('a program that is not installed is named', async () => {
  await expect(run('no-such-program', [])).rejects.toMatchObject({ code: 'TOOL_MISSING' });
  expect(() => Child.start('no-such-program', [])).toThrow('no-such-program');
});

test('a line that is there already is found, and from a later one on only later ones', async () => {
  const child = Child.start('sh', ['-c', 'echo one; read go; echo two; read end']);
  expect(await child.waitForLine((line) => line === 'one')).toBe('one');
  expect(await child.waitForLine((line) => line === 'one')).toBe('one');
  child.write('go\n');
  expect(await child.waitForLine(() => true, { from: 1 })).toBe('two');
  expect(await child.stop()).toMatchObject({ signal: 'SIGTERM' });
});

test('waiting ends with the program, with its last words', async () => {
  const child = Child.start('sh', ['-c', 'echo farewell']);
  await expect(child.waitForLine((line) => line === 'never')).rejects.toThrow('farewell');
});
