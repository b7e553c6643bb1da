import fc from 'fast-check';
import { expect, test } from 'vitest';
import { truncate, sanitizeLine, displayWidth, wrapText } from '../../src/terminal/terminal-text.ts';
import { hostileText } from './hostile-text.ts';

test('sanitizeLine removes everything that controls the terminal', () => {
  fc.assert(
    fc.property(hostileText, (line) => {
      expect(sanitizeLine(line)).not.toMatch(/[\p{Cc}\p{Cf}\u2028\u2029]/u);
    }),
  );
  expect(sanitizeLine('\u001b[31mred\u001b[0m \u001b[2Kand\u202e plain')).toBe('red and plain');
});

test('sanitizeLine keeps only the last state of a line that redraws itself', () => {
  expect(sanitizeLine('10 %\r20 %\r30 %\r')).toBe('30 %');
});

test('truncate cuts a text to the width and marks the cut, counting wide characters twice', () => {
  expect(truncate('Install the engine', 10, '…')).toBe('Install t…');
  expect(truncate('Install', 10, '…')).toBe('Install');
  expect(displayWidth('中文✅')).toBe(6);
  expect(truncate('中文中文', 5, '…')).toBe('中文…');
  fc.assert(
    fc.property(hostileText, fc.integer({ min: 1, max: 30 }), (line, width) => {
      expect(displayWidth(truncate(sanitizeLine(line), width, '…'))).toBeLessThanOrEqual(width);
    }),
  );
});

test('wrapText loses nothing but the spaces at which it breaks lines', () => {
  expect(wrapText('Configure the engine and restart it', 17)).toEqual(['Configure the', 'engine and', 'restart it']);
  expect(wrapText('https://example.org/path', 10)).toEqual(['https://ex', 'ample.org/', 'path']);
  fc.assert(
    fc.property(hostileText, fc.integer({ min: 2, max: 30 }), (line, width) => {
      const text = sanitizeLine(line);
      const lines = wrapText(text, width);
      expect(lines.join('').replaceAll(' ', '')).toBe(text.replaceAll(' ', ''));
      for (const one of lines) expect(displayWidth(one)).toBeLessThanOrEqual(width);
    }),
  );
});
