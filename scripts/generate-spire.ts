/** proto/spire/*.proto -> control-plane/generated/spire.ts. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import protobuf from 'protobufjs';
import { tableText } from './message-table.ts';

const root = join(import.meta.dirname, '..');
const protos = new protobuf.Root();
protos.resolvePath = (_, target) => join(root, 'proto', target);
protos.loadSync(['spire/workload.proto', 'spire/delegated.proto'], { keepCase: true }).resolveAll();

/** What the calls are asked with and answer. */
const roots = protos.nestedArray
  .flatMap(methodsIn)
  .flatMap(({ requestType, responseType, parent }) =>
    [requestType, responseType].map((name) => (parent as protobuf.Service).lookupType(name).fullName.slice(1)),
  );

function methodsIn(object: protobuf.ReflectionObject): readonly protobuf.Method[] {
  if (object instanceof protobuf.Service) return object.methodsArray;
  return object instanceof protobuf.Namespace ? object.nestedArray.flatMap(methodsIn) : [];
}

const from = 'proto/spire';
const text = tableText({ protos, roots, fields: {}, from, script: 'scripts/generate-spire.ts', prefix: 'spire' });
writeFileSync(join(root, 'control-plane/generated/spire.ts'), text);
