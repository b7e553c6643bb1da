import { expect, test } from 'vitest';
import { createUdpFrameReader, encodeUdpFrame, type UdpFrame } from '../../src/link/udp-frames.ts';

const frames: readonly UdpFrame[] = [
  { kind: 'O', flow: 1, payload: Buffer.from('127.0.0.1 53') },
  { kind: 'D', flow: 4_000_000_000, payload: Buffer.alloc(65_507, 7) },
  { kind: 'D', flow: 1, payload: Buffer.alloc(0) },
  { kind: 'C', flow: 1, payload: Buffer.alloc(0) },
];
const bytes = Buffer.concat(frames.map(encodeUdpFrame));

test.each([1, 6, 7, 1000, bytes.length])('frames are whole again, whatever arrives at a time: %d bytes', (size) => {
  const read = createUdpFrameReader();
  const parts = Array.from({ length: Math.ceil(bytes.length / size) }, (_, index) =>
    bytes.subarray(index * size, (index + 1) * size),
  );
  expect(parts.flatMap(read)).toEqual(frames);
});
