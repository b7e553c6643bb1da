/** Encodings that a byte order mark can announce besides UTF-8. dockerd reads a daemon.json in each of them. */
export type TextEncodingName = 'utf-16le' | 'utf-16be';

/**
 * Decodes the bytes of a daemon.json. The text keeps its byte order mark as its first character. `invalid` means bytes
 * that are not in the file's encoding; the text then has replacement characters in their place.
 */
export function decodeDaemonJson(bytes: Uint8Array): {
  readonly text: string;
  readonly encoding: TextEncodingName | 'invalid' | undefined;
} {
  const [first, second] = bytes;
  const marked =
    first === 0xff && second === 0xfe ? 'utf-16le' : first === 0xfe && second === 0xff ? 'utf-16be' : undefined;
  try {
    const text = new TextDecoder(marked ?? 'utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
    return { text, encoding: marked };
  } catch {
    return { text: new TextDecoder(marked ?? 'utf-8', { ignoreBOM: true }).decode(bytes), encoding: 'invalid' };
  }
}

/** Encodes a text, in UTF-8 if no other encoding is named. */
export function encodeText(text: string, encoding?: TextEncodingName): Uint8Array {
  if (encoding === undefined) return Buffer.from(text, 'utf8');
  const bytes = Buffer.from(text, 'utf16le');
  return encoding === 'utf-16le' ? bytes : bytes.swap16();
}
