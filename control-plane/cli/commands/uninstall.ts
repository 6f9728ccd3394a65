/** `sidestep uninstall`: the node as before. */
import { rmSync } from 'node:fs';
import { type Command, Option } from 'commander';
import { instanceOption } from '../agent-options.ts';
import type { Io } from '../io.ts';

interface Options {
  readonly instance: string;
  readonly bpffs: string;
  readonly stateDir?: string;
  readonly runDir?: string;
  readonly output: string;
}

export function addUninstallCommand(program: Command, io: Io): void {
  program
    .command('uninstall')
    .description('stop the agent of an instance and take everything of it out of the kernel')
    .addOption(instanceOption())
    .option('--bpffs <path>', 'bpf file system', '/sys/fs/bpf')
    .option('--state-dir <path>', 'the state folder the agent was given (default /var/lib/sidestep/<instance>)')
    .option('--run-dir <path>', 'the folder of its sockets (default /run/sidestep/<instance>)')
    .addOption(new Option('-o, --output <format>', 'how to print').choices(['text', 'json']).default('text'))
    .addHelpText(
      'after',
      '\nExamples:\n  sidestep uninstall\n  sidestep uninstall --instance demo -o json\n\nRun it in the network namespace the agent ran in. Doing it twice is fine.',
    )
    .action(async (options: Options) => {
      const [{ openKernel }, { pinsOf }, { uninstallDatapath }, { stopAgent }] = await Promise.all([
        import('../../datapath/addon.ts'),
        import('../../datapath/pins.ts'),
        import('../../datapath/uninstall.ts'),
        import('../../agent/stop.ts'),
      ]);
      const runDir = options.runDir ?? `/run/sidestep/${options.instance}`;
      const stateDir = options.stateDir ?? `/var/lib/sidestep/${options.instance}`;
      const stopped = await stopAgent(runDir);
      const { endEnvoy } = await import('../../envoy/end.ts');
      const { removeTunnel } = await import('../../encryption/uninstall.ts');
      const { cgroupIfAny } = await import('../../process/cgroup.ts');
      const { removeSteering } = await import('../../datapath/steering.ts');
      const { removeMeshNode } = await import('../../sources/mesh-node-file.ts');
      const kernel = openKernel();
      const pins = pinsOf(options.bpffs, options.instance);
      const envoy = await endEnvoy(runDir, options.instance);
      removeSteering(kernel, pins, options.instance, stateDir);
      const removed = uninstallDatapath(kernel, pins);
      // After the hooks: while they stand, what must be encrypted is refused; without its rule it would go out in the clear.
      const tunnel = await removeTunnel({
        kernel,
        instance: options.instance,
        runDir,
        cgroup: cgroupIfAny(options.instance, 'tunnel'),
      });
      const announced = removeMeshNode(stateDir);
      rmSync(runDir, { recursive: true, force: true });
      rmSync(stateDir, { recursive: true, force: true });
      io.out(
        options.output === 'json'
          ? `${JSON.stringify({ instance: options.instance, stoppedPid: stopped ?? null, envoyPid: envoy ?? null, tunnel, announced, ...removed })}\n`
          : `${stopped === undefined ? 'no agent was running' : `agent ${stopped} stopped`}${envoy === undefined ? '' : `, Envoy ${envoy} ended`}${tunnel ? ', the tunnel taken down' : ''}${announced ? ', its SidestepNode removed' : ''}; ${removed.links} hooks and ${removed.maps} tables removed (instance ${options.instance})\n`,
      );
    });
}
