/** A message between this computer and templates/link/udp.pl. */
export type UdpFrame = { readonly kind: 'O' | 'D' | 'C' | 'R'; readonly flow: number; readonly payload: Buffer };

/** The kind, the flow, and the length of the payload. */
const HEAD_BYTES = 7;
/** No datagram is longer. */
const LONGEST_PAYLOAD = 65_535;

export function encodeUdpFrame({ kind, flow, payload }: UdpFrame): Buffer {
  const head = Buffer.allocUnsafe(HEAD_BYTES);
  head.write(kind, 'latin1');
  head.writeUInt32BE(flow, 1);
  head.writeUInt16BE(Math.min(payload.length, LONGEST_PAYLOAD), 5);
  return Buffer.concat([head, payload.subarray(0, LONGEST_PAYLOAD)]);
}

/** Returns a function that gets bytes as they arrive, and returns the frames that are complete. */
export function createUdpFrameReader(): (chunk: Buffer) => readonly UdpFrame[] {
  let rest: Buffer = Buffer.alloc(0);
  return (chunk) => {
    const bytes = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
    const frames: UdpFrame[] = [];
    let at = 0;
    while (bytes.length - at >= HEAD_BYTES) {
      const end = at + HEAD_BYTES + bytes.readUInt16BE(at + 5);
      if (end > bytes.length) break;
      const kind = bytes.toString('latin1', at, at + 1) as UdpFrame['kind'];
      frames.push({ kind, flow: bytes.readUInt32BE(at + 1), payload: bytes.subarray(at + HEAD_BYTES, end) });
      at = end;
    }
    rest = bytes.subarray(at);
    return frames;
  };
}
