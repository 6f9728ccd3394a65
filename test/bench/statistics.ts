/** Paired ratios: one number per pair of runs, their median, and how far to trust it. */

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  const high = sorted[middle] ?? Number.NaN;
  return sorted.length % 2 === 1 ? high : ((sorted[middle - 1] ?? Number.NaN) + high) / 2;
}

export function percentile(values: readonly number[], p: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * p))] ?? Number.NaN;
}

/** A small generator with a seed, so that an interval can be computed again. */
export function random(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

/** 95 % bootstrap interval. @param of what is estimated */
export function interval(values: readonly number[], of = median, seed = 1, rounds = 2000): readonly [number, number] {
  const next = random(seed);
  const estimates = Array.from({ length: rounds }, () =>
    of(Array.from({ length: values.length }, () => values[Math.floor(next() * values.length)] ?? Number.NaN)),
  );
  return [percentile(estimates, 0.025), percentile(estimates, 0.975)];
}

export interface Paired {
  readonly name: string;
  readonly unit: string;
  readonly baseline: number;
  readonly measured: number;
  readonly ratio: number;
  readonly interval: readonly [number, number];
  readonly pairs: number;
}

/** @param higherIsBetter only for the reader; the ratio is always measured / baseline */
export function paired(name: string, unit: string, baseline: readonly number[], measured: readonly number[]): Paired {
  const ratios = measured.map((value, i) => value / (baseline[i] ?? Number.NaN));
  return {
    name,
    unit,
    baseline: median(baseline),
    measured: median(measured),
    ratio: median(ratios),
    interval: interval(ratios),
    pairs: ratios.length,
  };
}
