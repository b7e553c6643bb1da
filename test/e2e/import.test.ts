import { access, mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { renewCertificates } from '../../src/provision/certificates.ts';
import { startHost, type BedHost } from '../bed/bed-host.ts';
import { countEngineStarts, snapshotFiles } from './inspect-host.ts';
import { provisionAsDockerMachine } from './docker-machine-host.ts';
import { hostFlags, describeOnBed, createUser, expectSuccess, type User } from './test-user.ts';

const isPresent = async (path: string): Promise<boolean> =>
  access(path).then(
    () => true,
    () => false,
  );

/** Starts a container that consists of the host's own programs only, and returns its id. */
async function startContainer(host: BedHost): Promise<string> {
  await host.runOrThrow('mkdir -p /tmp/empty && tar -cf - -C /tmp/empty . | docker import - empty >/dev/null');
  const binds = ['/bin', '/lib', '/lib64', '/usr'].map((path) => `-v ${path}:${path}:ro`).join(' ');
  return await host.runOrThrow(`docker run -d --name web --restart always ${binds} empty /bin/sleep infinity`);
}

describeOnBed('a machine of Docker Machine', () => {
  let host: BedHost;
  let user: User;
  let oldStore: string;
  let containerId: string;
  const store = (...path: readonly string[]): string => join(user.home, '.slipway', 'machines', 'old', ...path);

  beforeAll(async () => {
    [host, user] = await Promise.all([startHost({ suite: 'bookworm', engine: true }), createUser()]);
    oldStore = join(user.home, '.docker', 'machine');
    await provisionAsDockerMachine(host, 'old', oldStore);
    await mkdir(join(oldStore, 'machines', 'box'));
    const Driver = { IPAddress: '192.168.99.100', SSHPort: 53507 };
    await writeFile(
      join(oldStore, 'machines', 'box', 'config.json'),
      JSON.stringify({ ConfigVersion: 3, DriverName: 'virtualbox', Driver }),
    );
    await mkdir(join(oldStore, 'machines', 'torn'));
    await writeFile(join(oldStore, 'machines', 'torn', 'config.json'), '{');
    containerId = await startContainer(host);
  });
  afterAll(async () => {
    await Promise.all([host[Symbol.asyncDispose](), user[Symbol.asyncDispose]()]);
  });

  test("is listed by import, with the reason if it can't be imported", async () => {
    const rows = JSON.parse((await expectSuccess(user.slipway('import', '--json'))).stdout) as {
      name: string;
      trouble: string;
    }[];
    expect(rows.map(({ name, trouble }) => [name, trouble.split('(')[0]?.trim()])).toEqual([
      ['box', 'Machine "box" uses the driver virtualbox, which Slipway does not have'],
      ['old', ''],
      ['torn', 'The record of "torn" can\'t be used: it is not JSON'],
    ]);
    expect((await expectSuccess(user.slipway('import'))).stdout).toMatch(/old +generic +[\d.]+ +yes/);
    expect(await isPresent(store())).toBe(false);
  });

  test("is refused if it can't be imported, and nothing is written", async () => {
    for (const name of ['box', 'torn', 'nobody']) {
      const refused = await user.slipway('import', name);
      expect([
        refused.code > 0,
        await isPresent(join(user.home, '.slipway', 'machines', name, 'machine.json')),
      ]).toEqual([true, false]);
    }
  });

  test("stays in Docker Machine's store if its host can't be reached", async () => {
    const config = join(oldStore, 'machines', 'old', 'config.json');
    const text = await readFile(config, 'utf8');
    await writeFile(config, text.replace('"SSHPort": 22', '"SSHPort": 23'));
    const refused = await user.slipway('import', 'old');
    expect(refused.code).toBe(6);
    expect(await isPresent(store('machine.json'))).toBe(false);
    await writeFile(config, text);
  });

  test('is imported with its certificates and keys, without a change of its host', async () => {
    const before = await snapshotFiles(host, '/etc/docker', '/etc/systemd/system');
    const imported = await expectSuccess(user.slipway('import', 'old', '--keep'));
    expect(imported.stderr).toMatch(/Host key of .*seen for the first time.*SHA256:/);
    expect(await snapshotFiles(host, '/etc/docker', '/etc/systemd/system')).toEqual(before);
    expect(await countEngineStarts(host)).toBe(2);
    const oldFolder = join(oldStore, 'machines', 'old');
    const pairs = [
      ['ca.pem', store('tls', 'ca.pem')],
      ['cert.pem', store('tls', 'cert.pem')],
      ['server.pem', store('server', 'cert.pem')],
      ['server-key.pem', store('server', 'key.pem')],
      ['bed_key', store('ssh', 'bed_key')],
      ['../../certs/ca-key.pem', store('ca', 'ca-key.pem')],
    ] as const;
    for (const [from, to] of pairs)
      expect(await readFile(to, 'utf8'), to).toBe(await readFile(join(oldFolder, from), 'utf8'));
    const record = await readFile(store('machine.json'), 'utf8');
    expect(record).not.toMatch(/hunter2|\.docker\/machine/);
    expect((await expectSuccess(user.docker('--context', 'old', 'ps', '-q', '--no-trunc'))).stdout.trim()).toBe(
      containerId,
    );
  });

  test("is removed from Docker Machine's store by a second import, after one with --keep", async () => {
    await expectSuccess(user.slipway('import', '--all'));
    expect((await readdir(join(oldStore, 'machines'))).toSorted()).toEqual(['box', 'torn']);
    expect((await expectSuccess(user.slipway('ssh', 'old', 'hostname'))).stdout.trim()).not.toBe('');
  });

  test('is then provisioned with one restart and the same CA, and its container and engine variables stay', async () => {
    const ca = await readFile(store('tls', 'ca.pem'), 'utf8');
    const starts = await countEngineStarts(host);
    await expectSuccess(user.slipway('provision', 'old'));
    expect(await countEngineStarts(host)).toBe(starts + 1);
    expect(await readFile(store('tls', 'ca.pem'), 'utf8')).toBe(ca);
    expect((await expectSuccess(user.docker('--context', 'old', 'ps', '-q', '--no-trunc'))).stdout.trim()).toBe(
      containerId,
    );
    const environment = await host.runOrThrow(
      "tr '\\0' '\\n' </proc/$(systemctl show -p MainPID --value docker.service)/environ",
    );
    expect(environment).toContain('HTTPS_PROXY=http://me:hunter2@proxy.invalid:3128');
    const plan = await expectSuccess(user.slipway('provision', 'old', '--dry-run', '--json'));
    expect(JSON.parse(plan.stdout)).toMatchObject({ steps: [] });
  });
});

describeOnBed('a machine of Docker Machine whose certificates have expired', () => {
  test('is imported because SSH works, and is fixed by the command in the message', async () => {
    await using host = await startHost({ suite: 'bookworm', engine: true });
    await using user = await createUser();
    const oldStore = join(user.home, 'elsewhere');
    await provisionAsDockerMachine(host, 'old', oldStore);
    // Docker Machine's certificates expire after three years.
    const issuedAt = new Date(Date.now() - 4000 * 24 * 60 * 60 * 1000);
    const { ca, caKey, server, client } = await renewCertificates(
      {},
      { name: 'old', names: [host.address], now: issuedAt },
    );
    const files = { ca, cert: client.cert, key: client.key, server: server.cert, 'server-key': server.key };
    for (const [name, text] of Object.entries(files))
      await writeFile(join(oldStore, 'machines', 'old', `${name}.pem`), text);
    await writeFile(join(oldStore, 'certs', 'ca-key.pem'), caKey);
    for (const name of ['ca', 'server', 'server-key'])
      await host.copyIn(join(oldStore, 'machines', 'old', `${name}.pem`), `/etc/docker/${name}.pem`);
    await host.runOrThrow('systemctl restart docker.service');
    const imported = await expectSuccess(user.slipway('import', 'old', '--from', oldStore));
    expect(imported.stdout).toMatch(/certificates have expired; .*slipway provision old/);
    expect(await isPresent(join(oldStore, 'machines', 'old'))).toBe(false);
    await expectSuccess(user.slipway('provision', 'old'));
    await expectSuccess(user.docker('--context', 'old', 'version'));
  });
});

describeOnBed('a machine of the drop-in', () => {
  test('is imported with its keys, if its name is free', async () => {
    await using host = await startHost({ suite: 'trixie', engine: true });
    await using user = await createUser();
    const dockerMachine = (...argv: readonly string[]) =>
      user.run(process.execPath, [join(user.home, 'bin', 'docker-machine'), ...argv]);
    const flags = ['--generic-ip-address', host.address, '--generic-ssh-key', host.keyFile];
    await expectSuccess(dockerMachine('create', '--driver', 'generic', ...flags, 'web'));
    await expectSuccess(user.slipway('create', 'web', ...hostFlags(host), '--profile', 'ssh-config'));
    const refused = await user.slipway('import', 'web');
    expect([refused.code, refused.stderr]).toEqual([3, expect.stringContaining('Machine "web" already exists')]);
    await expectSuccess(user.slipway('rm', 'web'));
    await rm(join(user.home, '.slipway', 'machines'), { recursive: true, force: true });
    await expectSuccess(dockerMachine('provision', 'web'));
    const starts = await countEngineStarts(host);
    await expectSuccess(user.slipway('import', 'web'));
    expect(await countEngineStarts(host)).toBe(starts);
    expect((await expectSuccess(dockerMachine('ls', '-q'))).stdout.trim()).toBe('');
    await expectSuccess(user.docker('--context', 'web', 'version'));
    const plan = await expectSuccess(user.slipway('provision', 'web', '--dry-run', '--json'));
    expect(JSON.parse(plan.stdout)).toMatchObject({ steps: [] });
  });
});
