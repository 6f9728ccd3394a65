/** Fields of an object that only in part is ours to read: the rest is Kubernetes' business. */
import { type ErrorCode, SidestepError } from '../model/error.ts';
import { isLabelKey, isLabelValue } from '../model/labels.ts';
import type { Issue } from '../model/snapshot.ts';
import { isRecord, type Manifest, nameProblems, type Path } from './document.ts';
import { IssueList } from './issue-list.ts';

/** Reads fields of one manifest and collects what is wrong with them. */
export class ObjectReader {
  readonly #issues: IssueList;
  readonly #manifest: Manifest;

  constructor(manifest: Manifest) {
    this.#manifest = manifest;
    const object = [manifest.kind, manifest.namespace, manifest.name].filter((part) => part !== '').join('/');
    this.#issues = new IssueList(manifest, object);
    for (const { path, code, message } of nameProblems(manifest)) this.refuse(path, message, code);
  }

  issues(): readonly Issue[] {
    return this.#issues.list();
  }

  at(path: Path): unknown {
    let value: unknown = this.#manifest.value;
    for (const part of path)
      value = isRecord(value) || Array.isArray(value) ? (value as Record<string | number, unknown>)[part] : undefined;
    return value;
  }

  refuse(path: Path, message: string, code: ErrorCode = 'FIELD_INVALID'): void {
    this.#issues.add(code, path, message);
  }

  text(path: Path): string {
    const value = this.at(path);
    if (value === undefined || value === null) return '';
    if (typeof value === 'string') return value;
    this.refuse(path, 'must be a string');
    return '';
  }

  strings(path: Path): ReadonlyMap<string, string> {
    const value = this.at(path);
    if (value === undefined || value === null) return new Map();
    if (!isRecord(value)) {
      this.refuse(path, 'must be a mapping of strings');
      return new Map();
    }
    const entries: [string, string][] = [];
    for (const [key, text] of Object.entries(value)) {
      if (typeof text === 'string') entries.push([key, text]);
      else this.refuse([...path, key], 'must be a string (quote it)');
    }
    return new Map(entries);
  }

  /** metadata.labels. Kubernetes' syntax is checked because identities are told apart by the text of their labels. */
  labels(): ReadonlyMap<string, string> {
    const path = ['metadata', 'labels'];
    const labels = this.strings(path);
    for (const [key, value] of labels)
      if (!isLabelKey(key) || !isLabelValue(value))
        this.refuse([...path, key], `${JSON.stringify(value)} is not a label that Kubernetes would take`);
    return labels;
  }

  list(path: Path): readonly unknown[] {
    const value = this.at(path);
    if (value === undefined || value === null) return [];
    if (Array.isArray(value)) return value;
    this.refuse(path, 'must be a list');
    return [];
  }

  /** Parses a string field, turning what the parser throws into an issue. */
  parsed<T>(path: Path, parse: (text: string) => T): T | undefined {
    try {
      return parse(this.text(path));
    } catch (error) {
      if (!(error instanceof SidestepError)) throw error;
      this.refuse(path, error.message);
      return undefined;
    }
  }
}

export interface Parsed<T> {
  /** undefined: something is wrong with it. */
  readonly object: T | undefined;
  readonly issues: readonly Issue[];
}

export function finish<T>(reader: ObjectReader, object: T): Parsed<T> {
  const issues = reader.issues();
  return { object: issues.length === 0 ? object : undefined, issues };
}
