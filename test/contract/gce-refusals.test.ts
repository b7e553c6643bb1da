import { once } from 'node:events';
import { mkdir, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import type { MakingCall, Target } from '../../src/drivers/contract.ts';
import { gce } from '../../src/drivers/gce/driver.ts';
import type { Options } from '../../src/drivers/gce/options.ts';
import type { SlipwayError } from '../../src/errors.ts';
import type { CloudCall, Fault } from '../clouds/cloud.ts';
import { PROJECT } from '../clouds/compute-world.ts';
import { TOKEN } from '../clouds/gce.ts';
import { BOOT, gceBench, ID, serviceAccount, type Bench } from '../clouds/gce-bench.ts';
import { rejected } from '../fakes/caught.ts';

// What waits for room in a zone waits minutes; here it does so in a hurry.
vi.mock('../../src/drivers/cloud/retry.ts', async (original) => {
  const real = await original<typeof import('../../src/drivers/cloud/retry.ts')>();
  const pauseFor: typeof real.pauseFor = (ms, signal) => real.pauseFor(Math.min(ms, 50), signal);
  return { ...real, pauseFor };
});

let bench: Bench;
beforeEach(async () => {
  bench = await gceBench();
});
afterEach(async () => {
  vi.unstubAllEnvs();
  await bench[Symbol.asyncDispose]();
});

const KEY = `SHA256:${'a'.repeat(43)}`;
const NAME = 'web-3f9a2c41';

async function settle(target: Target<Options>, call: MakingCall = bench.call): Promise<Target<Options>> {
  const settled = await gce.settle?.(target, call);
  return { ...target, options: settled ?? target.options };
}

async function create(given: Partial<Options> = {}): Promise<Target<Options>> {
  const target = await settle(bench.target(given));
  await gce.create?.(target, BOOT, bench.call);
  return target;
}

const changes = (): readonly string[] =>
  bench.cloud.calls.filter(({ mutates }) => mutates).map(({ operation }) => operation);

/** One sentence of ours with what must be in it, and what to type next; nothing was made. */
async function expectRefusal(
  work: Promise<unknown>,
  { code, says, hint }: { readonly code: string; readonly says: readonly RegExp[]; readonly hint: RegExp },
): Promise<SlipwayError> {
  const error = await rejected(work);
  expect(error).toMatchObject({ code });
  expect(error?.message).not.toContain('\n');
  for (const words of says) expect(error?.message).toMatch(words);
  expect(error?.hint).toMatch(hint);
  expect(changes()).toEqual([]);
  expect(bench.cloud.alive()).toEqual([]);
  if (!error) throw new Error('it was not refused');
  return error;
}

/** The first so many calls that `which` names meet this. */
function faults(which: RegExp, fault: Fault, times = 1): void {
  let left = times;
  bench.cloud.onArrival = ({ operation }) => {
    if (!which.test(operation) || left === 0) return undefined;
    left -= 1;
    return fault;
  };
}

describe('before anything costs money', () => {
  test('no credentials are told at once, and nobody is asked', async () => {
    await expectRefusal(settle(bench.target({ project: PROJECT }), bench.callWith({})), {
      code: 'CREDENTIALS',
      says: [/no Google credentials in your environment nor in gcloud’s folder/],
      hint: /gcloud auth application-default login.*GOOGLE_APPLICATION_CREDENTIALS/,
    });
    expect(bench.cloud.calls).toEqual([]);
  });

  test('no credentials are told within seconds where a metadata server’s address leads nowhere', async () => {
    await using silent = await serve(() => {});
    const began = performance.now();
    const env = { METADATA_SERVER_DETECTION: '', GCE_METADATA_HOST: silent.host };
    await expectRefusal(settle(bench.target(), bench.callWith(env)), {
      code: 'CREDENTIALS',
      says: [/no Google credentials/],
      hint: /gcloud auth/,
    });
    expect(performance.now() - began).toBeLessThan(5000);
  });

  test('no project is told, and how to choose one', async () => {
    await expectRefusal(settle(bench.target(), bench.callWith({ CLOUDSDK_AUTH_ACCESS_TOKEN: TOKEN })), {
      code: 'USAGE',
      says: [/No Google Cloud project is chosen/],
      hint: /--gce-project/,
    });
  });

  test('a token that Google does not take', async () => {
    const env = { ...bench.cloud.env, CLOUDSDK_AUTH_ACCESS_TOKEN: 'ya29.old' };
    await expectRefusal(settle(bench.target(), bench.callWith(env)), {
      code: 'CREDENTIALS',
      says: [/Google did not accept your credentials/, /Request had invalid authentication credentials/],
      hint: /Sign in/,
    });
  });

  test('a project of somebody else', async () => {
    await expectRefusal(settle(bench.target({ project: 'someone-elses-9' })), {
      code: 'CREDENTIALS',
      says: [/Google did not allow this/, /Required 'compute\.\w+\.\w+' permission for 'projects\/someone-elses-9'/],
      hint: /docs\/clouds\.md/,
    });
  });

  test.each([
    ['zone', { zone: 'mars-north1-a' }, /There is no zone mars-north1-a/, /--gce-zone/],
    ['machine type', { machineType: 'e2-huge' }, /no machine type e2-huge in us-central1-a/, /--gce-machine-type/],
    ['image family', { imageFamily: 'debian-99' }, /no image debian-99 of debian-cloud/, /--gce-image-family/],
    ['image', { machineImage: 'global/images/none' }, /no image none of debian-cloud/, /--gce-image-family/],
    ['subnetwork', { subnetwork: 'nowhere' }, /no subnetwork nowhere in us-central1/, /--gce-subnetwork/],
  ] as const)('a %s that is none', async (_, given, says, hint) => {
    await expectRefusal(settle(bench.target(given)), { code: 'USAGE', says: [says], hint });
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
    await expectRefusal(settle(bench.target(given)), { code: 'QUOTA', says: [says], hint: /Ask Google for more/ });
  });

  test('a quota that is enough for one and not for all that one call makes', async () => {
    bench.cloud.quotas = { CPUS: { limit: 8, usage: 4 } };
    await settle(bench.target());
    await expectRefusal(settle(bench.target({}, { batch: { id: ID, index: 0, size: 3 } })), {
      code: 'QUOTA',
      says: [/4 of 8 CPUs left.*3 machines need 6/],
      hint: /Ask Google for more/,
    });
  });

  test('an endpoint that would carry the token over the internet in the clear', async () => {
    await expectRefusal(settle(bench.target({ endpoint: 'http://198.51.100.9/compute/v1/' })), {
      code: 'USAGE',
      says: [/would carry your token in the clear/],
      hint: /https:\/\//,
    });
  });

  test('an instance that is to be used and is not there, or publishes no host key', async () => {
    const existing = { useExisting: true, project: PROJECT };
    await expectRefusal(settle(bench.target(existing)), {
      code: 'USAGE',
      says: [/There is no instance web in us-central1-a of my-project-42/],
      hint: /--gce-use-existing/,
    });
    await expectRefusal(settle(bench.target({ ...existing, hostKey: KEY })), {
      code: 'USAGE',
      says: [/There is no instance web in us-central1-a of my-project-42/],
      hint: /--gce-use-existing/,
    });
    bench.cloud.addInstance({ name: 'web', zone: 'us-central1-a' });
    const error = await rejected(settle(bench.target(existing)));
    expect(error).toMatchObject({ code: 'HOST_KEY', hint: expect.stringContaining('--gce-host-key') });
    expect(changes()).toEqual([]);
  });
});

describe('credentials come', () => {
  test('from a service account’s file, by which the SDK signs', async () => {
    const { content, publicKey } = serviceAccount(bench.cloud);
    const file = join(bench.folder, 'account.json');
    await writeFile(file, content);
    const call = bench.callWith({ GOOGLE_APPLICATION_CREDENTIALS: file });
    const email = `ci@${PROJECT}.iam.gserviceaccount.com`;
    const stranger = await rejected(settle(bench.target(), call));
    expect(stranger?.message).toMatch(/Google did not accept your credentials/);
    bench.cloud.accounts.set(email, publicKey);
    const { options } = await settle(bench.target(), call);
    // The file names it.
    expect(options.project).toBe(PROJECT);
  });

  test('from gcloud’s folder, with the project of its settings', async () => {
    const { content, publicKey } = serviceAccount(bench.cloud);
    const folder = join(bench.folder, '.config', 'gcloud');
    await mkdir(join(folder, 'configurations'), { recursive: true });
    const { project_id: _, ...bare } = JSON.parse(content) as Record<string, string>;
    await writeFile(join(folder, 'application_default_credentials.json'), JSON.stringify(bare));
    await writeFile(join(folder, 'active_config'), 'work\n');
    await writeFile(
      join(folder, 'configurations', 'config_work'),
      `[core]\naccount = me\nproject = ${PROJECT}\n[compute]\nzone = x\n`,
    );
    bench.cloud.accounts.set(bare.client_email ?? '', publicKey);
    expect(await gce.health(bench.callWith({}).computer)).toEqual({ usable: true });
    expect((await settle(bench.target(), bench.callWith({}))).options.project).toBe(PROJECT);
  });

  test('from the metadata server of a machine of Google’s', async () => {
    const answers: Readonly<Record<string, string>> = {
      '/computeMetadata/v1/instance': 'a machine',
      '/computeMetadata/v1/project/project-id': PROJECT,
      '/computeMetadata/v1/instance/service-accounts/default/token': JSON.stringify({
        access_token: TOKEN,
        expires_in: 3599,
      }),
    };
    await using server = await serve((path, answer) => {
      const text = answers[path.split('?')[0] ?? ''];
      answer(text ?? 'none', text === undefined ? 404 : 200);
    });
    // Google's library reads it from the process.
    vi.stubEnv('GCE_METADATA_HOST', server.host);
    const call = bench.callWith({ METADATA_SERVER_DETECTION: '', GCE_METADATA_HOST: server.host });
    expect((await settle(bench.target(), call)).options.project).toBe(PROJECT);
  });

  test.each([
    ['is not there', undefined, /can’t be read/],
    ['is no JSON', 'hello', /holds no Google credentials/],
    ['is of something else', '{}', /holds no Google credentials/],
  ])('not from a file that %s', async (_, content, says) => {
    const file = join(bench.folder, 'account.json');
    if (content !== undefined) await writeFile(file, content);
    const call = bench.callWith({ GOOGLE_APPLICATION_CREDENTIALS: file, GOOGLE_CLOUD_PROJECT: PROJECT });
    await expectRefusal(settle(bench.target(), call), { code: 'CREDENTIALS', says: [says], hint: /Sign in/ });
  });

  test('and go: who signs in as somebody else later is told so, and nothing is lost', async () => {
    const target = await create();
    const other = bench.callWith({ ...bench.cloud.env, CLOUDSDK_AUTH_ACCESS_TOKEN: 'ya29.of-another' });
    expect(await rejected(gce.remove?.(target, other) ?? Promise.resolve())).toMatchObject({ code: 'CREDENTIALS' });
    expect(bench.cloud.instances).toHaveLength(1);
  });
});

describe('what passes by itself is tried again, and told', () => {
  const refuse = (status: number, code: string, message: string): Fault => ({ kind: 'refuse', status, code, message });

  test.each([
    ['429', refuse(429, 'rateLimitExceeded', 'Rate Limit Exceeded'), /asked too often/],
    [
      '403 for the rate',
      refuse(403, 'rateLimitExceeded', 'Quota exceeded for quota metric Queries'),
      /asked too often/,
    ],
    ['503', refuse(503, 'backendError', 'Backend Error'), /Compute Engine failed \(503\)/],
    [
      'a change that still goes on',
      refuse(400, 'resourceNotReady', 'The resource is not ready'),
      /another change of it/,
    ],
    ['a connection that breaks', { kind: 'drop' }, /the connection broke/],
    ['an answer that is lost', { kind: 'lose' }, /the connection broke/],
  ] as const)('%s', async (_, fault, told) => {
    faults(/insert$/, fault, 2);
    const target = await create();
    expect(bench.notes.join('\n')).toMatch(told);
    expect(bench.asked).toHaveLength(5);
    expect(bench.cloud.instances).toHaveLength(1);
    expect(bench.cloud.rules).toHaveLength(2);
    await gce.remove?.(target, bench.call);
    expect(bench.cloud.alive()).toEqual([]);
  });

  test('a lost answer to any change leaves the machine as it was asked to be', async () => {
    const seen = new Set<string>();
    bench.cloud.onArrival = ({ operation, mutates }: CloudCall) => {
      if (!mutates || seen.has(operation)) return undefined;
      seen.add(operation);
      return { kind: 'lose' };
    };
    const target = await create({ address: 'static' });
    await running(target);
    await gce.stop?.(target, { seconds: 10 }, bench.call);
    expect((await gce.inspect(target, bench.call)).state).toBe('stopped');
    await gce.start?.(target, bench.call);
    await running(target);
    await gce.remove?.(target, bench.call);
    expect(bench.cloud.alive()).toEqual([]);
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
    faults(/zones\.get/, refuse(400, 'invalid', 'Invalid value'), 100);
    const error = await rejected(settle(bench.target()));
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
  const inserts = (): number => changes().filter((operation) => operation === 'compute.instances.insert').length;

  test('for want of room is tried a few times, told, and named', async () => {
    onInsert(...NO_ROOM, 100);
    const target = await settle(bench.target());
    const error = await rejected(gce.create?.(target, BOOT, bench.call) ?? Promise.resolve());
    expect(error).toMatchObject({
      code: 'CAPACITY',
      message: expect.stringMatching(
        /no room for this machine in us-central1-a.*ZONE_RESOURCE_POOL_EXHAUSTED.*enough resources/,
      ),
      // Made elsewhere, it would leave behind what was made of it here.
      hint: expect.stringMatching(/undo .*slipway rm NAME.*then create it with another --gce-zone/),
    });
    expect(inserts()).toBeGreaterThan(2);
    expect(inserts()).toBeLessThan(10);
    expect(bench.notes.join('\n')).toMatch(/no room in us-central1-a/);
    await gce.remove?.(target, bench.call);
    expect(bench.cloud.alive()).toEqual([]);
  });

  test('for want of room may go through after all', async () => {
    onInsert(...NO_ROOM, 2);
    await create();
    expect(bench.cloud.instances).toHaveLength(1);
    // Written down before each: what a killed create left is looked for by when it was asked for last.
    expect(bench.asked.filter((what) => what === 'instance')).toHaveLength(3);
  });

  test('for a quota is told at once, and a later create is not answered by the old failure', async () => {
    onInsert('QUOTA_EXCEEDED', "Quota 'DISKS_TOTAL_GB' exceeded.  Limit: 2048.0 in region us-central1.", 1);
    const target = await settle(bench.target());
    const error = await rejected(gce.create?.(target, BOOT, bench.call) ?? Promise.resolve());
    expect(error).toMatchObject({ code: 'QUOTA', message: expect.stringMatching(/QUOTA_EXCEEDED.*DISKS_TOTAL_GB/) });
    expect(inserts()).toBe(1);
    await gce.create?.(target, BOOT, bench.call);
    expect(bench.cloud.instances).toHaveLength(1);
  });

  test('for anything else says so with Google’s words', async () => {
    onInsert('INVALID_USAGE', 'No.', 1);
    expect(await rejected(create())).toMatchObject({
      code: 'PROVIDER_REFUSED',
      message: expect.stringContaining('INVALID_USAGE, No.'),
    });
  });

  test('a quota that the call itself is refused for', async () => {
    const target = await settle(bench.target());
    bench.cloud.quotas = { CPUS: { limit: 4, usage: 4 } };
    expect(await rejected(gce.create?.(target, BOOT, bench.call) ?? Promise.resolve())).toMatchObject({
      code: 'QUOTA',
      message: expect.stringMatching(/Quota 'CPUS' exceeded/),
    });
  });
});

describe('what is somebody else’s', () => {
  test('an instance of our machine’s name is neither taken nor removed', async () => {
    bench.cloud.addInstance({ name: NAME, zone: 'us-central1-a', labels: { of: 'else' } });
    const target = await settle(bench.target());
    const error = await rejected(gce.create?.(target, BOOT, bench.call) ?? Promise.resolve());
    expect(error).toMatchObject({
      code: 'PROVIDER_REFUSED',
      message: expect.stringContaining(`an instance ${NAME} that Slipway has not made`),
    });
    await gce.remove?.(target, bench.call);
    expect(bench.cloud.alive().map(({ kind, id }) => [kind, id])).toEqual([['instance', NAME]]);
  });

  test('a firewall rule of our machine’s name is not taken for ours', async () => {
    bench.cloud.addRule(`slipway-${ID}`);
    const error = await rejected(create());
    expect(error).toMatchObject({
      code: 'PROVIDER_REFUSED',
      message: expect.stringContaining('that Slipway has not made'),
    });
    expect(bench.cloud.instances).toHaveLength(0);
  });

  test('an instance that is used as it is gets our key and tag, and loses them with rm', async () => {
    const one = bench.cloud.addInstance({ name: 'web', zone: 'us-central1-a', keys: 'me:ssh-ed25519 THEIRS me@home' });
    const target = await create({ useExisting: true, hostKey: KEY });
    const keys = (): string | undefined => one.metadata.find(({ key }) => key === 'ssh-keys')?.value;
    expect(keys()).toBe(`me:ssh-ed25519 THEIRS me@home\nslipway:ssh-ed25519 AAAAlogin slipway ${ID}`);
    expect(one.tags).toEqual(['theirs', `slipway-${ID}`]);
    expect(bench.cloud.rules.map(({ network }) => network)).toEqual(['default']);
    await gce.create?.(target, BOOT, bench.call);
    expect(keys()?.split('\n')).toHaveLength(2);
    await gce.remove?.(target, bench.call);
    expect(keys()).toBe('me:ssh-ed25519 THEIRS me@home');
    expect(one.metadata.find(({ key }) => key === 'owner')?.value).toBe('else');
    expect(one.tags).toEqual(['theirs']);
    expect(bench.cloud.alive().map(({ kind, id }) => [kind, id])).toEqual([['instance', 'web']]);
  });

  test('an instance that two stores use under one name keeps the key of the one that goes on with it', async () => {
    const one = bench.cloud.addInstance({ name: 'web', zone: 'us-central1-a', keys: 'me:ssh-rsa THEIRS slipway web' });
    const mine = await create({ useExisting: true, hostKey: KEY });
    const theirs = { ...mine, id: '9f9a2c41-1d05-4e00-8000-00000000abcd' };
    await gce.create?.(theirs, { ...BOOT, authorizedKey: 'ssh-ed25519 AAAAother slipway web' }, bench.call);
    await gce.remove?.(mine, bench.call);
    expect(one.metadata.find(({ key }) => key === 'ssh-keys')?.value.split('\n')).toEqual([
      'me:ssh-rsa THEIRS slipway web',
      `slipway:ssh-ed25519 AAAAother slipway ${theirs.id}`,
    ]);
    expect(one.tags).toEqual(['theirs', `slipway-${theirs.id}`]);
  });

  test('an instance in another network gets its rule there, also where its host key is given', async () => {
    const one = bench.cloud.addInstance({ name: 'web', zone: 'us-central1-a' });
    one.properties = { ...one.properties, networkInterfaces: [{ network: 'global/networks/vpc-1' }] };
    await create({ useExisting: true, project: PROJECT, hostKey: KEY });
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
    await create({ useExisting: true, hostKey: KEY });
    expect(one.tags).toEqual(['theirs', 'new', `slipway-${ID}`]);
  });

  test('the host key that an instance publishes is demanded of it', async () => {
    const one = bench.cloud.addInstance({ name: 'web', zone: 'us-central1-a' });
    one.guestAttributes = [
      { namespace: 'hostkeys', key: 'ssh-rsa', value: 'AAAArsa' },
      { namespace: 'hostkeys', key: 'ssh-ed25519', value: 'AAAAed' },
    ];
    expect((await settle(bench.target({ useExisting: true }))).options.hostKey).toBe('ssh-ed25519 AAAAed');
  });
});

describe('an emulator', () => {
  test.each([
    ['whose operations can’t be waited for', { waits: false }],
    ['whose operations are done at once, and that shows more and tells less', { hasty: true }],
  ])('%s will do', async (_, how) => {
    Object.assign(bench.cloud, how);
    bench.cloud.addDisk('theirs', 'us-central1-a', {});
    const target = await create({ address: 'static', openPort: ['8080'] });
    await running(target);
    await gce.stop?.(target, { seconds: 10 }, bench.call);
    await gce.start?.(target, bench.call);
    await running(target);
    await gce.remove?.(target, bench.call);
    expect(bench.cloud.alive().map(({ id }) => id)).toEqual(['theirs']);
  });

  test('behind a path of somebody’s own is reached there', async () => {
    const seen: string[] = [];
    await using proxy = await serve((path, answer) => {
      seen.push(path);
      answer('{"error":{"code":400,"message":"seen"}}', 400);
    });
    expect(await rejected(settle(bench.target({ endpoint: `http://${proxy.host}/behind/compute/v1/` })))).toBeDefined();
    expect(seen[0]).toMatch(/^\/behind\/compute\/v1\/projects\/my-project-42\//);
  });

  test('that answers with a page of its own is told in a sentence', async () => {
    await using proxy = await serve((_, answer) => answer('<html>\nno such thing', 418));
    const error = await rejected(settle(bench.target({ endpoint: `http://${proxy.host}/` })));
    expect(error).toMatchObject({
      code: 'PROVIDER_REFUSED',
      message: expect.stringMatching(/Compute Engine refused \(.*\): HTTP 418$/),
    });
  });
});

test('a start that is asked for while the machine stops waits for that', async () => {
  const target = await create();
  await running(target);
  const [stopped] = await Promise.all([
    gce.stop?.(target, { seconds: 10 }, bench.call),
    expect
      .poll(() => bench.cloud.instances[0]?.status)
      .toBe('STOPPING')
      .catch(() => undefined),
  ]);
  expect(stopped).toBeUndefined();
  await gce.start?.(target, bench.call);
  await running(target);
});

test('of a batch whose bulk call was killed, one alone waits for what that call makes, and makes no second', async () => {
  const { cloud, call } = bench;
  const settled = (await settle(bench.target())).options;
  const targets = [0, 1].map((index) =>
    bench.target(settled, { id: `own-${index}`, name: `web-${index}`, batch: { id: ID, index, size: 2 } }),
  );
  Object.assign(cloud, { bootTime: 400, lateness: 1500 });
  const bulk = gce.createMany?.(targets, BOOT, call);
  await expect.poll(() => changes()).toContain('compute.instances.bulkInsert');
  const [first] = targets;
  if (!first) throw new Error('there are two');
  const asked = { what: 'instances', at: new Date().toISOString() };
  await gce.create?.({ ...first, asked }, BOOT, call);
  await bulk;
  expect(cloud.instances.map(({ name }) => name)).toEqual(['web-0-0-3f9a2c41', 'web-1-1-3f9a2c41']);
  expect(bench.notes.join('\n')).toMatch(/asked for its instances a moment ago/);
  // What was asked for long ago was never heard.
  await gce.remove?.(first, call);
  await gce.create?.({ ...first, asked: { ...asked, at: '2026-01-01T00:00:00Z' } }, BOOT, call);
  expect(cloud.instances).toHaveLength(2);
});

test('who calls from another address is let in too', async () => {
  const target = await create();
  const rule = bench.cloud.rules.find(({ name }) => name === `slipway-${ID}`);
  if (!rule) throw new Error('there is a rule');
  expect(rule.sourceRanges).toEqual(['127.0.0.1/32']);
  rule.sourceRanges = ['198.51.100.1/32'];
  await gce.admit?.(target, bench.call);
  expect(rule.sourceRanges).toEqual(['198.51.100.1/32', '127.0.0.1/32']);
  const before = changes().length;
  await gce.admit?.(target, bench.call);
  expect(changes()).toHaveLength(before);
});

test('what is left over is listed with its cost, in all zones and over pages, and removed', async () => {
  const { cloud, call } = bench;
  const target = await create({ address: 'static', openPort: ['8080'] });
  const second = {
    ...(await settle(bench.target({ zone: 'europe-west3-a' }))),
    id: '9f9a2c41-1d05-4e00-8000-00000000abcd',
  };
  await gce.create?.(second, BOOT, call);
  const labels = { ...cloud.instances[0]?.labels };
  cloud.addDisk('left-behind', 'us-central1-b', labels);
  cloud.addInstance({ name: 'else', zone: 'us-central1-a' });
  const found = (await gce.owned?.({ options: target.options, home: labels['slipway-home'] }, call)) ?? [];
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
  expect(await gce.owned?.({ options: target.options, home: 'another-home' }, call)).toEqual([]);
  expect(await gce.owned?.({ options: target.options, home: undefined }, call)).toHaveLength(found.length);
  await gce.discard?.(found, target.options, call);
  expect(cloud.alive().map(({ id }) => id)).toEqual(['else']);
});

async function running(target: Target<Options>): Promise<void> {
  await expect.poll(async () => (await gce.inspect(target, bench.call)).state).toBe('running');
}

type Answer = (text: string, status?: number) => void;

/** A server that is not the double: it shows what it is asked, as Google's metadata server would be. */
async function serve(
  handle: (path: string, answer: Answer) => void,
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
