/**
 * When and how does this node's tunnel get another key without losing packets? All peers are asked first, then the device gets the
 * key, then each peer is told (auth/session/key-rotation.ts). See docs/adr/0012-tunnel-key-rotation.md.
 */
import type { Sessions } from '../auth/session/sessions.ts';
import type { TunnelBinding } from '../encryption/binding.ts';
import { keyText, newKeys } from '../encryption/keys.ts';
import type { SupervisedTunnel } from '../encryption/supervised.ts';
import { SidestepError } from '../model/error.ts';

export interface RotationParts {
  readonly tunnel: Pick<SupervisedTunnel, 'publicKey' | 'keySince' | 'rotate'>;
  readonly binding: Pick<TunnelBinding, 'nodes' | 'rotated'>;
  readonly sessions: Pick<Sessions, 'rotateKey'>;
  /** Others are told the new public key. */
  readonly announce: () => void;
  readonly log: {
    info(fields: object, message: string): void;
    warn(fields: object, message: string): void;
  };
  /** A key is replaced after this: milliseconds; 0: never by itself. */
  readonly ageMs: number;
  /** From 0 to less than 1. */
  readonly random: () => number;
  readonly pause: (ms: number) => Promise<unknown>;
}

export interface RotationView {
  readonly publicKey: string;
  /** Nodes whose packets go through under it. */
  readonly nodes: readonly string[];
  /** Nodes that know of it and are not reached now: a new session with each brings it. */
  readonly failed: readonly { readonly node: string; readonly message: string }[];
}

/** Of the age: nodes that were set up together do not rotate together. */
const JITTER = 0.1;
/** Between two tries of a rotation that is due and cannot be done. */
const RETRY_MS = 600_000;
/** Of neighbours that rotate at one time: a turn takes a tenth of a second. */
const LONGEST_PAUSE_MS = 1_000;
const MOST_TURNS = 12;

export class TunnelRotation {
  readonly #parts: RotationParts;
  readonly #dueMs: number;
  #running: Promise<RotationView> | undefined;
  #notBefore = 0;

  constructor(parts: RotationParts) {
    this.#parts = parts;
    this.#dueMs = parts.ageMs * (1 - JITTER * parts.random());
  }

  /** @param now milliseconds since the epoch */
  tick(now: number): void {
    const { tunnel, ageMs, log } = this.#parts;
    if (ageMs === 0 || now < this.#notBefore || now < tunnel.keySince + this.#dueMs) return;
    this.#notBefore = now + RETRY_MS;
    this.rotate().catch((error: unknown) => {
      const { code, message } = error instanceof SidestepError ? error : { code: '', message: String(error) };
      log.warn({ code }, `the tunnel's key is to be replaced and stays for now: ${message}`);
    });
  }

  /**
   * Two calls at a time are one.
   * @throws nothing has changed: AUTH_NO_SESSION, AUTH_HANDSHAKE_TIMEOUT: a node that has a tunnel with this one would be cut off.
   *   AUTH_KEY_BUSY: others were replacing theirs all the time. STATE_UNUSABLE
   */
  rotate(): Promise<RotationView> {
    this.#running ??= this.#inTurn().finally(() => {
      this.#running = undefined;
    });
    return this.#running;
  }

  /** Neighbours that rotate at one time step back, each for a time of its own. */
  async #inTurn(): Promise<RotationView> {
    const { random, pause } = this.#parts;
    for (let turn = 1; ; turn++) {
      try {
        return await this.#rotate();
      } catch (error) {
        if (!(error instanceof SidestepError && error.code === 'AUTH_KEY_BUSY') || turn === MOST_TURNS) throw error;
        await pause(LONGEST_PAUSE_MS * random());
      }
    }
  }

  async #rotate(): Promise<RotationView> {
    const { tunnel, binding, sessions, announce, log } = this.#parts;
    const keys = newKeys();
    const { nodes } = binding;
    const failures = await sessions.rotateKey(nodes, keys.publicKey, async () => {
      await tunnel.rotate(keys).catch((error: unknown) => {
        if (tunnel.publicKey !== keys.publicKey) throw error;
        // It has no way back: the device gets the key as soon as it takes any.
        log.warn({ err: error }, "the tunnel's device does not take the new key yet");
      });
      binding.rotated();
    });
    announce();
    const publicKey = keyText(keys.publicKey);
    const failed = [...failures].map(([node, error]) => ({
      node,
      message: error instanceof Error ? error.message : String(error),
    }));
    log.info({ publicKey, nodes: nodes.length, failed }, 'the tunnel has another key');
    return { publicKey, nodes: nodes.filter((node) => !failures.has(node)), failed };
  }
}
