import { describe, expect, test } from 'vitest';
import type { DnsEvent } from '../model/dns-event.ts';
import { FlowPrinter } from './format.ts';
import { DNS_ANSWER, DNS_RULE, sampleDnsFlow } from './sample.ts';

const STAMP = 'Jan  4 10:15:02.123:';
const ASKED = 'shop/api-1:40000 (ID:302) -> 192.0.2.53:53 (world) dns-request proxy';
const ANSWERED = 'shop/api-1:40000 (ID:302) <- 192.0.2.53:53 (world) dns-response proxy';
const RULE = 'CiliumNetworkPolicy/shop/limit#egress[0].toPorts[0].rules.dns[0]';

function line(changes: Partial<DnsEvent> = {}): string {
  const options = { color: false, numeric: false, printNodeName: false, printPolicyNames: false };
  const flow = sampleDnsFlow(changes);
  return new FlowPrinter('compact', options).print({ flow, node_name: 'node-1', time: flow.time });
}

describe('a DNS message is a line of Hubble’s', () => {
  test('that asks, with the rule that allows it', () => {
    expect(line()).toBe(`${STAMP} ${ASKED} FORWARDED (DNS Query api.example.com. A; egress allowed by ${RULE})\n`);
  });

  test('that is refused, with the rules that do not admit it', () => {
    expect(line({ verdict: 'refused' })).toBe(
      `${STAMP} ${ASKED} DROPPED (DNS Query api.example.com. A; egress denied: not admitted by ${RULE})\n`,
    );
    expect(sampleDnsFlow({ verdict: 'refused' })).toMatchObject({ egress_denied_by: [{ name: DNS_RULE.name }] });
    expect(line({ verdict: 'refused', name: undefined })).toContain('(DNS message that cannot be read; ');
  });

  test('that answers: addresses, aliases and time, or the code', () => {
    expect(line(DNS_ANSWER)).toBe(
      `${STAMP} ${ANSWERED} FORWARDED (DNS Answer "192.0.2.80,192.0.2.81" CNAMEs: "edge.example.net." TTL: 30 ` +
        '(Proxy api.example.com. A))\n',
    );
    const none = { addresses: [], aliases: [], ttl: 0 };
    expect(line({ rules: [], answer: { ...none, code: 3 } })).toContain(
      'DNS Answer RCode: Non-Existent Domain (Proxy api.example.com. A)',
    );
    expect(line({ rules: [], answer: { ...none, code: 0 } })).toContain('DNS Answer TTL: 0 (Proxy');
  });
});
