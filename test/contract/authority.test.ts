import { execFile } from 'node:child_process';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { build } from 'esbuild';
import { expect, test } from 'vitest';
import { createTemporaryFolder } from '../fakes/temporary-folder.ts';

const run = promisify(execFile);

test('one of many simultaneous processes creates the authority, and all of them use it', async () => {
  await using folder = await createTemporaryFolder();
  const program = join(folder.path, 'ensure-authority.mjs');
  const source = fileURLToPath(new URL('../../src/docker-machine/machine-authority.ts', import.meta.url));
  await build({
    stdin: {
      contents: `import { ensureAuthority } from ${JSON.stringify(source)};
        const { ca, client } = await ensureAuthority(process.argv[2], {}, () => {});
        process.stdout.write(ca + client.cert);`,
      resolveDir: fileURLToPath(new URL('../..', import.meta.url)),
    },
    outfile: program,
    bundle: true,
    platform: 'node',
    target: 'node20',
    format: 'esm',
    banner: { js: "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url);" },
  });
  const root = join(folder.path, 'store');
  const outputs = await Promise.all(
    Array.from({ length: 8 }, async () => (await run(process.execPath, [program, root])).stdout),
  );
  const certs = join(root, 'certs');
  const stored = (await readFile(join(certs, 'ca.pem'), 'utf8')) + (await readFile(join(certs, 'cert.pem'), 'utf8'));
  expect([...new Set(outputs)]).toEqual([stored]);
  expect((await readdir(certs)).filter((name) => name.endsWith('.pem') || name.endsWith('.old')).toSorted()).toEqual([
    'ca-key.pem',
    'ca.pem',
    'cert.pem',
    'key.pem',
  ]);
});
