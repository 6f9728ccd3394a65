/** What the addon throws -> coded errors. */
import { getSystemErrorName } from 'node:util';
import { type ErrorCode, SidestepError } from '../model/error.ts';

/** Cause of every kernel error. */
export class KernelCause extends Error {
  /** Name of the errno, e.g. 'ENOENT'; '' where there was none. */
  readonly errno: string;
  /** What libbpf and the verifier said, whole. */
  readonly log: string;

  constructor(errno: string, message: string, log: string) {
    super(message);
    this.name = 'KernelCause';
    this.errno = errno;
    this.log = log;
  }
}

function nameOf(errno: number): string {
  if (errno === 0) return '';
  if (errno === 524) return 'ENOTSUPP'; // the kernel's own, unknown to libc
  if (errno === 95) return 'EOPNOTSUPP'; // also ENOTSUP, which the kernel never says
  return getSystemErrorName(-errno);
}

/** The last line of the verifier's log that says something about the program. */
export function usefulLine(log: string): string {
  const lines = log.split('\n').map((line) => line.trim());
  const end = lines.findIndex((line) => /^processed \d+ insns/.test(line));
  const before = (end === -1 ? lines : lines.slice(0, end)).filter(
    (line) => line !== '' && !line.startsWith('libbpf:'),
  );
  return before.at(-1) ?? lines.findLast((line) => line !== '') ?? '';
}

/** The program that is refused, as libbpf says it. */
function refusedProgram(log: string): string | undefined {
  return /^libbpf: prog '([^']+)': failed to load/m.exec(log)?.[1];
}

/** From netlink: a family or protocol that the kernel was built without. */
const UNSUPPORTED = ['EOPNOTSUPP', 'EPROTONOSUPPORT', 'EAFNOSUPPORT'];
const FULL = ['E2BIG', 'ENOSPC', 'ENOMEM'];

/** What the caller was about: the same errno means different things. */
export type Doing = 'load' | 'write' | 'attach' | 'network' | 'other';

export function kernelError(error: unknown, doing: Doing): SidestepError {
  if (error instanceof SidestepError) return error;
  const { errno, message, log } = parse(error);
  const cause = new KernelCause(errno, message, log);
  return new SidestepError(codeOf(errno, log, doing), textOf(message, log, doing), { cause });
}

function parse(error: unknown): { errno: string; message: string; log: string } {
  const text = error instanceof Error ? error.message : String(error);
  try {
    const { errno, message, log } = JSON.parse(text) as { errno: number; message: string; log: string };
    return { errno: nameOf(errno), message, log };
  } catch {
    return { errno: '', message: text, log: '' };
  }
}

function codeOf(errno: string, log: string, doing: Doing): ErrorCode {
  if (doing === 'load' && /parameter mismatch|couldn't reuse pinned map/.test(log)) return 'KERNEL_LAYOUT_MISMATCH';
  // Without permission it is EPERM there; EACCES is an interface that takes no IPv6.
  if (doing === 'network' && errno !== 'EPERM')
    return UNSUPPORTED.includes(errno) ? 'KERNEL_FEATURE_MISSING' : 'KERNEL_CALL_FAILED';
  if (errno === 'EPERM' || (errno === 'EACCES' && doing !== 'load')) return 'KERNEL_PERMISSION';
  if (doing === 'load') return 'KERNEL_LOAD_FAILED';
  if (doing === 'write' && FULL.includes(errno)) return 'MAP_FULL';
  if (doing === 'attach' && (errno === 'EINVAL' || errno === 'EOPNOTSUPP')) return 'KERNEL_FEATURE_MISSING';
  return 'KERNEL_CALL_FAILED';
}

function textOf(message: string, log: string, doing: Doing): string {
  if (doing !== 'load') return message;
  const said = [refusedProgram(log), message, usefulLine(log)];
  return said.filter((each) => each !== undefined && each !== '').join(': ');
}
