import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startHost, type BedHost } from '../bed/bed-host.ts';
import { hostFlags, describeOnBed, createUser, expectSuccess, type Outcome, type User } from './test-user.ts';

const sudoPassword = 'correct horse battery';
const proxyPassword = 'hunter2-of-the-proxy';

/** Records the command lines and environments of all processes repeatedly, until its file is gone. */
const WATCH_PROCESSES_SCRIPT = `
use strict;
my (%seen, %out);
for my $kind ('cmdline', 'environ') { open($out{$kind}, '>', "/root/$kind") or die; $out{$kind}->autoflush }
while (-e '/root/watching') {
  select(undef, undef, undef, 0.002);
  for my $process (grep { /^[0-9]+$/ } do { opendir(my $proc, '/proc'); readdir $proc }) {
    for my $kind ('cmdline', 'environ') {
      open(my $file, '<', "/proc/$process/$kind") or next;
      local $/;
      my $text = <$file> // next;
      $text =~ tr/\\0/ /;
      print { $out{$kind} } "$text\\n" unless $seen{$kind}{$text}++;
    }
  }
}
`;

describeOnBed('secrets', () => {
  let host: BedHost;
  let user: User;
  let created: Outcome;
  let provisioned: Outcome;

  beforeAll(async () => {
    [host, user] = await Promise.all([startHost({ suite: 'trixie', engine: true }), createUser()]);
    await writeFile(join(user.home, 'watcher.pl'), WATCH_PROCESSES_SCRIPT);
    await host.copyIn(join(user.home, 'watcher.pl'), '/root/watcher.pl');
    await host.runOrThrow(
      'touch /root/watching /root/cmdline; nohup perl -MIO::Handle /root/watcher.pl >/dev/null 2>&1 &',
    );
    await host.runOrThrow('until [ -s /root/cmdline ]; do sleep 0.05; done');
    const env = { SLIPWAY_SUDO_PASSWORD: sudoPassword };
    const proxy = ['--engine-env', `HTTP_PROXY=http://user:${proxyPassword}@192.0.2.9:3128`];
    created = await expectSuccess(
      user.slipwayWith({ env }, 'create', 'web', ...hostFlags(host, 'ops'), ...proxy, '--debug'),
    );
    provisioned = await expectSuccess(
      user.slipwayWith({ env }, 'provision', 'web', '--engine-label', 'a=b', '--debug', '--json'),
    );
    await host.runOrThrow('rm /root/watching');
  });
  afterAll(async () => {
    await Promise.all([host[Symbol.asyncDispose](), user[Symbol.asyncDispose]()]);
  });

  test('are in no command line of a process on the host', async () => {
    const argv = await host.runOrThrow('cat /root/cmdline');
    // The watcher has seen Slipway's processes.
    expect(argv).toContain('mktemp -d /run/slipway.');
    expect(argv).toContain('sudo -k -S -p  sh');
    for (const secret of await collectSecrets(host, user)) expect(argv).not.toContain(secret);
  });

  test('are in no environment of a process except the engine that needs them', async () => {
    const environ = await host.runOrThrow('cat /root/environ');
    for (const secret of await collectSecrets(host, user, { except: proxyPassword }))
      expect(environ).not.toContain(secret);
    const pid = await host.runOrThrow('systemctl show --property MainPID --value docker.service');
    expect(await host.runOrThrow(`tr '\\0' '\\n' </proc/${pid}/environ`)).toContain(proxyPassword);
    const withPassword = environ.split('\n').filter((line) => line.includes(proxyPassword));
    // systemd's own processes for the unit have it too. A shell that Slipway started would have these variables.
    expect(withPassword.filter((line) => /SUDO_COMMAND|SSH_CONNECTION|PWD=\/run\/slipway/.test(line))).toEqual([]);
  });

  test('are in no output, whatever the flags', async () => {
    const steps = ['facts.sh', 'configure.sh'];
    for (const step of steps) expect(created.stderr).toContain(`[${step}]`);
    expect(provisioned.stdout).toContain('"event":"step"');
    const dryRun = ['provision', 'web', '--engine-env', `NO_PROXY=${proxyPassword}`, '--dry-run'];
    const env = { SLIPWAY_SUDO_PASSWORD: sudoPassword };
    const more = await Promise.all([
      expectSuccess(user.slipwayWith({ env }, ...dryRun)),
      expectSuccess(user.slipwayWith({ env }, ...dryRun, '--json', '--debug')),
      expectSuccess(user.slipway('ls', '--json')),
      expectSuccess(user.slipway('status', 'web', '--json', '--debug')),
    ]);
    const printed = [created, provisioned, ...more].map(({ stdout, stderr }) => stdout + stderr).join('\n');
    for (const secret of await collectSecrets(host, user)) expect(printed).not.toContain(secret);
  });

  test('are not repeated in the error about a wrong sudo password', async () => {
    await using other = await createUser();
    const env = { SLIPWAY_SUDO_PASSWORD: 'quite wrong donkey' };
    const refused = await other.slipwayWith({ env }, 'create', 'web', ...hostFlags(host, 'ops'), '--debug', '--json');
    expect(refused.code).toBe(7);
    expect(refused.stderr).toContain("can't become root with the specified sudo password");
    expect(refused.stdout + refused.stderr + (await readAllText(join(other.home, '.slipway')))).not.toContain('donkey');
  });

  test('are in no file where they are not needed', async () => {
    const stored =
      (await readAllText(join(user.home, '.slipway'))) + (await readAllText(join(user.home, '.docker', 'contexts')));
    expect(stored).not.toContain(sudoPassword);
    const record = await readFile(join(user.home, '.slipway', 'machines', 'web', 'machine.json'), 'utf8');
    const keys = await collectSecrets(host, user, { except: proxyPassword });
    for (const secret of keys) expect(record).not.toContain(secret);
    const found = await host.exec(
      `grep -rlF '${sudoPassword}' /etc /root/.[a-z]* /home /tmp /run /var/log 2>/dev/null`,
    );
    expect(found.stdout.trim()).toBe('');
    const [caKey = ''] = await readKeyLines(user, 'ca/ca-key.pem');
    expect((await host.exec(`grep -rlF '${caKey}' /etc /home /tmp /run 2>/dev/null`)).stdout.trim()).toBe('');
  });
});

async function collectSecrets(
  host: BedHost,
  user: User,
  { except }: { except?: string } = {},
): Promise<readonly string[]> {
  const files = ['ca/ca-key.pem', 'server/key.pem', 'tls/key.pem'];
  const lines = (await Promise.all(files.map((file) => readKeyLines(user, file)))).flat();
  const onHost = await host.runOrThrow('sed -n 2p /etc/docker/slipway/server-key.pem');
  if (!lines.includes(onHost)) throw new Error('the host has another key than the store');
  return [sudoPassword, proxyPassword, ...lines].filter((secret) => secret !== except);
}

/** Returns the lines of a key that differ from other keys: those between PEM's markers. */
async function readKeyLines(user: User, file: string): Promise<readonly string[]> {
  const text = await readFile(join(user.home, '.slipway', 'machines', 'web', file), 'utf8');
  return text.split('\n').filter((line) => line !== '' && !line.startsWith('-----'));
}

/** Returns all text in all files below a folder. */
async function readAllText(folder: string): Promise<string> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
  return (await Promise.all(files.map((file) => readFile(file, 'utf8')))).join('\n');
}
