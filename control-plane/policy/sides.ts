/**
 * What do the rules of a table say to one peer, key by key? A peer hears the rules that name it (its own side) and those for
 * everybody (the other side); the kernel looks both up.
 */
import { formatRuleRef, looksInside, type PortMatch, type Rule, type RuleRef } from '../model/policy.ts';
import { coversOf, EVERYTHING, type PortKey, portNumber } from './keys.ts';
import { blocksOf } from './port-blocks.ts';

/** One rule as one peer hears it: names of ports are numbers. */
export interface Voice {
  /** Of the rule, among those of the table. */
  readonly index: number;
  readonly rule: Rule;
  /** Empty: every protocol and port. */
  readonly ports: readonly PortMatch[];
  /** By portNumber. */
  readonly keys: ReadonlyMap<number, VoiceKey>;
}

interface VoiceKey {
  readonly key: PortKey;
  /** It looks into what passes there: HTTP, TLS names, DNS. */
  readonly looks: boolean;
}

/** Who says something about one key, in order of the rules. */
export interface Contribution {
  readonly key: PortKey;
  readonly allow: readonly Voice[];
  readonly deny: readonly Voice[];
  /** One of those that allow looks into what passes. */
  readonly looks: boolean;
}

/** By portNumber. */
export type Side = ReadonlyMap<number, Contribution>;

export const SILENCE: Side = new Map();

export function voiceOf(index: number, rule: Rule, ports: readonly PortMatch[] = rule.ports): Voice {
  const keys = new Map<number, VoiceKey>();
  if (ports.length === 0) keys.set(portNumber(EVERYTHING), { key: EVERYTHING, looks: false });
  for (const match of ports)
    for (const key of blocksOf(match)) {
      const number = portNumber(key);
      keys.set(number, { key, looks: looksInside(match) || keys.get(number)?.looks === true });
    }
  return { index, rule, ports, keys };
}

/** @param voices in order of the rules */
export function sideOf(voices: readonly Voice[]): Side {
  const side = new Map<number, { key: PortKey; allow: Voice[]; deny: Voice[]; looks: boolean }>();
  for (const voice of voices)
    for (const [number, { key, looks }] of voice.keys) {
      const known = side.get(number) ?? { key, allow: [], deny: [], looks: false };
      side.set(number, known);
      if (voice.rule.deny) known.deny.push(voice);
      else {
        known.allow.push(voice);
        known.looks ||= looks;
      }
    }
  return side;
}

/** Those that allow all of a key, however narrowly they name it. */
export function allowing(side: Side, number: number): Voice[] {
  return [number, ...coversOf(number)].flatMap((at) => side.get(at)?.allow ?? []);
}

/** Whether all of a key is denied on this side. */
export function isDenied(side: Side, number: number): boolean {
  return [number, ...coversOf(number)].some((at) => (side.get(at)?.deny.length ?? 0) > 0);
}

/** Specs of one object may have rules of the same name; they are named once. In order of the table's rules. */
export function refsOf(voices: Iterable<Voice>): RuleRef[] {
  const inOrder = [...voices].sort((a, b) => a.index - b.index);
  return [...new Map(inOrder.map(({ rule: { ref } }): [string, RuleRef] => [formatRuleRef(ref), ref])).values()];
}
