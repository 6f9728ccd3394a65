/** What a node says about its certificates, proofs and tunnel; and how others meddle with that tunnel. */

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { SecureView, TunnelView } from '../../control-plane/agent/secure-plane.ts';
import { type ObservedFlow, parseFlow } from '../../control-plane/demo/flows.ts';
import { run } from '../../control-plane/demo/process.ts';
import { UapiClient } from '../../control-plane/encryption/uapi-client.ts';
import type { Cluster, ClusterNode } from './cluster.ts';

/** Of user-space WireGuard: one folder for all network namespaces. */
const SOCKETS = '/var/run/wireguard';
const ANSWER_MS = 2_000;

/** A rule that admits `app=<from>` when it is authenticated. */
export const required = (from: string): object => ({
  fromEndpoints: [{ matchLabels: { app: from } }],
  authentication: { mode: 'required' },
});

/** `app=<app>` is open to `app=<from>`, authenticated. */
export function secured(cluster: Cluster, app: string, from: string): void {
  cluster.policy(`secure-${app}`, { endpointSelector: { matchLabels: { app } }, ingress: [required(from)] });
}

async function json<T>(node: ClusterNode, args: readonly string[]): Promise<T> {
  return JSON.parse((await node.agent.cli([...args, '-o', 'json'], { tolerate: true })).stdout) as T;
}

export const authenticationOf = (node: ClusterNode): Promise<SecureView> => json(node, ['auth', 'list']);
export const tunnelOf = (node: ClusterNode): Promise<TunnelView> => json(node, ['tunnel', 'list']);

/** Each proof as `theirs backend`, in order. */
export async function proofsOf(node: ClusterNode): Promise<readonly string[]> {
  const { proofs } = await authenticationOf(node);
  return proofs.map(({ side, spiffeId }) => `${side} ${spiffeId.split('/').at(-1)}`).sort();
}

/** Of the tunnel while it is up. */
export async function tunnelPid(node: ClusterNode): Promise<number> {
  const { tunnel } = await tunnelOf(node);
  if (tunnel?.pid === undefined) throw new Error(`${node.name}: no tunnel process: ${JSON.stringify(tunnel)}`);
  return tunnel.pid;
}

/** The newest flows that a node keeps. */
export async function flowsOf(node: ClusterNode, ...filters: readonly string[]): Promise<readonly ObservedFlow[]> {
  const { stdout } = await node.agent.cli(['observe', '--all', '-o', 'json', ...filters]);
  return stdout.split('\n').flatMap((line) => parseFlow(line) ?? []);
}

/** Configures a node's WireGuard as `wg set` would, past the agent. @param lines of the configuration protocol */
export async function wgSet(node: ClusterNode, ...lines: readonly string[]): Promise<void> {
  const { tunnel } = await tunnelOf(node);
  await wgSetDevice(tunnel?.name ?? '', ...lines);
}

/** The same while no agent answers. */
export async function wgSetDevice(device: string, ...lines: readonly string[]): Promise<void> {
  await new UapiClient(`${SOCKETS}/${device}.sock`, ANSWER_MS).send(`set=1\n${lines.join('\n')}\n\n`);
}

/** Of a node's tunnel, in base64: what its root can read. */
export const privateKeyOf = ({ agent }: ClusterNode): string =>
  readFileSync(join(agent.settings.stateDirectory, 'tunnel/private.key'), 'utf8').trim();

export const hexKey = (base64: string): string => Buffer.from(base64, 'base64').toString('hex');

/** Runs `ip` in a node. */
export async function ip(node: ClusterNode, ...args: readonly string[]): Promise<string> {
  const { stdout } = await run('ip', ['-n', node.namespace, ...args]);
  return stdout;
}
