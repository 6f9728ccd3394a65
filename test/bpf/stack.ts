/** How much stack do functions of a compiled program take together, as older kernels count it, each rounded to 32 bytes? */
import { execFileSync } from 'node:child_process';

const BPF_CALL = 0x85;
const PSEUDO_CALL = 1;
const INSTRUCTION = 8;
const ROUND = 32;

interface Body {
  depth: number;
  readonly calls: Set<string>;
}

interface Call {
  readonly from: Body;
  readonly section: string;
  readonly index: number;
  readonly offset: number;
  /** Of its relocation. */
  symbol: string | undefined;
}

/** The deepest way from `entry`, innermost last, with bytes of each function's own. */
export interface Chain {
  readonly bytes: number;
  readonly functions: readonly string[];
}

/** @param object of one entry file, before linking */
export function deepestChain(object: string, entry: string): Chain {
  const bodies = read(object);
  const from = (name: string): Chain => {
    const body = bodies.get(name);
    if (!body) throw new Error(`${object} calls ${name} and does not have it`);
    const deepest = [...body.calls]
      .map(from)
      .reduce((a, b) => (b.bytes > a.bytes ? b : a), { bytes: 0, functions: [] });
    const own = Math.ceil(Math.max(body.depth, 1) / ROUND) * ROUND;
    return { bytes: own + deepest.bytes, functions: [`${name} ${body.depth}`, ...deepest.functions] };
  };
  return from(entry);
}

function read(object: string): ReadonlyMap<string, Body> {
  const bodies = new Map<string, Body>();
  const starts = new Map<string, string>();
  const calls: Call[] = [];
  let section = '';
  let body: Body | undefined;
  for (const line of execFileSync('llvm-objdump-19', ['-dr', object], { encoding: 'utf8' }).split('\n')) {
    section = /^Disassembly of section (\S+):/.exec(line)?.[1] ?? section;
    const [, address, name] = /^([0-9a-f]+) <([^>]+)>:/.exec(line) ?? [];
    if (address !== undefined && name !== undefined && !name.startsWith('LBB')) {
      body = { depth: 0, calls: new Set() };
      bodies.set(name, body);
      starts.set(`${section} ${Number.parseInt(address, 16) / INSTRUCTION}`, name);
    }
    const last = calls.at(-1);
    const symbol = /R_BPF_64_32\s+(\S+)/.exec(line)?.[1];
    if (symbol !== undefined && last) last.symbol = symbol;
    const [, index, hex = '', text = ''] = /^\s+(\d+):\s+((?:[0-9a-f]{2}\s){8})\s*(.*)$/.exec(line) ?? [];
    if (body === undefined || index === undefined) continue;
    for (const [, depth = ''] of text.matchAll(/(?:r10 - |r\d \+= -)(0x[0-9a-f]+)/g))
      if (Number(depth) <= 512) body.depth = Math.max(body.depth, Number(depth));
    const bytes = Buffer.from(hex.replaceAll(/\s/g, ''), 'hex');
    if (bytes[0] === BPF_CALL && (bytes[1] ?? 0) >> 4 === PSEUDO_CALL)
      calls.push({ from: body, section, index: Number(index), offset: bytes.readInt32LE(4), symbol: undefined });
  }
  for (const { from, section: at, index, offset, symbol } of calls) {
    const target =
      symbol === '.text' ? starts.get(`.text ${offset + 1}`) : (symbol ?? starts.get(`${at} ${index + 1 + offset}`));
    if (target !== undefined) from.calls.add(target);
  }
  return bodies;
}
