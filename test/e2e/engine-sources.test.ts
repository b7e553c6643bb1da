import { join } from 'node:path';
import { expect, test } from 'vitest';
import { bedCache, startHost, type BedHost } from '../bed/bed-host.ts';
import { NEW_VERSION, OLD_VERSION, CREATE_REPOSITORY_SCRIPT } from './apt-repositories.ts';
import { hostFlags, describeOnBed, createUser, expectSuccess, type User } from './test-user.ts';
import { countEngineStarts, expectEngineAnswer, readRecord, expectFailure } from './assertions.ts';

async function readPackageVersion(host: BedHost, name: string): Promise<string> {
  return (await host.exec(`dpkg-query -W -f '\${db:Status-Status} \${Version}' ${name}`)).stdout;
}

/** Expects an empty plan, and a run that changes nothing: the engine's process stays the same. */
async function expectNoChanges(user: User, host: BedHost): Promise<void> {
  const plan = await expectSuccess(user.slipway('provision', 'web', '--dry-run', '--json'));
  expect(JSON.parse(plan.stdout)).toEqual({ name: 'web', steps: [] });
  const before = await host.runOrThrow('pgrep -x dockerd');
  await expectSuccess(user.slipway('provision', 'web'));
  expect(await host.runOrThrow('pgrep -x dockerd')).toBe(before);
}

describeOnBed("the engine's source", () => {
  test("trusts Docker's repository by its key only, and accepts the beginning of a version", async () => {
    await using host = await startHost({ suite: 'bookworm' });
    await using user = await createUser();
    const fingerprint = await host.runOrThrow(CREATE_REPOSITORY_SCRIPT);
    expect(fingerprint).toMatch(/^[0-9A-F]{40}$/);

    // A mirror that wants a login, which only root may read on the host.
    await host.copyIn(bedCache.busybox, '/usr/local/bin/busybox');
    await host.runOrThrow(`
      echo '/:me:t@ken' >/root/httpd.conf
      systemd-run --quiet --unit=mirror /usr/local/bin/busybox httpd -f -p 127.0.0.1:8080 -h /srv/repo -c /root/httpd.conf`);
    const flags = ['--engine-source', 'docker', '--engine-repository-url', 'http://me:t%40ken@127.0.0.1:8080'];
    const untrusted = await expectFailure(user.slipway('create', 'web', ...hostFlags(host), ...flags));
    expect(untrusted.status).toBe(7);
    expect(untrusted.sentence).toContain(`the key of http://127.0.0.1:8080 is ${fingerprint}`);
    expect(untrusted.sentence).toContain('nothing was installed');
    expect(await readPackageVersion(host, 'docker-ce')).toBe('');
    expect((await host.exec('ls /etc/apt/sources.list.d /etc/apt/keyrings | grep slipway')).stdout).toBe('');

    const key = ['--engine-repository-key', fingerprint];
    const absent = await expectFailure(user.slipway('create', 'web', ...key, '--engine-version', '99'));
    expect(absent.status).toBe(7);
    expect(absent.sentence).toContain(
      `version 99 of docker-ce does not exist in the host's package lists; available versions: ${NEW_VERSION}, ${OLD_VERSION}`,
    );
    expect(await readRecord(user, 'web')).toMatchObject({ phase: 'created', failure: { step: 'check-packages' } });

    await expectSuccess(user.slipway('create', 'web', '--engine-version', '26.1'));
    await expectEngineAnswer(user, 'web');
    expect(await readPackageVersion(host, 'docker-ce')).toBe(`installed ${OLD_VERSION}`);
    expect(await readPackageVersion(host, 'docker-ce-cli')).toBe(`installed ${OLD_VERSION}`);
    expect(await countEngineStarts(host)).toBe(1);
    await expectNoChanges(user, host);
    expect(await host.runOrThrow(`grep -rlE 't(@|%40)ken' /etc /run /var/lib/apt /var/log 2>/dev/null || true`)).toBe(
      '/etc/apt/auth.conf.d/slipway.conf',
    );
    expect(await host.runOrThrow('stat -c %a%U /etc/apt/auth.conf.d/slipway.conf')).toBe('600root');
    const { stdout: found } = await user.run('grep', ['-rlE', 't(@|%40)ken', user.home]);
    expect(found.trim()).toBe(join(user.home, '.slipway/machines/web/repository-login'));

    await expectSuccess(user.slipway('provision', 'web', '--engine-version', '5:27'));
    await expectEngineAnswer(user, 'web');
    expect(await readPackageVersion(host, 'docker-ce')).toBe(`installed ${NEW_VERSION}`);
    await expectNoChanges(user, host);
    await expectSuccess(user.slipway('rm', '--deprovision', 'web'));
    expect((await host.exec('ls /etc/apt/*.d /etc/apt/keyrings | grep slipway')).stdout).toBe('');
  });

  test("suggests the distribution's package when the repository cannot be reached", async () => {
    await using host = await startHost({ suite: 'trixie' });
    await using user = await createUser();
    const flags = ['--engine-source', 'docker', '--engine-repository-url', 'http://127.0.0.1:9'];
    const unreachable = await expectFailure(user.slipway('create', 'web', ...hostFlags(host), ...flags));
    expect(unreachable.status).toBe(7);
    expect(unreachable.sentence).toContain('could not be reached from the host; --engine-source distro');

    const absent = await expectFailure(
      user.slipway('create', 'web', '--engine-source', 'distro', '--engine-version', '1.2'),
    );
    expect(absent.status).toBe(7);
    expect(absent.sentence).toMatch(
      /version 1\.2 of docker\.io does not exist in the host's package lists; available versions: \d/,
    );

    await expectSuccess(user.slipway('create', 'web', '--engine-version', '26'));
    await expectEngineAnswer(user, 'web');
    expect(await readPackageVersion(host, 'docker.io')).toMatch(/^installed 26\./);
    expect(await countEngineStarts(host)).toBe(1);
    await expectNoChanges(user, host);
  });

  test('installs the engine with an install script', async () => {
    await using host = await startHost({ suite: 'bookworm' });
    await using user = await createUser();
    const url = 'file:///srv/install.sh';
    const missing = await expectFailure(user.slipway('create', 'web', ...hostFlags(host), '--engine-source', 'url'));
    expect(missing).toMatchObject({ status: 2, hint: 'Add --engine-install-url <url>' });

    const absent = await expectFailure(user.slipway('create', 'web', '--engine-install-url', url));
    expect(absent.status).toBe(7);
    expect(absent.sentence).toContain(`${url} could not be fetched from the host`);

    await host.runOrThrow(`echo 'echo "no engine for $VERSION" >&2; exit 3' >/srv/install.sh`);
    const failing = await expectFailure(user.slipway('create', 'web'));
    expect(failing.sentence).toContain(`the install script of ${url} failed`);

    await host.runOrThrow(`echo true >/srv/install.sh`);
    const empty = await expectFailure(user.slipway('create', 'web'));
    expect(empty.sentence).toContain('dockerd does not exist');

    await host.runOrThrow(`echo 'apt-get install -qq --yes --no-install-recommends docker.io' >/srv/install.sh`);
    await expectSuccess(user.slipway('create', 'web'));
    await expectEngineAnswer(user, 'web');
    expect(await countEngineStarts(host)).toBe(1);
    await expectNoChanges(user, host);
  });
});
