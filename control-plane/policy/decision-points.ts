/**
 * Which keys need a look into what passes, and what passes there? Ports of HTTP rules, TLS names and DNS rules are such
 * keys, and what is named within them, for every peer whose rules, its own and those for everybody, hold one of these
 * rules: all of them add up, but for those that ask for more authentication than the key has.
 */
import {
  type AuthenticationMode,
  type DnsRule,
  formatRuleRef,
  looksInside,
  PROTOCOLS,
  strictest,
  strictness,
} from '../model/policy.ts';
import type { Admission, RulesetRule, ServerNameRule } from '../model/snapshot.ts';
import { coversOf, PORT_PREFIX, type PortKey } from './keys.ts';
import { takesBlock } from './port-blocks.ts';
import { allowing, type Contribution, refsOf, type Side, type Voice } from './sides.ts';

export interface DecisionPoint {
  readonly key: PortKey;
  /** What it is told apart by within its table; the content of its rules is not part of it. */
  readonly name: string;
  readonly verdict: 'redirect' | 'dns';
  /** Of the strongest kind of rule that meets there, whether it counts or not: Cilium's bytes. */
  readonly precedence: number;
  /** Those that count. */
  readonly voices: readonly Voice[];
  readonly admission: Admission;
  /** undefined: nothing is said. */
  readonly mode: AuthenticationMode | undefined;
  /** DNS rules that meet others: they do not count. */
  readonly outvoted: readonly Voice[];
}

type Kind = 'http' | 'serverNames' | 'dns';
const PRECEDENCE: { readonly [kind in Kind]: number } = { http: 154, serverNames: 139, dns: 134 };

/** Keys of either side that lie within one that is looked into. */
export function pointKeys(own: Side, any: Side): readonly [number, PortKey][] {
  const looked = [...own, ...any].flatMap(([number, { looks }]) => (looks ? [number] : []));
  if (looked.length === 0) return [];
  const within = new Set(looked);
  const found = new Map<number, PortKey>();
  for (const [number, { key }] of [...own, ...any])
    if (within.has(number) || coversOf(number).some((cover) => within.has(cover))) found.set(number, key);
  return [...found];
}

/**
 * @param own what names the peer (for everybody: what is for everybody)
 * @param any what is for everybody (for everybody: silence)
 * @returns undefined: nothing of the own side counts there, or nothing is looked into
 */
export function pointAt(number: number, key: PortKey, own: Side, any: Side): DecisionPoint | undefined {
  const [ours, everybodys] = [allowing(own, number), allowing(any, number)];
  const meeting = [...new Set([...ours, ...everybodys])];
  const mode = modeOf(own, number) ?? modeOf(any, number);
  const counts = ({ rule }: Voice): boolean => strictness(rule.authentication) <= strictness(mode);
  if (!ours.some(counts)) return undefined;
  const kinds = kindsOf(meeting, key);
  const voices = meeting.filter(counts).sort((a, b) => a.index - b.index);
  const admission = admissionOf(voices, key);
  if (kinds.size === 0 || admission === undefined) return undefined;
  const isDns = !admission.rules.some(({ match }) => match) && admission.serverNames === undefined;
  const outvoted = kinds.has('dns') && kinds.size > 1 ? voices.filter((each) => kindsOf([each], key).has('dns')) : [];
  return {
    key,
    name: `${portText(key)} ${refsOf(voices).map(formatRuleRef).join(' ')}`,
    verdict: isDns ? 'dns' : 'redirect',
    precedence: Math.max(...[...kinds].map((kind) => PRECEDENCE[kind])),
    voices,
    admission,
    mode,
    outvoted,
  };
}

/** What passes where nothing enforces: everything that these rules see, by their names. */
export function openTo(admission: Admission, voices: readonly Voice[]): Admission {
  const all = voices.map(({ rule: { ref } }): RulesetRule => ({ ref, match: undefined }));
  return { ...admission, rules: sorted([...admission.rules, ...all], ruleText) };
}

/**
 * What the rules that meet on the nearest key which is looked into say. A point takes nothing from plain entries, which are
 * weaker (as in Cilium), and where it says nothing itself, that for every identity is the one it inherits from.
 */
function modeOf(side: Side, number: number): AuthenticationMode | undefined {
  for (const at of [number, ...coversOf(number)]) {
    const found = side.get(at);
    const mode = found?.looks ? modeAt(found) : undefined;
    if (mode !== undefined) return mode;
  }
  return undefined;
}

/** An explicit mode beats silence, and a stricter one a milder one. */
export function modeAt({ allow }: Contribution): AuthenticationMode | undefined {
  return strictest(allow.map(({ rule }) => rule));
}

function kindsOf(voices: readonly Voice[], key: PortKey): ReadonlySet<Kind> {
  const matches = voices.flatMap(({ ports }) => ports.filter((match) => takesBlock(match, key)));
  return new Set(
    matches.flatMap(({ http, serverNames, dns }): Kind[] => [
      ...(http ? (['http'] as const) : []),
      ...(serverNames ? (['serverNames'] as const) : []),
      ...(dns ? (['dns'] as const) : []),
    ]),
  );
}

/** undefined: nothing is looked into. */
function admissionOf(voices: readonly Voice[], key: PortKey): Admission | undefined {
  const rules: RulesetRule[] = [];
  const serverNames: ServerNameRule[] = [];
  const dns: DnsRule[] = [];
  for (const { rule, ports } of voices) {
    const here = ports.filter((match) => takesBlock(match, key));
    if (ports.length === 0 || here.some((match) => !looksInside(match)))
      rules.push({ ref: rule.ref, match: undefined });
    for (const match of here) {
      rules.push(...(match.http ?? []));
      dns.push(...(match.dns ?? []));
      if (match.serverNames) serverNames.push({ ref: rule.ref, names: match.serverNames });
    }
  }
  const isHttp = rules.some(({ match }) => match);
  if (!isHttp && serverNames.length + dns.length === 0) return undefined;
  return {
    rules: sorted(rules, ruleText),
    ...(serverNames.length > 0 ? { serverNames: sorted(serverNames, serverNameText) } : {}),
    // Who speaks DNS there is refused: what holds requests or TLS names does not know it.
    ...(dns.length > 0 && !isHttp && serverNames.length === 0 ? { dns: sorted(dns, ruleText) } : {}),
  };
}

/** `80/TCP`, `80-95/TCP`. */
function portText({ protocol, port, prefix }: PortKey): string {
  const name = Object.entries(PROTOCOLS).find(([, number]) => number === protocol)?.[0] ?? protocol;
  const last = port + 2 ** (PORT_PREFIX - prefix) - 1;
  return last === port ? `${port}/${name}` : `${port}-${last}/${name}`;
}

const ruleText = ({ ref, match }: { readonly ref: RulesetRule['ref']; readonly match: unknown }): string =>
  `${formatRuleRef(ref)} ${JSON.stringify(match)}`;
const serverNameText = ({ ref, names }: ServerNameRule): string => `${formatRuleRef(ref)} ${names.join(' ')}`;

/** Each once, in order of the text. */
function sorted<T>(list: readonly T[], textOf: (each: T) => string): T[] {
  return [...new Map(list.map((each) => [textOf(each), each]))]
    .sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0))
    .map(([, each]) => each);
}
