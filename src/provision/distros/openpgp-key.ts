import { createHash } from 'node:crypto';

/** The types of packets (RFC 9580) that a file of public keys can contain. */
const PUBLIC_KEY = 6;
const OTHER_PACKETS: ReadonlySet<number> = new Set([2, 12, 13, 14, 17]);

/**
 * Returns the fingerprints of the primary keys (40 upper-case hexadecimal digits) in a file of OpenPGP keys, binary or
 * armored. Returns none for a file that contains anything else, since apt might read it in another way.
 */
export function primaryFingerprintsOf(file: Buffer): readonly string[] {
  try {
    return [...readPackets(dearmor(file))].flatMap(({ type, body }) =>
      type === PUBLIC_KEY && body[0] === 4 ? [fingerprintOf(body)] : [],
    );
  } catch (error) {
    if (error instanceof RangeError) return [];
    throw error;
  }
}

function fingerprintOf(body: Buffer): string {
  const head = Buffer.from([0x99, body.length >> 8, body.length & 0xff]);
  return createHash('sha1').update(head).update(body).digest('hex').toUpperCase();
}

/** Returns the bytes of all armored blocks; a binary file is returned unchanged. */
function dearmor(file: Buffer): Buffer {
  if (((file[0] ?? 0) & 0x80) !== 0) return file;
  const blocks = [
    ...file
      .toString('latin1')
      .replaceAll('\r\n', '\n')
      .matchAll(/^-----BEGIN PGP PUBLIC KEY BLOCK-----\n(?:[^\n]+\n)*?[ \t]*\n([\s\S]*?)^-----END PGP/gm),
  ];
  // The last line, after `=`, is a checksum.
  return Buffer.concat(blocks.map(([, text = '']) => Buffer.from(text.replace(/^=\S*\s*$/m, ''), 'base64')));
}

type Packet = { readonly type: number; readonly body: Buffer };

function* readPackets(bytes: Buffer): Generator<Packet> {
  let at = 0;
  while (at < bytes.length) {
    const first = bytes.readUInt8(at);
    const isNewFormat = (first & 0x40) !== 0;
    const type = isNewFormat ? first & 0x3f : (first >> 2) & 0x0f;
    if ((first & 0x80) === 0 || (type !== PUBLIC_KEY && !OTHER_PACKETS.has(type)))
      throw new RangeError('no key packet');
    const { start, length } = isNewFormat ? newFormatLength(bytes, at + 1) : oldFormatLength(bytes, at + 1, first & 3);
    if (start + length > bytes.length) throw new RangeError('a truncated packet');
    yield { type, body: bytes.subarray(start, start + length) };
    at = start + length;
  }
}

type Extent = { readonly start: number; readonly length: number };

function oldFormatLength(bytes: Buffer, at: number, lengthType: number): Extent {
  if (lengthType === 0) return { start: at + 1, length: bytes.readUInt8(at) };
  if (lengthType === 1) return { start: at + 2, length: bytes.readUInt16BE(at) };
  if (lengthType === 2) return { start: at + 4, length: bytes.readUInt32BE(at) };
  throw new RangeError('a packet without a length');
}

function newFormatLength(bytes: Buffer, at: number): Extent {
  const first = bytes.readUInt8(at);
  if (first < 192) return { start: at + 1, length: first };
  if (first < 224) return { start: at + 2, length: ((first - 192) << 8) + bytes.readUInt8(at + 1) + 192 };
  if (first === 255) return { start: at + 5, length: bytes.readUInt32BE(at + 1) };
  throw new RangeError('a packet in parts');
}
