/** CiliumCIDRGroup (cilium.io/v2, v2alpha1): ranges under a name. */
import { ADDRESS_BYTES, type Prefix } from '../model/address.ts';
import { isLabelKey, isLabelValue } from '../model/labels.ts';
import type { CidrGroupObject } from '../model/objects.ts';
import { readPrefix } from './cidr-rules.ts';
import { isRecord, type Manifest, nameProblems, type Path } from './document.ts';
import type { Parsed } from './object-reader.ts';
import { type Refuse, refuseFields } from './policy-fields.ts';
import { PolicyProblems } from './policy-problems.ts';
import { isAbsent, needMapping, quote, readEach } from './values.ts';

export const CIDR_GROUP = 'CiliumCIDRGroup';
const API_VERSIONS = ['cilium.io/v2', 'cilium.io/v2alpha1'];

export function parseCidrGroup(manifest: Manifest): Parsed<CidrGroupObject> {
  const problems = new PolicyProblems(manifest, { kind: CIDR_GROUP, namespace: '', name: manifest.name }, 'cidr-group');
  const { refuse } = problems;
  const { value } = manifest;
  refuseFields(value, 'cidr-group', [], refuse);
  if (!API_VERSIONS.includes(manifest.apiVersion))
    refuse('FIELD_INVALID', ['apiVersion'], `${quote(value['apiVersion'])} must be one of ${API_VERSIONS.join(', ')}`);
  for (const { path, code, message } of nameProblems(manifest)) refuse(code, path, message);
  if (manifest.namespace !== '')
    refuse('FIELD_INVALID', ['metadata', 'namespace'], 'a CIDR group belongs to no namespace');
  const labels = readLabels(value, refuse);
  const spec = needMapping(value['spec'], 'cidr-group-spec', ['spec'], refuse) ?? {};
  const at = ['spec', 'externalCIDRs'];
  if (isAbsent(spec['externalCIDRs'])) refuse('FIELD_REQUIRED', at, 'is required');
  const prefixes = readEach(spec['externalCIDRs'], at, refuse, (entry, each) => readPrefix(entry, each, refuse));
  const issues = problems.list();
  return {
    object: issues.length === 0 ? { name: manifest.name, labels, prefixes: packed(prefixes) } : undefined,
    issues,
  };
}

/** The same in one piece of memory: a buffer for each of a million addresses would be most of what they take. */
function packed(prefixes: readonly Prefix[]): Prefix[] {
  const bytes = new Uint8Array(prefixes.length * ADDRESS_BYTES);
  return prefixes.map(({ address, bits }, i) => {
    bytes.set(address, i * ADDRESS_BYTES);
    return { address: bytes.subarray(i * ADDRESS_BYTES, (i + 1) * ADDRESS_BYTES), bits };
  });
}

function readLabels(value: Record<string, unknown>, refuse: Refuse): ReadonlyMap<string, string> {
  const path: Path = ['metadata', 'labels'];
  const metadata = value['metadata'];
  const written = isRecord(metadata) ? metadata['labels'] : undefined;
  if (isAbsent(written)) return new Map();
  if (!isRecord(written)) {
    refuse('FIELD_INVALID', path, 'must be a mapping of strings');
    return new Map();
  }
  const labels = new Map<string, string>();
  for (const [key, text] of Object.entries(written))
    if (typeof text === 'string' && isLabelKey(key) && isLabelValue(text)) labels.set(key, text);
    else refuse('FIELD_INVALID', [...path, key], `${quote(text)} is not a label that Kubernetes would take`);
  return labels;
}
