import { afterEach, describe, expect, test, vi } from 'vitest';
import type { Target } from '../../src/drivers/contract.ts';
import { driver as ec2 } from '../../src/drivers/ec2/driver.ts';
import { ec2 as ec2Manifest } from '../../src/drivers/ec2/manifest.ts';
import type { Ec2Options } from '../../src/drivers/ec2/options.ts';
import {
  stubUserEnvironment,
  BOOT,
  recordingCall,
  newTarget,
  createTarget,
  parseEc2Options,
  createPair,
} from '../clouds/ec2-fixture.ts';
import { startEc2, type Ec2 } from '../clouds/ec2-double.ts';
import { noGuests } from '../clouds/guests.ts';
import type { RecordingCall } from '../clouds/recording-call.ts';
import { catchRejection } from '../fakes/catch-error.ts';
import { createTemporaryFolder } from '../fakes/temporary-folder.ts';

afterEach(() => void vi.unstubAllEnvs());

async function createInstance(cloud: Ec2, home: string, ...argv: readonly string[]) {
  stubUserEnvironment(cloud, home);
  const call = recordingCall(home);
  const target = await createTarget(newTarget(parseEc2Options(argv)), call);
  const applyChange = async (...changes: readonly string[]) => {
    const options = { ...target.options, ...changeableOptions(changes) };
    await ec2.changes?.apply?.({ ...target, options }, target.options, call);
    return { ...target, options };
  };
  return { call, target, applyChange };
}

function changeableOptions(argv: readonly string[]) {
  const { tags, allowCidr, instanceType, rootSize } = parseEc2Options(argv);
  return { tags, allowCidr, instanceType, rootSize };
}

const findDisk = (cloud: Ec2) => cloud.listAlive().find(({ kind }) => kind === 'disk');

describe('an existing instance', () => {
  test("gets new tags at once, on its disk as well, and keeps Slipway's", async () => {
    await using home = await createTemporaryFolder();
    await using cloud = await startEc2({ guests: noGuests() });
    const { target, applyChange } = await createInstance(
      cloud,
      home.path,
      '--ec2-tags',
      'team=web',
      '--ec2-tags',
      'old=1',
    );
    await applyChange('--ec2-tags', 'team=db');
    for (const tags of [cloud.instances[0]?.tags, findDisk(cloud)?.tags])
      expect(tags).toEqual(expect.objectContaining({ team: 'db', 'slipway-id': target.id }));
    expect(cloud.instances[0]?.tags).not.toHaveProperty('old');
  });

  test('allows the new callers, and no longer the previous ones', async () => {
    await using home = await createTemporaryFolder();
    await using cloud = await startEc2({ guests: noGuests() });
    const argv = ['--ec2-allow-cidr', '198.51.100.0/24', '--ec2-open-port', '80'];
    const { applyChange } = await createInstance(cloud, home.path, ...argv);
    await applyChange('--ec2-allow-cidr', '203.0.113.0/24', '--ec2-open-port', '80');
    const rules = cloud.groups[0]?.rules.map(({ from, cidr }) => `${from} ${cidr}`);
    expect(rules?.toSorted()).toEqual(['22 203.0.113.0/24', '2376 203.0.113.0/24', '80 0.0.0.0/0', '80 ::/0']);
  });

  test('allows the current caller, and no longer the former addresses of this store', async () => {
    await using home = await createTemporaryFolder();
    await using cloud = await startEc2({ guests: noGuests() });
    const { call, target } = await createInstance(cloud, home.path, '--ec2-open-port', '80');
    const [group] = cloud.groups;
    if (!group) throw new Error('no group was created');
    const allowedOn = (port: number): readonly string[] =>
      group.rules.filter(({ from }) => from === port).map(({ cidr }) => cidr);
    const mark = group.rules.find(({ from }) => from === 22)?.description;
    expect(mark).toBe(`slipway caller ${group.tags['slipway-home']}`);
    const rule = (from: number, cidr: string, description: string) =>
      ({ protocol: 'tcp', from, to: from, cidr, description }) as const;
    group.rules.push(
      rule(22, '192.0.2.1/32', mark ?? ''),
      rule(2376, '192.0.2.1/32', mark ?? ''),
      rule(22, '192.0.2.2/32', 'slipway'),
      rule(443, '0.0.0.0/0', 'slipway'),
      rule(22, '192.0.2.3/32', 'slipway caller of-another-store'),
      rule(22, '192.0.2.4/32', 'the office'),
      rule(22, '192.0.2.5/32', ''),
    );
    const options = { ...target.options, openPort: ['80', '443'] };
    await ec2.cloud.allowCallerIp({ ...target, options, enginePort: 2376 }, call);
    expect(allowedOn(22)).toEqual(['127.0.0.1/32', '192.0.2.3/32', '192.0.2.4/32', '192.0.2.5/32']);
    expect(allowedOn(2376)).toEqual(['127.0.0.1/32']);
    expect([allowedOn(80), allowedOn(443)]).toEqual([['0.0.0.0/0', '::/0'], ['0.0.0.0/0']]);
    const before = cloud.calls.filter(({ mutates }) => mutates).length;
    await ec2.cloud.allowCallerIp({ ...target, options, enginePort: 2376 }, call);
    expect(cloud.calls.filter(({ mutates }) => mutates)).toHaveLength(before);
    await ec2.cloud.allowCallerIp({ ...target, options, enginePort: 2377 }, call);
    expect(allowedOn(2377), 'a changed engine port').toEqual(['127.0.0.1/32']);
  });

  test('makes room in a group that former addresses have filled, and says who may still connect otherwise', async () => {
    await using home = await createTemporaryFolder();
    await using cloud = await startEc2({ guests: noGuests() });
    const { call, target } = await createInstance(cloud, home.path);
    const [group] = cloud.groups;
    if (!group) throw new Error('no group was created');
    const fill = (): void => {
      const rules = Array.from({ length: 30 }, (_, index) => `192.0.2.${index}/32`).flatMap((cidr) =>
        [22, 2376].map((from) => ({ protocol: 'tcp', from, to: from, cidr, description: 'slipway' })),
      );
      group.rules.splice(0, group.rules.length, ...rules);
    };
    fill();
    await ec2.cloud.allowCallerIp({ ...target, enginePort: 2376 }, call);
    expect(group.rules.map(({ from, cidr }) => `${from} ${cidr}`)).toEqual(['22 127.0.0.1/32', '2376 127.0.0.1/32']);
    group.rules.push({ protocol: 'tcp', from: 22, to: 22, cidr: '192.0.2.9/32', description: 'slipway' });
    cloud.onArrival = ({ operation }) =>
      operation === 'RevokeSecurityGroupIngress'
        ? { kind: 'refuse', status: 403, code: 'UnauthorizedOperation', message: 'No.' }
        : undefined;
    await ec2.cloud.allowCallerIp({ ...target, enginePort: 2376 }, call);
    expect(call.notes.at(-1)).toMatch(
      /^192\.0\.2\.9\/32 may still connect through sg-\w+: your AWS credentials do not/,
    );
  });

  test('is kept or terminated at its shutdown, as its lifetime says now', async () => {
    await using home = await createTemporaryFolder();
    await using cloud = await startEc2({ guests: noGuests(), bootTime: 0 });
    stubUserEnvironment(cloud, home.path);
    const call = recordingCall(home.path);
    const wanted = newTarget(parseEc2Options([]), { lifetime: { ttl: '4h' }, onShutdown: 'removed' });
    const target = await createTarget(wanted, call);
    const [instance] = cloud.instances;
    expect(instance?.shutdownBehavior).toBe('terminate');
    await ec2.changes?.setShutdownBehavior?.(target, 'stopped', call);
    expect(instance?.shutdownBehavior).toBe('stop');
    await ec2.changes?.setShutdownBehavior?.(target, 'removed', call);
    expect(instance?.shutdownBehavior).toBe('terminate');
    const before = cloud.calls.length;
    const spot = { ...target, options: { ...target.options, spot: true } };
    await ec2.changes?.setShutdownBehavior?.(spot, 'removed', call);
    expect(cloud.calls, 'AWS always terminates a spot instance').toHaveLength(before);
  });

  test('gets a new instance type and a larger disk on start', async () => {
    await using home = await createTemporaryFolder();
    await using cloud = await startEc2({ guests: noGuests() });
    const { target, call } = await createInstance(cloud, home.path);
    await vi.waitFor(() => expect(cloud.instances[0]?.state).toBe('running'));
    await ec2.power?.stop(target, { seconds: 30 }, call);
    const options = { ...target.options, instanceType: 't3.medium', rootSize: 40 };
    await ec2.power?.start({ ...target, options }, call);
    expect(cloud.instances[0]?.type).toBe('t3.medium');
    expect(cloud.calls.find(({ operation }) => operation === 'ModifyVolume')?.params).toMatchObject({ Size: '40' });
    const before = cloud.calls.length;
    await vi.waitFor(() => expect(cloud.instances[0]?.state).toBe('running'));
    await ec2.power?.stop({ ...target, options }, { seconds: 30 }, call);
    await ec2.power?.start({ ...target, options }, call);
    expect(cloud.calls.slice(before).filter(({ operation }) => operation.startsWith('Modify'))).toEqual([]);
  });

  test.each(['VolumeModificationRateExceeded', 'IncorrectModificationState'])(
    'starts with its current disk when EBS delays the resize: %s',
    async (code) => {
      await using home = await createTemporaryFolder();
      await using cloud = await startEc2({ guests: noGuests(), bootTime: 0 });
      const { target, call } = await createInstance(cloud, home.path);
      await vi.waitFor(() => expect(cloud.instances[0]?.state).toBe('running'));
      await ec2.power?.stop(target, { seconds: 30 }, call);
      const message = 'You have reached the maximum modification rate per volume limit. Wait at least 6 hours.';
      cloud.onArrival = ({ operation }) =>
        operation === 'ModifyVolume' ? { kind: 'refuse', status: 400, code, message } : undefined;
      const larger = { ...target, options: { ...target.options, rootSize: 40 } };
      await ec2.power?.start(larger, call);
      await vi.waitFor(() => expect(cloud.instances[0]?.state).toBe('running'));
      expect(call.notes).toEqual([
        `Its disk is not larger yet: ${code}, ${message.slice(0, -1)}; the next start tries again`,
      ]);
      cloud.onArrival = () => undefined;
      await ec2.power?.stop(larger, { seconds: 30 }, call);
      await ec2.power?.start(larger, call);
      expect(cloud.volumes[0]?.size).toBe(40);
    },
  );

  const IMPOSSIBLE: readonly (readonly [string, Partial<Ec2Options>, readonly string[], RegExp])[] = [
    [
      'an instance type that does not exist',
      { instanceType: 't9.enormous' },
      [],
      /^EC2 has no instance type t9\.enormous/,
    ],
    [
      'an instance type of another architecture',
      { instanceType: 't4g.small' },
      [],
      /^"web" is for x86_64, and t4g\.small is arm64$/,
    ],
    [
      "a larger disk for a spot instance, which can't be stopped",
      { rootSize: 40 },
      ['--ec2-spot'],
      /^"web" is a spot instance/,
    ],
  ];

  test.each(IMPOSSIBLE)('refuses %s', async (_, changes, argv, message) => {
    await using home = await createTemporaryFolder();
    await using cloud = await startEc2({ guests: noGuests() });
    const { target, call } = await createInstance(cloud, home.path, ...argv);
    const before = cloud.calls.filter(({ mutates }) => mutates).length;
    const requested = { ...target, options: { ...target.options, ...changes } };
    const error = await catchRejection(Promise.resolve(ec2.changes?.validate?.(requested, target.options, call)));
    expect(error).toMatchObject({ code: 'USAGE', message: expect.stringMatching(message), hint: expect.any(String) });
    expect(cloud.calls.filter(({ mutates }) => mutates)).toHaveLength(before);
  });

  test('accepts possible changes, and validates live changes without a request', async () => {
    await using home = await createTemporaryFolder();
    await using cloud = await startEc2({ guests: noGuests() });
    const { target, call } = await createInstance(cloud, home.path);
    const validateChange = async (changes: Partial<Ec2Options>) =>
      ec2.changes?.validate?.({ ...target, options: { ...target.options, ...changes } }, target.options, call);
    await validateChange({ instanceType: 't3.medium', rootSize: 40, allowCidr: ['203.0.113.0/24'] });
    const before = cloud.calls.length;
    await validateChange({ tags: ['team=db'], rootSize: 40 });
    expect(cloud.calls).toHaveLength(before);
  });

  test('says how each option changes', () => {
    const changeKind = (option: string, from: unknown, to: unknown) =>
      ec2Manifest.changeKindOf?.(option as 'tags', from, to);
    expect([
      changeKind('tags', [], ['a=b']),
      changeKind('instanceType', 't3.small', 't3.large'),
      changeKind('region', 'a', 'b'),
    ]).toEqual(['live', 'restart', 'replace']);
    expect([changeKind('rootSize', 16, 40), changeKind('rootSize', 40, 16)]).toEqual(['restart', 'replace']);
  });
});

describe('a machine of a batch', () => {
  const otherCallers = { allowCidr: ['203.0.113.0/24'] };
  const changeArguments = (call: RecordingCall, target: Target<Ec2Options>, changes: Partial<Ec2Options>) =>
    [{ ...target, options: { ...target.options, ...changes } }, target.options, call] as const;
  const allowedCidrs = (cloud: Ec2) =>
    cloud.groups.map(({ tags, rules }) => [tags['slipway-id'], [...new Set(rules.map(({ cidr }) => cidr))].join()]);

  test('refuses to change the allowed callers of a shared security group, before any change', async () => {
    await using home = await createTemporaryFolder();
    await using cloud = await startEc2({ guests: noGuests(), bootTime: 0 });
    stubUserEnvironment(cloud, home.path);
    const call = recordingCall(home.path);
    const [first, second] = await createPair(call);
    const before = cloud.calls.filter(({ mutates }) => mutates).length;
    const refusal = {
      code: 'USAGE',
      message: '"web-1" shares its security group with the other machines of its batch',
      hint: expect.stringMatching(/slipway rm web-1, then slipway create web-1; or change sg-\w+ for all/),
    };
    const requested = { ...otherCallers, tags: ['team=db'] };
    expect(
      await catchRejection(Promise.resolve(ec2.changes?.validate?.(...changeArguments(call, first, requested)))),
    ).toMatchObject(refusal);
    expect(
      await catchRejection(Promise.resolve(ec2.changes?.apply?.(...changeArguments(call, first, requested)))),
    ).toMatchObject(refusal);
    expect(cloud.calls.filter(({ mutates }) => mutates)).toHaveLength(before);
    await ec2.machines.remove(second, call);
    await ec2.changes?.validate?.(...changeArguments(call, first, otherCallers));
    await ec2.changes?.apply?.(...changeArguments(call, first, otherCallers));
    expect(allowedCidrs(cloud)).toEqual([[first.batch?.id, '203.0.113.0/24']]);
  });

  test('changes only its own security group after it was recreated alone', async () => {
    await using home = await createTemporaryFolder();
    await using cloud = await startEc2({ guests: noGuests(), bootTime: 0 });
    stubUserEnvironment(cloud, home.path);
    const call = recordingCall(home.path);
    const [first] = await createPair(call);
    await vi.waitFor(() => expect(cloud.instances.map(({ state }) => state)).toEqual(['running', 'running']));
    await ec2.machines.remove(first, call);
    await ec2.machines.create(first, BOOT, call);
    const own = cloud.groups.find(({ tags }) => tags['slipway-id'] === first.id);
    own?.rules.splice(0, own.rules.length, ...own.rules.map((rule) => ({ ...rule, cidr: '192.0.2.1/32' })));
    await ec2.cloud.allowCallerIp(first, call);
    expect(own?.rules.map(({ cidr }) => cidr)).toContain('127.0.0.1/32');
    await ec2.changes?.validate?.(...changeArguments(call, first, otherCallers));
    await ec2.changes?.apply?.(...changeArguments(call, first, otherCallers));
    expect(allowedCidrs(cloud)).toEqual([
      [first.batch?.id, '127.0.0.1/32'],
      [first.id, '203.0.113.0/24'],
    ]);
  });
});
