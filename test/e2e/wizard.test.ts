import { spawnSync } from 'node:child_process';
import { copyFile, mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, inject, test } from 'vitest';
import { startHost } from '../bed/host.ts';
import { newUser, ok, type User } from './slipway.ts';

const canRun = inject('bedReason') === undefined && spawnSync('tmux', ['-V']).status === 0;

/** A real terminal with somebody at the keys. */
type Terminal = AsyncDisposable & {
  type(text: string): Promise<void>;
  press(...keys: readonly string[]): Promise<void>;
  /** Until the screen shows this; the test's own timeout is the limit. */
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
    'bash --norc',
  );
  await tmux('send-keys', "PS1='ready> '; clear", 'Enter');
  return {
    type: async (text) => void (await tmux('send-keys', '-l', text)),
    press: async (...keys) => void (await tmux('send-keys', ...keys)),
    async shows(text) {
      for (;;) {
        const screen = await tmux('capture-pane', '-p');
        if (screen.includes(text)) return screen;
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
    await copyFile(host.keyFile, join(user.home, '.ssh', 'id_ed25519'));
    await using at = await terminal(user);
    await at.shows('ready>');
    await at.type('slipway');
    await at.press('Enter');
    await at.shows('Name of the machine?');
    await at.type('no/name');
    await at.press('Enter');
    await at.shows('Use letters, digits, dots and hyphens');
    await at.press(...Array.from({ length: 'no/name'.length }, () => 'BSpace'));
    await at.type('box');
    await at.press('Enter');
    // The local VM comes first; a machine elsewhere is one further down.
    await at.shows('generic: a machine that already answers SSH');
    await at.press('Down', 'Enter');
    await at.shows('Address of the host?');
    await at.type(host.address);
    await at.press('Enter');
    await at.shows('Log in as which user?');
    await at.press('Enter');
    await at.shows('install it from where?');
    await at.press('Down', 'Enter');
    await at.shows('current context of your docker CLI?');
    await at.type('y');
    await at.press('Enter');
    const screen = await at.shows('To repeat this without questions');
    expect(screen).toContain('✔ Configure the engine and restart it');
    expect(screen).toContain('box is ready: tcp://');
    const command = `slipway create box --driver generic --use --generic-ip-address ${host.address} --engine-source distro`;
    expect(screen.replaceAll('\n', '')).toContain(command);
    expect((await ok(user.docker('context', 'show'))).stdout.trim()).toBe('box');

    await ok(user.slipway('rm', 'box'));
    await ok(user.run('sh', ['-c', command]));
    await ok(user.docker('version'));
  });

  test('Ctrl-C at a question leaves nothing', async () => {
    await using user = await newUser();
    await using at = await terminal(user);
    await at.shows('ready>');
    await at.type('slipway create; echo "status $?"');
    await at.press('Enter');
    await at.shows('Name of the machine?');
    await at.press('C-c');
    expect(await at.shows('status 130')).toContain('✗ Stopped before the end, as you asked');
    expect((await user.run('ls', [join(user.home, '.slipway')])).code).not.toBe(0);
  });
});
