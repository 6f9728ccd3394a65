/** Protos -> the text of a generated file: the table that xds/codec.ts works by, and the types of the messages. */
import protobuf from 'protobufjs';

export interface TableSource {
  readonly protos: protobuf.Root;
  /** Full names of the messages that stand on their own. */
  readonly roots: readonly string[];
  /** Message -> the fields of it that are wanted; all of a message that is not listed. */
  readonly fields: Readonly<Record<string, readonly string[] | 'all'>>;
  /** Where roots and fields are listed, and which script reads it. */
  readonly from: string;
  readonly script: string;
  /** Of the names in the generated file: `xds` makes XDS_TABLE, XdsMessages. */
  readonly prefix: string;
}

interface Found {
  readonly messages: Map<string, protobuf.Field[]>;
  readonly enums: Map<string, Readonly<Record<string, number>>>;
}

/** Only names and numbers of the roots and of what they refer to. */
export function tableText(source: TableSource): string {
  const found = collect(source);
  const upper = source.prefix.toUpperCase();
  const title = source.prefix[0]?.toUpperCase() + source.prefix.slice(1);
  const lines = [
    `// Generated from ${source.from} by ${source.script}; do not edit.`,
    '',
    '/** Message -> field -> `number[|oneof] [repeated |map ]type`; enum -> word -> number. See xds/message-table.ts. */',
    `export const ${upper}_TABLE = {`,
    ...block(
      '  messages: {',
      sorted(found.messages).flatMap(([name, fields]) => [
        `  ${quoted(name)}: {${fields.map((field) => ` ${nameOf(field)}: ${quoted(describe(field))}`).join(',')} },`,
      ]),
      '  },',
    ),
    ...enumTable(found),
    '} as const;',
    '',
    ...enumTypes(found, title),
    "/** Field names are those of the protos and of their owners' documentation; 64-bit integers are numbers. */",
    ...block(
      `export interface ${title}Messages {`,
      sorted(found.messages).flatMap(([name, fields]) =>
        block(
          `${quoted(name)}: {`,
          fields.map((field) => `readonly ${nameOf(field)}?: ${typeOf(field, title)};`),
          '};',
        ),
      ),
      '}',
    ),
    '',
    ...anyTypes(source, found, title),
  ];
  return lines.join('\n').replace('\n;', ';');
}

function collect({ protos, roots, fields, from }: TableSource): Found {
  const found: Found = { messages: new Map(), enums: new Map() };
  const add = (type: protobuf.Type): void => {
    const name = fullName(type);
    if (found.messages.has(name)) return;
    const only = fields[name];
    if (only !== undefined && only !== 'all')
      for (const field of only)
        if (type.fields[field] === undefined) throw new Error(`${from}: ${name} has no field ${field}`);
    const wanted = type.fieldsArray.filter(
      (field) => only === undefined || only === 'all' || only.includes(field.name),
    );
    found.messages.set(name, wanted);
    for (const { resolvedType } of wanted.map((field) => field.resolve())) {
      if (resolvedType instanceof protobuf.Type) add(resolvedType);
      else if (resolvedType instanceof protobuf.Enum) found.enums.set(fullName(resolvedType), resolvedType.values);
    }
  };
  for (const name of roots) add(protos.lookupType(name));
  const unused = Object.keys(fields).filter((name) => !found.messages.has(name));
  if (unused.length > 0) throw new Error(`${from}: nothing refers to ${unused.join(', ')}`);
  return found;
}

function enumTable({ enums }: Found): string[] {
  return block(
    '  enums: {',
    sorted(enums).map(
      ([name, values]) =>
        `  ${quoted(name)}: { ${Object.entries(values)
          .map(([word, number]) => `${word}: ${number}`)
          .join(', ')} },`,
    ),
    '  },',
  );
}

function enumTypes({ enums }: Found, title: string): string[] {
  if (enums.size === 0) return [];
  return [
    '/** A word; a number where a newer peer has words that we do not. */',
    ...block(
      `export interface ${title}Enums {`,
      sorted(enums).map(
        ([name, values]) => `${quoted(name)}: ${Object.keys(values).map(quoted).join(' | ')} | number;`,
      ),
      '}',
    ),
    '',
  ];
}

/** For those whose messages travel in an Any. */
function anyTypes({ roots }: TableSource, { messages }: Found, title: string): string[] {
  if (![...messages.values()].flat().some(isAny)) return [];
  return [
    '/** The messages that stand on their own or in an Any. */',
    ...block(
      `export type ${title}Root =`,
      roots.map((name) => `| ${quoted(name)}`),
      ';',
    ),
    '',
    `export type ${title}Any =`,
    "  | { readonly '@type'?: never; readonly type_url: string; readonly value: Uint8Array }",
    `  | { [K in ${title}Root]: { readonly '@type': K } & ${title}Messages[K] }[${title}Root];`,
    '',
  ];
}

/** `number[|oneof] [repeated |map ]type` */
function describe(field: protobuf.Field): string {
  if (field instanceof protobuf.MapField && field.keyType !== 'string')
    throw new Error(`${field.fullName}: the codec knows only strings as keys`);
  const oneof = field.partOf === null || field.partOf.isProto3Optional ? '' : `|${field.partOf.name}`;
  const kind = field instanceof protobuf.MapField ? 'map ' : field.repeated ? 'repeated ' : '';
  return `${field.id}${oneof} ${kind}${field.resolvedType === null ? field.type : fullName(field.resolvedType)}`;
}

function typeOf(field: protobuf.Field, title: string): string {
  const { resolvedType } = field;
  const one =
    resolvedType === null
      ? ({ string: 'string', bool: 'boolean', bytes: 'Uint8Array' }[field.type] ?? 'number')
      : isAny(field)
        ? `${title}Any`
        : `${title}${resolvedType instanceof protobuf.Enum ? 'Enums' : 'Messages'}['${fullName(resolvedType)}']`;
  if (field instanceof protobuf.MapField) return `Readonly<Record<string, ${one}>>`;
  return field.repeated ? `readonly ${one}[]` : one;
}

function isAny({ resolvedType }: protobuf.Field): boolean {
  return resolvedType !== null && fullName(resolvedType) === 'google.protobuf.Any';
}

const fullName = (type: protobuf.ReflectionObject): string => type.fullName.slice(1);
const quoted = (text: string): string => `'${text}'`;
/** protobufjs brings the well-known types along under names of its own style. */
const nameOf = ({ name }: protobuf.ReflectionObject): string => name.replace(/[A-Z]/g, (c) => `_${c.toLowerCase()}`);
const sorted = <T>(map: ReadonlyMap<string, T>): [string, T][] => [...map].sort(([a], [b]) => (a < b ? -1 : 1));
const block = (open: string, lines: readonly string[], close: string): string[] => [
  open,
  ...lines.map((line) => `  ${line}`),
  close,
];
