import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { renewCertificates, serverNames } from '../../src/provision/certificates.ts';
import { temporaryFolder } from '../fakes/folder.ts';
import { has, run } from '../fakes/programs.ts';

test.skipIf(!has('openssl'))('openssl finds nothing to object to, however strictly it looks', async () => {
  await using folder = await temporaryFolder();
  const names = serverNames('web', '192.0.2.10', ['docker.example', '*.example.org', '2001:db8::1']);
  const first = await renewCertificates({}, { name: 'web', names, now: new Date() });
  // A second round, so that what a CA read back from its file signs is looked at too.
  const { server: _server, client: _client, ...authority } = first;
  for (const made of [first, await renewCertificates(authority, { name: 'web', names, now: new Date() })]) {
    const path = (name: string): string => join(folder.path, name);
    const files = { ca: made.ca, server: made.server.cert, client: made.client.cert };
    for (const [name, pem] of Object.entries(files)) await writeFile(path(name), pem);
    const openssl = async (...argv: readonly string[]): Promise<string> => {
      const { code, stdout, stderr } = await run('openssl', argv);
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
