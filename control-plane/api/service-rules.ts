/** `toServices`: Services by name or by their labels. */
import type { ServiceMatch } from '../model/policy.ts';
import type { Path } from './document.ts';
import type { Refuse } from './policy-fields.ts';
import { readObjectSelector } from './selectors.ts';
import { isAbsent, needMapping, readEach, readMapping, readText } from './values.ts';

export function readServices(value: unknown, path: Path, refuse: Refuse): ServiceMatch[] {
  return readEach(value, path, refuse, (entry, at) => readService(entry, at, refuse));
}

function readService(value: unknown, path: Path, refuse: Refuse): ServiceMatch | undefined {
  const service = needMapping(value, 'service', path, refuse);
  if (service === undefined) return undefined;
  const nameAt = [...path, 'k8sService'];
  const selectorAt = [...path, 'k8sServiceSelector'];
  const byName = readMapping(service['k8sService'], 'service-name', nameAt, refuse);
  const bySelector = readMapping(service['k8sServiceSelector'], 'service-selector', selectorAt, refuse);
  if (byName !== undefined && bySelector !== undefined) {
    refuse('FIELD_INVALID', path, 'needs only one of k8sService, k8sServiceSelector');
    return undefined;
  }
  if (byName !== undefined) {
    const name = readText(byName['serviceName'], [...nameAt, 'serviceName'], refuse);
    if (name === undefined && (isAbsent(byName['serviceName']) || byName['serviceName'] === ''))
      refuse('FIELD_REQUIRED', [...nameAt, 'serviceName'], 'is required');
    const namespace = readText(byName['namespace'], [...nameAt, 'namespace'], refuse) ?? '';
    return name === undefined ? undefined : { namespace, service: { name } };
  }
  if (bySelector !== undefined) {
    const at = [...selectorAt, 'selector'];
    const namespace = readText(bySelector['namespace'], [...selectorAt, 'namespace'], refuse) ?? '';
    if (isAbsent(bySelector['selector'])) {
      refuse('FIELD_REQUIRED', at, 'is required');
      return undefined;
    }
    const selector = readObjectSelector(bySelector['selector'], at, refuse);
    return selector && { namespace, service: { selector } };
  }
  if (isAbsent(service['k8sService']) && isAbsent(service['k8sServiceSelector']))
    refuse('FIELD_REQUIRED', path, 'needs one of k8sService, k8sServiceSelector');
  return undefined;
}
