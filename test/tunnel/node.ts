/**
 * The tunnel of one node, as its agent has it, in the namespace that this process is started in:
 * `node.ts OPTIONS` with the options of openTunnel as JSON. Reads {method, args} a line and prints {value} or {code, message}; what
 * changes by itself is printed as {changed}. Bytes are {hex}. It ends with its input; what it made stays.
 */
import { createInterface } from 'node:readline';
import { openKernel } from '../../control-plane/datapath/addon.ts';
import { openTunnel, type TunnelOptions } from '../../control-plane/encryption/open.ts';
import { removeTunnel } from '../../control-plane/encryption/uninstall.ts';
import { systemClock } from '../../control-plane/model/clock.ts';
import { SidestepError } from '../../control-plane/model/error.ts';
import { processCgroup } from '../../control-plane/process/cgroup.ts';

const options = JSON.parse(process.argv[2] ?? '{}') as TunnelOptions;

const toText = (_: string, value: unknown): unknown =>
  value instanceof Uint8Array ? { hex: Buffer.from(value).toString('hex') } : value;
const toBytes = (_: string, value: unknown): unknown =>
  typeof value === 'object' && value !== null && 'hex' in value ? Buffer.from(String(value.hex), 'hex') : value;
const say = (what: object): void => console.log(JSON.stringify(what, toText));

// A Buffer's own toJSON would come first.
Reflect.deleteProperty(Buffer.prototype, 'toJSON');

const kernel = openKernel();
const cgroup = processCgroup(options.instance, 'tunnel');
const log = { info: () => undefined, warn: (fields: object, message: string) => console.error(message, fields) };
const tunnel = openTunnel(
  { kernel, wireguard: kernel.features().wireguard, cgroup, clock: systemClock, log },
  { ...options, changed: (status) => say({ changed: status }) },
);

const methods: Readonly<Record<string, (...args: never[]) => unknown>> = {
  ensure: () => tunnel.ensure(),
  setPeer: (peer: Parameters<typeof tunnel.setPeer>[0]) => tunnel.setPeer(peer),
  removePeer: (key: Uint8Array) => tunnel.removePeer(key),
  peers: () => tunnel.peers(),
  status: () => tunnel.status(),
  key: () => tunnel.publicKey,
  remove: () => {
    tunnel.close();
    return removeTunnel({ kernel, instance: options.instance, runDir: options.runDir, cgroup });
  },
};

const input = createInterface({ input: process.stdin });
input.on('line', async (line) => {
  const { method, args } = JSON.parse(line, toBytes) as { method: string; args: never[] };
  try {
    say({ value: (await methods[method]?.(...args)) ?? null });
  } catch (error) {
    if (!(error instanceof SidestepError)) throw error;
    say({ code: error.code, message: error.message });
  }
});
input.on('close', () => tunnel.close());
