// The packets of SFTP version 3, as OpenSSH and sshfs write them: a length of four bytes, a type, and fields. Text is
// kept as a string of bytes (`latin1`), because names of files are bytes and need not be UTF-8.

export const REQUEST = {
  init: 1,
  open: 3,
  close: 4,
  read: 5,
  write: 6,
  lstat: 7,
  fstat: 8,
  setstat: 9,
  fsetstat: 10,
  opendir: 11,
  readdir: 12,
  remove: 13,
  mkdir: 14,
  rmdir: 15,
  realpath: 16,
  stat: 17,
  rename: 18,
  readlink: 19,
  symlink: 20,
  extended: 200,
} as const;

export const ANSWER = { version: 2, status: 101, handle: 102, data: 103, name: 104, attributes: 105, extended: 201 };

export const OPEN_FLAG = { read: 1, write: 2, append: 4, create: 8, truncate: 16, exclusive: 32 } as const;

/** OpenSSH's limit. sshfs writes at most 64 KiB at once. */
export const MAX_PACKET_BYTES = 256 * 1024;

/** What a request wants to change. Fields that it does not name are undefined. */
export type RequestedAttributes = {
  readonly size?: number;
  readonly mode?: number;
  readonly accessed?: number;
  readonly modified?: number;
};

/** What answers tell of a file. Times are in milliseconds. */
export type FileAttributes = {
  readonly size: number;
  readonly uid: number;
  readonly gid: number;
  readonly mode: number;
  readonly atimeMs: number;
  readonly mtimeMs: number;
};

/** A packet that ends too early, or has a number that no file can have. */
export class MalformedPacketError extends Error {}

export type PacketReader = {
  readByte(): number;
  readNumber(): number;
  readLargeNumber(): number;
  /** Returns a part of the packet itself, not a copy. */
  readBytes(): Buffer;
  readText(): string;
  readAttributes(): RequestedAttributes;
  isAtEnd(): boolean;
};

export function createPacketReader(packet: Buffer): PacketReader {
  let position = 0;
  const advance = (bytes: number): number => {
    const start = position;
    if (bytes > packet.length - start) throw new MalformedPacketError();
    position += bytes;
    return start;
  };
  const readByte = (): number => packet.readUInt8(advance(1));
  const readNumber = (): number => packet.readUInt32BE(advance(4));
  const readLargeNumber = (): number => {
    const value = readNumber() * 2 ** 32 + readNumber();
    if (!Number.isSafeInteger(value)) throw new MalformedPacketError();
    return value;
  };
  const readBytes = (): Buffer => {
    const length = readNumber();
    const start = advance(length);
    return packet.subarray(start, start + length);
  };
  const readText = (): string => {
    const length = readNumber();
    const start = advance(length);
    return packet.toString('latin1', start, start + length);
  };
  const readAttributes = (): RequestedAttributes => {
    const flags = readNumber();
    const size = flags & 1 ? { size: readLargeNumber() } : {};
    // The owner is not changed: files belong to the user whose computer this is.
    if (flags & 2) advance(8);
    const mode = flags & 4 ? { mode: readNumber() } : {};
    const times = flags & 8 ? { accessed: readNumber(), modified: readNumber() } : {};
    return { ...size, ...mode, ...times };
  };
  return {
    readByte,
    readNumber,
    readLargeNumber,
    readBytes,
    readText,
    readAttributes,
    isAtEnd: () => position >= packet.length,
  };
}

/** Collects what arrives from a stream and returns whole packets, without their lengths. */
export type PacketSplitter = {
  add(chunk: Buffer): void;
  /** Returns the next packet, or undefined if it has not arrived completely. */
  next(): Buffer | undefined;
};

export function createPacketSplitter(): PacketSplitter {
  let pieces: Buffer[] = [];
  let length = 0;
  const joinPieces = (): Buffer => {
    const [first] = pieces;
    if (pieces.length === 1 && first !== undefined) return first;
    const joined = Buffer.concat(pieces, length);
    pieces = [joined];
    return joined;
  };
  const firstNumber = (): number => {
    const [first] = pieces;
    return first !== undefined && first.length >= 4 ? first.readUInt32BE(0) : joinPieces().readUInt32BE(0);
  };
  return {
    add(chunk) {
      if (chunk.length === 0) return;
      pieces.push(chunk);
      length += chunk.length;
    },
    next() {
      if (length < 4) return undefined;
      const packetLength = firstNumber();
      if (packetLength < 1 || packetLength > MAX_PACKET_BYTES) throw new MalformedPacketError();
      if (length - 4 < packetLength) return undefined;
      const [first] = pieces;
      const whole = first !== undefined && first.length - 4 >= packetLength ? first : joinPieces();
      const rest = whole.subarray(4 + packetLength);
      pieces.shift();
      if (rest.length > 0) pieces.unshift(rest);
      length -= 4 + packetLength;
      return whole.subarray(4, 4 + packetLength);
    },
  };
}

/** Writes answers behind each other into one buffer, so that answers to many requests are sent as one. */
export type AnswerWriter = {
  begin(type: number, id: number): void;
  addNumber(value: number): void;
  addLargeNumber(value: number): void;
  addText(text: string): void;
  addAttributes(attributes: FileAttributes): void;
  /** Lets `fill` write at most `length` bytes at a place of the buffer. It returns how many it wrote. */
  addFilled(length: number, fill: (buffer: Buffer, position: number) => number): number;
  /** Marks a number whose value `setNumber` writes later. */
  reserveNumber(): number;
  setNumber(place: number, value: number): void;
  end(): void;
  /** Forgets the answer that was begun. */
  cancel(): void;
  /** Returns how long the answer that was begun is. */
  answerLength(): number;
  /** Returns everything that has been written since the last call. The writer never changes these bytes again. */
  take(): Buffer | undefined;
  pendingBytes(): number;
};

const CHUNK_BYTES = 128 * 1024;

export function createAnswerWriter(): AnswerWriter {
  let buffer = Buffer.allocUnsafeSlow(CHUNK_BYTES);
  let sent = 0;
  let start = 0;
  let position = 0;
  const reserve = (bytes: number): void => {
    if (position + bytes <= buffer.length) return;
    const used = position - sent;
    const larger = Buffer.allocUnsafeSlow(Math.max(CHUNK_BYTES, (used + bytes) * 2));
    buffer.copy(larger, 0, sent, position);
    buffer = larger;
    start -= sent;
    position = used;
    sent = 0;
  };
  const addNumber = (value: number): void => {
    reserve(4);
    position = buffer.writeUInt32BE(value >>> 0, position);
  };
  const addLargeNumber = (value: number): void => {
    addNumber(Math.floor(value / 2 ** 32));
    addNumber(value % 2 ** 32);
  };
  return {
    begin(type, id) {
      reserve(16);
      start = position;
      position = buffer.writeUInt8(type, position + 4);
      addNumber(id);
    },
    addNumber,
    addLargeNumber,
    addText(text) {
      addNumber(text.length);
      reserve(text.length);
      position += buffer.write(text, position, 'latin1');
    },
    addAttributes({ size, uid, gid, mode, atimeMs, mtimeMs }) {
      reserve(32);
      addNumber(15);
      addLargeNumber(size);
      for (const value of [uid, gid, mode, secondsOf(atimeMs), secondsOf(mtimeMs)]) addNumber(value);
    },
    addFilled(length, fill) {
      reserve(4 + length);
      const written = fill(buffer, position + 4);
      buffer.writeUInt32BE(written, position);
      position += 4 + written;
      return written;
    },
    reserveNumber() {
      addNumber(0);
      return position - 4 - start;
    },
    setNumber(place, value) {
      buffer.writeUInt32BE(value, start + place);
    },
    end() {
      buffer.writeUInt32BE(position - start - 4, start);
      start = position;
    },
    cancel() {
      position = start;
    },
    answerLength: () => position - start,
    take() {
      if (start === sent) return undefined;
      const bytes = buffer.subarray(sent, start);
      sent = start;
      return bytes;
    },
    pendingBytes: () => start - sent,
  };
}

/** SFTP has whole seconds, and none before 1970. */
export function secondsOf(milliseconds: number): number {
  return Math.min(Math.max(Math.floor(milliseconds / 1000), 0), 0xffffffff);
}
