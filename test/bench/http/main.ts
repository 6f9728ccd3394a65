/**
 * `make bench-http`: one Envoy for the node, started by Sidestep for an HTTP rule, against the ways of others, in one run.
 * Prints ratios beside their goals and judges nothing: a miss is a number. --short runs the same with less of everything;
 * -o json is for machines.
 */
import { loadavg, release } from 'node:os';
import { parseArgs } from 'node:util';
import { Bed } from './bed.ts';
import { type Comparison, compare, type Plan } from './comparison.ts';
import { type Edits, type Enforcement, enforcement } from './enforcement.ts';
import { type Memory, memory, type Sizes } from './memory.ts';
import { render } from './report.ts';

export interface Report {
  readonly kernel: string;
  readonly loadBefore: number;
  readonly comparison: Comparison;
  readonly enforcement: Enforcement;
  readonly memory: Memory;
}

const { values } = parseArgs({
  options: { short: { type: 'boolean', default: false }, output: { type: 'string', short: 'o', default: 'text' } },
});
const plan: { readonly comparison: Plan; readonly edits: Edits; readonly sizes: Sizes } = values.short
  ? { comparison: { rounds: 2, seconds: 1 }, edits: { cold: 5, warm: 10 }, sizes: { pods: [4, 8, 16], starts: 1 } }
  : {
      comparison: { rounds: 8, seconds: 2.5 },
      edits: { cold: 24, warm: 60 },
      sizes: { pods: [10, 20, 40], starts: 3 },
    };
const progress = (text: string): void => void process.stderr.write(`  … ${text}\n`);

async function measure(): Promise<Report> {
  const head = { kernel: release(), loadBefore: loadavg()[0] ?? 0 };
  let comparison: Comparison;
  {
    await using bed = await Bed.create();
    comparison = await compare(bed, plan.comparison, progress);
  }
  progress(`the first rule, ${plan.edits.cold} times without an Envoy and ${plan.edits.warm} times with one`);
  const enforced = await enforcement(plan.edits);
  progress(`memory with ${plan.sizes.pods.join(', ')} pods`);
  return { ...head, comparison, enforcement: enforced, memory: await memory(plan.sizes) };
}

const report = await measure();
process.stdout.write(values.output === 'json' ? `${JSON.stringify(report)}\n` : render(report));
