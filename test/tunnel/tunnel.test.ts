/** Two nodes and the real tunnel between them: what must be encrypted is, or does not leave. */
import { existsSync, readFileSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openKernel } from '../../control-plane/datapath/addon.ts';
import { inside, ipBatch } from '../../control-plane/demo/namespaces.ts';
import { Child, run } from '../../control-plane/demo/process.ts';
import { tool } from '../lib/tools.ts';
import { Capture, KIND, nft, type TunnelAgent, TunnelLab } from './lab.ts';

const kernel = openKernel();
const NOTHING = { clear: 0, readable: 0 };
const PSK = 7;
const lab = new TunnelLab();
const FAMILIES = [
  ['IPv4', lab.b.ipv4],
  ['IPv6', lab.b.ipv6],
] as const;

let a: TunnelAgent;
let b: TunnelAgent;

beforeAll(async () => {
  await lab.create();
});
afterAll(() => lab.remove());

async function within(namespace: string, ...command: readonly string[]): Promise<string> {
  return (await run('nsenter', inside(namespace, command), { tolerate: true })).stdout.trim();
}

/** Both know each other; a begins. */
async function join2(pskOfA = PSK, pskOfB = PSK): Promise<void> {
  await b.setPeer(a, pskOfB);
  await a.setPeer(b, pskOfA, 25);
}

it('is missed: unmarked packets, and the capture, see the way in the clear', async () => {
  const capture = await Capture.start(lab, 'clear');
  expect(await lab.ask('tcp', lab.b.ipv4, 7000, 4096)).toMatch(/right$/);
  expect(await lab.ask('tcp', lab.b.ipv6, 7000, 4096)).toMatch(/right$/);
  const { clear, readable } = await capture.stop();
  expect(clear).toBeGreaterThan(4);
  expect(readable).toBeGreaterThan(4);
});

/** One capability, a session and a control group of its own. */
function expectFewRights(pid: number, instance: string): void {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  expect(status).toMatch(/^CapEff:\t0000000000001000$/m);
  expect(status).toMatch(/^CapBnd:\t0000000000001000$/m);
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? [];
  expect(fields[3]).toBe(String(pid));
  expect(readFileSync(`/proc/${pid}/cgroup`, 'utf8')).toContain(`/sidestep-${instance}/tunnel`);
}

describe('a tunnel', () => {
  beforeAll(async () => {
    a = await lab.agent(lab.a);
    b = await lab.agent(lab.b);
    await lab.mark();
  });

  it('is made with everything around it, and has nothing of the agent’s rights but one', async () => {
    const capture = await Capture.start(lab, 'start');
    expect(await a.ensure()).toContain('IPv6 "unreachable" in table 2005');
    expect(await b.ensure()).not.toEqual([]);
    expect(await a.ensure()).toEqual([]);
    const { pid = 0, kind, name } = await a.status();
    expect({ kind, name }).toEqual({ kind: KIND, name: `swg-${a.instance}` });
    expect(statSync(join(a.stateDir, 'tunnel/private.key')).mode & 0o777).toBe(0o600);
    if (KIND === 'user-space') expectFewRights(pid, a.instance);
    // Nobody has a key yet.
    for (const [, address] of FAMILIES) expect(await lab.ask('udp', address, 7000, 1)).not.toBe('1');
    expect(await capture.stop()).toEqual({ ...NOTHING, tunnel: 0 });
  });

  it('begins its handshake at once, and carries what is marked and nothing else leaves', async () => {
    const capture = await Capture.start(lab, 'joined');
    await join2();
    await expect.poll(async () => (await a.peer())?.lastHandshake, { interval: 2 }).toBeGreaterThan(0);
    for (const [, address] of FAMILIES) {
      expect(await lab.ask('tcp', address, 7000, 1 << 22)).toMatch(/right$/);
      expect(await lab.ask('udp', address, 7000, 1)).toBe('1');
    }
    const { tunnel, ...rest } = await capture.stop();
    expect(rest).toEqual(NOTHING);
    expect(tunnel).toBeGreaterThan(100);
    const [mine, theirs] = [await a.peer(), await b.peer()];
    expect(mine?.sent).toBeGreaterThan(1 << 23);
    expect(theirs?.received).toBeGreaterThan(1 << 23);
  });

  it('makes no entries of its packets for connection tracking, on either node', async () => {
    for (const { node } of [lab.a, lab.b])
      await nft(node, [
        'add chain inet cni watch { type filter hook forward priority 0; }',
        'add rule inet cni watch ct state untracked counter',
        'add rule inet cni watch ct state { new, established, related, invalid } counter',
      ]);
    expect(await lab.ask('tcp', lab.b.ipv4, 7000, 4096)).toMatch(/right$/);
    for (const { node } of [lab.a, lab.b]) {
      const listing = await within(node, 'nft', 'list', 'chain', 'inet', 'cni', 'watch');
      const [untracked, tracked] = [...listing.matchAll(/counter packets (\d+)/g)].map(([, count]) => Number(count));
      expect(untracked).toBeGreaterThan(5);
      expect(tracked).toBe(0);
    }
  });

  it.each(FAMILIES)('answers an %s packet that is too large with its size', async (_, address) => {
    // What TCP has learned before.
    for (const family of ['-4', '-6']) await within(lab.a.pod, 'ip', family, 'route', 'flush', 'cache');
    expect(await lab.ask('mtu', address, 7000, 1500)).toBe('1420');
  });

  it('follows the underlay’s size', async () => {
    await ipBatch(lab.a.node, ['link set wire mtu 1450']);
    expect(await a.ensure()).toEqual([`swg-${a.instance} up with MTU 1370`]);
    await ipBatch(lab.a.node, ['link set wire mtu 1500']);
    expect(await a.ensure()).toEqual([`swg-${a.instance} up with MTU 1420`]);
  });

  it('lets no source in that is not the peer’s', async () => {
    const other = '10.81.0.77';
    await ipBatch(lab.a.pod, [`addr add ${other}/32 dev eth0`]);
    await ipBatch(lab.a.node, [`route add ${other}/32 dev pod`]);
    const from = async (): Promise<string> => {
      const script = `import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(("${other}", 0)); s.settimeout(0.5)
s.sendto(b"x", ("${lab.b.ipv4}", 7000)); print(s.recv(9))`;
      return within(lab.a.pod, 'python3', '-c', script);
    };
    expect(await from()).toBe('');
    // The same, once it is the peer's: it was this that kept it out.
    await b.setPeer(a, PSK, 0, [other]);
    expect(await from()).toBe("b'x'");
    await b.setPeer(a, PSK);
    expect(await from()).toBe('');
  });

  it('loses nothing when its keys are changed and when the next agent takes it over', async () => {
    const stream = await tool('udpstream');
    const receiver = Child.start('nsenter', inside(lab.b.pod, [stream, 'receive', '7100']));
    await receiver.waitForLine((line) => line === 'listening');
    const sender = Child.start('nsenter', inside(lab.a.pod, [stream, 'send', lab.b.ipv4, '7100', '2000', '0']));
    const before = await a.status();
    await b.setPeer(a, 8, 0, ['10.81.0.78']);
    await a.setPeer(b, 8, 25);
    await a.close();
    a = await lab.agent(lab.a);
    expect(await a.ensure()).toEqual([]);
    const after = await a.status();
    expect(after.pid).toBe(before.pid);
    expect(after).toMatchObject({ ifindex: before.ifindex, adopted: true, restarts: 0, peers: 1 });
    await a.setPeer(b, PSK, 25);
    await b.setPeer(a, PSK);
    await sender.stop();
    await receiver.stop();
    const { sent } = JSON.parse(sender.lines.at(-1) ?? '{}') as { sent: number };
    expect(sent).toBeGreaterThan(50);
    expect(JSON.parse(receiver.lines.at(-1) ?? '{}')).toMatchObject({ received: sent });
  });

  it.runIf(KIND === 'user-space')('has a bound for what its process keeps of memory', async () => {
    const { pid } = await a.status();
    expect(readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0')).toContain('GOMEMLIMIT=256MiB');
  });

  it.runIf(KIND === 'user-space')('keeps a burst until its process comes to read', async () => {
    const stream = await tool('udpstream');
    const receiver = Child.start('nsenter', inside(lab.b.pod, [stream, 'receive', '7200']));
    await receiver.waitForLine((line) => line === 'listening');
    const { pid = 0 } = await a.status();
    process.kill(pid, 'SIGSTOP');
    try {
      await run('nsenter', inside(lab.a.pod, [stream, 'send', lab.b.ipv4, '7200', '100000', '1000']));
    } finally {
      process.kill(pid, 'SIGCONT');
    }
    // The last that was sent is the last to come.
    await expect.poll(() => lab.ask('udp', lab.b.ipv4, 7000, 1)).toBe('1');
    await receiver.stop();
    expect(JSON.parse(receiver.lines.at(-1) ?? '{}')).toMatchObject({ received: 1000 });
  });

  describe('lets nothing out in the clear', () => {
    let capture: Capture;
    let traffic: Child[];
    // Something is on its way at every moment.
    beforeAll(async () => {
      const stream = await tool('udpstream');
      traffic = FAMILIES.map(([, address]) =>
        Child.start('nsenter', inside(lab.a.pod, [stream, 'send', address, '7100', '1000', '0'])),
      );
    });
    const stopTraffic = () => Promise.all(traffic.map((each) => each.stop()));
    afterAll(stopTraffic);
    const quiet = async (): Promise<void> => {
      const { tunnel: _, ...rest } = await capture.stop();
      expect(rest).toEqual(NOTHING);
    };

    it('when its peer is removed', async () => {
      capture = await Capture.start(lab, 'removed');
      await a.call('removePeer', { hex: await b.key() });
      expect(await a.peer()).toBeUndefined();
      for (const [, address] of FAMILIES) expect(await lab.ask('udp', address, 7000, 1)).not.toBe('1');
      await quiet();
      await join2();
    });

    it.runIf(KIND === 'user-space')(
      'when a process is killed, which is named; it comes back by itself with its peers',
      async () => {
        capture = await Capture.start(lab, 'killed');
        // The one that asks for signs of life, and the one that does not.
        for (const agent of [a, b]) {
          const { pid = 0, ifindex } = await agent.status();
          const from = agent.now;
          process.kill(pid, 'SIGKILL');
          const lost = await agent.changed('down', from);
          expect(lost).toMatchObject({ ifindex: 0, lastFailure: { code: 'TUNNEL_FAILED' } });
          // Whatever is seen first.
          expect(lost.lastFailure?.message).toMatch(new RegExp(`pid ${pid}\\) has ended|is gone`));
          const back = await agent.changed('up', from);
          expect(back.ifindex).not.toBe(ifindex);
          for (const [, address] of FAMILIES) expect(await lab.ask('tcp', address, 7000, 4096)).toMatch(/right$/);
        }
        await quiet();
      },
    );

    it('when its device is taken away', async () => {
      capture = await Capture.start(lab, 'taken');
      const from = a.now;
      const { name } = await a.status();
      await ipBatch(lab.a.node, [`link del ${name}`]);
      expect((await a.changed('down', from)).lastFailure?.message).toMatch(/gone|ended/);
      await a.changed('up', from);
      for (const [, address] of FAMILIES) expect(await lab.ask('tcp', address, 7000, 4096)).toMatch(/right$/);
      await quiet();
    });

    it('when there is no agent either: the sender is told that there is no way', async () => {
      capture = await Capture.start(lab, 'dead');
      const { pid, name } = await a.status();
      await a.close();
      if (pid === undefined) await ipBatch(lab.a.node, [`link del ${name}`]);
      else process.kill(pid, 'SIGKILL');
      await expect.poll(() => within(lab.a.node, 'ip', 'link')).not.toContain(name);
      // For IPv4 the kernel tells one a second, and those before have had their share.
      await stopTraffic();
      for (const [, address] of FAMILIES)
        await expect
          .poll(() => lab.ask('udp', address, 7000, 1), { timeout: 10_000 })
          .toMatch(/No route to host|Network is unreachable/);
      await quiet();
      a = await lab.agent(lab.a);
      const mended = await a.ensure();
      expect(mended).toContain(`device swg-${a.instance}`);
      expect(mended.join()).not.toContain('"unreachable"');
    });

    it('when the preshared keys differ: no packet ever passes', async () => {
      capture = await Capture.start(lab, 'psk');
      await join2(PSK, PSK + 1);
      for (const [, address] of FAMILIES) expect(await lab.ask('udp', address, 7000, 1)).not.toBe('1');
      expect(await a.peer()).toMatchObject({ lastHandshake: 0, received: 0 });
      const { tunnel, ...rest } = await capture.stop();
      expect(rest).toEqual(NOTHING);
      // It tried.
      expect(tunnel).toBeGreaterThan(0);
    });
  });

  it.runIf(KIND === 'user-space')('ends a process that it has no note of, and makes another', async () => {
    const { pid = 0 } = await a.status();
    await a.close();
    rmSync(join(a.runDir, 'tunnel.pid'));
    a = await lab.agent(lab.a);
    expect(await a.ensure()).toContain(`device swg-${a.instance}`);
    expect((await a.status()).pid).not.toBe(pid);
    expect(kernel.processStartTime(pid) === undefined || kernel.waitPid(pid) !== undefined).toBe(true);
  });

  it('names what somebody took away, and puts it back', async () => {
    await ipBatch(lab.a.node, ['rule del priority 10', 'route del unreachable default table 2005 metric 4294967295']);
    await nft(lab.a.node, [`delete table inet sidestep-${a.instance}-tunnel`]);
    expect(await a.ensure()).toEqual([
      'IPv4 "unreachable" in table 2005',
      'IPv4 rule for table 2005',
      `nftables table inet sidestep-${a.instance}-tunnel`,
    ]);
  });

  it.runIf(KIND === 'user-space')('says that its port is taken, or that there is no program for it', async () => {
    const paths = { stateDir: join(lab.folder, 'd-state'), runDir: join(lab.folder, 'd-run') };
    const second = await lab.agent(lab.a, { instance: `d${process.pid}`, ...paths });
    await expect(second.ensure()).rejects.toMatchObject({ code: 'TUNNEL_PORT_BUSY' });
    expect(await second.status()).toMatchObject({ state: 'down', ifindex: 0 });
    await second.call('remove');
    await second.close();
    const none = { ...paths, instance: `e${process.pid}`, binary: '/no/such/program' };
    await expect(lab.agent(lab.a, none)).rejects.toThrow('TUNNEL_UNAVAILABLE');
    // It had the routes in common with the first one.
    await a.ensure();
  });

  it('leaves nothing behind', async () => {
    const { pid = 0, name } = await a.status();
    expect(await a.call('remove')).toBe(true);
    await a.close();
    if (KIND === 'user-space') expect(existsSync(`/proc/${pid}`)).toBe(false);
    for (const family of ['-4', '-6']) {
      expect(await within(lab.a.node, 'ip', family, 'rule')).not.toContain('2005');
      expect(await within(lab.a.node, 'ip', family, 'route', 'show', 'table', '2005')).toBe('');
    }
    expect(await within(lab.a.node, 'nft', 'list', 'tables')).not.toContain('sidestep');
    expect(await within(lab.a.node, 'ip', 'link')).not.toContain(name);
    for (const path of [`/var/run/wireguard/${name}.sock`, join(a.runDir, 'tunnel.pid'), join(a.runDir, 'tunnel.log')])
      expect(existsSync(path), path).toBe(false);
    const mounts = readFileSync('/proc/mounts', 'utf8');
    const cgroups = mounts.split('\n').filter((line) => / cgroup2? /.test(line));
    for (const mount of cgroups)
      expect(existsSync(join(mount.split(' ')[1] ?? '', `sidestep-${a.instance}`))).toBe(false);
  });
});
