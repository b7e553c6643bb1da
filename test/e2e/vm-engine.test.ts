import { mkdir, writeFile } from 'node:fs/promises';
import { request } from 'node:https';
import { join } from 'node:path';
import { readFile } from 'node:fs/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { bedCache } from '../bed/bed-host.ts';
import { testEngine } from './engine-tests.ts';
import { loadToolsImage } from './tools-image.ts';
import { expectSuccess, type User } from './test-user.ts';
import {
  describeOnVm,
  runInVm,
  runInVmOrThrow,
  createVmUser,
  countVmEngineStarts,
  VM_TIMEOUT_SECONDS,
  listVms,
} from './vm-user.ts';

/**
 * An address of the guest that is not its loopback: the engine requires TLS of a registry there, unless configured
 * otherwise.
 */
const GUEST = '10.0.2.15';

describeOnVm('the engine of a local VM', { timeout: VM_TIMEOUT_SECONDS * 1000 }, () => {
  let user: User;
  const docker = (...argv: readonly string[]): Promise<string> =>
    expectSuccess(user.docker('--context', 'box', ...argv)).then(({ stdout }) => stdout.trim());

  beforeAll(async () => {
    user = await createVmUser();
    const registries = [
      '--engine-insecure-registry',
      `${GUEST}:5001`,
      '--engine-registry-mirror',
      `http://${GUEST}:5001`,
    ];
    await expectSuccess(user.slipway('create', 'box', ...registries));
    await loadToolsImage(user, 'box');
  }, VM_TIMEOUT_SECONDS * 1000);
  afterAll(async () => {
    await user[Symbol.asyncDispose]();
  });

  testEngine({
    user: () => user,
    context: 'box',
    fetchPublishedPage: () => runInVmOrThrow(user, 'box', 'curl -s http://localhost:8080/'),
  });

  test('keeps a stream of the REST API open in both directions when a client attaches', async () => {
    await docker(
      'run',
      '--detach',
      '--interactive',
      '--name',
      'echo',
      'tools',
      'sh',
      '-c',
      'while read -r line; do echo "got $line"; done',
    );
    const [vm] = await listVms(user);
    const tls = join(user.home, '.slipway', 'machines', 'box', 'tls');
    const [ca, cert, key] = await Promise.all(
      ['ca.pem', 'cert.pem', 'key.pem'].map((file) => readFile(join(tls, file))),
    );
    const output = await new Promise<string>((resolve, reject) => {
      const attachRequest = request({
        host: '127.0.0.1',
        port: vm?.ports.engine,
        method: 'POST',
        path: '/containers/echo/attach?stream=1&stdin=1&stdout=1',
        headers: { Connection: 'Upgrade', Upgrade: 'tcp' },
        ca,
        cert,
        key,
      });
      attachRequest.once('error', reject);
      attachRequest.once('upgrade', (_response, socket, head) => {
        let text = head.toString('utf8');
        socket.on('data', (bytes: Buffer) => {
          text += bytes.toString('utf8');
          if (text.includes('got two')) resolve(text);
          else if (text.includes('got one')) socket.write('two\n');
        });
        socket.write('one\n');
      });
      attachRequest.end();
    });
    expect(output).toMatch(/got one[\s\S]*got two/);
    await docker('rm', '--force', 'echo');
  });

  test('mounts a folder of the machine into a container', async () => {
    await runInVmOrThrow(user, 'box', 'mkdir -p ~/shared && echo of the machine >~/shared/file');
    const runWithVolume = ['run', '--rm', '--volume', '/home/slipway/shared:/data', 'tools'];
    expect(await docker(...runWithVolume, 'cat', '/data/file')).toBe('of the machine');
    await docker(...runWithVolume, 'sh', '-c', 'echo of the container >/data/other');
    expect(await runInVmOrThrow(user, 'box', 'cat ~/shared/other')).toBe('of the container');
  });

  test('pulls from registries: over HTTP on loopback, insecure, through a mirror, and with a private CA', async () => {
    await expectSuccess(user.slipway('scp', bedCache.registry, 'box:registry'));
    const formatRegistryConfig = (address: string, tls = ''): string =>
      `version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: /tmp/registry\nhttp:\n  addr: ${address}\n${tls}`;
    const startRegistry = async (name: string, text: string): Promise<void> => {
      await expectSuccess(
        runInVm(
          user,
          'box',
          `printf '%s' '${text}' >${name}.yml; setsid sh -c 'exec ./registry serve ${name}.yml >${name}.log 2>&1 </dev/null' & sleep 0.2`,
        ),
      );
    };
    await runInVmOrThrow(
      user,
      'box',
      [
        `openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 9 -subj /CN=registry -addext subjectAltName=IP:${GUEST} -keyout key.pem -out cert.pem 2>/dev/null`,
        `sudo mkdir -p /etc/docker/certs.d/${GUEST}:5002`,
        `sudo cp cert.pem /etc/docker/certs.d/${GUEST}:5002/ca.crt`,
      ].join(' && '),
    );
    await startRegistry('plain', formatRegistryConfig('127.0.0.1:5000'));
    await startRegistry('insecure', formatRegistryConfig(`${GUEST}:5001`));
    await startRegistry(
      'own',
      formatRegistryConfig(`${GUEST}:5002`, '  tls:\n    certificate: cert.pem\n    key: key.pem\n'),
    );
    await runInVmOrThrow(
      user,
      'box',
      `for port in 127.0.0.1:5000 ${GUEST}:5001; do for i in $(seq 60); do curl -sf http://$port/v2/ >/dev/null && break; sleep 1; done; done`,
    );

    for (const registry of ['localhost:5000', `${GUEST}:5001`, `${GUEST}:5002`]) {
      const image = `${registry}/library/pushed:${registry.replaceAll(/\W/g, '-')}`;
      await docker('tag', 'tools', image);
      await docker('push', '--quiet', image);
      await docker('image', 'rm', image);
      await docker('pull', '--quiet', image);
      expect(await docker('run', '--rm', image, 'echo', registry)).toBe(registry);
    }
    // Without a registry in its name the image would come from Docker Hub, which can't be reached here: the mirror has
    // it.
    await docker('tag', 'tools', `${GUEST}:5001/library/mirrored`);
    await docker('push', '--quiet', `${GUEST}:5001/library/mirrored`);
    await docker('pull', '--quiet', 'mirrored');
    expect(await docker('run', '--rm', 'mirrored', 'echo', 'through the mirror')).toBe('through the mirror');
    // A registry with an unknown certificate is refused.
    await runInVmOrThrow(user, 'box', `sudo rm -r /etc/docker/certs.d/${GUEST}:5002`);
    expect(
      (
        await user.docker(
          '--context',
          'box',
          'pull',
          `${GUEST}:5002/library/pushed:${`${GUEST}:5002`.replaceAll(/\W/g, '-')}`,
        )
      ).stderr,
    ).toMatch(/certificate/);
  });

  test('has a host with which scp copies files and folders in both directions', async () => {
    const folder = join(user.home, 'a folder');
    await mkdir(join(folder, 'deep'), { recursive: true });
    await writeFile(join(folder, 'deep', 'file'), 'there and back');
    await expectSuccess(user.slipway('scp', '-r', folder, 'box:'));
    expect(await runInVmOrThrow(user, 'box', 'cat "a folder/deep/file"')).toBe('there and back');
    await expectSuccess(user.slipway('scp', '-r', 'box:a folder', join(user.home, 'back')));
    expect(await readFile(join(user.home, 'back', 'deep', 'file'), 'utf8')).toBe('there and back');
  });

  test('is not restarted by an upgrade that finds no newer version', async () => {
    const { stdout } = await expectSuccess(user.slipway('upgrade', 'box'));
    expect(stdout).toMatch(/newest/);
    expect(await countVmEngineStarts(user, 'box')).toBe(1);
  });

  test('is restarted once for a changed option', async () => {
    await expectSuccess(user.slipway('provision', 'box', '--engine-label', 'zone=b'));
    expect(await docker('info', '--format', '{{json .Labels}}')).toBe('["zone=b"]');
    expect(await countVmEngineStarts(user, 'box')).toBe(2);
  });
});
