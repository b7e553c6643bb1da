import fc from 'fast-check';
import { expect, test } from 'vitest';
import { isWindowsName, machinePathOfWindows, windowsPathOfMachine } from '../../src/link/folders/windows-paths.ts';

test.each([
  ['C:\\Users\\me', '/c/Users/me'],
  ['C:\\', '/c'],
  ['d:/work//site/', '/d/work/site'],
  ['\\\\?\\C:\\Users\\me', '/c/Users/me'],
  ['C:\\Users\\Zoë Smith', '/c/Users/Zoë Smith'],
  ['\\\\server\\share', undefined],
  ['Users\\me', undefined],
  ['C:Users', undefined],
])('%s is %s in a machine', (path, expected) => {
  expect(machinePathOfWindows(path)).toBe(expected);
});

test.each([
  ['/c/Users/me', 'C:\\Users\\me'],
  ['/c', 'C:\\'],
  ['/home/me', undefined],
  ['c/Users', undefined],
  ['/c/../x', undefined],
  ['/c/a\\..\\..\\b', undefined],
  ['/c/file:stream', undefined],
  ['/c/.ssh.', undefined],
  ['/c/.ssh ', undefined],
  ['/c/nul', undefined],
  ['/c/COM1.txt', undefined],
])('%s is %s on Windows', (path, expected) => {
  expect(windowsPathOfMachine(path)).toBe(expected);
});

test('a path of Windows is the same after it went to a machine and back', () => {
  const names = fc.string({ unit: 'grapheme', minLength: 1, maxLength: 12 }).filter((name) => {
    return isWindowsName(name) && !name.includes('/');
  });
  fc.assert(
    fc.property(fc.constantFrom('C', 'D', 'Z'), fc.array(names, { maxLength: 5 }), (drive, list) => {
      const path = `${drive}:\\${list.join('\\')}`;
      expect(windowsPathOfMachine(machinePathOfWindows(path) ?? '')).toBe(path);
    }),
  );
});
