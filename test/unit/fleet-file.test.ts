import { readFileSync } from 'node:fs';
import { mkdir, symlink, writeFile } from 'node:fs/promises';
import { join, resolve, sep } from 'node:path';
import { describe, expect, test } from 'vitest';
import { drivers } from '../../src/drivers/registry.ts';
import type { Fleet } from '../../src/fleet/build-fleet.ts';
import { readFleet } from '../../src/fleet/read-fleet.ts';
import { fleetJsonSchema } from '../../src/fleet/file-schema.ts';
import { catchRejection } from '../fakes/catch-error.ts';
import { isPosix } from '../fakes/file-modes.ts';
import { createTemporaryFolder } from '../fakes/temporary-folder.ts';

type FileContents = Readonly<Record<string, string>>;
const HOME = resolve('/home/ada');

/** Reads machines.yaml from a new folder with these files. */
async function readFleetFrom(files: FileContents | string, env: Record<string, string> = {}): Promise<Fleet> {
  await using folder = await createTemporaryFolder();
  return await writeAndReadFleet(folder.path, files, env);
}

async function writeAndReadFleet(
  folder: string,
  files: FileContents | string,
  env: Record<string, string> = {},
): Promise<Fleet> {
  const all: FileContents = typeof files === 'string' ? { 'machines.yaml': files } : files;
  for (const [name, text] of Object.entries(all)) {
    await mkdir(join(folder, name, '..'), { recursive: true });
    await writeFile(join(folder, name), text);
  }
  return await readFleet(join(folder, 'machines.yaml'), { env, home: HOME });
}

/** Returns the mistakes in the files, one per line, without the folder. */
async function readMistakes(files: FileContents | string): Promise<string> {
  await using folder = await createTemporaryFolder();
  const error = await catchRejection(writeAndReadFleet(folder.path, files));
  expect(error?.code).toBe('USAGE');
  const lines = (error?.detail.length ?? 0) > 0 ? error?.detail : [error?.message ?? ''];
  return (lines ?? []).join('\n').replaceAll(`${folder.path}${sep}`, '');
}

const specsByName = ({ machines }: Fleet) => Object.fromEntries(machines.map(({ spec }) => [spec.name, spec]));

describe('machines.yaml', () => {
  test('gives a spec for each machine, with defaults for what it leaves open', async () => {
    const { dev } = specsByName(
      await readFleetFrom('machines:\n  dev: { driver: qemu, qemu: { cpus: 4 }, ttl: 4h }\n'),
    );
    expect(dev).toMatchObject({ driver: 'qemu', options: { cpus: 4, memory: 2048 }, lifetime: { ttl: '4h' } });
    expect(dev?.engine).toMatchObject({ source: 'docker', port: 2376, label: [] });
    expect(dev?.profiles).toEqual(['docker-context']);
  });

  test('numbers the machines of a count, and keeps their entry', async () => {
    const { machines } = await readFleetFrom(
      'machines: { web: { count: 3, driver: qemu }, none: { count: 0, driver: qemu } }',
    );
    expect(machines.map(({ entry, spec }) => `${entry}: ${spec.name}`)).toEqual([
      'web: web-1',
      'web: web-2',
      'web: web-3',
    ]);
  });

  test('merges maps and replaces lists, in the order defaults, templates, machine', async () => {
    const { web } = specsByName(
      await readFleetFrom(`
        defaults: { driver: ec2, engine: { label: [a=1], opt: [x=1] }, ec2: { region: r-1, rootSize: 20 } }
        templates:
          big: { extends: [base], ec2: { rootSize: 100 } }
          base: { ec2: { rootSize: 50, instanceType: m7.large }, engine: { label: [b=2, c=3] } }
          spot: { ec2: { spot: true, instanceType: c7.large } }
        machines:
          web: { extends: [big, spot], ec2: { openPort: ['80'] } }
      `),
    );
    expect(web?.options).toMatchObject({
      region: 'r-1',
      rootSize: 100,
      instanceType: 'c7.large',
      spot: true,
      openPort: ['80'],
    });
    expect(web?.engine).toMatchObject({ label: ['b=2', 'c=3'], opt: ['x=1'] });
  });

  test('gets the driver from its options, nearest first, and ignores options of other drivers', async () => {
    const { one, two, three } = specsByName(
      await readFleetFrom(`
        defaults: { driver: qemu, ec2: { region: r-1 } }
        templates: { cloud: { driver: gce } }
        machines:
          one: { amazonec2: { rootSize: 30 } }
          two:
          three: { extends: cloud }
      `),
    );
    expect([one?.driver, two?.driver, three?.driver]).toEqual(['ec2', 'qemu', 'gce']);
    expect(one?.options).toMatchObject({ region: 'r-1', rootSize: 30 });
    expect(two?.options).not.toHaveProperty('region');
  });

  test('extends other files, each read once, with paths relative to each', async () => {
    await using folder = await createTemporaryFolder();
    const fleet = await writeAndReadFleet(folder.path, {
      'machines.yaml': 'extends: [shared/base.yaml, ./keys.yaml]\nmachines: { web: { generic: { sshUser: ops } } }',
      'shared/base.yaml':
        'extends: ../keys.yaml\nmachines: { web: { generic: { ipAddress: h, sshKey: keys/web } }, old: { qemu: { image: ./d.qcow2 } } }',
      'keys.yaml': 'defaults: { generic: { sshKey: ~/.ssh/work } }\nmachines: { lone: { generic: { ipAddress: g } } }',
    });
    const { web, old, lone } = specsByName(fleet);
    expect(web?.options).toMatchObject({
      ipAddress: 'h',
      sshUser: 'ops',
      sshKey: join(folder.path, 'shared/keys/web'),
    });
    expect(old?.options.image).toBe(join(folder.path, 'shared/d.qcow2'));
    expect(lone?.options.sshKey).toBe(join(HOME, '.ssh/work'));
  });

  test.runIf(isPosix)(
    'is identified by its real path, or by its own name, but not by the name of a file that it extends',
    async () => {
      await using folder = await createTemporaryFolder();
      await mkdir(join(folder.path, 'real'));
      await writeFile(join(folder.path, 'real/m.yaml'), 'machines: {}');
      await symlink(join(folder.path, 'real/m.yaml'), join(folder.path, 'machines.yaml'));
      const linked = await readFleet(join(folder.path, 'machines.yaml'), { env: {}, home: HOME });
      expect(linked.fleetId).toBe(join(folder.path, 'real/m.yaml'));
      await writeFile(join(folder.path, 'real/m.yaml'), 'name: web of ours');
      expect((await readFleet(join(folder.path, 'machines.yaml'), { env: {}, home: HOME })).fleetId).toBe(
        'web of ours',
      );
      await writeFile(join(folder.path, 'child.yaml'), 'extends: real/m.yaml');
      expect((await readFleet(join(folder.path, 'child.yaml'), { env: {}, home: HOME })).fleetId).toBe(
        join(folder.path, 'child.yaml'),
      );
    },
  );

  test('can take values of engine variables from the environment', async () => {
    const text =
      'machines: { web: { driver: qemu, engine: { env: ["P=http://u:${SECRET}@p", "Q=$${x}", "R=${EMPTY}"] } } }';
    const { web } = specsByName(await readFleetFrom(text, { SECRET: 'p,"$1', EMPTY: '' }));
    expect(web?.engine.env).toEqual(['P=http://u:p,"$1@p', 'Q=${x}', 'R=']);
  });

  test('installs the engine with a script if it names one, and drops a script that is not used', async () => {
    const { a, b } = specsByName(
      await readFleetFrom(`machines:
        a: { driver: qemu, engine: { installUrl: 'https://get.example' } }
        b: { driver: qemu, engine: { installUrl: 'https://get.example', source: distro } }`),
    );
    expect([a?.engine.source, b?.engine.source, b?.engine.installUrl]).toEqual(['url', 'distro', undefined]);
  });

  test('can have a byte order mark, CRLF, anchors, and only comments in place of a map', async () => {
    const text = '\uFEFFdefaults:\r\n  # nothing yet\r\nmachines:\r\n  a: &a\r\n    driver: qemu\r\n  b: *a\r\n';
    expect(Object.keys(specsByName(await readFleetFrom(text)))).toEqual(['a', 'b']);
  });
});

describe('a mistake in machines.yaml', () => {
  test('is reported with all others, by line and column, with the value and a suggestion', async () => {
    expect(
      await readMistakes(`default: {}
machines:
  dev:
    driver: qemuu
    qemu: { cpu: 4, memory: 1, disk: 'x', accelerator: tgc }
    ttl: 4 hours
    count: 2000
  we_b: {}
  web:
    extends: bgi
    ec2: { root-size: 3, accessKey: a, amazonec2: }
    engine: { version: 28.2, label: x, env: [1, '=secret'] }
    profiles: [dockr-context]
  list: []
`),
    ).toMatchInlineSnapshot(`
      "machines.yaml:1:1: unknown key "default" (did you mean defaults?)
      machines.yaml:4:13: unknown driver "qemuu" (did you mean qemu?)
      machines.yaml:5:13: unknown key "cpu" in machines.dev.qemu (did you mean cpus?)
      machines.yaml:5:29: machines.dev.qemu.memory must be at least 512, got 1
      machines.yaml:5:38: machines.dev.qemu.disk must be a whole number, got "x"
      machines.yaml:5:56: unknown value "tgc" for machines.dev.qemu.accelerator (did you mean tcg?)
      machines.yaml:6:10: machines.dev.ttl must be a time like 90m, 4h or 2d, got "4 hours"
      machines.yaml:7:12: machines.dev.count must be at most 1000, got 2000
      machines.yaml:8:3: "we_b" can't be a machine name: use at most 63 letters, digits, dots and hyphens, starting with a letter or digit
      machines.yaml:11:12: unknown key "root-size" in machines.web.ec2 (did you mean rootSize?)
      machines.yaml:11:26: accessKey is secret and not allowed in the file: set AWS_ACCESS_KEY_ID instead
      machines.yaml:11:40: unknown key "amazonec2" in machines.web.ec2
      machines.yaml:12:24: machines.web.engine.version must be a string, got 28.2 (put it in quotes)
      machines.yaml:12:37: machines.web.engine.label must be a list, got "x"
      machines.yaml:12:46: machines.web.engine.env[1] must be a string
      machines.yaml:12:49: machines.web.engine.env[2] must be a variable like NAME=value
      machines.yaml:13:16: unknown profile "dockr-context" (did you mean docker-context?)
      machines.yaml:14:9: machines.list must be a map, got a list"
    `);
  });

  test('is also found between machines', async () => {
    expect(
      await readMistakes(`machines:
  web: { driver: qemu, count: 2 }
  web-1: { driver: qemu }
  nobody: {}
  half: { driver: generic, generic: { sshUser: ops } }
  both: { qemu: {}, ec2: {} }
  other: { driver: qemu, ec2: {} }
  round: { extends: t, driver: qemu }
  lost: { extends: [t2], driver: qemu }
  ends: { none: { url: 'unix:///x' }, ttl: 4h }
  open: { driver: qemu, engine: { env: ['A=\${NOT_SET}'] } }
templates:
  t: { extends: u }
  u: { extends: [t] }
`),
    ).toMatchInlineSnapshot(`
      "machines.yaml:3:3: machines.web and machines.web-1 both define a machine named web-1
      machines.yaml:4:11: machines.nobody has no driver; for a VM on this computer, add driver: qemu
      machines.yaml:5:37: machines.half.generic.ipAddress is missing
      machines.yaml:6:9: machines.both has no driver; for a VM on this computer, add driver: qemu
      machines.yaml:7:26: machines.other uses the driver qemu, so its section ec2 has no effect
      machines.yaml:9:21: unknown template "t2" (did you mean t?)
      machines.yaml:10:44: machines of the driver none can't end or stop by themselves, so ttl is not allowed
      machines.yaml:11:41: the environment variable NOT_SET, which engine.env uses, is not set
      machines.yaml:14:18: templates extend each other in a cycle: t → u → t"
    `);
  });

  const YAML: readonly (readonly [string, string, string])[] = [
    ['is empty', '', '1:1: the file is empty; start with: machines: { dev: { driver: qemu } }'],
    ['has comments only', '# later\n', '1:1: the file is empty; start with: machines: { dev: { driver: qemu } }'],
    ['is a list', '- a\n- b\n', '1:1: the file must be a map, got a list'],
    ['has tabs', 'machines:\n\tdev: {}\n', '2:1: invalid YAML: tabs are not allowed as indentation'],
    ['has keys twice', 'machines:\n  a: { driver: qemu }\n  a: {}\n', '3:3: duplicate key'],
    ['has a number for a key', 'machines:\n  1: { driver: qemu }\n', '2:3: a key must be a string; put it in quotes'],
    ['has a list for a key', 'machines:\n  ? [x]\n  : {}\n', '2:5: a key must be a string; put it in quotes'],
    [
      'has two documents',
      'machines: {}\n---\na: {}\n',
      '2:1: a second document (---) starts here; a file must contain only one',
    ],
    [
      'merges by <<',
      'machines:\n  a: &a { driver: qemu }\n  b:\n    <<: *a\n',
      '4:5: << is not supported: put shared settings in `templates` and name them in `extends`',
    ],
    ['has an alias of nothing', 'machines: { a: *b }\n', '1:16: there is no anchor &b before this alias'],
    ['contains itself', 'machines: &m { a: *m }\n', '1:19: unknown key "a" in machines.a'],
    ["has a tag of somebody's", 'machines: !ruby/object {}\n', '1:11: invalid YAML: unresolved tag: !ruby/object'],
    ['has a prototype', 'machines: { a: { __proto__: { ttl: 1h } } }\n', '1:18: unknown key "__proto__" in machines.a'],
  ];
  test.each(YAML)('that %s', async (_title, text, mistake) => {
    expect(await readMistakes(text)).toBe(`machines.yaml:${mistake}`);
  });

  test('is reported in a few lines, even for a missing bracket or recursive aliases', async () => {
    const lines = (await readMistakes(`machines: ${'['.repeat(5000)}`)).split('\n');
    expect(lines.length).toBeLessThan(25);
    const bomb = Array.from(
      { length: 12 },
      (_, at) =>
        `a${at}: &a${at} [${Array(12)
          .fill(at === 0 ? 'x' : `*a${at - 1}`)
          .join(', ')}]`,
    );
    expect(await readMistakes(bomb.join('\n'))).toBe(
      'machines.yaml:1:1: the aliases (*name) expand to too many values',
    );
  });

  test('is reported for the file that contains it, and circular files are read once', async () => {
    expect(
      await readMistakes({
        'machines.yaml': 'extends: [a.yaml, gone.yaml, sub]\nmachines: { web: { driver: quemu } }',
        'a.yaml': 'extends: machines.yaml\nmachines: { a: { drivr: qemu } }',
        'sub/x.yaml': '',
      }).then((text) => text.replaceAll(/\/\S*?(?=\w+\.yaml)/g, '')),
    ).toMatchInlineSnapshot(`
      "a.yaml:1:10: files extend each other in a cycle: machines.yaml → a.yaml → machines.yaml
      a.yaml:2:18: unknown key "drivr" in machines.a (did you mean driver?)
      machines.yaml:1:19: gone.yaml does not exist
      machines.yaml:1:30: sub is a folder
      machines.yaml:2:28: unknown driver "quemu" (did you mean qemu?)"
    `);
  });

  test('is a count of too many machines', async () => {
    const text = `machines:\n${Array.from({ length: 11 }, (_, at) => `  m${at}: { count: 1000, driver: qemu }\n`).join('')}`;
    expect(await readMistakes(text)).toBe('machines.yaml:2:3: 11000 machines are defined; the maximum is 10000');
  });

  test('does not include templates that extend each other twice, which are read in linear time', async () => {
    const templates = Array.from({ length: 60 }, (_, at) => `  t${at + 1}: { extends: [t${at}, t${at}] }\n`).join('');
    const { web } = specsByName(
      await readFleetFrom(
        `templates:\n  t0: { qemu: { cpus: 3 } }\n${templates}machines: { web: { driver: qemu, extends: t60 } }`,
      ),
    );
    expect(web?.options.cpus).toBe(3);
  });
});

describe('docs/machines-yaml.md', () => {
  const page = readFileSync(new URL('../../docs/machines-yaml.md', import.meta.url), 'utf8');
  const examples = [...page.matchAll(/```yaml\n([\s\S]*?)```/g)].map(([, text = '']) => text);

  test('has valid examples', async () => {
    const fleets = await Promise.all(examples.map((text) => readFleetFrom(text, { HTTP_PROXY: 'http://proxy' })));
    expect(fleets.map(({ machines }) => machines.map(({ spec }) => spec.name))).toEqual([
      ['dev'],
      ['web-1', 'web-2', 'web-3', 'db', 'old-iron'],
      [],
    ]);
  });
});

describe('the schema for editors', () => {
  type Json = {
    readonly additionalProperties: boolean;
    readonly properties: Readonly<Record<string, { readonly description?: string }>>;
    readonly definitions: Readonly<Record<string, Json>>;
  };
  const schema = fleetJsonSchema() as Json;

  test('has each option of each driver with a description, and no secrets', () => {
    for (const { name, options } of drivers) {
      const own = schema.definitions[name];
      expect(own?.additionalProperties, name).toBe(false);
      expect(Object.keys(own?.properties ?? {}), name).toEqual(Object.keys(options.shape));
      for (const [key, property] of Object.entries(own?.properties ?? {}))
        expect(property.description, `${name}.${key}`).toBeTruthy();
    }
    expect(schema.additionalProperties).toBe(false);
    expect(JSON.stringify(schema)).not.toMatch(/"(ask|env|also|flag|secret|short)":[^{]/);
  });
});
