import { afterAll, beforeAll, expect, test } from 'vitest';
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { buildUserData } from '../../src/drivers/ec2/user-data.ts';
import { systemd } from '../../src/provision/init/systemd.ts';
import { readLifetimeScripts } from '../../src/provision/lifetime-timers.ts';
import { firstBootTimersFor } from '../../src/provision/plan.ts';
import { startHost, type BedHost } from '../bed/bed-host.ts';
import { describeOnBed } from './test-user.ts';

/** Adds a data source for this test, and leaves the container's network as it is. */
const SETTINGS = 'datasource_list: [NoCloud]\nnetwork: {config: disabled}\nwarnings: {dsid_missing_source: "off"}\n';
const STAGES = ['init --local', 'init', 'modules --mode=config', 'modules --mode=final'];

const LIFETIME = { name: 'web', deadline: '2038-01-19T03:14:00Z', idleSeconds: 86_400, enginePort: 2376 };
const readTemplate = async (name: string): Promise<string> =>
  readFile(new URL(`../../templates/${name}`, import.meta.url), 'utf8');

const SLIPWAY_KEY = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ6b1AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA slipway web';
const USER_KEY = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ6b2AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA theirs';

/** The user data that a user can pass, and the effect that it must have besides Slipway's keys. */
const CASES: readonly { readonly what: string; readonly userData: string | undefined; readonly check: string }[] = [
  { what: 'nothing', userData: undefined, check: 'true' },
  { what: 'a script', userData: '#!/bin/sh\necho ran > /run/theirs\n', check: 'grep -x ran /run/theirs' },
  {
    what: 'a script with the line ends of Windows',
    userData: '#!/bin/sh\r\necho ran > /run/theirs\r\n',
    check: 'grep -x ran /run/theirs',
  },
  {
    what: 'a cloud-config with a key and commands',
    userData: `#cloud-config\nssh_authorized_keys:\n  - ${USER_KEY}\nruncmd:\n  - echo ran > /run/theirs\n`,
    check: 'grep -x ran /run/theirs && grep -q theirs /home/debian/.ssh/authorized_keys',
  },
  {
    what: 'a cloud-config with users of its own',
    userData: '#cloud-config\nusers:\n  - name: bob\n',
    check: 'id bob',
  },
  {
    what: 'a cloud-config with a host key of its own, to be merged over all others',
    userData:
      '#cloud-config\nmerge_how: "dict(replace)+list()+str()"\nssh_deletekeys: false\nssh_keys:\n  ed25519_private: |\n    THEIRS\n  ed25519_public: THEIRS\n',
    check: '! grep -r THEIRS /etc/ssh',
  },
  {
    what: 'a MIME archive of a script and a cloud-config',
    userData: [
      'Content-Type: multipart/mixed; boundary="MINE"',
      'MIME-Version: 1.0',
      '',
      '--MINE',
      'Content-Type: text/x-shellscript; charset="us-ascii"',
      '',
      '#!/bin/sh\necho ran > /run/theirs',
      '--MINE',
      'Content-Type: text/cloud-config; charset="us-ascii"',
      '',
      '#cloud-config\nssh_keys:\n  ed25519_private: THEIRS\nwrite_files:\n  - path: /run/written\n    content: x',
      '--MINE--',
      '',
    ].join('\n'),
    check: 'grep -x ran /run/theirs && test -e /run/written && ! grep -r THEIRS /etc/ssh',
  },
  {
    what: 'an archive of cloud-configs',
    userData:
      '#cloud-config-archive\n- type: text/cloud-config\n  content: |\n    #cloud-config\n    ssh_keys: {ed25519_private: THEIRS}\n- type: text/x-shellscript\n  content: |\n    #!/bin/sh\n    echo ran > /run/theirs\n',
    check: 'grep -x ran /run/theirs && ! grep -r THEIRS /etc/ssh',
  },
];

describeOnBed("an EC2 instance's user data, processed by cloud-init", () => {
  let host: BedHost;
  let key: { readonly private: string; readonly public: string };

  beforeAll(async () => {
    host = await startHost({ suite: 'trixie' });
    await host.runOrThrow(
      'apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends cloud-init',
    );
    await host.runOrThrow('mkdir -p /etc/cloud/cloud.cfg.d /var/lib/cloud/seed/nocloud');
    await host.exec('cat > /etc/cloud/cloud.cfg.d/99_test.cfg', { stdin: SETTINGS });
    await host.runOrThrow('ssh-keygen -q -t ed25519 -N "" -C "" -f /root/bootstrap_key');
    key = {
      private: await host.runOrThrow('cat /root/bootstrap_key'),
      public: await host.runOrThrow('cut -d" " -f1,2 /root/bootstrap_key.pub'),
    };
  });
  afterAll(async () => host[Symbol.asyncDispose]());

  test.each(CASES.map((userDataCase) => [userDataCase.what, userDataCase] as const))(
    "with %s installs Slipway's host key and authorized key, and starts its timers",
    async (_, { userData, check }) => {
      await host.runOrThrow(
        'cloud-init clean --logs; userdel --remove --force debian 2>/dev/null; userdel --remove --force bob 2>/dev/null; systemctl stop slipway-deadline.timer slipway-idle.timer; rm -f /etc/systemd/system/slipway-* /usr/local/lib/slipway/*; systemctl daemon-reload; rm -f /run/theirs /run/written; mkdir -p /var/lib/cloud/seed/nocloud; echo "instance-id: i-$(date +%N)" > /var/lib/cloud/seed/nocloud/meta-data',
      );
      const timers = firstBootTimersFor({ ...LIFETIME, scripts: await readLifetimeScripts(systemd, readTemplate) });
      const boot = { hostKey: key, authorizedKey: SLIPWAY_KEY, ...timers };
      await host.exec('cat > /var/lib/cloud/seed/nocloud/user-data', { stdin: buildUserData(boot, userData) });
      for (const stage of STAGES) await host.exec(`cloud-init ${stage}`);
      expect(await host.runOrThrow('cat /etc/ssh/ssh_host_ed25519_key')).toBe(key.private);
      expect(await host.runOrThrow('stat -c "%a %U" /etc/ssh/ssh_host_ed25519_key')).toBe('600 root');
      expect(await host.runOrThrow('cut -d" " -f1,2 /etc/ssh/ssh_host_ed25519_key.pub')).toBe(key.public);
      // The SSH server has no other host key that it could show instead.
      expect(await host.runOrThrow('ls /etc/ssh/ssh_host_*_key')).toBe('/etc/ssh/ssh_host_ed25519_key');
      expect(await host.runOrThrow('cat /home/debian/.ssh/authorized_keys')).toContain(SLIPWAY_KEY);
      expect(await host.exec(check)).toMatchObject({ code: 0 });
      const paths = timers.files.map(({ path }) => path).join(' ');
      expect(await host.runOrThrow(`stat -c '%a %U' ${paths} && sha256sum ${paths}`)).toBe(
        [
          ...timers.files.map(({ mode }) => `${mode} root`),
          ...timers.files.map(({ path, content }) => `${createHash('sha256').update(content).digest('hex')}  ${path}`),
        ].join('\n'),
      );
      await expect
        .poll(async () => host.runOrThrow('systemctl is-active slipway-deadline.timer slipway-idle.timer || true'))
        .toBe('active\nactive');
      expect(await host.runOrThrow('systemctl show -P TimersCalendar slipway-deadline.timer')).toContain(
        '2038-01-19 03:14:00 UTC',
      );
      expect(await host.runOrThrow('ls /run/slipway')).not.toContain('life-pending');
      expect(await host.runOrThrow('grep -h -E "WARNING|ERROR" /var/log/cloud-init.log || true')).toBe('');
    },
  );
});
