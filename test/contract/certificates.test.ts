import { X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { readFile, writeFile } from 'node:fs/promises';
import { createServer, request } from 'node:https';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import {
  type Certificates,
  clientCertificatesOf,
  renewCertificates,
  serverSubjectAltNames,
} from '../../src/provision/certificates.ts';
import { createTemporaryFolder } from '../fakes/temporary-folder.ts';
import { hasProgram, runProgram } from '../fakes/run-program.ts';

test.skipIf(!hasProgram('openssl'))('openssl accepts the certificates in strict mode', async () => {
  await using folder = await createTemporaryFolder();
  const names = serverSubjectAltNames('web', '192.0.2.10', ['docker.example', '*.example.org', '2001:db8::1']);
  const first = await renewCertificates({}, { name: 'web', names, now: new Date() });
  // The second round checks certificates that a CA signs after it was read back from its file.
  const { server: _server, client: _client, ...authority } = first;
  for (const certificates of [first, await renewCertificates(authority, { name: 'web', names, now: new Date() })]) {
    const path = (name: string): string => join(folder.path, name);
    const files = { ca: certificates.ca, server: certificates.server.cert, client: certificates.client.cert };
    for (const [name, pem] of Object.entries(files)) await writeFile(path(name), pem);
    const openssl = async (...argv: readonly string[]): Promise<string> => {
      const { code, stdout, stderr } = await runProgram('openssl', argv);
      return code === 0 ? 'OK' : `${stdout}${stderr}`;
    };
    const verify = (...argv: readonly string[]): Promise<string> =>
      openssl('verify', '-x509_strict', '-CAfile', path('ca'), ...argv);
    expect(await verify('-check_ss_sig', path('ca'))).toBe('OK');
    expect(await verify('-purpose', 'sslserver', '-verify_hostname', 'a.example.org', path('server'))).toBe('OK');
    expect(await verify('-purpose', 'sslserver', '-verify_ip', '2001:db8::1', path('server'))).toBe('OK');
    expect(await verify('-purpose', 'sslserver', '-verify_ip', '127.0.0.1', path('server'))).toBe('OK');
    expect(await verify('-purpose', 'sslclient', path('client'))).toBe('OK');
    expect(await verify('-purpose', 'sslclient', path('server'))).not.toBe('OK');
    expect(await verify('-purpose', 'sslserver', path('client'))).not.toBe('OK');
    expect(await verify('-verify_hostname', 'elsewhere.example', path('server'))).not.toBe('OK');
  }
});

/** Creates a CA like Docker Machine's: with an RSA key, and only the user name in its subject. */
async function createRsaAuthority(folder: string, form: string): Promise<Pick<Certificates, 'ca' | 'caKey'>> {
  const [cert, key] = [join(folder, 'ca.pem'), join(folder, 'ca-key.pem')];
  const openssl = async (...argv: readonly string[]): Promise<void> => {
    const { code, stderr } = await runProgram('openssl', argv);
    if (code !== 0) throw new Error(stderr);
  };
  // Go derives the key identifier of a CA differently in different versions.
  const requestArgv = 'req -x509 -newkey rsa:2048 -nodes -sha256 -days 1080 -subj /O=somebody'.split(' ');
  const usage = 'critical,digitalSignature,keyEncipherment,keyAgreement,keyCertSign';
  const extensions = [`keyUsage=${usage}`, 'subjectKeyIdentifier=01:02:03:04', 'authorityKeyIdentifier=none'];
  const added = extensions.flatMap((extension) => ['-addext', extension]);
  await openssl(...requestArgv, ...added, '-out', cert, '-keyout', key);
  if (form === 'PKCS #1') await openssl('rsa', '-traditional', '-in', key, '-out', key);
  return { ca: await readFile(cert, 'utf8'), caKey: await readFile(key, 'utf8') };
}

/** Returns the HTTP status that an engine with these certificates sends to their client. */
async function requestStatus({ ca, server, client }: Certificates): Promise<number | undefined> {
  const engine = createServer({ ca, ...server, requestCert: true, rejectUnauthorized: true }, (_request, response) =>
    response.end(),
  ).listen(0, '127.0.0.1');
  await once(engine, 'listening');
  const { port } = engine.address() as AddressInfo;
  try {
    const call = request({ host: '127.0.0.1', port, ...clientCertificatesOf({ ca, caKey: '', server, client }) }).end();
    const [response] = (await once(call, 'response')) as [{ statusCode?: number; resume(): void }];
    response.resume();
    return response.statusCode;
  } finally {
    engine.closeAllConnections();
    engine.close();
  }
}

describe.skipIf(!hasProgram('openssl'))('an RSA CA', () => {
  test.each([
    ['PKCS #1', 'BEGIN RSA PRIVATE KEY'],
    ['PKCS #8', 'BEGIN PRIVATE KEY'],
  ])('with a key in %s signs certificates that both sides accept, and does not change', async (form, begin) => {
    await using folder = await createTemporaryFolder();
    const authority = await createRsaAuthority(folder.path, form);
    expect(authority.caKey).toContain(begin);
    const names = serverSubjectAltNames('web', '192.0.2.10', []);
    const certificates = await renewCertificates(authority, { name: 'web', names, now: new Date() });
    expect({ ca: certificates.ca, caKey: certificates.caKey }).toEqual(authority);
    expect(await requestStatus(certificates)).toBe(200);
    // A second run keeps all certificates.
    expect(await renewCertificates(certificates, { name: 'web', names, now: new Date() })).toEqual(certificates);
    const [ca, leaf] = [new X509Certificate(certificates.ca), new X509Certificate(certificates.server.cert)];
    expect([leaf.issuer, leaf.verify(ca.publicKey), leaf.publicKey.asymmetricKeyType]).toEqual([
      'O=somebody',
      true,
      'ec',
    ]);
    await writeFile(join(folder.path, 'leaf.pem'), certificates.server.cert);
    const path = (name: string): string => join(folder.path, name);
    const purpose = ['-purpose', 'sslserver'];
    const verification = await runProgram('openssl', [
      'verify',
      '-CAfile',
      path('ca.pem'),
      ...purpose,
      path('leaf.pem'),
    ]);
    expect(verification.stdout).toContain('OK');
    const { stdout } = await runProgram('openssl', ['x509', '-noout', '-text', '-in', path('leaf.pem')]);
    expect(stdout).toContain('Signature Algorithm: sha256WithRSAEncryption');
  });
});
