/** `sidestep agent`: the node agent, in the foreground. */
import { type Command, Option } from 'commander';
import { flagOf, OPTION_NAMES, OPTIONS, variableOf } from '../../agent/config.ts';
import type { Io } from '../io.ts';
import { version } from '../version.ts';

export function addAgentCommand(program: Command, io: Io): void {
  const command = program
    .command('agent')
    .description('run the node agent: watch manifests, keep the kernel in step, answer `observe`')
    .option(
      '--config <file>',
      'YAML file with options by name; environment and flags come after it',
      process.env['SIDESTEP_CONFIG'],
    );
  for (const name of OPTION_NAMES) {
    const { text, default: value } = OPTIONS[name];
    // The text of `node` says it in words: help must read the same on every machine.
    const silent = value === undefined || name === 'node' || (Array.isArray(value) && value.length === 0);
    const shown = silent ? '' : ` (default ${value})`;
    command.addOption(new Option(`--${flagOf(name)} <value>`, `${text}${shown} [${variableOf(name)}]`));
  }
  command
    .addHelpText(
      'after',
      '\nExamples:\n  sidestep agent --source /etc/sidestep/manifests --node worker-1\n  sidestep agent --source . --instance lab --state-dir /tmp/lab --metrics-address 127.0.0.1:9962\n\nSIGTERM ends the agent; the kernel keeps enforcing what it was last told. `sidestep uninstall` takes everything away.',
    )
    .action(async (options: Record<string, unknown>) => run(options, io));
}

async function run(options: Record<string, unknown>, io: Io): Promise<void> {
  const [{ loadConfig }, { createLog }, { startAgent }, { openKernel }] = await Promise.all([
    import('../../agent/config.ts'),
    import('../../agent/log.ts'),
    import('../../agent/agent.ts'),
    import('../../datapath/addon.ts'),
  ]);
  const { config: file, ...flags } = options;
  const loaded = loadConfig(flags, process.env, typeof file === 'string' ? file : undefined);
  const log = await createLog(loaded.config, process.stderr.isTTY === true);
  const agent = await startAgent({ loaded, version: version(), log, openKernel });
  await new Promise<void>((resolve) => {
    for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.once(signal, () => resolve());
  });
  await agent.close();
  io.setExitCode(0);
}
