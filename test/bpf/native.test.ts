/** The addon against the real kernel: routing, nftables and sockets in a namespace of the test's own, links, processes. */
import {
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { openKernel } from '../../control-plane/datapath/addon.ts';
import type { KernelObject } from '../../control-plane/datapath/kernel.ts';
import { createNamespace, deleteNamespace, inside, ipBatch, pathOf } from '../../control-plane/demo/namespaces.ts';
import { Child, run } from '../../control-plane/demo/process.ts';
import { parseAddress } from '../../control-plane/model/address.ts';
import type { ProcessEnd, SpawnOptions } from '../../control-plane/model/process.ts';
import { TEST_PREFIX } from '../lib/topology.ts';
import { compileProgram } from './compile.ts';
import type { Answer, Call } from './inside.ts';

const NODE = process.execPath;
const NAMESPACE = `${TEST_PREFIX}-${process.pid}-native`;
const PINS = `/sys/fs/bpf/${TEST_PREFIX}-${process.pid}-native`;
const NOBODY = 65534;
const CAP_NET_ADMIN = 12;

const kernel = openKernel();
const CGROUPS = kernel.features().cgroup2 ?? '';
let folder: string;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'sst-native-'));
  mkdirSync(PINS, { recursive: true });
  await deleteNamespace(NAMESPACE);
});

afterAll(() => {
  rmSync(PINS, { recursive: true, force: true });
  rmSync(folder, { recursive: true, force: true });
});

/** What the calls answer in the test's namespace. */
async function within(...calls: readonly Call[]): Promise<readonly Answer[]> {
  const script = join(import.meta.dirname, 'inside.ts');
  const { stdout } = await run('nsenter', inside(NAMESPACE, [NODE, script, JSON.stringify(calls)]));
  return JSON.parse(stdout) as Answer[];
}

async function values(...calls: readonly Call[]): Promise<readonly unknown[]> {
  return (await within(...calls)).map((answer) => answer.value ?? answer);
}

async function text(...command: readonly string[]): Promise<string> {
  return (await run('nsenter', inside(NAMESPACE, command))).stdout.trim();
}

function newCgroup(name: string): string {
  const path = join(CGROUPS, `${TEST_PREFIX}-${process.pid}-${name}`);
  mkdirSync(path);
  return path;
}

describe('in a network namespace', () => {
  beforeEach(() => createNamespace(NAMESPACE));
  afterEach(() => deleteNamespace(NAMESPACE));

  describe.each([[4], [6]] as const)('IPv%i routing', (family) => {
    const rule = { fwmark: 0x200, mask: 0xf00, table: 2004, priority: 9 };
    const ip = (...words: readonly string[]): Promise<string> => text('ip', `-${family}`, ...words);

    it('adds a rule once, and takes it away once', async () => {
      expect(await values(['ensureRule', family, rule], ['ensureRule', family, rule])).toEqual([true, false]);
      expect(await ip('-details', 'rule')).toContain('9:\tfrom all fwmark 0x200/0xf00 lookup 2004 proto kernel');
      expect((await ip('rule')).match(/2004/g)).toHaveLength(1);
      expect(await values(['removeRule', family, rule], ['removeRule', family, rule])).toEqual([true, false]);
      expect(await ip('rule')).not.toContain('2004');
    });

    it('lists rules in the order they are asked, others’ too', async () => {
      await ip('rule', 'add', 'fwmark', '0x1/0xff', 'lookup', '100000', 'priority', '5');
      const [, list] = await values(['ensureRule', family, rule], ['rules', family]);
      const plain = { fwmark: 0, mask: 0 };
      expect(list).toEqual([
        { ...plain, table: 255, priority: 0 },
        { fwmark: 1, mask: 0xff, table: 100_000, priority: 5 },
        rule,
        { ...plain, table: 254, priority: 32766 },
        ...(family === 4 ? [{ ...plain, table: 253, priority: 32767 }] : []),
      ]);
    });

    it('leaves rules that only look alike', async () => {
      await ip('rule', 'add', 'fwmark', '0x200/0xf00', 'lookup', '2005', 'priority', '9');
      expect(await values(['removeRule', family, rule], ['ensureRule', family, rule])).toEqual([false, true]);
      expect(await values(['removeRule', family, rule])).toEqual([true]);
      expect(await ip('rule')).toContain('lookup 2005');
    });

    it.each([2004, 100_000])('adds the local route to table %i once, and takes it away once', async (table) => {
      const calls = [
        ['routes', family, table],
        ['ensureLocalRoute', family, table],
        ['ensureLocalRoute', family, table],
        ['routes', family, table],
      ] as const;
      const route = { local: true, unreachable: false, prefixLength: 0, ifindex: 1, metric: expect.any(Number) };
      expect(await values(...calls)).toEqual([[], true, false, [route]]);
      expect(await ip('route', 'show', 'table', `${table}`)).toMatch(/^local default dev lo proto kernel/);
      const removal = ['removeLocalRoute', family, table] as const;
      expect(await values(removal, removal, ['routes', family, table])).toEqual([true, false, []]);
    });

    it('delivers every address under the mark to this machine', async () => {
      const address = family === 4 ? '192.0.2.77' : '2001:db8::77';
      await expect(ip('route', 'get', address, 'mark', '0x200')).rejects.toThrow();
      await values(['ensureRule', family, rule], ['ensureLocalRoute', family, 2004]);
      expect(await ip('route', 'get', address, 'mark', '0x200')).toMatch(
        new RegExp(`^local ${address} (from :: )?dev lo`),
      );
      await expect(ip('route', 'get', address, 'mark', '0x100')).rejects.toThrow();
    });

    it('does not take another default route for its own', async () => {
      await ip('route', 'add', 'unreachable', 'default', 'table', '2004', ...(family === 6 ? ['metric', '1024'] : []));
      const [answer] = await within(['ensureLocalRoute', family, 2004]);
      expect(answer).toEqual({ code: 'KERNEL_CALL_FAILED', errno: 'EEXIST' });
    });
  });

  describe.each([[4], [6]] as const)('IPv%i routes of a tunnel', (family) => {
    const TABLE = 2005;
    const address = family === 4 ? '192.0.2.77' : '2001:db8::77';
    const ip = (...words: readonly string[]): Promise<string> => text('ip', `-${family}`, ...words);
    const shown = (): Promise<string> => ip('route', 'show', 'table', `${TABLE}`);
    const ifindexOf = async (device: string): Promise<number> =>
      Number((await text('ip', '-o', 'link', 'show', device)).split(':')[0]);
    const rule = { fwmark: 0x500, mask: 0xf00, table: TABLE, priority: 10 };
    const unreachable = ['ensureUnreachableRoute', family, TABLE] as const;
    beforeEach(() =>
      ipBatch(NAMESPACE, [
        'link add d1 type veth peer name e1',
        'link add d2 type veth peer name e2',
        'link set d1 up',
        'link set d2 up',
        'link set e1 up',
        'link set e2 up',
      ]),
    );

    it('adds the unreachable route once, and takes it away once', async () => {
      expect(await values(unreachable, unreachable)).toEqual([true, false]);
      expect(await shown()).toMatch(/^unreachable default (dev lo )?proto kernel metric 4294967295/);
      const removal = ['removeUnreachableRoute', family, TABLE] as const;
      expect(await values(removal, removal)).toEqual([true, false]);
    });

    it('adds the route by a device once, moves it to another, and takes it away once', async () => {
      const [first, second] = [await ifindexOf('d1'), await ifindexOf('d2')];
      const by = (ifindex: number): Call => ['ensureDeviceRoute', family, TABLE, ifindex];
      expect(await values(by(first), by(first), by(second), by(second))).toEqual([true, false, true, false]);
      expect(await shown()).toMatch(/^default dev d2 proto kernel (scope link )?metric 1( pref medium)?$/);
      const [routes] = await values(['routes', family, TABLE]);
      expect(routes).toEqual([{ local: false, unreachable: false, prefixLength: 0, ifindex: second, metric: 1 }]);
      const removal = (ifindex: number): Call => ['removeDeviceRoute', family, TABLE, ifindex];
      expect(await values(removal(first), removal(second), removal(second))).toEqual([false, true, false]);
    });

    it('has nothing but "unreachable" behind the device', async () => {
      await ip('route', 'add', 'default', 'dev', 'd2');
      const ifindex = await ifindexOf('d1');
      await values(unreachable, ['ensureDeviceRoute', family, TABLE, ifindex], ['ensureRule', family, rule]);
      const asked = async (mark: string): Promise<string> => {
        const { stdout, stderr } = await run('ip', ['-n', NAMESPACE, 'route', 'get', address, 'mark', mark], {
          tolerate: true,
        });
        return stdout + stderr;
      };
      expect(await asked('0x500')).toContain('dev d1');
      expect(await asked('0')).toContain('dev d2');
      await ipBatch(NAMESPACE, ['link del d1']);
      expect(await asked('0x500')).toMatch(/No route to host|unreachable/);
      expect(await asked('0')).toContain('dev d2');
    });

    it('tells where a packet would go, by its mark', async () => {
      const [first, second] = [await ifindexOf('d1'), await ifindexOf('d2')];
      const way = (mark: number): Call => ['wayTo', address, mark];
      expect(await within(way(0))).toEqual([{}]);
      await ip('route', 'add', 'default', 'dev', 'd2', 'mtu', '1400');
      await values(['ensureDeviceRoute', family, TABLE, first], ['ensureRule', family, rule]);
      const [main, marked] = await values(way(0), way(0x500));
      expect(main).toEqual({ ifindex: second, mtu: 1400 });
      expect(marked).toMatchObject({ ifindex: first });
    });
  });

  it('brings devices up and takes them away', async () => {
    await ipBatch(NAMESPACE, ['link add d1 type veth peer name e1']);
    const ifindex = Number((await text('ip', '-o', 'link', 'show', 'd1')).split(':')[0]);
    const up = ['setLinkUp', ifindex, 1380] as const;
    const removal = ['deleteLink', ifindex] as const;
    await values(up);
    expect(await text('ip', 'link', 'show', 'd1')).toMatch(/UP.* mtu 1380 /);
    const address = ['ensureLinkAddress', ifindex, '192.0.0.8'] as const;
    expect(await values(address, address)).toEqual([true, false]);
    expect(await text('ip', 'addr', 'show', 'd1')).toContain('inet 192.0.0.8/32 scope link d1');
    expect(await values(removal, removal)).toEqual([true, false]);
    expect((await within(up))[0]).toMatchObject({ code: 'KERNEL_CALL_FAILED', errno: 'ENODEV' });
  });

  it('says whether the kernel has WireGuard', async () => {
    const { wireguard } = kernel.features();
    const [made, again] = await within(['createWireGuard', 'wg-test'], ['createWireGuard', 'wg-test']);
    if (wireguard) expect([made?.value, again?.value]).toEqual([true, false]);
    else expect(made?.code).toBe('KERNEL_FEATURE_MISSING');
  });

  describe('the nftables table', () => {
    const under = (mark: number): { mark: number; mask: number } => ({ mark, mask: 0xf00 });
    const rules = {
      untrackedIn: [under(0x200)],
      untrackedFrom: [],
      untrackedOut: [under(0x400)],
      notForwarded: [under(0x200)],
      onlyOutBy: [{ ...under(0x500), device: 'swg-default' }],
    };
    const ensure = ['ensurePacketTable', 'sidestep-test', rules] as const;
    const remove = ['removePacketTable', 'sidestep-test'] as const;
    const chain = (name: string, mark: string, action: string): string =>
      `chain ${name} { type filter hook ${name} priority raw; policy accept; meta mark & 0x00000f00 == 0x00000${mark} ${action} }`;
    const WHOLE = `table inet sidestep-test { ${chain('prerouting', '200', 'notrack')} ${chain('forward', '200', 'drop')} ${chain('output', '400', 'notrack')} ${chain('postrouting', '500', 'oifname != "swg-default" drop')} }`;
    const shown = async (): Promise<string> =>
      (await text('nft', 'list', 'table', 'inet', 'sidestep-test')).replace(/\s+/g, ' ');

    it('is made once, and taken away once', async () => {
      expect(await values(ensure, ensure)).toEqual([true, false]);
      expect(await shown()).toBe(WHOLE);
      expect(await values(ensure, remove, remove)).toEqual([false, true, false]);
      expect(await text('nft', 'list', 'ruleset')).toBe('');
    });

    it.each([
      ['flushed', 'flush table inet sidestep-test'],
      ['without a chain', 'flush chain inet sidestep-test output; delete chain inet sidestep-test output'],
      [
        'with an action of somebody',
        'flush chain inet sidestep-test forward; add rule inet sidestep-test forward meta mark & 0xf00 == 0x200 accept',
      ],
      ['with a rule of somebody', 'insert rule inet sidestep-test prerouting accept'],
      ['with a chain of somebody', 'add chain inet sidestep-test other'],
      ['dormant', 'add table inet sidestep-test { flags dormant; }'],
      ['deleted', 'delete table inet sidestep-test'],
    ])('is put right when found %s', async (_, change) => {
      await values(ensure);
      await text('nft', change);
      expect(await values(ensure, ensure)).toEqual([true, false]);
      expect(await shown()).toBe(WHOLE);
    });

    it('takes another mark', async () => {
      const other = { ...rules, untrackedIn: [under(0x300)] };
      expect(await values(ensure, ['ensurePacketTable', 'sidestep-test', other])).toEqual([true, true]);
      expect(await shown()).toContain('== 0x00000300 notrack');
    });

    it('takes several marks, and interfaces by name', async () => {
      const marks = [under(0x200), under(0x500)];
      const wanted = {
        untrackedIn: marks,
        untrackedFrom: ['swg-default'],
        untrackedOut: marks,
        notForwarded: [],
        onlyOutBy: [],
      };
      const both = ['ensurePacketTable', 'sidestep-test', wanted] as const;
      expect(await values(ensure, both, both)).toEqual([true, true, false]);
      const marked = marks.map(({ mark }) => `meta mark & 0x00000f00 == 0x00000${mark.toString(16)} notrack`).join(' ');
      const head = (name: string): string => `chain ${name} { type filter hook ${name} priority raw; policy accept;`;
      expect(await shown()).toBe(
        `table inet sidestep-test { ${head('prerouting')} ${marked} iifname "swg-default" notrack } ${head('output')} ${marked} } }`,
      );
      await text('nft', 'add rule inet sidestep-test output meta mark 7 notrack');
      expect(await values(both, both)).toEqual([true, false]);
      const bad = { ...wanted, untrackedFrom: ['sixteen-letters-'] };
      const name = ['ensurePacketTable', 'sidestep-test', bad] as const;
      expect((await within(name))[0]?.code).toBe('KERNEL_CALL_FAILED');
    });

    it('lets marked packets leave by one interface or not at all', async () => {
      const only = { ...rules, notForwarded: [], onlyOutBy: [{ ...under(0x500), device: 'swg-default' }] };
      const by = ['ensurePacketTable', 'sidestep-test', only] as const;
      expect(await values(by, by)).toEqual([true, false]);
      expect(await shown()).toContain(
        'chain postrouting { type filter hook postrouting priority raw; policy accept; meta mark & 0x00000f00 == 0x00000500 oifname != "swg-default" drop }',
      );
      const send = (mark: number): string =>
        `import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.setsockopt(socket.SOL_SOCKET, 36, ${mark}); s.sendto(b"x", ("127.0.0.1", 9))`;
      await text('nft', 'add table inet watch; add chain inet watch c { type filter hook input priority 0; }');
      await text('nft', 'add rule inet watch c udp dport 9 counter');
      await text('python3', '-c', send(0));
      await text('python3', '-c', `try:\n  ${send(0x500)}\nexcept PermissionError: pass`);
      expect(await text('nft', 'list', 'table', 'inet', 'watch')).toContain('counter packets 1 ');
      await text('nft', 'delete table inet watch');
    });

    it('leaves the tables of others', async () => {
      await text('nft', 'add table inet other; add chain inet other c { type filter hook input priority 0; }');
      const before = await text('nft', 'list', 'table', 'inet', 'other');
      await values(ensure, remove);
      expect(await text('nft', 'list', 'ruleset')).toBe(before);
    });

    it('keeps what is sent under its mark, and only that, out of connection tracking', async () => {
      await values(ensure);
      const count = (state: string): string =>
        `add rule inet watch c udp dport 9 ct state ${state} counter comment "${state}"`;
      await text('nft', 'add table inet watch; add chain inet watch c { type filter hook input priority 0; }');
      await text('nft', `${count('untracked')}; ${count('new')}`);
      const send = (mark: number): string =>
        `import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.setsockopt(socket.SOL_SOCKET, 36, ${mark}); s.sendto(b"x", ("127.0.0.1", 9))`;
      for (const mark of [0x400, 0x4ff, 0x100, 0x200, 0]) await text('python3', '-c', send(mark));
      const listing = await text('nft', 'list', 'table', 'inet', 'watch');
      expect(listing).toMatch(/ct state untracked counter packets 2 /);
      expect(listing).toMatch(/ct state new counter packets 3 /);
    });
  });

  describe('connections of a control group', () => {
    let cgroup: string;
    let child: Child;

    beforeEach(async () => {
      cgroup = newCgroup('connections');
      await ipBatch(NAMESPACE, [
        'addr add 10.77.0.1/32 dev lo',
        'addr add 10.77.0.9/32 dev lo',
        'addr add fd77::1/128 dev lo nodad',
        'addr add fd77::9/128 dev lo nodad',
        // Somewhere for answers to the foreign address to go, and to be lost.
        'link add void type veth peer name void-end',
        'link set void up',
        'link set void-end up',
        'route add 10.99.0.0/24 dev void',
      ]);
      const script = join(import.meta.dirname, 'connections.py');
      // A socket belongs to the group in which it was made.
      const enter = `echo $$ > ${join(cgroup, 'cgroup.procs')}; exec "$@"`;
      child = Child.start('sh', ['-c', enter, 'sh', 'nsenter', ...inside(NAMESPACE, ['python3', script])]);
      await child.waitForLine((line) => line === 'ready');
    });

    afterEach(async () => {
      await child.stop();
      await vi.waitFor(() => rmdirSync(cgroup));
    });

    const destroy = async (address: string, of = cgroup): Promise<unknown> =>
      (await values(['destroySockets', [{ hex: Buffer.from(parseAddress(address)).toString('hex') }], of]))[0];

    /** What has ended by now, and how. */
    async function ended(): Promise<ReadonlyMap<string, string>> {
      const from = child.lines.length;
      child.write('\n');
      const line = await child.waitForLine(() => true, { from });
      return new Map(line.split(' ').flatMap((each) => (each ? [each.split('=') as [string, string]] : [])));
    }

    it('end by an address at either end, and no others', async () => {
      expect(await destroy('10.77.0.200')).toBe(0);
      expect(await ended()).toEqual(new Map());
      // Both ends are the group's here: one is ended, or both, before the reset of the other arrives.
      expect(await destroy('10.77.0.9')).toBeGreaterThanOrEqual(1);
      expect([...(await ended()).keys()]).toEqual(['v4', 'accepted-v4']);
      expect(await destroy('fd77::1')).toBeGreaterThanOrEqual(1);
      expect([...(await ended()).keys()]).toEqual(['v6', 'accepted-v6']);
      expect(await text('ss', '-Hltn')).toContain(':8080');
    });

    it('end by an address that is not ours', async () => {
      expect(await destroy('10.99.0.9')).toBeGreaterThanOrEqual(1);
      expect(await ended()).toEqual(new Map([['transparent', 'ECONNABORTED']]));
    });

    it('end by the address of a listener of both families, which stays', async () => {
      expect(await destroy('10.77.0.1')).toBeGreaterThanOrEqual(1);
      expect([...(await ended()).keys()]).toEqual(['v4', 'transparent', 'accepted-v4']);
    });

    it('stay when they are of another group', async () => {
      const other = newCgroup('other');
      try {
        expect(await destroy('10.77.0.9', other)).toBe(0);
        expect(await ended()).toEqual(new Map());
      } finally {
        rmdirSync(other);
      }
    });

    it('are not looked for where there is no such group', async () => {
      const [answer] = await within(['destroySockets', [{ hex: '00'.repeat(16) }], join(CGROUPS, 'no-such-group')]);
      expect(answer).toMatchObject({ errno: 'ENOENT' });
    });
  });
});

it('says which program the verifier refuses and why, and that it is not for lack of privilege', async () => {
  const bytes = await compileProgram('refused');
  expect(() => kernel.loadObject(bytes)).toThrow(
    expect.objectContaining({
      code: 'KERNEL_LOAD_FAILED',
      message: expect.stringMatching(/^refused: .*invalid bpf_context access/),
      cause: expect.objectContaining({ errno: 'EACCES' }),
    }),
  );
});

describe('links', () => {
  let object: KernelObject;

  beforeAll(async () => {
    object = kernel.loadObject(await compileProgram('links'));
  });
  afterAll(() => object?.close());

  /** How a connection to a port where nobody listens ends for a process in the cgroup. */
  async function connectFrom(cgroup: string, host: string): Promise<string> {
    const script = `require('node:net').connect(9, '${host}').on('error', (error) => console.log(error.code))`;
    const output = join(folder, 'connect.log');
    rmSync(output, { force: true });
    const pid = kernel.spawn(NODE, ['-e', script], { ...PLAIN, cgroup, stdout: output });
    await endOf(pid);
    return readFileSync(output, 'utf8').trim();
  }

  it('puts programs on a cgroup, swaps them, and keeps them by a pin', async () => {
    const cgroup = newCgroup('links');
    const pin = join(PINS, 'connect4');
    try {
      const link = kernel.attachCgroup(object.program('connect_refused'), cgroup, 'connect4');
      expect(link.target).toBe(BigInt(statSync(cgroup).ino));
      expect(link.ifindex).toBe(0);
      expect(await connectFrom(cgroup, '127.0.0.1')).toBe('EPERM');
      expect(await connectFrom(cgroup, '::1')).toBe('ECONNREFUSED');
      link.pin(pin);

      const again = kernel.openLink(pin);
      expect(again.id).toBe(link.id);
      again.update(object.program('connect_allowed'));
      expect(link.programId).toBe(object.program('connect_allowed').id);
      expect(await connectFrom(cgroup, '127.0.0.1')).toBe('ECONNREFUSED');

      const other = kernel.attachCgroup(object.program('connect6_refused'), cgroup, 'connect6');
      expect(await connectFrom(cgroup, '::1')).toBe('EPERM');
      other.detach();
      expect(await connectFrom(cgroup, '::1')).toBe('ECONNREFUSED');
    } finally {
      rmdirSync(cgroup);
    }
    await letGo(pin);
  });

  it('attaches sock_ops and getsockopt programs', async () => {
    const cgroup = newCgroup('sockets');
    try {
      const counting = kernel.attachCgroup(object.program('count_connects'), cgroup, 'sock_ops');
      const looking = kernel.attachCgroup(object.program('look_on'), cgroup, 'getsockopt');
      await connectFrom(cgroup, '127.0.0.1');
      const value = object.map('connects').lookup(new Uint8Array(4)) ?? new Uint8Array(4);
      expect(new DataView(value.buffer, value.byteOffset).getUint32(0, true)).toBe(1);
      counting.detach();
      looking.detach();
    } finally {
      rmdirSync(cgroup);
    }
  });

  it('says what is wrong with a place', () => {
    const attach = (path: string) => () => kernel.attachCgroup(object.program('connect_allowed'), path, 'connect4');
    expect(attach(join(CGROUPS, 'no-such-group'))).toThrow(
      expect.objectContaining({ code: 'KERNEL_CALL_FAILED', cause: expect.objectContaining({ errno: 'ENOENT' }) }),
    );
    // A program of another hook.
    expect(() => kernel.attachCgroup(object.program('look_on'), CGROUPS, 'connect4')).toThrow();
  });

  it('puts an sk_lookup program on another namespace, swaps it, and keeps it by a pin', async () => {
    await createNamespace(NAMESPACE);
    const pin = join(PINS, 'sk_lookup');
    const server = Child.start('nsenter', inside(NAMESPACE, [NODE, '-e', SERVER]));
    const reach = (): Promise<string> => text(NODE, '-e', CLIENT);
    try {
      await server.waitForLine((line) => line === 'ready');
      expect(await reach()).toBe('connected');
      const link = kernel.attachSkLookup(object.program('socket_hidden'), pathOf(NAMESPACE));
      expect(link.target).toBe(kernel.netnsId(pathOf(NAMESPACE)));
      expect(await reach()).toBe('ECONNREFUSED');
      link.pin(pin);
      const again = kernel.openLink(pin);
      expect(again.id).toBe(link.id);
      again.update(object.program('socket_found'));
      expect(await reach()).toBe('connected');
    } finally {
      await server.stop();
      await deleteNamespace(NAMESPACE);
    }
    await letGo(pin);
  });
});

/** The kernel takes apart what a link hung on a little after its last user has left. */
async function letGo(pin: string): Promise<void> {
  for (let i = 0; i < 100 && kernel.openLink(pin).target !== 0n; i++) await sleep(50);
  expect(kernel.openLink(pin).target).toBe(0n);
}

const SERVER = `require('node:net').createServer().listen(8080, '127.0.0.1', () => console.log('ready'))`;
const CLIENT = `const s = require('node:net').connect(8080, '127.0.0.1'); const say = (x) => { console.log(x); s.destroy(); };
s.on('connect', () => say('connected')).on('error', (error) => say(error.code))`;

const PLAIN: SpawnOptions = {
  uid: 0,
  gid: 0,
  capabilities: [],
  cgroup: undefined,
  stdout: '/dev/null',
  env: { PATH: '/usr/bin:/bin' },
};

async function endOf(pid: number): Promise<ProcessEnd> {
  for (let i = 0; i < 1000; i++) {
    const end = kernel.waitPid(pid);
    if (end) return end;
    await sleep(10);
  }
  throw new Error(`process ${pid} does not end`);
}

describe('processes', () => {
  const started: number[] = [];
  const start = (program: string, args: readonly string[], options: Partial<SpawnOptions> = {}): number => {
    const pid = kernel.spawn(program, args, { ...PLAIN, ...options });
    started.push(pid);
    return pid;
  };
  afterEach(async () => {
    for (const pid of started.splice(0)) {
      const startTime = kernel.processStartTime(pid);
      if (startTime !== undefined && kernel.waitPid(pid) === undefined) kernel.signalProcess(pid, startTime, 9);
      if (startTime !== undefined) await endOf(pid).catch(() => undefined);
    }
  });
  const status = (pid: number): ReadonlyMap<string, string> =>
    new Map(
      readFileSync(`/proc/${pid}/status`, 'utf8')
        .trim()
        .split('\n')
        .map((line) => [line.slice(0, line.indexOf(':')), line.slice(line.indexOf(':') + 1).trim()] as const),
    );

  it('starts an unprivileged user with one capability, in its own session and cgroup, with nothing of ours', async () => {
    const cgroup = newCgroup('spawn');
    const env = { COLOUR: 'a=b', PATH: '/usr/bin' };
    const options = { uid: NOBODY, gid: NOBODY, capabilities: [CAP_NET_ADMIN], cgroup, env };
    const pid = start('/usr/bin/sleep', ['60'], { ...options, stdout: join(folder, 'sleep.log') });
    try {
      const shown = status(pid);
      const only = (1 << CAP_NET_ADMIN).toString(16).padStart(16, '0');
      expect(shown.get('Uid')?.split('\t')).toEqual(Array(4).fill('65534'));
      expect(shown.get('Gid')?.split('\t')).toEqual(Array(4).fill('65534'));
      expect(shown.get('Groups')).toBe('');
      for (const set of ['CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb']) expect(shown.get(set), set).toBe(only);
      expect(shown.get('NoNewPrivs')).toBe('1');
      // Field 6 of stat is the session.
      const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? [];
      expect(fields[3]).toBe(String(pid));
      expect(readFileSync(`/proc/${pid}/cgroup`, 'utf8')).toContain(cgroup.slice(CGROUPS.length));
      expect(readFileSync(`/proc/${pid}/environ`, 'utf8')).toBe('COLOUR=a=b\0PATH=/usr/bin\0');
      expect(readFileSync(`/proc/${pid}/cmdline`, 'utf8')).toBe('/usr/bin/sleep\x0060\0');
      expect(readlinkSync(`/proc/${pid}/cwd`)).toBe('/');
      expect(readdirSync(`/proc/${pid}/fd`).sort()).toEqual(['0', '1', '2']);
      expect(readlinkSync(`/proc/${pid}/fd/0`)).toBe('/dev/null');
      expect(readlinkSync(`/proc/${pid}/fd/2`)).toBe(join(folder, 'sleep.log'));
      expect(statSync(join(folder, 'sleep.log')).mode & 0o777).toBe(0o600);
    } finally {
      kernel.signalProcess(pid, kernel.processStartTime(pid) ?? 0, 9);
      await endOf(pid);
      rmdirSync(cgroup);
    }
  });

  it('passes no descriptor on, even one that a program before us left open', async () => {
    // 9 stays open over exec; the agent's own would not.
    const script = join(import.meta.dirname, 'inside.ts');
    const call = JSON.stringify([['spawn', '/usr/bin/sleep', ['60'], PLAIN]]);
    const command = 'exec 9</dev/null; exec "$@"';
    const { stdout } = await run('sh', ['-c', command, 'sh', NODE, script, call]);
    const pid = Number((JSON.parse(stdout) as Answer[])[0]?.value);
    const startTime = kernel.processStartTime(pid) ?? 0;
    try {
      expect(readdirSync(`/proc/${pid}/fd`).sort()).toEqual(['0', '1', '2']);
      // Its starter has ended, and it lives: it is nobody's child here, and still watched.
      expect(kernel.waitPid(pid, startTime)).toBeUndefined();
      expect(kernel.waitPid(pid, startTime + 1)).toEqual({ code: undefined, signal: undefined });
    } finally {
      expect(kernel.signalProcess(pid, startTime, 9)).toBe(true);
    }
    for (let i = 0; i < 500 && kernel.waitPid(pid, startTime) === undefined; i++) await sleep(10);
    expect(kernel.waitPid(pid, startTime)).toEqual({ code: undefined, signal: undefined });
  });

  it('hands a file over that the user could not reach', async () => {
    const closed = join(folder, 'closed');
    mkdirSync(closed, { mode: 0o700 });
    const file = join(closed, 'word');
    await run('sh', ['-c', `echo xyzzy > '${file}'; chmod 644 '${file}'; cp /usr/bin/cat '${closed}/cat'`]);
    const output = join(folder, 'handed.log');
    const user = { uid: NOBODY, gid: NOBODY, stdout: output };
    // The program itself stands there, too.
    expect(await endOf(start(join(closed, 'cat'), ['/proc/self/fd/200'], { ...user, file }))).toEqual({
      code: 0,
      signal: undefined,
    });
    expect(readFileSync(output, 'utf8')).toBe('xyzzy\n');
    expect((await endOf(start('/usr/bin/cat', [file], user))).code).toBe(1);
  });

  it.each([
    ['the number it is to have', 199],
    ['all up to beyond that number', 260],
  ])('hands a file over when open descriptors take %s', async (_, highest) => {
    const word = join(folder, 'word');
    const output = join(folder, `word-${highest}.log`);
    writeFileSync(word, 'plugh');
    const held: number[] = [];
    // The lowest free number is given out, so those below are taken, too.
    while ((held.at(-1) ?? 0) < highest) held.push(openSync('/dev/null', 'r'));
    try {
      const pid = start('/usr/bin/cat', ['/proc/self/fd/200'], { stdout: output, file: word });
      expect(await endOf(pid)).toEqual({ code: 0, signal: undefined });
      expect(() => start('/no/such/program', [], { file: word })).toThrow('No such file');
      expect(() => start('/etc/passwd', [], { file: word })).toThrow('Permission denied');
    } finally {
      for (const fd of held) closeSync(fd);
    }
    expect(readFileSync(output, 'utf8')).toBe('plugh');
  });

  it('adds to the output file and tells how a child ended', async () => {
    const output = join(folder, 'said.log');
    const say = (words: string): number => start('/bin/sh', ['-c', words], { stdout: output });
    expect(await endOf(say('echo one; echo two >&2; exit 7'))).toEqual({ code: 7, signal: undefined });
    expect(await endOf(say('echo three'))).toEqual({ code: 0, signal: undefined });
    expect(readFileSync(output, 'utf8')).toBe('one\ntwo\nthree\n');
  });

  it('signals the process that was meant, and leaves no zombie', async () => {
    const pid = start('/usr/bin/sleep', ['60']);
    const startTime = kernel.processStartTime(pid) ?? 0;
    expect(startTime).toBeGreaterThan(0);
    expect(kernel.waitPid(pid)).toBeUndefined();
    expect(kernel.signalProcess(pid, startTime - 1, 15)).toBe(false);
    expect(kernel.waitPid(pid)).toBeUndefined();
    expect(kernel.signalProcess(pid, startTime, 15)).toBe(true);
    expect(await endOf(pid)).toEqual({ code: undefined, signal: 15 });
    expect(existsSync(`/proc/${pid}`)).toBe(false);
    expect(kernel.processStartTime(pid)).toBeUndefined();
    expect(kernel.signalProcess(pid, startTime, 15)).toBe(false);
  });

  it.each([
    ['a program that is not there', '/no/such/program', {}, 'ENOENT'],
    ['a file that is no program', '/etc/passwd', {}, 'EACCES'],
    ['a cgroup that is not there', '/usr/bin/sleep', { cgroup: '/sys/fs/cgroup/no/such' }, 'ENOENT'],
    ['an output file that cannot be', '/usr/bin/sleep', { stdout: '/proc/nothing' }, 'ENOENT'],
    ['a capability that nobody has', '/usr/bin/sleep', { capabilities: [63] }, 'EINVAL'],
  ] as const)('names what failed: %s', (_, program, options, errno) => {
    expect(() => start(program, ['1'], options)).toThrow(
      expect.objectContaining({ cause: expect.objectContaining({ errno }) }),
    );
  });

  it('refuses numbers that mean a group of processes', () => {
    expect(() => kernel.waitPid(0)).toThrow();
    expect(() => kernel.signalProcess(0, 0, 0)).toThrow();
  });
});

it('finds what this kernel can do', () => {
  expect(kernel.features()).toMatchObject({ skLookup: true, cgroupSockopt: true, socketDestroy: true });
});
