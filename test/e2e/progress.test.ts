import { readFile } from 'node:fs/promises';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { describe, expect, inject, test } from 'vitest';
import { startHost, type BedHost } from '../bed/bed-host.ts';
import { hostFlags, createUser, expectSuccess, type User } from './test-user.ts';
import { hasTmux, openTerminal, type Terminal } from './terminal.ts';

const canRunAtTerminal = inject('bedReason') === undefined && hasTmux;
const WIDE = { columns: 100, rows: 30 };
const SPINNER = /[⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏]/;

/**
 * Replaces the host's apt-get: it prints this many lines, with sequences that move a cursor, and ends with this status.
 */
async function replaceAptGet(host: BedHost, lines: number, status: number): Promise<void> {
  const script = [
    '#!/bin/sh',
    'case $* in',
    '  *check | *update) exit 0 ;;',
    '  *--simulate*) echo "Inst docker.io (1 Debian:13 [amd64])" && exit 0 ;;',
    'esac',
    `for at in $(seq ${lines}); do`,
    String.raw`  printf 'Get:%s \033[31mhttp://mirror.example\033[0m trixie/main docker.io\033[2J\033[H\033[5A\a a line that is longer than the terminal is wide %s\n' "$at" "$(seq -s, 60)"`,
    '  sleep 0.1',
    'done',
    `printf 'E: the last line of the \\033]0;host\\007host\\n'`,
    `exit ${status}`,
  ];
  await host.exec('cat >/usr/bin/apt-get', { stdin: `${script.join('\n')}\n` });
}

const createCommand = (name: string, host: BedHost, ...more: readonly string[]): string =>
  ['slipway', 'create', name, ...hostFlags(host), ...more].join(' ');

/** Waits for the prompt, and returns everything that was shown since the command. */
async function waitForCommandEnd(terminal: Terminal): Promise<string> {
  await terminal.waitFor(/^status \d/m);
  return (await terminal.readHistory()).trimEnd();
}

const linesOf = (text: string): readonly string[] => text.split('\n').map((line) => line.trimEnd());

describe.skipIf(!canRunAtTerminal)('a command with steps, at a terminal', () => {
  test("shows the running step with its time, then each step's duration, and restores the cursor", async () => {
    await using user = await createUser();
    await using host = await startHost({ suite: 'trixie', engine: true });
    await using terminal = await openTerminal(user, WIDE);
    await terminal.typeLine(`${createCommand('web', host)}; echo "status $?"`);
    await terminal.waitFor(SPINNER);
    await expect.poll(() => terminal.hasCursor()).toBe(false);
    const shown = await waitForCommandEnd(terminal);
    expect(await terminal.hasCursor()).toBe(true);
    expect(shown).not.toMatch(SPINNER);
    const steps = linesOf(shown).filter((line) => line.startsWith('✔'));
    expect(steps.map((line) => line.replace(/\d+\.\d s$/, 'N s'))).toEqual([
      `✔ Connect to root@${host.address}  N s`,
      '✔ Gather facts about the host  N s',
      expect.stringMatching(/^✔ Configure the engine and restart it {2}N s$/),
      expect.stringMatching(/^✔ Verify the engine at tcp:.* {2}N s$/),
      '✔ Write client profiles  N s',
    ]);
    expect(shown.match(/• Host key of/g)).toHaveLength(1);
    expect(shown).toMatch(/web is ready: tcp:.*\n(.*\n)*status 0/);
  });

  test("that fails shows the step, the host's last lines once, what happened and what to type next", async () => {
    await using user = await createUser();
    await using host = await startHost({ suite: 'trixie' });
    await replaceAptGet(host, 30, 100);
    await using terminal = await openTerminal(user, WIDE);
    await terminal.typeLine(`${createCommand('web', host, '--engine-source', 'distro')}; echo "status $?"`);
    const during = linesOf(await terminal.waitFor(/^ {4}Get:\d/m));
    // The host's cursor, color and clear sequences are removed, and the line is cut at the terminal's width.
    expect(during.find((line) => line.startsWith('    Get:'))).toMatch(
      /^ {4}Get:\d+ http:\/\/mirror\.example trixie\/main docker\.io a line that is longer.{1,50}…$/,
    );
    expect(during.some((line) => line.startsWith('✔ Gather facts about the host'))).toBe(true);
    const shown = await waitForCommandEnd(terminal);
    const lines = linesOf(shown);
    const failed = lines.findIndex((line) => /^✖ Install the engine \(.*\) {2}failed after \d+\.\d s$/.test(line));
    const sentence = lines.findIndex((line) => line.startsWith('✗ '));
    expect(failed).toBeGreaterThan(0);
    expect(sentence).toBeGreaterThan(failed);
    expect(shown.match(/the last line of the host/g)).toHaveLength(1);
    expect(lines.filter((line) => line.includes('│ Get:')).length).toBeLessThanOrEqual(8);
    expect(shown).toMatch(/\n→ .*\nstatus 7/);
    expect(await terminal.hasCursor()).toBe(true);
  });

  test('in twenty columns cuts lines while it runs and wraps them when it is over', async () => {
    await using user = await createUser();
    await using host = await startHost({ suite: 'trixie', engine: true });
    await using terminal = await openTerminal(user, { columns: 20, rows: 40 });
    await terminal.typeLine(`${createCommand('web', host)}; echo "status $?"`);
    const shown = await waitForCommandEnd(terminal);
    expect(shown).not.toMatch(SPINNER);
    expect(shown.replaceAll(/\s+/g, ' ')).toMatch(
      /✔ Configure the engine and restart it \d+\.\d s ✔ Verify the engine/,
    );
  });

  test('has no colors with NO_COLOR, and prints plain lines with TERM=dumb, CI=true or --debug', async () => {
    await using user = await createUser();
    await using host = await startHost({ suite: 'trixie', engine: true });
    await using terminal = await openTerminal(user, WIDE);
    await terminal.typeLine(`${createCommand('web', host)}; echo "status $?"`);
    await waitForCommandEnd(terminal);
    const green = '\u001b[32m✔';
    expect(await terminal.readColoredScreen()).toContain(green);
    for (const [how, plain] of [
      ['NO_COLOR=1 slipway', false],
      ['TERM=dumb slipway', true],
      ['CI=true slipway', true],
      ['slipway --debug', true],
    ] as const) {
      await terminal.typeLine(`clear; ${how} provision web; echo "$? of ${how}"`);
      await terminal.waitFor(`\n0 of ${how}\n`);
      const screen = await terminal.readColoredScreen();
      expect(screen, how).not.toContain(green);
      expect(screen.includes('Gather facts about the host: done in'), how).toBe(plain);
      expect(screen.includes('✔ Gather facts about the host'), how).toBe(!plain);
    }
  });

  test('restores the cursor on Ctrl-C, and says what was interrupted', async () => {
    await using user = await createUser();
    await using host = await startHost({ suite: 'trixie' });
    await replaceAptGet(host, 600, 0);
    await using terminal = await openTerminal(user, WIDE);
    await terminal.typeLine(`${createCommand('web', host, '--engine-source', 'distro')}; echo "status $?"`);
    await terminal.waitFor(/^ {4}Get:\d/m);
    expect(await terminal.hasCursor()).toBe(false);
    await terminal.pressKeys('C-c');
    const shown = await waitForCommandEnd(terminal);
    expect(await terminal.hasCursor()).toBe(true);
    expect(shown).toMatch(/■ Install the engine .*stopped after \d+\.\d s\n✗ Interrupted/);
    expect(shown).toContain('status 130');
    expect(shown).not.toMatch(SPINNER);
  });
});

/** Creates incomplete machines, so that one command finishes all of them, each at its own address. */
async function createIncomplete(user: User, hosts: readonly BedHost[]): Promise<readonly string[]> {
  const names = hosts.map((_host, index) => `web-${index + 1}`);
  await Promise.all(
    hosts.map(async (host, index) => {
      const outcome = await user.slipway('create', names[index] ?? '', ...hostFlags(host), '--engine-source', 'none');
      expect(outcome.stderr).toContain('✗');
    }),
  );
  return names;
}

async function startHosts(count: number, engine = false): Promise<readonly BedHost[] & AsyncDisposable> {
  const hosts = await Promise.all(Array.from({ length: count }, () => startHost({ suite: 'trixie', engine })));
  return Object.assign(hosts, {
    async [Symbol.asyncDispose]() {
      await Promise.all(hosts.map((host) => host[Symbol.asyncDispose]()));
    },
  });
}

describe.skipIf(!canRunAtTerminal)('several machines at once, at a terminal', () => {
  test('are shown side by side, survive a resize, and are printed once when they are done', async () => {
    await using user = await createUser();
    await using hosts = await startHosts(3);
    const names = await createIncomplete(user, hosts);
    await Promise.all(hosts.map((host, index) => replaceAptGet(host, 50 + index * 10, 100)));
    await using terminal = await openTerminal(user, WIDE);
    // tmux scrolls to make room for lines that it breaks, even if there is space below; this is what it scrolled away.
    await terminal.typeLine('seq 100');
    await terminal.waitFor(/^100$/m);
    await terminal.typeLine(`slipway create ${names.join(' ')} --engine-source distro; echo "status $?"`);
    await terminal.waitFor(
      /^\S web-1 {2}Install.*\n {4}Get.*\n\S web-2 {2}Install.*\n {4}Get.*\n\S web-3 {2}Install.*\n {4}Get/m,
    );
    const sizes = [
      { columns: 45, rows: 30 },
      { columns: 120, rows: 30 },
      { columns: 120, rows: 12 },
      { columns: 70, rows: 12 },
      { columns: 33, rows: 30 },
      { columns: 20, rows: 30 },
      WIDE,
    ];
    for (const size of sizes) {
      await terminal.resize(size);
      // The list is complete again within a frame or two, and stays complete.
      await expect
        .poll(() => terminal.readScreen(), { timeout: 2000 })
        .toSatisfy((screen: string) => isComplete(screen));
      for (let frame = 0; frame < 5; frame += 1) {
        const screen = await terminal.readScreen();
        expect(isComplete(screen), `${size.columns}x${size.rows}:\n${screen}`).toBe(true);
      }
    }
    const shown = await waitForCommandEnd(terminal);
    expect(shown).not.toMatch(SPINNER);
    for (const name of names) {
      const stepLines = linesOf(shown).filter((line) =>
        new RegExp(`^\\S ${name} {2}Install the engine .*failed after`).test(line),
      );
      expect(stepLines, shown).toHaveLength(1);
    }
    expect(shown).not.toMatch(/^ {4}Get:/m);
    for (const name of names) expect(shown.match(new RegExp(`^${name}: ✗ `, 'gm'))).toHaveLength(1);
    expect(shown).toContain('status 7');
    expect(await terminal.hasCursor()).toBe(true);
  });

  /** The machines are at the end, below everything permanent, each at most once and with at most one line below it. */
  function isComplete(screen: string): boolean {
    const lines = linesOf(screen.trimEnd());
    const first = lines.findIndex((line) => /^[⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏] web-\d/.test(line));
    if (first < 0) return false;
    const list = lines.slice(first);
    const named = list.filter((line) => /^\S web-\d/.test(line)).map((line) => line.split(/\s+/)[1]);
    return (
      lines.slice(0, first).every((line) => !SPINNER.test(line) && !line.startsWith('    Get:')) &&
      new Set(named).size === named.length &&
      list.every((line) => /^(\S web-\d|… \d| {4}\S)/.test(line))
    );
  }

  test('are shown side by side in one list for every command', async () => {
    await using user = await createUser();
    await using hosts = await startHosts(2, true);
    for (const [index, host] of hosts.entries())
      await expectSuccess(user.slipway('create', `web-${index + 1}`, ...hostFlags(host)));
    // Like an earlier run that is still working there.
    await Promise.all(hosts.map((host) => host.runOrThrow('flock /run/slipway-lock sleep 8 >/dev/null 2>&1 &')));
    await using terminal = await openTerminal(user, WIDE);
    await terminal.typeLine('slipway provision web-1 web-2 --engine-label zone=a; echo "status $?"');
    await terminal.waitFor(/^[^✔] web-1 {2}Configure.*\n[^✔] web-2 {2}Configure/m);
    const shown = await waitForCommandEnd(terminal);
    expect(shown).toMatch(/^✔ web-1 {2}\d+\.\d s\n✔ web-2 {2}\d+\.\d s\nweb-1 is ready/m);
  });
});

describe.skipIf(!canRunAtTerminal)('a command with steps, without a terminal', () => {
  test('prints events of the published schema with --json, also for several machines and for a failure', async () => {
    await using user = await createUser();
    await using hosts = await startHosts(2);
    const text = await readFile(new URL('../../events.schema.json', import.meta.url), 'utf8');
    const isEvent = new Ajv2020().compile(JSON.parse(text) as object);
    const eventsOf = (stdout: string): readonly { event: string; machine?: string }[] =>
      stdout
        .trimEnd()
        .split('\n')
        .map((line) => {
          const event = JSON.parse(line) as { event: string };
          expect(isEvent(event), `${line}\n${JSON.stringify(isEvent.errors)}`).toBe(true);
          return event;
        });
    const names = await createIncomplete(user, hosts);
    const created = await user.slipway('create', ...names, '--engine-source', 'distro', '--json');
    const events = eventsOf(created.stdout);
    expect(created.code).toBe(0);
    expect(new Set(events.slice(0, -1).map(({ machine }) => machine))).toEqual(new Set(names));
    expect(events.at(-1)).toMatchObject({ event: 'result', result: [{ name: 'web-1' }, { name: 'web-2' }] });
    expect(events.filter(({ event }) => event === 'output').length).toBeGreaterThan(0);

    const [host] = hosts;
    if (!host) throw new Error('two hosts were started');
    const failed = await user.slipway('create', 'x', ...hostFlags(host), '--generic-ssh-port', '2323', '--json');
    expect(eventsOf(failed.stdout)).toMatchObject([
      { event: 'step', id: 'connect', state: 'started' },
      { event: 'step', id: 'connect', state: 'failed', error: 'SSH_UNREACHABLE' },
      { event: 'error', error: { code: 'SSH_UNREACHABLE' } },
    ]);
  });
});
