/**
 * TLS by the name that its client asks for: passed on unread, or not at all. Rulesets of both ends -> one filter chain. What a rule
 * about HTTP admits is no TLS, and what a plain rule admits is TLS of every name.
 */
import type { XdsMessages } from '../generated/xds.ts';
import { type Direction, formatRuleRef } from '../model/policy.ts';
import type { Admission } from '../model/snapshot.ts';
import { DIRECTIONS, ORIGINAL_DESTINATION, SERVER_NAME_STATE, statPrefix, TLS_CHAIN, tlsRbacFilter } from './names.ts';
import { allow, byRuleset, inOrder, type OnMatch, type Predicate, type ServedRuleset } from './rbac.ts';

type FilterChain = XdsMessages['envoy.config.listener.v3.FilterChain'];
type NetworkFilter = XdsMessages['envoy.config.listener.v3.Filter'];

/** By what the inspector saw, ahead of the chain for everything else. */
export function tlsChain(rulesets: readonly ServedRuleset[]): FilterChain {
  return {
    name: TLS_CHAIN,
    filter_chain_match: { transport_protocol: 'tls' },
    filters: [keepName(), ...DIRECTIONS.map((direction) => rbac(direction, rulesets)), passOn()],
  };
}

function rbac(direction: Direction, rulesets: readonly ServedRuleset[]): NetworkFilter {
  const own = rulesets.filter((each) => each.direction === direction);
  const enforced = byRuleset(own, direction, (each) => matchNames(each));
  const shadow = own.some((each) => each.shadow)
    ? {
        shadow_matcher: byRuleset(own, direction, (each) => (each.shadow ? matchNames(each.shadow) : 'layer4')),
        shadow_rules_stat_prefix: statPrefix(direction),
      }
    : {};
  return {
    name: tlsRbacFilter(direction),
    typed_config: {
      '@type': 'envoy.extensions.filters.network.rbac.v3.RBAC',
      stat_prefix: statPrefix(direction),
      matcher: enforced,
      ...shadow,
    },
  };
}

/** For the access log, which has the name only of connections that Envoy itself decrypts. */
function keepName(): NetworkFilter {
  return {
    name: 'envoy.filters.network.set_filter_state',
    typed_config: {
      '@type': 'envoy.extensions.filters.network.set_filter_state.v3.Config',
      on_new_connection: [
        {
          object_key: SERVER_NAME_STATE,
          factory_key: 'envoy.string',
          format_string: { text_format_source: { inline_string: '%REQUESTED_SERVER_NAME%' } },
          skip_if_empty: true,
        },
      ],
    },
  };
}

function passOn(): NetworkFilter {
  return {
    name: 'envoy.filters.network.tcp_proxy',
    typed_config: {
      '@type': 'envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy',
      stat_prefix: 'tls',
      cluster: ORIGINAL_DESTINATION,
    },
  };
}

/** The first rule that takes the name says so. @returns undefined: none takes any */
function matchNames({
  rules,
  serverNames = [],
}: Pick<ServedRuleset, 'rules'> & Pick<Admission, 'serverNames'>): OnMatch | 'layer4' | undefined {
  if (rules === 'layer4') return 'layer4';
  const plain = rules.find(({ match }) => match === undefined);
  const conditional = serverNames.map(({ ref, names }) => ({
    predicate: anyOf(names.map(nameIs)),
    on_match: allow(formatRuleRef(ref)),
  }));
  if (conditional.length === 0) return plain && allow(formatRuleRef(plain.ref));
  return inOrder(conditional, plain && allow(formatRuleRef(plain.ref)));
}

function anyOf(parts: readonly Predicate[]): Predicate {
  const [first] = parts;
  return parts.length === 1 && first ? first : { or_matcher: { predicate: parts } };
}

/** Of a connection that asks for no name nothing fits. */
function nameIs(pattern: string): Predicate {
  const input = {
    name: 'server_name',
    typed_config: { '@type': 'envoy.extensions.matching.common_inputs.network.v3.ServerNameInput' },
  } as const;
  const value = pattern.includes('*')
    ? { safe_regex: { google_re2: {}, regex: regexOf(pattern) } }
    : { exact: pattern };
  return { single_predicate: { input, value_match: value } };
}

/** nameFits of model/dns-name.ts as RE2 has it. */
function regexOf(pattern: string): string {
  if (pattern === '*') return '.+';
  const deep = pattern.startsWith('**.');
  const rest = deep ? pattern.slice('**.'.length) : pattern;
  const labels = rest.split('*').map((part) => part.replaceAll('.', '[.]'));
  return `${deep ? '(?:[-a-z0-9_]+[.])+' : ''}${labels.join('[-a-z0-9_]*')}`;
}
