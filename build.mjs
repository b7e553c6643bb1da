// Builds the programs `slipway` and `docker-machine` into dist/:
//
// - NAME.js is the entry file, which Node starts. It answers shell completion, and some quick commands of `slipway`
//   (the fast path, src/bin/fast-path.ts), and imports the full program for anything else.
// - NAME-main.mjs is the full program. Its code is in chunks, so that a command reads only the code that it uses.
// - completion/NAME.json is the completion spec, from which the entry file answers.
import { chmod, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { build, transform } from 'esbuild';

/**
 * Reduces the protos of Compute Engine to the services and messages that the GCE driver uses. The protos describe a
 * hundred services in 12 MB, and a client reads and hashes all of them before its first request.
 */
const trimProtosPlugin = {
  name: 'trim protos',
  setup({ onLoad }) {
    onLoad({ filter: /[\\/]@google-cloud[\\/]compute[\\/]build[\\/]protos[\\/]protos\.json$/ }, async ({ path }) => {
      const protos = JSON.parse(await readFile(path, 'utf8'));
      const { compute } = protos.nested.google.nested.cloud.nested;
      compute.nested = {
        v1: { ...compute.nested.v1, nested: keepReachable(compute.nested.v1.nested, await loadGceApiMethods()) },
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

/** Loads the names of the API methods that the GCE driver calls. Node can't import TypeScript: esbuild converts it. */
async function loadGceApiMethods() {
  const { code } = await transform(await readFile('src/drivers/gce/api-methods.ts', 'utf8'), {
    loader: 'ts',
    format: 'esm',
  });
  const { API_METHODS } = await import(`data:text/javascript,${encodeURIComponent(code)}`);
  return API_METHODS;
}

/**
 * Returns the services that have these API methods, without their other methods, and all messages that the methods send
 * or return.
 */
function keepReachable(protos, apiMethods) {
  const reached = {};
  for (const [client, methodNames] of Object.entries(apiMethods)) {
    const service = client.replace(/Client$/, '');
    const methods = methodNames.map((name) => name.slice(0, 1).toUpperCase() + name.slice(1));
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
 * Builds the entry file from the same source files as the full program, but for a quick start: dynamic imports throw,
 * files are read synchronously (which starts no threads) and never written, and most Node modules load when one of
 * their functions is first called. If anything throws, the entry file imports the full program, which runs the command.
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
    // Node itself has loaded these modules when it starts, except `os`, which every answer needs.
    onResolve({ filter: /^node:/ }, ({ path, namespace }) =>
      namespace === 'lazy' || ['fs', 'os', 'path', 'url', 'util'].includes(path.slice(5))
        ? { path, external: true, sideEffects: false }
        : { path, namespace: 'lazy', sideEffects: false },
    );
    onLoad({ filter: /./, namespace: 'lazy' }, async ({ path }) => ({
      contents: Object.keys(await import(path))
        .filter((name) => name !== 'default')
        .map((name) => `export const ${name} = ${functionSource(path, name)};`)
        .join('\n'),
    }));
  },
};

/** Returns the source of the function that replaces a function of a Node module in the entry file. */
function functionSource(path, name) {
  return path === 'node:fs/promises' ? syncFunctionSource(name) : lazyFunctionSource(path, name);
}

/** Returns the source of a function that loads the module when it is called. */
function lazyFunctionSource(path, name) {
  return `(...args) => require('${path}').${name}(...args)`;
}

/** Returns the source of a function of `node:fs/promises` that reads synchronously, or throws if it would write. */
function syncFunctionSource(name) {
  return ['readFile', 'readdir', 'stat'].includes(name)
    ? `async (...args) => require('node:fs').${name}Sync(...args)`
    : `async () => { throw new Error('${name} is not on the fast path'); }`;
}

/** The source folder of each full program. The source of the entry files is in `src/bin/`. */
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
// Without this file, Node would read the entry files as ES modules, as the package's own package.json says.
await writeFile('dist/package.json', '{ "type": "commonjs" }\n');
for (const name of programNames) await buildEntry(name);
await mkdir('dist/completion');
for (const name of programNames) await writeCompletionSpec(name);

/** Builds a program's entry file. It is CommonJS: the first ES module adds a fifth to Node's own start-up time. */
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

/** Leaves the full program out of the entry file, which imports it only if it can't answer itself. */
function externalMainPlugin(name) {
  return {
    name: 'external main',
    setup: ({ onResolve }) =>
      onResolve({ filter: /\/main\.ts$/ }, () => ({ path: `./${name}-main.mjs`, external: true })),
  };
}

/** Writes a program's completion spec as JSON: loading the libraries that declare its options would take too long. */
async function writeCompletionSpec(name) {
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
