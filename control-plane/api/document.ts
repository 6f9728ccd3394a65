/** YAML or JSON text -> documents that know the line of every field. */
import { type Document, isAlias, isMap, isNode, isScalar, isSeq, LineCounter, parseAllDocuments } from 'yaml';
import type { ErrorCode } from '../model/error.ts';
import { ERRORS } from '../model/error-codes.ts';
import type { Issue } from '../model/snapshot.ts';
import { lineOfPath, readPlainYaml } from './plain-yaml.ts';

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

/** Between documents; a comment may follow. */
const MARKER = /^---(?: *| +#.*)$/gm;
/** Directives, ends of documents, and markers with something behind: only the whole text can be read. */
const UNDIVIDED = /^(?:%|\.\.\.|---(?! *$| +#))/m;

interface Part {
  readonly text: string;
  /** Line of the file that it begins on; 0 is the first. */
  readonly line: number;
}

/** @param file path of the file, for messages */
export function readDocuments(text: string, file: string): Documents {
  const issues: Issue[] = [];
  const manifests: Manifest[] = [];
  for (const part of partsOf(text)) {
    const plain = readPlainYaml(part.text);
    if (plain === undefined) manifests.push(...readPart(part, file, issues));
    else {
      const originOf = (path: Path): string => `${file}:${part.line + lineOfPath(plain, path) + 1}`;
      manifests.push(...toManifest(plain.value, originOf, issues));
    }
  }
  return { manifests, issues, readable: !issues.some(({ code }) => code === 'YAML_MALFORMED') };
}

function partsOf(text: string): Part[] {
  if (UNDIVIDED.test(text)) return [{ text, line: 0 }];
  const parts: Part[] = [];
  let start = 0;
  let line = 0;
  const add = (end: number): void => {
    const part = text.slice(start, end);
    parts.push({ text: part, line });
    line += linesIn(part);
    start = end;
  };
  for (const marker of text.matchAll(MARKER)) {
    add(marker.index);
    start += marker[0].length;
  }
  add(text.length);
  return parts;
}

function linesIn(text: string): number {
  let count = 0;
  for (let at = text.indexOf('\n'); at !== -1; at = text.indexOf('\n', at + 1)) count++;
  return count;
}

/** With the general parser, which makes a tree of every character. */
function readPart({ text, line: offset }: Part, file: string, issues: Issue[]): Manifest[] {
  const lines = new LineCounter();
  const originAt = (line: number): string => `${file}:${offset + line}`;
  try {
    return parseAllDocuments(text, { lineCounter: lines, logLevel: 'error' }).flatMap((document) => {
      const error = document.errors[0];
      if (error === undefined) {
        const originOf = (path: Path): string => originAt(lineOf(document, lines, path));
        return toManifest(document.toJS({ maxAliasCount: MAX_ALIASES }), originOf, issues);
      }
      // The library's message goes on with the position and a picture of the line.
      const message = error.message.replace(/ at line \d+, column \d+:.*$/s, '');
      issues.push(issue('YAML_MALFORMED', '', message, originAt(lines.linePos(error.pos[0]).line), ''));
      return [];
    });
  } catch (error) {
    // Too many aliases, or brackets in brackets beyond what a stack holds.
    issues.push(issue('YAML_MALFORMED', '', error instanceof Error ? error.message : String(error), originAt(1), ''));
    return [];
  }
}

function toManifest(value: unknown, originOf: Manifest['originOf'], issues: Issue[]): Manifest[] {
  if (value === null || value === undefined) return []; // an empty document
  if (!isRecord(value)) {
    issues.push(issue('FIELD_INVALID', '', 'a manifest must be a mapping', originOf([]), ''));
    return [];
  }
  const { kind, apiVersion, metadata } = value;
  const meta = isRecord(metadata) ? metadata : {};
  const text = (field: unknown): string => (typeof field === 'string' ? field : '');
  const manifest: Manifest = {
    value,
    originOf,
    origin: originOf([]),
    kind: text(kind),
    apiVersion: text(apiVersion),
    namespace: text(meta['namespace']),
    name: text(meta['name']),
  };
  return [manifest];
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
