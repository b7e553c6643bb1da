// Bundles the CLI into dist/. Splitting keeps what a command does not use from being read at all.
import { chmod, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { build, transform } from 'esbuild';

/**
 * The protos of Compute Engine's package describe a hundred services in 12 MB, and its clients hash and read all of it
 * before their first call. What the calls of the driver can't reach is left out.
 */
const fewerProtos = {
  name: 'fewer protos',
  setup({ onLoad }) {
    onLoad({ filter: /[\\/]@google-cloud[\\/]compute[\\/]build[\\/]protos[\\/]protos\.json$/ }, async ({ path }) => {
      const protos = JSON.parse(await readFile(path, 'utf8'));
      const { compute } = protos.nested.google.nested.cloud.nested;
      compute.nested = {
        v1: { ...compute.nested.v1, nested: reachable(compute.nested.v1.nested, await driversCalls()) },
      };
      return { contents: JSON.stringify(protos), loader: 'json' };
    });
  },
};

/**
 * As one object, zod is all of it, with its errors in fifty languages; as a namespace, a bundler leaves out what nobody
 * calls.
 */
const fewerSchemas = {
  name: 'fewer schemas',
  setup({ onLoad }) {
    onLoad({ filter: /[\\/]src[\\/].*\.ts$/ }, async ({ path }) => ({
      contents: (await readFile(path, 'utf8')).replace(/^import \{ z \} from 'zod';$/m, "import * as z from 'zod';"),
      loader: 'ts',
    }));
  },
};

async function driversCalls() {
  const { code } = await transform(await readFile('src/drivers/gce/api-methods.ts', 'utf8'), {
    loader: 'ts',
    format: 'esm',
  });
  const { CALLS } = await import(`data:text/javascript,${encodeURIComponent(code)}`);
  return CALLS;
}

/** The services with these calls alone, and the messages that they take, give and consist of. */
function reachable(all, calls) {
  const kept = {};
  for (const [client, names] of Object.entries(calls)) {
    const service = client.replace(/Client$/, '');
    const methods = names.map((name) => name.slice(0, 1).toUpperCase() + name.slice(1));
    kept[service] = {
      ...all[service],
      methods: Object.fromEntries(methods.map((name) => [name, all[service].methods[name]])),
    };
  }
  const typesOf = ({ fields = {}, methods = {}, nested = {} }) => [
    ...Object.values(fields).map(({ type }) => type),
    ...Object.values(methods).flatMap(({ requestType, responseType }) => [requestType, responseType]),
    ...Object.values(nested).flatMap(typesOf),
  ];
  const found = new Set(Object.values(kept).flatMap(typesOf));
  for (const name of found) {
    if (!all[name]) continue;
    kept[name] = all[name];
    for (const type of typesOf(all[name])) found.add(type);
  }
  return kept;
}

/**
 * Quick answers come from the commands' own files. What these import while they run is none, files are read at once,
 * without the threads that Node makes for it, and never written, and no other part of Node is read before it is called.
 */
const onlyWhatIsQuick = {
  name: 'only what is quick',
  setup({ onResolve, onLoad }) {
    onResolve({ filter: /^zod$/ }, () => ({ path: resolve('src/bin/zod-stub.ts') }));
    onResolve({ filter: /./ }, ({ kind, path }) =>
      kind === 'dynamic-import' ? { path, namespace: 'not quick' } : undefined,
    );
    onLoad({ filter: /./, namespace: 'not quick' }, () => ({ contents: "throw new Error('this is not quick')" }));
    onResolve({ filter: /^node:/ }, ({ path, namespace }) =>
      namespace === 'later' || ['fs', 'os', 'path', 'url', 'util'].includes(path.slice(5))
        ? { path, external: true, sideEffects: false }
        : { path, namespace: 'later', sideEffects: false },
    );
    onLoad({ filter: /./, namespace: 'later' }, async ({ path }) => ({
      contents: Object.keys(await import(path))
        .filter((name) => name !== 'default')
        .map((name) => `export const ${name} = ${path === 'node:fs/promises' ? atOnce(name) : called(path, name)};`)
        .join('\n'),
    }));
  },
};

function called(path, name) {
  return `(...given) => require('${path}').${name}(...given)`;
}

function atOnce(name) {
  return ['readFile', 'readdir', 'stat'].includes(name)
    ? `async (...given) => require('node:fs').${name}Sync(...given)`
    : `async () => { throw new Error('${name} is not quick'); }`;
}

/** The folder of each program's command line. The file that Node starts is in `src/bin/`. */
const programs = { slipway: 'src/cli', 'docker-machine': 'src/docker-machine' };
const names = Object.keys(programs);
const node = { bundle: true, platform: 'node', target: 'node20.19', logLevel: 'warning' };

await rm('dist', { recursive: true, force: true });
await build({
  ...node,
  entryPoints: Object.fromEntries(names.map((name) => [`${name}-main`, `${programs[name]}/main.ts`])),
  outdir: 'dist',
  splitting: true,
  format: 'esm',
  outExtension: { '.js': '.mjs' },
  // UMD files, which some packages name first, hide their requires from a bundler.
  mainFields: ['module', 'main'],
  // All beside the programs: what a package brings is looked for from any of them.
  chunkNames: '[name]-[hash]',
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
  plugins: [fewerProtos, fewerSchemas],
  // A third less to download and to read. Names stay, for the stack of a bug.
  minifyWhitespace: true,
  legalComments: 'linked',
});
await writeFile('dist/package.json', '{ "type": "commonjs" }\n');
for (const name of names) await begin(name);
await mkdir('dist/completion');
for (const name of names) await declare(name);

/** The file that is started. CommonJS: Node takes a fifth of its own start for the first file that is an ES module. */
async function begin(name) {
  const outfile = `dist/${name}.js`;
  await build({
    ...node,
    entryPoints: [`src/bin/${name}.ts`],
    outfile,
    format: 'cjs',
    banner: { js: '#!/usr/bin/env node' },
    define: { 'import.meta.dirname': '__dirname' },
    minify: true,
    plugins: [mainIsApart(name), onlyWhatIsQuick],
  });
  await chmod(outfile, 0o755);
}

function mainIsApart(name) {
  return {
    name: 'main is a file of its own',
    setup: ({ onResolve }) =>
      onResolve({ filter: /\/main\.ts$/ }, () => ({ path: `./${name}-main.mjs`, external: true })),
  };
}

/** What a program declares, as data: a Tab can't wait for the libraries that declarations are written in. */
async function declare(name) {
  const outfile = `dist/completion/${name}.mjs`;
  await build({
    ...node,
    entryPoints: [`${programs[name]}/completion-data.ts`],
    outfile,
    format: 'esm',
    packages: 'external',
  });
  const { generateCompletionSpec } = await import(pathToFileURL(outfile).href);
  await writeFile(`dist/completion/${name}.json`, JSON.stringify(await generateCompletionSpec()));
  await rm(outfile);
}
