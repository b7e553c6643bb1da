import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { SSHD_GREETING, startClosingServer } from '../fakes/closing-server.ts';
import { runProgram, type ProgramResult } from '../fakes/run-program.ts';
import { generateKeys } from '../fakes/ssh-server.ts';
import { createTemporaryFolder } from '../fakes/temporary-folder.ts';

const programs = Object.fromEntries(
  ['slipway', 'docker-machine'].map((name) => [name, fileURLToPath(new URL(`../../dist/${name}.js`, import.meta.url))]),
);

// sshd does this while the host boots or shuts down, and to addresses that it penalizes.
describe('a host that closes each SSH connection', () => {
  test('lets no command end without a word or with status 0', async () => {
    await using folder = await createTemporaryFolder();
    await using server = await startClosingServer(SSHD_GREETING, true);
    const key = join(folder.path, 'key');
    await writeFile(key, generateKeys().private, { mode: 0o600 });
    const run = (program: 'slipway' | 'docker-machine', ...argv: readonly string[]): Promise<ProgramResult> =>
      runProgram(process.execPath, [programs[program] ?? '', ...argv], {
        env: { PATH: process.env.PATH, HOME: folder.path, NO_COLOR: '1' },
      });
    const port = String(server.port);
    const hostFlags = ['--generic-ip-address', '127.0.0.1', '--generic-ssh-port', port, '--generic-ssh-key', key];
    const closed = `127.0.0.1:${port} closed the SSH connection during the login`;
    const dryRun = await run('slipway', 'create', 'other', ...hostFlags, '--dry-run');
    expect([dryRun.code, dryRun.stderr]).toEqual([6, expect.stringContaining(closed)]);
    for (const argv of [
      ['create', 'web', ...hostFlags],
      ['create', 'web'],
      ['rm', 'web', '--deprovision'],
    ]) {
      const { code, stderr } = await run('slipway', ...argv);
      expect([argv[0], code, stderr]).toEqual([argv[0], expect.any(Number), expect.stringContaining(closed)]);
      expect(code).not.toBe(0);
    }
    const status = await run('slipway', 'status', 'web');
    expect([status.code, status.stdout]).not.toEqual([0, '']);
    const old = await run('docker-machine', 'create', '-d', 'generic', ...hostFlags, 'old');
    expect([old.code, old.stderr]).toEqual([1, expect.stringContaining(closed)]);
  });
});
