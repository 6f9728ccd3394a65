/** `sidestep demo`: the tour. It plays the CNI and the workloads; the agent it starts is the ordinary one. */
import { createInterface } from 'node:readline';
import { type Command, Option } from 'commander';
import { sweep } from '../../demo/cleanup.ts';
import { readLinks } from '../../demo/links.ts';
import { jsonNarrator, type Narrator, textNarrator } from '../../demo/narrator.ts';
import { type DemoSettings, runDemo } from '../../demo/run.ts';
import { ask, type RequestOutcome, serve } from '../../demo/workload.ts';
import type { Io } from '../io.ts';

interface DemoOptions {
  readonly keep?: true;
  readonly clean?: true;
  readonly step?: true;
  readonly act?: string;
  readonly policy?: string;
  readonly httpPolicy?: string;
  readonly authenticationPolicy?: string;
  readonly output: 'text' | 'json';
}

/** Exit codes as a shell gives them to a program that a signal ended. */
const SIGNALS = { SIGHUP: 129, SIGINT: 130, SIGTERM: 143 } as const;

/** Adds `demo`, and the hidden `demo-workload` that it runs inside its workloads. */
export function addDemoCommand(program: Command, io: Io): void {
  program
    .command('demo')
    .description('Watch the kernel admit one workload, refuse another, and say why')
    .option('--keep', 'leave everything running and say what to try')
    .option('--clean', 'remove what demos have left, kept ones included, and do nothing else')
    .option('--step', 'wait for Enter before each act')
    .addOption(new Option('--act <number>', 'play only this act').choices(['1', '2', '3', '4', '5']))
    .option('--policy <file>', 'use this policy in act 2')
    .option('--http-policy <file>', 'use this policy in act 4')
    .option('--authentication-policy <file>', 'use this policy in act 5')
    .addOption(
      new Option('-o, --output <format>', 'text, or json: one object a line').choices(['text', 'json']).default('text'),
    )
    .addHelpText('after', '\nExample:\n  $ sidestep demo --step')
    .action((options: DemoOptions) => demo(options, io));
  addWorkloadCommand(program, io);
}

async function demo(options: DemoOptions, io: Io): Promise<void> {
  const write = (text: string): void => io.out(text);
  const narrator = options.output === 'json' ? jsonNarrator(write) : textNarrator(write, io.color);
  const command = ownCommand();
  if (options.clean) {
    const removed = await sweep(command, { kept: true });
    for (const instance of removed) io.err(`removed ${instance}\n`);
    return;
  }
  const interruption = listenForSignals(io);
  try {
    const passed = await runDemo(
      {
        command,
        keep: options.keep ?? false,
        act: options.act === undefined ? undefined : Number(options.act),
        policyFile: options.policy,
        httpPolicyFile: options.httpPolicy,
        authenticationPolicyFile: options.authenticationPolicy,
        beforeAct: options.step ? (act, signal) => enterPressed(act, signal, narrator) : async () => undefined,
        ...(await kernelMeans()),
        signal: interruption.signal,
      },
      narrator,
    );
    if (!passed) io.setExitCode(1);
  } catch (error) {
    const { caught } = interruption;
    if (caught === undefined) throw error;
    io.err(`${caught}: cleaned up\n`);
    io.setExitCode(SIGNALS[caught]);
  } finally {
    interruption.close();
    // An input that somebody holds open must not hold us.
    if (options.step) process.stdin.destroy();
  }
}

/** How this very program was started, so that agent and workloads are it, too: from sources or from the bundle. */
function ownCommand(): readonly string[] {
  return [process.execPath, process.argv[1] ?? ''];
}

interface Interruption {
  readonly signal: AbortSignal;
  readonly caught: keyof typeof SIGNALS | undefined;
  close(): void;
}

/**
 * Catches the first signal and every one after it until `close`: impatience must not cut the cleaning short.
 * A reader that went away (`sidestep demo | head -3`) counts as a hang-up.
 */
function listenForSignals(io: Io): Interruption {
  const controller = new AbortController();
  let caught: keyof typeof SIGNALS | undefined;
  const names = Object.keys(SIGNALS) as (keyof typeof SIGNALS)[];
  const catchIt = (name: keyof typeof SIGNALS): void => {
    if (caught !== undefined) return;
    caught = name;
    controller.abort();
    io.err('\nCleaning up …\n');
  };
  const handlers = names.map((name) => {
    const handle = (): void => catchIt(name);
    process.on(name, handle);
    return () => process.off(name, handle);
  });
  for (const stream of [process.stdout, process.stderr]) stream.on('error', () => catchIt('SIGHUP'));
  return {
    signal: controller.signal,
    get caught() {
      return caught;
    },
    close: () => {
      for (const remove of handlers) remove();
    },
  };
}

/** The addon is loaded only here: `demo --clean` and the workloads work without it. */
async function kernelMeans(): Promise<Pick<DemoSettings, 'readLinks' | 'openTap'>> {
  const { openKernel } = await import('../../datapath/addon.ts');
  const kernel = openKernel();
  return {
    readLinks: (folder) => readLinks(kernel, folder),
    openTap: (name, events) => kernel.openTap(name, events),
  };
}

function enterPressed(act: number, signal: AbortSignal, narrator: Narrator): Promise<void> {
  narrator.waiting(act);
  const lines = createInterface({ input: process.stdin, signal });
  return new Promise((resolve) => {
    lines.once('line', () => lines.close());
    lines.once('close', () => {
      process.stdin.pause();
      resolve();
    });
  });
}

interface WorkloadOptions {
  readonly port?: string;
  readonly url?: string;
  readonly count?: string;
  readonly interval?: string;
  readonly timeout?: string;
  readonly keepAlive?: true;
  readonly method?: string;
}

function addWorkloadCommand(program: Command, io: Io): void {
  program
    .command('demo-workload <role>', { hidden: true })
    .option('--port <port>')
    .option('--url <url>')
    .option('--count <number>')
    .option('--interval <milliseconds>')
    .option('--timeout <milliseconds>')
    .option('--keep-alive')
    .option('--method <method>')
    .action(async (role: string, options: WorkloadOptions) => {
      if (role === 'serve') await serve(Number(options.port), terminated(), () => io.out('listening\n'));
      else await askUntilInputEnds(options, io);
    });
}

/** A client ends with the demo, even with one that was killed: then its input ends. */
async function askUntilInputEnds(options: WorkloadOptions, io: Io): Promise<void> {
  const ended = new AbortController();
  process.stdin.on('end', () => ended.abort()).resume();
  const settings = {
    url: options.url ?? '',
    count: options.count === undefined ? undefined : Number(options.count),
    intervalMs: Number(options.interval),
    timeoutMs: Number(options.timeout),
    keepAlive: options.keepAlive ?? false,
    method: options.method ?? 'GET',
  };
  await ask(settings, ended.signal, (outcome: RequestOutcome) => io.out(`${JSON.stringify(outcome)}\n`));
  process.stdin.destroy();
}

function terminated(): AbortSignal {
  const controller = new AbortController();
  process.once('SIGTERM', () => controller.abort());
  return controller.signal;
}
