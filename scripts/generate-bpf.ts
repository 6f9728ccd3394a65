/**
 * BTF of the compiled object -> control-plane/generated/bpf.ts: one reader, one writer and the size of every struct that
 * crosses the boundary, enums as constants, map names with their key and value types, offsets of .rodata variables.
 * Needs bpftool (a build dependency); the result is committed, so that using it does not.
 */
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';

interface BtfType {
  readonly id: number;
  readonly kind: string;
  readonly name: string;
  readonly size?: number;
  readonly type_id?: number;
  readonly nr_elems?: number;
  readonly encoding?: string;
  readonly members?: readonly { name: string; type_id: number; bits_offset: number; bitfield_size?: number }[];
  readonly values?: readonly { name: string; val: number }[];
  readonly vars?: readonly { type_id: number; offset: number; size: number }[];
}

const root = new URL('../', import.meta.url);
const object = new URL('bpf/build/sidestep.bpf.o', root).pathname;
const { types } = JSON.parse(execFileSync('bpftool', ['-j', 'btf', 'dump', 'file', object], { encoding: 'utf8' })) as {
  types: BtfType[];
};
const byId = new Map(types.map((type) => [type.id, type]));

function get(id: number | undefined): BtfType {
  const type = id === undefined ? undefined : byId.get(id);
  if (type === undefined) throw new Error(`BTF names type ${id} and does not have it`);
  return type;
}
/** The type behind typedefs and qualifiers. */
function real(id: number | undefined): BtfType {
  let type = get(id);
  while (['TYPEDEF', 'CONST', 'VOLATILE', 'TYPE_TAG'].includes(type.kind)) type = get(type.type_id);
  return type;
}
/** Whether a typedef on the way says network byte order. */
function bigEndian(id: number): boolean {
  for (let type = get(id); ; type = get(type.type_id)) {
    if (type.kind === 'TYPEDEF' && type.name.startsWith('__be')) return true;
    if (!['TYPEDEF', 'CONST', 'VOLATILE', 'TYPE_TAG'].includes(type.kind)) return false;
  }
}
function sizeOf(id: number): number {
  const type = real(id);
  return type.kind === 'PTR'
    ? 8
    : type.kind === 'ARRAY'
      ? (type.nr_elems ?? 0) * sizeOf(type.type_id ?? 0)
      : (type.size ?? 0);
}
const camel = (name: string): string => name.replace(/_+([a-z0-9])/g, (_, c: string) => c.toUpperCase());
const pascal = (name: string): string => camel(`_${name}`);

interface Field {
  readonly type: string;
  readonly read: string;
  readonly write: string;
}
/** TypeScript type, and expressions that read it at `offset` and write `value` there. */
function field(typeId: number, offset: string, value: string): Field {
  const type = real(typeId);
  if (type.kind === 'INT' || type.kind === 'ENUM') {
    const signed = type.encoding === 'SIGNED';
    if (type.size === 1)
      return { type: 'number', read: `view.getUint8(${offset})`, write: `view.setUint8(${offset}, ${value})` };
    if (type.size === 8) {
      const kind = signed ? 'BigInt64' : 'BigUint64';
      return {
        type: 'bigint',
        read: `view.get${kind}(${offset}, true)`,
        write: `view.set${kind}(${offset}, ${value}, true)`,
      };
    }
    const kind = `${signed ? 'Int' : 'Uint'}${(type.size ?? 0) * 8}`;
    const little = !bigEndian(typeId);
    return {
      type: 'number',
      read: `view.get${kind}(${offset}, ${little})`,
      write: `view.set${kind}(${offset}, ${value}, ${little})`,
    };
  }
  if (type.kind === 'STRUCT') {
    structs.add(type.id);
    const name = pascal(type.name);
    return { type: name, read: `read${name}(view, ${offset})`, write: `write${name}(view, ${offset}, ${value})` };
  }
  if (type.kind === 'ARRAY') {
    const element = real(type.type_id);
    if (element.kind === 'INT' && element.size === 1)
      return {
        type: 'Uint8Array',
        read: `bytesAt(view, ${offset}, ${type.nr_elems})`,
        write: `setBytes(view, ${offset}, ${type.nr_elems}, ${value})`,
      };
    const count = type.nr_elems ?? 0;
    const size = sizeOf(type.type_id ?? 0);
    const items = Array.from({ length: count }, (_, i) =>
      field(type.type_id ?? 0, `${offset} + ${i * size}`, `${value}[${i}]`),
    );
    return {
      type: `readonly [${items.map((item) => item.type).join(', ')}]`,
      read: `[${items.map((item) => item.read).join(', ')}]`,
      write: items.map((item) => item.write).join('; '),
    };
  }
  throw new Error(`no TypeScript for BTF kind ${type.kind} (${type.name})`);
}

const structs = new Set<number>();
/** The programs' own: user space neither reads nor writes it. */
const PRIVATE_MAP = 'scratch';
const out: string[] = [];
const maps: string[] = [];

const section = (name: string): BtfType | undefined =>
  types.find((type) => type.kind === 'DATASEC' && type.name === name);
for (const variable of section('.maps')?.vars ?? []) {
  const definition = get(variable.type_id);
  const attributes: string[] = [];
  for (const member of real(definition.type_id).members ?? []) {
    const target = real(real(member.type_id).type_id);
    if (member.name === 'key' || member.name === 'value') {
      if (target.kind === 'STRUCT' && definition.name !== PRIVATE_MAP) structs.add(target.id);
      attributes.push(`${member.name}Size: ${sizeOf(target.id)}`);
    } else if (member.name === 'max_entries') attributes.push(`maxEntries: ${target.nr_elems}`);
  }
  maps.push(`  ${definition.name}: { ${attributes.join(', ')} },`);
}
const anchored = ['event', 'counter', 'config'];
for (const type of types) if (type.kind === 'STRUCT' && anchored.includes(type.name)) structs.add(type.id);

const done = new Set<number>();
const structText: string[] = [];
while (done.size < structs.size) {
  for (const id of [...structs]) {
    if (done.has(id)) continue;
    done.add(id);
    const type = get(id);
    const name = pascal(type.name);
    const fields = (type.members ?? [])
      .filter((member) => !/^(pad|spare)$/.test(member.name))
      .map((member) => {
        if (member.bitfield_size) throw new Error(`${type.name}.${member.name} is a bit field`);
        return {
          name: camel(member.name),
          ...field(member.type_id, `offset + ${member.bits_offset / 8}`, `value.${camel(member.name)}`),
        };
      });
    structText.push(
      `export interface ${name} {\n${fields.map((f) => `  readonly ${f.name}: ${f.type};`).join('\n')}\n}`,
      `export const ${type.name.toUpperCase()}_SIZE = ${type.size};`,
      `export const ${type.name.toUpperCase()}_OFFSETS = { ${(type.members ?? []).map((m) => `${camel(m.name)}: ${m.bits_offset / 8}`).join(', ')} } as const;`,
      `export function read${name}(view: DataView, offset = 0): ${name} {\n  return {\n${fields.map((f) => `    ${f.name}: ${f.read},`).join('\n')}\n  };\n}`,
      `export function write${name}(view: DataView, offset: number, value: ${name}): void {\n${fields.map((f) => `  ${f.write};`).join('\n')}\n}`,
      `export function encode${name}(value: ${name}): Uint8Array {\n  const bytes = new Uint8Array(${type.size});\n  write${name}(new DataView(bytes.buffer), 0, value);\n  return bytes;\n}`,
      '',
    );
  }
}

out.push(
  '// Generated from the BTF of bpf/build/sidestep.bpf.o by scripts/generate-bpf.ts; do not edit.',
  '// Integers are little endian but for ports; 64-bit ones are bigint; byte arrays are views into the buffer read.',
  '',
  'function bytesAt(view: DataView, offset: number, length: number): Uint8Array {',
  '  return new Uint8Array(view.buffer, view.byteOffset + offset, length);',
  '}',
  'function setBytes(view: DataView, offset: number, length: number, value: Uint8Array): void {',
  '  if (value.length !== length) throw new RangeError("expected " + length + " bytes, got " + value.length);',
  '  bytesAt(view, offset, length).set(value);',
  '}',
  '',
);
for (const type of types) {
  if (type.kind !== 'ENUM' || type.name === '(anon)' || !type.values) continue;
  if (
    type.name === 'drop_reason' ||
    !/^(layout|reserved_|verdict$|match$|endpoint_flag|ipcache_flag|flow_|event_|hook$|statistic|authentication|protection_|security$|listener_kind|half_flag|echo$)/.test(
      type.name,
    )
  )
    continue;
  out.push(
    `export const ${pascal(type.name)} = {\n${type.values.map((v) => `  ${v.name}: ${v.val},`).join('\n')}\n} as const;`,
    '',
  );
}
out.push(...structText);
out.push(
  `export const MAPS = {\n${maps.sort().join('\n')}\n} as const;`,
  'export type MapName = keyof typeof MAPS;',
  '',
);
out.push('/** Variables of .rodata that user space sets before the load. */', 'export const RODATA = {');
for (const variable of section('.rodata')?.vars ?? []) {
  const definition = get(variable.type_id);
  if (definition.name === 'config')
    out.push(`  ${definition.name}: { offset: ${variable.offset}, size: ${variable.size} },`);
}
out.push('} as const;', '');
writeFileSync(new URL('control-plane/generated/bpf.ts', root), out.join('\n'));
