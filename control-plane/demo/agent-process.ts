/** An agent in a node's network namespace, seen from outside: started, killed, asked. */
import { closeSync, openSync, readFileSync } from 'node:fs';
import { request } from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';
import { SidestepError } from '../model/error.ts';
import { inside } from './namespaces.ts';
import { Child, type Exit, type RunResult, run } from './process.ts';

export interface AgentSettings {
  /** The program and its first arguments, e.g. ['/usr/bin/node', '/opt/sidestep/cli.js']. */
  readonly command: readonly string[];
  /** Namespace of the node. */
  readonly namespace: string;
  readonly node: string;
  readonly instance: string;
  readonly source: string;
  readonly stateDirectory: string;
  readonly logFile: string;
  readonly extraArguments?: readonly string[];
}

export interface Answer {
  readonly status: number;
  readonly body: string;
}

export class AgentProcess {
  readonly settings: AgentSettings;
  #child: Child | undefined;

  constructor(settings: AgentSettings) {
    this.settings = settings;
  }

  get socket(): string {
    return `/run/sidestep/${this.settings.instance}/agent.sock`;
  }

  /** nsenter turns into the agent, so this is the agent's own process id. */
  get pid(): number | undefined {
    return this.#child?.pid;
  }

  get running(): boolean {
    return this.#child !== undefined && !this.#child.ended;
  }

  /** The command line that `start` runs inside the node's namespace. */
  get commandLine(): readonly string[] {
    const { command, source, node, instance, stateDirectory, extraArguments = [] } = this.settings;
    const contract = [
      'agent',
      '--source',
      source,
      '--node',
      node,
      '--instance',
      instance,
      '--state-dir',
      stateDirectory,
    ];
    return [...command, ...contract, ...extraArguments];
  }

  /** Starts it and waits until it says it is ready. @throws AGENT_NOT_READY with the end of its log */
  async start(options: { timeoutMs?: number; signal?: AbortSignal } = {}): Promise<void> {
    this.spawn();
    await this.untilReady(options);
  }

  /** Starts it without waiting. */
  spawn(): void {
    const log = openSync(this.settings.logFile, 'a');
    try {
      this.#child = Child.start('nsenter', inside(this.settings.namespace, this.commandLine), ['ignore', log, log]);
    } finally {
      closeSync(log);
    }
  }

  async untilReady({ timeoutMs = 20_000, signal }: { timeoutMs?: number; signal?: AbortSignal } = {}): Promise<void> {
    const deadline = Date.now() + timeoutMs;
    for (;;) {
      signal?.throwIfAborted();
      const answer = await this.get('/readyz').catch(() => undefined);
      if (answer?.status === 200) return;
      if (!this.running) throw this.#notReady('it ended');
      if (Date.now() > deadline)
        throw this.#notReady(`${timeoutMs} ms passed; it answers ${answer?.body ?? 'nothing'}`);
      await delay(20);
    }
  }

  #notReady(why: string): SidestepError {
    return new SidestepError('AGENT_NOT_READY', `${why}. Its log ends:\n${this.log().slice(-2_000)}`, {
      path: this.settings.logFile,
    });
  }

  log(): string {
    return readFileSync(this.settings.logFile, 'utf8');
  }

  /** Asks the agent's API over its socket; rejects when nobody listens. */
  get(path: string): Promise<Answer> {
    return new Promise((resolve, reject) => {
      const asked = request({ socketPath: this.socket, path, timeout: 5_000, agent: false }, (response) => {
        let body = '';
        response.setEncoding('utf8');
        response.on('data', (text: string) => {
          body += text;
        });
        response.on('error', reject);
        response.on('end', () => resolve({ status: response.statusCode ?? 0, body }));
      });
      asked.on('timeout', () => asked.destroy(new Error('no answer within 5 s')));
      asked.on('error', reject);
      asked.end();
    });
  }

  /** Runs another command of the same program against this instance. */
  cli(args: readonly string[], options: { tolerate?: boolean } = {}): Promise<RunResult> {
    const [program = '', ...first] = this.settings.command;
    return run(program, [...first, ...args, '--instance', this.settings.instance], { ...options, timeoutMs: 20_000 });
  }

  /** kill -9, as the out-of-memory killer would. */
  async killHard(): Promise<void> {
    this.#child?.kill('SIGKILL');
    await this.#child?.exited;
  }

  async stop(): Promise<Exit | undefined> {
    return this.#child?.stop(5_000);
  }

  /** Lets our own process end while the agent goes on. */
  release(): void {
    this.#child?.release();
  }
}
