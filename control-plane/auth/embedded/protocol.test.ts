import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { SidestepError } from '../../model/error.ts';
import { newAuthority } from '../samples.ts';
import {
  decodeAnswer,
  decodeQuestion,
  encodeAnswer,
  encodeQuestion,
  FrameReader,
  MAX_FRAME_BYTES,
} from './protocol.ts';

const request = Buffer.from([1, 2, 3]);
const bodyOf = (frame: Buffer): Buffer => frame.subarray(4);

function codeOf(action: () => unknown): string {
  try {
    action();
    return 'taken';
  } catch (error) {
    if (error instanceof SidestepError) return error.code;
    throw error;
  }
}

describe('questions and answers', () => {
  it.each([
    [{ type: 'join' as const, node: 'b', request, proof: Buffer.alloc(32, 7) }],
    [{ type: 'node' as const, request }],
    [{ type: 'workload' as const, namespace: 'shop', serviceAccount: 'web', request }],
  ])('arrive as they were sent: $type', (question) => {
    expect(decodeQuestion(bodyOf(encodeQuestion(question)))).toEqual(question);
  });

  it('bring certificates, or what was wrong', () => {
    const { certificate } = newAuthority();
    const issued = { chain: [certificate], authorities: [certificate, certificate] };
    const answer = decodeAnswer(bodyOf(encodeAnswer(issued)));
    expect(answer.chain[0]?.raw).toEqual(certificate.raw);
    expect(answer.authorities).toHaveLength(2);
    const error = new SidestepError('CA_TOKEN_USED', 'used');
    expect(codeOf(() => decodeAnswer(bodyOf(encodeAnswer(error))))).toBe('CA_TOKEN_USED');
  });

  it.each([
    ['not JSON', '{'],
    ['another type', '{"type":"sign","request":"AQID"}'],
    ['a field more', '{"type":"node","request":"AQID","ca":true}'],
    ['a field less', '{"type":"workload","namespace":"shop","request":"AQID"}'],
    ['not base64', '{"type":"node","request":"**"}'],
    ['too long a name', `{"type":"workload","namespace":"${'a'.repeat(254)}","serviceAccount":"a","request":"AQID"}`],
    ['too long a request', `{"type":"node","request":"${'AAAA'.repeat(2000)}"}`],
  ])('are refused: %s', (_, text) => {
    expect(codeOf(() => decodeQuestion(Buffer.from(text)))).toBe('CA_PROTOCOL');
  });

  it.each([
    ['a code that is none', '{"code":"toString","message":""}'],
    ['no certificate', '{"chain":[],"authorities":[]}'],
    ['bytes that are no certificate', '{"chain":["AQID"],"authorities":["AQID"]}'],
  ])('are refused by the node: %s', (_, text) => {
    expect(codeOf(() => decodeAnswer(Buffer.from(text)))).toBe('CA_PROTOCOL');
  });

  it('never fail without a code', () => {
    fc.assert(
      fc.property(fc.oneof(fc.json(), fc.string()), (text) => {
        expect(codeOf(() => decodeQuestion(Buffer.from(text)))).toBe('CA_PROTOCOL');
        expect(codeOf(() => decodeAnswer(Buffer.from(text)))).toBe('CA_PROTOCOL');
      }),
      { seed: 5, numRuns: 200 },
    );
  });
});

describe('frames', () => {
  it('are put together again, however they were cut', () => {
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 1, max: 200 }), { maxLength: 5 }),
        fc.array(fc.integer({ min: 1, max: 50 }), { minLength: 1 }),
        (sizes, cuts) => {
          const sent = sizes.map((size) => encodeQuestion({ type: 'node', request: Buffer.alloc(size, size) }));
          let rest = Buffer.concat(sent);
          const reader = new FrameReader();
          const received: Buffer[] = [];
          for (let i = 0; rest.length > 0; i++) {
            const size = cuts[i % cuts.length] ?? 1;
            received.push(...reader.push(rest.subarray(0, size)));
            rest = rest.subarray(size);
          }
          expect(received).toEqual(sent.map(bodyOf));
        },
      ),
      { seed: 5, numRuns: 100 },
    );
  });

  it('have a longest length, which is known from their first bytes', () => {
    const header = Buffer.alloc(4);
    header.writeUInt32BE(MAX_FRAME_BYTES + 1);
    expect(codeOf(() => new FrameReader().push(header))).toBe('CA_PROTOCOL');
  });
});
