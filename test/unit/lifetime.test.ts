import { describe, expect, test } from 'vitest';
import { formatSeconds } from '../../src/machine/duration.ts';
import { formatDeadline, deadlineWarning } from '../../src/operations/deadline.ts';
import {
  describeClockSkew,
  resolveDeadline,
  computeDeadline,
  describeAutoStop,
} from '../../src/operations/lifetime.ts';
import { generic } from '../../src/drivers/all.ts';
import type { Driver } from '../../src/drivers/contract.ts';
import type { LifetimeSpec, Machine } from '../../src/machine/model.ts';
import { idleCheckSeconds } from '../../src/provision/idle-check.ts';
import type { HostLifetime } from '../../src/provision/init/service-manager.ts';
import { systemd } from '../../src/provision/init/systemd.ts';
import { planLifetime } from '../../src/provision/lifetime-timers.ts';
import type { Facts } from '../../src/provision/facts.ts';
import { firstBootFilesFor, planDeprovision, planProvision } from '../../src/provision/plan.ts';
import { readyMachine, specNamed } from '../fakes/sample-machine.ts';
import { factsAfter, bareHost, factsWith, planInput, hostWithEngine } from './host-facts.ts';

const lifetimeWith = (more: Partial<HostLifetime> = {}): HostLifetime => ({
  name: 'web',
  deadline: '2026-11-24T12:00:00.000Z',
  idleSeconds: 1800,
  enginePort: 2376,
  scripts: { deadline: 'the deadline script\n', idle: 'the idle script\n' },
  ...more,
});
const fileTextOf = (of: HostLifetime, path: string): string =>
  systemd.timers.filesFor(of).find((file) => file.path.endsWith(path))?.content ?? '';

describe('the files of a lifetime', () => {
  test('are systemd units with times in UTC', () => {
    expect(fileTextOf(lifetimeWith(), 'deadline.timer')).toMatchInlineSnapshot(`
      "# Written by Slipway.
      [Unit]
      Description=End this host at its deadline

      [Timer]
      OnCalendar=2026-11-24 11:55:00 UTC
      OnCalendar=2026-11-24 12:00:00 UTC
      OnBootSec=600
      AccuracySec=1
      "
    `);
    expect(fileTextOf(lifetimeWith(), 'deadline.service')).toMatchInlineSnapshot(`
      "# Written by Slipway.
      [Unit]
      Description=End this host at its deadline

      [Service]
      Type=oneshot
      ExecStart=/bin/sh /usr/local/lib/slipway/deadline.sh 1795521600 web
      LogLevelMax=notice
      "
    `);
    expect(fileTextOf(lifetimeWith(), 'idle.timer')).toMatchInlineSnapshot(`
      "# Written by Slipway.
      [Unit]
      Description=Look whether this host is idle

      [Timer]
      OnActiveSec=60
      OnUnitActiveSec=60
      AccuracySec=1
      "
    `);
    expect(fileTextOf(lifetimeWith(), 'idle.service')).toMatch(/^ExecStart=\/bin\/sh .*\/idle\.sh 1800 2376 web 60$/m);
    expect(fileTextOf(lifetimeWith(), 'timers.target.d/slipway.conf')).toContain(
      'Wants=slipway-deadline.timer slipway-idle.timer\n',
    );
  });

  test('cover what is requested, and nothing else', () => {
    const names = (of: HostLifetime): readonly string[] =>
      systemd.timers.filesFor(of).map(({ path }) => path.split('/').at(-1) ?? '');
    expect(names(lifetimeWith({ idleSeconds: undefined }))).toEqual([
      'deadline.sh',
      'slipway-deadline.service',
      'slipway-deadline.timer',
      'slipway.conf',
    ]);
    expect(names(lifetimeWith({ deadline: undefined }))).toEqual([
      'idle.sh',
      'slipway-idle.service',
      'slipway-idle.timer',
      'slipway.conf',
    ]);
    expect(names(lifetimeWith({ deadline: undefined, idleSeconds: undefined }))).toEqual([]);
  });

  test('check for idleness four times within the period, at most once a second and at least once a minute', () => {
    expect([2, 20, 60, 240, 1800, 86_400].map(idleCheckSeconds)).toEqual([1, 5, 15, 60, 60, 60]);
  });
});

describe('planLifetime', () => {
  test('comes first, so that it applies even if later steps fail, and does not affect the engine', () => {
    const plan = planProvision({ ...planInput(bareHost), lifetime: lifetimeWith() });
    expect(plan.map(({ id }) => id)).toEqual(['life', 'check-packages', 'configure-engine', 'install-engine']);
    expect(plan[0]?.variables.TIMERS).toBe('slipway-deadline.timer slipway-idle.timer');
    const configured = factsAfter(hostWithEngine, planProvision(planInput(hostWithEngine)));
    const alone = planProvision({ ...planInput(configured), lifetime: lifetimeWith() });
    expect(alone.map(({ id, template }) => [id, template])).toEqual([['life', 'life.sh']]);
  });

  test('plans nothing if the host has the timers, even from its first boot', () => {
    const provisionedFacts = factsAfter(
      hostWithEngine,
      planProvision({ ...planInput(hostWithEngine), lifetime: lifetimeWith() }),
    );
    expect(planProvision({ ...planInput(provisionedFacts), lifetime: lifetimeWith() })).toEqual([]);
    const { facts: _blank, ...first } = planInput(bareHost);
    const firstBootFiles = firstBootFilesFor({ ...first, lifetime: lifetimeWith() });
    const paths = firstBootFiles.map(({ path }) => path);
    for (const { path } of systemd.timers.filesFor(lifetimeWith())) expect(paths).toContain(path);
    expect(
      planLifetime(
        lifetimeWith(),
        factsAfter(bareHost, [{ id: '', title: '', template: '', variables: {}, files: firstBootFiles }]),
      ),
    ).toBe(undefined);
  });

  test('writes only what a later deadline changes', () => {
    const provisionedFacts = factsAfter(
      hostWithEngine,
      planProvision({ ...planInput(hostWithEngine), lifetime: lifetimeWith() }),
    );
    const step = planLifetime(lifetimeWith({ deadline: '2026-11-24T14:00:00.000Z' }), provisionedFacts);
    expect(step?.files.map(({ path }) => path)).toEqual([
      '/etc/systemd/system/slipway-deadline.service',
      '/etc/systemd/system/slipway-deadline.timer',
    ]);
    expect(step?.title).toBe('Set the host to power off at 2026-11-24T14:00:00.000Z and to stop after 1800 s idle');
  });

  test('removes timers that are no longer wanted, and completes an interrupted run', () => {
    const provisionedFacts = factsAfter(
      hostWithEngine,
      planProvision({ ...planInput(hostWithEngine), lifetime: lifetimeWith() }),
    );
    const gone = planLifetime(lifetimeWith({ deadline: undefined }), provisionedFacts);
    expect(gone?.variables).toEqual({
      TIMERS: 'slipway-idle.timer',
      MANIFEST: [
        '644 0 /etc/systemd/system/timers.target.d/slipway.conf',
        '- 1 /usr/local/lib/slipway/deadline.sh',
        '- 2 /etc/systemd/system/slipway-deadline.service',
        '- 3 /etc/systemd/system/slipway-deadline.timer',
      ].join('\n'),
    });
    expect(planLifetime(undefined, provisionedFacts)?.variables.TIMERS).toBe('');
    expect(planLifetime(undefined, hostWithEngine)).toBeUndefined();
    expect(planLifetime(lifetimeWith(), factsWith(provisionedFacts, { lifetimePending: true }))?.files).toEqual([]);
  });

  test('is undone by --deprovision in a step of its own', () => {
    const provisionedFacts = factsAfter(
      hostWithEngine,
      planProvision({ ...planInput(hostWithEngine), lifetime: lifetimeWith() }),
    );
    const plan = planDeprovision(provisionedFacts, '192.0.2.10');
    expect(plan.map(({ id }) => id)).toEqual(['life', 'deprovision']);
    expect(plan[1]?.variables.MANIFEST).not.toContain('slipway-deadline');
    expect(planDeprovision(factsAfter(provisionedFacts, plan), '192.0.2.10')).toEqual([]);
  });
});

describe('a host whose clock differs', () => {
  const AT = Date.parse('2026-11-24T10:00:00Z') / 1000;
  const clock = (aheadSeconds: number, now = AT + aheadSeconds) =>
    factsWith(hostWithEngine, { clock: { now, aheadSeconds } });
  const plannedDeadline = (facts: Facts): string | undefined =>
    planLifetime(lifetimeWith({ idleSeconds: undefined }), facts)
      ?.files.find(({ path }) => path.endsWith('.timer'))
      ?.content?.match(/OnCalendar=(.*) UTC\nOnBoot/)?.[1];

  test('is never powered off early: its deadline moves only where its clock is ahead', () => {
    expect([0, 60, -60, -3600].map((ahead) => plannedDeadline(clock(ahead)))).toEqual(
      [0, 0, 0, 0].map(() => '2026-11-24 12:00:00'),
    );
    expect(plannedDeadline(clock(61))).toBe('2026-11-24 12:02:00');
    // A second plan, which may measure a second more or less, finds what the first one has written.
    expect([3598, 3600, 3602].map((ahead) => plannedDeadline(clock(ahead)))).toEqual(
      [1, 2, 3].map(() => '2026-11-24 13:01:00'),
    );
  });

  test('is not powered off by a deadline that passed before the host received it', () => {
    const over = clock(0, AT + 7200);
    expect(() => planLifetime(lifetimeWith(), over)).toThrow(
      'The deadline of "web" passed at 2026-11-24T12:00:00.000Z, before its host received it',
    );
    expect(planLifetime(lifetimeWith(), clock(0, AT + 7199))).toBeDefined();
    expect(planLifetime(lifetimeWith(), clock(86_400))).toBeDefined();
    // The host already has this deadline, or loses it.
    const provisionedFacts = factsAfter(
      hostWithEngine,
      planProvision({ ...planInput(hostWithEngine), lifetime: lifetimeWith() }),
    );
    expect(planLifetime(lifetimeWith(), { ...provisionedFacts, clock: over.clock })).toBeUndefined();
    expect(
      planLifetime(lifetimeWith({ deadline: undefined }), { ...provisionedFacts, clock: over.clock }),
    ).toBeDefined();
  });

  test('is reported in a sentence', () => {
    const note = (ahead: number) => describeClockSkew('2026-11-24T12:00:00.000Z', clock(ahead), '192.0.2.10');
    expect([note(60), note(-60), describeClockSkew(undefined, clock(9000), 'x')]).toEqual([
      undefined,
      undefined,
      undefined,
    ]);
    expect([note(3600), note(-9000)]).toMatchInlineSnapshot(`
      [
        "The clock of 192.0.2.10 is 1 h ahead of this computer's: it is powered off once it shows 2026-11-24 13:01 UTC",
        "The clock of 192.0.2.10 is 2 h 30 min behind this computer's: it is powered off that much later than 2026-11-24 12:00 UTC, unless you correct one of the clocks",
      ]
    `);
  });
});

const NOW = new Date('2026-11-24T10:00:00.400Z');
const machineWithTtl = (ttl: string | undefined, deadline?: string): Machine => ({
  ...readyMachine('web', { spec: specNamed('web', ttl === undefined ? {} : { lifetime: { ttl } }) }),
  ...(deadline === undefined ? {} : { deadline }),
});

describe('a deadline', () => {
  test('is a whole second, never earlier than requested', () => {
    expect(computeDeadline('4h', NOW)).toBe('2026-11-24T14:00:01.000Z');
  });

  const cases: readonly {
    readonly what: string;
    readonly before: Machine | undefined;
    readonly wanted: LifetimeSpec | undefined;
    readonly isRequested: boolean;
    readonly expected: string | undefined;
  }[] = [
    {
      what: 'counts from now for a new machine',
      before: undefined,
      wanted: { ttl: '1h' },
      isRequested: false,
      expected: '11:00',
    },
    {
      what: 'stays where the ttl does not change',
      before: machineWithTtl('4h', 'kept'),
      wanted: { ttl: '4h' },
      isRequested: false,
      expected: 'kept',
    },
    {
      what: 'stays where it was extended',
      before: machineWithTtl(undefined, 'kept'),
      wanted: undefined,
      isRequested: false,
      expected: 'kept',
    },
    {
      what: 'counts from now where the ttl is requested again',
      before: machineWithTtl('4h', 'x'),
      wanted: { ttl: '4h' },
      isRequested: true,
      expected: '14:00',
    },
    {
      what: 'counts from now where the ttl changes',
      before: machineWithTtl('4h', 'x'),
      wanted: { ttl: '1h' },
      isRequested: false,
      expected: '11:00',
    },
    {
      what: 'is removed with the ttl',
      before: machineWithTtl('4h', 'x'),
      wanted: undefined,
      isRequested: true,
      expected: undefined,
    },
  ];
  test.each(cases)('$what', ({ before, wanted, isRequested, expected }) => {
    const spec = specNamed('web', wanted === undefined ? {} : { lifetime: wanted });
    const { deadline } = resolveDeadline(before, spec, isRequested, NOW);
    expect(deadline?.replace(/.*T(..:..).*/, '$1')).toBe(expected);
  });

  test('is shown as the remaining time, with a warning in the last quarter of an hour', () => {
    const shown = (deadline: string) => [
      formatDeadline({ deadline }, NOW),
      deadlineWarning(machineWithTtl(undefined, deadline), NOW),
    ];
    expect([shown('2026-11-24T13:00:30.400Z'), shown('2026-11-24T10:12:00.400Z'), shown('2026-11-24T09:00:00.000Z')])
      .toMatchInlineSnapshot(`
      [
        [
          "ends in 3 h",
          "",
        ],
        [
          "ends in 12 min",
          "ends in 12 min; for more time: slipway extend web 2h",
        ],
        [
          "passed",
          "its deadline has passed (2026-11-24 09:00 UTC); for more time: slipway extend web 2h",
        ],
      ]
    `);
    expect(deadlineWarning({ ...readyMachine('web'), deadlinePending: true }, NOW)).toContain('slipway provision web');
  });

  test('is shown in the two largest units', () => {
    expect([0, 59.9, 60, 3599, 3600, 9000, 86_400, 90_061, 8_640_000].map(formatSeconds)).toEqual([
      '0 s',
      '59 s',
      '1 min',
      '59 min',
      '1 h',
      '2 h 30 min',
      '1 d',
      '1 d 1 h',
      '100 d',
    ]);
  });
});

describe('describeAutoStop', () => {
  const driver = generic as unknown as Driver;
  const machine = (lifeSpec: LifetimeSpec, more: Partial<Machine>): Machine =>
    ({ ...readyMachine('web', { spec: specNamed('web', { lifetime: lifeSpec }) }), ...more }) as Machine;

  test('says when a machine stops and what remains, and nothing where it does not stop', () => {
    const deadline = '2026-11-24T12:00:00.000Z';
    expect([
      describeAutoStop(machine({ ttl: '2h' }, { deadline, onShutdown: 'stopped' }), driver),
      describeAutoStop(machine({ idleStop: '30m' }, { onShutdown: 'stopped' }), driver),
      describeAutoStop(machine({ ttl: '2h', idleStop: '30m' }, { deadline }), driver, 'Each of web-1 … web-8'),
      describeAutoStop(machine({ ttl: '2h' }, { deadline, onShutdown: 'removed' }), driver),
      describeAutoStop(readyMachine('web'), driver),
    ]).toMatchInlineSnapshot(`
      [
        "Machine "web" stops at 2026-11-24 12:00 UTC: the host 192.0.2.10 itself is powered off, and only you can switch it on",
        "Machine "web" stops once it has been idle for 30m: the host 192.0.2.10 itself is powered off, and only you can switch it on",
        "Each of web-1 … web-8 stops at 2026-11-24 12:00 UTC, or once it has been idle for 30m: the host 192.0.2.10 itself is powered off, and only you can switch it on",
        "Machine "web" ends at 2026-11-24 12:00 UTC: generic then removes it with its disk",
        "",
      ]
    `);
  });
});
