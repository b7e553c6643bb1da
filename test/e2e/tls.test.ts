import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startHost, type BedHost } from '../bed/bed-host.ts';
import { readEnginePid } from './inspect-host.ts';
import { hostFlags, describeOnBed, createUser, expectSuccess, type Outcome, type User } from './test-user.ts';

const request = 'GET /_ping HTTP/1.1\r\nHost: engine\r\nConnection: close\r\n\r\n';

describeOnBed('port 2376, tested with openssl,', () => {
  let host: BedHost;
  let user: User;
  const store = (...path: readonly string[]): string => join(user.home, '.slipway', 'machines', 'web', ...path);
  const clientCertificate = (): readonly string[] => [
    '-cert',
    store('tls', 'cert.pem'),
    '-key',
    store('tls', 'key.pem'),
  ];

  beforeAll(async () => {
    [host, user] = await Promise.all([startHost({ suite: 'bookworm', engine: true }), createUser()]);
    const names = ['engine.example', '*.wild.example', '192.0.2.7', '2001:db8::7'];
    await expectSuccess(
      user.slipway('create', 'web', ...hostFlags(host), ...names.flatMap((name) => ['--tls-san', name])),
    );
  });
  afterAll(async () => {
    await Promise.all([host[Symbol.asyncDispose](), user[Symbol.asyncDispose]()]);
  });

  /** Sends a request with openssl's client, which trusts only the machine's CA. */
  function sendRequest(...flags: readonly string[]): Promise<Outcome> {
    const trust = ['-CAfile', store('tls', 'ca.pem'), '-no-CApath', '-no-CAstore', '-x509_strict'];
    const argv = [
      's_client',
      '-connect',
      `${host.address}:2376`,
      '-ign_eof',
      '-verify_return_error',
      ...trust,
      ...flags,
    ];
    return user.run('openssl', argv, { stdin: request });
  }

  test.for([
    ['TLS 1.2', '-tls1_2'],
    ['TLS 1.3', '-tls1_3'],
  ] as const)('answers %s with the client certificate, over a valid chain', async ([, version]) => {
    const { stdout } = await sendRequest(version, ...clientCertificate());
    expect(stdout).toContain('Verify return code: 0 (ok)');
    expect(stdout).toContain('HTTP/1.1 200 OK');
  });

  test.for([
    ['TLS 1.1', '-tls1_1'],
    ['TLS 1.0', '-tls1'],
  ] as const)('refuses %s', async ([, version]) => {
    const { stdout, stderr } = await sendRequest(version, '-cipher', 'ALL:@SECLEVEL=0', ...clientCertificate());
    expect(stderr).toContain('alert protocol version');
    expect(stdout).not.toContain('HTTP/1.1');
  });

  test.for(['-tls1_2', '-tls1_3'])('refuses a client without a certificate (%s)', async (version) => {
    const { stdout, stderr } = await sendRequest(version);
    expect(stderr).toMatch(/alert (certificate required|bad certificate)/);
    expect(stdout).not.toContain('HTTP/1.1');
  });

  test.for(['-tls1_2', '-tls1_3'])("refuses a client with another CA's certificate (%s)", async (version) => {
    const [cert, key] = [join(user.home, 'stranger.pem'), join(user.home, 'stranger-key.pem')];
    const createCertificate = [
      'req',
      '-x509',
      '-newkey',
      'ec',
      '-pkeyopt',
      'ec_paramgen_curve:P-256',
      '-nodes',
      '-days',
      '30',
    ];
    // It has the names of the valid certificate: only the signature differs.
    const names = ['-subj', '/O=Slipway/CN=web client', '-addext', 'extendedKeyUsage=clientAuth'];
    await expectSuccess(user.run('openssl', [...createCertificate, ...names, '-out', cert, '-keyout', key]));
    const { stdout, stderr } = await sendRequest(version, '-cert', cert, '-key', key);
    expect(stderr).toMatch(/alert (bad certificate|unknown ca|certificate required)/);
    expect(stdout).not.toContain('HTTP/1.1');
  });

  test("refuses the engine's own certificate, which is for servers", async () => {
    const { stdout } = await sendRequest(
      '-tls1_3',
      '-cert',
      store('server', 'cert.pem'),
      '-key',
      store('server', 'key.pem'),
    );
    expect(stdout).not.toContain('HTTP/1.1');
  });

  test('answers nothing without TLS, and no other port is open', async () => {
    const plain = await fetch(`http://${host.address}:2376/version`);
    expect(plain.status).toBe(400);
    expect(await plain.text()).toContain('HTTP request to an HTTPS server');
    const listOpenPorts = "ss -Hltn | awk '$4 !~ /^127[.]/ { print $4 }' | sed 's/.*://' | sort -un";
    expect(await host.runOrThrow(listOpenPorts)).toBe('22\n2376');
  });

  test('has a certificate for every name of the machine, and for no other', async () => {
    const names = ['localhost', 'web', 'engine.example', 'any.wild.example'];
    const addresses = [host.address, '127.0.0.1', '192.0.2.7', '2001:db8::7'];
    const validNames = [
      ...names.map((name) => ['-verify_hostname', name]),
      ...addresses.map((ip) => ['-verify_ip', ip]),
    ];
    for (const check of validNames)
      expect([check, (await sendRequest(...clientCertificate(), ...check)).code]).toEqual([check, 0]);
    const invalidNames = [
      ['-verify_hostname', 'other.example'],
      ['-verify_hostname', 'wild.example'],
      ['-verify_ip', '192.0.2.8'],
    ];
    for (const check of invalidNames) {
      const { code, stdout } = await sendRequest(...clientCertificate(), ...check);
      expect([check, code]).toEqual([check, 1]);
      expect(stdout).not.toContain('HTTP/1.1');
    }
  });

  test("has certificates that pass openssl's strict check for their own purpose only", async () => {
    const verify = (purpose: string, file: string): Promise<Outcome> =>
      user.run('openssl', ['verify', '-x509_strict', '-purpose', purpose, '-CAfile', store('tls', 'ca.pem'), file]);
    const [server, client] = [store('server', 'cert.pem'), store('tls', 'cert.pem')];
    expect((await verify('sslserver', server)).stdout).toBe(`${server}: OK\n`);
    expect((await verify('sslclient', client)).stdout).toBe(`${client}: OK\n`);
    expect((await verify('sslclient', server)).code).not.toBe(0);
    expect((await verify('sslserver', client)).code).not.toBe(0);
    const ca = await expectSuccess(user.run('openssl', ['x509', '-noout', '-text', '-in', store('tls', 'ca.pem')]));
    expect(ca.stdout).toMatch(/CA:TRUE, pathlen:0/);
    expect(ca.stdout).toContain('NIST CURVE: P-256');
    for (const file of [server, client, store('tls', 'ca.pem')])
      expect((await user.run('openssl', ['x509', '-noout', '-checkend', String(365 * 86_400), '-in', file])).code).toBe(
        0,
      );
  });

  test("issues a new certificate of the same CA for a new --tls-san, and keeps the client's", async () => {
    const files = [store('tls', 'ca.pem'), store('tls', 'cert.pem'), store('ca', 'ca-key.pem')];
    const before = await expectSuccess(user.run('sha256sum', files));
    const pid = await readEnginePid(host);
    await expectSuccess(user.slipway('provision', 'web', '--tls-san', 'new.example'));
    expect((await sendRequest(...clientCertificate(), '-verify_hostname', 'new.example')).code).toBe(0);
    expect((await sendRequest(...clientCertificate(), '-verify_hostname', 'engine.example')).code).toBe(1);
    expect(await readEnginePid(host)).not.toBe(pid);
    expect((await expectSuccess(user.run('sha256sum', files))).stdout).toBe(before.stdout);
  });
});
