/** First connections of many pairs of workloads, at once and timed: test/tools/pairs.c, one process in many namespaces. */
import { pathOf } from '../../control-plane/demo/namespaces.ts';
import { Child } from '../../control-plane/demo/process.ts';
import { tool } from './tools.ts';
import type { Host } from './topology.ts';
import type { Family } from './traffic.ts';

const namespaces = (hosts: readonly Host[]): string[] => hosts.map(({ namespace }) => pathOf(namespace));

export interface Connections {
  readonly answered: number;
  /** Segments that the clients sent again. */
  readonly segments: number;
  /** Of each that was answered: from `connect` to the echo of its first byte. */
  readonly micros: readonly number[];
}

/** One echo server for all; it ends with the namespace of the last. */
export async function echoServers(hosts: readonly Host[], port: number): Promise<Child> {
  const server = Child.start(await tool('pairs'), ['serve', String(port), ...namespaces(hosts)]);
  await server.waitForLine((line) => line === 'listening');
  return server;
}

/**
 * One connection from each to each, all begun before the first answer is read.
 * @param asked called when every SYN is on its way
 * @param timeoutMs of all together
 */
export async function connectAll(
  from: readonly Host[],
  to: readonly Host[],
  family: Family,
  port: number,
  asked: () => void = () => undefined,
  timeoutMs = 10_000,
): Promise<Connections> {
  const targets = to.map((host) => host[family]);
  const args = ['connect', String(port), String(timeoutMs), ...targets, '--', ...namespaces(from)];
  const child = Child.start(await tool('pairs'), args);
  await child.waitForLine((line) => line === 'asked');
  asked();
  return JSON.parse(
    await child.waitForLine((line) => line.startsWith('{'), { timeoutMs: timeoutMs + 5_000 }),
  ) as Connections;
}
