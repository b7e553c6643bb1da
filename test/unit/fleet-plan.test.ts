import { describe, expect, test } from 'vitest';
import { SlipwayError } from '../../src/errors.ts';
import type { Fleet, WantedSpec } from '../../src/fleet/build-fleet.ts';
import { planFleet, type FleetPlan, type FleetItem } from '../../src/fleet/plan-fleet.ts';
import type { Machine, MachineSpec } from '../../src/machine/model.ts';
import { getDriver } from '../../src/drivers/registry.ts';
import type { ListedMachine } from '../../src/machine/store.ts';
import { readyMachine, specNamed } from '../fakes/sample-machine.ts';

const NOW = new Date('2026-01-01T12:00:00Z');
const FLEET_FILE = '/srv/machines.yaml';

function wantedSpec(name: string, more: Partial<MachineSpec> = {}): WantedSpec {
  const { id: _id, ...spec } = specNamed(name, more);
  return { ...spec, options: getDriver(spec.driver).options.parse(spec.options) };
}

const fleetOf = (...specs: readonly WantedSpec[]): Fleet => ({
  displayPath: 'machines.yaml',
  fleetId: FLEET_FILE,
  machines: specs.map((spec) => ({ entry: spec.name, spec })),
});

const toListed = (machine: Machine): ListedMachine => ({ name: machine.spec.name, machine });
const listedMachine = (name: string, spec: Partial<MachineSpec> = {}, more: Partial<Machine> = {}): ListedMachine =>
  toListed({ ...readyMachine(name, { spec: specNamed(name, spec) }), ...more } as Machine);

function planOf(specs: readonly WantedSpec[], records: readonly ListedMachine[], prune = false): FleetPlan {
  return planFleet(fleetOf(...specs), records, { prune, now: NOW });
}

/** Returns the planned item of one machine as a text. */
function describePlan(spec: WantedSpec, ...records: readonly ListedMachine[]): string {
  const [item] = planOf([spec], records).items;
  return describeItem(item);
}

function describeItem(item: FleetItem | undefined): string {
  const changes = item?.changes.map(
    ({ field, from, to, how }) => `${field} ${JSON.stringify(from)} -> ${JSON.stringify(to)} (${how})`,
  );
  return [`${item?.action}`, ...(changes ?? []), ...(item?.notes ?? []).map((note) => `! ${note}`)].join('\n');
}

const qemuSpec = (options: object = {}): Partial<MachineSpec> => ({ driver: 'qemu', options: { ...options } });
const EC2_SPEC = { driver: 'ec2', options: getDriver('ec2').options.parse({ region: 'r-1', ami: 'ami-1' }) };

describe('a machine in machines.yaml', () => {
  test('is created if it does not exist, and not touched if it matches', () => {
    expect(describePlan(wantedSpec('web'))).toBe('create');
    expect(describePlan(wantedSpec('web'), listedMachine('web'))).toBe('nothing');
  });

  test("that is incomplete is completed, or replaced if it can't be changed to match", () => {
    const incomplete = { version: 1, phase: 'creating', spec: specNamed('web', qemuSpec()) } as const;
    expect(describePlan(wantedSpec('web', qemuSpec({ cpus: 3 })), toListed(incomplete))).toBe(
      'finish\nqemu.cpus 2 -> 3 (restart)',
    );
    expect(describePlan(wantedSpec('web', qemuSpec({ image: 'debian-12' })), toListed(incomplete))).toBe(
      'replace\nqemu.image "debian-13" -> "debian-12" (replace)\n! all data on its disk is lost\n! it was not created from this file',
    );
  });

  test('shows for each changed field the old value, the new value and the effect', () => {
    const { engine } = specNamed('web');
    const from = {
      ...qemuSpec({ disk: 20 }),
      engine: { ...engine, label: ['a=1'], port: 2376 },
      lifetime: { ttl: '4h' },
    };
    const to = {
      ...qemuSpec({ disk: 30, memory: 4096, sshPort: 2222 }),
      engine: { ...engine, label: ['a=2'], repositoryUrl: 'http://m' },
      profiles: [],
      lifetime: { idleStop: '30m' },
    };
    expect(describePlan(wantedSpec('web', to), listedMachine('web', from))).toBe(
      [
        'change',
        'qemu.memory 2048 -> 4096 (restart)',
        'qemu.disk 20 -> 30 (restart)',
        'qemu.sshPort undefined -> 2222 (restart)',
        'engine.label ["a=1"] -> ["a=2"] (engine)',
        'engine.repositoryUrl undefined -> "http://m" (live)',
        'profiles ["docker-context"] -> [] (live)',
        'ttl "4h" -> undefined (live)',
        'idleStop undefined -> "30m" (live)',
      ].join('\n'),
    );
  });

  test.each([
    ['a disk that shrinks', qemuSpec({ disk: 30 }), qemuSpec({ disk: 20 })],
    ['another image', qemuSpec(), qemuSpec({ image: 'debian-12' })],
    [
      'another address',
      { options: { ipAddress: '192.0.2.10', sshUser: 'root', sshPort: 22 } },
      { options: { ipAddress: '192.0.2.11' } },
    ],
    ['another driver', {}, qemuSpec()],
    ['another region', { driver: 'ec2', options: { region: 'r-1' } }, { driver: 'ec2', options: { region: 'r-2' } }],
  ] as const)('is replaced for %s', (_title, from, to) => {
    expect(describePlan(wantedSpec('web', to), listedMachine('web', { ...from, fleet: FLEET_FILE }))).toMatch(
      /^replace\n/,
    );
  });

  test('that is replaced leaves an existing host as it is', () => {
    const { options } = specNamed('web');
    const before = listedMachine('web', { options: { ...options, ipAddress: '192.0.2.9' }, fleet: FLEET_FILE });
    expect(describePlan(wantedSpec('web'), before)).toContain('! the host itself and its engine stay as they are');
  });

  test('is not replaced for another way to reach it', () => {
    const { options } = specNamed('web');
    expect(
      describePlan(wantedSpec('web', { options: { ...options, sshPort: 2200, sshUser: 'ops' } }), listedMachine('web')),
    ).toMatch(/^change\ngeneric.sshUser .* \(live\)\ngeneric.sshPort 22 -> 2200 \(live\)$/);
    const url = (text: string) => ({ driver: 'none', options: { url: text } });
    expect(describePlan(wantedSpec('web', url('tcp://b:1')), listedMachine('web', url('tcp://a:1')))).toMatch(
      /^change\n.*\(live\)$/,
    );
  });

  test('is replaced for another engine port if the old one is forwarded', () => {
    const { engine } = specNamed('web');
    const host = { address: '127.0.0.1', enginePort: 4000, ssh: { address: '127.0.0.1', port: 4001, user: 'x' } };
    const to = wantedSpec('web', { engine: { ...engine, port: 2377 } });
    expect(describePlan(to, listedMachine('web', {}, { host } as Partial<Machine>))).toContain(
      'engine.port 2376 -> 2377 (replace)',
    );
    expect(describePlan(to, listedMachine('web'))).toBe('change\nengine.port 2376 -> 2377 (engine)');
  });

  test('never shows values of engine variables', () => {
    const { engine } = specNamed('web');
    const to = wantedSpec('web', { engine: { ...engine, env: ['A=new', 'B=secret2', 'C=same'] } });
    const text = describePlan(to, listedMachine('web', { engine: { ...engine, env: ['B=secret1', 'C=same'] } }));
    expect(text).toBe('change\nengine.env ["B=…","C=…"] -> ["A=…","B=… (another value)","C=…"] (engine)');
  });

  test('whose last change or restart was interrupted is changed again', () => {
    const failure = { at: '', step: 'connect', code: 'SSH_LOST', message: 'the line broke' };
    expect(describePlan(wantedSpec('web'), listedMachine('web', {}, { failure }))).toBe(
      'change\n! its last change did not complete: the line broke',
    );
    expect(describePlan(wantedSpec('web'), listedMachine('web', {}, { pendingRestart: true }))).toBe(
      'change\n! its restart did not complete',
    );
  });

  test('is replaced to stop when idle only if its provider always removes it at a shutdown', () => {
    const planFor = (options: Readonly<Record<string, unknown>>): string => {
      const spec = { driver: 'ec2', options, lifetime: { ttl: '4h' } };
      const to = wantedSpec('web', { ...spec, lifetime: { ttl: '4h', idleStop: '30m' } });
      return describePlan(to, listedMachine('web', spec, { onShutdown: 'removed' }));
    };
    expect(planFor({ spot: true })).toContain('idleStop undefined -> "30m" (replace)');
    expect(planFor({})).toContain('idleStop undefined -> "30m" (live)');
  });

  test('that has ended is not changed, with a note for the user', () => {
    const ended = listedMachine('web', { lifetime: { ttl: '1h' } }, { deadline: '2026-01-01T11:00:00Z' });
    expect(describePlan(wantedSpec('web', { lifetime: { ttl: '1h' } }), ended)).toMatch(
      /^nothing\n! it ended at its deadline/,
    );
  });

  test('with a broken record is reported, and the others are planned', () => {
    const broken = new SlipwayError('RECORD_BROKEN', 'it is not JSON');
    const plan = planOf([wantedSpec('web'), wantedSpec('db')], [{ name: 'web', broken }]);
    expect(plan.items.map(({ action }) => action)).toEqual(['broken', 'create']);
  });

  test('has the defaults of options that are newer than its record', () => {
    const { sshPort: _newer, ...older } = specNamed('web').options;
    const { tlsSan: _alsoNewer, ...engine } = specNamed('web').engine;
    expect(
      describePlan(
        wantedSpec('web'),
        listedMachine('web', { options: older, engine: engine as MachineSpec['engine'] }),
      ),
    ).toBe('nothing');
  });
});

describe('an option that a driver resolved', () => {
  const resolvedSpec = { ...EC2_SPEC, userOptions: getDriver('ec2').options.parse({}) };
  const ec2 = (options: object): WantedSpec => wantedSpec('web', { driver: 'ec2', options: { ...options } });

  test('is no change if the file leaves it open or says the same', () => {
    expect(describePlan(ec2({}), listedMachine('web', resolvedSpec))).toBe('nothing');
    expect(describePlan(ec2({ region: 'r-1' }), listedMachine('web', resolvedSpec))).toBe('nothing');
  });

  test('is a change if the file says otherwise, or no longer says what the machine was created with', () => {
    expect(describePlan(ec2({ region: 'r-2' }), listedMachine('web', resolvedSpec))).toContain(
      'ec2.region "r-1" -> "r-2" (replace)',
    );
    const requestedSpec = { ...resolvedSpec, userOptions: { ...resolvedSpec.userOptions, region: 'r-1' } };
    expect(describePlan(ec2({}), listedMachine('web', requestedSpec))).toContain(
      'ec2.region "r-1" -> undefined (replace)',
    );
  });

  test('can be spelled differently in the file', () => {
    const zone = {
      ...EC2_SPEC,
      options: { ...EC2_SPEC.options, zone: 'r-1a' },
      userOptions: { ...resolvedSpec.userOptions, zone: 'a' },
    };
    expect(describePlan(ec2({ zone: 'a' }), listedMachine('web', zone))).toBe('nothing');
  });

  test('is assumed in records without user options, except for an option that returns to its default', () => {
    expect(describePlan(ec2({}), listedMachine('web', EC2_SPEC))).toBe('nothing');
    const large = { ...EC2_SPEC, options: { ...EC2_SPEC.options, instanceType: 'm7.large' } };
    expect(describePlan(ec2({}), listedMachine('web', large))).toContain(
      'ec2.instanceType "m7.large" -> "t3.small" (restart)',
    );
  });
});

describe('a machine that is no longer in the file', () => {
  const records = [
    listedMachine('ours', { fleet: FLEET_FILE }),
    listedMachine('theirs', { fleet: '/other.yaml' }),
    listedMachine('by-hand'),
  ];

  test('is removed only with --prune, and only if this file created it', () => {
    expect(planOf([], records).items).toEqual([]);
    expect(planOf([], records, true).items.map(({ name, action }) => `${action} ${name}`)).toEqual(['remove ours']);
    expect(planOf([wantedSpec('ours')], records, true).items.map(({ action }) => action)).toEqual(['nothing']);
  });
});

describe('planning', () => {
  /** Counts how often properties of records and specs are read. */
  function countReads(machines: number): number {
    let count = 0;
    const countAccess = <T extends object>(thing: T): T =>
      new Proxy(thing, {
        get(target, key, receiver) {
          count += 1;
          const value: unknown = Reflect.get(target, key, receiver);
          return typeof value === 'object' && value !== null && !Array.isArray(value) ? countAccess(value) : value;
        },
      });
    const names = Array.from({ length: machines }, (_, at) => `web-${at + 1}`);
    const fleet = {
      ...fleetOf(),
      machines: names.map((name) => countAccess({ entry: 'web', spec: wantedSpec(name) })),
    };
    const records = names.map((name) => countAccess(listedMachine(name, { fleet: FLEET_FILE })));
    expect(planFleet(fleet, records, { prune: true, now: NOW }).items).toHaveLength(machines);
    return count;
  }

  test('takes ten times as many reads for ten times as many machines', () => {
    expect(countReads(2000)).toBe(10 * countReads(200));
  });
});
