/** `sidestep`: the commands. Each module is small and loads what it needs only when it runs. */
import { Command, CommanderError, Option } from 'commander';
import { SidestepError } from '../model/error.ts';
import { addAgentCommand } from './commands/agent.ts';
import { addAuthCommands } from './commands/auth.ts';
import { addBypassCommand } from './commands/bypass.ts';
import { addCheckCommand } from './commands/check.ts';
import { addDemoCommand } from './commands/demo.ts';
import { addEnvoyCommand } from './commands/envoy.ts';
import { addListCommands } from './commands/list.ts';
import { addObserveCommand } from './commands/observe.ts';
import { addPolicyCommands } from './commands/policy.ts';
import { addStatusCommand } from './commands/status.ts';
import { addUninstallCommand } from './commands/uninstall.ts';
import { EXIT, processIo } from './io.ts';
import { version } from './version.ts';

const io = processIo();
const program = new Command('sidestep')
  .description('A service mesh without sidecars: the kernel decides by identity and says why.')
  .version(version(), '--version', 'print the version')
  .showHelpAfterError('(add --help for the options)')
  .configureOutput({ writeOut: io.out, writeErr: io.err })
  .exitOverride()
  .addHelpText(
    'after',
    '\nExamples:\n  sidestep demo                     # see it work, no cluster needed\n  sidestep check                    # can this machine run it?\n  sidestep observe --follow         # what happens, and which policy decided\n  sidestep policy check -f manifests --from shop/web --to shop/api --port 8080/TCP',
  );

addDemoCommand(program, io);
addAgentCommand(program, io);
addCheckCommand(program, io);
addStatusCommand(program, io);
addObserveCommand(program, io);
addPolicyCommands(program, io);
addListCommands(program, io);
addEnvoyCommand(program, io);
addAuthCommands(program, io);
addBypassCommand(program, io);
addUninstallCommand(program, io);
program
  .command('version')
  .description('print the version')
  .addOption(new Option('-o, --output <format>', 'how to print').choices(['text', 'json']).default('text'))
  .action((options: { output: string }) =>
    io.out(
      options.output === 'json'
        ? `${JSON.stringify({ version: version(), node: process.version })}\n`
        : `sidestep ${version()}\n`,
    ),
  );
for (const command of program.commands) inherit(command);

/** Subcommands made before exitOverride was set do not have it. */
function inherit(command: Command): void {
  command.exitOverride();
  for (const child of command.commands) inherit(child);
}

try {
  await program.parseAsync();
} catch (error) {
  report(error);
}

function report(error: unknown): void {
  if (error instanceof CommanderError) {
    // Help and version are no failures; commander has printed the rest.
    io.setExitCode(error.exitCode === 0 ? EXIT.FINE : EXIT.USAGE);
    return;
  }
  if (!(error instanceof SidestepError)) throw error;
  const json = process.argv.some(
    (word, i) => /^(-o|--output)=?json/.test(word) || (/^(-o|--output)$/.test(word) && process.argv[i + 1] === 'json'),
  );
  io.err(
    json
      ? `${JSON.stringify({ error: error.toJSON() })}\n`
      : `error[${error.code}]: ${error.message}\nhint: ${error.hint}\n`,
  );
  const input = ['USAGE', 'CONFIG_INVALID'].includes(error.code)
    ? EXIT.USAGE
    : ['INPUT_INVALID', 'FIELD_INVALID', 'YAML_MALFORMED', 'SOURCE_UNREADABLE'].includes(error.code)
      ? EXIT.BAD_INPUT
      : EXIT.FAILED;
  io.setExitCode(input);
}
