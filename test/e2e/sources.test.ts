import { expect, test } from 'vitest';
import { startHost, type BedHost } from '../bed/host.ts';
import { NEW, OLD, REPOSITORY } from './repository.ts';
import { at, describeOnBed, newUser, ok, type User } from './slipway.ts';
import { engineStarts, expectAnswer, recordOf, trouble } from './trouble.ts';

async function versionOf(host: BedHost, name: string): Promise<string> {
  return (await host.exec(`dpkg-query -W -f '\${db:Status-Status} \${Version}' ${name}`)).stdout;
}

/** Nothing to do for a plan, and nothing done by a run: the engine's process stays the same. */
async function expectSettled(user: User, host: BedHost): Promise<void> {
  const plan = await ok(user.slipway('provision', 'web', '--dry-run', '--json'));
  expect(JSON.parse(plan.stdout)).toEqual({ name: 'web', steps: [] });
  const before = await host.must('pgrep -x dockerd');
  await ok(user.slipway('provision', 'web'));
  expect(await host.must('pgrep -x dockerd')).toBe(before);
}

describeOnBed('where an engine comes from', () => {
  test('Docker’s repository is trusted by its key alone, and a version may be named by its beginning', async () => {
    await using host = await startHost({ suite: 'bookworm' });
    await using user = await newUser();
    const fingerprint = await host.must(REPOSITORY);
    expect(fingerprint).toMatch(/^[0-9A-F]{40}$/);

    const flags = ['--engine-source', 'docker', '--engine-repository-url', 'file:///srv/repo'];
    const strange = await trouble(user.slipway('create', 'web', ...at(host), ...flags));
    expect(strange.status).toBe(7);
    expect(strange.sentence).toContain(`the key of file:///srv/repo is ${fingerprint}`);
    expect(strange.sentence).toContain('nothing was installed');
    expect(await versionOf(host, 'docker-ce')).toBe('');
    expect((await host.exec('ls /etc/apt/sources.list.d /etc/apt/keyrings | grep slipway')).stdout).toBe('');

    const key = ['--engine-repository-key', fingerprint];
    const absent = await trouble(user.slipway('create', 'web', ...key, '--engine-version', '99'));
    expect(absent.status).toBe(7);
    expect(absent.sentence).toContain(`there is no version 99 of docker-ce here; there are: ${NEW}, ${OLD}`);
    expect(await recordOf(user, 'web')).toMatchObject({ phase: 'created', failure: { step: 'install-engine' } });

    await ok(user.slipway('create', 'web', '--engine-version', '26.1'));
    await expectAnswer(user, 'web');
    expect(await versionOf(host, 'docker-ce')).toBe(`installed ${OLD}`);
    expect(await versionOf(host, 'docker-ce-cli')).toBe(`installed ${OLD}`);
    expect(await engineStarts(host)).toBe(1);
    await expectSettled(user, host);

    await ok(user.slipway('provision', 'web', '--engine-version', '5:27'));
    await expectAnswer(user, 'web');
    expect(await versionOf(host, 'docker-ce')).toBe(`installed ${NEW}`);
    await expectSettled(user, host);
  });

  test('a repository that can not be reached points to the distribution’s own package', async () => {
    await using host = await startHost({ suite: 'trixie' });
    await using user = await newUser();
    const flags = ['--engine-source', 'docker', '--engine-repository-url', 'http://127.0.0.1:9'];
    const away = await trouble(user.slipway('create', 'web', ...at(host), ...flags));
    expect(away.status).toBe(7);
    expect(away.sentence).toContain("can't be reached from the host; --engine-source distro");

    const absent = await trouble(user.slipway('create', 'web', '--engine-source', 'distro', '--engine-version', '1.2'));
    expect(absent.status).toBe(7);
    expect(absent.sentence).toMatch(/there is no version 1\.2 of docker\.io here; there are: \d/);

    await ok(user.slipway('create', 'web', '--engine-version', '26'));
    await expectAnswer(user, 'web');
    expect(await versionOf(host, 'docker.io')).toMatch(/^installed 26\./);
    expect(await engineStarts(host)).toBe(1);
    await expectSettled(user, host);
  });

  test('an install script may bring it', async () => {
    await using host = await startHost({ suite: 'bookworm' });
    await using user = await newUser();
    const url = 'file:///srv/install.sh';
    const missing = await trouble(user.slipway('create', 'web', ...at(host), '--engine-source', 'url'));
    expect(missing).toMatchObject({ status: 2, hint: 'Add --engine-install-url <url>' });

    const absent = await trouble(user.slipway('create', 'web', '--engine-install-url', url));
    expect(absent.status).toBe(7);
    expect(absent.sentence).toContain(`${url} can't be fetched from the host`);

    await host.must(`echo 'echo "no engine for $VERSION" >&2; exit 3' >/srv/install.sh`);
    const failing = await trouble(user.slipway('create', 'web'));
    expect(failing.sentence).toContain(`the install script of ${url} failed`);

    await host.must(`echo true >/srv/install.sh`);
    const empty = await trouble(user.slipway('create', 'web'));
    expect(empty.sentence).toContain('there is no dockerd');

    await host.must(`echo 'apt-get install -qq --yes --no-install-recommends docker.io' >/srv/install.sh`);
    await ok(user.slipway('create', 'web'));
    await expectAnswer(user, 'web');
    expect(await engineStarts(host)).toBe(1);
    await expectSettled(user, host);
  });
});
