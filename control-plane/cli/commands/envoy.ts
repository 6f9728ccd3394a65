/** `sidestep envoy status`: the Envoy of this node, which is there only while an HTTP rule needs it. */
import { type Command, Option } from 'commander';
import type { EnvoyView } from '../../envoy/status.ts';
import { withAgentOptions } from '../agent-options.ts';
import { getJson } from '../client.ts';
import { EXIT, type Io } from '../io.ts';

export function addEnvoyCommand(program: Command, io: Io): void {
  withAgentOptions(
    program
      .command('envoy')
      .description("the node's Envoy, which is there only while an HTTP rule needs it")
      .command('status')
      .description('whether it runs, since when, what it has taken of its configuration'),
  )
    .addOption(new Option('-o, --output <format>', 'how to print').choices(['text', 'json']).default('text'))
    .addHelpText(
      'after',
      '\nExamples:\n  sidestep envoy status\n  sidestep envoy status -o json | jq .state\n\nExit: 0 it is as it should be, 79 it is wanted and not ready, or refuses configuration, 1 no agent answers.',
    )
    .action(async (options: { instance: string; runDir?: string; output: string }) => {
      const view = await getJson<EnvoyView>({ instance: options.instance, runDir: options.runDir }, '/v1/envoy');
      io.out(options.output === 'json' ? `${JSON.stringify(view)}\n` : envoyText(view));
      io.setExitCode(isWell(view) ? EXIT.FINE : EXIT.FOUND);
    });
}

function isWell({ state, wanted, discovery }: EnvoyView): boolean {
  const behind = discovery.acknowledged !== discovery.revision;
  return wanted ? state === 'ready' && !behind : state !== 'failed';
}

export function envoyText(view: EnvoyView): string {
  const { discovery, lastFailure } = view;
  const running = view.pid === undefined ? '' : `  pid ${view.pid}, version ${view.version}, since ${view.startedAt}`;
  const rows = [
    ['Envoy', `${view.state}${running}`],
    ['Wanted', view.wanted ? `by ${discovery.rulesets} ruleset${discovery.rulesets === 1 ? '' : 's'}` : 'no'],
    ['Adopted', view.adopted ? 'started by an earlier agent' : 'no'],
    ['Restarts', String(view.restarts)],
    ['Revision', `${discovery.revision} served, ${discovery.acknowledged} acknowledged`],
  ];
  const lines = rows.map(([key = '', value = '']) => `${key.padEnd(10)}${value}`);
  if (view.retryAt !== undefined) lines.push(`Next try  ${view.retryAt}`);
  for (const { at, type, names, message } of discovery.refused)
    lines.push(`‼ ${at} refused ${names.join(', ')} (${type}): ${message}`);
  if (lastFailure) {
    lines.push(
      `Last failure ${lastFailure.at}: ${lastFailure.code}: ${lastFailure.message}`,
      `    ${lastFailure.hint}`,
    );
    for (const line of lastFailure.lastWords) lines.push(`    | ${line}`);
  }
  return `${lines.join('\n')}\n`;
}
