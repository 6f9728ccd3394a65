/** The note <run folder>/envoy.pid, by which the next agent finds the Envoy that runs. */
import * as z from 'zod/mini';
import { Note, PROCESS } from '../process/note.ts';

const RECORD = z.object({
  process: PROCESS,
  identity: z.object({ binary: z.string(), version: z.string(), module: z.string(), configuration: z.string() }),
  startedAt: z.number(),
});

export class RecordFile extends Note<typeof RECORD> {
  constructor(path: string) {
    super(path, RECORD);
  }
}
