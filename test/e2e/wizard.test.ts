import { spawnSync } from 'node:child_process';
import { copyFile, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, inject, test } from 'vitest';
import { startHost } from '../bed/host.ts';
import { newUser, ok, type User } from './slipway.ts';

const canRun = inject('bedReason') === undefined && spawnSync('tmux', ['-V']).status === 0;

/** A real terminal with somebody at the keys. */
type Terminal = AsyncDisposable & {
  type(text: string): Promise<void>;
  press(...keys: readonly string[]): Promise<void>;
  /** Until the screen shows this; what it showed instead is told after a minute. */
  shows(text: string): Promise<string>;
};

async function terminal(user: User, size = { columns: 100, rows: 30 }): Promise<Terminal> {
  const tmux = async (...argv: readonly string[]): Promise<string> =>
    (await ok(user.run('tmux', ['-S', join(user.home, 'tmux'), ...argv]))).stdout;
  await tmux(
    '-f',
    '/dev/null',
    'new-session',
    '-d',
    '-x',
    String(size.columns),
    '-y',
    String(size.rows),
    'HISTFILE= bash --norc',
  );
  await tmux('send-keys', "PS1='ready> '; clear", 'Enter');
  return {
    type: async (text) => void (await tmux('send-keys', '-l', text)),
    press: async (...keys) => void (await tmux('send-keys', ...keys)),
    async shows(text) {
      const end = performance.now() + 60_000;
      for (;;) {
        const screen = await tmux('capture-pane', '-p');
        if (screen.includes(text)) return screen;
        if (performance.now() > end) throw new Error(`"${text}" did not show:\n${screen}`);
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
    },
    async [Symbol.asyncDispose]() {
      await tmux('kill-server');
    },
  };
}

describe.skipIf(!canRun)('at a terminal', () => {
  test('slipway asks what is needed, shows its work, and prints the command that repeats it', async () => {
    await using user = await newUser();
    await using host = await startHost({ suite: 'trixie', engine: true });
    await mkdir(join(user.home, '.ssh'));
    for (const end of ['', '.pub'])
      await copyFile(`${host.keyFile}${end}`, join(user.home, '.ssh', `id_ed25519${end}`));
    await using at = await terminal(user);
    await at.shows('ready>');
    await at.type('slipway');
    await at.press('Enter');
    // The local VM comes first; a machine elsewhere is one further down.
    await at.shows('generic: a machine that already answers SSH');
    await at.press('Down', 'Enter');
    await at.shows('Name of the machine?');
    await at.type('no/name');
    await at.press('Enter');
    await at.shows('Use letters, digits, dots and hyphens');
    await at.press(...Array.from({ length: 'no/name'.length }, () => 'BSpace'));
    await at.type('box');
    await at.press('Enter');
    await at.shows('Address of the host?');
    await at.type(host.address);
    await at.press('Enter');
    await at.shows('Log in as which user?');
    await at.press('Enter');
    await at.shows('With which key?');
    await at.press('Enter');
    await at.shows('install it from where?');
    await at.press('Down', 'Enter');
    await at.shows('current context of your docker CLI?');
    await at.type('y');
    await at.press('Enter');
    const summary = await at.shows('Go?');
    for (const row of [
      /Machine +box/,
      /Where +a machine that already answers SSH/,
      new RegExp(`IP address +${host.address}`),
      /Costs +nothing/,
    ])
      expect(summary).toMatch(row);
    await at.press('Enter');
    const screen = await at.shows('machines.yaml:');
    expect(screen).toMatch(/machines:\n +box:\n +driver: generic\n +generic:\n +ipAddress: /);
    expect(screen).toContain('✔ Configure the engine and restart it');
    expect(screen).toContain('box is ready: tcp://');
    const command = `slipway create box --driver generic --use --generic-ip-address ${host.address} --engine-source distro`;
    expect(screen.replaceAll('\n', '')).toContain(command);
    expect((await ok(user.docker('context', 'show'))).stdout.trim()).toBe('box');

    await ok(user.slipway('rm', 'box'));
    await ok(user.run('sh', ['-c', command]));
    await ok(user.docker('version'));
  });

  test.each(['C-c', 'Escape'])('%s at a question leaves nothing', async (key) => {
    await using user = await newUser();
    await using at = await terminal(user);
    await at.shows('ready>');
    await at.type('slipway create; echo "status $?"');
    await at.press('Enter');
    await at.shows('Where?');
    await at.press('Down', 'Enter');
    await at.shows('Name of the machine?');
    await at.press(key);
    expect(await at.shows('status 130')).toContain('✗ Stopped before the end, as you asked');
    expect((await user.run('ls', [join(user.home, '.slipway')])).code).not.toBe(0);
  });

  test('a host that ssh knows by name brings its user, port and key; what the summary shows can be refused', async () => {
    await using user = await newUser();
    await mkdir(join(user.home, '.ssh'));
    const config = 'Host far\n  HostName 192.0.2.7\n  User deploy\n  Port 2222\n  IdentityFile ~/.ssh/far\n';
    await writeFile(join(user.home, '.ssh', 'config'), config);
    await using at = await terminal(user);
    await at.shows('ready>');
    await at.type('slipway; echo "status $?"');
    await at.press('Enter');
    await at.shows('Where?');
    await at.press('Down', 'Enter');
    await at.shows('Name of the machine?');
    await at.press('Enter');
    await at.shows('192.0.2.7  far, of your ~/.ssh/config');
    await at.press('Enter');
    await at.shows('install it from where?');
    await at.press('Enter');
    await at.shows('current context of your docker CLI?');
    await at.press('Enter');
    const summary = await at.shows('Go?');
    for (const row of [/IP address +192\.0\.2\.7/, /SSH user +deploy/, /SSH key +\S+\/\.ssh\/far/])
      expect(summary).toMatch(row);
    await at.type('n');
    await at.press('Enter');
    await at.shows('status 130');
    expect((await user.run('ls', [join(user.home, '.slipway')])).code).not.toBe(0);
  });
});
