/** Flow records -> what policy was asked, each question once. What says nothing of policy is left out. */
import { addressKey, parseAddress } from '../model/address.ts';
import { labelsOf } from '../model/labels.ts';
import { PROTOCOLS } from '../model/policy.ts';
import type { RecordedEnd, RecordedFlow } from '../model/recorded-flow.ts';
import { EVENT_TYPE, type Flow, type FlowEndpoint } from './flow.ts';

/** Drops that a policy decided. */
const POLICY_DROPS: readonly string[] = ['POLICY_DENIED', 'POLICY_DENY'];

type Question = Omit<RecordedFlow, 'count' | 'source' | 'destination'> & {
  readonly source: Omit<RecordedEnd, 'names'>;
  readonly destination: Omit<RecordedEnd, 'names'>;
};

export class Recording {
  readonly #questions = new Map<string, { question: Question; count: number }>();
  /** Address -> names. */
  readonly #names = new Map<string, Set<string>>();
  #skipped = 0;

  /** Records of drops for other reasons, answers, ends of connections and other messages. */
  get skipped(): number {
    return this.#skipped;
  }

  add(flow: Flow): void {
    this.#learn(flow);
    const question = questionOf(flow);
    if (question === undefined) {
      this.#skipped++;
      return;
    }
    const key = keyOf(question);
    const known = this.#questions.get(key);
    if (known) known.count++;
    else this.#questions.set(key, { question, count: 1 });
  }

  /** In the order in which they were first seen. */
  flows(): RecordedFlow[] {
    return [...this.#questions.values()].map(({ question, count }) => ({
      ...question,
      source: this.#named(question.source),
      destination: this.#named(question.destination),
      count,
    }));
  }

  #named(end: Omit<RecordedEnd, 'names'>): RecordedEnd {
    return { ...end, names: [...(this.#names.get(addressKey(end.address)) ?? [])].sort() };
  }

  #learn({ l7 }: Flow): void {
    if (l7?.dns === undefined) return;
    for (const ip of l7.dns.ips ?? []) {
      const key = addressKey(parseAddress(ip));
      const names = this.#names.get(key) ?? new Set();
      this.#names.set(key, names.add(l7.dns.query.replace(/\.$/, '').toLowerCase()));
    }
  }
}

function questionOf(flow: Flow): Question | undefined {
  const { event_type, is_reply, l7 } = flow;
  const isDrop = event_type.type === EVENT_TYPE.DROP;
  if (is_reply || (isDrop && !POLICY_DROPS.includes(flow.drop_reason_desc ?? ''))) return undefined;
  if (event_type.type === EVENT_TYPE.TRACE && flow.trace_reason !== 'NEW') return undefined;
  if (event_type.type === EVENT_TYPE.L7 && (l7?.http === undefined || l7.type !== 'REQUEST')) return undefined;
  const layer4 = layer4Of(flow);
  // Code 400 and the like are Envoy's: no rule was asked.
  if (layer4 === undefined || (l7?.http && flow.verdict === 'DROPPED' && l7.http.code !== 403)) return undefined;
  const http = l7?.http && requestOf(l7.http);
  return {
    source: endOf(flow.source, flow.IP.source),
    destination: endOf(flow.destination, flow.IP.destination),
    ...layer4,
    ...(http ? { http } : {}),
    verdict: flow.verdict === 'DROPPED' ? 'DENIED' : flow.verdict === 'AUDIT' ? 'AUDIT' : 'ALLOWED',
  };
}

function layer4Of({ l4 }: Flow): { readonly protocol: number; readonly port: number } | undefined {
  if (l4 === undefined) return undefined;
  if ('TCP' in l4) return { protocol: PROTOCOLS.TCP, port: l4.TCP.destination_port };
  if ('UDP' in l4) return { protocol: PROTOCOLS.UDP, port: l4.UDP.destination_port };
  if ('SCTP' in l4) return { protocol: PROTOCOLS.SCTP, port: l4.SCTP.destination_port };
  if ('ICMPv4' in l4) return { protocol: PROTOCOLS.ICMP, port: l4.ICMPv4.type };
  return { protocol: PROTOCOLS.ICMPv6, port: l4.ICMPv6.type };
}

function requestOf({ method, url }: { readonly method: string; readonly url: string }) {
  const [, host = '', path = '/'] = /^[a-z]+:\/\/([^/?]*)(.*)$/s.exec(url) ?? [];
  return { method, path: path === '' ? '/' : path, host };
}

function endOf(
  { ID, labels, namespace = '', pod_name = '' }: FlowEndpoint,
  address: string,
): Omit<RecordedEnd, 'names'> {
  return {
    labels: labelsOf(labels),
    address: parseAddress(address),
    namespace,
    pod: pod_name,
    decides: ID !== undefined,
  };
}

/** Pods with the same labels ask the same; outside, the address is who it is. */
function keyOf({ source, destination, protocol, port, http, verdict }: Question): string {
  const end = ({ labels, address, pod, decides }: Omit<RecordedEnd, 'names'>): string =>
    `${[...labels].map(([key, value]) => `${key}=${value}`).join(',')} ${pod === '' ? addressKey(address) : ''} ${decides}`;
  const request = http ? `${http.method} ${http.host} ${http.path}` : '';
  return [end(source), end(destination), protocol, port, request, verdict].join('\n');
}
