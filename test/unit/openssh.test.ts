import { describe, expect, test } from 'vitest';
import { scpArgv, parsePathSpec, sshArgv, type ScpTransfer } from '../../src/openssh/openssh-command.ts';
import { formatSshConfig, type SshRoute } from '../../src/ssh/openssh-options.ts';

const webRoute: SshRoute = {
  target: { address: '192.0.2.10', port: 2222, user: 'root', keyFile: '/keys/web' },
  knownHosts: '/store/web/known_hosts',
};
const ipv6Route: SshRoute = {
  target: { address: '2001:db8::1', port: 22, user: 'root' },
  knownHosts: '/store/six/known_hosts',
};
const jumpRoute: SshRoute = {
  target: { ...webRoute.target, jump: { address: '198.51.100.1', port: 22, user: 'ops' } },
  knownHosts: '/my store/known_hosts',
};

describe('parsePathSpec reads', () => {
  test.each([
    ['web:/etc/hosts', { machine: 'web', path: '/etc/hosts' }],
    ['web:', { machine: 'web', path: '' }],
    ['web:a:b', { machine: 'web', path: 'a:b' }],
    ['web:two words\nand a line', { machine: 'web', path: 'two words\nand a line' }],
    ['hosts', { path: 'hosts' }],
    ['./a:b', { path: './a:b' }],
    ['dir/a:b', { path: 'dir/a:b' }],
    ['/a:b', { path: '/a:b' }],
    [':a', { path: ':a' }],
    [String.raw`C:\x`, { path: String.raw`C:\x` }],
    ['C:/x', { path: 'C:/x' }],
    ['C:x', { machine: 'C', path: 'x' }],
    ['d:/x', { machine: 'd', path: '/x' }],
    // No machine has this name: the caller reports that.
    ['wbe:/x', { machine: 'wbe', path: '/x' }],
  ])('%j', (word, side) => {
    expect(parsePathSpec(word, ['web', 'd'])).toEqual(side);
  });
});

const scpArgvFor = (from: string, to: string, more: Partial<ScpTransfer> = {}): readonly string[] => {
  const routes = { web: webRoute };
  const names = Object.keys(more.routes ?? routes);
  return scpArgv(
    { from: parsePathSpec(from, names), to: parsePathSpec(to, names), routes, flags: [], windows: false, ...more },
    '/tmp/config',
  );
};

describe('scp', () => {
  test('gets the options of ssh: key file, port, and only the pinned host key', () => {
    const options = sshArgv(webRoute, []).slice(0, -1);
    expect(options).toMatchInlineSnapshot(`
      [
        "-o",
        "UserKnownHostsFile=/store/web/known_hosts",
        "-o",
        "GlobalKnownHostsFile=none",
        "-o",
        "StrictHostKeyChecking=yes",
        "-o",
        "LogLevel=ERROR",
        "-o",
        "IdentityFile=/keys/web",
        "-o",
        "IdentitiesOnly=yes",
        "-o",
        "Port=2222",
        "-o",
        "User=root",
      ]
    `);
    expect(scpArgvFor('web:/a b', '.')).toEqual([...options, '--', '192.0.2.10:/a b', '.']);
    expect(scpArgvFor('.', 'web:', { flags: ['-r', '-q'] })).toEqual([
      ...options,
      '-r',
      '-q',
      '--',
      '.',
      '192.0.2.10:',
    ]);
  });

  test('never reads a local path as a machine or a flag', () => {
    expect(scpArgvFor(':a', 'web:').at(-2)).toBe('./:a');
    expect(scpArgvFor('-r', 'web:').slice(-3)).toEqual(['--', '-r', '192.0.2.10:']);
    expect(scpArgvFor('./a:b', 'web:').at(-2)).toBe('./a:b');
    expect(scpArgvFor('C:/x', 'web:').at(-2)).toBe('./C:/x');
    expect(scpArgvFor(String.raw`C:\x`, 'web:', { windows: true }).at(-2)).toBe(String.raw`C:\x`);
  });

  test('gets an IPv6 address in brackets', () => {
    expect(scpArgvFor('six:/a', 'b', { routes: { six: ipv6Route } }).at(-2)).toBe('[2001:db8::1]:/a');
  });

  test('copies between two machines through this computer, with options for each', () => {
    expect(scpArgvFor('web:/a', 'six:/b', { routes: { web: webRoute, six: ipv6Route }, flags: ['-r'] })).toEqual([
      '-F',
      '/tmp/config',
      '-3',
      '-r',
      '--',
      'web:/a',
      'six:/b',
    ]);
    expect(formatSshConfig({ web: webRoute, six: ipv6Route })).toMatchInlineSnapshot(`
      "Host web
        HostName 192.0.2.10
        UserKnownHostsFile /store/web/known_hosts
        GlobalKnownHostsFile none
        StrictHostKeyChecking yes
        LogLevel ERROR
        IdentityFile /keys/web
        IdentitiesOnly yes
        Port 2222
        User root
      Host six
        HostName 2001:db8::1
        UserKnownHostsFile /store/six/known_hosts
        GlobalKnownHostsFile none
        StrictHostKeyChecking yes
        LogLevel ERROR
        Port 22
        User root
      "
    `);
  });

  test('copies within one machine with its own options', () => {
    expect(scpArgvFor('web:/a', 'web:/b')).toEqual([
      ...sshArgv(webRoute, []).slice(0, -1),
      '-3',
      '--',
      '192.0.2.10:/a',
      '192.0.2.10:/b',
    ]);
  });
});

describe('ssh', () => {
  test('gets flags and a command after the address, unchanged', () => {
    expect(sshArgv(webRoute, ['uptime', '-p']).slice(-3)).toEqual(['192.0.2.10', 'uptime', '-p']);
    expect(sshArgv(webRoute, ['-C', 'echo', 'a b']).slice(-4)).toEqual(['192.0.2.10', '-C', 'echo', 'a b']);
  });

  test('gets paths with slashes on Windows, and a ProxyCommand in the quotes of Windows', () => {
    const jump = { address: '198.51.100.1', port: 22, user: 'Ada "A"' };
    const route: SshRoute = {
      target: { ...webRoute.target, keyFile: String.raw`C:\Users\Ada B\.ssh\id`, jump },
      knownHosts: String.raw`C:\Users\Ada B\known_hosts`,
    };
    const options = sshArgv(route, []);
    expect(options).toContain('UserKnownHostsFile="C:/Users/Ada B/known_hosts"');
    expect(options).toContain('IdentityFile="C:/Users/Ada B/.ssh/id"');
    const proxy = String.raw`ssh.exe -o "UserKnownHostsFile=\"C:/Users/Ada B/known_hosts\"" -o GlobalKnownHostsFile=none -o StrictHostKeyChecking=yes -o LogLevel=ERROR -o "IdentityFile=\"C:/Users/Ada B/.ssh/id\"" -o IdentitiesOnly=yes -o Port=22 -o "User=\"Ada \\\"A\\\"\"" -W "[%h]:%p" 198.51.100.1`;
    expect(options).toContain(`ProxyCommand=${proxy}`);
    expect(formatSshConfig({ web: route })).toContain(`  ProxyCommand ${proxy}\n`);
  });

  test('requires the pinned host key of a jump host too', () => {
    expect(sshArgv(jumpRoute, []).find((word) => word.startsWith('ProxyCommand='))).toMatchInlineSnapshot(
      `"ProxyCommand=ssh -o 'UserKnownHostsFile="/my store/known_hosts"' -o GlobalKnownHostsFile=none -o StrictHostKeyChecking=yes -o LogLevel=ERROR -o IdentityFile=/keys/web -o IdentitiesOnly=yes -o Port=22 -o User=ops -W '[%h]:%p' 198.51.100.1"`,
    );
  });
});
