/** Where numbers survive a restart: one JSON file in the state folder, replaced in one step. */
import { closeSync, fsyncSync, mkdirSync, openSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import * as z from 'zod/mini';
import { SidestepError } from '../model/error.ts';
import type { Origin } from '../model/policy.ts';
import { type IdRange, LOCAL_IDENTITIES, NODES, RULESETS } from './late-ids.ts';

const Policy = { kind: z.string(), namespace: z.string(), name: z.string() };
const within = ({ first, last }: IdRange): z.ZodMiniNumber => z.int().check(z.minimum(first), z.maximum(last));
const [RulesetId, NodeNumber, LocalIdentity] = [within(RULESETS), within(NODES), within(LOCAL_IDENTITIES)];
const Stored = z.object({
  version: z.literal(1),
  identities: z.array(z.tuple([z.int().check(z.positive()), z.string()])),
  rules: z.array(
    z.tuple([
      z.int().check(z.positive()),
      z.discriminatedUnion('kind', [
        z.object({ kind: z.literal('rules'), rules: z.array(z.object({ ...Policy, rule: z.string() })) }),
        z.object({ kind: z.literal('default-deny'), policies: z.array(z.object(Policy)) }),
      ]),
    ]),
  ),
  // A file from before there were HTTP rules has neither.
  rulesets: z.optional(z.array(z.tuple([RulesetId, z.string()]))),
  nextRuleset: z.optional(RulesetId),
  // Nor these, from before there was authentication.
  nodes: z.optional(z.array(z.tuple([NodeNumber, z.string()]))),
  nextNode: z.optional(NodeNumber),
  // Nor these, from before policy named addresses outside.
  localIdentities: z.optional(z.array(z.tuple([LocalIdentity, z.string()]))),
  nextLocalIdentity: z.optional(LocalIdentity),
});

/**
 * Identities with the text of their labels, rule ids with what they stand for, ruleset ids with their decision point, node
 * numbers with their name.
 */
export interface StoredNumbers {
  readonly identities: readonly (readonly [number, string])[];
  readonly rules: readonly (readonly [number, Origin])[];
  readonly rulesets: readonly (readonly [number, string])[];
  /** Where the search for a free ruleset id goes on. */
  readonly nextRuleset: number;
  readonly nodes: readonly (readonly [number, string])[];
  readonly nextNode: number;
  /** With the text of their labels. */
  readonly localIdentities: readonly (readonly [number, string])[];
  readonly nextLocalIdentity: number;
}

/**
 * @returns undefined when there is no file
 * @throws STATE_UNUSABLE when it cannot be read or was not written by us
 */
export function readNumbers(path: string): StoredNumbers | undefined {
  try {
    const parsed = Stored.safeParse(JSON.parse(readFileSync(path, 'utf8')));
    if (!parsed.success) throw new Error(z.prettifyError(parsed.error).split('\n')[0]);
    const { rulesets = [], nextRuleset = RULESETS.first, nodes = [], nextNode = NODES.first } = parsed.data;
    const { identities, rules, localIdentities = [], nextLocalIdentity = LOCAL_IDENTITIES.first } = parsed.data;
    for (const list of [identities, rules, rulesets, nodes, localIdentities])
      if (new Set(list.map(([number]) => number)).size < list.length) throw new Error('a number stands twice');
    return { identities, rules, rulesets, nextRuleset, nodes, nextNode, localIdentities, nextLocalIdentity };
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw unusable(path, 'does not hold the numbers of an agent', cause);
  }
}

/** Moves an unusable file aside, so that it can be looked at. @returns its new path. @throws STATE_UNUSABLE */
export function moveAside(path: string): string {
  const aside = `${path}.unusable`;
  try {
    renameSync(path, aside);
  } catch (cause) {
    throw unusable(path, 'cannot be moved aside', cause);
  }
  return aside;
}

/** On disk when it returns; a crash leaves the old file or the new one. @throws STATE_UNUSABLE */
export function writeNumbers(path: string, numbers: StoredNumbers): void {
  try {
    mkdirSync(dirname(path), { recursive: true });
    const temporary = `${path}.new`;
    const file = openSync(temporary, 'w', 0o600);
    try {
      writeFileSync(file, JSON.stringify({ version: 1, ...numbers }));
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
    renameSync(temporary, path);
  } catch (cause) {
    throw unusable(path, 'cannot be written', cause);
  }
}

function unusable(path: string, what: string, cause: unknown): SidestepError {
  const why = (cause as Error).message;
  return new SidestepError('STATE_UNUSABLE', `${path} ${what}: ${why}`, { cause, path });
}
