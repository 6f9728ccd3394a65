/**
 * `make bench-auth`: what authentication and encryption between two nodes cost, each figure beside the same without it in one run.
 * Prints the targets beside and judges nothing: a miss is a number. --short runs the same with less of everything; -o json is
 * for machines.
 */
import { loadavg, release } from 'node:os';
import { parseArgs } from 'node:util';
import type { Paired } from '../statistics.ts';
import { Bed } from './bed.ts';
import type { BulkPlan } from './bulk.ts';
import { type FirstConnections, type FirstPlan, firstConnections } from './first.ts';
import { type IdentityCosts, type IdentityPlan, identityCosts } from './identities.ts';
import { type ProvenPlan, provenConnections } from './proven.ts';
import { render } from './report.ts';
import { type Transfer, transfer } from './transfer.ts';

export interface Report {
  readonly kernel: string;
  readonly load: readonly [before: number, after: number];
  readonly first: FirstConnections;
  readonly proven: Paired;
  readonly identities: IdentityCosts;
  readonly transfer: Transfer;
}

interface Plan {
  readonly first: FirstPlan;
  readonly proven: ProvenPlan;
  readonly identities: IdentityPlan;
  readonly bulk: BulkPlan;
}

const { values } = parseArgs({
  options: { short: { type: 'boolean', default: false }, output: { type: 'string', short: 'o', default: 'text' } },
});
const plan: Plan = values.short
  ? {
      first: { rounds: 4, contacts: 10 },
      proven: { rounds: 12, seconds: 0.5 },
      identities: { proofs: 4, connections: 2 },
      bulk: { rounds: 6, seconds: 0.7 },
    }
  : {
      first: { rounds: 20, contacts: 40 },
      proven: { rounds: 40, seconds: 0.5 },
      identities: { proofs: 7, connections: 4 },
      bulk: { rounds: 14, seconds: 0.8 },
    };
/** Pods on each node: for single pairs, and for all pairs of them. */
const FEW = 10;
const MANY = 100;
const progress = (text: string): void => void process.stderr.write(`  … ${text}\n`);

async function measure(): Promise<Report> {
  const [before = 0] = loadavg();
  let first: FirstConnections;
  let proven: Paired;
  {
    await using bed = await Bed.create('few', FEW);
    progress(`first connections: ${plan.first.rounds} rounds of ${FEW} pairs, ${plan.first.contacts} first contacts`);
    first = await firstConnections(bed, plan.first);
    progress(`connections of a proven pair: ${plan.proven.rounds} rounds of ${plan.proven.seconds} s each`);
    proven = await provenConnections(bed, plan.proven);
  }
  let identities: IdentityCosts;
  {
    progress(`${MANY} × ${MANY} identities`);
    await using bed = await Bed.create('many', MANY);
    identities = await identityCosts(bed, plan.identities);
  }
  const transferred = await transfer(plan.bulk, progress);
  const [after = 0] = loadavg();
  return { kernel: release(), load: [before, after], first, proven, identities, transfer: transferred };
}

const report = await measure();
process.stdout.write(values.output === 'json' ? `${JSON.stringify(report)}\n` : render(report));
