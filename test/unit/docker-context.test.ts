import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join, sep } from 'node:path';
import { describe, expect, test } from 'vitest';
import { applyFileChanges } from '../../src/computer/files.ts';
import { readCurrentContextName, planContextSwitch } from '../../src/profiles/current-context.ts';
import { contextName, readContextOwner, dockerContextProfile } from '../../src/profiles/docker-context.ts';
import { catchRejection } from '../fakes/catch-error.ts';
import { readMode, withSlashes } from '../fakes/file-modes.ts';
import { createTemporaryFolder } from '../fakes/temporary-folder.ts';
import { readyMachine } from '../fakes/sample-machine.ts';
import { clientPlacesIn } from '../fakes/client-paths.ts';

const tls = { ca: 'CA', cert: 'CERT', key: 'KEY' };
const places = clientPlacesIn('/home/ada');

describe('dockerContextProfile', () => {
  test("writes the docker CLI's own files, the description last", () => {
    expect(
      dockerContextProfile
        .changesToAdd({ machine: readyMachine('web'), tls, clientPaths: places })
        .map((change) => ({ ...change, path: withSlashes(change.path) })),
    ).toMatchInlineSnapshot(`
      [
        {
          "content": "CA",
          "do": "write",
          "mode": 384,
          "path": "/home/ada/.docker/contexts/tls/4b5e57f6eb2f42b9039b3d1e13929295f231749c510cbe341cd68036d9af97e2/docker/ca.pem",
        },
        {
          "content": "CERT",
          "do": "write",
          "mode": 384,
          "path": "/home/ada/.docker/contexts/tls/4b5e57f6eb2f42b9039b3d1e13929295f231749c510cbe341cd68036d9af97e2/docker/cert.pem",
        },
        {
          "content": "KEY",
          "do": "write",
          "mode": 384,
          "path": "/home/ada/.docker/contexts/tls/4b5e57f6eb2f42b9039b3d1e13929295f231749c510cbe341cd68036d9af97e2/docker/key.pem",
        },
        {
          "content": "{"Name":"web","Metadata":{"Description":"Slipway machine (generic)","slipway-id":"id-of-web"},"Endpoints":{"docker":{"Host":"tcp://192.0.2.10:2376","SkipTLSVerify":false}}}",
          "do": "write",
          "mode": 420,
          "path": "/home/ada/.docker/contexts/meta/4b5e57f6eb2f42b9039b3d1e13929295f231749c510cbe341cd68036d9af97e2/meta.json",
        },
      ]
    `);
  });

  test('writes no certificates for an engine without TLS', () => {
    const machine = readyMachine('web', { endpoint: { url: 'unix:///run/docker.sock', tls: false } });
    const changes = dockerContextProfile.changesToAdd({ machine, tls: undefined, clientPaths: places });
    expect(changes).toHaveLength(1);
    expect(changes[0]).toMatchObject({ mode: 0o644, content: expect.stringContaining('"unix:///run/docker.sock"') });
  });

  test('removes all files of a context by its name alone', () => {
    const added = dockerContextProfile
      .changesToAdd({ machine: readyMachine('web'), tls, clientPaths: places })
      .map(({ path }) => path);
    const dropped = dockerContextProfile.changesToRemove('web', places).map(({ path }) => `${path}${sep}`);
    expect(added.every((path) => dropped.some((folder) => path.startsWith(folder)))).toBe(true);
  });

  test('never names a context default, which the docker CLI reserves', () => {
    expect(contextName('default')).toBe('slipway-default');
    expect(contextName('web')).toBe('web');
  });

  test("reports a conflict only for a context that is not the machine's", async () => {
    await using home = await createTemporaryFolder();
    const here = clientPlacesIn(home.path, home.path);
    expect(await dockerContextProfile.findConflict('web', 'id-of-web', here)).toBeUndefined();
    await applyFileChanges(dockerContextProfile.changesToAdd({ machine: readyMachine('web'), tls, clientPaths: here }));
    expect(await readContextOwner('web', here)).toBe('id-of-web');
    expect(await dockerContextProfile.findConflict('web', 'id-of-web', here)).toBeUndefined();
    expect(await dockerContextProfile.findConflict('web', 'another', here)).toMatchObject({
      code: 'CONTEXT_TAKEN',
      hint: 'Choose another machine name, or remove it: docker context rm web',
    });
    const [meta] = dockerContextProfile.changesToRemove('web', here);
    for (const text of ['{}', '{"Name":"web","Metadata":{}}', 'broken']) {
      await writeFile(join(meta?.path ?? '', 'meta.json'), text);
      expect(await readContextOwner('web', here)).toBe('');
      expect((await dockerContextProfile.findConflict('web', 'id-of-web', here))?.code).toBe('CONTEXT_TAKEN');
    }
  });
});

describe('planContextSwitch', () => {
  const text = `{
\t"auths": {
\t\t"registry.example": {
\t\t\t"auth": "c2VjcmV0"
\t\t}
\t},
\t"credsStore": "pass",
\t"currentContext": "old"
}`;

  test("changes the context in config.json and keeps other settings and the file's mode", async () => {
    await using home = await createTemporaryFolder();
    const here = clientPlacesIn(home.path, home.path);
    const path = join(home.path, 'config.json');
    await writeFile(path, text, { mode: 0o640 });
    expect(await readCurrentContextName(here)).toBe('old');
    const changes = await planContextSwitch('web', here);
    await applyFileChanges(changes);
    expect(await readCurrentContextName(here)).toBe('web');
    expect(await readFile(path, 'utf8')).toBe(`${text.replace('"old"', '"web"')}\n`);
    expect(await readMode(path, '640')).toBe('640');
    await applyFileChanges(await planContextSwitch(undefined, here));
    expect(await readCurrentContextName(here)).toBeUndefined();
    const { currentContext: _old, ...others } = JSON.parse(text) as Record<string, unknown>;
    expect(JSON.parse(await readFile(path, 'utf8'))).toEqual(others);
  });

  test('creates a config.json that only the user can read', async () => {
    await using home = await createTemporaryFolder();
    const here = clientPlacesIn(home.path);
    expect(await readCurrentContextName(here)).toBeUndefined();
    expect(await planContextSwitch(undefined, here)).toEqual([]);
    expect(await planContextSwitch('web', here)).toEqual([
      {
        do: 'write',
        path: join(here.dockerConfig, 'config.json'),
        content: '{\n\t"currentContext": "web"\n}\n',
        mode: 0o600,
      },
    ]);
  });

  test('changes nothing where the context is already current', async () => {
    await using home = await createTemporaryFolder();
    const here = clientPlacesIn(home.path, home.path);
    await writeFile(join(home.path, 'config.json'), '{"currentContext":"default"}');
    expect(await planContextSwitch(undefined, here)).toEqual([]);
    await writeFile(join(home.path, 'config.json'), '{"currentContext":"web"}');
    expect(await planContextSwitch('web', here)).toEqual([]);
  });

  test('refuses a broken config.json and names the file', async () => {
    await using home = await createTemporaryFolder();
    await mkdir(join(home.path, '.docker'));
    const here = clientPlacesIn(home.path);
    await writeFile(join(here.dockerConfig, 'config.json'), '{"auths":');
    for (const read of [() => readCurrentContextName(here), () => planContextSwitch('web', here)]) {
      expect(await catchRejection(read())).toMatchObject({
        code: 'LOCAL_FILES',
        message: expect.stringContaining(`${join(here.dockerConfig, 'config.json')} is not valid JSON`),
      });
    }
  });
});
