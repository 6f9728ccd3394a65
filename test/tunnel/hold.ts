/**
 * Holds frames in a TAP device, in the namespace that this process is started in: `hold.ts OBJECT DEVICE ingress|egress MODE`.
 * Says "ready"; for every line of input, what it has seen, as JSON.
 *   back      writes every frame back as it came, in order
 *   plain     writes it back with an empty header, as if there were none
 *   slow      reads nothing: the loop is busy until a line comes
 */
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { openKernel } from '../../control-plane/datapath/addon.ts';

const [objectFile = '', deviceName = '', point = 'ingress', mode = 'back'] = process.argv.slice(2);
const NEEDS_CHECKSUM = 1;

const kernel = openKernel();
const device = kernel.interfaces().find(({ name }) => name === deviceName)?.ifindex ?? 0;
const object = kernel.loadObject(readFileSync(objectFile));
const NONE = { frames: 0, partial: 0, segmented: 0, largest: 0 };
const seen = { ...NONE };

const tap = kernel.openTap('hold-test', {
  frames: (frames) => {
    for (const frame of frames) {
      seen.frames++;
      if (((frame[0] ?? 0) & NEEDS_CHECKSUM) !== 0) seen.partial++;
      if (frame[1] !== 0) seen.segmented++;
      seen.largest = Math.max(seen.largest, frame.length - tap.headerLength);
      if (mode === 'plain') frame.fill(0, 0, tap.headerLength);
    }
    setTimeout(() => {
      for (const frame of frames) tap.write(frame);
    }, 2);
  },
  gone: () => console.log('gone'),
});

const u32 = (value: number): Uint8Array => new Uint8Array(Uint32Array.of(value).buffer);
object.map('devices').update(u32(0), u32(tap.ifindex));
object.map('devices').update(u32(1), u32(device));
const links = [
  kernel.attachTcx(object.program(`put_back_${point}`), tap.ifindex, 'ingress'),
  kernel.attachTcx(object.program('hold'), device, point === 'ingress' ? 'ingress' : 'egress'),
];

const input = createInterface({ input: process.stdin });
input.on('line', (line) => {
  if (line === 'busy') {
    // Nothing is taken off the device meanwhile: the thread has no room for more.
    for (const end = Date.now() + 1000; Date.now() < end; );
    console.log('idle');
  } else if (line === 'forget') Object.assign(seen, NONE);
  else console.log(JSON.stringify({ ...seen, dropped: tap.dropped }));
});
input.on('close', () => {
  tap.close();
  for (const link of links) link.detach();
});
console.log('ready');
