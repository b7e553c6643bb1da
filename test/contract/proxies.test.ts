import { createHash } from 'node:crypto';
import { afterEach, expect, test, vi } from 'vitest';
import { driver as ec2 } from '../../src/drivers/ec2/driver.ts';
import { driver as gce } from '../../src/drivers/gce/driver.ts';
import { download } from '../../src/images/download.ts';
import { noGuests } from '../clouds/guests.ts';
import { startEc2 } from '../clouds/ec2-double.ts';
import { newTarget, parseEc2Options, recordingCall, stubUserEnvironment } from '../clouds/ec2-fixture.ts';
import { startGceFixture } from '../clouds/gce-fixture.ts';
import { API_PATH } from '../clouds/compute-catalog.ts';
import { startFileServer } from '../fakes/file-server.ts';
import { startProxyServer } from '../fakes/proxy-server.ts';
import { createTemporaryFolder } from '../fakes/temporary-folder.ts';

afterEach(() => vi.unstubAllEnvs());

const portOf = (url: string): number => Number(new URL(url).port);
/** A name that only the proxy can resolve. */
const HOST = 'cloud.example.invalid';

test('EC2 is reached through the proxy of the environment, unless NO_PROXY names its endpoint', async () => {
  await using folder = await createTemporaryFolder();
  await using cloud = await startEc2({ guests: noGuests(), bootTime: 0 });
  await using proxy = await startProxyServer(portOf(cloud.url));
  stubUserEnvironment(cloud, folder.path, {
    HTTP_PROXY: proxy.url,
    HTTPS_PROXY: proxy.url,
    AWS_ENDPOINT_URL_EC2: `http://${HOST}:80`,
  });
  const target = newTarget(parseEc2Options(['--ec2-retries', '-1']));
  expect(await ec2.cloud.resolveOptions(target, recordingCall(folder.path))).toMatchObject({ region: 'eu-central-1' });
  expect([...new Set(proxy.targets)]).toEqual([`${HOST}:80`]);
  vi.stubEnv('NO_PROXY', HOST);
  await expect(ec2.cloud.resolveOptions(target, recordingCall(folder.path))).rejects.toThrow(HOST);
});

test('Compute Engine is reached through the proxy of the environment', async () => {
  await using fixture = await startGceFixture();
  await using proxy = await startProxyServer(portOf(fixture.cloud.url));
  const call = fixture.callWith({ ...fixture.cloud.env, HTTP_PROXY: proxy.url });
  const target = fixture.newTarget({ endpoint: `http://10.99.0.1${API_PATH}` });
  expect(await gce.cloud.resolveOptions(target, call)).toMatchObject({ zone: expect.any(String) });
  expect([...new Set(proxy.targets)]).toEqual(['10.99.0.1:80']);
});

test('an image is downloaded through the proxy of the environment', async () => {
  await using folder = await createTemporaryFolder();
  const content = Buffer.alloc(300_000, 'slipway');
  await using server = await startFileServer(content, {});
  await using proxy = await startProxyServer(portOf(server.url));
  const digest = `sha256:${createHash('sha256').update(content).digest('hex')}`;
  const call = { digest, folder: folder.path, log: () => {}, signal: new AbortController().signal };
  await download(`http://${HOST}/image.qcow2`, { ...call, env: { http_proxy: proxy.url } });
  expect(proxy.targets).toEqual([`${HOST}:80`]);
});
