/** How is a protobuf scalar checked, written and read? */
import type protobuf from 'protobufjs/minimal.js';

export interface Scalar {
  /** The wire type of its encoding. */
  readonly wire: number;
  fits(value: unknown): boolean;
  write(writer: protobuf.Writer, value: unknown): void;
  read(reader: protobuf.Reader): unknown;
}

const isInteger = (least: number, most: number) => (value: unknown) =>
  Number.isSafeInteger(value) && Number(value) >= least && Number(value) <= most;
const isNumber = (value: unknown): boolean => typeof value === 'number';

function scalar<Name extends 'bool' | 'int32' | 'uint32' | 'double' | 'float' | 'string' | 'bytes'>(
  name: Name,
  wire: number,
  fits: (value: unknown) => boolean,
): Scalar {
  return {
    wire,
    fits,
    write: (writer, value) => writer[name](value as never),
    read: (reader) => reader[name](),
  };
}

/** 64-bit integers are numbers here; what is read may lose its last digits above 2^53. */
function wide(name: 'int64' | 'uint64', fits: (value: unknown) => boolean): Scalar {
  return {
    wire: 0,
    fits,
    write: (writer, value) => writer[name](value as number),
    read: (reader) => Number(reader[name]()),
  };
}

export const INT32 = scalar('int32', 0, isInteger(-(2 ** 31), 2 ** 31 - 1));
export const STRING = scalar('string', 2, (value) => typeof value === 'string');

/** Those that the messages in use have. */
const SCALARS: Readonly<Record<string, Scalar>> = {
  bool: scalar('bool', 0, (value) => typeof value === 'boolean'),
  int32: INT32,
  uint32: scalar('uint32', 0, isInteger(0, 2 ** 32 - 1)),
  int64: wide('int64', isInteger(Number.MIN_SAFE_INTEGER, Number.MAX_SAFE_INTEGER)),
  uint64: wide('uint64', isInteger(0, Number.MAX_SAFE_INTEGER)),
  double: scalar('double', 1, isNumber),
  float: scalar('float', 5, isNumber),
  string: STRING,
  bytes: scalar('bytes', 2, (value) => value instanceof Uint8Array),
};

export function scalarOf(type: string): Scalar | undefined {
  return Object.hasOwn(SCALARS, type) ? SCALARS[type] : undefined;
}
