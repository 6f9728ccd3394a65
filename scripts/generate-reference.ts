/** docs/reference/{cli,configuration,policy,sidestep-node}.md from the command line's own help and from the tables that the code reads. */
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import * as z from 'zod/mini';
import { flagOf, OPTION_NAMES, OPTIONS, variableOf } from '../control-plane/agent/config.ts';
import { MeshNodeSpec, SIDESTEP_NODE } from '../control-plane/api/mesh-node.ts';
import { FIELDS } from '../control-plane/api/policy-fields.ts';

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

const code = (names: readonly string[]): string => names.map((name) => `\`${name}\``).join(', ');
write('policy.md', 'CiliumNetworkPolicy: what is read, what is refused', 'control-plane/api/policy-fields.ts', [
  'Policies are read as they are written for Cilium (`cilium.io/v2`), with its semantics. A field that exists there and is not supported here yet is refused by its path',
  '(`FIELD_NOT_SUPPORTED`), one that does not exist anywhere too (`FIELD_UNKNOWN`): nothing is ignored.',
  '',
  '| place | read | refused as not supported yet |',
  '|---|---|---|',
  ...Object.entries(FIELDS).map(([place, { known, later }]) => `| ${place} | ${code(known)} | ${code(later)} |`),
  '',
  '- Entities: `all`, `cluster`, `host`, `world`. Ports: numbers, `"0"` is every port. Protocols: `TCP`, `UDP`, `ANY` (TCP, UDP and SCTP); a rule without `toPorts` admits every protocol.',
  '- A selecting policy with a section for a direction switches default deny on in that direction. `ingress: [{}]` switches it on and admits nobody; a missing peer list admits every peer; an empty one (`fromEndpoints: []`) nobody.',
  "- Selectors without a namespace label mean the policy's own namespace. `fromEndpoints: [{}]` is every pod of it.",
  "- A node's own processes may always reach its pods (probes) unless a rule refuses `host`. What they send is never looked into.",
  '- `rules.http`: each rule is a `method`, a `path` and a `host` that must all match; any rule admits. They need a port that is not `"0"` and `protocol: TCP`, written. `http: [{}]` admits every request and shows each;',
  '  `http: []` is no HTTP rule: plain layer 4. A request that no rule admits is answered 403. A plain rule and HTTP rules that meet at one port for one peer add up: requests go through Envoy, and any that one of them admits passes.',
  '  `CONNECT` and upgrades are refused (to h2c: ignored), except to WebSocket: what follows a handshake that a rule admits and the server accepts is not looked into.',
  '- `method`, `path` and `host` are regular expressions of RE2 that must match the whole text, byte by byte. The path has its query string (`/a` does not match `/a?x=1`) and is compared as Envoy normalises it: dot segments resolved,',
  '  slashes merged, `\\` a slash, letters, digits and `-._~` unescaped; a path with an escaped slash (`%2F`, `%5C`) or `%00` is answered 400, as is a fragment. The host is the Host header as it was sent, port and case included.',
  '- `authentication.mode`: `required` lets a flow pass only when both ends are proven and, between nodes, its packets are encrypted; `disabled` asks for nothing; `test-always-fail` lets nothing pass. A rule without `authentication` says nothing:',
  '  it has that of a broader rule for the same peer (the next wider port), and then that of the rules for the other kind of peer (everybody, or those named), where these are as strong: an HTTP rule takes nothing from a plain one. A broader `disabled` is no',
  '  more than the default. Of rules for the same peer and port an explicit mode beats none and a stricter one a milder one, and the conflict is an issue (`AUTHENTICATION_CONFLICT`). A plain rule that asks for more than the HTTP rules it meets admits no',
  '  request there. `host` and `world` are never authenticated; a pod that no source knows cannot be proven, so that nothing passes between it and a rule with `required`. Either end may ask, and the node of the client knows what the other end asks for.',
  '- An edit that is refused leaves the last good version in force. A new policy that is refused closes what it selects, in each direction it has a section for. One whose selector cannot be read enforces nothing. `sidestep status` exits 79 in each case.',
]);

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
