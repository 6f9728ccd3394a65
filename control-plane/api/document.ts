/** YAML or JSON text -> documents that know the line of every field. */
import { type Document, LineCounter, parseAllDocuments } from 'yaml';
import type { ErrorCode } from '../model/error.ts';
import { ERRORS } from '../model/error-codes.ts';
import type { Issue } from '../model/snapshot.ts';

export type Path = readonly (string | number)[];

/** One object of a file. */
export interface Manifest {
  readonly value: Record<string, unknown>;
  /** file:line of a field, or of its nearest parent that is written down. */
  readonly originOf: (path: Path) => string;
  readonly origin: string;
  readonly kind: string;
  readonly apiVersion: string;
  readonly namespace: string;
  readonly name: string;
}

/** spec.ingress[0].fromEndpoints */
export function formatPath(path: Path): string {
  let text = '';
  for (const part of path) {
    if (typeof part === 'number') text += `[${part}]`;
    else if (/^[\w-]+$/.test(part)) text += text === '' ? part : `.${part}`;
    else text += `[${JSON.stringify(part)}]`;
  }
  return text;
}

export function issue(
  code: ErrorCode,
  path: string,
  message: string,
  origin: string,
  object: string,
  hint?: string,
): Issue {
  return { code, path, message, hint: hint ?? ERRORS[code].hint, origin, object };
}

/** @param file path of the file, for messages */
export function readDocuments(
  text: string,
  file: string,
): { manifests: Manifest[]; issues: Issue[]; readable: boolean } {
  const lines = new LineCounter();
  const documents = parseAllDocuments(text, { lineCounter: lines, uniqueKeys: true, maxAliasCount: 100 } as never);
  const issues: Issue[] = [];
  const manifests: Manifest[] = [];
  for (const document of Array.isArray(documents) ? documents : []) {
    const error = document.errors[0];
    if (error) {
      const line = lines.linePos(error.pos[0]).line;
      issues.push(issue('YAML_MALFORMED', '', error.message.split('\n')[0] ?? error.message, `${file}:${line}`, ''));
      continue;
    }
    const manifest = toManifest(document, lines, file, issues);
    if (manifest) manifests.push(manifest);
  }
  return { manifests, issues, readable: !issues.some((i) => i.code === 'YAML_MALFORMED') };
}

function toManifest(
  document: Document.Parsed,
  lines: LineCounter,
  file: string,
  issues: Issue[],
): Manifest | undefined {
  const originOf = (path: Path): string => `${file}:${lineOf(document, lines, path)}`;
  let value: unknown;
  try {
    value = document.toJS({ maxAliasCount: 100 });
  } catch (error) {
    // An alias bomb is well-formed YAML that expands without end.
    issues.push(issue('YAML_MALFORMED', '', error instanceof Error ? error.message : String(error), originOf([]), ''));
    return undefined;
  }
  if (value === null || value === undefined) return undefined; // an empty document
  if (!isRecord(value)) {
    issues.push(issue('FIELD_INVALID', '', 'a manifest must be a mapping', originOf([]), ''));
    return undefined;
  }
  const { kind, apiVersion, metadata } = value;
  const meta = isRecord(metadata) ? metadata : {};
  const text = (field: unknown): string => (typeof field === 'string' ? field : '');
  return {
    value,
    originOf,
    origin: originOf([]),
    kind: text(kind),
    apiVersion: text(apiVersion),
    namespace: text(meta['namespace']),
    name: text(meta['name']),
  };
}

function lineOf(document: Document.Parsed, lines: LineCounter, path: Path): number {
  for (let length = path.length; length >= 0; length--) {
    const node = length === 0 ? document.contents : document.getIn(path.slice(0, length), true);
    const range = (node as { range?: readonly number[] } | null | undefined)?.range;
    if (range?.[0] !== undefined) return lines.linePos(range[0]).line;
  }
  return 1;
}

export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
