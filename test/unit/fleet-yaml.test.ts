import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { specFrom } from '../../src/cli/spec.ts';
import { drivers } from '../../src/drivers/registry.ts';
import { wrongsIn } from '../../src/fleet/check.ts';
import { fleetOf, type WantedSpec } from '../../src/fleet/fleet.ts';
import { fileSchema } from '../../src/fleet/schema.ts';
import { toYaml } from '../../src/fleet/write.ts';
import { parseYaml } from '../../src/fleet/yaml.ts';
import type { MachineSpec } from '../../src/machine/model.ts';
import { describe as described } from '../../src/machine/options.ts';
import { engineInfos, engineOptions, lifeInfos, lifeOptions } from '../../src/machine/spec.ts';
import { specNamed } from '../fakes/machine.ts';
import { valuesFor } from './values.ts';

const schema = fileSchema();

/** The one machine of a YAML text, or what is wrong with it. */
function machineIn(text: string, env: Record<string, string>): WantedSpec | string {
  const parsed = parseYaml(text, 'machines.yaml');
  const source = { shown: 'machines.yaml', folder: '/', parsed, wrongs: wrongsIn(parsed, schema) };
  const { fleet, mistakes } = fleetOf([source], '/machines.yaml', { env, home: '/root' });
  const [says] = [...source.wrongs, ...mistakes].map((mistake) => `${mistake.at.line}: ${mistake.says}\n${text}`);
  return says ?? fleet.wanted[0]?.spec ?? 'no machine';
}

const pairs = (spec: Pick<MachineSpec, 'engine'>): readonly (readonly [string, string])[] =>
  spec.engine.env.map((pair) => [pair.slice(0, pair.indexOf('=')), pair.slice(pair.indexOf('=') + 1)]);

describe.each(drivers.map((driver) => ({ name: driver.name, driver })))('a machine of driver $name', ({ driver }) => {
  test('becomes a YAML text from which the same machine is made', () => {
    const own = described(driver.options, driver.name);
    fc.assert(
      fc.property(
        valuesFor(driver.options, own),
        valuesFor(engineOptions, engineInfos),
        driver.ends ? valuesFor(lifeOptions, lifeInfos) : fc.constant<Record<string, unknown>>({}),
        fc.constantFrom(['docker-context'], []),
        (options, engine, life, profiles) => {
          const flags = Object.fromEntries([
            ...own.map((info) => [info.flag, options[info.key]] as const),
            ...engineInfos.map((info) => [info.flag, engine[info.key]] as const),
            ...lifeInfos.map((info) => [info.flag, life[info.key]] as const),
          ]);
          const { id: _id, ...spec } = specFrom({
            name: 'web',
            driver: driver.name,
            flags,
            env: {},
            before: undefined,
            profiles,
          });
          // A variable has one value, as in any environment.
          fc.pre(new Set(pairs(spec).map(([name]) => name)).size === spec.engine.env.length);
          expect(machineIn(toYaml(spec), Object.fromEntries(pairs(spec)))).toEqual(spec);
        },
      ),
      { numRuns: 150 },
    );
  });
});

describe('the YAML of a machine', () => {
  test('says what is not the default, and nothing else', () => {
    const { engine } = specNamed('web');
    const spec = specNamed('web', {
      options: { ipAddress: '192.0.2.10', sshUser: 'ops', sshPort: 22 },
      engine: { ...engine, label: ['zone=a'], env: ['HTTP_PROXY=http://me:secret@proxy'], version: '28.10' },
      life: { ttl: '4h' },
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

  test('leaves out what a driver settled, and names no driver’s section that would be empty', () => {
    const ec2 = { driver: 'ec2', options: { region: 'r-1', ami: 'ami-1', rootSize: 30 } };
    expect(toYaml(specNamed('web', { ...ec2, given: { rootSize: 30 } }))).toBe(
      'machines:\n  web:\n    driver: ec2\n    ec2:\n      rootSize: 30\n',
    );
    expect(toYaml(specNamed('web', { driver: 'qemu', options: {} }))).toBe('machines:\n  web:\n    driver: qemu\n');
  });
});
