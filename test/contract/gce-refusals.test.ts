import { once } from 'node:events';
import { mkdir, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import type { CreateCall, Target } from '../../src/drivers/contract.ts';
import { driver as gce } from '../../src/drivers/gce/driver.ts';
import type { GceOptions } from '../../src/drivers/gce/options.ts';
import type { SlipwayError } from '../../src/errors.ts';
import type { CloudCall, Fault } from '../clouds/cloud.ts';
import { PROJECT } from '../clouds/compute-catalog.ts';
import { ACCESS_TOKEN } from '../clouds/gce-double.ts';
import { BOOT, startGceFixture, MACHINE_ID, createServiceAccount, type GceFixture } from '../clouds/gce-fixture.ts';
import { catchRejection } from '../fakes/catch-error.ts';

// What waits for room in a zone waits minutes; here it does so in a hurry.
vi.mock('../../src/drivers/cloud/retry.ts', async (original) => {
  const real = await original<typeof import('../../src/drivers/cloud/retry.ts')>();
  const sleepUnlessCanceled: typeof real.sleepUnlessCanceled = (ms, signal) =>
    real.sleepUnlessCanceled(Math.min(ms, 50), signal);
  return { ...real, sleepUnlessCanceled };
});

let bench: GceFixture;
beforeEach(async () => {
  bench = await startGceFixture();
});
afterEach(async () => {
  vi.unstubAllEnvs();
  await bench[Symbol.asyncDispose]();
});

const KEY_FINGERPRINT = `SHA256:${'a'.repeat(43)}`;
const INSTANCE_NAME = 'web-3f9a2c41';

async function resolveTarget(target: Target<GceOptions>, call: CreateCall = bench.call): Promise<Target<GceOptions>> {
  const settled = await gce.cloud.resolveOptions(target, call);
  return { ...target, options: settled ?? target.options };
}

async function createInstance(given: Partial<GceOptions> = {}): Promise<Target<GceOptions>> {
  const target = await resolveTarget(bench.newTarget(given));
  await gce.machines.create(target, BOOT, bench.call);
  return target;
}

const mutatingCalls = (): readonly string[] =>
  bench.cloud.calls.filter(({ mutates }) => mutates).map(({ operation }) => operation);

/** One sentence of ours with what must be in it, and what to type next; nothing was made. */
async function expectRefusal(
  work: Promise<unknown>,
  { code, says, hint }: { readonly code: string; readonly says: readonly RegExp[]; readonly hint: RegExp },
): Promise<SlipwayError> {
  const error = await catchRejection(work);
  expect(error).toMatchObject({ code });
  expect(error?.message).not.toContain('\n');
  for (const words of says) expect(error?.message).toMatch(words);
  expect(error?.hint).toMatch(hint);
  expect(mutatingCalls()).toEqual([]);
  expect(bench.cloud.listAlive()).toEqual([]);
  if (!error) throw new Error('it was not refused');
  return error;
}

/** The first so many calls that `which` names meet this. */
function injectFaults(which: RegExp, fault: Fault, times = 1): void {
  let left = times;
  bench.cloud.onArrival = ({ operation }) => {
    if (!which.test(operation) || left === 0) return undefined;
    left -= 1;
    return fault;
  };
}

describe('before anything costs money', () => {
  test('no credentials are told at once, and nobody is asked', async () => {
    await expectRefusal(resolveTarget(bench.newTarget({ project: PROJECT }), bench.callWith({})), {
      code: 'CREDENTIALS',
      says: [/no Google credentials in your environment or in gcloud's folder/],
      hint: /gcloud auth application-default login.*GOOGLE_APPLICATION_CREDENTIALS/,
    });
    expect(bench.cloud.calls).toEqual([]);
  });

  test("no credentials are told within seconds where a metadata server's address leads nowhere", async () => {
    await using silent = await startServer(() => {});
    const began = performance.now();
    const env = { METADATA_SERVER_DETECTION: '', GCE_METADATA_HOST: silent.host };
    await expectRefusal(resolveTarget(bench.newTarget(), bench.callWith(env)), {
      code: 'CREDENTIALS',
      says: [/no Google credentials/],
      hint: /gcloud auth/,
    });
    expect(performance.now() - began).toBeLessThan(5000);
  });

  test('no project is told, and how to choose one', async () => {
    await expectRefusal(
      resolveTarget(bench.newTarget(), bench.callWith({ CLOUDSDK_AUTH_ACCESS_TOKEN: ACCESS_TOKEN })),
      {
        code: 'USAGE',
        says: [/A Google Cloud project is required/],
        hint: /--gce-project/,
      },
    );
  });

  test('a token that Google does not take', async () => {
    const env = { ...bench.cloud.env, CLOUDSDK_AUTH_ACCESS_TOKEN: 'ya29.old' };
    await expectRefusal(resolveTarget(bench.newTarget(), bench.callWith(env)), {
      code: 'CREDENTIALS',
      says: [/Google did not accept your credentials/, /Request had invalid authentication credentials/],
      hint: /Sign in/,
    });
  });

  test('a project of somebody else', async () => {
    await expectRefusal(resolveTarget(bench.newTarget({ project: 'someone-elses-9' })), {
      code: 'CREDENTIALS',
      says: [
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
  ] as const)('a %s that is none', async (_, given, says, hint) => {
    await expectRefusal(resolveTarget(bench.newTarget(given)), { code: 'USAGE', says: [says], hint });
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
  ] as const)('a quota of %s that is used up', async (_, quotas, given, says) => {
    bench.cloud.quotas = quotas;
    await expectRefusal(resolveTarget(bench.newTarget(given)), {
      code: 'QUOTA',
      says: [says],
      hint: /Request a higher quota/,
    });
  });

  test('a quota that is enough for one and not for all that one call makes', async () => {
    bench.cloud.quotas = { CPUS: { limit: 8, usage: 4 } };
    await resolveTarget(bench.newTarget());
    await expectRefusal(resolveTarget(bench.newTarget({}, { batch: { id: MACHINE_ID, index: 0, size: 3 } })), {
      code: 'QUOTA',
      says: [/4 of 8 CPUs left.*3 machines need 6/],
      hint: /Request a higher quota/,
    });
  });

  test('an endpoint that would carry the token over the internet in the clear', async () => {
    await expectRefusal(resolveTarget(bench.newTarget({ endpoint: 'http://198.51.100.9/compute/v1/' })), {
      code: 'USAGE',
      says: [/would send your token unencrypted/],
      hint: /https:\/\//,
    });
  });

  test('an instance that is to be used and is not there, or publishes no host key', async () => {
    const existing = { useExisting: true, project: PROJECT };
    await expectRefusal(resolveTarget(bench.newTarget(existing)), {
      code: 'USAGE',
      says: [/The instance web does not exist in us-central1-a of my-project-42/],
      hint: /--gce-use-existing/,
    });
    await expectRefusal(resolveTarget(bench.newTarget({ ...existing, hostKey: KEY_FINGERPRINT })), {
      code: 'USAGE',
      says: [/The instance web does not exist in us-central1-a of my-project-42/],
      hint: /--gce-use-existing/,
    });
    bench.cloud.addInstance({ name: 'web', zone: 'us-central1-a' });
    const error = await catchRejection(resolveTarget(bench.newTarget(existing)));
    expect(error).toMatchObject({ code: 'HOST_KEY', hint: expect.stringContaining('--gce-host-key') });
    expect(mutatingCalls()).toEqual([]);
  });
});

describe('credentials come', () => {
  test("from a service account's file, by which the SDK signs", async () => {
    const { content, publicKey } = createServiceAccount(bench.cloud);
    const file = join(bench.folder, 'account.json');
    await writeFile(file, content);
    const call = bench.callWith({ GOOGLE_APPLICATION_CREDENTIALS: file });
    const email = `ci@${PROJECT}.iam.gserviceaccount.com`;
    const stranger = await catchRejection(resolveTarget(bench.newTarget(), call));
    expect(stranger?.message).toMatch(/Google did not accept your credentials/);
    bench.cloud.serviceAccountKeys.set(email, publicKey);
    const { options } = await resolveTarget(bench.newTarget(), call);
    // The file names it.
    expect(options.project).toBe(PROJECT);
  });

  test("from gcloud's folder, with the project of its settings", async () => {
    const { content, publicKey } = createServiceAccount(bench.cloud);
    const folder = join(bench.folder, '.config', 'gcloud');
    await mkdir(join(folder, 'configurations'), { recursive: true });
    const { project_id: _, ...bare } = JSON.parse(content) as Record<string, string>;
    await writeFile(join(folder, 'application_default_credentials.json'), JSON.stringify(bare));
    await writeFile(join(folder, 'active_config'), 'work\n');
    await writeFile(
      join(folder, 'configurations', 'config_work'),
      `[core]\naccount = me\nproject = ${PROJECT}\n[compute]\nzone = x\n`,
    );
    bench.cloud.serviceAccountKeys.set(bare.client_email ?? '', publicKey);
    expect(await gce.health(bench.callWith({}).computer)).toEqual({ usable: true });
    expect((await resolveTarget(bench.newTarget(), bench.callWith({}))).options.project).toBe(PROJECT);
  });

  test("from the metadata server of a machine of Google's", async () => {
    const answers: Readonly<Record<string, string>> = {
      '/computeMetadata/v1/instance': 'a machine',
      '/computeMetadata/v1/project/project-id': PROJECT,
      '/computeMetadata/v1/instance/service-accounts/default/token': JSON.stringify({
        access_token: ACCESS_TOKEN,
        expires_in: 3599,
      }),
    };
    await using server = await startServer((path, answer) => {
      const text = answers[path.split('?')[0] ?? ''];
      answer(text ?? 'none', text === undefined ? 404 : 200);
    });
    // Google's library reads it from the process.
    vi.stubEnv('GCE_METADATA_HOST', server.host);
    const call = bench.callWith({ METADATA_SERVER_DETECTION: '', GCE_METADATA_HOST: server.host });
    expect((await resolveTarget(bench.newTarget(), call)).options.project).toBe(PROJECT);
  });

  test.each([
    ['is not there', undefined, /can't be read/],
    ['is no JSON', 'hello', /has no Google credentials/],
    ['is of something else', '{}', /has no Google credentials/],
  ])('not from a file that %s', async (_, content, says) => {
    const file = join(bench.folder, 'account.json');
    if (content !== undefined) await writeFile(file, content);
    const call = bench.callWith({ GOOGLE_APPLICATION_CREDENTIALS: file, GOOGLE_CLOUD_PROJECT: PROJECT });
    await expectRefusal(resolveTarget(bench.newTarget(), call), { code: 'CREDENTIALS', says: [says], hint: /Sign in/ });
  });

  test('and go: who signs in as somebody else later is told so, and nothing is lost', async () => {
    const target = await createInstance();
    const other = bench.callWith({ ...bench.cloud.env, CLOUDSDK_AUTH_ACCESS_TOKEN: 'ya29.of-another' });
    expect(await catchRejection(gce.machines.remove(target, other) ?? Promise.resolve())).toMatchObject({
      code: 'CREDENTIALS',
    });
    expect(bench.cloud.instances).toHaveLength(1);
  });
});

describe('what passes by itself is tried again, and told', () => {
  const refuse = (status: number, code: string, message: string): Fault => ({ kind: 'refuse', status, code, message });

  test.each([
    ['429', refuse(429, 'rateLimitExceeded', 'Rate Limit Exceeded'), /received too many requests/],
    [
      '403 for the rate',
      refuse(403, 'rateLimitExceeded', 'Quota exceeded for quota metric Queries'),
      /received too many requests/,
    ],
    ['503', refuse(503, 'backendError', 'Backend Error'), /Compute Engine failed \(503\)/],
    [
      'a change that still goes on',
      refuse(400, 'resourceNotReady', 'The resource is not ready'),
      /another change to it/,
    ],
    ['a connection that breaks', { kind: 'drop' }, /the connection broke/],
    ['an answer that is lost', { kind: 'lose' }, /the connection broke/],
  ] as const)('%s', async (_, fault, told) => {
    injectFaults(/insert$/, fault, 2);
    const target = await createInstance();
    expect(bench.notes.join('\n')).toMatch(told);
    expect(bench.recordedRequests).toHaveLength(5);
    expect(bench.cloud.instances).toHaveLength(1);
    expect(bench.cloud.rules).toHaveLength(2);
    await gce.machines.remove(target, bench.call);
    expect(bench.cloud.listAlive()).toEqual([]);
  });

  test('a lost answer to any change leaves the machine as it was asked to be', async () => {
    const seen = new Set<string>();
    bench.cloud.onArrival = ({ operation, mutates }: CloudCall) => {
      if (!mutates || seen.has(operation)) return undefined;
      seen.add(operation);
      return { kind: 'lose' };
    };
    const target = await createInstance({ address: 'static' });
    await waitUntilRunning(target);
    await gce.power?.stop(target, { seconds: 10 }, bench.call);
    expect((await gce.machines.inspect(target, bench.call)).state).toBe('stopped');
    await gce.power?.start(target, bench.call);
    await waitUntilRunning(target);
    await gce.machines.remove(target, bench.call);
    expect(bench.cloud.listAlive()).toEqual([]);
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

  test('but not for ever, and not what will not change', async () => {
    injectFaults(/zones\.get/, refuse(400, 'invalid', 'Invalid value'), 100);
    const error = await catchRejection(resolveTarget(bench.newTarget()));
    expect(error).toMatchObject({ code: 'PROVIDER_REFUSED', message: expect.stringContaining('Invalid value') });
    expect(bench.cloud.calls.filter(({ operation }) => operation === 'compute.zones.get')).toHaveLength(1);
  });
});

describe('an operation that fails', () => {
  const onInsert = (code: string, message: string, times: number): void => {
    let left = times;
    bench.cloud.onOperation = ({ operation }) => {
      if (operation !== 'compute.instances.insert' || left === 0) return undefined;
      left -= 1;
      return { code, message };
    };
  };
  const NO_ROOM = ['ZONE_RESOURCE_POOL_EXHAUSTED', "The zone 'us-central1-a' does not have enough resources"] as const;
  const inserts = (): number => mutatingCalls().filter((operation) => operation === 'compute.instances.insert').length;

  test('for want of room is tried a few times, told, and named', async () => {
    onInsert(...NO_ROOM, 100);
    const target = await resolveTarget(bench.newTarget());
    const error = await catchRejection(gce.machines.create(target, BOOT, bench.call) ?? Promise.resolve());
    expect(error).toMatchObject({
      code: 'CAPACITY',
      message: expect.stringMatching(
        /no capacity for this instance in us-central1-a.*ZONE_RESOURCE_POOL_EXHAUSTED.*enough resources/,
      ),
      // Made elsewhere, it would leave behind what was made of it here.
      hint: expect.stringMatching(/slipway rm NAME, then slipway create NAME with another --gce-zone/),
    });
    expect(inserts()).toBeGreaterThan(2);
    expect(inserts()).toBeLessThan(10);
    expect(bench.notes.join('\n')).toMatch(/no capacity in us-central1-a/);
    await gce.machines.remove(target, bench.call);
    expect(bench.cloud.listAlive()).toEqual([]);
  });

  test('for want of room may go through after all', async () => {
    onInsert(...NO_ROOM, 2);
    await createInstance();
    expect(bench.cloud.instances).toHaveLength(1);
    // Written down before each: what a killed create left is looked for by when it was asked for last.
    expect(bench.recordedRequests.filter((what) => what === 'instance')).toHaveLength(3);
  });

  test('for a quota is told at once, and a later create is not answered by the old failure', async () => {
    onInsert('QUOTA_EXCEEDED', "Quota 'DISKS_TOTAL_GB' exceeded.  Limit: 2048.0 in region us-central1.", 1);
    const target = await resolveTarget(bench.newTarget());
    const error = await catchRejection(gce.machines.create(target, BOOT, bench.call) ?? Promise.resolve());
    expect(error).toMatchObject({ code: 'QUOTA', message: expect.stringMatching(/QUOTA_EXCEEDED.*DISKS_TOTAL_GB/) });
    expect(inserts()).toBe(1);
    await gce.machines.create(target, BOOT, bench.call);
    expect(bench.cloud.instances).toHaveLength(1);
  });

  test("for anything else says so with Google's words", async () => {
    onInsert('INVALID_USAGE', 'No.', 1);
    expect(await catchRejection(createInstance())).toMatchObject({
      code: 'PROVIDER_REFUSED',
      message: expect.stringContaining('INVALID_USAGE, No.'),
    });
  });

  test('a quota that the call itself is refused for', async () => {
    const target = await resolveTarget(bench.newTarget());
    bench.cloud.quotas = { CPUS: { limit: 4, usage: 4 } };
    expect(await catchRejection(gce.machines.create(target, BOOT, bench.call) ?? Promise.resolve())).toMatchObject({
      code: 'QUOTA',
      message: expect.stringMatching(/Quota 'CPUS' exceeded/),
    });
  });
});

describe("what is somebody else's", () => {
  test("an instance of our machine's name is neither taken nor removed", async () => {
    bench.cloud.addInstance({ name: INSTANCE_NAME, zone: 'us-central1-a', labels: { of: 'else' } });
    const target = await resolveTarget(bench.newTarget());
    const error = await catchRejection(gce.machines.create(target, BOOT, bench.call) ?? Promise.resolve());
    expect(error).toMatchObject({
      code: 'PROVIDER_REFUSED',
      message: expect.stringContaining(`The instance ${INSTANCE_NAME} exists, and Slipway did not create it`),
    });
    await gce.machines.remove(target, bench.call);
    expect(bench.cloud.listAlive().map(({ kind, id }) => [kind, id])).toEqual([['instance', INSTANCE_NAME]]);
  });

  test("a firewall rule of our machine's name is not taken for ours", async () => {
    bench.cloud.addRule(`slipway-${MACHINE_ID}`);
    const error = await catchRejection(createInstance());
    expect(error).toMatchObject({
      code: 'PROVIDER_REFUSED',
      message: expect.stringContaining('exists, and Slipway did not create it'),
    });
    expect(bench.cloud.instances).toHaveLength(0);
  });

  test('an instance that is used as it is gets our key and tag, and loses them with rm', async () => {
    const one = bench.cloud.addInstance({ name: 'web', zone: 'us-central1-a', keys: 'me:ssh-ed25519 THEIRS me@home' });
    const target = await createInstance({ useExisting: true, hostKey: KEY_FINGERPRINT });
    const keys = (): string | undefined => one.metadata.find(({ key }) => key === 'ssh-keys')?.value;
    expect(keys()).toBe(`me:ssh-ed25519 THEIRS me@home\nslipway:ssh-ed25519 AAAAlogin slipway ${MACHINE_ID}`);
    expect(one.tags).toEqual(['theirs', `slipway-${MACHINE_ID}`]);
    expect(bench.cloud.rules.map(({ network }) => network)).toEqual(['default']);
    await gce.machines.create(target, BOOT, bench.call);
    expect(keys()?.split('\n')).toHaveLength(2);
    await gce.machines.remove(target, bench.call);
    expect(keys()).toBe('me:ssh-ed25519 THEIRS me@home');
    expect(one.metadata.find(({ key }) => key === 'owner')?.value).toBe('else');
    expect(one.tags).toEqual(['theirs']);
    expect(bench.cloud.listAlive().map(({ kind, id }) => [kind, id])).toEqual([['instance', 'web']]);
  });

  test('an instance that two stores use under one name keeps the key of the one that goes on with it', async () => {
    const one = bench.cloud.addInstance({ name: 'web', zone: 'us-central1-a', keys: 'me:ssh-rsa THEIRS slipway web' });
    const mine = await createInstance({ useExisting: true, hostKey: KEY_FINGERPRINT });
    const theirs = { ...mine, id: '9f9a2c41-1d05-4e00-8000-00000000abcd' };
    await gce.machines.create(theirs, { ...BOOT, authorizedKey: 'ssh-ed25519 AAAAother slipway web' }, bench.call);
    await gce.machines.remove(mine, bench.call);
    expect(one.metadata.find(({ key }) => key === 'ssh-keys')?.value.split('\n')).toEqual([
      'me:ssh-rsa THEIRS slipway web',
      `slipway:ssh-ed25519 AAAAother slipway ${theirs.id}`,
    ]);
    expect(one.tags).toEqual(['theirs', `slipway-${theirs.id}`]);
  });

  test('an instance in another network gets its rule there, also where its host key is given', async () => {
    const one = bench.cloud.addInstance({ name: 'web', zone: 'us-central1-a' });
    one.properties = { ...one.properties, networkInterfaces: [{ network: 'global/networks/vpc-1' }] };
    await createInstance({ useExisting: true, project: PROJECT, hostKey: KEY_FINGERPRINT });
    expect(bench.cloud.rules.map(({ network }) => network)).toEqual(['vpc-1']);
  });

  test('a change of theirs between our look and our change is kept', async () => {
    const one = bench.cloud.addInstance({ name: 'web', zone: 'us-central1-a' });
    let done = false;
    bench.cloud.onArrival = ({ operation }) => {
      if (operation === 'compute.instances.setTags' && !done) {
        done = true;
        one.tags = [...one.tags, 'new'];
      }
      return undefined;
    };
    await createInstance({ useExisting: true, hostKey: KEY_FINGERPRINT });
    expect(one.tags).toEqual(['theirs', 'new', `slipway-${MACHINE_ID}`]);
  });

  test('the host key that an instance publishes is demanded of it', async () => {
    const one = bench.cloud.addInstance({ name: 'web', zone: 'us-central1-a' });
    one.guestAttributes = [
      { namespace: 'hostkeys', key: 'ssh-rsa', value: 'AAAArsa' },
      { namespace: 'hostkeys', key: 'ssh-ed25519', value: 'AAAAed' },
    ];
    expect((await resolveTarget(bench.newTarget({ useExisting: true }))).options.hostKey).toBe('ssh-ed25519 AAAAed');
  });
});

describe('an emulator', () => {
  test.each([
    ["whose operations can't be waited for", { waits: false }],
    ['whose operations are done at once, and that shows more and tells less', { hasty: true }],
  ])('%s will do', async (_, how) => {
    Object.assign(bench.cloud, how);
    bench.cloud.addDisk('theirs', 'us-central1-a', {});
    const target = await createInstance({ address: 'static', openPort: ['8080'] });
    await waitUntilRunning(target);
    await gce.power?.stop(target, { seconds: 10 }, bench.call);
    await gce.power?.start(target, bench.call);
    await waitUntilRunning(target);
    await gce.machines.remove(target, bench.call);
    expect(bench.cloud.listAlive().map(({ id }) => id)).toEqual(['theirs']);
  });

  test("behind a path of somebody's own is reached there", async () => {
    const seen: string[] = [];
    await using proxy = await startServer((path, answer) => {
      seen.push(path);
      answer('{"error":{"code":400,"message":"seen"}}', 400);
    });
    expect(
      await catchRejection(resolveTarget(bench.newTarget({ endpoint: `http://${proxy.host}/behind/compute/v1/` }))),
    ).toBeDefined();
    expect(seen[0]).toMatch(/^\/behind\/compute\/v1\/projects\/my-project-42\//);
  });

  test('that answers with a page of its own is told in a sentence', async () => {
    await using proxy = await startServer((_, answer) => answer('<html>\nno such thing', 418));
    const error = await catchRejection(resolveTarget(bench.newTarget({ endpoint: `http://${proxy.host}/` })));
    expect(error).toMatchObject({
      code: 'PROVIDER_REFUSED',
      message: expect.stringMatching(/Compute Engine refused \(.*\): HTTP 418$/),
    });
  });
});

test('a start that is asked for while the machine stops waits for that', async () => {
  const target = await createInstance();
  await waitUntilRunning(target);
  const [stopped] = await Promise.all([
    gce.power?.stop(target, { seconds: 10 }, bench.call),
    expect
      .poll(() => bench.cloud.instances[0]?.status)
      .toBe('STOPPING')
      .catch(() => undefined),
  ]);
  expect(stopped).toBeUndefined();
  await gce.power?.start(target, bench.call);
  await waitUntilRunning(target);
});

test('of a batch whose bulk call was killed, one alone waits for what that call makes, and makes no second', async () => {
  const { cloud, call } = bench;
  const settled = (await resolveTarget(bench.newTarget())).options;
  const targets = [0, 1].map((index) =>
    bench.newTarget(settled, { id: `own-${index}`, name: `web-${index}`, batch: { id: MACHINE_ID, index, size: 2 } }),
  );
  Object.assign(cloud, { bootTime: 400, lateness: 1500 });
  const bulk = gce.cloud.createMany(targets, BOOT, call);
  await expect.poll(() => mutatingCalls(), { timeout: 20_000 }).toContain('compute.instances.bulkInsert');
  const [first] = targets;
  if (!first) throw new Error('there are two');
  const lastRequest = { what: 'instances', at: new Date().toISOString() };
  await gce.machines.create({ ...first, lastRequest }, BOOT, call);
  await bulk;
  expect(cloud.instances.map(({ name }) => name)).toEqual(['web-0-0-3f9a2c41', 'web-1-1-3f9a2c41']);
  expect(bench.notes.join('\n')).toMatch(/late to show the requested instances/);
  // What was asked for long ago was never heard.
  await gce.machines.remove(first, call);
  await gce.machines.create({ ...first, lastRequest: { ...lastRequest, at: '2026-01-01T00:00:00Z' } }, BOOT, call);
  expect(cloud.instances).toHaveLength(2);
});

test('who calls from another address is let in too', async () => {
  const target = await createInstance();
  const rule = bench.cloud.rules.find(({ name }) => name === `slipway-${MACHINE_ID}`);
  if (!rule) throw new Error('there is a rule');
  expect(rule.sourceRanges).toEqual(['127.0.0.1/32']);
  rule.sourceRanges = ['198.51.100.1/32'];
  await gce.cloud.allowCallerIp(target, bench.call);
  expect(rule.sourceRanges).toEqual(['198.51.100.1/32', '127.0.0.1/32']);
  const before = mutatingCalls().length;
  await gce.cloud.allowCallerIp(target, bench.call);
  expect(mutatingCalls()).toHaveLength(before);
});

test('what is left over is listed with its cost, in all zones and over pages, and removed', async () => {
  const { cloud, call } = bench;
  const target = await createInstance({ address: 'static', openPort: ['8080'] });
  const second = {
    ...(await resolveTarget(bench.newTarget({ zone: 'europe-west3-a' }))),
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
  // An e2-medium and 20 GB of pd-balanced.
  expect(found.find(({ kind }) => kind === 'instance')?.monthly).toBeCloseTo(0.03351 * 730 + 2, 1);
  expect(await gce.cloud.listResources({ options: target.options, home: 'another-home' }, call)).toEqual([]);
  expect(await gce.cloud.listResources({ options: target.options, home: undefined }, call)).toHaveLength(found.length);
  await gce.cloud.deleteResources(found, target.options, call);
  expect(cloud.listAlive().map(({ id }) => id)).toEqual(['else']);
});

async function waitUntilRunning(target: Target<GceOptions>): Promise<void> {
  await expect.poll(async () => (await gce.machines.inspect(target, bench.call)).state).toBe('running');
}

type Respond = (text: string, status?: number) => void;

/** A server that is not the double: it shows what it is asked, as Google's metadata server would be. */
async function startServer(
  handle: (path: string, answer: Respond) => void,
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
