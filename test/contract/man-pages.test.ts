import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { manPage, paragraph, codeBlock } from '../../src/manual/roff.ts';
import { createTemporaryFolder } from '../fakes/temporary-folder.ts';
import { hasProgram, runProgram } from '../fakes/run-program.ts';

const repository = fileURLToPath(new URL('../..', import.meta.url));
const pages = ['man/slipway.1', 'man/docker-machine.1'];

test('the package contains the man pages, and package.json lists them', async () => {
  const { files, man } = JSON.parse(await readFile(`${repository}/package.json`, 'utf8'));
  expect(man).toEqual(pages);
  expect(files).toContain('man');
});

describe.skipIf(!hasProgram('groff'))('groff', () => {
  test.each(pages.flatMap((page) => ['utf8', 'ascii'].map((device) => [page, device] as const)))(
    'renders %s for the device %s without a warning',
    async (page, device) => {
      const { code, stderr } = await runProgram('groff', ['-man', `-T${device}`, '-ww', '-z', page], {
        cwd: repository,
      });
      expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    },
  );
});

describe.skipIf(!hasProgram('man'))('man', () => {
  const renderPage = async (page: string): Promise<string> => {
    const env = { ...process.env, LC_ALL: 'C.UTF-8', MANPAGER: 'cat', MANWIDTH: '200' };
    const { code, stdout, stderr } = await runProgram('man', ['--warnings', '-l', page], { cwd: repository, env });
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    return stdout;
  };

  test.each([
    ['man/slipway.1', [/^ +-d, --driver name$/m, /^ +--qemu-memory mb$/m, /, HOST_KEY\.$/m, /engine's +certificate/]],
    ['man/docker-machine.1', [/^ +--storage-path, -s value$/m, /^ +Run 'docker-machine create --driver name --help'/m]],
  ] as const)('shows %s with flags and placeholders unchanged', async (page, lines) => {
    const text = await renderPage(page);
    for (const line of lines) expect(text).toMatch(line);
    for (const title of ['NAME', 'SYNOPSIS', 'COMMANDS', 'ENVIRONMENT', 'FILES', 'EXIT STATUS', 'SEE ALSO'])
      expect(text).toMatch(new RegExp(`^${title}$`, 'm'));
  });

  test.each([
    '.de is no macro',
    "'tis no request",
    String.raw`C:\n and \fB stay \(em as they are`,
    '`bold` words and a lone ` one',
    'the “engine’s” $(echo "x") ~/.docker ^ --flag – 日',
  ])('shows %j unchanged', async (text) => {
    await using folder = await createTemporaryFolder();
    const file = join(folder.path, 'nasty.1');
    await writeFile(file, manPage('nasty', 'words', [paragraph(text), codeBlock([text])]));
    const plain = text.replaceAll(/`(bold)`/g, '$1');
    expect((await renderPage(file)).split('\n').map((line) => line.trim())).toEqual(
      expect.arrayContaining([plain, text]),
    );
  });
});
