/** Recorded flows: lines of `observe -o json`, from a file or stdin. */
import { createReadStream } from 'node:fs';
import { createInterface } from 'node:readline';
import { SidestepError } from '../../model/error.ts';
import type { Flow, FlowResponse } from '../../observe/flow.ts';

export interface RecordedLine {
  readonly line: string;
  readonly response: FlowResponse;
}

/** @param file `-` is stdin. @throws INPUT_INVALID with file and line */
export async function* readRecords(file: string): AsyncGenerator<RecordedLine> {
  const input = file === '-' ? process.stdin : createReadStream(file);
  let number = 0;
  try {
    for await (const line of createInterface({ input, crlfDelay: Number.POSITIVE_INFINITY })) {
      number++;
      if (line.trim() !== '') yield { line, response: parseLine(line, file, number) };
    }
  } catch (cause) {
    if (cause instanceof SidestepError) throw cause;
    throw new SidestepError(
      'INPUT_INVALID',
      `${file} cannot be read: ${cause instanceof Error ? cause.message : cause}`,
      { cause },
    );
  }
}

function parseLine(line: string, file: string, number: number): FlowResponse {
  try {
    const value = JSON.parse(line) as FlowResponse;
    if (isTime(value.time) && ('flow' in value ? isFlow(value.flow) : value.lost_events.source !== undefined))
      return value;
  } catch {
    // Not JSON, or an object is missing: said below with its place.
  }
  throw new SidestepError('INPUT_INVALID', `${file}:${number} is not a recorded flow`, {
    hint: 'Record with `sidestep observe -o json`.',
  });
}

function isTime(text: string): boolean {
  return !Number.isNaN(Date.parse(text));
}

/** Whether it has what filters and printers read without asking. */
function isFlow({ time, IP, source, destination, event_type, verdict, Summary }: Flow): boolean {
  return (
    isTime(time) &&
    [IP.source, IP.destination, verdict, Summary].every((text) => typeof text === 'string') &&
    [source.labels, destination.labels].every(Array.isArray) &&
    typeof event_type.type === 'number'
  );
}
