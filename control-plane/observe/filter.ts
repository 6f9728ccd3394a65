/**
 * Which flows are wanted: Hubble's meaning. Values of one option are alternatives, different options must all hold,
 * a filter behind --not must not.
 */
import { BlockList, isIPv4 } from 'node:net';
import { DROP_REASONS, type DropReason } from '../generated/reasons.ts';
import { formatAddress, parseAddress, parsePrefix } from '../model/address.ts';
import { SidestepError } from '../model/error.ts';
import { labelsOf } from '../model/labels.ts';
import { EVENT_TYPE, type Flow, type FlowEndpoint, type FlowPolicy, type TcpFlagName } from './flow.ts';

/** One test: option name and its alternatives. */
export interface FilterTerm {
  readonly option: FilterOption;
  readonly values: readonly string[];
  readonly not: boolean;
}

export const FILTER_OPTIONS = [
  'pod',
  'from-pod',
  'to-pod',
  'namespace',
  'from-namespace',
  'to-namespace',
  'ip',
  'from-ip',
  'to-ip',
  'port',
  'from-port',
  'to-port',
  'label',
  'from-label',
  'to-label',
  'identity',
  'from-identity',
  'to-identity',
  'verdict',
  'protocol',
  'type',
  'drop-reason-desc',
  'traffic-direction',
  'tcp-flags',
  'ip-version',
  'node-name',
  'uuid',
  'policy',
  'http-method',
  'http-path',
  'http-status',
  'dns-query',
] as const;
export type FilterOption = (typeof FILTER_OPTIONS)[number];

const TCP_FLAGS: readonly TcpFlagName[] = ['FIN', 'SYN', 'RST', 'PSH', 'ACK', 'URG', 'ECE', 'CWR'];

type Test = (flow: Flow) => boolean;
type Side = 'source' | 'destination';

/** @throws INPUT_INVALID for a value that the option does not take */
export function compileFilter(terms: readonly FilterTerm[]): Test {
  requireHttp(terms);
  const tests = terms.map(({ option, values, not }): Test => {
    const alternatives = values.map((value) => testOf(option, value));
    return (flow) => alternatives.some((test) => test(flow)) !== not;
  });
  return (flow) => tests.every((test) => test(flow));
}

function testOf(option: FilterOption, value: string): Test {
  const match = /^(?:(from|to)-)?(pod|namespace|ip|port|label|identity)$/.exec(option);
  if (match) {
    const sides: readonly Side[] =
      match[1] === 'from' ? ['source'] : match[1] === 'to' ? ['destination'] : ['source', 'destination'];
    const test = sideTest(option, match[2] ?? '', value);
    return (flow) => sides.some((side) => test(flow, side));
  }
  switch (option) {
    case 'verdict': {
      const wanted = oneOf(option, value.toUpperCase(), [
        'FORWARDED',
        'DROPPED',
        'AUDIT',
        'ERROR',
        'REDIRECTED',
        'TRACED',
        'TRANSLATED',
      ]);
      return (flow) => flow.verdict === wanted;
    }
    case 'protocol': {
      const wanted = oneOf(option, value.toLowerCase(), [
        'tcp',
        'udp',
        'sctp',
        'icmp',
        'icmpv4',
        'icmpv6',
        'http',
        'dns',
      ]);
      if (wanted === 'http' || wanted === 'dns') return (flow) => flow.l7?.[wanted] !== undefined;
      return (flow) =>
        Object.keys(flow.l4 ?? {}).some(
          (name) => name.toLowerCase() === wanted || (wanted === 'icmp' && name.startsWith('ICMP')),
        );
    }
    case 'type': {
      const wanted = {
        drop: EVENT_TYPE.DROP,
        trace: EVENT_TYPE.TRACE,
        'policy-verdict': EVENT_TYPE.POLICY_VERDICT,
        l7: EVENT_TYPE.L7,
      }[oneOf(option, value, ['drop', 'trace', 'policy-verdict', 'l7'])];
      return (flow) => flow.event_type.type === wanted;
    }
    case 'drop-reason-desc': {
      const wanted = oneOf(option, value.toUpperCase(), Object.keys(DROP_REASONS) as DropReason[]);
      return (flow) => flow.drop_reason_desc === wanted;
    }
    case 'traffic-direction': {
      const wanted = oneOf(option, value.toUpperCase(), ['INGRESS', 'EGRESS']);
      return (flow) => flow.traffic_direction === wanted;
    }
    case 'tcp-flags': {
      const wanted = value.split(',').map((flag) => oneOf(option, flag.toUpperCase(), TCP_FLAGS));
      return (flow) =>
        flow.l4 !== undefined &&
        'TCP' in flow.l4 &&
        wanted.every((flag) => flow.l4 !== undefined && 'TCP' in flow.l4 && flag in flow.l4.TCP.flags);
    }
    case 'ip-version': {
      const wanted = `IPv${oneOf(option, value.replace(/^(ip)?v?/i, ''), ['4', '6'])}`;
      return (flow) => flow.IP.ipVersion === wanted;
    }
    case 'http-method':
      return (flow) => flow.l7?.http?.method.toUpperCase() === value.toUpperCase();
    case 'http-path': {
      const wanted = pattern(option, value);
      return (flow) => flow.l7?.http !== undefined && wanted.test(pathOf(flow.l7.http.url));
    }
    case 'http-status': {
      if (!/^([1-5]\d{2}|[1-5]\d?\+)$/.test(value)) throw invalid(option, value, 'a code such as 404, or 4+, 50+');
      const begin = value.replace('+', '');
      return (flow) => flow.l7?.http?.code !== undefined && String(flow.l7.http.code).startsWith(begin);
    }
    case 'dns-query': {
      const wanted = pattern(option, value);
      return (flow) => flow.l7?.dns !== undefined && wanted.test(flow.l7.dns.query);
    }
    case 'node-name':
      return (flow) => flow.node_name === value;
    case 'uuid':
      return (flow) => flow.uuid === value;
    default:
      return (flow) => policiesOf(flow).some((policy) => isPolicy(policy, value));
  }
}

/** As in Hubble: beside a type that has no requests they would match nothing. */
function requireHttp(terms: readonly FilterTerm[]): void {
  const http = terms.find(({ option, not }) => (option.startsWith('http-') || option === 'dns-query') && !not);
  const type = terms.find(({ option, values, not }) => option === 'type' && !not && !values.includes('l7'));
  if (http && type) throw invalid('type', type.values.join(','), `l7 beside --${http.option}`);
}

function pattern(option: string, value: string): RegExp {
  try {
    return new RegExp(value);
  } catch {
    throw invalid(option, value, 'a regular expression');
  }
}

/** Without host and query. */
function pathOf(url: string): string {
  return /^[a-z]+:\/\/[^/?#]*([^?#]*)/.exec(url)?.[1] ?? '';
}

function sideTest(option: string, noun: string, value: string): (flow: Flow, side: Side) => boolean {
  switch (noun) {
    case 'pod': {
      // "ns/prefix", "ns/", "/prefix"; a bare name is looked for in every namespace.
      const [prefix = '', namespace = '', ...rest] = value.split('/').reverse();
      if ((prefix === '' && namespace === '') || rest.length > 0) throw invalid(option, value, '[namespace/][prefix]');
      return (flow, side) => isPod(flow[side], namespace, prefix);
    }
    case 'namespace':
      return (flow, side) => flow[side].namespace === value;
    case 'ip': {
      const inside = addresses(option, value);
      return (flow, side) => inside(flow.IP[side]);
    }
    case 'port': {
      const port = Number(value);
      if (!/^\d+$/.test(value) || port > 65535) throw invalid(option, value, '0 to 65535');
      return (flow, side) => portsOf(flow)?.[`${side}_port`] === port;
    }
    case 'label': {
      const wanted = value.split(',').map((one) => {
        const [, key, text] = /^(?:any:)?([^\s=!()]+)(?:==?([^\s=!()]*))?$/.exec(one.trim()) ?? [];
        if (key === undefined) throw invalid(option, value, 'key or key=value, with commas where all must be there');
        return { key, text };
      });
      return (flow, side) => {
        const labels = labelsOf(flow[side].labels);
        return wanted.every(({ key, text }) =>
          [key, `k8s:${key}`, `reserved:${key}`].some(
            (name) => labels.has(name) && (text === undefined || labels.get(name) === text),
          ),
        );
      };
    }
    default: {
      const reserved: Readonly<Record<string, number>> = { unknown: 0, host: 1, world: 2, unmanaged: 3 };
      const wanted = reserved[value] ?? (/^\d+$/.test(value) ? Number(value) : undefined);
      if (wanted === undefined) throw invalid(option, value, 'a number or host, world, unmanaged, unknown');
      return (flow, side) => flow[side].identity === wanted;
    }
  }
}

function isPod(end: FlowEndpoint, namespace: string, prefix: string): boolean {
  return (
    end.pod_name !== undefined && (namespace === '' || end.namespace === namespace) && end.pod_name.startsWith(prefix)
  );
}

function addresses(option: string, value: string): (address: string) => boolean {
  try {
    if (!value.includes('/')) {
      // As flows write it: there are many ways to write an IPv6 address.
      const wanted = formatAddress(parseAddress(value));
      return (address) => address === wanted;
    }
    parsePrefix(value);
  } catch {
    throw invalid(option, value, 'an address or a prefix');
  }
  const [base = '', bits] = value.split('/');
  const family = isIPv4(base) ? 'ipv4' : 'ipv6';
  const list = new BlockList();
  list.addSubnet(base, Number(bits), family);
  return (address) => (isIPv4(address) ? 'ipv4' : 'ipv6') === family && list.check(address, family);
}

function portsOf(flow: Flow): { readonly source_port: number; readonly destination_port: number } | undefined {
  const { l4 } = flow;
  return l4 && ('TCP' in l4 ? l4.TCP : 'UDP' in l4 ? l4.UDP : 'SCTP' in l4 ? l4.SCTP : undefined);
}

function policiesOf(flow: Flow): readonly FlowPolicy[] {
  return [flow.egress_allowed_by, flow.ingress_allowed_by, flow.egress_denied_by, flow.ingress_denied_by].flatMap(
    (list) => list ?? [],
  );
}

/** name, namespace/name or kind/namespace/name */
function isPolicy({ kind, namespace, name }: FlowPolicy, wanted: string): boolean {
  return [name, `${namespace}/${name}`, `${kind}/${namespace}/${name}`].includes(wanted);
}

function oneOf<T extends string>(option: string, value: string, values: readonly T[]): T {
  const found = values.find((one) => one === value);
  if (found === undefined) throw invalid(option, value, values.join(', '));
  return found;
}

function invalid(option: string, value: string, wanted: string): SidestepError {
  return new SidestepError('INPUT_INVALID', `--${option} ${JSON.stringify(value)}: wanted ${wanted}`, {
    hint: 'See `sidestep observe --help`.',
  });
}
