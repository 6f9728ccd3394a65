/** A policy file renamed into place → the first packet that is treated the new way. */
import { admit, admitNobody } from '../lib/policies.ts';
import { PORT, type Rig } from './rig.ts';
import { percentile } from './statistics.ts';

/** Probes a second: the resolution of the answer is the pause between two. */
const PROBES_PER_SECOND = 10_000;
/** Time for each edit to show. */
const PAUSE_MS = 60;
/** A pause between two arrivals that is longer than this is an edit at work. */
const GAP_US = 20_000;

export interface Reaction {
  readonly edits: number;
  /** Edits whose effect was not seen. */
  readonly unseen: number;
  /** Milliseconds. */
  readonly p50: number;
  readonly p99: number;
  readonly worst: number;
}

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/**
 * Probes carry the time they were sent. A policy that refuses them ends their arrival: the last one that came through
 * tells when; one that admits them again lets the first through.
 */
export async function reaction(rig: Rig, edits: number): Promise<Reaction> {
  const { client, server } = rig.meshed;
  const seconds = (edits * PAUSE_MS) / 1000 + 4;
  const receiver = await rig.listen(server, 1, ['gaps', PORT + 3, seconds + 1, GAP_US]);
  const sender = rig.load(client, 0, ['stamps', server.ipv4, PORT + 3, seconds, PROBES_PER_SECOND]);
  await pause(500);
  const made: { at: number; kind: 'refuse' | 'admit' }[] = [];
  for (let i = 0; i < edits; i++) {
    const kind = i % 2 === 0 ? 'refuse' : 'admit';
    const at = Number(process.hrtime.bigint());
    rig.system.policy('ingress', kind === 'refuse' ? admitNobody('server') : admit('server', ['client']));
    made.push({ at, kind });
    // Not in step with anything that ticks.
    await pause(PAUSE_MS - 10 + ((i * 7) % 20));
  }
  await sender;
  await receiver.stop();
  const gaps = receiver.lines
    .filter((line) => line.includes('"before"'))
    .map((line) => JSON.parse(line) as { before: number; after: number });
  const taken = made.map(({ at, kind }, i) => {
    const next = made[i + 1]?.at ?? Number.POSITIVE_INFINITY;
    const moments = gaps.map(({ before, after }) => (kind === 'refuse' ? before : after));
    // The end of one gap or the start of the next: whichever falls between this edit and the one after it.
    const moment = moments.find((time) => time >= at - 1e6 && time < next);
    return moment === undefined ? undefined : Math.max(0, moment - at) / 1e6;
  });
  const seen = taken.filter((ms) => ms !== undefined);
  return {
    edits,
    unseen: edits - seen.length,
    p50: percentile(seen, 0.5),
    p99: percentile(seen, 0.99),
    worst: Math.max(...seen),
  };
}
