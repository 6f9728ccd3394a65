/**
 * The way to Envoy and back, outside the hooks on the veths: a rule and a route that make steered packets local, the
 * table that keeps connection tracking out of it, the settings of the namespace, and the programs around Envoy. All of it
 * outlives the agent, is looked at again while it runs, and is taken away by uninstall only.
 */
import { existsSync, mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { Kernel, KernelLink, KernelObject, KernelProgram } from './kernel.ts';
import type { Family, PacketRules, PolicyRule } from './kernel-network.ts';
import type { Pins } from './pins.ts';
import { assertSysctls, restoreSysctls } from './sysctls.ts';

/** Marks are hints inside this mask; the rest of the 32 bits is other people's. */
export const MARK_MASK = 0xf00;
export const MARK_TO_ENVOY = 0x200;
/** On what Envoy itself sends where connection tracking does not see the other direction. */
export const MARK_UNTRACKED = 0x400;
export const TABLE_TO_ENVOY = 2004;
/** Before the rules of the system (32766), after `local` (0). */
const RULE_PRIORITY = 9;
const FAMILIES: readonly Family[] = [4, 6];

const RULE: PolicyRule = {
  fwmark: MARK_TO_ENVOY,
  mask: MARK_MASK,
  table: TABLE_TO_ENVOY,
  priority: RULE_PRIORITY,
};

/** Name of the pin, and where the program goes. */
const PROGRAMS = [
  { pin: 'envoy-pick', program: 'pick_envoy' },
  { pin: 'envoy-sockets', program: 'envoy_sockets', hook: 'sock_ops' },
  { pin: 'envoy-connect4', program: 'envoy_connect4', hook: 'connect4' },
  { pin: 'envoy-connect6', program: 'envoy_connect6', hook: 'connect6' },
  { pin: 'envoy-identity', program: 'envoy_identity', hook: 'getsockopt' },
] as const;

export interface SteeringOptions {
  readonly instance: string;
  /** Where the settings that were there before are kept. */
  readonly stateDir: string;
  /** Envoy's cgroup; it must be there. */
  readonly cgroup: string;
}

const sysctlRecord = (stateDir: string): string => join(stateDir, 'sysctls.json');
const STEERED = [{ mark: MARK_TO_ENVOY, mask: MARK_MASK }];
/** Without its rule or its route a steered packet would be forwarded past Envoy. */
const PACKET_RULES: PacketRules = {
  untrackedIn: STEERED,
  untrackedFrom: [],
  untrackedOut: [{ mark: MARK_UNTRACKED, mask: MARK_MASK }],
  notForwarded: STEERED,
  onlyOutBy: [],
};

const tableName = (instance: string): string => `sidestep-${instance}`;

export class Steering {
  readonly #kernel: Kernel;
  readonly #object: KernelObject;
  readonly #pins: Pins;
  readonly #options: SteeringOptions;
  #links: readonly KernelLink[] = [];

  constructor(kernel: Kernel, object: KernelObject, pins: Pins, options: SteeringOptions) {
    this.#kernel = kernel;
    this.#object = object;
    this.#pins = pins;
    this.#options = options;
  }

  /** Puts everything in place, or takes over what an earlier agent put there. Before the first Envoy starts. */
  enable(): void {
    this.assert();
    if (this.#links.length > 0) return;
    mkdirSync(this.#pins.links, { recursive: true });
    this.#links = PROGRAMS.map((each) => this.#attach(each));
  }

  /** Whether it is on. */
  get enabled(): boolean {
    return this.#links.length > 0;
  }

  /** Puts back what something else took away. @returns what was missing, in words */
  assert(): string[] {
    const { instance, stateDir } = this.#options;
    const mended = assertSysctls(sysctlRecord(stateDir)).map((path) => `sysctl ${path}`);
    for (const family of FAMILIES) {
      if (this.#kernel.ensureLocalRoute(family, TABLE_TO_ENVOY))
        mended.push(`IPv${family} route in table ${TABLE_TO_ENVOY}`);
      if (this.#kernel.ensureRule(family, RULE)) mended.push(`IPv${family} rule for table ${TABLE_TO_ENVOY}`);
    }
    if (this.#kernel.ensurePacketTable(tableName(instance), PACKET_RULES))
      mended.push(`nftables table inet ${tableName(instance)}`);
    return mended;
  }

  #attach({ pin, program, ...rest }: (typeof PROGRAMS)[number]): KernelLink {
    const path = join(this.#pins.links, pin);
    const loaded = this.#object.program(program);
    const known = existsSync(path) ? this.#kernel.openLink(path) : undefined;
    const fresh = 'hook' in rest ? this.#kernel.attachCgroup(loaded, this.#options.cgroup, rest.hook) : undefined;
    if (fresh) return this.#replace(known, fresh, path);
    // One sk_lookup program of ours a namespace: the link is kept and the program in it swapped.
    if (known) return swap(known, loaded);
    const link = this.#kernel.attachSkLookup(loaded);
    link.pin(path);
    return link;
  }

  /** The cgroup may be another one than before, so its link is made anew, before the old one goes. */
  #replace(known: KernelLink | undefined, fresh: KernelLink, path: string): KernelLink {
    known?.detach();
    known?.close();
    rmSync(path, { force: true });
    fresh.pin(path);
    return fresh;
  }
}

function swap(link: KernelLink, program: KernelProgram): KernelLink {
  link.update(program);
  return link;
}

/** @returns whether there was anything */
export function removeSteering(kernel: Kernel, pins: Pins, instance: string, stateDir: string): boolean {
  let found = false;
  for (const { pin } of PROGRAMS) {
    const path = join(pins.links, pin);
    if (!existsSync(path)) continue;
    const link = kernel.openLink(path);
    link.detach();
    link.close();
    rmSync(path);
    found = true;
  }
  for (const family of FAMILIES) {
    found = kernel.removeRule(family, RULE) || found;
    found = kernel.removeLocalRoute(family, TABLE_TO_ENVOY) || found;
  }
  found = kernel.removePacketTable(tableName(instance)) || found;
  return restoreSysctls(sysctlRecord(stateDir)) > 0 || found;
}
