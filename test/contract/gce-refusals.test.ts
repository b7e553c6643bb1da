import { once } from 'node:events';
import { mkdir, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import type { CreateCall, Target } from '../../src/drivers/contract.ts';
import { driver as gce } from '../../src/drivers/gce/driver.ts';
import { gce as gceManifest } from '../../src/drivers/gce/manifest.ts';
import type { GceOptions } from '../../src/drivers/gce/options.ts';
import type { SlipwayError } from '../../src/errors.ts';
import type { CloudCall, Fault } from '../clouds/cloud.ts';
import { PROJECT } from '../clouds/compute-catalog.ts';
import { ACCESS_TOKEN } from '../clouds/gce-double.ts';
import { BOOT, startGceFixture, MACHINE_ID, createServiceAccount, type GceFixture } from '../clouds/gce-fixture.ts';
import { catchRejection } from '../fakes/catch-error.ts';

// The driver waits minutes for capacity in a zone. Here, each wait takes at most 50 ms.
vi.mock('../../src/drivers/cloud/retry.ts', async (original) => {
  const real = await original<typeof import('../../src/drivers/cloud/retry.ts')>();
  const sleepUnlessCanceled: typeof real.sleepUnlessCanceled = (ms, signal) =>
    real.sleepUnlessCanceled(Math.min(ms, 50), signal);
  return { ...real, sleepUnlessCanceled };
});

let fixture: GceFixture;
beforeEach(async () => {
  fixture = await startGceFixture();
});
afterEach(async () => {
  vi.unstubAllEnvs();
  await fixture[Symbol.asyncDispose]();
});

const KEY_FINGERPRINT = `SHA256:${'a'.repeat(43)}`;
const INSTANCE_NAME = 'web-3f9a2c41';

async function resolveTarget(target: Target<GceOptions>, call: CreateCall = fixture.call): Promise<Target<GceOptions>> {
  const options = await gce.cloud.resolveOptions(target, call);
  return { ...target, options: options ?? target.options };
}

async function createInstance(options: Partial<GceOptions> = {}): Promise<Target<GceOptions>> {
  const target = await resolveTarget(fixture.newTarget(options));
  await gce.machines.create(target, BOOT, fixture.call);
  return target;
}

const mutatingCalls = (): readonly string[] =>
  fixture.cloud.calls.filter(({ mutates }) => mutates).map(({ operation }) => operation);

/** Expects a one-line error that matches all of `messages`, with a hint, and that nothing was created. */
async function expectRefusal(
  work: Promise<unknown>,
  { code, messages, hint }: { readonly code: string; readonly messages: readonly RegExp[]; readonly hint: RegExp },
): Promise<SlipwayError> {
  const error = await catchRejection(work);
  expect(error).toMatchObject({ code });
  expect(error?.message).not.toContain('\n');
  for (const message of messages) expect(error?.message).toMatch(message);
  expect(error?.hint).toMatch(hint);
  expect(mutatingCalls()).toEqual([]);
  expect(fixture.cloud.listAlive()).toEqual([]);
  if (!error) throw new Error('the call was not refused');
  return error;
}

/** Injects the fault into the first `times` calls whose operation matches `pattern`. */
function injectFaults(pattern: RegExp, fault: Fault, times = 1): void {
  let remaining = times;
  fixture.cloud.onArrival = ({ operation }) => {
    if (!pattern.test(operation) || remaining === 0) return undefined;
    remaining -= 1;
    return fault;
  };
}

describe('before anything costs money', () => {
  test('refuses missing credentials without a request', async () => {
    await expectRefusal(resolveTarget(fixture.newTarget({ project: PROJECT }), fixture.callWith({})), {
      code: 'CREDENTIALS',
      messages: [/no Google credentials in your environment or in gcloud's folder/],
      hint: /gcloud auth application-default login.*GOOGLE_APPLICATION_CREDENTIALS/,
    });
    expect(fixture.cloud.calls).toEqual([]);
  });

  test('refuses missing credentials within seconds when the metadata server does not answer', async () => {
    await using silent = await startServer(() => {});
    const began = performance.now();
    const env = { METADATA_SERVER_DETECTION: '', GCE_METADATA_HOST: silent.host };
    await expectRefusal(resolveTarget(fixture.newTarget(), fixture.callWith(env)), {
      code: 'CREDENTIALS',
      messages: [/no Google credentials/],
      hint: /gcloud auth/,
    });
    expect(performance.now() - began).toBeLessThan(5000);
  });

  test('refuses a missing project, and says how to choose one', async () => {
    await expectRefusal(
      resolveTarget(fixture.newTarget(), fixture.callWith({ CLOUDSDK_AUTH_ACCESS_TOKEN: ACCESS_TOKEN })),
      {
        code: 'USAGE',
        messages: [/A Google Cloud project is required/],
        hint: /--gce-project/,
      },
    );
  });

  test('refuses a token that Google rejects', async () => {
    const env = { ...fixture.cloud.env, CLOUDSDK_AUTH_ACCESS_TOKEN: 'ya29.old' };
    await expectRefusal(resolveTarget(fixture.newTarget(), fixture.callWith(env)), {
      code: 'CREDENTIALS',
      messages: [/Google did not accept your credentials/, /Request had invalid authentication credentials/],
      hint: /Sign in/,
    });
  });

  test('refuses a project that the credentials do not allow', async () => {
    await expectRefusal(resolveTarget(fixture.newTarget({ project: 'someone-elses-9' })), {
      code: 'CREDENTIALS',
      messages: [
        /Your Google credentials do not allow this/,
        /Required 'compute\.\w+\.\w+' permission for 'projects\/someone-elses-9'/,
      ],
      hint: /docs\/clouds\.md/,
    });
  });

  test.each([
    ['zone', { zone: 'mars-north1-a' }, /The zone mars-north1-a does not exist/, /--gce-zone/],
    [
      'machine type',
      { machineType: 'e2-huge' },
      /The machine type e2-huge does not exist in us-central1-a/,
      /--gce-machine-type/,
    ],
    [
      'image family',
      { imageFamily: 'debian-99' },
      /The image debian-99 of debian-cloud does not exist/,
      /--gce-image-family/,
    ],
    [
      'image',
      { machineImage: 'global/images/none' },
      /The image none of debian-cloud does not exist/,
      /--gce-image-family/,
    ],
    [
      'subnetwork',
      { subnetwork: 'nowhere' },
      /The subnetwork nowhere does not exist in us-central1/,
      /--gce-subnetwork/,
    ],
  ] as const)('refuses a %s that does not exist', async (_, options, message, hint) => {
    await expectRefusal(resolveTarget(fixture.newTarget(options)), { code: 'USAGE', messages: [message], hint });
  });

  test.each([
    ['CPUs', { CPUS: { limit: 8, usage: 7 } }, {}, /1 of 8 CPUs left in us-central1 \(CPUS\).*needs 2/],
    [
      'CPUs of its family',
      { N2_CPUS: { limit: 8, usage: 7 } },
      { machineType: 'n2-standard-4' },
      /\(N2_CPUS\).*needs 4/,
    ],
    ['instances', { INSTANCES: { limit: 3, usage: 3 } }, {}, /0 of 3 instances left/],
    [
      'static addresses',
      { STATIC_ADDRESSES: { limit: 1, usage: 1 } },
      { address: 'static' },
      /0 of 1 static addresses left/,
    ],
  ] as const)('refuses an exhausted quota of %s', async (_, quotas, options, message) => {
    fixture.cloud.quotas = quotas;
    await expectRefusal(resolveTarget(fixture.newTarget(options)), {
      code: 'QUOTA',
      messages: [message],
      hint: /Request a higher quota/,
    });
  });

  test('refuses a batch when the quota is enough for one machine only', async () => {
    fixture.cloud.quotas = { CPUS: { limit: 8, usage: 4 } };
    await resolveTarget(fixture.newTarget());
    await expectRefusal(resolveTarget(fixture.newTarget({}, { batch: { id: MACHINE_ID, index: 0, size: 3 } })), {
      code: 'QUOTA',
      messages: [/4 of 8 CPUs left.*3 machines need 6/],
      hint: /Request a higher quota/,
    });
  });

  test('refuses an endpoint that would send the token unencrypted over the internet', async () => {
    await expectRefusal(resolveTarget(fixture.newTarget({ endpoint: 'http://198.51.100.9/compute/v1/' })), {
      code: 'USAGE',
      messages: [/would send your token unencrypted/],
      hint: /https:\/\//,
    });
  });

  test('refuses an existing instance that is missing or publishes no host key', async () => {
    const existing = { useExisting: true, project: PROJECT };
    await expectRefusal(resolveTarget(fixture.newTarget(existing)), {
      code: 'USAGE',
      messages: [/The instance web does not exist in us-central1-a of my-project-42/],
      hint: /--gce-use-existing/,
    });
    await expectRefusal(resolveTarget(fixture.newTarget({ ...existing, hostKey: KEY_FINGERPRINT })), {
      code: 'USAGE',
      messages: [/The instance web does not exist in us-central1-a of my-project-42/],
      hint: /--gce-use-existing/,
    });
    fixture.cloud.addInstance({ name: 'web', zone: 'us-central1-a' });
    const error = await catchRejection(resolveTarget(fixture.newTarget(existing)));
    expect(error).toMatchObject({ code: 'HOST_KEY', hint: expect.stringContaining('--gce-host-key') });
    expect(mutatingCalls()).toEqual([]);
  });
});

describe('credentials', () => {
  test("are read from a service account's file, with the project that it names", async () => {
    const { content, publicKey } = createServiceAccount(fixture.cloud);
    const file = join(fixture.folder, 'account.json');
    await writeFile(file, content);
    const call = fixture.callWith({ GOOGLE_APPLICATION_CREDENTIALS: file });
    const email = `ci@${PROJECT}.iam.gserviceaccount.com`;
    const rejection = await catchRejection(resolveTarget(fixture.newTarget(), call));
    expect(rejection?.message).toMatch(/Google did not accept your credentials/);
    fixture.cloud.serviceAccountKeys.set(email, publicKey);
    const { options } = await resolveTarget(fixture.newTarget(), call);
    expect(options.project).toBe(PROJECT);
  });

  test("are read from gcloud's folder, with the project from its settings", async () => {
    const { content, publicKey } = createServiceAccount(fixture.cloud);
    const folder = join(fixture.folder, '.config', 'gcloud');
    await mkdir(join(folder, 'configurations'), { recursive: true });
    const { project_id: _, ...bare } = JSON.parse(content) as Record<string, string>;
    await writeFile(join(folder, 'application_default_credentials.json'), JSON.stringify(bare));
    await writeFile(join(folder, 'active_config'), 'work\n');
    await writeFile(
      join(folder, 'configurations', 'config_work'),
      `[core]\naccount = me\nproject = ${PROJECT}\n[compute]\nregion = us-central1\nzone = europe-west3-b\n`,
    );
    fixture.cloud.serviceAccountKeys.set(bare.client_email ?? '', publicKey);
    expect(await gceManifest.checkHealth?.(fixture.callWith({}).computer)).toEqual({ usable: true });
    expect((await resolveTarget(fixture.newTarget(), fixture.callWith({}))).options.project).toBe(PROJECT);
  });

  test('are read from the metadata server of a Google machine', async () => {
    const answers: Readonly<Record<string, string>> = {
      '/computeMetadata/v1/instance': 'a machine',
      '/computeMetadata/v1/project/project-id': PROJECT,
      '/computeMetadata/v1/instance/service-accounts/default/token': JSON.stringify({
        access_token: ACCESS_TOKEN,
        expires_in: 3599,
      }),
    };
    await using server = await startServer((path, respond) => {
      const text = answers[path.split('?')[0] ?? ''];
      respond(text ?? 'none', text === undefined ? 404 : 200);
    });
    // Google's library reads this variable from the process environment.
    vi.stubEnv('GCE_METADATA_HOST', server.host);
    const call = fixture.callWith({ METADATA_SERVER_DETECTION: '', GCE_METADATA_HOST: server.host });
    expect((await resolveTarget(fixture.newTarget(), call)).options.project).toBe(PROJECT);
  });

  test.each([
    ['does not exist', undefined, /can't be read/],
    ['is not JSON', 'hello', /has no Google credentials/],
    ['has no credentials', '{}', /has no Google credentials/],
  ])('are refused from a file that %s', async (_, content, message) => {
    const file = join(fixture.folder, 'account.json');
    if (content !== undefined) await writeFile(file, content);
    const call = fixture.callWith({ GOOGLE_APPLICATION_CREDENTIALS: file, GOOGLE_CLOUD_PROJECT: PROJECT });
    await expectRefusal(resolveTarget(fixture.newTarget(), call), {
      code: 'CREDENTIALS',
      messages: [message],
      hint: /Sign in/,
    });
  });

  test('of another account are refused later, and nothing is removed', async () => {
    const target = await createInstance();
    const other = fixture.callWith({ ...fixture.cloud.env, CLOUDSDK_AUTH_ACCESS_TOKEN: 'ya29.of-another' });
    expect(await catchRejection(gce.machines.remove(target, other) ?? Promise.resolve())).toMatchObject({
      code: 'CREDENTIALS',
    });
    expect(fixture.cloud.instances).toHaveLength(1);
  });
});

describe('a temporary failure', () => {
  const refusal = (status: number, code: string, message: string): Fault => ({ kind: 'refuse', status, code, message });

  test.each([
    ['HTTP 429', refusal(429, 'rateLimitExceeded', 'Rate Limit Exceeded'), /received too many requests/],
    [
      'HTTP 403 for a rate limit',
      refusal(403, 'rateLimitExceeded', 'Quota exceeded for quota metric Queries'),
      /received too many requests/,
    ],
    ['HTTP 503', refusal(503, 'backendError', 'Backend Error'), /Compute Engine failed \(503\)/],
    [
      'another change in progress',
      refusal(400, 'resourceNotReady', 'The resource is not ready'),
      /another change to it/,
    ],
    ['a broken connection', { kind: 'drop request' }, /the connection broke/],
    ['a lost response', { kind: 'drop response' }, /the connection broke/],
  ] as const)('is retried and reported: %s', async (_, fault, note) => {
    injectFaults(/insert$/, fault, 2);
    const target = await createInstance();
    expect(fixture.notes.join('\n')).toMatch(note);
    expect(fixture.recordedRequests).toHaveLength(5);
    expect(fixture.cloud.instances).toHaveLength(1);
    expect(fixture.cloud.rules).toHaveLength(2);
    await gce.machines.remove(target, fixture.call);
    expect(fixture.cloud.listAlive()).toEqual([]);
  });

  test('such as a lost response leaves every change applied once', async () => {
    const seen = new Set<string>();
    fixture.cloud.onArrival = ({ operation, mutates }: CloudCall) => {
      if (!mutates || seen.has(operation)) return undefined;
      seen.add(operation);
      return { kind: 'drop response' };
    };
    const target = await createInstance({ address: 'static' });
    await waitUntilRunning(target);
    await gce.power?.stop(target, { seconds: 10 }, fixture.call);
    expect((await gce.machines.inspect(target, fixture.call)).state).toBe('stopped');
    await gce.power?.start(target, fixture.call);
    await waitUntilRunning(target);
    await gce.machines.remove(target, fixture.call);
    expect(fixture.cloud.listAlive()).toEqual([]);
    expect([...seen].toSorted()).toEqual(
      [
        'addresses.delete',
        'addresses.insert',
        'firewalls.delete',
        'firewalls.insert',
        'instances.delete',
        'instances.insert',
        'instances.start',
        'instances.stop',
      ].map((name) => `compute.${name}`),
    );
  });

  test('is not confused with a permanent error, which is not retried', async () => {
    injectFaults(/zones\.get/, refusal(400, 'invalid', 'Invalid value'), 100);
    const error = await catchRejection(resolveTarget(fixture.newTarget()));
    expect(error).toMatchObject({ code: 'PROVIDER_REFUSED', message: expect.stringContaining('Invalid value') });
    expect(fixture.cloud.calls.filter(({ operation }) => operation === 'compute.zones.get')).toHaveLength(1);
  });
});

describe('a failed insert operation', () => {
  const failInserts = (code: string, message: string, times: number): void => {
    let remaining = times;
    fixture.cloud.onOperation = ({ operation }) => {
      if (operation !== 'compute.instances.insert' || remaining === 0) return undefined;
      remaining -= 1;
      return { code, message };
    };
  };
  const NO_CAPACITY = [
    'ZONE_RESOURCE_POOL_EXHAUSTED',
    "The zone 'us-central1-a' does not have enough resources",
  ] as const;
  const countInserts = (): number =>
    mutatingCalls().filter((operation) => operation === 'compute.instances.insert').length;

  test('is retried a few times for lack of capacity, then reported', async () => {
    failInserts(...NO_CAPACITY, 100);
    const target = await resolveTarget(fixture.newTarget());
    const error = await catchRejection(gce.machines.create(target, BOOT, fixture.call) ?? Promise.resolve());
    expect(error).toMatchObject({
      code: 'CAPACITY',
      message: expect.stringMatching(
        /no capacity for this instance in us-central1-a.*ZONE_RESOURCE_POOL_EXHAUSTED.*enough resources/,
      ),
      hint: expect.stringMatching(/run the same command with another --gce-zone/),
    });
    expect(countInserts()).toBeGreaterThan(2);
    expect(countInserts()).toBeLessThan(10);
    expect(fixture.notes.join('\n')).toMatch(/no capacity in us-central1-a/);
    await gce.machines.remove(target, fixture.call);
    expect(fixture.cloud.listAlive()).toEqual([]);
  });

  test('succeeds on retry when capacity returns', async () => {
    failInserts(...NO_CAPACITY, 2);
    await createInstance();
    expect(fixture.cloud.instances).toHaveLength(1);
    // Recorded before each request: removal after a killed create depends on the time of the last one.
    expect(fixture.recordedRequests.filter((what) => what === 'instance')).toHaveLength(3);
  });

  test('for a quota is reported at once, and does not fail a later create', async () => {
    failInserts('QUOTA_EXCEEDED', "Quota 'DISKS_TOTAL_GB' exceeded.  Limit: 2048.0 in region us-central1.", 1);
    const target = await resolveTarget(fixture.newTarget());
    const error = await catchRejection(gce.machines.create(target, BOOT, fixture.call) ?? Promise.resolve());
    expect(error).toMatchObject({ code: 'QUOTA', message: expect.stringMatching(/QUOTA_EXCEEDED.*DISKS_TOTAL_GB/) });
    expect(countInserts()).toBe(1);
    await gce.machines.create(target, BOOT, fixture.call);
    expect(fixture.cloud.instances).toHaveLength(1);
  });

  test("for any other reason is reported in Google's words", async () => {
    failInserts('INVALID_USAGE', 'No.', 1);
    expect(await catchRejection(createInstance())).toMatchObject({
      code: 'PROVIDER_REFUSED',
      message: expect.stringContaining('INVALID_USAGE, No.'),
    });
  });

  test('for a quota is reported when the request itself is refused', async () => {
    const target = await resolveTarget(fixture.newTarget());
    fixture.cloud.quotas = { CPUS: { limit: 4, usage: 4 } };
    expect(await catchRejection(gce.machines.create(target, BOOT, fixture.call) ?? Promise.resolve())).toMatchObject({
      code: 'QUOTA',
      message: expect.stringMatching(/Quota 'CPUS' exceeded/),
    });
  });
});

describe('a resource that Slipway did not create', () => {
  test("such as an instance with the machine's name is neither used nor removed", async () => {
    fixture.cloud.addInstance({ name: INSTANCE_NAME, zone: 'us-central1-a', labels: { of: 'else' } });
    const target = await resolveTarget(fixture.newTarget());
    const error = await catchRejection(gce.machines.create(target, BOOT, fixture.call) ?? Promise.resolve());
    expect(error).toMatchObject({
      code: 'PROVIDER_REFUSED',
      message: expect.stringContaining(`The instance ${INSTANCE_NAME} exists, and Slipway did not create it`),
    });
    await gce.machines.remove(target, fixture.call);
    expect(fixture.cloud.listAlive().map(({ kind, id }) => [kind, id])).toEqual([['instance', INSTANCE_NAME]]);
  });

  test("such as a firewall rule with the machine's name is not used", async () => {
    fixture.cloud.addRule(`slipway-${MACHINE_ID}`);
    const error = await catchRejection(createInstance());
    expect(error).toMatchObject({
      code: 'PROVIDER_REFUSED',
      message: expect.stringContaining('exists, and Slipway did not create it'),
    });
    expect(fixture.cloud.instances).toHaveLength(0);
  });
});

describe('an existing instance', () => {
  test('gets a key and a tag, and loses them when the machine is removed', async () => {
    const instance = fixture.cloud.addInstance({
      name: 'web',
      zone: 'us-central1-a',
      keys: 'me:ssh-ed25519 THEIRS me@home',
    });
    const target = await createInstance({ useExisting: true, hostKey: KEY_FINGERPRINT });
    const keys = (): string | undefined => instance.metadata.find(({ key }) => key === 'ssh-keys')?.value;
    expect(keys()).toBe(`me:ssh-ed25519 THEIRS me@home\nslipway:ssh-ed25519 AAAAlogin slipway ${MACHINE_ID}`);
    expect(instance.tags).toEqual(['theirs', `slipway-${MACHINE_ID}`]);
    expect(fixture.cloud.rules.map(({ network }) => network)).toEqual(['default']);
    await gce.machines.create(target, BOOT, fixture.call);
    expect(keys()?.split('\n')).toHaveLength(2);
    await gce.machines.remove(target, fixture.call);
    expect(keys()).toBe('me:ssh-ed25519 THEIRS me@home');
    expect(instance.metadata.find(({ key }) => key === 'owner')?.value).toBe('else');
    expect(instance.tags).toEqual(['theirs']);
    expect(fixture.cloud.listAlive().map(({ kind, id }) => [kind, id])).toEqual([['instance', 'web']]);
  });

  test('keeps the key of the remaining store when two stores used it under one name', async () => {
    const instance = fixture.cloud.addInstance({
      name: 'web',
      zone: 'us-central1-a',
      keys: 'me:ssh-rsa THEIRS slipway web',
    });
    const mine = await createInstance({ useExisting: true, hostKey: KEY_FINGERPRINT });
    const theirs = { ...mine, id: '9f9a2c41-1d05-4e00-8000-00000000abcd' };
    await gce.machines.create(theirs, { ...BOOT, authorizedKey: 'ssh-ed25519 AAAAother slipway web' }, fixture.call);
    await gce.machines.remove(mine, fixture.call);
    expect(instance.metadata.find(({ key }) => key === 'ssh-keys')?.value.split('\n')).toEqual([
      'me:ssh-rsa THEIRS slipway web',
      `slipway:ssh-ed25519 AAAAother slipway ${theirs.id}`,
    ]);
    expect(instance.tags).toEqual(['theirs', `slipway-${theirs.id}`]);
  });

  test('gets its firewall rule in its own network, even when its host key is given', async () => {
    const instance = fixture.cloud.addInstance({ name: 'web', zone: 'us-central1-a' });
    instance.properties = { ...instance.properties, networkInterfaces: [{ network: 'global/networks/vpc-1' }] };
    await createInstance({ useExisting: true, project: PROJECT, hostKey: KEY_FINGERPRINT });
    expect(fixture.cloud.rules.map(({ network }) => network)).toEqual(['vpc-1']);
  });

  test("keeps a tag that its owner adds between Slipway's read and write", async () => {
    const instance = fixture.cloud.addInstance({ name: 'web', zone: 'us-central1-a' });
    let isTagAdded = false;
    fixture.cloud.onArrival = ({ operation }) => {
      if (operation === 'compute.instances.setTags' && !isTagAdded) {
        isTagAdded = true;
        instance.tags = [...instance.tags, 'new'];
      }
      return undefined;
    };
    await createInstance({ useExisting: true, hostKey: KEY_FINGERPRINT });
    expect(instance.tags).toEqual(['theirs', 'new', `slipway-${MACHINE_ID}`]);
  });

  test('must present the host key that it publishes', async () => {
    const instance = fixture.cloud.addInstance({ name: 'web', zone: 'us-central1-a' });
    instance.guestAttributes = [
      { namespace: 'hostkeys', key: 'ssh-rsa', value: 'AAAArsa' },
      { namespace: 'hostkeys', key: 'ssh-ed25519', value: 'AAAAed' },
    ];
    expect((await resolveTarget(fixture.newTarget({ useExisting: true }))).options.hostKey).toBe('ssh-ed25519 AAAAed');
  });
});

describe('an emulator', () => {
  test.each([
    ["operations can't be waited for", { waits: false }],
    ['operations finish at once, and it lists more resources with fewer details', { hasty: true }],
  ])('works when %s', async (_, behavior) => {
    Object.assign(fixture.cloud, behavior);
    fixture.cloud.addDisk('theirs', 'us-central1-a', {});
    const target = await createInstance({ address: 'static', openPort: ['8080'] });
    await waitUntilRunning(target);
    await gce.power?.stop(target, { seconds: 10 }, fixture.call);
    await gce.power?.start(target, fixture.call);
    await waitUntilRunning(target);
    await gce.machines.remove(target, fixture.call);
    expect(fixture.cloud.listAlive().map(({ id }) => id)).toEqual(['theirs']);
  });

  test('is reached behind a custom path', async () => {
    const seen: string[] = [];
    await using proxy = await startServer((path, respond) => {
      seen.push(path);
      respond('{"error":{"code":400,"message":"seen"}}', 400);
    });
    expect(
      await catchRejection(resolveTarget(fixture.newTarget({ endpoint: `http://${proxy.host}/behind/compute/v1/` }))),
    ).toBeDefined();
    expect(seen[0]).toMatch(/^\/behind\/compute\/v1\/projects\/my-project-42\//);
  });

  test('that answers with an HTML page is reported in one line', async () => {
    await using proxy = await startServer((_, respond) => respond('<html>\nno such thing', 418));
    const error = await catchRejection(resolveTarget(fixture.newTarget({ endpoint: `http://${proxy.host}/` })));
    expect(error).toMatchObject({
      code: 'PROVIDER_REFUSED',
      message: expect.stringMatching(/Compute Engine refused \(.*\): HTTP 418$/),
    });
  });
});

test('start waits until a machine that is stopping has stopped', async () => {
  const target = await createInstance();
  await waitUntilRunning(target);
  const [stopped] = await Promise.all([
    gce.power?.stop(target, { seconds: 10 }, fixture.call),
    expect
      .poll(() => fixture.cloud.instances[0]?.status)
      .toBe('STOPPING')
      .catch(() => undefined),
  ]);
  expect(stopped).toBeUndefined();
  await gce.power?.start(target, fixture.call);
  await waitUntilRunning(target);
});

test('create after a killed bulk call waits for the instances of that call and creates no second one', async () => {
  const { cloud, call } = fixture;
  const options = (await resolveTarget(fixture.newTarget())).options;
  const targets = [0, 1].map((index) =>
    fixture.newTarget(options, { id: `own-${index}`, name: `web-${index}`, batch: { id: MACHINE_ID, index, size: 2 } }),
  );
  Object.assign(cloud, { bootTime: 400, lateness: 1500 });
  const bulk = gce.cloud.createMany(targets, BOOT, call);
  await expect.poll(() => mutatingCalls(), { timeout: 20_000 }).toContain('compute.instances.bulkInsert');
  const [first] = targets;
  if (!first) throw new Error('there is no target');
  const lastRequest = { what: 'instances', at: new Date().toISOString() };
  await gce.machines.create({ ...first, lastRequest }, BOOT, call);
  await bulk;
  expect(cloud.instances.map(({ name }) => name)).toEqual(['web-0-0-3f9a2c41', 'web-1-1-3f9a2c41']);
  expect(fixture.notes.join('\n')).toMatch(/late to show the requested instances/);
  // A request from long ago never reached the cloud, so create does not wait for it.
  await gce.machines.remove(first, call);
  await gce.machines.create({ ...first, lastRequest: { ...lastRequest, at: '2026-01-01T00:00:00Z' } }, BOOT, call);
  expect(cloud.instances).toHaveLength(2);
});

test('allowCallerIp admits the current address of the caller, and no longer an earlier one', async () => {
  const target = await createInstance();
  const rule = fixture.cloud.rules.find(({ name }) => name === `slipway-${MACHINE_ID}`);
  if (!rule) throw new Error('the rule is missing');
  expect(rule.sourceRanges).toEqual(['127.0.0.1/32']);
  rule.sourceRanges = ['198.51.100.1/32'];
  await gce.cloud.allowCallerIp(target, fixture.call);
  expect(rule.sourceRanges).toEqual(['127.0.0.1/32']);
  const before = mutatingCalls().length;
  await gce.cloud.allowCallerIp(target, fixture.call);
  expect(mutatingCalls()).toHaveLength(before);
});

test('leftover resources are listed with their cost, in all zones and across pages, and deleted', async () => {
  const { cloud, call } = fixture;
  const target = await createInstance({ address: 'static', openPort: ['8080'] });
  const second = {
    ...(await resolveTarget(fixture.newTarget({ zone: 'europe-west3-a' }))),
    id: '9f9a2c41-1d05-4e00-8000-00000000abcd',
  };
  await gce.machines.create(second, BOOT, call);
  const labels = { ...cloud.instances[0]?.labels };
  cloud.addDisk('left-behind', 'us-central1-b', labels);
  cloud.addInstance({ name: 'else', zone: 'us-central1-a' });
  const found = (await gce.cloud.listResources({ options: target.options, home: labels['slipway-home'] }, call)) ?? [];
  expect(found.map(({ kind, place }) => `${kind} ${place}`).toSorted()).toEqual([
    'address us-central1',
    'disk us-central1-b',
    'firewall global',
    'firewall global',
    'firewall global',
    'firewall global',
    'firewall global',
    'instance europe-west3-a',
    'instance us-central1-a',
  ]);
  // An e2-medium, its external address, and 20 GB of pd-balanced.
  expect(found.find(({ kind }) => kind === 'instance')?.monthly).toBeCloseTo(0.03351 * 730 + 3.65 + 2, 1);
  expect(await gce.cloud.listResources({ options: target.options, home: 'another-home' }, call)).toEqual([]);
  expect(await gce.cloud.listResources({ options: target.options, home: undefined }, call)).toHaveLength(found.length);
  await gce.cloud.deleteResources(found, target.options, call);
  expect(cloud.listAlive().map(({ id }) => id)).toEqual(['else']);
});

async function waitUntilRunning(target: Target<GceOptions>): Promise<void> {
  await expect.poll(async () => (await gce.machines.inspect(target, fixture.call)).state).toBe('running');
}

type Respond = (text: string, status?: number) => void;

/** Starts a server that can stand for a metadata server or a proxy: `handle` answers each path. */
async function startServer(
  handle: (path: string, respond: Respond) => void,
): Promise<AsyncDisposable & { readonly host: string }> {
  const server: Server = createServer((request, response) => {
    handle(request.url ?? '', (text, status = 200) => {
      response.writeHead(status, { 'metadata-flavor': 'Google' }).end(text);
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    host: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      server.close();
    },
  };
}
