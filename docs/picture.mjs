// node docs/picture.mjs: makes docs/create.svg, the README's picture, of a real run in a real terminal (tmux). A local VM is
// created in a home of its own, image and all, a container runs in it, and what the terminal then shows is drawn as text.
// Needs what `slipway create` needs for a local VM, and docker, tmux and a static busybox. Takes some minutes.
import { execFile } from 'node:child_process';
import { copyFile, mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { availableParallelism, tmpdir, type } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const run = promisify(execFile);
const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const size = { columns: 100, rows: 24 };
const minutes = 20;
const stop = new AbortController();
process.once('SIGINT', () => stop.abort());

const home = await mkdtemp(join(tmpdir(), 'slipway-picture-'));
const bin = join(home, 'bin');
const env = {
  HOME: home,
  PATH: `${bin}:${process.env.PATH}`,
  LANG: 'C.UTF-8',
  // It would write its history into the folder while that is being removed.
  HISTFILE: '',
};

async function tmux(...argv) {
  const { stdout } = await run('tmux', ['-u', '-f', '/dev/null', '-S', join(home, 'tmux'), ...argv], { env });
  return stdout;
}

/** Types a line, and waits until the prompt is there again. */
async function typed(line) {
  const prompts = (screen) => screen.split('\n').filter((shown) => shown.startsWith('$')).length;
  const before = prompts(await tmux('capture-pane', '-p'));
  await tmux('send-keys', '-l', line);
  await tmux('send-keys', 'Enter');
  const end = Date.now() + minutes * 60_000;
  for (;;) {
    await sleep(200, undefined, { signal: stop.signal });
    const screen = await tmux('capture-pane', '-p');
    if (prompts(screen) > before) return screen;
    if (Date.now() > end) throw new Error(`"${line}" was not done after ${minutes} minutes:\n${screen}`);
  }
}

/** A container image of a busybox alone, which says where it runs. No registry is needed for it. */
async function loadHello(context) {
  const root = join(home, 'hello', 'bin');
  await mkdir(root, { recursive: true });
  const { stdout: busybox } = await run('sh', ['-c', 'command -v busybox'], { env });
  await copyFile(busybox.trim(), join(root, 'busybox'));
  for (const applet of ['sh', 'echo', 'uname', 'nproc']) await symlink('busybox', join(root, applet));
  const tar = join(home, 'hello.tar');
  await run('tar', ['-cf', tar, '-C', join(home, 'hello'), '--owner=0', '--group=0', '.']);
  const says = 'CMD ["/bin/sh", "-c", "echo Hello from a container on $(uname -sr), $(nproc) CPUs"]';
  const changes = ['--change', 'ENV PATH=/bin', '--change', says];
  await run('docker', ['--context', context, 'import', ...changes, tar, 'hello'], { env });
}

// --- from a terminal's colours to a drawing ----------------------------------------------------------------------------

const COLORS = ['#484f58', '#ff7b72', '#3fb950', '#d29922', '#58a6ff', '#bc8cff', '#39c5cf', '#b1bac4'];
const BRIGHT = ['#8b949e', '#ffa198', '#56d364', '#e3b341', '#79c0ff', '#d2a8ff', '#56d4dd', '#f0f6fc'];
const TEXT = '#e6edf3';
const DIM = '#8b949e';
const FONTS = 'ui-monospace, SFMono-Regular, Menlo, Consolas, DejaVu Sans Mono, Liberation Mono, monospace';
const PLAIN = { color: TEXT, bold: false };

/** A line with its escape sequences -> pieces of one look each. */
function pieces(line) {
  const found = [];
  let look = PLAIN;
  let column = 0;
  // oxlint-disable-next-line no-control-regex -- escape sequences begin with a control character
  for (const part of line.split(/(\u001b\[[0-9;]*m)/)) {
    // oxlint-disable-next-line no-control-regex -- the same
    const codes = /^\u001b\[([0-9;]*)m$/.exec(part)?.[1];
    if (codes !== undefined) {
      for (const code of codes.split(';').map(Number)) look = lookAfter(look, code);
      continue;
    }
    // Each word at a column of its own: fonts differ in width, and what stands below each other stays there.
    for (const [word] of part.matchAll(/\S+(?: \S+)*|\s+/g)) {
      const width = [...word].length;
      if (word.trim() !== '') found.push({ ...look, word, column, width });
      column += width;
    }
  }
  return found;
}

function lookAfter(look, code) {
  if (code === 0) return PLAIN;
  if (code === 1) return { ...look, bold: true };
  if (code === 2) return { ...look, color: DIM };
  if (code === 22) return { ...look, bold: false, color: look.color === DIM ? TEXT : look.color };
  if (code >= 30 && code <= 37) return { ...look, color: COLORS[code - 30] };
  if (code >= 90 && code <= 97) return { ...look, color: BRIGHT[code - 90] };
  if (code === 39) return { ...look, color: TEXT };
  return look;
}

const escaped = (text) => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');

/** The window is dark on every page, and its frame tells it from a page that is dark as well. */
function drawing(screen, made) {
  const [cell, height, left, top] = [8.4, 20, 18, 56];
  const lines = screen.trimEnd().split('\n');
  const [width, whole] = [Math.ceil(size.columns * cell + 2 * left), top + lines.length * height + 2];
  const number = (value) => Number(value.toFixed(1));
  const text = lines.flatMap((line, row) =>
    pieces(line).map(({ word, column, width: cells, color, bold }) => {
      const place = `x="${number(left + column * cell)}" y="${top + row * height}" textLength="${number(cells * cell)}"`;
      const look = `${color === TEXT ? '' : ` fill="${color}"`}${bold ? ' font-weight="bold"' : ''}`;
      return `<text ${place}${look}>${escaped(word)}</text>`;
    }),
  );
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${whole}" viewBox="0 0 ${width} ${whole}" role="img">
<title>slipway create dev, and a container that runs there</title>
<!-- ${made.replaceAll('--', '- -')} -->
<rect x=".5" y=".5" width="${width - 1}" height="${whole - 1}" rx="9" fill="#0d1117" stroke="#6e7681"/>
<circle cx="20" cy="19" r="6" fill="#ff5f57"/><circle cx="40" cy="19" r="6" fill="#febc2e"/><circle cx="60" cy="19" r="6" fill="#28c840"/>
<g fill="${TEXT}" style="font: 14px ${FONTS}; font-variant-emoji: text">
${text.join('\n')}
</g>
</svg>
`;
}

// --- the run -----------------------------------------------------------------------------------------------------------

try {
  await mkdir(bin);
  await symlink(here('../dist/slipway.js'), join(bin, 'slipway'));
  await tmux('new-session', '-d', '-x', String(size.columns), '-y', String(size.rows), 'bash --norc');
  await tmux('send-keys', String.raw`PS1='\[\e[32m\]$\[\e[0m\] '; clear; tmux clear-history`, 'Enter');
  while (!/^\$ *\n*$/.test(await tmux('capture-pane', '-p'))) await sleep(100, undefined, { signal: stop.signal });
  const created = await typed('slipway create dev');
  if (!created.includes('dev is ready')) throw new Error(`There is nothing to be drawn:\n${created}`);
  await loadHello('dev');
  const ran = await typed('docker --context dev run --rm hello');
  if (!ran.includes('Hello from a container')) throw new Error(`There is nothing to be drawn:\n${ran}`);

  const vms = join(home, '.slipway', 'vms');
  const [id] = await readdir(vms);
  const { accelerator } = JSON.parse(await readFile(join(vms, id, 'vm.json'), 'utf8'));
  const how = accelerator === 'tcg' ? 'software emulation' : `acceleration by ${accelerator}`;
  const made = `Drawn by docs/picture.mjs on ${new Date().toISOString().slice(0, 10)} from a terminal where this was run: ${type()}, ${availableParallelism()} cores, ${how}. The container image "hello", a busybox that says where it runs, was loaded between the two commands.`;
  const screen = (await tmux('capture-pane', '-e', '-p')).trimEnd();
  // The prompt that waits at the end says nothing.
  const lines = screen.split('\n').slice(0, -1);
  await writeFile(here('create.svg'), drawing(lines.join('\n'), made));
  process.stdout.write('docs/create.svg is written\n');
} finally {
  await tmux('kill-server').catch(() => {});
  const slipway = (...argv) => run(process.execPath, [here('../dist/slipway.js'), ...argv], { env });
  // Where this fails its VM may still run, and the folder has to stay.
  if ((await slipway('ls', '-q')).stdout.trim() !== '') await slipway('rm', 'dev');
  await rm(home, { recursive: true, force: true });
}
