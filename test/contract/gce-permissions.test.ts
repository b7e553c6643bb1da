import { readFile } from 'node:fs/promises';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { Target } from '../../src/drivers/contract.ts';
import { API_METHODS } from '../../src/drivers/gce/api-methods.ts';
import { driver as gce } from '../../src/drivers/gce/driver.ts';
import type { GceOptions } from '../../src/drivers/gce/options.ts';
import { BOOT, startGceFixture, type GceFixture } from '../clouds/gce-fixture.ts';

// What Google's documentation lists for the two roles that docs/clouds.md names, as far as this driver needs it.
const ROLE_PERMISSIONS: Readonly<Record<string, RegExp>> = {
  'roles/compute.instanceAdmin.v1':
    /^compute\.((instances|disks|images|diskTypes|machineTypes|zones|regions)\.\w+|(addresses|firewalls|networks|subnetworks)\.(get|list|use)|subnetworks\.useExternalIp|(zone|region|global)Operations\.(get|list))$/,
  'roles/compute.securityAdmin':
    /^compute\.(firewalls\.\w+|networks\.(get|list|updatePolicy)|globalOperations\.(get|list))$/,
};

/** Returns the permission that a method of the API needs: `compute.instances.insert` -> `compute.instances.create`. */
function permissionOf(operation: string): string {
  const [, resource = '', method = ''] = operation.split('.');
  const verbs: Readonly<Record<string, string>> = {
    insert: 'create',
    bulkInsert: 'create',
    patch: 'update',
    wait: 'get',
    aggregatedList: 'list',
  };
  return `compute.${resource}.${verbs[method] ?? method}`;
}

let fixture: GceFixture;
beforeEach(async () => {
  fixture = await startGceFixture();
});
afterEach(async () => {
  await fixture[Symbol.asyncDispose]();
});

/** Does everything with a machine that the driver can do, and returns the permissions that it needed. */
async function permissionsOfLife(options: Partial<GceOptions>): Promise<readonly string[]> {
  const { call, cloud } = fixture;
  const unresolved = fixture.newTarget(options);
  const target: Target<GceOptions> = { ...unresolved, options: await gce.cloud.resolveOptions(unresolved, call) };
  await gce.prompts?.zone?.(target.options, call);
  await gce.prompts?.machineType?.(target.options, call);
  await gce.prompts?.imageFamily?.(target.options, call);
  await gce.machines.create(target, BOOT, call);
  await expect.poll(async () => (await gce.machines.inspect(target, call)).state).toBe('running');
  const changed = {
    ...target,
    options: { ...target.options, machineType: 'e2-standard-4', diskSize: 60, labels: ['a=b'] },
  };
  await gce.changes?.validate?.(changed, target.options, call);
  await gce.changes?.apply?.(changed, target.options, call);
  await gce.power?.stop(changed, { seconds: 1 }, call);
  await gce.power?.start(changed, call);
  await gce.cloud.allowCallerIp(changed, call);
  const found = await gce.cloud.listResources({ options: target.options, home: undefined }, call);
  expect(found.length).toBeGreaterThan(0);
  await gce.machines.remove(changed, call);
  expect(cloud.listAlive()).toEqual([]);
  return [...new Set(cloud.calls.map(({ operation }) => permissionOf(operation)))];
}

const readPermissions = async (): Promise<string> => {
  const page = await readFile(new URL('../../docs/clouds.md', import.meta.url), 'utf8');
  return /^\| Compute Engine \|(.+)\|$/m.exec(page)?.[1] ?? '';
};

test('the roles in docs/clouds.md allow the whole life of a machine', async () => {
  const row = await readPermissions();
  for (const role of Object.keys(ROLE_PERMISSIONS)) expect(row).toContain(`\`${role}\``);
  const needed = await permissionsOfLife({ openPort: ['8080'] });
  expect(needed).toContain('compute.firewalls.delete');
  const allowed = (permission: string): boolean =>
    Object.values(ROLE_PERMISSIONS).some((role) => role.test(permission));
  expect(needed.filter((permission) => !allowed(permission))).toEqual([]);
});

test('docs/clouds.md names what a static address needs besides the roles', async () => {
  const row = await readPermissions();
  const needed = await permissionsOfLife({ address: 'static' });
  const more = needed.filter((permission) => !Object.values(ROLE_PERMISSIONS).some((role) => role.test(permission)));
  expect(more.toSorted()).toEqual(['compute.addresses.create', 'compute.addresses.delete']);
  for (const permission of more) expect(row).toContain(`\`${permission}\``);
});

test('no method of the driver needs a permission that docs/clouds.md does not name', async () => {
  const row = await readPermissions();
  const methods = Object.entries(API_METHODS).flatMap(([client, names]) => {
    const resource = client.replace(/Client$/, '').replace(/^./, (first) => first.toLowerCase());
    return names.map((name) => permissionOf(`compute.${resource}.${name}`));
  });
  const isNamed = (permission: string): boolean =>
    row.includes(`\`${permission}\``) || Object.values(ROLE_PERMISSIONS).some((role) => role.test(permission));
  expect(methods.filter((permission) => !isNamed(permission))).toEqual([]);
});
