/** For which pods is policy enforced at all? */
import type { NamespaceObject } from '../model/objects.ts';

/** labelled: only for pods of namespaces with ENROLLED_LABEL. */
export const ENROLMENTS = ['all', 'labelled'] as const;
export type Enrolment = (typeof ENROLMENTS)[number];

/** Of a namespace, with the value "true". */
export const ENROLLED_LABEL = 'sidestep.dev/enrolled';

/** @param namespace undefined: no source knows it */
export function isEnrolled(enrol: Enrolment, namespace: NamespaceObject | undefined): boolean {
  return enrol === 'all' || namespace?.labels.get(ENROLLED_LABEL) === 'true';
}
