// shellcheck for every shell script of the project. Where it is not installed that is said; CI makes it a failure.
import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';

const familyFolders = ['distros', 'init'].flatMap((kind) =>
  readdirSync(`templates/${kind}`).map((name) => `templates/${kind}/${name}`),
);
const scripts = [
  'templates',
  ...familyFolders,
  'templates/cloud',
  'templates/completion',
  'templates/image',
  'templates/link',
  'test/bed',
  'bench',
  'docs',
  '.ci',
].flatMap((folder) =>
  readdirSync(folder, { withFileTypes: true })
    .filter((entry) => entry.isFile() && (/\.(ba)?sh$/.test(entry.name) || entry.name === 'run'))
    .map((entry) => `${folder}/${entry.name}`),
);
// What runs on hosts has no first line of its own, and is for any shell.
const isBash = (path) => /bash/.test(readFileSync(path, 'utf8').split('\n', 1)[0]);
const others = scripts.filter(isBash);
const templates = scripts.filter((path) => !isBash(path));

const runs = [
  ['--shell=sh', ...templates],
  ['--shell=bash', ...others],
].map((argv) => spawnSync('shellcheck', argv, { stdio: 'inherit' }));

if (runs.some(({ error }) => error?.code === 'ENOENT')) {
  process.stderr.write('Skipped: shellcheck is not installed, so the shell scripts were not checked.\n');
  process.exit(process.env.SLIPWAY_REQUIRE_E2E ? 1 : 0);
}
process.exit(runs.every(({ status }) => status === 0) ? 0 : 1);
