/** `sidestep endpoint list`, `identity list`, `fqdn list`: what the agent knows, as tables. */
import { type Command, Option } from 'commander';
import type { NameRow } from '../../agent/naming-plane.ts';
import type { EndpointRow, IdentityRow } from '../../agent/view.ts';
import { align } from '../../observe/format.ts';
import { withAgentOptions } from '../agent-options.ts';
import { getJson } from '../client.ts';
import type { Io } from '../io.ts';

export interface ListOptions {
  readonly instance: string;
  readonly runDir?: string;
  readonly output: 'table' | 'json';
}

/** A `list` subcommand over one of the agent's collections. */
export function addList<T>(
  parent: Command,
  io: Io,
  path: string,
  what: string,
  example: string,
  head: readonly string[],
  row: (item: T) => readonly string[],
): void {
  withAgentOptions(parent.command('list').description(what))
    .addOption(new Option('-o, --output <format>', 'how to print').choices(['table', 'json']).default('table'))
    .addHelpText('after', `\nExamples:\n  ${example}\n  ${example} -o json`)
    .action(async (options: ListOptions) => {
      const items = await getJson<readonly T[]>({ instance: options.instance, runDir: options.runDir }, path);
      io.out(options.output === 'json' ? `${JSON.stringify(items)}\n` : align([head, ...items.map(row)]));
    });
}

export function addListCommands(program: Command, io: Io): void {
  addList<EndpointRow>(
    program.command('endpoint').description('workloads on this node'),
    io,
    '/v1/endpoints',
    'workloads on this node, and whether they are enforced',
    'sidestep endpoint list',
    ['ID', 'NAMESPACE', 'POD', 'IDENTITY', 'ADDRESSES', 'INTERFACE', 'EGRESS', 'INGRESS', 'STATE'],
    (e) => [
      String(e.id),
      e.namespace,
      e.pod,
      String(e.identity),
      e.addresses.join(','),
      e.interface === undefined ? '-' : `${e.interface.name} (${e.interface.attach})`,
      enforcement(e.egress.enforcing),
      enforcement(e.ingress.enforcing),
      e.state === 'ready' ? 'ready' : `${e.state}: ${e.code} ${e.message}`,
    ],
  );
  addList<IdentityRow>(
    program.command('identity').description('security identities'),
    io,
    '/v1/identities',
    'security identities and the labels they stand for',
    'sidestep identity list',
    ['ID', 'LABELS'],
    (i) => [String(i.id), i.labels.join(',')],
  );
  addList<NameRow>(
    program.command('fqdn').description('names that pods asked for'),
    io,
    '/v1/names',
    'names that pods asked for, the addresses that they were told, until when (and longer while a connection lasts), and what of policy takes the name',
    'sidestep fqdn list',
    ['NAME', 'ADDRESSES', 'UNTIL', 'TAKEN BY'],
    nameRow,
  );
}

/** Of more than a few the rest is told by its number; `-o json` has them all. */
const SHOWN_ADDRESSES = 3;

export function nameRow({ name, taken, addresses }: NameRow): readonly string[] {
  const more = addresses.length - SHOWN_ADDRESSES;
  const shown = addresses.slice(0, SHOWN_ADDRESSES).map(({ address }) => address);
  return [
    name,
    `${shown.join(',')}${more > 0 ? ` and ${more} more` : ''}`,
    addresses.map(({ until }) => until).sort()[0] ?? '-',
    taken.length === 0 ? '-' : taken.join(','),
  ];
}

function enforcement(enforcing: boolean): string {
  return enforcing ? 'enforced' : 'open';
}
