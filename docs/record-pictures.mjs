// node docs/record-pictures.mjs NAME: draws the picture docs/NAME.svg from a real run in a real terminal. Run
// `npm run build` first. Every picture needs tmux and docker. `create` builds an image, creates a local VM in a home of
// its own and runs a container in it, so it needs QEMU, mmdebstrap and a static busybox, and takes minutes. The other
// pictures use hosts of test/bed: run `npm run bed` before.
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { availableParallelism, type } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { renderSvg } from './terminal-svg.mjs';
import { loadHelloImage, openStage } from './recording-terminal.mjs';

/** Each scene plays on a stage. It returns the screen, and a sentence that says how the screen was recorded. */
const scenes = {
  create: {
    title: 'slipway create dev, and a container that runs there',
    size: { columns: 100, rows: 24 },
    async play(stage) {
      requireShown(await stage.typeAndWait('slipway create dev'), 'dev is ready');
      await loadHelloImage('dev', stage);
      requireShown(await stage.typeAndWait('docker --context dev run --rm hello'), 'Hello from a container');
      const vms = join(stage.home, '.slipway', 'vms');
      const [id] = await readdir(vms);
      const { accelerator } = JSON.parse(await readFile(join(vms, id, 'vm.json'), 'utf8'));
      const how = accelerator === 'tcg' ? 'software emulation' : `${accelerator} acceleration`;
      return {
        screen: stripPrompt(await stage.readColoredScreen()),
        how: `The VM ran with ${how}. Between the two commands, a container image "hello" was loaded: a busybox that prints where it runs.`,
      };
    },
  },
  fail: {
    title: 'slipway create that fails: the step, the last lines of output, what happened, and what to type next',
    size: { columns: 100, rows: 24 },
    async play(stage) {
      const { address, sh } = await stage.startHost('trixie-bare');
      await sh('rm -rf /etc/apt/sources.list.d/* /var/lib/apt/lists/*');
      await sh('echo "deb http://mirror.invalid/debian trixie main" >/etc/apt/sources.list');
      requireShown(
        await stage.typeAndWait(`slipway create web --generic-ip-address ${address} --engine-source distro`),
        '→ ',
      );
      return {
        screen: stripPrompt(await stage.readColoredScreen()),
        how: 'The host is a container of test/bed whose package repository does not exist.',
      };
    },
  },
  several: {
    title: 'slipway create web-1 web-2 web-3 while it runs: three machines side by side',
    size: { columns: 100, rows: 16 },
    async play(stage) {
      const hosts = await Promise.all([1, 2, 3].map(() => stage.startHost('trixie-bare')));
      for (const [at, { address }] of hosts.entries()) {
        const argv = ['create', `web-${at + 1}`, '--generic-ip-address', address, '--engine-source', 'none'];
        const output = await stage.runSlipway(...argv).then(
          ({ stdout }) => stdout,
          ({ stderr }) => stderr,
        );
        requireShown(output, '✗ ');
      }
      await stage.typeLine('slipway create web-1 web-2 web-3 --engine-source distro');
      const busy = (screen) =>
        /web-1  Install.*\n {4}[SU].*\n.*web-2  Install.*\n {4}[SU].*\n.*web-3  Install.*\n {4}[SU]/.test(screen);
      await stage.waitUntil(busy, 'The installation on all three hosts');
      const screen = await stage.readColoredScreen();
      await stage.waitUntil((shown) => shown.includes('web-3 is ready'), 'The end');
      return {
        screen: screen.trimEnd(),
        how: 'The hosts are containers of test/bed without an engine. Each creation was started before and failed, so that one command continues them all.',
      };
    },
  },
  'wizard-generic': {
    title: 'slipway asks about a host that you can reach over SSH, and makes it a Docker host',
    size: { columns: 100, rows: 34 },
    async play(stage) {
      const { address } = await stage.startHost('trixie-engine');
      await stage.writeHomeFile('.ssh/config', `Host web\n  HostName ${address}\n  User deploy\n`);
      await answerQuestions(stage, [
        ['Where should the machine run?', 'Down', 'Enter'],
        ['Machine name?', 'Enter'],
        ['of your ~/.ssh/config', 'Enter'],
        ['With which key?', 'Enter'],
        ['from where?', 'Enter'],
        ['the docker CLI?', 'Enter'],
        ['Continue?', 'Enter'],
      ]);
      await stage.waitUntil((screen) => screen.includes('ipAddress'), 'The machines.yaml that repeats the answers');
      return {
        screen: await stage.readColoredScreen(),
        how: 'The host is a container of test/bed, named "web" in the configuration of ssh.',
      };
    },
  },
  'wizard-qemu': {
    title: 'slipway asks about a virtual machine on this computer, up to the last question',
    size: { columns: 100, rows: 16 },
    async play(stage) {
      await answerQuestions(stage, [
        ['Where should the machine run?', 'Enter'],
        ['Machine name?', 'Enter'],
        ['How many CPUs?', 'Enter'],
        ['How much memory', 'Enter'],
        ['the docker CLI?', 'Enter'],
      ]);
      await stage.waitUntil((screen) => screen.includes('Create it?'), 'The last question');
      const screen = await stage.readColoredScreen();
      await stage.pressKeys('Escape');
      return { screen, how: 'Escape then canceled it, which leaves nothing behind.' };
    },
  },
  'wizard-ec2': {
    title: 'slipway asks about a machine in EC2, shows what it costs, and creates it',
    size: { columns: 100, rows: 40 },
    async play(stage) {
      await stage.setVariables(await stage.startEc2());
      await answerQuestions(stage, [
        ['Where should the machine run?', 'Down', 'Enter'],
        ['Machine name?', 'Enter'],
        ['Frankfurt', 'Enter'],
        ['a month', 'Down', 'Enter'],
        ['Which image?', 'Enter'],
        ['from where?', 'Enter'],
        ['the docker CLI?', 'Enter'],
        ['Create it?', 'Enter'],
      ]);
      await stage.waitUntil((screen) => screen.includes('instanceType'), 'The machines.yaml that repeats the answers');
      return {
        screen: await stage.readColoredScreen(),
        how: 'EC2 is the double in test/clouds, and the host behind its instance is a container of test/bed.',
      };
    },
  },
  apply: {
    title: 'slipway apply with five machines, in a terminal that became narrower',
    size: { columns: 110, rows: 30 },
    async play(stage) {
      const hosts = await Promise.all([1, 2, 3, 4, 5].map(() => stage.startHost('trixie-bare')));
      const machines = hosts.map(({ address }, at) => `  web-${at + 1}: { generic: { ipAddress: ${address} } }`);
      const head = 'defaults: { driver: generic, engine: { source: distro, label: [team=web] } }\nmachines:\n';
      await stage.writeHomeFile('machines.yaml', head + machines.join('\n'));
      await stage.clear();
      await stage.typeLine('slipway apply --concurrency 5');
      await stage.waitUntil((screen) => screen.includes('Apply these changes?'), 'The question');
      await stage.pressKeys('Enter');
      const busy = (screen) => (screen.match(/web-\d  Install/g) ?? []).length === 5;
      await stage.waitUntil(busy, 'Five installations');
      await stage.resize({ columns: 78, rows: 30 });
      await stage.waitUntil((screen) => busy(screen) && /^ {4}\S/m.test(screen), 'Five installations, narrower');
      const screen = await stage.readColoredScreen();
      await stage.waitUntil((shown) => shown.includes('web-5 is created'), 'The end');
      return { screen: screen.trimEnd(), how: 'The hosts are containers of test/bed without an engine.' };
    },
  },
};

/** Starts the wizard, and presses the keys for each question when it appears. */
async function answerQuestions(stage, questions) {
  await stage.typeLine('slipway');
  for (const [question, ...keys] of questions) {
    await stage.waitUntil((screen) => currentQuestion(screen).includes(question), question);
    await stage.pressKeys(...keys);
  }
}

/** Returns the question that waits for an answer: answered questions are above it. */
function currentQuestion(screen) {
  const lines = screen.trimEnd().split('\n');
  const at = lines.findLastIndex((line) => line.startsWith('? '));
  return at < 0 ? '' : lines.slice(at).join('\n');
}

function requireShown(screen, what) {
  if (!screen.includes(what)) throw new Error(`The screen does not show "${what}":\n${screen}`);
}

/** Returns the screen without the empty prompt at its end. */
function stripPrompt(screen) {
  return screen.trimEnd().split('\n').slice(0, -1).join('\n');
}

const [, , sceneName] = process.argv;
const scene = scenes[sceneName];
if (!scene) {
  process.stderr.write(`Usage: node docs/record-pictures.mjs NAME\nPictures: ${Object.keys(scenes).join(', ')}\n`);
  process.exit(2);
}
const stage = await openStage(scene.size);
try {
  const { screen, how } = await scene.play(stage);
  const origin = `Recorded by docs/record-pictures.mjs on ${new Date().toISOString().slice(0, 10)}: ${type()}, ${availableParallelism()} cores. ${how}`;
  const file = fileURLToPath(new URL(`${sceneName}.svg`, import.meta.url));
  await writeFile(file, renderSvg(screen, { title: scene.title, origin, columns: scene.size.columns }));
  process.stdout.write(`Wrote docs/${sceneName}.svg\n`);
} finally {
  await stage[Symbol.asyncDispose]();
}
