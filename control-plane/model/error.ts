import { ERRORS, type ErrorCode } from './error-codes.ts';

export type { ErrorCode };

export interface SidestepErrorOptions {
  /** What made it fail; kept for logs. */
  readonly cause?: unknown;
  /** What the reader can do now. Default: the hint of the code's entry in error-codes.ts. */
  readonly hint?: string;
  /** Where: a file, an object, a field path. */
  readonly path?: string;
}

/** Every failure that a user can meet: a stable code, a sentence, and what to do about it. */
export class SidestepError extends Error {
  readonly code: ErrorCode;
  readonly hint: string;
  readonly path: string | undefined;

  constructor(code: ErrorCode, message: string, options: SidestepErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'SidestepError';
    this.code = code;
    this.hint = options.hint ?? ERRORS[code].hint;
    this.path = options.path;
  }

  /** The shape that `-o json` prints and the agent's API answers. */
  toJSON(): { code: ErrorCode; message: string; hint: string; path?: string } {
    const shape = { code: this.code, message: this.message, hint: this.hint };
    return this.path === undefined ? shape : { ...shape, path: this.path };
  }
}
