/** `sidestep check`: can this machine run it, and what is degraded here. */
import { release } from 'node:os';
import { type Command, Option } from 'commander';
import type { CheckResult } from '../../check/checks.ts';
import type { Kernel } from '../../datapath/kernel.ts';
import type { Io } from '../io.ts';

/** Small: they are gone at once. */
const SIZES = {
  flows: 1024,
  policyEntries: 1024,
  ipcache: 1024,
  prefixes: 1024,
  endpoints: 16,
  flowQuota: 1024,
  ringBytes: 65536,
} as const;

const GLYPHS = { ok: '√', warning: '‼', failed: '×' } as const;

export function addCheckCommand(program: Command, io: Io): void {
  program
    .command('check')
    .description('can this machine run Sidestep, and what is lost where it can only in part')
    .option('--pre', 'before an installation (the same checks; the agent need not run)')
    .addOption(new Option('-o, --output <format>', 'how to print').choices(['table', 'json']).default('table'))
    .addHelpText(
      'after',
      '\nExamples:\n  sidestep check --pre\n  sidestep check -o json | jq .ok\n\nExit: 0 fine, 1 it cannot run here, 79 it can, with something less.',
    )
    .action(async (options: { output: string }) => {
      const [{ runChecks }, { openKernel }, { findObject, loadDatapath }, { installedWireGuard }, { TUN }] =
        await Promise.all([
          import('../../check/checks.ts'),
          import('../../datapath/addon.ts'),
          import('../../datapath/load.ts'),
          import('../../agent/installed.ts'),
          import('../../encryption/probe.ts'),
        ]);
      const results = await runChecks({
        platform: process.platform,
        release: release(),
        uid: process.getuid?.() ?? -1,
        nodeVersion: process.version,
        openKernel,
        wireguard: process.env['SIDESTEP_WIREGUARD'] ?? installedWireGuard(),
        tun: TUN,
        findObject: () => findObject(import.meta.dirname),
        tryPrograms: (kernel, path) => {
          loadDatapath(kernel, path, undefined, SIZES, kernel.features().coarseClock).object.close();
        },
        probeEnvoy: probe,
      });
      const failed = results.some((r) => r.result === 'failed');
      const warned = results.some((r) => r.result === 'warning');
      io.out(options.output === 'json' ? `${JSON.stringify({ ok: !failed, checks: results })}\n` : table(results));
      io.setExitCode(failed ? 1 : warned ? 79 : 0);
    });
}

/** The one that the agent would start, asked for its version as the agent asks. */
async function probe(kernel: Kernel): Promise<string> {
  const [{ probeEnvoy }, { ProcessLauncher, NOBODY }, { installedEnvoy, installedModule }, { envoyPaths }] =
    await Promise.all([
      import('../../envoy/probe.ts'),
      import('../../envoy/launcher.ts'),
      import('../../envoy/installed.ts'),
      import('../../envoy/paths.ts'),
    ]);
  const launcher = new ProcessLauncher({
    spawn: (program, args, options) => kernel.spawn(program, args, options),
    reap: ({ pid, startTime }) => kernel.waitPid(pid, startTime),
    // Nothing is started there: a version needs no folder.
    paths: envoyPaths('/run/sidestep'),
    cgroup: undefined,
  });
  const binary = process.env['SIDESTEP_ENVOY'] ?? installedEnvoy();
  const module = process.env['SIDESTEP_ENVOY_MODULE'] ?? installedModule();
  const { version } = await probeEnvoy({ binary, module, version: undefined, uid: NOBODY }, launcher);
  return `Envoy ${version}`;
}

function table(results: readonly CheckResult[]): string {
  const lines: string[] = [];
  for (const category of new Set(results.map((result) => result.category))) {
    lines.push(category, '-'.repeat(category.length));
    for (const r of results.filter((one) => one.category === category)) {
      lines.push(`${GLYPHS[r.result]} ${r.name}${r.detail ? ` (${r.detail})` : ''}`);
      if (r.hint) lines.push(`    ${r.hint}`);
    }
    lines.push('');
  }
  const bad = results.filter((r) => r.result === 'failed').length;
  lines.push(
    bad === 0 ? 'Status: this machine can run Sidestep √' : `Status: ${bad} of ${results.length} checks failed ×`,
  );
  return `${lines.join('\n')}\n`;
}
