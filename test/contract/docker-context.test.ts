import { mkdir, readFile, readdir, stat, writeFile } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { describe, expect, test } from 'vitest';
import { applyChanges } from '../../src/computer/files.ts';
import { switchContext } from '../../src/profiles/current-context.ts';
import { dockerContext } from '../../src/profiles/docker-context.ts';
import { renewCertificates } from '../../src/provision/certificates.ts';
import { temporaryFolder } from '../fakes/folder.ts';
import { readyMachine } from '../fakes/machine.ts';
import { placesIn } from '../fakes/places.ts';
import { has, run } from '../fakes/programs.ts';

async function files(folder: string): Promise<readonly string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  return Promise.all(
    entries
      .filter((entry) => entry.isFile())
      .map(async (entry) => {
        const path = join(entry.parentPath, entry.name);
        return `${((await stat(path)).mode & 0o777).toString(8)} ${relative(folder, path)}`;
      }),
  );
}

describe.skipIf(!has('docker'))('the docker CLI', () => {
  const docker = (config: string, ...argv: readonly string[]) =>
    run('docker', argv, { env: { PATH: process.env.PATH, HOME: config, DOCKER_CONFIG: config } });

  test('makes the same files for the same context', async () => {
    await using folder = await temporaryFolder();
    const [theirs, ours] = [join(folder.path, 'theirs'), join(folder.path, 'ours')];
    const made = await renewCertificates({}, { name: 'web', names: ['192.0.2.10'], now: new Date() });
    const tls = { ca: made.ca, cert: made.client.cert, key: made.client.key };
    await Promise.all([theirs, ours].map((path) => mkdir(path)));
    for (const [name, pem] of Object.entries(tls)) await writeFile(join(folder.path, name), pem);
    const parts = ['ca', 'cert', 'key'].map((name) => `${name}=${join(folder.path, name)}`).join(',');
    const { code } = await docker(
      theirs,
      'context',
      'create',
      'web',
      '--docker',
      `host=tcp://192.0.2.10:2376,${parts}`,
    );
    expect(code).toBe(0);
    const machine = readyMachine('web');
    await applyChanges(dockerContext.add({ machine, tls, places: placesIn(ours, ours) }));
    expect((await files(ours)).toSorted()).toEqual((await files(theirs)).toSorted());
    const meta = async (config: string): Promise<Record<string, unknown>> => {
      const [path = ''] = (await files(config)).filter((file) => file.endsWith('meta.json'));
      return JSON.parse(await readFile(join(config, path.split(' ')[1] ?? ''), 'utf8')) as Record<string, unknown>;
    };
    expect({ ...(await meta(ours)), Metadata: {} }).toEqual(await meta(theirs));
  });

  test('lists, shows, uses and removes a context of ours as one of its own', async () => {
    await using folder = await temporaryFolder();
    const places = placesIn(folder.path, folder.path);
    const tls = { ca: 'CA', cert: 'CERT', key: 'KEY' };
    await applyChanges(dockerContext.add({ machine: readyMachine('web'), tls, places }));
    await applyChanges(await switchContext('web', places));
    const { stdout: shown } = await docker(
      folder.path,
      'context',
      'ls',
      '--format',
      '{{.Name}} {{.Current}} {{.Description}}',
    );
    expect(shown).toContain('web true Slipway machine (generic)');
    const { stdout } = await docker(folder.path, 'context', 'inspect', 'web');
    expect(JSON.parse(stdout)).toMatchObject([
      {
        Name: 'web',
        Endpoints: { docker: { Host: 'tcp://192.0.2.10:2376', SkipTLSVerify: false } },
        TLSMaterial: { docker: ['ca.pem', 'cert.pem', 'key.pem'] },
      },
    ]);
    expect((await docker(folder.path, 'context', 'rm', '--force', 'web')).code).toBe(0);
    expect((await files(folder.path)).filter((file) => file.includes('contexts'))).toEqual([]);
  });

  test('finds nothing left of a context that we dropped', async () => {
    await using folder = await temporaryFolder();
    const places = placesIn(folder.path, folder.path);
    await applyChanges(dockerContext.add({ machine: readyMachine('web'), tls: undefined, places }));
    await applyChanges(dockerContext.drop('web', places));
    const { stdout } = await docker(folder.path, 'context', 'ls', '--format', '{{.Name}}');
    expect(stdout.trim()).toBe('default');
  });
});
