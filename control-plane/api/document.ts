/** YAML or JSON text -> documents that know the line of every field. */
import { type Document, isAlias, isMap, isNode, isScalar, isSeq, LineCounter, parseAllDocuments } from 'yaml';
import type { ErrorCode } from '../model/error.ts';
import { ERRORS } from '../model/error-codes.ts';
import type { Issue } from '../model/snapshot.ts';

/** An alias bomb is small and well-formed, and expands without end. */
const MAX_ALIASES = 100;
/** Kubernetes' names are DNS subdomains. */
const OBJECT_NAME = /^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$/;

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

export interface Documents {
  readonly manifests: readonly Manifest[];
  readonly issues: readonly Issue[];
  /** false: a part of the text is not YAML. */
  readonly readable: boolean;
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

/** What is wrong with metadata.name and metadata.namespace, by field. */
export function nameProblems(manifest: Manifest): { path: Path; code: ErrorCode; message: string }[] {
  const { metadata } = manifest.value;
  if (!isRecord(metadata)) return [{ path: ['metadata'], code: 'FIELD_REQUIRED', message: 'is required' }];
  const found: { path: Path; code: ErrorCode; message: string }[] = [];
  for (const field of ['name', 'namespace'] as const) {
    const value = metadata[field];
    const path = ['metadata', field];
    if (value === undefined || value === null || value === '') {
      if (field === 'name') found.push({ path, code: 'FIELD_REQUIRED', message: 'is required' });
    } else if (typeof value !== 'string' || !OBJECT_NAME.test(value)) {
      found.push({ path, code: 'FIELD_INVALID', message: `${JSON.stringify(value)} is not a name` });
    }
  }
  return found;
}

/** @param file path of the file, for messages */
export function readDocuments(text: string, file: string): Documents {
  const lines = new LineCounter();
  const issues: Issue[] = [];
  const manifests: Manifest[] = [];
  for (const document of parseAllDocuments(text, { lineCounter: lines })) {
    const error = document.errors[0];
    if (error) {
      const { line } = lines.linePos(error.pos[0]);
      // The library's message goes on with the position and a picture of the line.
      const message = error.message.replace(/ at line \d+, column \d+:.*$/s, '');
      issues.push(issue('YAML_MALFORMED', '', message, `${file}:${line}`, ''));
      continue;
    }
    const manifest = toManifest(document, lines, file, issues);
    if (manifest) manifests.push(manifest);
  }
  return { manifests, issues, readable: !issues.some(({ code }) => code === 'YAML_MALFORMED') };
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
    value = document.toJS({ maxAliasCount: MAX_ALIASES });
  } catch (error) {
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
  let node: unknown = document.contents;
  let offset = startOf(node) ?? 0;
  for (const part of path) {
    if (isAlias(node)) node = node.resolve(document);
    let at: unknown;
    if (isMap(node)) {
      const pair = node.items.find(({ key }) => String(isScalar(key) ? key.value : key) === String(part));
      if (!pair) break;
      at = pair.key;
      node = pair.value;
    } else if (isSeq(node) && typeof part === 'number' && part < node.items.length) {
      at = node.items[part];
      node = at;
    } else break;
    offset = startOf(at) ?? offset;
  }
  return lines.linePos(offset).line;
}

function startOf(node: unknown): number | undefined {
  return isNode(node) ? node.range?.[0] : undefined;
}

export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
