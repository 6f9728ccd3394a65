/** Sets the demo's stage: node, workloads, manifests, web server, agent; and gives the acts their means to act on it. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { AgentProcess } from './agent-process.ts';
import { type Cast, NAMESPACE, NODE_NAME, PORT, type Role, rolesOf, SECOND_NODE_NAME } from './cast.ts';
import { FlowFollower } from './flows.ts';
import { ManifestFolder, namespaceManifest, podManifest } from './manifests.ts';
import { inside } from './namespaces.ts';
import { attachRouted, createNode } from './network.ts';
import { Child } from './process.ts';
import type { DemoRecord } from './record.ts';
import { connectNodes } from './wire.ts';
import type { RequestOutcome } from './workload.ts';

export interface ClientSettings {
  readonly count?: number;
  readonly intervalMs?: number;
  readonly keepAlive?: boolean;
  readonly method?: string;
}

/** How long the client waits; a refused one hears nothing at all. */
export const TIMEOUT_MS = 700;

/** Addresses of the nodes on what is between them. */
const UPLINKS = [
  { ipv4: '198.51.100.1', ipv6: '2001:db8:51::1' },
  { ipv4: '198.51.100.2', ipv6: '2001:db8:51::2' },
] as const;

/** To the pods of the node that is behind `via`; see `castOf`. */
const routesTo = (node: number, via: { readonly ipv4: string; readonly ipv6: string }) => [
  { prefix: `10.${node}.0.0/16`, via: via.ipv4 },
  { prefix: `fd${node}::/64`, via: via.ipv6 },
];

export class Stage {
  readonly cast: Cast;
  readonly agent: AgentProcess;
  readonly secondAgent: AgentProcess;
  readonly manifests: ManifestFolder;
  readonly signal: AbortSignal;
  readonly #command: readonly string[];
  readonly #joinToken: string;
  readonly #clients: Child[] = [];
  #server: Child | undefined;
  #flows: FlowFollower | undefined;

  constructor(cast: Cast, record: DemoRecord, command: readonly string[], signal: AbortSignal) {
    this.cast = cast;
    this.signal = signal;
    // Whatever is being waited for then ends at once, and the next step throws.
    signal.addEventListener('abort', () => this.killAll());
    this.#command = command;
    const folder = (name: string): string => join(record.folder, name);
    this.manifests = new ManifestFolder(folder('manifests'));
    const agent = (place: 0 | 1, node: string, suffix: string, extraArguments: readonly string[]): AgentProcess => {
      const stateDirectory = folder(`state${suffix}`);
      mkdirSync(stateDirectory, { recursive: true });
      return new AgentProcess({
        command,
        namespace: record.namespaces[place] ?? '',
        node,
        instance: record.instances[place] ?? '',
        source: this.manifests.path,
        stateDirectory,
        logFile: folder(`agent${suffix}.log`),
        extraArguments,
      });
    };
    this.agent = agent(0, NODE_NAME, '', [
      // Envoy's usual half a minute of patience would be the longest scene.
      ...['--envoy-idle-seconds', '1'],
      ...['--ca', 'true', '--node-addresses', UPLINKS[0].ipv4],
    ]);
    this.#joinToken = folder('join-token');
    this.secondAgent = agent(1, SECOND_NODE_NAME, '-2', [
      ...['--ca', 'false', '--join-token-file', this.#joinToken, '--node-addresses', UPLINKS[1].ipv4],
    ]);
  }

  get url(): string {
    return `http://${this.cast.backend.attachment.ipv4}:${PORT}/api/v1/data`;
  }

  /** Builds everything, one step after the other; an abort takes effect between two steps. */
  async setUp(): Promise<void> {
    this.signal.throwIfAborted();
    await createNode(this.cast.node);
    for (const role of rolesOf(this.cast)) {
      this.signal.throwIfAborted();
      await attachRouted(this.cast.node, role.attachment);
    }
    this.manifests.write('namespace.yaml', namespaceManifest(NAMESPACE));
    for (const role of rolesOf(this.cast)) this.announce(role, NODE_NAME);
    await this.#connectNodes();
    this.signal.throwIfAborted();
    this.#server = this.#workload(this.cast.backend, ['serve', '--port', String(PORT)]);
    await this.#server.waitForLine((line) => line === 'listening');
    await this.startAgent();
  }

  /** The wire is part of the node's own network: it is there before an agent is. */
  async #connectNodes(): Promise<void> {
    const { node, second, remote, wire } = this.cast;
    this.signal.throwIfAborted();
    await createNode(second);
    await attachRouted(second, remote.attachment);
    this.signal.throwIfAborted();
    await connectNodes(wire, [
      { ...UPLINKS[0], namespace: node.namespace, routes: routesTo(78, UPLINKS[1]) },
      { ...UPLINKS[1], namespace: second.namespace, routes: routesTo(77, UPLINKS[0]) },
    ]);
  }

  /** Writes a workload's manifest. @param serviceAccount whom its certificate names */
  announce({ pod, app, attachment }: Role, node: string, serviceAccount = app): void {
    const manifest = {
      namespace: NAMESPACE,
      name: pod,
      labels: { app },
      addresses: [attachment.ipv4, attachment.ipv6],
      netns: attachment.namespace,
      node,
      serviceAccount,
    };
    this.manifests.write(`pod-${pod}.yaml`, podManifest(manifest));
  }

  /** The second node's agent, with a token from the first one's. */
  async startSecondAgent(): Promise<void> {
    this.signal.throwIfAborted();
    const { stdout } = await this.agent.cli(['ca', 'token', SECOND_NODE_NAME]);
    writeFileSync(this.#joinToken, stdout, { mode: 0o600 });
    await this.secondAgent.start({ signal: this.signal });
  }

  async startAgent(): Promise<void> {
    this.signal.throwIfAborted();
    await this.agent.start({ signal: this.signal });
    await this.#flows?.stop();
    this.#flows = FlowFollower.start(this.#command, this.agent.settings.instance, this.cast.node.namespace);
  }

  get flows(): FlowFollower {
    if (this.#flows === undefined) throw new Error('the agent has not been started');
    return this.#flows;
  }

  /** A client in a workload that keeps asking the backend until `stop`, or `count` times. */
  client(role: Role, settings: ClientSettings = {}): Client {
    this.signal.throwIfAborted();
    const { count, intervalMs = 50, keepAlive = false, method = 'GET' } = settings;
    const options = [
      '--url',
      this.url,
      '--interval',
      String(intervalMs),
      '--timeout',
      String(TIMEOUT_MS),
      '--method',
      method,
    ];
    if (count !== undefined) options.push('--count', String(count));
    if (keepAlive) options.push('--keep-alive');
    const child = this.#workload(role, ['ask', ...options]);
    this.#clients.push(child);
    return new Client(child);
  }

  #workload(role: Role, args: readonly string[]): Child {
    return Child.start('nsenter', inside(role.attachment.namespace, [...this.#command, 'demo-workload', ...args]));
  }

  /** At once, without waiting. */
  killAll(): void {
    for (const child of [...this.#clients, this.#server]) child?.kill('SIGKILL');
    this.#flows?.kill();
  }

  /** Ends clients and followers. The rest goes with the namespaces. */
  async strike(): Promise<void> {
    await Promise.all(this.#clients.map((client) => client.stop()));
    await this.#flows?.stop();
  }

  /** Lets the demo end while agent and web server go on. */
  release(): void {
    this.#server?.release();
    this.agent.release();
    this.secondAgent.release();
  }
}

/** A client's outcomes as they come. */
export class Client {
  readonly #child: Child;
  readonly #outcomes: RequestOutcome[] = [];

  constructor(child: Child) {
    this.#child = child;
  }

  get outcomes(): readonly RequestOutcome[] {
    for (const line of this.#child.lines.slice(this.#outcomes.length))
      this.#outcomes.push(JSON.parse(line) as RequestOutcome);
    return this.#outcomes;
  }

  /** Waits until `enough` of the outcomes are there. @returns false when `timeoutMs` pass or the client ends without them */
  async until(enough: (outcomes: readonly RequestOutcome[]) => boolean, timeoutMs = 5_000): Promise<boolean> {
    return this.#child
      .waitForLine(() => enough(this.outcomes), { timeoutMs })
      .then(
        () => true,
        () => false,
      );
  }

  /** Waits until a client with a count is done. */
  async finished(): Promise<readonly RequestOutcome[]> {
    await this.#child.exited;
    return this.outcomes;
  }

  /** Lets the request under way end. */
  async stop(): Promise<readonly RequestOutcome[]> {
    this.#child.endInput();
    return this.finished();
  }
}
