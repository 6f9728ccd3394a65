/** What is asked of policy on the command line: the same options for `policy check` and `policy explain`. */
import type { Command } from 'commander';
import { SidestepError } from '../../model/error.ts';
import type { CheckQuestion } from '../../policy/question.ts';

export interface QuestionOptions {
  readonly from?: string;
  readonly to?: string;
  readonly port?: string;
  readonly http?: string;
  readonly header?: readonly string[];
  readonly serverName?: string;
  readonly dnsQuery?: string;
  readonly name?: readonly string[];
}

function append(value: string, before: readonly string[] = []): readonly string[] {
  return [...before, value];
}

export function withQuestion(command: Command): Command {
  return command
    .option('--from <end>', 'who opens the flow: NAMESPACE/POD, an IP address, world or host')
    .option('--to <end>', 'who answers')
    .option('--port <port>', 'PORT/TCP, /UDP or /SCTP; TYPE/ICMP or /ICMPv6')
    .option('--http <request>', "a request that the flow carries, METHOD PATH: 'GET /api?x=1', the path as it is sent")
    .option(
      '--header <header>',
      'NAME=VALUE: a header of the request, repeatable; host=NAME is the Host header (default: an empty one)',
      append,
    )
    .option('--server-name <name>', 'the name that a TLS client asks for (SNI)')
    .option('--dns-query <name>', 'the name that a DNS query asks for')
    .option('--name <name>', 'a name that DNS gave the address of --to for, repeatable; toFQDNs goes by it', append);
}

/** @throws USAGE */
export function questionOf({ from, to, port, name, dnsQuery, ...rest }: QuestionOptions): CheckQuestion {
  if (from === undefined || to === undefined || port === undefined)
    throw new SidestepError('USAGE', 'who asks whom at which port? --from, --to and --port say it');
  const { http, header, serverName } = rest;
  return { from, to, port, http, header, serverName, names: name, query: dnsQuery };
}
