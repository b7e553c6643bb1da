import { expect, test } from 'vitest';
import { startHost, type BedHost } from '../bed/bed-host.ts';
import { readEnginePid, countEngineStarts, countLogins } from './inspect-host.ts';
import { loadToolsImage } from './tools-image.ts';
import { NEW_VERSION, newerDistroEngineScript, OLD_VERSION, CREATE_REPOSITORY_SCRIPT } from './apt-repositories.ts';
import { hostFlags, describeOnBed, createUser, expectSuccess, type User } from './test-user.ts';
import { expectEngineAnswer, readRecord, expectFailure } from './assertions.ts';

const readPackageVersion = (host: BedHost, name: string): Promise<string> =>
  host.runOrThrow(`dpkg-query -W -f '\${Version}' ${name}`);

/** Expects an upgrade to print only this text, and the engine's process to stay the same. */
async function expectNothingUpgraded(
  user: User,
  host: BedHost,
  text: string,
  ...flags: readonly string[]
): Promise<void> {
  const [starts, pid] = [await countEngineStarts(host), await readEnginePid(host)];
  expect((await expectSuccess(user.slipway('upgrade', 'web', ...flags))).stdout).toBe(`${text}\n`);
  expect([await countEngineStarts(host), await readEnginePid(host)]).toEqual([starts, pid]);
}

// Each of these tests runs the package manager a dozen times.
const SLOW_TEST = { timeout: 360_000 };

describeOnBed('upgrade', () => {
  test(
    "upgrades the distribution's engine to its newest version with one restart, and does nothing without a newer one",
    SLOW_TEST,
    async () => {
      await using host = await startHost({ suite: 'trixie', engine: true });
      await using user = await createUser();
      const packages = 'docker.io docker-cli containerd runc';
      // The host's image can be older than the package archive.
      await host.runOrThrow(
        `export DEBIAN_FRONTEND=noninteractive; apt-get update -qq >/dev/null && apt-get install -qq -y --only-upgrade ${packages} >/dev/null 2>&1; apt-mark auto -qq docker.io`,
      );
      const version = (await readPackageVersion(host, 'docker.io')).replace(/[-+~].*/, '');
      await expectSuccess(
        user.slipway('create', 'web', ...hostFlags(host, 'deploy'), '--engine-opt', 'live-restore=true'),
      );
      await expectNothingUpgraded(user, host, `web: engine ${version} is the newest version in its package repository`);

      await loadToolsImage(user, 'web');
      await expectSuccess(
        user.docker('--context', 'web', 'run', '-d', '--name', 'app', '--network', 'none', 'tools', 'sleep', '9999'),
      );
      const readContainer = async (): Promise<string> =>
        (
          await expectSuccess(
            user.docker('--context', 'web', 'inspect', '-f', '{{.State.Pid}} {{.State.StartedAt}}', 'app'),
          )
        ).stdout;
      const running = await readContainer();
      await host.runOrThrow(`echo '# mine' >>/etc/default/docker`);
      await host.runOrThrow(newerDistroEngineScript('99.0.1-1'));
      const before = await readHostState(host);

      const plan = await expectSuccess(user.slipway('upgrade', 'web', '--dry-run'));
      expect(plan.stdout).toBe(
        [
          'web: steps on the host',
          "1. Upgrade the engine (the distribution's package)",
          '     The packages below follow from the package lists that the host has now',
          '     source: present',
          '     packages: containerd docker-cli docker.io runc',
          '',
        ].join('\n'),
      );
      expect(await readHostState(host)).toEqual(before);

      const [starts, logins] = [await countEngineStarts(host), await countLogins(host)];
      const upgraded = await expectSuccess(user.slipway('upgrade', 'web'));
      expect(upgraded.stdout).toBe(`web: engine ${version} -> 99.0.1\n`);
      expect(await readPackageVersion(host, 'docker.io')).toBe('99.0.1-1');
      expect([await countEngineStarts(host), await countLogins(host)]).toEqual([starts + 1, logins + 1]);
      expect(await readEnginePid(host)).not.toBe(before.pid);
      expect(await readContainer()).toBe(running);
      expect(await host.runOrThrow('apt-mark showauto docker.io')).toBe('docker.io');
      const settings = await host.runOrThrow('cat /etc/default/docker');
      expect([settings.includes('# mine'), settings.includes('# of 99')]).toEqual([true, false]);
      await expectEngineAnswer(user, 'web');
      expect(await readRecord(user, 'web')).toMatchObject({ phase: 'ready', endpoint: { tls: true } });

      await expectNothingUpgraded(user, host, 'web: engine 99.0.1 is the newest version in its package repository');
      const planAfterUpgrade = await expectSuccess(user.slipway('provision', 'web', '--dry-run', '--json'));
      expect(JSON.parse(planAfterUpgrade.stdout)).toEqual({ name: 'web', steps: [] });

      // A run that was interrupted between upgrade and restart.
      await host.runOrThrow('touch /run/slipway/restart-pending');
      const restarted = await countEngineStarts(host);
      await expectSuccess(user.slipway('upgrade', 'web'));
      expect(await countEngineStarts(host)).toBe(restarted + 1);
      expect((await host.exec('test -e /run/slipway/restart-pending')).code).toBe(1);

      // Only the package revision differs, and the package is held back at first.
      await host.runOrThrow(`${newerDistroEngineScript('99.0.1-2')}\napt-mark hold -qq docker.io`);
      const refusedUpgrade = await expectFailure(user.slipway('upgrade', 'web'));
      expect(refusedUpgrade.status).toBe(7);
      expect(refusedUpgrade.sentence).toContain(
        'could not upgrade containerd docker-cli docker.io runc (held back on the host: docker.io)',
      );
      expect(await readRecord(user, 'web')).toMatchObject({ phase: 'ready', failure: { step: 'upgrade-engine' } });
      await host.runOrThrow('apt-mark unhold -qq docker.io');
      const json =
        (await expectSuccess(user.slipway('upgrade', 'web', '--json'))).stdout.trimEnd().split('\n').at(-1) ?? '';
      expect(JSON.parse(json)).toEqual({
        event: 'result',
        result: [
          {
            name: 'web',
            url: `tcp://${host.address}:2376`,
            engine: '99.0.1-2',
            engineBefore: '99.0.1-1',
            packages: [{ name: 'docker.io', from: '99.0.1-1', to: '99.0.1-2' }],
          },
        ],
      });
      expect(await readRecord(user, 'web')).not.toHaveProperty('failure');

      // A version that cannot be looked up is not called the newest.
      await host.runOrThrow('sed -i s,file:///srv/newer,http://127.0.0.1:9, /etc/apt/sources.list.d/newer.sources');
      expect((await expectFailure(user.slipway('upgrade', 'web'))).sentence).toContain(
        'the package lists could not be fetched',
      );

      // No package manager knows this engine.
      await host.runOrThrow(
        'cp /usr/sbin/dockerd /usr/local/sbin/; dpkg --purge --force-all docker.io >/dev/null 2>&1',
      );
      const unknownEngine = await expectFailure(user.slipway('upgrade', 'web'));
      expect(unknownEngine).toMatchObject({
        status: 7,
        sentence: `/usr/local/sbin/dockerd on ${host.address} belongs to no package of docker.io or docker-ce`,
      });
      await host.runOrThrow('rm /usr/local/sbin/dockerd');
      expect((await expectFailure(user.slipway('upgrade', 'web'))).sentence).toBe(
        `${host.address} has no engine to upgrade`,
      );
    },
  );

  test(
    'takes a configuration back that another version does not start with, and keeps containers',
    SLOW_TEST,
    async () => {
      await using host = await startHost({ suite: 'trixie', engine: true });
      await using user = await createUser();
      const offerVersion = (version: string): Promise<string> =>
        host.runOrThrow(`${newerDistroEngineScript(version)}\napt-get update -qq >/dev/null`);
      await expectSuccess(user.slipway('create', 'web', ...hostFlags(host)));
      await loadToolsImage(user, 'web');
      const run = ['run', '-d', '--name', 'app', '--network', 'none', '--stop-timeout', '1', 'tools', 'sleep', '9999'];
      await expectSuccess(user.docker('--context', 'web', ...run));
      const readContainer = () => host.runOrThrow(`docker inspect -f '{{.State.Pid}} {{.State.StartedAt}}' app`);
      const files = 'cd /etc && sha256sum docker/daemon.json docker/slipway/* systemd/system/docker.service.d/*';
      const [configuration, container] = [await host.runOrThrow(files), await readContainer()];

      await offerVersion('99.0.1-1');
      const undone = await expectFailure(
        user.slipway('provision', 'web', '--engine-version', '99.0.1-1', '--engine-opt', 'bogus-key=1'),
      );
      expect(undone.status).toBe(7);
      expect(undone.sentence).toContain(
        `failed on ${host.address}: the engine did not start with the new configuration, so the old one was restored`,
      );
      expect(undone.detail.join('\n')).toContain('bogus-key');
      expect(await host.runOrThrow(files)).toBe(configuration);
      expect([await readPackageVersion(host, 'docker.io'), await readContainer()]).toEqual(['99.0.1-1', container]);
      await expectEngineAnswer(user, 'web');
      expect(await host.runOrThrow('ls -A /run/slipway')).toBe('');

      await expectSuccess(user.slipway('provision', 'web', '--engine-version=', '--engine-opt='));
      await offerVersion('99.0.1-2');
      await expectSuccess(user.slipway('upgrade', 'web'));
      expect([await readPackageVersion(host, 'docker.io'), await readContainer()]).toEqual(['99.0.1-2', container]);
      expect(await host.runOrThrow("docker info -f '{{.LiveRestoreEnabled}}'; cat /etc/docker/daemon.json")).toMatch(
        /^false\n(?!.*live-restore)/s,
      );

      // An upgrade would end an engine that does not start again.
      await host.runOrThrow(`echo 'DOCKER_OPTS="-H tcp://127.0.0.1:2375"' >/etc/default/docker`);
      const problem = `The engine on ${host.address} will not start again: -H tcp://127.0.0.1:2375 in /etc/default/docker, line 1 conflicts with daemon.json`;
      expect(await expectFailure(user.slipway('upgrade', 'web'))).toMatchObject({ status: 7, sentence: problem });
      expect((await expectSuccess(user.slipway('status', 'web'))).stdout).toContain(problem);
      await expectSuccess(user.slipway('provision', 'web'));
      expect((await expectSuccess(user.slipway('status', 'web'))).stdout).not.toContain('Problem');
    },
  );

  test(
    "keeps a pinned version until another one is requested, and upgrades Docker's packages together",
    SLOW_TEST,
    async () => {
      await using host = await startHost({ suite: 'bookworm' });
      await using user = await createUser();
      const key = await host.runOrThrow(CREATE_REPOSITORY_SCRIPT);
      const flags = ['--engine-repository-url', 'file:///srv/repo', '--engine-repository-key', key];
      await expectSuccess(user.slipway('create', 'web', ...hostFlags(host), ...flags, '--engine-version', '26.1'));

      for (const more of [[], ['--dry-run']]) {
        expect(await expectFailure(user.slipway('upgrade', 'web', ...more))).toMatchObject({
          status: 2,
          sentence: 'Machine "web" is pinned to engine version 26.1',
          hint: expect.stringContaining('slipway upgrade web --engine-version=') as string,
        });
      }
      await expectNothingUpgraded(
        user,
        host,
        'web: engine 26.1.4 is the newest 26.1 version in its package repository',
        '--engine-version',
        '26.1',
      );
      const absent = await expectFailure(user.slipway('upgrade', 'web', '--engine-version', '99'));
      expect(absent.status).toBe(7);
      expect(absent.sentence).toContain(
        `version 99 of docker-ce does not exist in the host's package lists; available versions: ${NEW_VERSION}, ${OLD_VERSION}`,
      );
      expect((await readRecord(user, 'web')).spec.engine.version).toBe('26.1');

      const starts = await countEngineStarts(host);
      const upgraded = await expectSuccess(user.slipway('upgrade', 'web', '--engine-version='));
      expect(upgraded.stdout).toBe('web: engine 26.1.4 -> 27.3.1\n');
      expect([await readPackageVersion(host, 'docker-ce'), await readPackageVersion(host, 'docker-ce-cli')]).toEqual([
        NEW_VERSION,
        NEW_VERSION,
      ]);
      expect(await countEngineStarts(host)).toBe(starts + 1);
      expect((await readRecord(user, 'web')).spec.engine.version).toBeUndefined();
      await expectEngineAnswer(user, 'web');
      await expectNothingUpgraded(user, host, 'web: engine 27.3.1 is the newest version in its package repository');

      // A downgrade, which provision does, too.
      expect((await expectSuccess(user.slipway('upgrade', 'web', '--engine-version', '26'))).stdout).toBe(
        'web: engine 27.3.1 -> 26.1.4\n',
      );
      expect((await readRecord(user, 'web')).spec.engine.version).toBe('26');
      expect(await readPackageVersion(host, 'docker-ce-cli')).toBe(OLD_VERSION);
    },
  );
});

async function readHostState(
  host: BedHost,
): Promise<{ readonly pid: number; readonly packages: string; readonly lists: string }> {
  return {
    pid: await readEnginePid(host),
    packages: await host.runOrThrow('dpkg-query -W'),
    lists: await host.runOrThrow('ls -l --full-time /var/lib/apt/lists'),
  };
}
