/** Connections of a pair that is proven, beside the same pair's without authentication: both through the tunnel, in turns. */
import { inside } from '../../../control-plane/demo/namespaces.ts';
import { run } from '../../../control-plane/demo/process.ts';
import { connectAll } from '../../lib/pairs.ts';
import { type Paired, paired } from '../statistics.ts';
import { program } from '../tool.ts';
import { type Bed, type Pair, PLAIN_PORT, PORT } from './bed.ts';

export interface ProvenPlan {
  readonly rounds: number;
  readonly seconds: number;
}

export async function provenConnections(bed: Bed, { rounds, seconds }: ProvenPlan): Promise<Paired> {
  const { client, server } = bed.pairs[0] as Pair;
  const load = await program();
  const rate = async (port: number): Promise<number> => {
    const command = [load, 'crr', server.ipv4, String(port), String(seconds)];
    const { stdout } = await run('nsenter', inside(client.namespace, command), { timeoutMs: 60_000 });
    return (JSON.parse(stdout) as { rate: number }).rate;
  };
  await connectAll([client], [server], 'ipv4', PORT);
  const [plain, proven]: [number[], number[]] = [[], []];
  for (let round = 0; round < rounds; round++)
    for (const port of round % 2 === 0 ? [PLAIN_PORT, PORT] : [PORT, PLAIN_PORT])
      (port === PORT ? proven : plain).push(await rate(port));
  return paired('connections of a proven pair, each with one round trip', '/s', plain, proven);
}
