/** control-plane/api/mesh-node.ts -> deploy/crds/sidestepnodes.yaml (apiextensions.k8s.io/v1, a structural schema). */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { stringify } from 'yaml';
import * as z from 'zod/mini';
import { MeshNodeSpec, SIDESTEP_NODE } from '../control-plane/api/mesh-node.ts';

const folder = join(import.meta.dirname, '../deploy/crds');
const [group, version] = SIDESTEP_NODE.apiVersion.split('/');

/** Kubernetes takes no `additionalProperties: false` in a structural schema: it prunes what is not there by itself. */
function structural(schema: unknown): unknown {
  if (Array.isArray(schema)) return schema.map(structural);
  if (typeof schema !== 'object' || schema === null) return schema;
  return Object.fromEntries(
    Object.entries(schema).flatMap(([key, value]) =>
      key === 'additionalProperties' && value === false ? [] : [[key, structural(value)]],
    ),
  );
}

const column = (name: string, type: string, jsonPath: string): object => ({ name, type, jsonPath });

const crd = {
  apiVersion: 'apiextensions.k8s.io/v1',
  kind: 'CustomResourceDefinition',
  metadata: { name: `sidestepnodes.${group}` },
  spec: {
    group,
    scope: 'Cluster',
    names: {
      kind: SIDESTEP_NODE.kind,
      listKind: `${SIDESTEP_NODE.kind}List`,
      plural: 'sidestepnodes',
      singular: 'sidestepnode',
    },
    versions: [
      {
        name: version,
        served: true,
        storage: true,
        additionalPrinterColumns: [
          column('Addresses', 'string', '.spec.addresses'),
          column('SPIFFE-ID', 'string', '.spec.spiffeID'),
          column('Age', 'date', '.metadata.creationTimestamp'),
        ],
        schema: {
          openAPIV3Schema: {
            type: 'object',
            description:
              'How the agent of a node is reached. Written by the agent itself; nothing in it is proof of anything.',
            required: ['spec'],
            properties: {
              apiVersion: { type: 'string' },
              kind: { type: 'string' },
              metadata: { type: 'object' },
              spec: structural(z.toJSONSchema(MeshNodeSpec, { io: 'input', target: 'openapi-3.0' })),
            },
          },
        },
      },
    ],
  },
};

mkdirSync(folder, { recursive: true });
writeFileSync(
  join(folder, 'sidestepnodes.yaml'),
  `# Generated from control-plane/api/mesh-node.ts by scripts/generate-crds.ts; do not edit.\n${stringify(crd, { lineWidth: 0 })}`,
);
