import { isDeepStrictEqual } from 'node:util';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { EngineSpec } from '../../src/machine/model.ts';
import {
  mergeSettings,
  parseDaemonJson,
  daemonSettingsFor,
  engineSettingsOf,
  withoutOwnSettings,
  type DaemonSettings,
} from '../../src/provision/daemon-json.ts';
import { catchError } from '../fakes/catch-error.ts';
import { engineSpec } from './host-facts.ts';

const settingsFor = (
  more: Partial<EngineSpec> = {},
  address = '192.0.2.10',
  sockets: readonly string[] = ['fd://'],
): DaemonSettings => {
  const engine = engineSpec(more);
  return daemonSettingsFor(engineSettingsOf(engine), engine.port, address, sockets);
};

describe('daemonSettingsFor', () => {
  test('returns sockets, TLS and the options of the spec', () => {
    const settings = settingsFor({
      opt: ['log-driver=local', 'debug', '--mtu=1400', 'dns=1.1.1.1', 'dns=9.9.9.9'],
      label: ['a=1', 'b=2'],
      registryMirror: ['https://mirror.example'],
      insecureRegistry: ['10.0.0.0/8'],
      storageDriver: 'overlay2',
    });
    expect(settings).toMatchInlineSnapshot(`
      {
        "debug": true,
        "dns": [
          "1.1.1.1",
          "9.9.9.9",
        ],
        "hosts": [
          "fd://",
          "tcp://0.0.0.0:2376",
        ],
        "insecure-registries": [
          "10.0.0.0/8",
        ],
        "labels": [
          "a=1",
          "b=2",
        ],
        "log-driver": "local",
        "mtu": 1400,
        "registry-mirrors": [
          "https://mirror.example",
        ],
        "storage-driver": "overlay2",
        "tls": true,
        "tlscacert": "/etc/docker/slipway/ca.pem",
        "tlscert": "/etc/docker/slipway/server-cert.pem",
        "tlskey": "/etc/docker/slipway/server-key.pem",
        "tlsverify": true,
      }
    `);
  });

  test('gives each setting the type that dockerd reads', () => {
    const {
      hosts: _hosts,
      tls: _tls,
      tlsverify: _v,
      tlscacert: _ca,
      tlscert: _c,
      tlskey: _k,
      ...options
    } = settingsFor({
      opt: [
        'live-restore=true',
        'ipv6=false',
        'max-concurrent-downloads=3',
        'bip=10.1.0.1/24',
        'experimental',
        'log-opt=max-size=10m',
        'log-opt=max-file=3',
        'log-opt=tag={{.Name}}={{.ID}}',
        'default-address-pools=[{"base":"10.10.0.0/16","size":24}]',
        'features={"containerd-snapshotter":true}',
        'storage-opt=overlay2.size=1G',
        'data-root=',
        'shutdown-timeout=-1',
      ],
    });
    expect(options).toMatchInlineSnapshot(`
      {
        "bip": "10.1.0.1/24",
        "data-root": "",
        "default-address-pools": [
          {
            "base": "10.10.0.0/16",
            "size": 24,
          },
        ],
        "experimental": true,
        "features": {
          "containerd-snapshotter": true,
        },
        "ipv6": false,
        "live-restore": true,
        "log-opts": {
          "max-file": "3",
          "max-size": "10m",
          "tag": "{{.Name}}={{.ID}}",
        },
        "max-concurrent-downloads": 3,
        "shutdown-timeout": -1,
        "storage-opts": [
          "overlay2.size=1G",
        ],
      }
    `);
  });

  test('listens on all addresses of the address family of the host', () => {
    expect(settingsFor().hosts).toEqual(['fd://', 'tcp://0.0.0.0:2376']);
    expect(settingsFor({ port: 4000 }, '2001:db8::1').hosts).toEqual(['fd://', 'tcp://[::]:4000']);
  });

  test('listens once on a port, even if the unit already did', () => {
    expect(settingsFor({}, 'web', ['fd://', 'tcp://127.0.0.1:2376', 'tcp://127.0.0.1:2375']).hosts).toEqual([
      'fd://',
      'tcp://127.0.0.1:2375',
      'tcp://0.0.0.0:2376',
    ]);
  });

  test('refuses a label that occurs twice', () => {
    expect(settingsFor({ label: ['a=1', 'a=1'], opt: ['label=a=1'] }).labels).toEqual(['a=1']);
    expect(() => settingsFor({ label: ['a=1', 'a=2'] })).toThrow('--engine-label a is specified twice');
  });

  test.each([
    'host=tcp://0.0.0.0:2375',
    '-H=x',
    'tlsverify=false',
    '--tls',
    'tlscacert=/x',
    'config-file=/x',
    'hosts=x',
  ])('refuses --engine-opt %s, which could open the engine to everyone', (opt) => {
    expect(catchError(() => settingsFor({ opt: [opt] }))).toMatchObject({ code: 'USAGE' });
  });

  test('refuses a value that begins like JSON but is invalid', () => {
    expect(catchError(() => settingsFor({ opt: ['features={"a":}'] }))?.message).toBe(
      '--engine-opt features: the value begins like JSON but is invalid JSON',
    );
  });
});

describe('parseDaemonJson', () => {
  test('reads a missing or empty file as no settings', () => {
    expect([undefined, '', ' \n'].map((text) => parseDaemonJson(text, 'web'))).toEqual([{}, {}, {}]);
  });

  test('names the line and column of an error', () => {
    const broken = [
      '{',
      '{"a": 1,}',
      '{"a": 1\n "b": 2}',
      '{\n  "debug": tru\n}',
      '{"a": "x\n"}',
      "{'a': 1}",
      '{"a" 1}',
      '{"a": [1, 2}',
      '{"a": 1} x',
      '// note\n{}',
      '[]',
      '"text"',
      'null',
      '{"a": 01}',
      '\t\n\n  oops',
    ];
    const messages = broken.map((text) => {
      const error = catchError(() => parseDaemonJson(text, 'web'));
      return `${JSON.stringify(text)} → ${error?.code} ${error?.message.replace('/etc/docker/daemon.json on web ', '')}`;
    });
    expect(messages.join('\n')).toMatchInlineSnapshot(`
      ""{" → DAEMON_JSON is broken at line 1, column 2: close brace expected
      "{\\"a\\": 1,}" → DAEMON_JSON is broken at line 1, column 9: property name expected
      "{\\"a\\": 1\\n \\"b\\": 2}" → DAEMON_JSON is broken at line 2, column 2: comma expected
      "{\\n  \\"debug\\": tru\\n}" → DAEMON_JSON is broken at line 2, column 12: invalid symbol
      "{\\"a\\": \\"x\\n\\"}" → DAEMON_JSON is broken at line 1, column 7: unexpected end of string
      "{'a': 1}" → DAEMON_JSON is broken at line 1, column 2: invalid symbol
      "{\\"a\\" 1}" → DAEMON_JSON is broken at line 1, column 6: colon expected
      "{\\"a\\": [1, 2}" → DAEMON_JSON is broken at line 1, column 12: comma expected
      "{\\"a\\": 1} x" → DAEMON_JSON is broken at line 1, column 10: invalid symbol
      "// note\\n{}" → DAEMON_JSON is broken at line 1, column 1: invalid comment token
      "[]" → DAEMON_JSON is broken at line 1, column 1: it is not an object
      "\\"text\\"" → DAEMON_JSON is broken at line 1, column 1: it is not an object
      "null" → DAEMON_JSON is broken at line 1, column 1: it is not an object
      "{\\"a\\": 01}" → DAEMON_JSON is broken at line 1, column 8: comma expected
      "\\t\\n\\n  oops" → DAEMON_JSON is broken at line 3, column 3: invalid symbol"
    `);
  });
});

const SETTING_KEYS = [
  'labels',
  'hosts',
  'log-opts',
  'registry-mirrors',
  'debug',
  'tls',
  'mtu',
  'data-root',
  'features',
  'x',
];
const anyItem = fc.constantFrom('a', 'b', 'c', 'd=1', 'tcp://0.0.0.0:2376', 'tcp://127.0.0.1:2375', 'unix:///x');
const anyScalar = fc.oneof(fc.boolean(), fc.integer({ min: 0, max: 3 }), anyItem);
/** As dockerd would take them: no list holds an item twice, and no key holds nothing. */
const anyList = fc.uniqueArray(anyItem, { minLength: 1, maxLength: 5 });
const anyMap = fc.dictionary(fc.constantFrom('k', 'l', 'm'), anyScalar, { minKeys: 1 });
const anySettings: fc.Arbitrary<DaemonSettings> = fc.dictionary(
  fc.constantFrom(...SETTING_KEYS),
  fc.oneof(anyScalar, anyList, anyMap),
);
const anyWantedSettings: fc.Arbitrary<DaemonSettings> = fc.record(
  {
    hosts: fc.uniqueArray(anyItem, { maxLength: 2 }).map((more) => [...new Set([...more, 'tcp://0.0.0.0:2376'])]),
    tls: fc.constant(true),
    labels: anyList,
    'registry-mirrors': anyList,
    'log-opts': anyMap,
    features: anyMap,
    mtu: fc.integer({ min: 0, max: 3 }),
    debug: fc.boolean(),
    'data-root': anyItem,
  },
  { requiredKeys: ['hosts', 'tls'] },
);
const sortSettings = (value: DaemonSettings): DaemonSettings =>
  Object.fromEntries(
    Object.entries(value)
      .toSorted(([left], [right]) => left.localeCompare(right))
      .map(([key, inner]) => [key, Array.isArray(inner) ? inner.toSorted() : inner]),
  );

describe('mergeSettings', () => {
  test("keeps settings of the user's, item by item", () => {
    const present = {
      labels: ['theirs=1'],
      'log-opts': { 'max-size': '1m' },
      debug: true,
      hosts: ['tcp://0.0.0.0:2375'],
    };
    const { merged, ownership } = mergeSettings(present, undefined, {
      hosts: ['fd://', 'tcp://0.0.0.0:2376'],
      labels: ['ours=1'],
      'log-opts': { 'max-file': '3' },
      debug: false,
    });
    expect({ merged, ownership }).toMatchInlineSnapshot(`
      {
        "merged": {
          "debug": false,
          "hosts": [
            "tcp://0.0.0.0:2375",
            "fd://",
            "tcp://0.0.0.0:2376",
          ],
          "labels": [
            "theirs=1",
            "ours=1",
          ],
          "log-opts": {
            "max-file": "3",
            "max-size": "1m",
          },
        },
        "ownership": {
          "made": false,
          "replaced": {
            "debug": true,
          },
          "settings": {
            "debug": false,
            "hosts": [
              "fd://",
              "tcp://0.0.0.0:2376",
            ],
            "labels": [
              "ours=1",
            ],
            "log-opts": {
              "max-file": "3",
            },
          },
        },
      }
    `);
  });

  test("replaces a listener of the user's on Slipway's port, and restores it", () => {
    const present = { hosts: ['unix:///var/run/docker.sock', 'tcp://10.0.0.1:2376'] };
    const { merged, ownership } = mergeSettings(present, undefined, { hosts: ['tcp://0.0.0.0:2376'] });
    expect(merged.hosts).toEqual(['unix:///var/run/docker.sock', 'tcp://0.0.0.0:2376']);
    expect(sortSettings(withoutOwnSettings(merged, ownership))).toEqual(sortSettings(present));
  });

  test('is undone by withoutOwnSettings, whatever the settings were', () => {
    fc.assert(
      fc.property(anySettings, anyWantedSettings, (present, want) => {
        const { merged, ownership } = mergeSettings(present, undefined, want);
        expect(sortSettings(withoutOwnSettings(merged, ownership))).toEqual(sortSettings(present));
      }),
      { numRuns: 2000 },
    );
  });

  test('includes all wanted settings', () => {
    fc.assert(
      fc.property(anySettings, anyWantedSettings, (present, want) => {
        const { merged } = mergeSettings(present, undefined, want);
        for (const [key, value] of Object.entries(want)) {
          if (Array.isArray(value)) expect(merged[key]).toEqual(expect.arrayContaining(value));
          else if (typeof value === 'object') expect(merged[key]).toMatchObject(value as object);
          else expect(merged[key]).toEqual(value);
        }
      }),
      { numRuns: 1000 },
    );
  });

  test('does not change keys that are not among the wanted settings', () => {
    fc.assert(
      fc.property(anySettings, anyWantedSettings, (present, want) => {
        const { merged } = mergeSettings(present, undefined, want);
        const foreign = Object.keys(present).filter((key) => !(key in want));
        expect(foreign.filter((key) => !isDeepStrictEqual(merged[key], present[key]))).toEqual([]);
      }),
      { numRuns: 1000 },
    );
  });

  test('changes nothing the second time, to the last character', () => {
    fc.assert(
      fc.property(anySettings, anyWantedSettings, (present, want) => {
        const once = mergeSettings(present, undefined, want);
        const twice = mergeSettings(once.merged, once.ownership, want);
        expect(JSON.stringify(twice)).toBe(JSON.stringify(once));
      }),
      { numRuns: 2000 },
    );
  });

  test('gives the same for changed settings as for the new settings alone', () => {
    fc.assert(
      fc.property(anySettings, anyWantedSettings, anyWantedSettings, (present, first, second) => {
        const once = mergeSettings(present, undefined, first);
        const changed = mergeSettings(once.merged, once.ownership, second);
        const direct = mergeSettings(present, undefined, second);
        expect(sortSettings(changed.merged)).toEqual(sortSettings(direct.merged));
        expect(sortSettings(withoutOwnSettings(changed.merged, changed.ownership))).toEqual(sortSettings(present));
      }),
      { numRuns: 2000 },
    );
  });

  test("keeps what the user changed since, also when all of Slipway's settings go", () => {
    const { merged, ownership } = mergeSettings({}, undefined, { tls: true, labels: ['ours=1'] });
    const edited = { ...merged, tls: false, labels: ['ours=1', 'theirs=1'], debug: true };
    expect(withoutOwnSettings(edited, ownership)).toEqual({ tls: false, labels: ['theirs=1'], debug: true });
  });

  test('does not restore what the user removed or changed since', () => {
    const present = {
      'log-opts': { 'max-size': '1m', tag: 'x' },
      hosts: ['tcp://127.0.0.1:2375', 'tcp://10.0.0.1:2376'],
    };
    const want = { 'log-opts': { 'max-file': '3' }, hosts: ['tcp://0.0.0.0:2376'] };
    const { ownership } = mergeSettings(present, undefined, want);
    const edited = { 'log-opts': { 'max-size': '2m', 'max-file': '3' }, hosts: ['tcp://0.0.0.0:2376'] };
    expect(mergeSettings(edited, ownership, want).merged).toEqual(edited);
  });

  test('remembers whether daemon.json existed before', () => {
    const first = mergeSettings({}, undefined, { tls: true });
    expect(first.ownership.made).toBe(true);
    expect(mergeSettings(first.merged, first.ownership, { tls: true }).ownership.made).toBe(true);
    expect(mergeSettings({ debug: true }, undefined, { tls: true }).ownership.made).toBe(false);
  });
});

test("mergeSettings replaces a label of the user's of the same name, and restores it", () => {
  const present = { labels: ['zone=a', 'rack=1'] };
  const { merged, ownership } = mergeSettings(present, undefined, { labels: ['zone=b'] });
  expect(merged.labels).toEqual(['rack=1', 'zone=b']);
  expect(mergeSettings(merged, ownership, { labels: ['zone=b'] }).merged).toEqual(merged);
  expect(withoutOwnSettings(merged, ownership).labels).toEqual(expect.arrayContaining(['zone=a', 'rack=1']));
});
