/** Listens on what is between the nodes: everything that passes is kept in a file and can be looked through. */
import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { inside } from '../../control-plane/demo/namespaces.ts';
import { Child } from '../../control-plane/demo/process.ts';
import type { Cluster } from './cluster.ts';
import { ROOT } from './tools.ts';

export interface WireReport {
  readonly frames: number;
  /** UDP frames to or from the tunnel's port. */
  readonly tunnel: number;
  /** TCP frames between agents (sessions and the authority). */
  readonly agents: number;
  /** Everything else but ARP, neighbour discovery and multicast, in words: `10.71.0.10:40000 > 10.72.0.11:8080 TCP`. */
  readonly others: readonly string[];
  /** How often the marker was seen in any frame. */
  readonly markers: number;
  /** Frames with a part of an IP packet. */
  readonly fragments: number;
}

export class Wire {
  readonly #child: Child;
  readonly #file: string;

  private constructor(child: Child, file: string) {
    this.#child = child;
    this.#file = file;
  }

  /** @param marker a text to look for in every frame */
  static async listen(cluster: Cluster, marker: string): Promise<Wire> {
    const file = join(cluster.folder, `wire-${process.hrtime.bigint()}.json`);
    const child = Child.start(
      'nsenter',
      inside(cluster.wire, ['python3', join(ROOT, 'test/tools/wire.py'), file, marker]),
    );
    await child.waitForLine((line) => line === 'listening');
    return new Wire(child, file);
  }

  /** Ends it and tells what was seen. */
  async stop(): Promise<WireReport> {
    this.#child.endInput();
    await this.#child.exited;
    const report = JSON.parse(readFileSync(this.#file, 'utf8')) as WireReport;
    rmSync(this.#file);
    return report;
  }
}
