// shellcheck for every shell script of the project. Where it is not installed that is said; CI makes it a failure.
import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';

const scripts = ['templates', 'test/bed', 'bench', '.ci'].flatMap((folder) =>
  readdirSync(folder, { withFileTypes: true })
    .filter((entry) => entry.isFile() && (entry.name.endsWith('.sh') || entry.name === 'run'))
    .map((entry) => `${folder}/${entry.name}`),
);
const templates = scripts.filter((path) => path.startsWith('templates/'));
const others = scripts.filter((path) => !templates.includes(path));

const runs = [
  ['--shell=sh', ...templates],
  ['--shell=bash', ...others],
].map((argv) => spawnSync('shellcheck', argv, { stdio: 'inherit' }));

if (runs.some(({ error }) => error?.code === 'ENOENT')) {
  process.stderr.write('Skipped: shellcheck is not installed, so the shell scripts were not checked.\n');
  process.exit(process.env.SLIPWAY_REQUIRE_E2E ? 1 : 0);
}
process.exit(runs.every(({ status }) => status === 0) ? 0 : 1);
