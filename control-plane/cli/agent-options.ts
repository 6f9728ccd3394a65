/** Which agent does a command ask? The same two options everywhere, and the environment's names for them are the agent's own. */
import { type Command, Option } from 'commander';

/** `--instance`, or SIDESTEP_INSTANCE. */
export function instanceOption(): Option {
  return new Option('--instance <name>', 'instance of the agent').default('default').env('SIDESTEP_INSTANCE');
}

/** And where its socket is. */
export function withAgentOptions(command: Command): Command {
  return command
    .addOption(instanceOption())
    .addOption(new Option('--run-dir <path>', "folder of the agent's socket").env('SIDESTEP_RUN_DIR'));
}
