/** `sidestep bypass`: break glass. Writes the pinned table itself, so it works with the agent dead. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { SidestepError } from '../../model/error.ts';
import { instanceOption } from '../agent-options.ts';
import type { Io } from '../io.ts';

interface Options {
  readonly instance: string;
  readonly namespace?: string;
  readonly bpffs: string;
  readonly output: string;
}

function state(value: string): 'on' | 'off' {
  if (value !== 'on' && value !== 'off') throw new InvalidArgumentError('on or off');
  return value;
}

export function addBypassCommand(program: Command, io: Io): void {
  program
    .command('bypass')
    .description('break glass: switch enforcement off (flows say so), or on again')
    .argument('<state>', 'on: policy refuses nothing; off: policy is in force', state)
    .addOption(instanceOption())
    .option('-n, --namespace <name>', 'only workloads of this namespace')
    .option('--bpffs <path>', 'bpf file system', '/sys/fs/bpf')
    .addOption(new Option('-o, --output <format>', 'how to print').choices(['text', 'json']).default('text'))
    .addHelpText(
      'after',
      '\nExamples:\n  sidestep bypass on                  # everything passes, at once\n  sidestep bypass --namespace shop on\n  sidestep bypass off\n\nSource addresses are still checked. Live flows are judged again at their next packet.',
    )
    .action(async (value: 'on' | 'off', options: Options) => {
      const [{ openKernel }, { pinsOf }, { setBypass }] = await Promise.all([
        import('../../datapath/addon.ts'),
        import('../../datapath/pins.ts'),
        import('../../datapath/bypass.ts'),
      ]);
      const path = join(pinsOf(options.bpffs, options.instance).maps, 'bypass');
      if (!existsSync(path))
        throw new SidestepError('NOT_FOUND', `instance ${options.instance} is not installed in this kernel`, {
          hint: 'Nothing is enforced, so there is nothing to bypass.',
        });
      const map = openKernel().openMap(path);
      setBypass(map, options.namespace, value === 'on');
      map.close();
      const scope = options.namespace === undefined ? 'all namespaces' : `namespace ${options.namespace}`;
      io.out(
        options.output === 'json'
          ? `${JSON.stringify({ instance: options.instance, namespace: options.namespace ?? null, bypass: value })}\n`
          : `bypass is ${value} for ${scope} (instance ${options.instance})${value === 'on' ? ': policy refuses nothing' : ''}\n`,
      );
    });
}
