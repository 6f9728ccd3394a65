/** Everything wrong with one object, in the order in which it was noted, each with its path and its line. */
import type { ErrorCode } from '../model/error-codes.ts';
import type { Issue } from '../model/snapshot.ts';
import { formatPath, issue, type Manifest, type Path } from './document.ts';

/** Pages of mistakes help nobody, and a megabyte of them costs memory for as long as the file lies there. */
const MAX_ISSUES = 100;

export class IssueList {
  readonly #issues: Issue[] = [];
  readonly #manifest: Manifest;
  readonly #object: string;
  #more = 0;

  /** @param object its name, for messages */
  constructor(manifest: Manifest, object: string) {
    this.#manifest = manifest;
    this.#object = object;
  }

  /** @param hint without one that of the code */
  add(code: ErrorCode, path: Path, message: string, hint?: string): void {
    if (this.#issues.length >= MAX_ISSUES) {
      this.#more++;
      return;
    }
    const where = formatPath(path);
    const text = where === '' ? message : `${where}: ${message}`;
    this.#issues.push(issue(code, where, text, this.#manifest.originOf(path), this.#object, hint));
  }

  get isEmpty(): boolean {
    return this.#issues.length === 0;
  }

  /** Of very many the first, and how many more there are. */
  list(): readonly Issue[] {
    if (this.#more === 0) return this.#issues;
    const rest = issue('FIELD_INVALID', '', `and ${this.#more} more problems`, this.#manifest.origin, this.#object);
    return [...this.#issues, rest];
  }
}
