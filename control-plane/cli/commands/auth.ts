/** `sidestep auth list`, `sidestep tunnel list`, `sidestep ca token`: who is proven to whom, and through which tunnel. */
import { type Command, Option } from 'commander';
import type { SecureView, TunnelView } from '../../agent/secure-plane.ts';
import type { RotationView } from '../../agent/tunnel-rotation.ts';
import { withAgentOptions } from '../agent-options.ts';
import { type AgentAddress, getJson } from '../client.ts';
import { EXIT, type Io } from '../io.ts';

interface CommonOptions {
  readonly instance: string;
  readonly runDir?: string;
  readonly output: string;
}

const addressOf = ({ instance, runDir }: CommonOptions): AgentAddress => ({ instance, runDir });

function withCommonOptions(command: Command): Command {
  return withAgentOptions(command).addOption(
    new Option('-o, --output <format>', 'how to print').choices(['text', 'json']).default('text'),
  );
}

const print = (io: Io, { output }: CommonOptions, value: unknown, text: string): void =>
  io.out(output === 'json' ? `${JSON.stringify(value)}\n` : text);

export function addAuthCommands(program: Command, io: Io): void {
  const auth = program
    .command('auth')
    .description('who has proven which identity to whom')
    .command('list')
    .description('certificates of this node, sessions with other nodes, and what was proven in them')
    .addHelpText(
      'after',
      '\nExamples:\n  sidestep auth list\n  sidestep auth list -o json | jq .proofs\n\nExit: 0 fine, 79 something that is wanted is missing, 1 no agent answers.',
    );
  withCommonOptions(auth).action(async (options: CommonOptions) => {
    const view = await getJson<SecureView | null>(addressOf(options), '/v1/authentication');
    print(io, options, view, authText(view));
    const missing = view !== null && (view.trouble.length > 0 || view.peers.some(({ state }) => state === 'waiting'));
    io.setExitCode(missing ? EXIT.FOUND : EXIT.FINE);
  });

  const tunnels = program.command('tunnel').description('the encrypted tunnel between the nodes');
  const tunnel = tunnels
    .command('list')
    .description("this node's end and every peer: its addresses, its last handshake, what it carried")
    .addHelpText(
      'after',
      '\nExamples:\n  sidestep tunnel list\n  sidestep tunnel list -o json | jq .tunnel.kind\n\nExit: 0 fine, 79 it is wanted and down, 1 no agent answers.',
    );
  withCommonOptions(tunnel).action(async (options: CommonOptions) => {
    const view = await getJson<TunnelView>(addressOf(options), '/v1/tunnel');
    print(io, options, view, tunnelText(view));
    io.setExitCode(view.tunnel?.state === 'down' ? EXIT.FOUND : EXIT.FINE);
  });

  const rotation = tunnels
    .command('rotate')
    .description("replaces this node's key of the tunnel, without loss; refused while a node that has a tunnel is away")
    .addHelpText(
      'after',
      '\nExample:\n  sidestep tunnel rotate\n\nExit: 0 fine, 79 replaced, and a node is not reached under it yet, 65 refused: nothing has changed, 1 no agent answers.',
    );
  withCommonOptions(rotation).action(async (options: CommonOptions) => {
    const view = await getJson<RotationView>(addressOf(options), '/v1/tunnel/rotate');
    print(io, options, view, rotationText(view));
    io.setExitCode(view.failed.length > 0 ? EXIT.FOUND : EXIT.FINE);
  });

  const token = program
    .command('ca')
    .description('the embedded certificate authority')
    .command('token <node>')
    .description('a token with which a node gets its first certificate; good once')
    .option('--ttl <seconds>', 'how long it is good', '3600')
    .addHelpText(
      'after',
      '\nExample, on the node whose agent was started with --ca true:\n  sidestep ca token node-2 > join-token\n  then, on node-2: sidestep agent … --join-token-file /etc/sidestep/join-token',
    );
  withCommonOptions(token).action(async (node: string, options: CommonOptions & { ttl: string }) => {
    const query = new URLSearchParams({ node, ttlMs: String(Number(options.ttl) * 1000) });
    const made = await getJson<{ token: string }>(addressOf(options), `/v1/join-token?${query}`);
    print(io, options, made, `${made.token}\n`);
  });
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string[] {
  const all = [head, ...rows];
  const widths = head.map((_, i) => Math.max(...all.map((row) => (row[i] ?? '').length)));
  const line = (row: readonly string[]): string =>
    row
      .map((cell, i) => cell.padEnd(widths[i] ?? 0))
      .join('  ')
      .trimEnd();
  return rows.length === 0 ? [] : ['', ...all.map(line)];
}

const iso = (ms: number): string => new Date(ms).toISOString();

export function authText(view: SecureView | null): string {
  if (view === null) return 'No policy asks for authentication.\n';
  const { source, node, held } = view;
  const authority = source.authority ? ', this agent holds its key' : '';
  return `${[
    `Certificates  ${source.kind}${authority}, trust domain ${source.trustDomain}`,
    `This node     ${node.spiffeId}${node.expires ? `, until ${node.expires}` : ': no certificate'}`,
    ...view.trouble.map(({ spiffeId, code, message }) => `‼ ${spiffeId || source.kind}: ${code}: ${message}`),
    ...table(
      ['OUR CERTIFICATES', 'SERIAL', 'EXPIRES'],
      view.certificates.map((each) => [each.spiffeId, each.serial, each.expires]),
    ),
    ...table(
      ['NODE', 'SESSION', 'SINCE', 'ADDRESS', 'EPOCH', 'LAST ERROR'],
      view.peers.map(({ node: name, state, since, address, epoch, lastError }) => [
        name,
        state,
        iso(since),
        address ?? '',
        String(epoch ?? ''),
        lastError ? `${lastError.code}: ${lastError.text}` : '',
      ]),
    ),
    ...table(
      ['NODE', 'WHOSE', 'IDENTITY', 'SERIAL', 'EXPIRES', 'EPOCH'],
      view.proofs.map((proof) => [
        proof.node,
        proof.side,
        proof.spiffeId,
        proof.serial,
        iso(proof.expires),
        String(proof.epoch),
      ]),
    ),
    '',
    `Packets held  ${held.held}: ${held.released} released, ${held.unproven} unproven, ${held.overflowed} over the limit, ${held.waiting} waiting`,
  ].join('\n')}\n`;
}

export function rotationText({ publicKey, nodes, failed }: RotationView): string {
  return `${[
    `Public key  ${publicKey}`,
    `In use with ${nodes.length === 0 ? 'no node' : nodes.join(', ')}`,
    ...failed.map(({ node, message }) => `‼ ${node}: ${message}`),
  ].join('\n')}\n`;
}

export function tunnelText({ encryption, tunnel, peers }: TunnelView): string {
  if (tunnel === undefined) return `Encryption ${encryption}: no tunnel is needed.\n`;
  const { name, state, kind, pid, port, mtu, publicKey, lastFailure } = tunnel;
  return `${[
    `Encryption  ${encryption}`,
    `Tunnel      ${name} ${state}, ${kind} WireGuard${pid === undefined ? '' : `, pid ${pid}`}, UDP ${port}, MTU ${mtu ?? '?'}`,
    `Public key  ${publicKey}`,
    ...(lastFailure ? [`‼ ${lastFailure.at}: ${lastFailure.code}: ${lastFailure.message}`] : []),
    ...table(
      ['NODE', 'ENDPOINT', 'LAST HANDSHAKE', 'RECEIVED', 'SENT', 'ADDRESSES'],
      peers.map((peer) => [
        peer.node,
        peer.endpoint,
        peer.lastHandshake,
        String(peer.received),
        String(peer.sent),
        peer.allowed.join(' '),
      ]),
    ),
  ].join('\n')}\n`;
}
