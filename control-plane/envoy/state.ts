/**
 * What happens to Envoy when? The whole life of the process as a pure function: state and event in, state and effects out.
 * Who performs the effects and where events come from is manager.ts.
 *
 *   stopped ──want──► wanted ──launched──► starting ──ready──► ready ──idle──► draining ──gone──► stopped
 *                       ▲  └─unable─┐   gone, hung, late│        │gone, hung     │want: back to ready
 *                       └──retry── failed ◄─────────────┴────────┘
 */

export type EnvoyState =
  /** No process, and nobody wants one. */
  | 'stopped'
  /** Being prepared: binary and module looked at, configuration written, process started. */
  | 'wanted'
  /** A process runs, its listeners are not there yet. */
  | 'starting'
  | 'ready'
  /** Unwanted for long enough: connections are asked to end, then the process is. */
  | 'draining'
  /** Lost, or could not be started: tried again after a pause. */
  | 'failed';

export type EnvoyEvent =
  | 'want'
  | 'unwant'
  /** A process of an earlier agent runs as we would have started it. */
  | 'found'
  | 'launched'
  | 'unable'
  | 'ready'
  | 'gone'
  | 'hung'
  /** The time of a timer has come: of `start`, `idle`, `drain` (or nobody is connected any more), `end`, `retry`, `health`. */
  | 'late'
  | 'idle'
  | 'drained'
  | 'overdue'
  | 'retry'
  | 'healthy';

/** A timer belongs to the state that set it: every change of state clears them all, before effects are performed. */
export type Timer = 'start' | 'idle' | 'drain' | 'end' | 'retry' | 'health';

export const TIMER_EVENTS = {
  start: 'late',
  idle: 'idle',
  drain: 'drained',
  end: 'overdue',
  retry: 'retry',
  health: 'healthy',
} as const satisfies Record<Timer, EnvoyEvent>;

export type Effect =
  /** Prepare and start; answered by `launched` or `unable`. */
  | 'launch'
  /** SIGKILL. */
  | 'kill'
  /** Nothing is known of the process any more: no pid file, no watch. */
  | 'forget'
  /** Ask connections to close after their next response; `undrain` takes it back. */
  | 'drain'
  | 'undrain'
  /** Ask the process to end. */
  | 'quit'
  | { readonly set: Timer }
  | { readonly clear: Timer };

export interface Machine {
  readonly state: EnvoyState;
  readonly wanted: boolean;
  /** Failures in a row; a time of health ends the row. */
  readonly failures: number;
  /** While draining: the process has been asked to end. */
  readonly ending: boolean;
}

export interface Step {
  readonly machine: Machine;
  readonly effects: readonly Effect[];
}

export const INITIAL: Machine = { state: 'stopped', wanted: false, failures: 0, ending: false };

export interface Pauses {
  readonly startMs: number;
  readonly idleMs: number;
  readonly drainMs: number;
  readonly endMs: number;
  readonly healthMs: number;
  readonly firstRetryMs: number;
  readonly longestRetryMs: number;
}

export const PAUSES: Pauses = {
  startMs: 20_000,
  idleMs: 30_000,
  drainMs: 60_000,
  endMs: 2_000,
  healthMs: 30_000,
  firstRetryMs: 100,
  longestRetryMs: 10_000,
};

/** How long a timer runs; the pause before another try doubles with each failure in a row. */
export function pauseOf(timer: Timer, { failures }: Machine, pauses: Pauses): number {
  if (timer !== 'retry') return pauses[`${timer}Ms`];
  return Math.min(pauses.longestRetryMs, pauses.firstRetryMs * 2 ** Math.min(Math.max(failures - 1, 0), 30));
}

function set(...timers: readonly Timer[]): Effect[] {
  return timers.map((timer) => ({ set: timer }));
}

type Handler = (machine: Machine) => Step;

function to(state: EnvoyState, machine: Machine, ...effects: readonly Effect[]): Step {
  return { machine: { ...machine, state, ending: false }, effects };
}

function stay(machine: Machine, ...effects: readonly Effect[]): Step {
  return { machine, effects };
}

/** An unwanted process ends after its idle time, in whatever state it is then. */
function idleIfUnwanted(machine: Machine): Effect[] {
  return machine.wanted ? [] : set('idle');
}

function launch(machine: Machine): Step {
  return to('wanted', machine, 'launch');
}

function starting(machine: Machine, ...effects: readonly Effect[]): Step {
  return to('starting', machine, ...effects, ...set('start'), ...idleIfUnwanted(machine));
}

function running(machine: Machine, ...effects: readonly Effect[]): Step {
  return to('ready', machine, ...effects, ...set('health'), ...idleIfUnwanted(machine));
}

function lose(machine: Machine, ...effects: readonly Effect[]): Step {
  const failed = { ...machine, failures: machine.failures + 1 };
  return machine.wanted ? to('failed', failed, ...effects, ...set('retry')) : to('stopped', failed, ...effects);
}

function end(machine: Machine): Step {
  const { machine: draining, effects } = to('draining', machine, 'quit', ...set('end'));
  return { machine: { ...draining, ending: true }, effects };
}

const lost: Partial<Record<EnvoyEvent, Handler>> = {
  gone: (m) => lose(m, 'forget'),
  hung: (m) => lose(m, 'kill', 'forget'),
};

/** What is not here changes nothing but `wanted`. */
const TABLE: { readonly [state in EnvoyState]: Partial<Record<EnvoyEvent, Handler>> } = {
  stopped: {
    want: launch,
    // It may have been draining when its agent died.
    found: (m) => starting(m, 'undrain'),
  },
  wanted: {
    launched: (m) => starting(m),
    unable: (m) => lose(m),
  },
  starting: {
    ...lost,
    want: (m) => stay(m, { clear: 'idle' }),
    unwant: (m) => stay(m, ...set('idle')),
    ready: (m) => running(m),
    late: (m) => lose(m, 'kill', 'forget'),
    idle: end,
  },
  ready: {
    ...lost,
    want: (m) => stay(m, { clear: 'idle' }),
    unwant: (m) => stay(m, ...set('idle')),
    idle: (m) => to('draining', m, 'drain', ...set('drain')),
    healthy: (m) => stay({ ...m, failures: 0 }),
  },
  draining: {
    // Too late once it has been asked to end: `gone` starts another.
    want: (m) => (m.ending ? stay(m) : running(m, 'undrain')),
    drained: (m) => (m.ending ? stay(m) : end(m)),
    overdue: (m) => stay(m, 'kill'),
    hung: (m) => stay(m, 'kill'),
    gone: (m) => (m.wanted ? to('wanted', m, 'forget', 'launch') : to('stopped', m, 'forget')),
  },
  failed: {
    retry: launch,
    unwant: (m) => to('stopped', m),
  },
};

export function transition(before: Machine, event: EnvoyEvent): Step {
  const wanted = event === 'want' ? true : event === 'unwant' ? false : before.wanted;
  // Said twice, it is said once: an idle time that runs is not begun anew.
  if (event === 'unwant' && !before.wanted) return stay(before);
  const machine = wanted === before.wanted ? before : { ...before, wanted };
  return TABLE[before.state][event]?.(machine) ?? stay(machine);
}
