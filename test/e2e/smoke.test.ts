import { expect, test } from 'vitest';
import { startHost } from '../bed/host.ts';
import { at, describeOnBed, newUser, ok } from './slipway.ts';

describeOnBed('one path', () => {
  test('a host becomes a machine and is let go again', async () => {
    await using user = await newUser();
    await using host = await startHost({ suite: 'bookworm', engine: true });
    await ok(user.slipway('create', 'web', ...at(host)));
    const { stdout } = await ok(user.docker('--context', 'web', 'version', '--format', '{{.Server.Os}}'));
    expect(stdout.trim()).toBe('linux');
    await ok(user.slipway('rm', 'web'));
    const { stdout: contexts } = await ok(user.docker('context', 'ls', '--format', '{{.Name}}'));
    expect(contexts.trim().split('\n')).toEqual(['default']);
  });
});
