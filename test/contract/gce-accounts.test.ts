import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { mkdir, writeFile } from 'node:fs/promises';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import type { CreateCall, Target } from '../../src/drivers/contract.ts';
import { findCredentialsSource } from '../../src/drivers/gce/credentials.ts';
import { driver as gce } from '../../src/drivers/gce/driver.ts';
import { tokenError } from '../../src/drivers/gce/errors.ts';
import type { GceOptions } from '../../src/drivers/gce/options.ts';
import { SlipwayError } from '../../src/errors.ts';
import type { Fault } from '../clouds/cloud.ts';
import { PROJECT } from '../clouds/compute-catalog.ts';
import { BOOT, createServiceAccount, MACHINE_ID, startGceFixture, type GceFixture } from '../clouds/gce-fixture.ts';
import { catchRejection } from '../fakes/catch-error.ts';
import { expectTypeableHint } from '../clouds/gce-hints.ts';

vi.mock('../../src/drivers/cloud/retry.ts', async (original) => {
  const real = await original<typeof import('../../src/drivers/cloud/retry.ts')>();
  const sleepUnlessCanceled: typeof real.sleepUnlessCanceled = (ms, signal) =>
    real.sleepUnlessCanceled(Math.min(ms, 20), signal);
  const retry: typeof real.retry = (doing, work, options) =>
    real.retry(doing, work, { ...options, seconds: Math.min(options.seconds, 0.2) });
  return { ...real, retry, sleepUnlessCanceled };
});

let fixture: GceFixture;
beforeEach(async () => {
  fixture = await startGceFixture();
});
afterEach(async () => {
  await fixture[Symbol.asyncDispose]();
});

async function createInstance(options: Partial<GceOptions> = {}): Promise<Target<GceOptions>> {
  const unresolved = fixture.newTarget(options);
  const target = { ...unresolved, options: await gce.cloud.resolveOptions(unresolved, fixture.call) };
  await gce.machines.create(target, BOOT, fixture.call);
  return target;
}

const refusal = (status: number, code: string, message: string, detailedReason?: string): Fault => ({
  kind: 'refuse',
  status,
  code,
  message,
  ...(detailedReason === undefined ? {} : { detailedReason }),
});

type AccountCase = readonly [name: string, fault: Fault, message: RegExp, hint: RegExp];

const ACCOUNT_CASES: readonly AccountCase[] = [
  [
    'an API that is not enabled',
    refusal(
      403,
      'accessNotConfigured',
      'Compute Engine API has not been used in project 123456789012 before or it is disabled. Enable it by visiting https://console.developers.google.com/apis/api/compute.googleapis.com/overview?project=123456789012 then retry.',
      'SERVICE_DISABLED',
    ),
    /The Compute Engine API is not enabled in the project my-project-42/,
    /gcloud services enable compute\.googleapis\.com --project my-project-42$/,
  ],
  [
    'billing that is off',
    refusal(
      403,
      'forbidden',
      'This API method requires billing to be enabled. Please enable billing on project #123456789012 by visiting https://console.developers.google.com/billing/enable?project=123456789012 then retry.',
      'BILLING_DISABLED',
    ),
    /Billing is off for the project my-project-42/,
    /gcloud billing projects link my-project-42/,
  ],
  [
    'a project that was deleted',
    refusal(403, 'forbidden', 'Project #123456789012 has been deleted.', 'CONSUMER_INVALID'),
    /The project my-project-42 does not exist, or it was shut down/,
    /gcloud projects undelete my-project-42/,
  ],
  [
    'a project that does not exist',
    refusal(404, 'notFound', "The resource 'projects/my-project-42' was not found"),
    /The project my-project-42 does not exist, or it was shut down/,
    /gcloud projects describe my-project-42/,
  ],
  [
    'a token without the scope',
    refusal(
      403,
      'insufficientPermissions',
      'Request had insufficient authentication scopes.',
      'ACCESS_TOKEN_SCOPE_INSUFFICIENT',
    ),
    /credentials were issued for other services only/,
    /gcloud auth application-default login/,
  ],
  [
    'an account that was disabled',
    refusal(401, 'authError', 'Request had invalid authentication credentials.', 'ACCOUNT_STATE_INVALID'),
    /Google did not accept your credentials, the token in CLOUDSDK_AUTH_ACCESS_TOKEN/,
    /gcloud auth application-default login/,
  ],
  [
    'a role that is missing',
    refusal(
      403,
      'forbidden',
      "Required 'compute.instances.get' permission for 'projects/my-project-42/zones/z/instances/web'",
    ),
    /Your Google credentials do not allow this, the token in CLOUDSDK_AUTH_ACCESS_TOKEN/,
    /docs\/clouds\.md.*gcloud projects add-iam-policy-binding my-project-42/,
  ],
];

describe('an account with a past', () => {
  test.each(ACCOUNT_CASES)(
    'refuses in one sentence, with a command that helps: %s',
    async (_, fault, message, hint) => {
      const target = await createInstance();
      fixture.cloud.onArrival = () => fault;
      const works: readonly (() => Promise<unknown>)[] = [
        () => gce.cloud.resolveOptions(fixture.newTarget(), fixture.call),
        () => gce.machines.inspect(target, fixture.call),
        () => gce.machines.remove(target, fixture.call),
        () => gce.power?.start(target, fixture.call) ?? Promise.resolve(),
        () => gce.cloud.allowCallerIp(target, fixture.call),
        () => gce.cloud.listResources({ options: target.options, home: undefined }, fixture.call),
      ];
      for (const work of works) {
        const error = await catchRejection(work());
        expect(error).toBeInstanceOf(SlipwayError);
        expect(error).toMatchObject({ code: 'CREDENTIALS', message: expect.stringMatching(message) });
        expect(error?.message).not.toContain('\n');
        expect(error?.hint).toMatch(hint);
        expectTypeableHint(error?.hint);
      }
      expect(fixture.cloud.instances).toHaveLength(1);
    },
  );

  test('is not asked about with a call of an API that may be off too', async () => {
    await createInstance();
    const apis = new Set(fixture.cloud.calls.map(({ operation }) => operation.split('.')[0]));
    expect([...apis]).toEqual(['compute']);
  });
});

describe('without a connection to Google', () => {
  test('every command fails with a sentence, and none with a stack trace', async () => {
    const target = await createInstance();
    fixture.cloud.onArrival = () => ({ kind: 'drop request' });
    for (const work of [
      () => gce.machines.inspect(target, fixture.call),
      () => gce.machines.remove(target, fixture.call),
      () => gce.cloud.listResources({ options: target.options, home: undefined }, fixture.call),
    ]) {
      const error = await catchRejection(work());
      expect(error).toMatchObject({
        code: 'PROVIDER_REFUSED',
        message: expect.stringMatching(/^Google can't be reached/),
      });
      expectTypeableHint(error?.hint);
    }
  });

  test('a page of a hotel or a proxy is not taken for an answer', async () => {
    const target = await createInstance();
    const page = await fixture.callBehindPage('<html>Welcome, please sign in</html>');
    const error = await catchRejection(
      gce.machines.inspect({ ...target, options: { ...target.options, endpoint: page.url } }, page.call),
    );
    await page[Symbol.asyncDispose]();
    expect(error).toMatchObject({
      code: 'PROVIDER_REFUSED',
      message: expect.stringMatching(/^Something between this computer and Google answered/),
    });
  });
});

describe('credentials that give no token', () => {
  const signal = new AbortController().signal;
  const grantError = (words: string): Error =>
    Object.assign(new Error('invalid_grant'), {
      response: { data: { error: 'invalid_grant', error_description: words } },
    });

  async function callWithFile(content: object): Promise<CreateCall> {
    const folder = join(fixture.folder, '.config', 'gcloud');
    await mkdir(folder, { recursive: true });
    await writeFile(join(folder, 'application_default_credentials.json'), JSON.stringify(content));
    return fixture.callWith({});
  }

  test("of the user's own sign-in name the command that signs in again", async () => {
    const { computer } = await callWithFile({ type: 'authorized_user', client_id: 'x', refresh_token: 'y' });
    const source = await findCredentialsSource(computer);
    expect(source).toMatchObject({ kind: 'user' });
    expect(tokenError(grantError('Token has been expired or revoked.'), source, signal)).toMatchObject({
      code: 'CREDENTIALS',
      message: expect.stringMatching(/your sign-in in .*: invalid_grant, Token has been expired or revoked\.$/),
      hint: 'Sign in: gcloud auth application-default login',
    });
  });

  test('of a service account name the account and its key', async () => {
    const { content } = createServiceAccount(fixture.cloud);
    const { computer } = await callWithFile(JSON.parse(content) as object);
    const source = await findCredentialsSource(computer);
    const email = `ci@${PROJECT}.iam.gserviceaccount.com`;
    expect(tokenError(grantError('Invalid grant: account not found'), source, signal)).toMatchObject({
      code: 'CREDENTIALS',
      message: expect.stringContaining(`the service account ${email}`),
      hint: expect.stringMatching(
        new RegExp(`service-accounts enable ${email}.*keys create .* --iam-account ${email}`),
      ),
    });
  });

  test('are refused by each command, also by one that removes', async () => {
    const target = await createInstance();
    // The token endpoint of workload identity federation, which a file names.
    await writeFile(join(fixture.folder, 'subject'), 'subject token');
    const call = await callWithFile({
      type: 'external_account',
      audience: '//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/x',
      subject_token_type: 'urn:ietf:params:oauth:token-type:jwt',
      token_url: `${fixture.cloud.url}/token`,
      credential_source: { file: join(fixture.folder, 'subject') },
    });
    for (const work of [
      () => gce.machines.inspect(target, call),
      () => gce.machines.remove(target, call),
      () => gce.cloud.listResources({ options: target.options, home: undefined }, call),
    ]) {
      const error = await catchRejection(work());
      expect(error).toBeInstanceOf(SlipwayError);
      expect(error).toMatchObject({
        code: 'CREDENTIALS',
        hint: expect.stringContaining('gcloud auth application-default login'),
      });
    }
    expect(fixture.cloud.instances).toHaveLength(1);
  });
});

test('only client.ts loads the SDK, so that no raw error of it can leave the driver', () => {
  const folder = fileURLToPath(new URL('../../src/drivers/gce/', import.meta.url));
  const loading = readdirSync(folder).filter((file) =>
    /(?:from|import\() ?'(?:\.\/sdk\.ts|@google-cloud\/.*|google-auth-library)'/.test(
      readFileSync(join(folder, file), 'utf8').replaceAll(/typeof import\('[^']*'\)/g, ''),
    ),
  );
  expect(loading.toSorted()).toEqual(['client.ts', 'sdk.ts']);
});

describe('a plain refusal', () => {
  const ZONE_TEXT =
    "The zone 'projects/my-project-42/zones/us-central1-a' does not have enough resources available to fulfill the request.";
  const refuseInserts = (fault: Fault): void => {
    fixture.cloud.onArrival = ({ operation }) =>
      /instances\.(insert|bulkInsert)$/.test(operation) ? fault : undefined;
  };

  test.each([
    [
      'of a quota',
      refusal(403, 'quotaExceeded', "Quota 'CPUS' exceeded.  Limit: 24.0 in region us-central1."),
      'QUOTA',
    ],
    ['of a zone without capacity, as HTTP 503', refusal(503, 'ZONE_RESOURCE_POOL_EXHAUSTED', ZONE_TEXT), 'CAPACITY'],
    [
      'of a missing permission',
      refusal(403, 'forbidden', "Required 'compute.instances.create' permission"),
      'CREDENTIALS',
    ],
  ])('leaves nothing behind, so that another zone may be tried: %s', async (_, fault, code) => {
    refuseInserts(fault);
    const unresolved = fixture.newTarget({ address: 'static', openPort: ['8080'] });
    const target = { ...unresolved, options: await gce.cloud.resolveOptions(unresolved, fixture.call) };
    const error = await catchRejection(gce.machines.create(target, BOOT, fixture.call));
    expect(error).toMatchObject({ code });
    expectTypeableHint(error?.hint);
    expect(fixture.cloud.listAlive()).toEqual([]);
    expect(fixture.clearedRequests).toEqual(['instance']);
    // With the request gone, `rm` has nothing to wait for.
    await gce.machines.remove(target, fixture.call);
    expect(fixture.notes.join('\n')).not.toMatch(/may be late/);

    fixture.cloud.onArrival = () => undefined;
    const elsewhere = fixture.newTarget({ address: 'static', openPort: ['8080'], zone: 'europe-west3-a' });
    const moved = { ...elsewhere, options: await gce.cloud.resolveOptions(elsewhere, fixture.call) };
    await gce.machines.create(moved, BOOT, fixture.call);
    expect(fixture.cloud.instances.map(({ place }) => place)).toEqual(['europe-west3-a']);
    expect(fixture.cloud.rules).toHaveLength(3);
  });

  test('does not keep the same create from succeeding later, with its firewall rules', async () => {
    refuseInserts(refusal(403, 'quotaExceeded', "Quota 'CPUS' exceeded.  Limit: 24.0 in region us-central1."));
    const unresolved = fixture.newTarget();
    const target = { ...unresolved, options: await gce.cloud.resolveOptions(unresolved, fixture.call) };
    await catchRejection(gce.machines.create(target, BOOT, fixture.call));
    fixture.cloud.onArrival = () => undefined;
    await gce.machines.create(target, BOOT, fixture.call);
    // Google answers a repeated request with the result of the first one, even after its rule was deleted.
    expect(fixture.cloud.rules.map(({ name }) => name).toSorted()).toEqual([
      `slipway-${MACHINE_ID}`,
      `slipway-${MACHINE_ID}-deny`,
    ]);
  });

  test('names the metric, the limit and the region of a quota', async () => {
    refuseInserts(refusal(403, 'quotaExceeded', "Quota 'CPUS' exceeded.  Limit: 24.0 in region us-central1."));
    const error = await catchRejection(createInstance());
    expect(error?.message).toMatch(/^The project my-project-42 has reached its quota CPUS in us-central1 \(24\)/);
  });

  test('of an address outside of the organization names the flag for that', async () => {
    refuseInserts(
      refusal(
        412,
        'conditionNotMet',
        'Constraint constraints/compute.vmExternalIpAccess violated for project 123456789012.',
      ),
    );
    const error = await catchRejection(createInstance());
    expect(error).toMatchObject({
      message: expect.stringMatching(/^A policy of your organization/),
      hint: expect.stringContaining('--gce-address none'),
    });
    expectTypeableHint(error?.hint);
  });

  test('of a start does not suggest flags that start does not have', async () => {
    const target = await createInstance();
    await expect.poll(async () => (await gce.machines.inspect(target, fixture.call)).state).toBe('running');
    await gce.power?.stop(target, { seconds: 1 }, fixture.call);
    fixture.cloud.onOperation = ({ operation }) =>
      operation.endsWith('.start') ? { code: 'ZONE_RESOURCE_POOL_EXHAUSTED', message: ZONE_TEXT } : undefined;
    const error = await catchRejection(gce.power?.start(target, fixture.call) ?? Promise.resolve());
    expect(error).toMatchObject({ code: 'CAPACITY', hint: expect.not.stringContaining('--gce-') });
  });

  test('after a lost response proves nothing, so that the request stays recorded', async () => {
    fixture.cloud.onArrival = ({ operation }) =>
      operation.endsWith('instances.insert') ? { kind: 'drop response' } : undefined;
    await catchRejection(createInstance());
    expect(fixture.clearedRequests).toEqual([]);
    expect(fixture.cloud.rules).toHaveLength(2);
  });
});

describe('rm', () => {
  test('deletes no address for a machine that has none, and no rule that somebody else created', async () => {
    const target = await createInstance();
    fixture.cloud.addRule(`slipway-${MACHINE_ID}-open`);
    await gce.machines.remove({ ...target, options: { ...target.options, openPort: ['8080'] } }, fixture.call);
    const sent = fixture.cloud.calls.map(({ operation }) => operation);
    expect(sent).not.toContain('compute.addresses.delete');
    expect(fixture.cloud.rules.map(({ name }) => name)).toEqual([`slipway-${MACHINE_ID}-open`]);
    expect(fixture.notes.join('\n')).toContain(`The firewall rule slipway-${MACHINE_ID}-open stays`);
  });

  test('deletes a reserved address once', async () => {
    const target = await createInstance({ address: 'static' });
    await gce.machines.remove(target, fixture.call);
    await gce.machines.remove(target, fixture.call);
    const deletions = fixture.cloud.calls.filter(({ operation }) => operation === 'compute.addresses.delete');
    expect(deletions).toHaveLength(1);
    expect(fixture.cloud.listAlive()).toEqual([]);
  });
});

test('gc says which zones could not be asked, and does not count them as empty', async () => {
  const target = await createInstance();
  fixture.cloud.unreachable = ['europe-west3-a'];
  const error = await catchRejection(
    gce.cloud.listResources({ options: target.options, home: undefined }, fixture.call),
  );
  expect(error).toMatchObject({
    code: 'PROVIDER_REFUSED',
    message: expect.stringMatching(/^Compute Engine could not ask all zones and regions .*: zones\/europe-west3-a/),
  });
  expectTypeableHint(error?.hint);
});

test('a machine has an IPv4 address only, and a caller with IPv6 learns it before anything is created', async () => {
  const target = fixture.newTarget({ allowCidr: ['2001:db8::/32'] });
  const error = await catchRejection(gce.machines.validate?.(target, fixture.call) ?? Promise.resolve());
  expect(error).toMatchObject({ code: 'USAGE', message: expect.stringContaining('2001:db8::/32 is IPv6') });
  expectTypeableHint(error?.hint);
});
