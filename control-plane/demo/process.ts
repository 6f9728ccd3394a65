/** Runs other programs for the demo and the whole-system tests: they play the CNI and the workloads. The agent never does. */
import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { SidestepError } from '../model/error.ts';

export interface RunResult {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunOptions {
  readonly input?: string;
  readonly timeoutMs?: number;
  /** Answer a non-zero exit with its result instead of an error. */
  readonly tolerate?: boolean;
}

/**
 * Runs a program to its end. In a session of its own, so that Ctrl-C reaches only us and we decide what ends when.
 * @throws TOOL_MISSING, TOOL_FAILED
 */
export function run(program: string, args: readonly string[], options: RunOptions = {}): Promise<RunResult> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, {
      detached: true,
      stdio: 'pipe',
      timeout: options.timeoutMs,
      killSignal: 'SIGKILL',
    });
    const stdout: Buffer[] = [];
    const stderr: Buffer[] = [];
    child.stdout.on('data', (chunk: Buffer) => stdout.push(chunk));
    child.stderr.on('data', (chunk: Buffer) => stderr.push(chunk));
    child.on('error', (cause) => reject(startFailed(program, cause)));
    child.on('close', (code, signal) => {
      const result = { code: code ?? -1, stdout: String(Buffer.concat(stdout)), stderr: String(Buffer.concat(stderr)) };
      if (result.code === 0 || options.tolerate) return resolve(result);
      const ending = signal === null ? `exit ${result.code}` : `ended by ${signal}`;
      reject(new SidestepError('TOOL_FAILED', `${program} ${args.join(' ')}: ${ending}: ${result.stderr.trim()}`));
    });
    // A program that ends without reading its input is judged by its exit, not by the broken pipe.
    child.stdin.on('error', () => undefined);
    child.stdin.end(options.input ?? '');
  });
}

function startFailed(program: string, cause: unknown): SidestepError {
  return new SidestepError('TOOL_MISSING', `${program} cannot be started`, { cause });
}

export interface Exit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** A program that keeps running and speaks in lines on stdout. */
export class Child {
  readonly pid: number;
  readonly exited: Promise<Exit>;
  readonly #process: ChildProcess;
  readonly #lines: string[] = [];
  readonly #watchers = new Set<() => void>();
  #stderr = '';
  #exit: Exit | undefined;

  private constructor(child: ChildProcess, pid: number) {
    this.pid = pid;
    this.#process = child;
    this.exited = new Promise((resolve) => {
      child.on('close', (code, signal) => {
        this.#exit = { code, signal };
        resolve(this.#exit);
        this.#changed();
      });
    });
    if (child.stdout !== null) {
      createInterface({ input: child.stdout }).on('line', (line) => {
        this.#lines.push(line);
        this.#changed();
      });
    }
    child.stderr?.on('data', (chunk: Buffer) => {
      this.#stderr += String(chunk);
    });
    child.stdin?.on('error', () => undefined);
  }

  /** @throws TOOL_MISSING */
  static start(
    program: string,
    args: readonly string[],
    stdio: 'pipe' | ['pipe' | 'ignore', number, number] = 'pipe',
  ): Child {
    const child = spawn(program, args, { detached: true, stdio });
    if (child.pid === undefined) {
      child.on('error', () => undefined);
      throw startFailed(program, undefined);
    }
    return new Child(child, child.pid);
  }

  get lines(): readonly string[] {
    return this.#lines;
  }

  get stderr(): string {
    return this.#stderr;
  }

  get ended(): boolean {
    return this.#exit !== undefined;
  }

  /**
   * The first line, from number `from` on, that `wanted` accepts; one that is already there counts.
   * @throws TOOL_FAILED when the program ends or `timeoutMs` pass without it
   */
  async waitForLine(
    wanted: (line: string) => boolean,
    options: { from?: number; timeoutMs?: number } = {},
  ): Promise<string> {
    let next = options.from ?? 0;
    const timeoutMs = options.timeoutMs ?? 10_000;
    return this.#until(timeoutMs, () => {
      for (; next < this.#lines.length; next++) {
        const line = this.#lines[next];
        if (line !== undefined && wanted(line)) return line;
      }
      return undefined;
    });
  }

  #until<T>(timeoutMs: number, look: () => T | undefined): Promise<T> {
    return new Promise((resolve, reject) => {
      const settle = (act: () => void): void => {
        clearTimeout(timer);
        this.#watchers.delete(check);
        act();
      };
      const fail = (why: string): void =>
        settle(() => reject(new SidestepError('TOOL_FAILED', `process ${this.pid} ${why}; it said: ${this.#tail()}`)));
      const check = (): void => {
        const found = look();
        if (found !== undefined) settle(() => resolve(found));
        else if (this.#exit !== undefined) fail(`ended (${this.#exit.code ?? this.#exit.signal})`);
      };
      const timer = setTimeout(() => fail(`did not say what was awaited within ${timeoutMs} ms`), timeoutMs);
      this.#watchers.add(check);
      check();
    });
  }

  #tail(): string {
    return [...this.#lines.slice(-5), this.#stderr.slice(-1000)].join('\n').trim();
  }

  #changed(): void {
    for (const watcher of [...this.#watchers]) watcher();
  }

  write(text: string): void {
    this.#process.stdin?.write(text);
  }

  endInput(): void {
    this.#process.stdin?.end();
  }

  kill(signal: NodeJS.Signals): void {
    if (this.#exit === undefined) this.#process.kill(signal);
  }

  /** SIGTERM, after `graceMs` SIGKILL; ends when the process has. */
  async stop(graceMs = 3_000): Promise<Exit> {
    this.kill('SIGTERM');
    const timer = setTimeout(() => this.kill('SIGKILL'), graceMs);
    const exit = await this.exited;
    clearTimeout(timer);
    return exit;
  }

  /** Lets our own process end while this one goes on: the pipes between the two would keep it. */
  release(): void {
    this.#process.unref();
    for (const stream of [this.#process.stdin, this.#process.stdout, this.#process.stderr]) stream?.destroy();
  }
}
