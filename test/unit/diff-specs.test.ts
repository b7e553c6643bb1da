import { describe, expect, test } from 'vitest';
import { z } from 'zod';
import { defineManifest, type DriverManifest } from '../../src/drivers/contract.ts';
import type { Machine, MachineSpec } from '../../src/machine/model.ts';
import { changedOptions, diffSpecs, hasChangesIn, keepResolvedOptions } from '../../src/operations/diff-specs.ts';
import { readyMachine, specNamed } from '../fakes/sample-machine.ts';

const toyOptions = z.object({
  region: z.string().optional(),
  size: z.int().default(1),
  tags: z.array(z.string()).default([]),
});
const toyDriver = defineManifest({
  kind: 'local',
  name: 'toy',
  summary: 'a driver with options of each kind of change',
  options: toyOptions,
  changeKindOf: (option) => (({ size: 'restart', tags: 'live' }) as const)[option as 'size'] ?? 'replace',
  load: () => Promise.reject(new Error('nothing loads this driver')),
}) as unknown as DriverManifest;
const { changeKindOf: _changeKindOf, ...driverWithoutRules } = toyDriver;

const toySpec = (more: Partial<MachineSpec> = {}): MachineSpec =>
  specNamed('web', { driver: 'toy', options: { region: 'north', size: 1, tags: [] }, ...more });
const toyMachine = (spec: MachineSpec, more: Partial<Machine> = {}): Machine =>
  ({ ...readyMachine('web', { spec }), ...more }) as Machine;
const { engine } = specNamed('web');

describe('diffSpecs', () => {
  test('returns nothing for equal specs', () => {
    const spec = toySpec({ lifetime: { ttl: '4h', idleStop: '30m' } });
    expect(diffSpecs(toyMachine(spec), structuredClone(spec), toyDriver)).toEqual([]);
  });

  test('ignores the id, the name and the options that the user gave', () => {
    const wanted = toySpec({ id: 'another', name: 'db', userOptions: { region: 'north' } });
    expect(diffSpecs(toyMachine(toySpec()), wanted, toyDriver)).toEqual([]);
  });

  test('returns only the driver if it differs, because its options mean nothing to another one', () => {
    const wanted = specNamed('web', { profiles: [], engine: { ...engine, label: ['a=b'] } });
    expect(diffSpecs(toyMachine(toySpec()), wanted, toyDriver)).toEqual([
      { section: 'driver', key: 'driver', from: 'toy', to: 'generic', effect: 'replace' },
    ]);
  });

  test.each([
    ['region', 'south', 'replace'],
    ['size', 2, 'restart'],
    ['tags', ['a=b'], 'live'],
  ])('asks the driver how a change of its option %s takes effect', (key, to, effect) => {
    const before = toySpec();
    const wanted = toySpec({ options: { ...before.options, [key]: to } });
    expect(diffSpecs(toyMachine(before), wanted, toyDriver)).toEqual([
      { section: 'options', key, from: before.options[key], to, effect },
    ]);
  });

  test('requires another machine for an option if the driver has no rules for changes', () => {
    const wanted = toySpec({ options: { region: 'north', size: 1, tags: ['a=b'] } });
    expect(diffSpecs(toyMachine(toySpec()), wanted, driverWithoutRules)).toMatchObject([
      { key: 'tags', effect: 'replace' },
    ]);
  });

  test('returns an option that is added or removed with undefined on the other side', () => {
    const without = toySpec({ options: { size: 1, tags: [] } });
    expect(diffSpecs(toyMachine(without), toySpec(), toyDriver)).toMatchObject([{ from: undefined, to: 'north' }]);
    expect(diffSpecs(toyMachine(toySpec()), without, toyDriver)).toMatchObject([{ from: 'north', to: undefined }]);
  });

  test('counts options that are newer than the record, or that are left open, as their defaults', () => {
    const { tlsSan: _newEngineOption, ...oldEngine } = engine;
    const oldRecord = toySpec({ options: { region: 'north' }, engine: oldEngine as MachineSpec['engine'] });
    expect(diffSpecs(toyMachine(oldRecord), toySpec(), toyDriver)).toEqual([]);
    expect(diffSpecs(toyMachine(toySpec()), oldRecord, toyDriver)).toEqual([]);
    const larger = toySpec({ options: { region: 'north', size: 2 } });
    expect(diffSpecs(toyMachine(oldRecord), larger, toyDriver)).toMatchObject([{ key: 'size', from: 1, to: 2 }]);
  });

  test('compares values as they are if the schema rejects them', () => {
    const invalid = toySpec({ options: { size: 'large' } });
    expect(diffSpecs(toyMachine(invalid), structuredClone(invalid), toyDriver)).toEqual([]);
    expect(diffSpecs(toyMachine(invalid), toySpec({ options: { size: 2 } }), toyDriver)).toContainEqual(
      expect.objectContaining({ key: 'size', from: 'large', to: 2 }),
    );
  });

  test('restarts the engine for a change of its options', () => {
    const wanted = toySpec({ engine: { ...engine, label: ['a=b'], port: 2377 } });
    expect(diffSpecs(toyMachine(toySpec()), wanted, toyDriver)).toEqual([
      { section: 'engine', key: 'port', from: 2376, to: 2377, effect: 'engine' },
      { section: 'engine', key: 'label', from: [], to: ['a=b'], effect: 'engine' },
    ]);
  });

  test.each(['installUrl', 'repositoryUrl', 'repositoryKey'])(
    'changes the engine option %s live, because only an installation reads it',
    (key) => {
      const wanted = toySpec({ engine: { ...engine, [key]: 'x' } });
      expect(diffSpecs(toyMachine(toySpec()), wanted, toyDriver)).toMatchObject([
        { section: 'engine', key, to: 'x', effect: 'live' },
      ]);
    },
  );

  test('requires another machine for another engine port if the old one is forwarded', () => {
    const ssh = { address: '127.0.0.1', port: 20_022, user: 'slipway' };
    const forwarded = toyMachine(toySpec(), { host: { address: '127.0.0.1', ssh, enginePort: 20_376 } });
    const wanted = toySpec({ engine: { ...engine, port: 2377, label: ['a=b'] } });
    expect(diffSpecs(forwarded, wanted, toyDriver)).toMatchObject([
      { key: 'port', effect: 'replace' },
      { key: 'label', effect: 'engine' },
    ]);
  });

  test('changes profiles live', () => {
    expect(diffSpecs(toyMachine(toySpec()), toySpec({ profiles: ['ssh-config'] }), toyDriver)).toEqual([
      { section: 'profiles', key: 'profiles', from: ['docker-context'], to: ['ssh-config'], effect: 'live' },
    ]);
  });

  test('changes the lifetime live', () => {
    const before = toyMachine(toySpec({ lifetime: { ttl: '4h' } }), { onShutdown: 'stopped' });
    expect(diffSpecs(before, toySpec({ lifetime: { idleStop: '30m' } }), toyDriver)).toEqual([
      { section: 'lifetime', key: 'ttl', from: '4h', to: undefined, effect: 'live' },
      { section: 'lifetime', key: 'idleStop', from: undefined, to: '30m', effect: 'live' },
    ]);
  });

  test('requires another machine to stop when idle if the provider removes this one at a shutdown', () => {
    const removable = (spec: MachineSpec): Machine => toyMachine(spec, { onShutdown: 'removed' });
    const idle = toySpec({ lifetime: { ttl: '4h', idleStop: '30m' } });
    expect(diffSpecs(removable(toySpec()), idle, toyDriver)).toMatchObject([
      { key: 'ttl', effect: 'live' },
      { key: 'idleStop', effect: 'replace' },
    ]);
    expect(diffSpecs(removable(idle), toySpec(), toyDriver)).toMatchObject([
      { key: 'ttl', effect: 'live' },
      { key: 'idleStop', to: undefined, effect: 'live' },
    ]);
  });
});

test('changedOptions returns keys of the driver, and hasChangesIn says which sections differ', () => {
  const wanted = toySpec({ options: { region: 'south', size: 2, tags: [] }, engine: { ...engine, port: 2377 } });
  const diff = diffSpecs(toyMachine(toySpec()), wanted, toyDriver);
  expect(changedOptions(diff)).toEqual(['region', 'size']);
  expect(changedOptions(diff, 'restart')).toEqual(['size']);
  expect(changedOptions(diff, 'live')).toEqual([]);
  expect(
    (['driver', 'options', 'engine', 'profiles', 'lifetime'] as const).map((key) => hasChangesIn(diff, key)),
  ).toEqual([false, true, true, false, false]);
});

describe('keepResolvedOptions', () => {
  const cloudDriver: DriverManifest = { ...toyDriver, kind: 'cloud' } as unknown as DriverManifest;
  const open = toySpec({ options: { size: 1, tags: [] } });

  test('keeps what the driver resolved where the user leaves an option open or asks for the same', () => {
    const before = toySpec({ options: { region: 'north-1', size: 1, tags: [] }, userOptions: { region: 'north' } });
    const same = toySpec({ options: { region: 'north', size: 1, tags: [] } });
    expect(keepResolvedOptions(before, same, cloudDriver).options.region).toBe('north-1');
    expect(keepResolvedOptions({ ...before, userOptions: {} }, open, cloudDriver).options.region).toBe('north-1');
  });

  test('takes what the user changes, or no longer asks for', () => {
    const before = toySpec({ options: { region: 'north-1', size: 1, tags: [] }, userOptions: { region: 'north' } });
    const south = toySpec({ options: { region: 'south', size: 1, tags: [] } });
    expect(keepResolvedOptions(before, south, cloudDriver).options.region).toBe('south');
    expect(keepResolvedOptions(before, open, cloudDriver).options).not.toHaveProperty('region');
  });

  test('takes an open option of an old record as resolved only by a cloud', () => {
    expect(keepResolvedOptions(toySpec(), open, cloudDriver).options.region).toBe('north');
    expect(keepResolvedOptions(toySpec(), open, toyDriver).options).not.toHaveProperty('region');
  });
});

describe('keepResolvedOptions', () => {
  const driver = { ...toyDriver, kind: 'cloud', formerDefaults: { region: 'north' } } as unknown as DriverManifest;

  test('keeps the former default of an option that the user left open, then and now', () => {
    const before = toySpec({ userOptions: { region: 'north', size: 1, tags: [] } });
    const wanted = toySpec({ options: { size: 1, tags: [] } });
    expect(diffSpecs(toyMachine(before), keepResolvedOptions(before, wanted, driver), driver)).toEqual([]);
  });

  test('still sees that the user removed another value', () => {
    const before = toySpec({ options: { region: 'south' }, userOptions: { region: 'south', size: 1, tags: [] } });
    const wanted = toySpec({ options: { size: 1, tags: [] } });
    expect(changedOptions(diffSpecs(toyMachine(before), keepResolvedOptions(before, wanted, driver), driver))).toEqual([
      'region',
    ]);
  });
});
