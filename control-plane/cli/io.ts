/** Where commands write. Data goes to stdout, notes to stderr. */
export interface Io {
  readonly out: (text: string) => void;
  readonly err: (text: string) => void;
  setExitCode(code: number): void;
  /** Whether stdout takes colour. */
  readonly color: boolean;
}

/** Exit codes, after sysexits and istioctl: 79 is "worked, and found something". */
export const EXIT = { FINE: 0, FAILED: 1, USAGE: 64, BAD_INPUT: 65, FOUND: 79 } as const;

/** NO_COLOR and FORCE_COLOR (no-color.org), TERM=dumb, and no colour into a pipe. */
export function wantsColor(mode: string, terminal: boolean, environment: NodeJS.ProcessEnv): boolean {
  if (mode === 'always') return true;
  if (mode === 'never' || environment['NO_COLOR']) return false;
  if (environment['FORCE_COLOR'] && environment['FORCE_COLOR'] !== '0') return true;
  return terminal && environment['TERM'] !== 'dumb';
}

export function processIo(): Io {
  // A reader that went away (`| head`) ends us quietly.
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') process.exit(process.exitCode ?? 0);
    throw error;
  });
  return {
    out: (text) => void process.stdout.write(text),
    err: (text) => void process.stderr.write(text),
    setExitCode: (code) => {
      process.exitCode = code;
    },
    color: wantsColor('auto', process.stdout.isTTY === true, process.env),
  };
}
