import { describe, expect, test } from 'vitest';
import { connectError, type OfferedKeys } from '../../src/ssh/connection-errors.ts';
import { SlipwayError } from '../../src/errors.ts';
import { explainConnectionError } from '../../src/operations/host-session.ts';
import { specNamed } from '../fakes/sample-machine.ts';

const hop = { address: '192.0.2.10', port: 22, user: 'ops' };
const refusal = Object.assign(new Error('refused'), { level: 'client-authentication' });
const hintFor = (offered: Partial<OfferedKeys>): string | undefined =>
  connectError(
    hop,
    { description: 'none', locked: [], hasAgent: false, platform: 'linux', methods: undefined, ...offered },
    refusal,
  ).hint;

describe('the hint for a key with a passphrase', () => {
  const onWindows = { platform: 'win32', locked: [String.raw`C:\Users\Ada Bö\.ssh\id_ed25519`] } as const;

  test('starts an agent in the shell where none runs', () => {
    expect(hintFor({ locked: ['/home/ada/my key'] })).toBe(
      `Add the key to the SSH agent: eval "$(ssh-agent)" && ssh-add '/home/ada/my key'`,
    );
    expect(hintFor({ locked: ['/k'], hasAgent: true })).toBe('Add the key to the SSH agent: ssh-add /k');
  });

  test('starts the service of Windows where it does not run', () => {
    expect(hintFor(onWindows)).toBe(
      String.raw`Start the SSH agent in a PowerShell that runs as administrator: Set-Service ssh-agent -StartupType Automatic; Start-Service ssh-agent. Then add the key: ssh-add "C:\Users\Ada Bö\.ssh\id_ed25519"`,
    );
    expect(hintFor({ ...onWindows, locked: [String.raw`C:\k`], hasAgent: true })).toBe(
      String.raw`Add the key to the SSH agent: ssh-add C:\k`,
    );
  });
});

test('the hint for a host that knows no key copies one with the programs of this computer', () => {
  expect(hintFor({})).toMatch(/or install your key on the host: ssh-copy-id -p 22 ops@192\.0\.2\.10$/);
  expect(hintFor({ platform: 'win32' })).toMatch(
    /or install your key on the host: type KEY\.pub \| ssh -p 22 ops@192\.0\.2\.10 "mkdir -p \.ssh && cat >> \.ssh\/authorized_keys"$/,
  );
});

test.each(['SSH_UNREACHABLE', 'SSH_REFUSED', 'HOST_KEY'] as const)(
  'the hint for %s names flags of generic hosts only for a machine of that driver',
  (code) => {
    const error = new SlipwayError(code, 'No connection', { hint: 'Specify it with --generic-ssh-key' });
    const explainFor = (driver: string): string =>
      (explainConnectionError(error, { spec: specNamed('web', { driver }) }) as SlipwayError).hint ?? '';
    expect(explainFor('generic')).toBe(error.hint);
    expect(explainFor('ec2')).toMatch(/slipway|ec2/);
    for (const driver of ['qemu', 'ec2', 'gce']) expect(explainFor(driver)).not.toContain('--generic');
    expect(explainFor('qemu')).not.toMatch(/user data|IP address|at qemu/);
  },
);
