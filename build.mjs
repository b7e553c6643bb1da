// Bundles both programs into dist/. Code is split into chunks, so a command reads only the code that it uses.
import { chmod, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { build, transform } from 'esbuild';

/**
 * Removes services and messages that the GCE driver's calls can't reach from Compute Engine's protos: these describe a
 * hundred services in 12 MB, and a client hashes and reads all of it before its first call.
 */
const trimProtosPlugin = {
  name: 'trim protos',
  setup({ onLoad }) {
    onLoad({ filter: /[\\/]@google-cloud[\\/]compute[\\/]build[\\/]protos[\\/]protos\.json$/ }, async ({ path }) => {
      const protos = JSON.parse(await readFile(path, 'utf8'));
      const { compute } = protos.nested.google.nested.cloud.nested;
      compute.nested = {
        v1: { ...compute.nested.v1, nested: keepReachable(compute.nested.v1.nested, await loadGceCalls()) },
      };
      return { contents: JSON.stringify(protos), loader: 'json' };
    });
  },
};

/**
 * Imports zod as a namespace, from which a bundler can drop what nobody calls. Imported as one object, zod comes whole,
 * with its error messages in fifty languages.
 */
const zodNamespacePlugin = {
  name: 'zod namespace',
  setup({ onLoad }) {
    onLoad({ filter: /[\\/]src[\\/].*\.ts$/ }, async ({ path }) => ({
      contents: (await readFile(path, 'utf8')).replace(/^import \{ z \} from 'zod';$/m, "import * as z from 'zod';"),
      loader: 'ts',
    }));
  },
};

async function loadGceCalls() {
  const { code } = await transform(await readFile('src/drivers/gce/api-methods.ts', 'utf8'), {
    loader: 'ts',
    format: 'esm',
  });
  const { CALLS } = await import(`data:text/javascript,${encodeURIComponent(code)}`);
  return CALLS;
}

/** Returns these calls' services without other methods, and the messages that the calls send and return. */
function keepReachable(protos, calls) {
  const reached = {};
  for (const [client, callNames] of Object.entries(calls)) {
    const service = client.replace(/Client$/, '');
    const methods = callNames.map((name) => name.slice(0, 1).toUpperCase() + name.slice(1));
    reached[service] = {
      ...protos[service],
      methods: Object.fromEntries(methods.map((name) => [name, protos[service].methods[name]])),
    };
  }
  const typesOf = ({ fields = {}, methods = {}, nested = {} }) => [
    ...Object.values(fields).map(({ type }) => type),
    ...Object.values(methods).flatMap(({ requestType, responseType }) => [requestType, responseType]),
    ...Object.values(nested).flatMap(typesOf),
  ];
  const reachedTypes = new Set(Object.values(reached).flatMap(typesOf));
  for (const name of reachedTypes) {
    if (!protos[name]) continue;
    reached[name] = protos[name];
    for (const type of typesOf(protos[name])) reachedTypes.add(type);
  }
  return reached;
}

/**
 * Bundles the fast path from the same command files as the full program, but fit for a quick start: dynamic imports
 * throw, files are read synchronously (which starts no threads) and never written, and other Node modules load on their
 * first call. Where something throws, the program runs the command in full.
 */
const fastPathPlugin = {
  name: 'fast path',
  setup({ onResolve, onLoad }) {
    onResolve({ filter: /^zod$/ }, () => ({ path: resolve('src/bin/zod-stub.ts') }));
    onResolve({ filter: /./ }, ({ kind, path }) =>
      kind === 'dynamic-import' ? { path, namespace: 'dynamic import' } : undefined,
    );
    onLoad({ filter: /./, namespace: 'dynamic import' }, () => ({
      contents: "throw new Error('not on the fast path')",
    }));
    onResolve({ filter: /^node:/ }, ({ path, namespace }) =>
      namespace === 'lazy' || ['fs', 'os', 'path', 'url', 'util'].includes(path.slice(5))
        ? { path, external: true, sideEffects: false }
        : { path, namespace: 'lazy', sideEffects: false },
    );
    onLoad({ filter: /./, namespace: 'lazy' }, async ({ path }) => ({
      contents: Object.keys(await import(path))
        .filter((name) => name !== 'default')
        .map((name) => `export const ${name} = ${callSource(path, name)};`)
        .join('\n'),
    }));
  },
};

function callSource(path, name) {
  return path === 'node:fs/promises' ? syncCallSource(name) : lazyCallSource(path, name);
}

/** Returns the source of a function that loads its module when it is called. */
function lazyCallSource(path, name) {
  return `(...args) => require('${path}').${name}(...args)`;
}

/** Returns the source of a function of `node:fs/promises` that reads synchronously, or throws if it would write. */
function syncCallSource(name) {
  return ['readFile', 'readdir', 'stat'].includes(name)
    ? `async (...args) => require('node:fs').${name}Sync(...args)`
    : `async () => { throw new Error('${name} is not on the fast path'); }`;
}

/** The folder of each program's command line. The file that Node starts is in `src/bin/`. */
const programFolders = { slipway: 'src/cli', 'docker-machine': 'src/docker-machine' };
const programNames = Object.keys(programFolders);
const nodeBuildOptions = { bundle: true, platform: 'node', target: 'node20.19', logLevel: 'warning' };

await rm('dist', { recursive: true, force: true });
await build({
  ...nodeBuildOptions,
  entryPoints: Object.fromEntries(programNames.map((name) => [`${name}-main`, `${programFolders[name]}/main.ts`])),
  outdir: 'dist',
  splitting: true,
  format: 'esm',
  outExtension: { '.js': '.mjs' },
  // Some packages name a UMD file first, whose calls of require a bundler can't see.
  mainFields: ['module', 'main'],
  // All chunks lie beside the programs: a package's code looks for its files relative to any of them.
  chunkNames: '[name]-[hash]',
  // ssh2 and packages like it are CommonJS and need these variables; ssh2's native parts are optional.
  banner: {
    js: [
      "import { createRequire as __createRequire } from 'node:module';",
      'const require = __createRequire(import.meta.url);',
      'const __filename = import.meta.filename, __dirname = import.meta.dirname;',
    ].join('\n'),
  },
  loader: { '.node': 'empty' },
  external: ['cpu-features'],
  plugins: [trimProtosPlugin, zodNamespacePlugin],
  // Saves a third of what is downloaded and read. Names stay, so that a bug's stack trace is readable.
  minifyWhitespace: true,
  legalComments: 'linked',
});
await writeFile('dist/package.json', '{ "type": "commonjs" }\n');
for (const name of programNames) await buildEntry(name);
await mkdir('dist/completion');
for (const name of programNames) await writeDeclarations(name);

/** Builds the file that Node starts. It is CommonJS: the first ES module adds a fifth to Node's own start-up time. */
async function buildEntry(name) {
  const outfile = `dist/${name}.js`;
  await build({
    ...nodeBuildOptions,
    entryPoints: [`src/bin/${name}.ts`],
    outfile,
    format: 'cjs',
    banner: { js: '#!/usr/bin/env node' },
    define: { 'import.meta.dirname': '__dirname' },
    minify: true,
    plugins: [externalMainPlugin(name), fastPathPlugin],
  });
  await chmod(outfile, 0o755);
}

/** Leaves the full program in its own file, which the entry file imports when the fast path can't answer. */
function externalMainPlugin(name) {
  return {
    name: 'external main',
    setup: ({ onResolve }) =>
      onResolve({ filter: /\/main\.ts$/ }, () => ({ path: `./${name}-main.mjs`, external: true })),
  };
}

/** Writes a program's declarations as JSON: completion can't wait for the libraries that declare them. */
async function writeDeclarations(name) {
  const outfile = `dist/completion/${name}.mjs`;
  await build({
    ...nodeBuildOptions,
    entryPoints: [`${programFolders[name]}/completion-data.ts`],
    outfile,
    format: 'esm',
    packages: 'external',
  });
  const { generateCompletionSpec } = await import(pathToFileURL(outfile).href);
  await writeFile(`dist/completion/${name}.json`, JSON.stringify(await generateCompletionSpec()));
  await rm(outfile);
}
