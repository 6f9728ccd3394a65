/** docs/reference/{cli,configuration,policy,sidestep-node}.md from the command line's own help and from the tables that the code reads. */
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import * as z from 'zod/mini';
import { flagOf, OPTION_NAMES, OPTIONS, variableOf } from '../control-plane/agent/config.ts';
import { MeshNodeSpec, SIDESTEP_NODE } from '../control-plane/api/mesh-node.ts';
import { policyLines } from './policy-reference.ts';

const root = join(import.meta.dirname, '..');

function write(name: string, title: string, source: string, lines: readonly string[]): void {
  const head = [
    `# ${title}`,
    '',
    `<!-- Generated from ${source} by scripts/generate-reference.ts; do not edit. -->`,
    '',
  ];
  writeFileSync(join(root, 'docs/reference', name), `${[...head, ...lines].join('\n')}\n`);
}

/** A command's help at a fixed width, as a terminal shows it. */
function help(words: readonly string[]): string {
  return execFileSync(process.execPath, [join(root, 'control-plane/cli/main.ts'), ...words, '--help'], {
    encoding: 'utf8',
    env: { ...process.env, COLUMNS: '100', NO_COLOR: '1' },
  }).trimEnd();
}

/** Names below a "Commands:" heading, but for `help` itself. */
function commandsIn(text: string): string[] {
  const section = /\nCommands:\n([\s\S]*?)(\n\n|$)/.exec(text)?.[1] ?? '';
  return [...section.matchAll(/^ {2}([a-z-]+)/gm)].flatMap(([, name]) => (name && name !== 'help' ? [name] : []));
}

function sections(words: readonly string[]): string[] {
  const text = help(words);
  const title = ['sidestep', ...words].join(' ');
  return [`## ${title}`, '', '```', text, '```', '', ...commandsIn(text).flatMap((name) => sections([...words, name]))];
}

write('cli.md', 'Command line', "the commands' own help", [
  'Data goes to stdout, notes to stderr. Exit codes: 0 fine, 1 failed, 64 usage, 65 bad input, 79 worked and found something (denied, invalid, not ready).',
  '',
  ...sections([]),
]);

write('configuration.md', 'Configuration of the agent', 'control-plane/agent/config.ts', [
  'Defaults, then the file of `--config`, then the environment, then flags. `sidestep status -o json` prints each value in force and where it is from.',
  '',
  '| file | flag | environment | default | meaning |',
  '|---|---|---|---|---|',
  ...OPTION_NAMES.map((name) => {
    const { default: value, text } = OPTIONS[name];
    const shown = value === undefined || name === 'node' ? '' : Array.isArray(value) ? value.join(',') : String(value);
    return `| \`${name}\` | \`--${flagOf(name)}\` | \`${variableOf(name)}\` | ${shown} | ${text} |`;
  }),
]);

write(
  'policy.md',
  'Policies: what is read, what is refused',
  'control-plane/api/{cilium,kubernetes}-fields.ts, entities.ts and icmp-rules.ts',
  policyLines(),
);

interface Schema {
  readonly type?: string;
  readonly description?: string;
  readonly default?: unknown;
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly required?: readonly string[];
}

/** One row for each field, those of mappings below them. */
function fieldRows({ properties = {}, required = [] }: Schema, path: string): string[] {
  return Object.entries(properties).flatMap(([name, field]) => {
    const at = `${path}.${name}`;
    const fallback = field.default === undefined ? '' : String(field.default);
    const needed = required.includes(name) ? 'required' : fallback;
    return [`| \`${at}\` | ${field.type ?? ''} | ${needed} | ${field.description ?? ''} |`, ...fieldRows(field, at)];
  });
}

write('sidestep-node.md', 'SidestepNode: how agents find each other', 'control-plane/api/mesh-node.ts', [
  `\`${SIDESTEP_NODE.apiVersion}\`, of no namespace; its name is that of the node. Each agent writes its own: with \`--source DIR\` as \`sidestepnode-NAME.yaml\` in a folder that the nodes share, replaced in one step; in a cluster as`,
  'an object of `deploy/crds/sidestepnodes.yaml`. It says where an agent is to be reached. Nothing in it is proof of anything: who answers there has to prove that it is the node of that name.',
  'A field that is not listed is refused by its path, as is a value that does not fit; the last good version of the object counts meanwhile.',
  '',
  '| field | type | default | meaning |',
  '|---|---|---|---|',
  ...fieldRows(z.toJSONSchema(MeshNodeSpec, { io: 'input', target: 'openapi-3.0' }) as Schema, 'spec'),
]);
