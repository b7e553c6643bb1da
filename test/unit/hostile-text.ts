import fc from 'fast-check';

/** Generates output of a host that tries to control the terminal. */
export const hostileText = fc
  .array(
    fc.oneof(
      fc.string({ unit: 'binary', maxLength: 12 }),
      fc.constantFrom(
        '\u001b[2J',
        '\u001b[H',
        '\u001b[10A',
        '\u001b]0;title\u0007',
        '\u001b]8;;http://x\u001b\\link',
        '\u001bPq#0\u001b\\',
        '\u009b1A',
        '\r',
        '\n',
        '\b\b\b',
        '\t',
        '\u0007',
        '\u202e',
        '\u200b',
        '中文',
        '👩‍👩‍👧',
        '✅\ufe0f',
        'e\u0301',
        'apt-get',
        ' ',
      ),
    ),
    { maxLength: 12 },
  )
  .map((parts) => parts.join(''));
