/** Firewall and address translation as an administrator or a service proxy loads them. The product itself runs no nft. */
import { inside } from '../../control-plane/demo/namespaces.ts';
import { run } from '../../control-plane/demo/process.ts';
import type { Host } from './topology.ts';

const TABLE = 'inet somebody';
const PRIORITY = { prerouting: 'dstnat', output: '-100', postrouting: 'srcnat' } as const;

export type FilterHook = 'input' | 'forward' | 'output';

/** A chain that filters; its name is its hook's. */
export function filter(hook: FilterHook, policy: 'accept' | 'drop', ...rules: readonly string[]): string {
  return chain(hook, `type filter hook ${hook} priority filter; policy ${policy};`, rules);
}

/** A chain that translates addresses. */
export function nat(hook: keyof typeof PRIORITY, ...rules: readonly string[]): string {
  return chain(`nat-${hook}`, `type nat hook ${hook} priority ${PRIORITY[hook]}; policy accept;`, rules);
}

function chain(name: string, head: string, rules: readonly string[]): string {
  return [`chain ${name} {`, head, ...rules, '}'].join('\n');
}

/** Loads chains into a table of their own, in place of those that were loaded before. */
export async function loadRules(host: Host, ...chains: readonly string[]): Promise<void> {
  await nft(host, `table ${TABLE}\ndelete table ${TABLE}\ntable ${TABLE} {\n${chains.join('\n')}\n}\n`);
}

export async function removeRules(host: Host): Promise<void> {
  await nft(host, `table ${TABLE}\ndelete table ${TABLE}\n`);
}

/** Any commands of nft(8), all or none. */
export async function nft(host: Host, commands: string): Promise<void> {
  await run('nsenter', inside(host.namespace, ['nft', '-f', '-']), { input: commands });
}
