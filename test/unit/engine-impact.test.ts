import { describe, expect, test } from 'vitest';
import { describeOpenAddresses } from '../../src/provision/impact-notes.ts';
import { planDeprovision, planProvision } from '../../src/provision/plan.ts';
import { planUpgrade } from '../../src/provision/upgrade-plan.ts';
import { toPlannedSteps } from '../../src/provision/step.ts';
import type { Facts } from '../../src/provision/facts.ts';
import type { EngineSpec } from '../../src/machine/model.ts';
import { decodeDaemonJson, encodeText } from '../../src/provision/text-encoding.ts';
import { catchError } from '../fakes/catch-error.ts';
import { bareHost, DEBIAN_UNIT, factsAfter, factsWith, hostWithEngine, planInput } from './host-facts.ts';

const OVERRIDE = '/etc/systemd/system/docker.service.d/override.conf';
/** A host on which an override starts the engine with these flags. */
const hostWithFlags = (flags: string, more: Partial<Facts> = {}): Facts => {
  const line = `/usr/sbin/dockerd ${flags}`;
  const definition = `${DEBIAN_UNIT}\n# ${OVERRIDE}\n[Service]\nExecStart=\nExecStart=${line}\n`;
  return factsWith(hostWithEngine, {
    engineService: { ...hostWithEngine.engineService, definition, argv: line.split(' ') },
    ...more,
  });
};
const notesFor = (facts: Facts, engine: Partial<EngineSpec> = {}): readonly string[] =>
  planProvision(planInput(facts, engine)).flatMap(({ notes = [] }) => notes);
const wantedSettings = (facts: Facts, engine: Partial<EngineSpec> = {}): unknown => {
  const files = planProvision(planInput(facts, engine)).flatMap((step) => step.files);
  return JSON.parse(files.find(({ path }) => path === '/etc/docker/daemon.json')?.content ?? 'null');
};
const dropInOf = (facts: Facts, engine: Partial<EngineSpec> = {}): string | undefined =>
  planProvision(planInput(facts, engine))
    .flatMap((step) => step.files)
    .find(({ path }) => path.endsWith('/zz-slipway.conf'))?.content;
const refusalOf = (facts: Facts, engine: Partial<EngineSpec> = {}): string | undefined => {
  const error = catchError(() => planProvision(planInput(facts, engine)));
  return error && `${error.code}: ${error.message}`;
};

describe('what keeps the engine from starting', () => {
  const errorOf = (facts: Facts, plan: (facts: Facts) => unknown = (all) => planProvision(planInput(all))) => {
    const error = catchError(() => plan(facts));
    return error && `${error.code}: ${error.message} → ${error.hint}`;
  };
  const UNMASK = 'To allow it, run this on the host, then the same command again:';

  test('is named: a program that listens on the port', () => {
    const portHolder = { port: 2376, pid: 812, unit: 'nginx.service', program: 'nginx' };
    const hint =
      'Choose another port: --engine-port 12376. Or end that program on the host, then run the same command again';
    for (const facts of [bareHost, hostWithEngine])
      expect(errorOf(factsWith(facts, { portHolder }))).toBe(
        `ENGINE_CONFLICT: The engine on 192.0.2.10 can't listen on port 2376: nginx (PID 812, nginx.service) listens there → ${hint}`,
      );
    const holders = [
      { ...portHolder, unit: undefined },
      { ...portHolder, pid: 1, unit: 'cockpit.socket', program: undefined },
      { port: 2376, pid: 1, unit: undefined, program: undefined },
    ];
    expect(
      holders.map((holder) => /2376: (.*) listens/.exec(refusalOf({ ...bareHost, portHolder: holder }) ?? '')?.[1]),
    ).toEqual(['nginx (PID 812)', 'cockpit.socket', 'another program']);
    expect(refusalOf({ ...bareHost, portHolder }, { port: 3000 })).toBeUndefined();
    expect(refusalOf({ ...bareHost, portHolder: { ...portHolder, port: 12376 } }, { port: 12376 })).toContain('12376');
  });

  test('is named: masked units, with the command that unmasks them, before provision, upgrade and rm', () => {
    const masked = (...units: readonly string[]) => units.map((unit) => ({ unit, isRuntime: false }));
    const withMasks = (facts: Facts, maskedUnits: Facts['engineService']['maskedUnits'], definition?: string): Facts =>
      factsWith(facts, {
        engineService: {
          ...facts.engineService,
          ...(maskedUnits && { maskedUnits }),
          ...(definition && { definition }),
        },
      });
    const bare = withMasks(bareHost, masked('docker.service', 'docker.socket'));
    expect(errorOf(bare)).toBe(
      `ENGINE_CONFLICT: The engine on 192.0.2.10 can't start: docker.service and docker.socket are masked there → ${UNMASK} sudo systemctl unmask docker.service docker.socket`,
    );
    const mixed = [...masked('docker.service'), { unit: 'containerd.service', isRuntime: true }];
    expect(errorOf(withMasks(bareHost, mixed))).toContain(
      'sudo systemctl unmask docker.service && sudo systemctl unmask --runtime containerd.service',
    );
    const engine = withMasks(hostWithEngine, masked('docker.service'));
    const sentence = "ENGINE_CONFLICT: The engine on 192.0.2.10 can't start: docker.service is masked there";
    expect(errorOf(engine)).toContain(sentence);
    expect(errorOf(engine, (facts) => planUpgrade(planInput(facts).engine, facts, '192.0.2.10'))).toContain(sentence);
    expect(errorOf(engine, (facts) => planDeprovision(facts, '192.0.2.10'))).toContain(sentence);
    // An administrator can have an engine without its socket unit, and without the packages' containerd.
    expect(errorOf(withMasks(hostWithEngine, masked('docker.socket', 'containerd.service')))).toBeUndefined();
    const requiring = DEBIAN_UNIT.replace('[Unit]\n', '[Unit]\nRequires=docker.socket\n');
    expect(errorOf(withMasks(hostWithEngine, masked('docker.socket'), requiring))).toContain('docker.socket is masked');
    const stopped = factsWith(hostWithEngine, { engineService: { ...hostWithEngine.engineService, isActive: false } });
    expect(errorOf(withMasks(stopped, masked('containerd.service')))).toContain('containerd.service is masked');
    const without = DEBIAN_UNIT.replace(/--containerd=\S+/, '');
    expect(errorOf(withMasks(stopped, masked('containerd.service'), without))).toBeUndefined();
  });
});

describe('a service that was disabled', () => {
  const disabled = factsWith(hostWithEngine, { engineService: { ...hostWithEngine.engineService, isEnabled: false } });
  const bootOf = (facts: Facts): unknown => planDeprovision(facts, '192.0.2.10')[0]?.variables.ENABLE;

  test('is enabled after a note, and disabled again by rm --deprovision', () => {
    const plan = planProvision(planInput(disabled));
    expect(plan.at(-1)).toMatchObject({
      variables: { ENABLE: 'yes' },
      notes: [
        'The engine on 192.0.2.10 does not start at boot. From now on it does. To undo: slipway rm --deprovision web',
      ],
    });
    const after = factsAfter(disabled, plan);
    expect(bootOf(after)).toBe('undo');
    // Later runs know it from the state file only, and a user may have disabled it again.
    const again = factsAfter(after, planProvision(planInput(after, { label: ['a=b'] })));
    expect(bootOf(again)).toBe('undo');
    expect(bootOf(factsWith(again, { engineService: { ...again.engineService, isEnabled: false } }))).toBe('no');
  });

  test('is no other: one that was enabled or that Slipway installed, or that a user disabled since', () => {
    for (const before of [bareHost, hostWithEngine]) {
      const after = factsAfter(before, planProvision(planInput(before)));
      expect(bootOf(after)).toBe('no');
      const since = factsWith(after, { engineService: { ...after.engineService, isEnabled: false } });
      expect(bootOf(factsAfter(since, planProvision(planInput(since))))).toBe('no');
    }
  });
});

describe("the notes before a step that takes somebody's access", () => {
  test('name each listener without TLS, and are in --dry-run', () => {
    const facts = hostWithFlags('-H fd:// -H tcp://127.0.0.1:2375 --host=tcp://10.0.0.1:2376');
    expect(notesFor(facts)).toEqual([
      `The engine on 192.0.2.10 accepts clients without TLS at tcp://127.0.0.1:2375 (${OVERRIDE}, line 3). From now on that address needs the certificates of machine "web". To undo: slipway rm --deprovision web`,
      `The engine on 192.0.2.10 accepts clients without TLS at tcp://10.0.0.1:2376 (${OVERRIDE}, line 3). From now on that address is replaced, and the new one needs the certificates of machine "web". To undo: slipway rm --deprovision web`,
    ]);
    expect(toPlannedSteps(planProvision(planInput(facts))).flatMap(({ notes = [] }) => notes)).toEqual(notesFor(facts));
  });

  test('name the foreign CA, in flags and in daemon.json', () => {
    expect(notesFor(hostWithFlags('--tlsverify --tlscacert=/root/ca.pem -H=0.0.0.0:2376'))).toEqual([
      `The engine on 192.0.2.10 accepts certificates that /root/ca.pem verifies (${OVERRIDE}, line 3). From now on it accepts those of machine "web" instead. To undo: slipway rm --deprovision web`,
    ]);
    const daemonJson = '{"tlsverify": true, "tlscacert": "/srv/ca.pem", "hosts": ["tcp://0.0.0.0:2376"]}';
    expect(notesFor(factsWith(hostWithEngine, { daemonJson }))[0]).toContain(
      'that /srv/ca.pem verifies (/etc/docker/daemon.json)',
    );
  });

  test('name a TCP socket that systemd listens on for the engine', () => {
    const definition = `${DEBIAN_UNIT}\n# /etc/systemd/system/docker.socket.d/tcp.conf\n[Socket]\nListenStream=2375\n`;
    const engineService = { ...hostWithEngine.engineService, definition, sockets: ['/run/docker.sock', '[::]:2375'] };
    const facts = factsWith(hostWithEngine, { engineService });
    const place = '/etc/systemd/system/docker.socket.d/tcp.conf, line 2';
    expect(notesFor(facts)[0]).toContain(`without TLS at [::]:2375 (${place}). From now on that address needs`);
    expect(refusalOf(facts, { port: 2375 })).toBe(
      `ENGINE_CONFLICT: The engine on 192.0.2.10 can't listen on port 2375 with TLS: ${place} opens that port for it already`,
    );
  });

  test('are not repeated once the machine has the engine', () => {
    const before = hostWithFlags('-H fd:// -H tcp://127.0.0.1:2375');
    const now = factsAfter(before, planProvision(planInput(before)));
    const engineService = { ...now.engineService, argv: ['/usr/sbin/dockerd'] };
    expect(notesFor(factsWith(now, { engineService }), { label: ['a=b'] })).toEqual([]);
    expect(notesFor(bareHost)).toEqual([]);
  });

  test('say what is open again after --deprovision', () => {
    const before = hostWithFlags('-H fd:// -H tcp://0.0.0.0:2375');
    const [step] = planDeprovision(factsAfter(before, planProvision(planInput(before))), '192.0.2.10');
    expect(step?.notes).toEqual([
      `The engine on 192.0.2.10 listens without TLS at tcp://0.0.0.0:2375 again (${OVERRIDE}, line 3): everyone who can reach that address controls the host`,
    ]);
  });

  test('say what stays open', () => {
    const openAddresses = [{ address: '0.0.0.0:2375', program: 'socat' }];
    expect(describeOpenAddresses({ openAddresses }, 'web')).toEqual([
      'socat on web answers Docker clients without TLS at 0.0.0.0:2375, and Slipway leaves it as it is: everyone who can reach that address controls what is behind it',
    ]);
    expect(describeOpenAddresses({}, 'web')).toEqual([]);
  });
});

describe('the note about containers', () => {
  const running = { runningContainers: 2, isLiveRestoreEnabled: false, isSwarmNode: false };
  test.each<[string, Partial<Facts>, string[], string | undefined]>([
    ['keep running', {}, [], undefined],
    ['none run', { localEngine: { ...running, runningContainers: 0, isSwarmNode: true } }, [], undefined],
    ['a swarm', { localEngine: { ...running, isSwarmNode: true } }, [], "a swarm node can't keep them running"],
    ['live-restore is off', { daemonJson: '{"live-restore": false}' }, [], 'live-restore is false in daemon.json'],
    ['live-restore is turned off', {}, ['live-restore=false'], 'live-restore is false in daemon.json'],
    ['a setting', {}, ['mtu=1400'], 'they depend on settings that change: mtu'],
  ])('says why they stop, and nothing if they keep running: %s', (_kind, more, opt, reason) => {
    const notes = notesFor(factsWith(hostWithEngine, { localEngine: running, ...more }), { opt });
    expect(notes).toEqual(
      reason === undefined
        ? []
        : [
            `The 2 running containers on 192.0.2.10 will stop when the engine restarts: ${reason}. Those with a restart policy start again`,
          ],
    );
  });
});

describe('flags whose setting is also in daemon.json', () => {
  test('move there, if this machine sets it', () => {
    const facts = hostWithFlags('-H fd:// --log-driver=journald --label=a=1 --label b=2 --dns 9.9.9.9');
    const engine = { opt: ['log-driver=local'], label: ['a=3'] };
    expect(wantedSettings(facts, engine)).toMatchObject({ 'log-driver': 'local', labels: ['a=3', 'b=2'] });
    expect(dropInOf(facts, engine)).toContain('ExecStart=/usr/sbin/dockerd --dns 9.9.9.9\n');
    // Without such a setting, flags stay where the user can change them.
    expect(dropInOf(facts)).toContain(
      'ExecStart=/usr/sbin/dockerd --log-driver=journald --label=a=1 --label b=2 --dns 9.9.9.9\n',
    );
  });

  test('join lists of the user, and are refused with another value', () => {
    const daemonJson = '{"dns": ["1.1.1.1"], "log-level": "info"}';
    const facts = hostWithFlags('-H fd:// --dns 9.9.9.9 -l info', { daemonJson });
    expect(wantedSettings(facts)).toMatchObject({ dns: ['1.1.1.1', '9.9.9.9'], 'log-level': 'info' });
    expect(refusalOf(hostWithFlags('-l debug', { daemonJson }))).toBe(
      `DAEMON_JSON: dockerd on 192.0.2.10 would refuse to start: --log-level in ${OVERRIDE}, line 3 sets what /etc/docker/daemon.json sets, too ("log-level")`,
    );
  });

  test('leave daemon.json again with --deprovision', () => {
    const before = hostWithFlags('-H fd:// --label a=1', { daemonJson: '{ "debug":true }' });
    const now = factsAfter(before, planProvision(planInput(before, { label: ['b=2'] })));
    const [step] = planDeprovision(now, '192.0.2.10');
    expect(step?.files.find(({ path }) => path === '/etc/docker/daemon.json')?.content).toBe('{ "debug":true }');
  });
});

describe('a command line that Slipway does not understand', () => {
  const scripted = (argv: readonly string[]): Facts => {
    const definition = `# ${OVERRIDE}\n[Service]\n# mine\nExecStart=/opt/start-docker\n`;
    return factsWith(hostWithEngine, { engineService: { ...hostWithEngine.engineService, definition, argv } });
  };

  test('is refused if it starts dockerd with its own sockets, and kept otherwise', () => {
    expect(refusalOf(scripted(['/usr/bin/dockerd', '-H', 'tcp://0.0.0.0:2375']))).toBe(
      `DAEMON_JSON: dockerd on 192.0.2.10 is started with -H tcp://0.0.0.0:2375 by another program, which Slipway can't change: /opt/start-docker (${OVERRIDE}, line 3)`,
    );
    expect(dropInOf(scripted(['/usr/bin/dockerd', '--debug']))).toContain('ExecStart=/opt/start-docker\n');
  });

  test('is refused if dockerd reads another file', () => {
    expect(refusalOf(hostWithFlags('--config-file /srv/docker.json'))).toContain('reads /srv/docker.json instead of');
    expect(refusalOf(hostWithFlags('--config-file=/etc/docker/daemon.json'))).toBeUndefined();
  });
});

describe('a daemon.json that is not plain UTF-8', () => {
  const jsonStep = (facts: Facts) =>
    planProvision(planInput(facts))
      .flatMap(({ files }) => files)
      .find(({ path }) => path === '/etc/docker/daemon.json');

  test('keeps its byte order mark and its encoding', () => {
    const facts = factsWith(hostWithEngine, { daemonJson: '\u{feff}{"debug": true}' });
    expect(jsonStep(facts)?.content?.startsWith('\u{feff}{\n')).toBe(true);
    expect(jsonStep(factsWith(facts, { daemonJsonEncoding: 'utf-16le' }))).toMatchObject({ encoding: 'utf-16le' });
  });

  test('is refused if the engine or nobody can read it', () => {
    const marked = factsWith(hostWithEngine, { daemonJson: '\u{feff}{}', localEngine: { version: '20.10.24' } });
    expect(refusalOf(marked)).toContain("it begins with a byte order mark, which engine 20.10.24 can't read");
    expect(refusalOf(factsWith(marked, { localEngine: { version: '23.0.1' } }))).toBeUndefined();
    const invalid = factsWith(hostWithEngine, { daemonJson: '{"a":\n"\u{fffd}"}', daemonJsonEncoding: 'invalid' });
    expect(refusalOf(invalid)).toContain('is broken at line 2, column 2: its text is not UTF-8');
    expect(refusalOf(factsWith(hostWithEngine, { daemonJson: '{"Hosts": []}' }))).toContain(
      'does not know the setting "Hosts"',
    );
  });

  test('gives the settings that dockerd takes from a key that occurs twice', () => {
    const daemonJson = '{"log-opts": {"a": "1", "b": "1"}, "mtu": 1, "log-opts": {"b": "2"}, "mtu": 2}';
    expect(wantedSettings(factsWith(hostWithEngine, { daemonJson }))).toMatchObject({
      mtu: 2,
      'log-opts': { a: '1', b: '2' },
    });
  });
});

test.each([
  ['UTF-8', '7b7d', '{}', undefined],
  ['UTF-8 with a byte order mark', 'efbbbf7b7d', '\u{feff}{}', undefined],
  ['UTF-16', 'fffe7b007d00', '\u{feff}{}', 'utf-16le'],
  ['UTF-16, big-endian', 'feff007b007d', '\u{feff}{}', 'utf-16be'],
] as const)('%s is decoded and encoded again', (_name, hex, text, encoding) => {
  expect(decodeDaemonJson(Buffer.from(hex, 'hex'))).toEqual({ text, encoding });
  expect(Buffer.from(encodeText(text, encoding)).toString('hex')).toBe(hex);
});

test('bytes that are not in the encoding are found', () => {
  expect(decodeDaemonJson(Buffer.from('7b22ff227d', 'hex'))).toEqual({ text: '{"\u{fffd}"}', encoding: 'invalid' });
});

describe('the local socket', () => {
  const ready = factsAfter(hostWithEngine, planProvision(planInput(hostWithEngine)));
  const stepFor = (more: Partial<Facts>) => planProvision(planInput(factsWith(ready, more))).at(0);
  const withSockets = (...sockets: readonly string[]) => ({ engineService: { ...ready.engineService, sockets } });

  test('is restored by a restart if it was lost', () => {
    expect(stepFor({ localEngine: 'silent' })?.variables).toMatchObject({ ENGINE: 'restart', MANIFEST: '' });
    expect(stepFor({ localEngine: { runningContainers: 1 } })).toBeUndefined();
  });

  test('is not missed on a host that does not have one', () => {
    expect(stepFor({ localEngine: 'silent', ...withSockets('127.0.0.1:2375') })).toBeUndefined();
    expect(stepFor({ localEngine: 'silent', ...withSockets('/run/docker.sock') })).toBeDefined();
    const daemonJson = '{"hosts": ["tcp://10.0.0.1:1"]}';
    const [step] = planProvision(planInput(hostWithFlags('--debug', { daemonJson, localEngine: 'silent' })));
    expect(step?.variables.LOCAL_SOCKET).toBe('none');
  });
});
