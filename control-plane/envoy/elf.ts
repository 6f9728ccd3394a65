/** Which symbols does a program or library offer to others, and which does it expect of them? Reads only the parts that say so. */
import { closeSync, openSync, readSync } from 'node:fs';

export interface DynamicSymbols {
  /** ELF's number of the processor. */
  readonly machine: number;
  readonly defined: ReadonlySet<string>;
  readonly undefined: ReadonlySet<string>;
}

const ELF_HEADER = 64;
const SECTION_HEADER = 64;
const SYMBOL = 24;
const SHT_DYNSYM = 11;
const MOST_BYTES = 64 << 20;

interface Section {
  readonly type: number;
  readonly offset: number;
  readonly size: number;
  readonly link: number;
}

/** @throws Error that says what is wrong with the file */
export function readDynamicSymbols(path: string): DynamicSymbols {
  const fd = openSync(path, 'r');
  try {
    return read((offset, size) => {
      if (size > MOST_BYTES) throw new Error('a table is too large to be true');
      const bytes = Buffer.alloc(size);
      if (readSync(fd, bytes, 0, size, offset) !== size) throw new Error('the file is cut off');
      return bytes;
    });
  } finally {
    closeSync(fd);
  }
}

function read(at: (offset: number, size: number) => Buffer): DynamicSymbols {
  const header = at(0, ELF_HEADER);
  const isElf64Little = header.readUInt32BE(0) === 0x7f454c46 && header[4] === 2 && header[5] === 1;
  if (!isElf64Little) throw new Error('it is not a 64-bit ELF file');
  const sections = readSections(header, at);
  const table = sections.find(({ type }) => type === SHT_DYNSYM);
  const strings = table && sections[table.link];
  if (table === undefined || strings === undefined) throw new Error('it has no dynamic symbols');
  const names = at(strings.offset, strings.size);
  const symbols = at(table.offset, table.size);
  const defined = new Set<string>();
  const missing = new Set<string>();
  // The first symbol stands for none.
  for (let entry = SYMBOL; entry + SYMBOL <= symbols.length; entry += SYMBOL) {
    const start = symbols.readUInt32LE(entry);
    const end = names.indexOf(0, start);
    const section = symbols.readUInt16LE(entry + 6);
    (section === 0 ? missing : defined).add(names.toString('latin1', start, end === -1 ? undefined : end));
  }
  return { machine: header.readUInt16LE(18), defined, undefined: missing };
}

function readSections(header: Buffer, at: (offset: number, size: number) => Buffer): Section[] {
  const offset = Number(header.readBigUInt64LE(40));
  const count = header.readUInt16LE(60);
  if (header.readUInt16LE(58) !== SECTION_HEADER || count === 0) throw new Error('it has no section headers');
  const bytes = at(offset, count * SECTION_HEADER);
  return Array.from({ length: count }, (_, i) => {
    const start = i * SECTION_HEADER;
    return {
      type: bytes.readUInt32LE(start + 4),
      offset: Number(bytes.readBigUInt64LE(start + 24)),
      size: Number(bytes.readBigUInt64LE(start + 32)),
      link: bytes.readUInt32LE(start + 40),
    };
  });
}
