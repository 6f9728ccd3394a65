/** Frames that wait in a TAP device and go on as they were: checksums that nobody has filled in yet, segments nobody has cut. */
import { rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { createNamespace, deleteNamespace, inside, ipBatch, setSysctls } from '../../control-plane/demo/namespaces.ts';
import { Child, run } from '../../control-plane/demo/process.ts';
import { compileProgram } from '../bpf/compile.ts';
import { TEST_PREFIX } from '../lib/topology.ts';

const NAMES = ['client', 'node', 'server'].map((name) => `${TEST_PREFIX}-${process.pid}-hold-${name}`);
const [CLIENT = '', NODE = '', SERVER = ''] = NAMES;
const OBJECT = join(tmpdir(), `${TEST_PREFIX}-${process.pid}-hold.bpf.o`);
const PEER = join(import.meta.dirname, 'peer.py');
const SERVERS = { IPv4: '10.71.2.2', IPv6: 'fd71:2::2' } as const;

let server: Child;
let holder: Child | undefined;

beforeAll(async () => {
  writeFileSync(OBJECT, await compileProgram('hold', import.meta.dirname));
  for (const name of NAMES) {
    await deleteNamespace(name);
    await createNamespace(name);
  }
  await setSysctls(NODE, { 'net/ipv4/ip_forward': 1, 'net/ipv6/conf/all/forwarding': 1 });
  for (const [number, namespace, device] of [
    [1, CLIENT, 'vclient'],
    [2, SERVER, 'vserver'],
  ] as const) {
    await ipBatch(NODE, [`link add ${device} type veth peer name eth0 netns ${namespace}`]);
    await ipBatch(NODE, [
      `addr add 10.71.${number}.1/24 dev ${device}`,
      `addr add fd71:${number}::1/64 dev ${device} nodad`,
      `link set ${device} up`,
    ]);
    await ipBatch(namespace, [
      `addr add 10.71.${number}.2/24 dev eth0`,
      `addr add fd71:${number}::2/64 dev eth0 nodad`,
      'link set eth0 up',
      `route add default via 10.71.${number}.1`,
      `route add default via fd71:${number}::1`,
    ]);
  }
  // So that checksums are filled in before they reach the server, which then verifies them.
  await run('nsenter', inside(NODE, ['ethtool', '-K', 'vserver', 'tx', 'off']));
  server = Child.start('nsenter', inside(SERVER, ['python3', PEER, 'serve']));
  await server.waitForLine((line) => line === 'ready');
});

async function letGo(): Promise<void> {
  holder?.endInput();
  await holder?.exited;
  holder = undefined;
}

afterAll(async () => {
  await server?.stop();
  for (const name of NAMES) await deleteNamespace(name);
  rmSync(OBJECT, { force: true });
});

async function holdAt(device: string, point: 'ingress' | 'egress', mode = 'back'): Promise<Child> {
  const script = join(import.meta.dirname, 'hold.ts');
  holder = Child.start('nsenter', inside(NODE, [process.execPath, script, OBJECT, device, point, mode]));
  await holder.waitForLine((line) => line === 'ready');
  return holder;
}

interface Seen {
  readonly frames: number;
  readonly partial: number;
  readonly segmented: number;
  readonly largest: number;
  readonly dropped: number;
}

async function seen(child: Child): Promise<Seen> {
  const from = child.lines.length;
  child.write('\n');
  return JSON.parse(await child.waitForLine((line) => line.startsWith('{'), { from })) as Seen;
}

async function ask(...words: readonly (string | number)[]): Promise<string> {
  const { stdout, stderr } = await run('nsenter', inside(CLIENT, ['python3', PEER, ...words.map(String)]), {
    tolerate: true,
    timeoutMs: 15_000,
  });
  return stdout.trim() || (stderr.trim().split('\n').at(-1) ?? '');
}

/** What came since the last question. */
async function fresh(child: Child): Promise<Seen> {
  const { dropped, ...rest } = await seen(child);
  child.write('forget\n');
  return { dropped, ...rest };
}

// Each where a frame is on its way in its own direction: from a workload, and to one.
describe.each([
  ['vclient', 'ingress'],
  ['vserver', 'egress'],
] as const)('held at %s, %s', (device, point) => {
  let child: Child;
  beforeAll(async () => {
    child = await holdAt(device, point);
  });
  afterAll(letGo);

  describe.each(Object.entries(SERVERS))('%s', (_, address) => {
    it('lets a SYN whose checksum is not filled in yet go on, without a retransmission', async () => {
      expect(await ask('tcp', address, 9000, 256)).toMatch(/^\d+\.\d 0 right$/);
      // SYN, data, FIN; what the kernel says for a socket that is gone it sums up itself.
      expect((await fresh(child)).partial).toBeGreaterThanOrEqual(3);
    });

    it('lets a datagram go on', async () => {
      expect(await ask('udp', address, 9001, 1)).toBe('1');
      expect(await fresh(child)).toMatchObject({ frames: 1, partial: 1, segmented: 0 });
    });

    it('lets segments of up to 64 KB go on whole', async () => {
      expect(await ask('tcp', address, 9002, 1 << 22)).toMatch(/^\d+\.\d \d+ right$/);
      const { segmented, largest } = await fresh(child);
      expect(segmented).toBeGreaterThan(0);
      expect(largest).toBeGreaterThan(30_000);
    });

    it('lets datagrams that were sent as one go on as one', async () => {
      expect(await ask('udp', address, 9003, 40)).toBe('40');
      expect(await fresh(child)).toMatchObject({ frames: 1, segmented: 1 });
    });
  });
});

describe('a device of its own for each', () => {
  afterEach(letGo);

  it('is dropped by the receiver when what stands before the frame is lost', async () => {
    const child = await holdAt('vclient', 'ingress', 'plain');
    for (const address of Object.values(SERVERS)) expect(await ask('udp', address, 9001, 1)).toBe('0');
    expect((await seen(child)).frames).toBe(2);
  });

  it('keeps as many as may wait for a proof while nobody reads, and counts what there is no room for', async () => {
    const child = await holdAt('vclient', 'ingress');
    child.write('busy\n');
    const flood = `import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for i in range(6000): s.sendto(b"x", ("${SERVERS.IPv4}", 9004))`;
    await run('nsenter', inside(CLIENT, ['python3', '-c', flood]));
    await child.waitForLine((line) => line === 'idle');
    await expect
      .poll(async () => {
        const { frames, dropped } = await seen(child);
        return [frames + dropped, frames >= 4096, dropped > 0];
      })
      .toEqual([6000, true, true]);
  });

  it('hears of nothing but what is redirected to it, has no addresses, and goes with its process', async () => {
    const child = await holdAt('vclient', 'ingress');
    const { stdout } = await run('ip', ['-n', NODE, 'addr', 'show', 'hold-test']);
    expect(stdout).toMatch(/<BROADCAST,MULTICAST,NOARP,UP,LOWER_UP> mtu 65521/);
    expect(stdout).not.toContain('inet');
    expect((await seen(child)).frames).toBe(0);
    child.kill('SIGKILL');
    await child.exited;
    await expect(run('ip', ['-n', NODE, 'link', 'show', 'hold-test'])).rejects.toThrow('does not exist');
  });

  it('says that somebody took the device away', async () => {
    const child = await holdAt('vclient', 'ingress');
    await ipBatch(NODE, ['link del hold-test']);
    await child.waitForLine((line) => line === 'gone');
  });
});
