/** Annotations of ours on objects of others. */
import { isRecord, type Path } from './document.ts';
import type { Refuse } from './policy-fields.ts';
import { quote } from './values.ts';

/** On a policy: it denies nothing. On a Namespace: no policy denies anything to its pods. What they would deny is named AUDIT. */
export const AUDIT_ANNOTATION = 'sidestep.dev/audit';

/** @param value of the whole object */
export function readAudit(value: Record<string, unknown>, refuse: Refuse): boolean {
  const metadata = value['metadata'];
  const annotations = isRecord(metadata) ? metadata['annotations'] : undefined;
  const audit = isRecord(annotations) ? annotations[AUDIT_ANNOTATION] : undefined;
  const path: Path = ['metadata', 'annotations', AUDIT_ANNOTATION];
  if (audit !== undefined && audit !== null && audit !== 'true' && audit !== 'false')
    refuse('FIELD_INVALID', path, `${quote(audit)} must be "true" or "false" (quoted)`);
  return audit === 'true';
}
