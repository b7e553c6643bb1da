// Bundles the CLI into dist/. Splitting keeps what a command does not use from being read at all.
import { chmod, readFile, rm, writeFile } from 'node:fs/promises';
import { build } from 'esbuild';

await rm('dist', { recursive: true, force: true });
await build({
  entryPoints: { slipway: 'src/cli/main.ts' },
  outdir: 'dist',
  bundle: true,
  splitting: true,
  format: 'esm',
  platform: 'node',
  // UMD files, which some packages name first, hide their requires from a bundler.
  mainFields: ['module', 'main'],
  target: 'node20.19',
  chunkNames: 'chunks/[name]-[hash]',
  // ssh2 and some of its kin are CommonJS and ask for these; ssh2's native parts are optional.
  banner: {
    js: [
      "import { createRequire as __createRequire } from 'node:module';",
      'const require = __createRequire(import.meta.url);',
      'const __filename = import.meta.filename, __dirname = import.meta.dirname;',
    ].join('\n'),
  },
  loader: { '.node': 'empty' },
  external: ['cpu-features'],
  legalComments: 'linked',
  logLevel: 'warning',
});
const text = await readFile('dist/slipway.js', 'utf8');
await writeFile('dist/slipway.js', `#!/usr/bin/env node\n${text}`);
await chmod('dist/slipway.js', 0o755);
