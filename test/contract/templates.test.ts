import { execFile } from 'node:child_process';
import { mkdir, readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { applyStep } from '../../src/provision/apply-step.ts';
import { readFactsScript, readVitalsScript } from '../../src/provision/facts-script.ts';
import { distros } from '../../src/provision/distros/registry.ts';
import { serviceManagers } from '../../src/provision/init/registry.ts';
import { gatherFacts } from '../../src/provision/facts.ts';
import type { Step } from '../../src/provision/step.ts';
import { gatherVitals } from '../../src/provision/host-metrics.ts';
import type { SshSession } from '../../src/ssh/connection.ts';
import { catchRejection } from '../fakes/catch-error.ts';
import { createTemporaryFolder } from '../fakes/temporary-folder.ts';
import { runProgram } from '../fakes/run-program.ts';
import { fakeSession } from '../fakes/fake-ssh-session.ts';

const readTemplate = (name: string): Promise<string> =>
  readFile(new URL(`../../templates/${name}`, import.meta.url), 'utf8');

/** Runs commands on this computer: each goes to its own sh, as with sshd. */
const localSession: SshSession = {
  ...fakeSession({}),
  exec: (command, { stdin = '' }) =>
    new Promise((resolve) => {
      const child = execFile('sh', ['-c', command], (error, stdout, stderr) =>
        resolve({ code: error === null ? 0 : Number(error.code), stdout, stderr }),
      );
      child.stdin?.on('error', () => {});
      child.stdin?.end(stdin);
    }),
  async [Symbol.asyncDispose]() {},
};

describe('the facts script', () => {
  test('prints one key and value per line', async () => {
    const { stdout, code } = await runProgram('sh', ['-s'], { stdin: await readFactsScript(readTemplate, 2376) });
    expect(code).toBe(0);
    const [first, ...lines] = stdout.split('\n').slice(0, -1);
    // A login that prints something without a newline must not change the first fact.
    expect(first).toBe('');
    expect(lines[0]).toMatch(/^become (root|sudo|none|missing)$/);
    expect(lines.filter((line) => !/^[a-z_]+ /.test(line))).toEqual([]);
  });

  test('keeps each line whole, whatever is gathered in the background', async () => {
    const family = `
      facts_of_test() {
        (for i in $(seq 20000); do echo "short $i"; done) >&3 &
        for i in $(seq 100); do echo "long $long"; done
      }
      other_engines() { :; }
      FAMILIES=test long=$(head -c 100000 /dev/zero | tr '\\0' a)
    `;
    const stdin = family + (await readTemplate('facts-as-root.sh'));
    const { stdout } = await runProgram('sh', ['-s'], { stdin });
    const lines = stdout.split('\n');
    expect(lines.filter((line) => /^short \d+$/.test(line))).toHaveLength(20_000);
    expect(lines.filter((line) => /^long a{100000}$/.test(line))).toHaveLength(100);
    const families = await Promise.all(
      [...serviceManagers.map(({ scripts }) => scripts.facts), ...distros.map(({ factsScript }) => factsScript)].map(
        readTemplate,
      ),
    );
    const background = families
      .join('\n')
      .split('\n')
      .filter((line) => /[^&]&$/.test(line));
    expect(background.length).toBeGreaterThan(0);
    expect(background.filter((line) => !line.endsWith(' >&3 &'))).toEqual([]);
  });

  test("gathers the facts of this computer, or says why it can't", async () => {
    const host = { user: 'me', address: 'localhost', sudoPassword: undefined };
    const work = gatherFacts(localSession, await readFactsScript(readTemplate, 2376), host);
    const refusal = await catchRejection(work);
    if (refusal) return expect(refusal.code).toBe('SUDO');
    const facts = await work;
    const { stdout: arch } = await runProgram('uname', ['-m']);
    expect(facts.arch).toBe(arch.trim());
    expect(Object.values(facts.freeKib).every((kib) => Number.isInteger(kib) && kib >= 0)).toBe(true);
    expect(Object.keys(facts.freeKib).length).toBeGreaterThan(0);
    const release = await readFile('/etc/os-release', 'utf8').catch(() => '');
    expect(Math.abs(facts.clock?.aheadSeconds ?? NaN)).toBeLessThanOrEqual(1);
    expect(facts.os.id).toBe(/^ID="?([^"\n]*)"?$/m.exec(release)?.[1] ?? '');
  });

  test('does not print a password with special characters', async () => {
    const password = `a'b"$(id)\\ !`;
    const work = localSession.exec('sh -s' as never, {
      label: 'facts.sh',
      stdin: `SUDO_PASSWORD='${password.replaceAll("'", String.raw`'\''`)}'\n${await readFactsScript(readTemplate, 2376)}`,
    });
    const { stdout, stderr, code } = await work;
    expect(code).toBe(0);
    expect(stdout + stderr).not.toContain('$(id)');
  });
});

describe('vitals.sh', () => {
  test('measures this computer without root', async () => {
    const { vitals, problems } = await gatherVitals(localSession, await readVitalsScript(readTemplate), 'localhost');
    const { disk, memory, load, cpus, uptime } = vitals;
    expect(problems).toEqual([]);
    expect(disk.mount).toMatch(/^\//);
    for (const { free, total } of [disk, memory]) {
      expect(free).toBeGreaterThan(0);
      expect(free).toBeLessThanOrEqual(total);
    }
    expect([load.length, load.every((average) => average >= 0)]).toEqual([3, true]);
    expect(cpus).toBeGreaterThan(0);
    expect(uptime).toBe(Math.floor(uptime));
  });

  test('fails with a message when its metrics are missing', async () => {
    const error = await catchRejection(gatherVitals(localSession, 'echo disk x y /; exit 3', 'web'));
    expect(error?.message).toBe('The metrics of web could not be read (exit status 3)');
  });
});

const step: Step = {
  id: 'x',
  title: 'X',
  template: 'configure.sh',
  variables: { ENGINE: 'none', MANIFEST: "600 0 /etc/a\n- 1 /etc/it's $HOME" },
  files: [
    { path: '/etc/a', mode: '600', content: 'the key é\n' },
    { path: '/etc/b', content: undefined },
    { path: '/etc/c', mode: '=', content: '' },
  ],
};

describe('the archive of a step', () => {
  test('contains the script with its variables and a folder of files', async () => {
    await using folder = await createTemporaryFolder();
    const session = fakeSession({ 'configure.sh': {} });
    await applyStep(step, {
      session,
      template: async (name) => (name === 'bootstrap.sh' ? 'true' : `printf '%s|' "$ENGINE" "$MANIFEST"\n`),
      become: 'root',
      sudoPassword: undefined,
      address: 'web',
      log: () => {},
    });
    const archive = session.calls[0]?.stdin ?? Buffer.alloc(0);
    expect((await runProgram('tar', ['-xf', '-'], { stdin: archive, cwd: folder.path })).code).toBe(0);
    expect((await readdir(folder.path, { recursive: true })).toSorted()).toEqual([
      'files',
      'files/0',
      'files/2',
      'script',
    ]);
    expect(await readFile(join(folder.path, 'files', '0'), 'utf8')).toBe('the key é\n');
    expect((await stat(join(folder.path, 'files', '0'))).mode & 0o077).toBe(0);
    const { stdout } = await runProgram('sh', ['-eu', './script'], { cwd: folder.path });
    expect(stdout).toBe(`none|${step.variables.MANIFEST}|`);
  });

  test('is unpacked by bootstrap.sh into a folder that only root can open, run there, and removed', async () => {
    await using folder = await createTemporaryFolder();
    await mkdir(join(folder.path, 'run'));
    const bootstrapScript = (await readTemplate('bootstrap.sh')).replace(
      '/run/slipway',
      join(folder.path, 'run', 'slipway'),
    );
    const lines: string[] = [];
    const runStep = (script: string) =>
      applyStep(step, {
        session: {
          ...localSession,
          exec: async (command, options) => {
            const exit = await localSession.exec(command, options);
            lines.push(...exit.stdout.split('\n'));
            return exit;
          },
        },
        template: async (name) => (name === 'bootstrap.sh' ? bootstrapScript : script),
        become: 'root',
        sudoPassword: undefined,
        address: 'web',
        log: () => {},
      });
    await runStep('stat -c "%a %n" . script files files/0; umask; cat files/0\n');
    expect(lines).toMatchInlineSnapshot(`
      [
        "700 .",
        "664 script",
        "700 files",
        "600 files/0",
        "0022",
        "the key é",
        "",
      ]
    `);
    expect(await readdir(join(folder.path, 'run'))).toEqual([]);
    expect(await catchRejection(runStep('echo "!! it could not be" >&2; exit 3\n'))).toMatchObject({
      code: 'REMOTE_COMMAND',
      message: '"X" failed on web: it could not be',
    });
    expect(await readdir(join(folder.path, 'run'))).toEqual([]);
  });

  test('runs nothing when it is truncated', async () => {
    await using folder = await createTemporaryFolder();
    await mkdir(join(folder.path, 'run'));
    const bootstrapScript = (await readTemplate('bootstrap.sh')).replace(
      '/run/slipway',
      join(folder.path, 'run', 'slipway'),
    );
    const session = fakeSession({ 'configure.sh': {} });
    const template = async (name: string) => (name === 'bootstrap.sh' ? 'true' : 'echo ran\n');
    await applyStep(
      { ...step, files: [{ path: '/etc/a', mode: '600', content: 'x'.repeat(5000) }] },
      { session, template, become: 'root', sudoPassword: undefined, address: 'web', log: () => {} },
    );
    const archive = session.calls[0]?.stdin ?? Buffer.alloc(0);
    for (const length of [0, 100, 700, 2500, 5000]) {
      const { stdout, code } = await runProgram('sh', ['-c', bootstrapScript], { stdin: archive.subarray(0, length) });
      expect([length, stdout, code === 0]).toEqual([length, '', false]);
    }
    expect((await runProgram('sh', ['-c', bootstrapScript], { stdin: archive })).stdout).toBe('ran\n');
    expect(await readdir(join(folder.path, 'run'))).toEqual([]);
  });
});
