import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { resolveSpec } from '../../src/machine-options/spec-from-flags.ts';
import { drivers } from '../../src/drivers/registry.ts';
import { problemsIn } from '../../src/fleet/check-file.ts';
import { buildFleet, type WantedSpec } from '../../src/fleet/build-fleet.ts';
import { fleetFileSchema } from '../../src/fleet/file-schema.ts';
import { toYaml } from '../../src/fleet/to-yaml.ts';
import { parseYaml } from '../../src/fleet/yaml.ts';
import type { MachineSpec } from '../../src/machine/model.ts';
import { describeOptions } from '../../src/machine/options.ts';
import { engineOptionSpecs, engineOptions, lifetimeOptionSpecs, lifetimeOptions } from '../../src/machine/spec.ts';
import { specNamed } from '../fakes/sample-machine.ts';
import { anyValuesFor } from './option-values.ts';

const schema = fleetFileSchema();

/** Returns the only machine of a YAML text, or its first mistake. */
function specOrMistakeIn(text: string, env: Record<string, string>): WantedSpec | string {
  const parsed = parseYaml(text, 'machines.yaml');
  const source = { displayPath: 'machines.yaml', folder: '/', parsed, problems: problemsIn(parsed, schema) };
  const { fleet, problems } = buildFleet([source], '/machines.yaml', { env, home: '/root' });
  const [firstMistake] = [...source.problems, ...problems].map(
    (mistake) => `${mistake.at.line}: ${mistake.message}\n${text}`,
  );
  return firstMistake ?? fleet.machines[0]?.spec ?? 'no machine';
}

const envPairs = (spec: Pick<MachineSpec, 'engine'>): readonly (readonly [string, string])[] =>
  spec.engine.env.map((pair) => [pair.slice(0, pair.indexOf('=')), pair.slice(pair.indexOf('=') + 1)]);

describe.each(drivers.map((driver) => ({ name: driver.name, driver })))('a machine of driver $name', ({ driver }) => {
  test('is formatted as YAML that parses to the same machine', () => {
    const driverSpecs = describeOptions(driver.options, driver.name);
    fc.assert(
      fc.property(
        anyValuesFor(driver.options, driverSpecs),
        anyValuesFor(engineOptions, engineOptionSpecs),
        driver.shutdownBehavior
          ? anyValuesFor(lifetimeOptions, lifetimeOptionSpecs)
          : fc.constant<Record<string, unknown>>({}),
        fc.constantFrom(['docker-context'], []),
        (options, engine, life, profiles) => {
          const flags = Object.fromEntries([
            ...driverSpecs.map((info) => [info.flag, options[info.key]] as const),
            ...engineOptionSpecs.map((info) => [info.flag, engine[info.key]] as const),
            ...lifetimeOptionSpecs.map((info) => [info.flag, life[info.key]] as const),
          ]);
          const { id: _id, ...spec } = resolveSpec({
            name: 'web',
            driver: driver.name,
            flags,
            env: {},
            before: undefined,
            profiles,
          });
          // A variable has one value, as in any environment.
          fc.pre(new Set(envPairs(spec).map(([name]) => name)).size === spec.engine.env.length);
          expect(specOrMistakeIn(toYaml(spec), Object.fromEntries(envPairs(spec)))).toEqual(spec);
        },
      ),
      { numRuns: 150 },
    );
  });
});

describe('the YAML of a machine', () => {
  test('contains only values that are not defaults', () => {
    const { engine } = specNamed('web');
    const spec = specNamed('web', {
      options: { ipAddress: '192.0.2.10', sshUser: 'ops', sshPort: 22 },
      engine: { ...engine, label: ['zone=a'], env: ['HTTP_PROXY=http://me:secret@proxy'], version: '28.10' },
      lifetime: { ttl: '4h' },
    });
    expect(toYaml(spec)).toMatchInlineSnapshot(`
      "machines:
        web:
          driver: generic
          generic:
            ipAddress: 192.0.2.10
            sshUser: ops
          engine:
            version: "28.10"
            label:
              - zone=a
            env:
              - HTTP_PROXY=\${HTTP_PROXY}
          ttl: 4h
      "
    `);
  });

  test('contains no options that a driver resolved, and no empty section', () => {
    const ec2 = { driver: 'ec2', options: { region: 'r-1', ami: 'ami-1', rootSize: 30 } };
    expect(toYaml(specNamed('web', { ...ec2, userOptions: { rootSize: 30 } }))).toBe(
      'machines:\n  web:\n    driver: ec2\n    ec2:\n      rootSize: 30\n',
    );
    expect(toYaml(specNamed('web', { driver: 'qemu', options: {} }))).toBe('machines:\n  web:\n    driver: qemu\n');
  });
});
