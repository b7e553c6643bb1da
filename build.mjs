// Bundles the CLI into dist/. Splitting keeps what a command does not use from being read at all.
import { chmod, readFile, rm, writeFile } from 'node:fs/promises';
import { build, transform } from 'esbuild';

/**
 * The protos of Compute Engine's package describe a hundred services in 12 MB, and its clients hash and read all of it before their first
 * call. What the calls of the driver can't reach is left out.
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

async function driversCalls() {
  const { code } = await transform(await readFile('src/drivers/gce/calls.ts', 'utf8'), { loader: 'ts', format: 'esm' });
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

const programs = { slipway: 'src/cli/main.ts', 'docker-machine': 'src/docker-machine/main.ts' };

await rm('dist', { recursive: true, force: true });
await build({
  entryPoints: programs,
  outdir: 'dist',
  bundle: true,
  splitting: true,
  format: 'esm',
  platform: 'node',
  // UMD files, which some packages name first, hide their requires from a bundler.
  mainFields: ['module', 'main'],
  target: 'node20.19',
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
  plugins: [fewerProtos],
  legalComments: 'linked',
  logLevel: 'warning',
});
for (const program of Object.keys(programs)) {
  const file = `dist/${program}.js`;
  await writeFile(file, `#!/usr/bin/env node\n${await readFile(file, 'utf8')}`);
  await chmod(file, 0o755);
}
