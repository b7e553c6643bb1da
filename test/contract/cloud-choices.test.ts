import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, describe, expect, test, vi } from 'vitest';
import type { DriverCall, OptionChoice } from '../../src/drivers/contract.ts';
import { driver as ec2 } from '../../src/drivers/ec2/driver.ts';
import { ec2 as ec2Manifest } from '../../src/drivers/ec2/manifest.ts';
import { driver as gce } from '../../src/drivers/gce/driver.ts';
import { stubUserEnvironment, recordingCall } from '../clouds/ec2-fixture.ts';
import { startEc2 } from '../clouds/ec2-double.ts';
import { startGce } from '../clouds/gce-double.ts';
import { noGuests } from '../clouds/guests.ts';
import { catchRejection } from '../fakes/catch-error.ts';
import { createTemporaryFolder } from '../fakes/temporary-folder.ts';

afterEach(() => void vi.unstubAllEnvs());

const formatChoices = (choices: readonly OptionChoice[] | undefined): readonly string[] | undefined =>
  choices?.map(({ value, note }) => `${value}: ${note}`);

describe('the wizard for EC2', () => {
  test('offers regions, the configured one first, and common instance types with their cost', async () => {
    await using home = await createTemporaryFolder();
    await using cloud = await startEc2({ guests: noGuests() });
    stubUserEnvironment(cloud, home.path, { AWS_REGION: 'us-east-1' });
    const call: DriverCall = recordingCall(home.path);
    expect(formatChoices(await ec2.prompts?.region?.({}, call))).toEqual([
      'us-east-1: N. Virginia',
      'eu-central-1: Frankfurt',
    ]);
    expect(formatChoices(await ec2.prompts?.instanceType?.({ region: 'eu-central-1' }, call))).toEqual([
      't3.micro: 2 vCPU, 1 GiB, about $7.59 a month',
      't4g.small: 2 vCPU, 2 GiB, ARM, about $12.26 a month',
      't3.small: 2 vCPU, 2 GiB, about $15.18 a month',
      't3.medium: 2 vCPU, 4 GiB, about $30.37 a month',
      'm7i.large: 2 vCPU, 8 GiB, about $73.58 a month',
      't3.xlarge: 4 vCPU, 8 GiB, about $121.47 a month',
    ]);
    expect(cloud.calls.filter(({ mutates }) => mutates)).toEqual([]);
  });

  test('reports invalid credentials in one line', async () => {
    await using home = await createTemporaryFolder();
    await using cloud = await startEc2({ guests: noGuests() });
    stubUserEnvironment(cloud, home.path, { AWS_ACCESS_KEY_ID: 'AKIAWRONG' });
    const error = await catchRejection(ec2.prompts?.region?.({}, recordingCall(home.path)) ?? Promise.resolve());
    expect([error?.code, error?.message]).toEqual(['CREDENTIALS', expect.stringContaining('AuthFailure')]);
  });

  test('asks for a profile only when there are several', async () => {
    await using home = await createTemporaryFolder();
    await mkdir(join(home.path, '.aws'));
    const call = {
      ...recordingCall(home.path),
      computer: { ...recordingCall(home.path).computer, env: { HOME: home.path } },
    };
    await writeFile(join(home.path, '.aws', 'config'), '[default]\nregion = eu-central-1\n[sso-session corp]\n');
    expect(await ec2.prompts?.profile?.({}, call)).toEqual([]);
    await writeFile(join(home.path, '.aws', 'credentials'), '[default]\n[work]\naws_access_key_id = x\n');
    expect(formatChoices(await ec2.prompts?.profile?.({}, call))).toEqual(['default: ', 'work: ']);
  });

  test('describes the resources and their cost before it creates them', async () => {
    const options = ec2Manifest.options.parse({});
    expect(ec2.cost.describeResources(options)).toBe(
      'one instance (t3.small) with a disk of 16 GiB and a public IPv4 address, and a security group that allows only your address',
    );
    // The instance, its disk and its public address.
    expect(await ec2.cost.monthly?.(options)).toBeCloseTo(15.18 + 1.28 + 3.65, 1);
    expect(await ec2.cost.monthly?.({ ...options, privateAddressOnly: true })).toBeCloseTo(15.18 + 1.28, 1);
    expect(await ec2.cost.monthly?.({ ...options, spot: true })).toBeUndefined();
    const surchargeOf = (instanceType: string, cpuCredits?: 'standard' | 'unlimited'): string | undefined =>
      ec2.cost.describeSurcharge?.({ ...options, instanceType, cpuCredits });
    expect(surchargeOf('t3.small')).toBe(
      'CPU time above the baseline of t3.small (--ec2-cpu-credits standard avoids it)',
    );
    expect([surchargeOf('t4g.small', 'standard'), surchargeOf('t2.micro'), surchargeOf('m7i.large')]).toEqual([
      undefined,
      undefined,
      undefined,
    ]);
  });
});

describe('the wizard for Compute Engine', () => {
  test('offers zones, and common machine types with their cost', async () => {
    await using home = await createTemporaryFolder();
    await using cloud = await startGce({ guests: noGuests() });
    const call = {
      ...recordingCall(home.path),
      computer: { ...recordingCall(home.path).computer, env: { ...cloud.env, HOME: home.path } },
    };
    const options = { project: 'my-project-42', endpoint: cloud.env.CLOUDSDK_API_ENDPOINT_OVERRIDES_COMPUTE };
    expect((await gce.prompts?.zone?.(options, call))?.map(({ value }) => value)).toEqual([
      'europe-west3-a',
      'europe-west3-b',
      'us-central1-a',
      'us-central1-b',
    ]);
    expect(formatChoices(await gce.prompts?.machineType?.({ ...options, zone: 'europe-west3-a' }, call))).toEqual([
      'e2-micro: 2 vCPU, 4 GiB, about $9.77 a month',
      'e2-medium: 2 vCPU, 4 GiB, about $28.11 a month',
      't2a-standard-1: 1 vCPU, 4 GiB, ARM',
      'n4-standard-2: 2 vCPU, 4 GiB',
      'n2-standard-2: 2 vCPU, 4 GiB, about $74.53 a month',
      'e2-standard-4: 4 vCPU, 4 GiB, about $101.48 a month',
    ]);
    expect(cloud.calls.filter(({ mutates }) => mutates)).toEqual([]);
  });

  test('sets the project of an image together with its family', async () => {
    await using home = await createTemporaryFolder();
    const families = await gce.prompts?.imageFamily?.({}, recordingCall(home.path));
    expect(families?.find(({ value }) => value === 'ubuntu-2404-lts-amd64')?.sets).toEqual({
      imageProject: 'ubuntu-os-cloud',
    });
  });
});
