import { mkdir, readFile, readdir, stat, writeFile } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { describe, expect, test } from 'vitest';
import { applyFileChanges } from '../../src/computer/files.ts';
import { planContextSwitch } from '../../src/profiles/current-context.ts';
import { dockerContextProfile } from '../../src/profiles/docker-context.ts';
import { renewCertificates } from '../../src/provision/certificates.ts';
import { createTemporaryFolder } from '../fakes/temporary-folder.ts';
import { readyMachine } from '../fakes/sample-machine.ts';
import { clientPlacesIn } from '../fakes/client-paths.ts';
import { hasProgram, runProgram } from '../fakes/run-program.ts';

async function listFiles(folder: string): Promise<readonly string[]> {
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

describe.skipIf(!hasProgram('docker'))('the docker CLI', () => {
  const docker = (config: string, ...argv: readonly string[]) =>
    runProgram('docker', argv, { env: { PATH: process.env.PATH, HOME: config, DOCKER_CONFIG: config } });

  test('creates the same files for the same context', async () => {
    await using folder = await createTemporaryFolder();
    const [theirs, ours] = [join(folder.path, 'theirs'), join(folder.path, 'ours')];
    const certificates = await renewCertificates({}, { name: 'web', names: ['192.0.2.10'], now: new Date() });
    const tls = { ca: certificates.ca, cert: certificates.client.cert, key: certificates.client.key };
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
    await applyFileChanges(
      dockerContextProfile.changesToAdd({ machine, tls, clientPaths: clientPlacesIn(ours, ours) }),
    );
    expect((await listFiles(ours)).toSorted()).toEqual((await listFiles(theirs)).toSorted());
    const readMeta = async (config: string): Promise<Record<string, unknown>> => {
      const [path = ''] = (await listFiles(config)).filter((file) => file.endsWith('meta.json'));
      return JSON.parse(await readFile(join(config, path.split(' ')[1] ?? ''), 'utf8')) as Record<string, unknown>;
    };
    expect({ ...(await readMeta(ours)), Metadata: {} }).toEqual(await readMeta(theirs));
  });

  test("lists, shows, uses and removes Slipway's context like its own", async () => {
    await using folder = await createTemporaryFolder();
    const clientPaths = clientPlacesIn(folder.path, folder.path);
    const tls = { ca: 'CA', cert: 'CERT', key: 'KEY' };
    await applyFileChanges(dockerContextProfile.changesToAdd({ machine: readyMachine('web'), tls, clientPaths }));
    await applyFileChanges(await planContextSwitch('web', clientPaths));
    const { stdout: listed } = await docker(
      folder.path,
      'context',
      'ls',
      '--format',
      '{{.Name}} {{.Current}} {{.Description}}',
    );
    expect(listed).toContain('web true Slipway machine (generic)');
    const { stdout } = await docker(folder.path, 'context', 'inspect', 'web');
    expect(JSON.parse(stdout)).toMatchObject([
      {
        Name: 'web',
        Endpoints: { docker: { Host: 'tcp://192.0.2.10:2376', SkipTLSVerify: false } },
        TLSMaterial: { docker: ['ca.pem', 'cert.pem', 'key.pem'] },
      },
    ]);
    expect((await docker(folder.path, 'context', 'rm', '--force', 'web')).code).toBe(0);
    expect((await listFiles(folder.path)).filter((file) => file.includes('contexts'))).toEqual([]);
  });

  test('lists no context that Slipway removed', async () => {
    await using folder = await createTemporaryFolder();
    const clientPaths = clientPlacesIn(folder.path, folder.path);
    await applyFileChanges(
      dockerContextProfile.changesToAdd({ machine: readyMachine('web'), tls: undefined, clientPaths }),
    );
    await applyFileChanges(dockerContextProfile.changesToRemove('web', clientPaths));
    const { stdout } = await docker(folder.path, 'context', 'ls', '--format', '{{.Name}}');
    expect(stdout.trim()).toBe('default');
  });
});
