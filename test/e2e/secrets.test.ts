import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startHost, type BedHost } from '../bed/host.ts';
import { at, describeOnBed, newUser, ok, type Outcome, type User } from './slipway.ts';

const sudoPassword = 'correct horse battery';
const proxyPassword = 'hunter2-of-the-proxy';

/** Notes every command line and environment that any process has, over and over, until its file is gone. */
const watcher = `
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
    [host, user] = await Promise.all([startHost({ suite: 'trixie', engine: true }), newUser()]);
    await writeFile(join(user.home, 'watcher.pl'), watcher);
    await host.copyIn(join(user.home, 'watcher.pl'), '/root/watcher.pl');
    await host.must('touch /root/watching /root/cmdline; nohup perl -MIO::Handle /root/watcher.pl >/dev/null 2>&1 &');
    await host.must('until [ -s /root/cmdline ]; do sleep 0.05; done');
    const env = { SLIPWAY_SUDO_PASSWORD: sudoPassword };
    const proxy = ['--engine-env', `HTTP_PROXY=http://user:${proxyPassword}@192.0.2.9:3128`];
    created = await ok(user.slipwayWith({ env }, 'create', 'web', ...at(host, 'ops'), ...proxy, '--debug'));
    provisioned = await ok(user.slipwayWith({ env }, 'provision', 'web', '--engine-label', 'a=b', '--debug', '--json'));
    await host.must('rm /root/watching');
  });
  afterAll(async () => {
    await Promise.all([host[Symbol.asyncDispose](), user[Symbol.asyncDispose]()]);
  });

  test('none is in the command line of any process on the host', async () => {
    const argv = await host.must('cat /root/cmdline');
    // The watcher has seen our work at all.
    expect(argv).toContain('mktemp -d /run/slipway.');
    expect(argv).toContain('sudo -k -S -p  sh');
    for (const secret of await secrets(host, user)) expect(argv).not.toContain(secret);
  });

  test('none is in the environment of a process, but of the engine that needs it', async () => {
    const environ = await host.must('cat /root/environ');
    for (const secret of await secrets(host, user, { but: proxyPassword })) expect(environ).not.toContain(secret);
    const pid = await host.must('systemctl show --property MainPID --value docker.service');
    expect(await host.must(`tr '\\0' '\\n' </proc/${pid}/environ`)).toContain(proxyPassword);
    const holders = environ.split('\n').filter((line) => line.includes(proxyPassword));
    // systemd's own work for the unit has it too; a shell of ours would show its working folder.
    expect(holders.filter((line) => /SUDO_COMMAND|SSH_CONNECTION|PWD=\/run\/slipway/.test(line))).toEqual([]);
  });

  test('none is in what is printed, whatever was asked for', async () => {
    const steps = ['facts.sh', 'configure.sh'];
    for (const step of steps) expect(created.stderr).toContain(`[${step}]`);
    expect(provisioned.stdout).toContain('"event":"step"');
    const dry = ['provision', 'web', '--engine-env', `NO_PROXY=${proxyPassword}`, '--dry-run'];
    const env = { SLIPWAY_SUDO_PASSWORD: sudoPassword };
    const more = await Promise.all([
      ok(user.slipwayWith({ env }, ...dry)),
      ok(user.slipwayWith({ env }, ...dry, '--json', '--debug')),
      ok(user.slipway('ls', '--json')),
      ok(user.slipway('status', 'web', '--json', '--debug')),
    ]);
    const printed = [created, provisioned, ...more].map(({ stdout, stderr }) => stdout + stderr).join('\n');
    for (const secret of await secrets(host, user)) expect(printed).not.toContain(secret);
  });

  test('a wrong sudo password is not repeated in the error', async () => {
    await using other = await newUser();
    const env = { SLIPWAY_SUDO_PASSWORD: 'quite wrong donkey' };
    const refused = await other.slipwayWith({ env }, 'create', 'web', ...at(host, 'ops'), '--debug', '--json');
    expect(refused.code).toBe(7);
    expect(refused.stderr).toContain('may not become root with the sudo password given');
    expect(refused.stdout + refused.stderr + (await contents(join(other.home, '.slipway')))).not.toContain('donkey');
  });

  test('no file of the client or the host keeps the sudo password, and no key is where it need not be', async () => {
    const kept =
      (await contents(join(user.home, '.slipway'))) + (await contents(join(user.home, '.docker', 'contexts')));
    expect(kept).not.toContain(sudoPassword);
    const record = await readFile(join(user.home, '.slipway', 'machines', 'web', 'machine.json'), 'utf8');
    const keys = await secrets(host, user, { but: proxyPassword });
    for (const secret of keys) expect(record).not.toContain(secret);
    const found = await host.exec(
      `grep -rlF '${sudoPassword}' /etc /root/.[a-z]* /home /tmp /run /var/log 2>/dev/null`,
    );
    expect(found.stdout.trim()).toBe('');
    const [caKey = ''] = await keyLines(user, 'ca/ca-key.pem');
    expect((await host.exec(`grep -rlF '${caKey}' /etc /home /tmp /run 2>/dev/null`)).stdout.trim()).toBe('');
  });
});

async function secrets(host: BedHost, user: User, { but }: { but?: string } = {}): Promise<readonly string[]> {
  const files = ['ca/ca-key.pem', 'server/key.pem', 'tls/key.pem'];
  const lines = (await Promise.all(files.map((file) => keyLines(user, file)))).flat();
  const onHost = await host.must('sed -n 2p /etc/docker/slipway/server-key.pem');
  if (!lines.includes(onHost)) throw new Error('the host has another key than the store');
  return [sudoPassword, proxyPassword, ...lines].filter((secret) => secret !== but);
}

/** The lines of a key that differ from those of other keys: all that PEM puts between its marks. */
async function keyLines(user: User, file: string): Promise<readonly string[]> {
  const text = await readFile(join(user.home, '.slipway', 'machines', 'web', file), 'utf8');
  return text.split('\n').filter((line) => line !== '' && !line.startsWith('-----'));
}

/** All text in all files below a folder. */
async function contents(folder: string): Promise<string> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
  return (await Promise.all(files.map((file) => readFile(file, 'utf8')))).join('\n');
}
