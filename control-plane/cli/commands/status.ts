/** `sidestep status`: what runs, how fresh, what is refused. */
import { type Command, Option } from 'commander';
import type { AgentStatus } from '../../agent/view.ts';
import { withAgentOptions } from '../agent-options.ts';
import { getJson } from '../client.ts';
import { EXIT, type Io } from '../io.ts';

export function addStatusCommand(program: Command, io: Io): void {
  withAgentOptions(program.command('status').description('what runs, how fresh it is, what is refused or degraded'))
    .addOption(new Option('-o, --output <format>', 'how to print').choices(['text', 'json']).default('text'))
    .addHelpText(
      'after',
      '\nExamples:\n  sidestep status\n  sidestep status -o json | jq .issues\n\nExit: 0 all is well, 79 something is refused or degraded, 1 no agent answers.',
    )
    .action(async (options: { instance: string; runDir?: string; output: string }) => {
      const status = await getJson<AgentStatus>({ instance: options.instance, runDir: options.runDir }, '/v1/status');
      io.out(options.output === 'json' ? `${JSON.stringify(status)}\n` : statusText(status));
      io.setExitCode(status.health === 'ready' ? EXIT.FINE : EXIT.FOUND);
    });
}

export function statusText(s: AgentStatus): string {
  const glyph = s.health === 'ready' ? '√' : '‼';
  const pressure = s.maps
    .filter((map) => map.pressure >= 0.5)
    .map((map) => `${map.name} ${Math.round(map.pressure * 100)} %`);
  const bypass = s.bypass.all
    ? 'ON for everything: policy refuses nothing'
    : s.bypass.namespaces.length > 0
      ? `ON for ${s.bypass.namespaces.join(', ')}`
      : 'off';
  const dropped = s.drops.reduce((sum, drop) => sum + drop.packets, 0);
  const rows: [string, string][] = [
    [
      'Agent',
      `${s.health} ${glyph}  version ${s.version}, pid ${s.pid}, node ${s.node}, instance ${s.instance}, since ${s.startedAt}`,
    ],
    [
      'Endpoints',
      `${s.endpoints.ready} ready${part(s.endpoints.degraded, 'degraded')}${part(s.endpoints.waiting, 'waiting')}  (${s.attach})`,
    ],
    [
      'Policies',
      `${s.policies.accepted} accepted${part(s.policies['last-good'], 'edited badly, last good version in force')}${part(s.policies.refused, 'refused')}`,
    ],
    [
      'Revision',
      `${s.revision.snapshot} compiled, ${s.revision.kernel} in force, ${s.writes.lastChange} writes for the last change`,
    ],
    [
      'Packets',
      `${s.forwarded.packets} passed, ${dropped} dropped${s.drops.length > 0 ? ` (${s.drops.map((d) => `${d.reason} ${d.direction.toLowerCase()} ${d.packets}`).join(', ')})` : ''}`,
    ],
    [
      'Flows',
      `${s.flows.stored} stored, ${s.flows.kept} kept, ${s.flows.lostInKernel} lost in the ring, ${s.flows.lostByFollowers} by slow followers`,
    ],
    ...namesRow(s),
    ['Bypass', bypass],
  ];
  if (pressure.length > 0) rows.push(['Tables', pressure.join(', ')]);
  const lines = rows.map(([key, value]) => `${key.padEnd(11)}${value}`);
  for (const { code, message, hint } of s.degraded) lines.push(`‼ ${code}: ${message}`, `    ${hint}`);
  for (const { code, message, origin, object, hint } of s.issues)
    lines.push(`‼ ${code}: ${object === '' ? '' : `${object}: `}${message} (${origin})`, `    ${hint}`);
  return `${lines.join('\n')}\n`;
}

/** While nobody is admitted by name there is nothing to say. */
function namesRow({ names: n }: AgentStatus): [string, string][] {
  if (!n.active) return [];
  const late = part(n.unlearned, 'went on before the kernel knew');
  return [
    [
      'Names',
      `${n.names} known, ${n.addresses} addresses${part(n.forgotten, 'forgotten for want of room')}; ${n.answers} DNS answers read, ${n.learned} waited for the kernel${late}; ${n.queries} queries judged, ${n.refused} refused`,
    ],
  ];
}

function part(count: number, word: string): string {
  return count === 0 ? '' : `, ${count} ${word}`;
}
