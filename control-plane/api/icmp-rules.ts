/** `icmps`: types of ICMP, by number or by name -> port matches. */
import { type PortMatch, PROTOCOLS } from '../model/policy.ts';
import type { Path } from './document.ts';
import type { Refuse } from './policy-fields.ts';
import { isAbsent, needMapping, quote, readEach, readList } from './values.ts';

/** Cilium's own bound. */
const MAX_TYPES = 40;

/** Names that Cilium takes, from IANA's registries of types; two of ICMPv4 have a blank in Cilium's list and are taken both ways. */
export const ICMP_TYPES = {
  IPv4: {
    EchoReply: 0,
    DestinationUnreachable: 3,
    Redirect: 5,
    Echo: 8,
    EchoRequest: 8,
    RouterAdvertisement: 9,
    RouterSelection: 10,
    TimeExceeded: 11,
    ParameterProblem: 12,
    Timestamp: 13,
    TimestampReply: 14,
    Photuris: 40,
    ExtendedEchoRequest: 42,
    'ExtendedEcho Request': 42,
    ExtendedEchoReply: 43,
    'ExtendedEcho Reply': 43,
  },
  IPv6: {
    DestinationUnreachable: 1,
    PacketTooBig: 2,
    TimeExceeded: 3,
    ParameterProblem: 4,
    EchoRequest: 128,
    EchoReply: 129,
    MulticastListenerQuery: 130,
    MulticastListenerReport: 131,
    MulticastListenerDone: 132,
    RouterSolicitation: 133,
    RouterAdvertisement: 134,
    NeighborSolicitation: 135,
    NeighborAdvertisement: 136,
    RedirectMessage: 137,
    RouterRenumbering: 138,
    ICMPNodeInformationQuery: 139,
    ICMPNodeInformationResponse: 140,
    InverseNeighborDiscoverySolicitation: 141,
    InverseNeighborDiscoveryAdvertisement: 142,
    HomeAgentAddressDiscoveryRequest: 144,
    HomeAgentAddressDiscoveryReply: 145,
    MobilePrefixSolicitation: 146,
    MobilePrefixAdvertisement: 147,
    DuplicateAddressRequestCodeSuffix: 157,
    DuplicateAddressConfirmationCodeSuffix: 158,
    ExtendedEchoRequest: 160,
    ExtendedEchoReply: 161,
  },
} as const satisfies Readonly<Record<string, Readonly<Record<string, number>>>>;

type Family = keyof typeof ICMP_TYPES;

/** @returns undefined where none are written, or an empty list: then nothing is said about types */
export function readIcmps(value: unknown, path: Path, refuse: Refuse): readonly PortMatch[] | undefined {
  const entries = readList(value, path, refuse);
  if (entries.length === 0) return undefined;
  return entries.flatMap((entry, i) => {
    const at = [...path, i];
    const icmp = needMapping(entry, 'icmp', at, refuse);
    if (icmp === undefined) return [];
    const fields = readList(icmp['fields'], [...at, 'fields'], refuse);
    if (fields.length === 0) refuse('FIELD_REQUIRED', [...at, 'fields'], 'at least one type is required');
    if (fields.length > MAX_TYPES) refuse('FIELD_INVALID', [...at, 'fields'], `at most ${MAX_TYPES} types`);
    return readEach(fields, [...at, 'fields'], refuse, (field, below) => readField(field, below, refuse));
  });
}

function readField(value: unknown, path: Path, refuse: Refuse): PortMatch | undefined {
  const field = needMapping(value, 'icmp-field', path, refuse);
  if (field === undefined) return undefined;
  const written = isAbsent(field['family']) || field['family'] === '' ? 'IPv4' : field['family'];
  const family = (['IPv4', 'IPv6'] as const).find((known) => known === written);
  if (family === undefined) refuse('FIELD_INVALID', [...path, 'family'], `${quote(written)} is not IPv4 or IPv6`);
  const port = readType(field['type'], family ?? 'IPv4', [...path, 'type'], refuse);
  if (family === undefined || port === undefined) return undefined;
  return { protocol: family === 'IPv4' ? PROTOCOLS.ICMP : PROTOCOLS.ICMPv6, port };
}

function readType(value: unknown, family: Family, path: Path, refuse: Refuse): number | undefined {
  if (isAbsent(value) || value === '') {
    refuse('FIELD_REQUIRED', path, 'is required');
    return undefined;
  }
  if ((typeof value === 'number' || typeof value === 'string') && /^(0|[1-9]\d{0,2})$/.test(String(value)))
    if (Number(value) <= 255) return Number(value);
  const names: Readonly<Record<string, number>> = ICMP_TYPES[family];
  if (typeof value === 'string' && Object.hasOwn(names, value)) return names[value];
  refuse('FIELD_INVALID', path, `${quote(value)} is not a type of ICMP for ${family} (0 to 255, or a name)`);
  return undefined;
}
