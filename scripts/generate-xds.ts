/** proto/xds.yaml and the protos it names -> control-plane/generated/xds.ts. */
import { readFileSync, writeFileSync } from 'node:fs';
import { parse } from 'yaml';
import { z } from 'zod';
import { tableText } from './message-table.ts';
import { loadProtos } from './xds-protos.ts';

const Wanted = z.strictObject({
  roots: z.array(z.string()),
  fields: z.record(z.string(), z.union([z.array(z.string()), z.literal('all')])),
});

const here = new URL('../', import.meta.url);
const from = 'proto/xds.yaml';
const { roots, fields } = Wanted.parse(parse(readFileSync(new URL(from, here), 'utf8')));
const protos = loadProtos(roots);
const text = tableText({ protos, roots, fields, from, script: 'scripts/generate-xds.ts', prefix: 'xds' });
writeFileSync(new URL('control-plane/generated/xds.ts', here), text);
