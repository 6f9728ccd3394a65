import { stripVTControlCharacters } from 'node:util';
import { describe, expect, test } from 'vitest';
import { DROP_REASONS } from '../generated/reasons.ts';
import { parseAddress } from '../model/address.ts';
import type { KernelEvent } from '../model/event.ts';
import type { Flow, FlowResponse } from './flow.ts';
import { align, escapeControls, FlowPrinter, type FormatOptions, type OutputFormat, stampMilli } from './format.ts';
import { ADMITTED, AUDITED, half, OVER_IPV6, REFUSED, RULE, sampleFlow, TO_WORLD } from './sample.ts';

const PLAIN: FormatOptions = { color: false, numeric: false, printNodeName: false, printPolicyNames: false };
const STAMP = 'Jan  4 10:15:02.123';
const GUARD = 'CiliumNetworkPolicy/shop/guard';

function response(flow: Flow): FlowResponse {
  return { flow, node_name: flow.node_name, time: flow.time };
}

const LOST: FlowResponse = {
  lost_events: { source: 'OBSERVER_EVENTS_QUEUE', num_events_lost: '7' },
  node_name: 'node-1',
  time: sampleFlow().time,
};

function print(format: OutputFormat, options: Partial<FormatOptions>, ...responses: readonly FlowResponse[]): string {
  const printer = new FlowPrinter(format, { ...PLAIN, ...options });
  return responses.map((each) => printer.print(each)).join('');
}

function compact(flow: Flow | Partial<KernelEvent> = {}, options: Partial<FormatOptions> = {}): string {
  return print('compact', options, response('uuid' in flow ? flow : sampleFlow(flow)));
}

describe('a compact line', () => {
  test('of an admitted flow', () => {
    expect(compact(ADMITTED)).toBe(
      `${STAMP}: shop/web-1:45232 (ID:301) -> shop/api-1:8080 (ID:302) policy-verdict:L3-L4 INGRESS ALLOWED ` +
        `(TCP Flags: SYN; ingress allowed by ${GUARD}#ingress[0])\n`,
    );
  });

  test('of a refused one has no direction: nobody knows who would have answered', () => {
    expect(compact(REFUSED)).toBe(
      `${STAMP}: shop/web-1:45232 (ID:301) <> shop/api-1:8080 (ID:302) Policy denied DROPPED ` +
        `(TCP Flags: SYN; ingress denied by default, which ${GUARD} switched on)\n`,
    );
  });

  test('of one that is only audited says what would refuse it, and by whom', () => {
    expect(compact(AUDITED)).toBe(
      `${STAMP}: shop/web-1:45232 (ID:301) -> shop/api-1:8080 (ID:302) policy-verdict:none INGRESS AUDITED ` +
        `(TCP Flags: SYN; ingress would be denied by default, which ${GUARD} switched on)\n`,
    );
    expect(compact(AUDITED, { printPolicyNames: true })).toContain(' AUDITED BY guard (CiliumNetworkPolicy) (');
  });

  test('of a reply turns the ends', () => {
    expect(compact({ ...sampleFlow(), is_reply: true })).toBe(
      `${STAMP}: shop/api-1:8080 (ID:302) <- shop/web-1:45232 (ID:301) to-endpoint FORWARDED (TCP Flags: SYN)\n`,
    );
  });

  test('has the address where there is no name, and the name of a reserved identity', () => {
    expect(compact({ ...TO_WORLD, protocol: 17, destinationPort: 53 })).toBe(
      `${STAMP}: shop/web-1:45232 (ID:301) -> 192.0.2.1:53 (world) to-stack FORWARDED (UDP)\n`,
    );
    expect(compact({ sourceIdentity: 0, destinationIdentity: 1 })).toContain(' (unknown) -> shop/api-1:8080 (host) ');
  });

  test('has no port where the protocol has none', () => {
    expect(compact({ protocol: 1, icmpType: 8 })).toBe(
      `${STAMP}: shop/web-1 (ID:301) -> shop/api-1 (ID:302) to-endpoint FORWARDED (ICMPv4 EchoRequest)\n`,
    );
    expect(compact({ sourcePort: 0 })).toContain(': shop/web-1 (ID:301) -> shop/api-1:8080 ');
  });

  test.each([
    [0, 'none'],
    [1, 'L3-Only'],
    [2, 'L3-L4'],
    [3, 'L4-Only'],
    [4, 'all'],
    [5, 'L3-Proto'],
    [6, 'Proto-Only'],
  ])('says of match %i %s', (match, word) => {
    expect(compact({ ingress: half('allow', RULE.guardAllows, match) })).toContain(
      ` policy-verdict:${word} INGRESS ALLOWED (`,
    );
  });

  test.each(Object.entries(DROP_REASONS))('names the reason %s', (reason, { text }) => {
    expect(compact({ kind: 'drop', reason: reason as keyof typeof DROP_REASONS })).toContain(` ${text} DROPPED (`);
  });

  test('names a reason that only a later version knows by its word', () => {
    const flow = { ...sampleFlow(REFUSED), drop_reason_desc: 'OF_TOMORROW' } as unknown as Flow;
    expect(compact(flow)).toContain(' OF_TOMORROW DROPPED (');
  });

  test('of an audited flow says so', () => {
    expect(compact({ ...sampleFlow(ADMITTED), verdict: 'AUDIT' })).toContain(' INGRESS AUDITED (');
    expect(compact({ ...sampleFlow(), verdict: 'AUDIT' })).toContain(' to-endpoint AUDIT (');
  });
});

test('--numeric prints addresses, an IPv6 address in brackets when a port follows', () => {
  expect(compact({}, { numeric: true })).toContain(': 10.0.0.1:45232 (ID:301) -> 10.0.0.2:8080 (ID:302) ');
  expect(compact(OVER_IPV6, { numeric: true })).toContain(': [fd00::1]:45232 (ID:301) -> [fd00::2]:8080 (ID:302) ');
  expect(compact({ ...OVER_IPV6, protocol: 58 }, { numeric: true })).toContain(
    ': fd00::1 (ID:301) -> fd00::2 (ID:302) ',
  );
});

test('--print-node-name puts the node behind the time', () => {
  const options = { printNodeName: true };
  expect(compact({}, options)).toContain(`${STAMP} [node-1]: shop/web-1:45232 `);
  expect(print('dict', options, response(sampleFlow()))).toContain(`${STAMP}\n       NODE: node-1\n     SOURCE: `);
  expect(new FlowPrinter('table', { ...PLAIN, ...options }).table([])).toBe(
    'TIMESTAMP   NODE   SOURCE   DESTINATION   TYPE   VERDICT   SUMMARY\n',
  );
});

describe('--print-policy-names', () => {
  const options = { printPolicyNames: true };

  test('names the policies of the half that decided behind the verdict', () => {
    expect(compact(ADMITTED, options)).toContain(' INGRESS ALLOWED BY guard (CiliumNetworkPolicy) (TCP Flags');
    expect(compact({ ingress: half('allow', RULE.twoAllow, 1) }, options)).toContain(
      ' ALLOWED BY guard (CiliumNetworkPolicy), limit (CiliumNetworkPolicy) (TCP Flags',
    );
    expect(compact({ ...TO_WORLD, egress: half('allow', RULE.limitAllows) }, options)).toContain(
      ' EGRESS ALLOWED BY limit (CiliumNetworkPolicy) (TCP Flags',
    );
  });

  test('is silent where no policy decided, and for events that are no policy verdict', () => {
    expect(compact({ ingress: half('allow', RULE.localHost) }, options)).toContain(' ALLOWED (TCP Flags');
    expect(compact(REFUSED, options)).toContain(' DROPPED (TCP Flags');
  });
});

test('colour is put around identities and verdicts', () => {
  const options = { color: true };
  expect(compact(ADMITTED, options)).toContain(
    'shop/web-1:45232 \u001b[35m(ID:301)\u001b[0m -> shop/api-1:8080 \u001b[35m(ID:302)\u001b[0m ' +
      'policy-verdict:L3-L4 INGRESS \u001b[32mALLOWED\u001b[0m (TCP Flags',
  );
  expect(compact(TO_WORLD, options)).toContain('\u001b[36m(world)\u001b[0m to-stack \u001b[32mFORWARDED\u001b[0m');
  expect(compact(REFUSED, options)).toContain('\u001b[31mDROPPED\u001b[0m');
  expect(compact({ ...sampleFlow(), verdict: 'AUDIT' }, options)).toContain('\u001b[33mAUDIT\u001b[0m');
});

test('dict has a line for each field, and a rule between two flows', () => {
  const block =
    `  TIMESTAMP: ${STAMP}\n` +
    '     SOURCE: shop/web-1:45232\n' +
    'DESTINATION: shop/api-1:8080\n' +
    '       TYPE: to-endpoint\n' +
    '    VERDICT: FORWARDED\n' +
    '    SUMMARY: TCP Flags: SYN\n';
  expect(print('dict', {}, response(sampleFlow()), response(sampleFlow()))).toBe(`${block}------------\n${block}`);
});

describe('a table', () => {
  const rows = [response(sampleFlow(ADMITTED)), response(sampleFlow(TO_WORLD))];

  test('has columns as wide as they must be', () => {
    expect(new FlowPrinter('table', PLAIN).table(rows)).toBe(
      'TIMESTAMP             SOURCE             DESTINATION       TYPE                           VERDICT     SUMMARY\n' +
        `${STAMP}   shop/web-1:45232   shop/api-1:8080   policy-verdict:L3-L4 INGRESS   ALLOWED     TCP Flags: SYN; ingress allowed by ${GUARD}#ingress[0]\n` +
        `${STAMP}   shop/web-1:45232   192.0.2.1:8080    to-stack                       FORWARDED   TCP Flags: SYN\n`,
    );
  });

  test('is as wide with colour as without', () => {
    const text = new FlowPrinter('table', { ...PLAIN, color: true }).table(rows);
    expect(text).toContain('INGRESS   \u001b[32mALLOWED\u001b[0m     TCP Flags');
    expect(stripVTControlCharacters(text)).toBe(new FlowPrinter('table', PLAIN).table(rows));
  });

  test('without flows is its head', () => {
    expect(new FlowPrinter('table', PLAIN).table([])).toBe(
      'TIMESTAMP   SOURCE   DESTINATION   TYPE   VERDICT   SUMMARY\n',
    );
  });
});

test('the last column is not padded', () => {
  expect(
    align([
      ['A', 'B'],
      ['long', 'x'],
      ['', 'longer'],
    ]),
  ).toBe('A      B\nlong   x\n       longer\n');
});

test.each(['json', 'jsonpb'] as const)('%s is the response on one line, options or not', (format) => {
  const flow = response(sampleFlow(REFUSED));
  const options = { color: true, numeric: true, printNodeName: true, printPolicyNames: true };
  const text = print(format, options, flow, LOST);
  expect(text.split('\n')).toEqual([JSON.stringify(flow), JSON.stringify(LOST), '']);
});

describe('lost events', () => {
  test('are told in their place', () => {
    expect(print('compact', {}, LOST)).toBe(`${STAMP} EVENTS LOST: OBSERVER_EVENTS_QUEUE CPU(0) 7\n`);
    expect(print('compact', { printNodeName: true }, LOST)).toContain(`${STAMP} [node-1] EVENTS LOST: `);
    expect(print('dict', {}, response(sampleFlow()), LOST).split('------------\n')[1]).toBe(
      `  TIMESTAMP: ${STAMP}\n` +
        '     SOURCE: OBSERVER_EVENTS_QUEUE\n' +
        '       TYPE: EVENTS LOST\n' +
        '    SUMMARY: CPU(0) - 7\n',
    );
  });

  test('are a row of a table', () => {
    expect(new FlowPrinter('table', PLAIN).table([LOST])).toBe(
      'TIMESTAMP             SOURCE                  DESTINATION   TYPE          VERDICT   SUMMARY\n' +
        `${STAMP}   OBSERVER_EVENTS_QUEUE                 EVENTS LOST             CPU(0) - 7\n`,
    );
  });
});

describe('control characters', () => {
  const evil = '\u001b[2J\r\n\u0007\u009b31m';

  test('become visible', () => {
    expect(escapeControls(evil)).toBe('^[[2J\\x0d\\x0a\\x07\\x9b31m');
    expect(escapeControls('\u0000\u007fä→')).toBe('\\x00\\x7fä→');
  });

  test('reach no terminal, wherever in a record they stand', () => {
    const flow = {
      ...sampleFlow(ADMITTED),
      node_name: evil,
      verdict: evil,
      traffic_direction: evil,
      Summary: evil,
      source: { identity: 301, labels: [], namespace: evil, pod_name: evil },
      IP: { source: evil, destination: evil, ipVersion: 'IPv4' },
      ingress_allowed_by: [{ name: evil, kind: evil, namespace: '', labels: [], revision: '1' }],
    } as unknown as Flow;
    const drop = { ...sampleFlow(REFUSED), drop_reason_desc: evil } as unknown as Flow;
    const lost = {
      ...LOST,
      node_name: evil,
      lost_events: { source: evil, num_events_lost: evil },
    } as unknown as FlowResponse;
    const options = { printNodeName: true, printPolicyNames: true };
    const all = [response(flow), response(drop), lost];
    for (const numeric of [false, true]) {
      const table = new FlowPrinter('table', { ...PLAIN, ...options, numeric }).table(all);
      const text = [
        print('compact', { ...options, numeric }, ...all),
        print('dict', { ...options, numeric }, ...all),
        table,
      ];
      for (const each of text) expect(each.replaceAll('\n', '')).toBe(escapeControls(each.replaceAll('\n', '')));
      expect(text.map((each) => each.split('\n').length)).toEqual([4, 22, 5]);
    }
  });
});

test('a time is local, with the day padded by a blank', () => {
  expect(stampMilli(new Date(2026, 10, 24, 1, 2, 3, 4).toISOString())).toBe('Nov 24 01:02:03.004');
  expect(stampMilli(new Date(2026, 0, 4, 10, 15, 2, 123).toISOString())).toBe(STAMP);
});

test('a name of IPv6 that is no pod is its address', () => {
  expect(compact({ ...OVER_IPV6, source: parseAddress('2001:db8::7'), sourceIdentity: 2 })).toContain(
    ': [2001:db8::7]:45232 (world) -> shop/api-1:8080 ',
  );
});
