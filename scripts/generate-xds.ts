/**
 * proto/xds.yaml and the protos it names -> control-plane/generated/xds.ts: the table that the codec works by, and the
 * types of the messages. Only names and numbers of the listed messages and of what they refer to.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import protobuf from 'protobufjs';
import { parse } from 'yaml';
import { z } from 'zod';
import { loadProtos } from './xds-protos.ts';

const Wanted = z.strictObject({
  roots: z.array(z.string()),
  fields: z.record(z.string(), z.union([z.array(z.string()), z.literal('all')])),
});

const here = new URL('../', import.meta.url);
const wanted = Wanted.parse(parse(readFileSync(new URL('proto/xds.yaml', here), 'utf8')));
const protos = loadProtos(wanted.roots);

const fullName = (type: protobuf.ReflectionObject): string => type.fullName.slice(1);
const quoted = (text: string): string => `'${text}'`;

const messages = new Map<string, protobuf.Field[]>();
const enums = new Map<string, Readonly<Record<string, number>>>();

function add(type: protobuf.Type): void {
  const name = fullName(type);
  if (messages.has(name)) return;
  const only = wanted.fields[name];
  const fields = type.fieldsArray.filter((field) => only === undefined || only === 'all' || only.includes(field.name));
  if (Array.isArray(only))
    for (const field of only)
      if (type.fields[field] === undefined) throw new Error(`proto/xds.yaml: ${name} has no field ${field}`);
  messages.set(name, fields);
  for (const { resolvedType } of fields) {
    if (resolvedType instanceof protobuf.Type) add(resolvedType);
    else if (resolvedType instanceof protobuf.Enum) enums.set(fullName(resolvedType), resolvedType.values);
  }
}

for (const name of wanted.roots) add(protos.lookupType(name));
const unused = Object.keys(wanted.fields).filter((name) => !messages.has(name));
if (unused.length > 0) throw new Error(`proto/xds.yaml: nothing refers to ${unused.join(', ')}`);

/** protobufjs brings the well-known types along under names of its own style. */
const nameOf = ({ name }: protobuf.ReflectionObject): string => name.replace(/[A-Z]/g, (c) => `_${c.toLowerCase()}`);

/** `number[|oneof] [repeated |map ]type` */
function describe(field: protobuf.Field): string {
  if (field instanceof protobuf.MapField && field.keyType !== 'string')
    throw new Error(`${field.fullName}: the codec knows only strings as keys`);
  const oneof = field.partOf === null || field.partOf.isProto3Optional ? '' : `|${field.partOf.name}`;
  const kind = field instanceof protobuf.MapField ? 'map ' : field.repeated ? 'repeated ' : '';
  return `${field.id}${oneof} ${kind}${field.resolvedType === null ? field.type : fullName(field.resolvedType)}`;
}

function typeOf(field: protobuf.Field): string {
  const { resolvedType } = field;
  const one =
    resolvedType === null
      ? ({ string: 'string', bool: 'boolean', bytes: 'Uint8Array' }[field.type] ?? 'number')
      : fullName(resolvedType) === 'google.protobuf.Any'
        ? 'XdsAny'
        : `${resolvedType instanceof protobuf.Enum ? 'XdsEnums' : 'XdsMessages'}['${fullName(resolvedType)}']`;
  if (field instanceof protobuf.MapField) return `Readonly<Record<string, ${one}>>`;
  return field.repeated ? `readonly ${one}[]` : one;
}

const sorted = <T>(map: ReadonlyMap<string, T>): [string, T][] => [...map].sort(([a], [b]) => (a < b ? -1 : 1));
const block = (open: string, lines: readonly string[], close: string): string[] => [
  open,
  ...lines.map((line) => `  ${line}`),
  close,
];

const text = [
  '// Generated from proto/xds.yaml by scripts/generate-xds.ts; do not edit.',
  '',
  '/** Message -> field -> `number[|oneof] [repeated |map ]type`; enum -> word -> number. See xds/message-table.ts. */',
  'export const XDS_TABLE = {',
  ...block(
    '  messages: {',
    sorted(messages).flatMap(([name, fields]) => [
      `  ${quoted(name)}: {${fields.map((field) => ` ${nameOf(field)}: ${quoted(describe(field))}`).join(',')} },`,
    ]),
    '  },',
  ),
  ...block(
    '  enums: {',
    sorted(enums).map(
      ([name, values]) =>
        `  ${quoted(name)}: { ${Object.entries(values)
          .map(([word, number]) => `${word}: ${number}`)
          .join(', ')} },`,
    ),
    '  },',
  ),
  '} as const;',
  '',
  '/** A word; a number where a newer peer has words that we do not. */',
  ...block(
    'export interface XdsEnums {',
    sorted(enums).map(([name, values]) => `${quoted(name)}: ${Object.keys(values).map(quoted).join(' | ')} | number;`),
    '}',
  ),
  '',
  "/** Field names are those of the protos and of Envoy's documentation; 64-bit integers are numbers. */",
  ...block(
    'export interface XdsMessages {',
    sorted(messages).flatMap(([name, fields]) =>
      block(
        `${quoted(name)}: {`,
        fields.map((field) => `readonly ${nameOf(field)}?: ${typeOf(field)};`),
        '};',
      ),
    ),
    '}',
  ),
  '',
  '/** The messages that stand on their own or in an Any. */',
  ...block(
    'export type XdsRoot =',
    wanted.roots.map((name) => `| ${quoted(name)}`),
    ';',
  ),
  '',
  'export type XdsAny =',
  "  | { readonly '@type'?: never; readonly type_url: string; readonly value: Uint8Array }",
  "  | { [K in XdsRoot]: { readonly '@type': K } & XdsMessages[K] }[XdsRoot];",
  '',
].join('\n');

writeFileSync(new URL('control-plane/generated/xds.ts', here), text.replace('\n;', ';'));
