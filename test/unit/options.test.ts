import { execFileSync } from 'node:child_process';
import { homedir } from 'node:os';
import { join, resolve } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { z } from 'zod';
import { defineCommand, type Command } from '../../src/cli/command.ts';
import { create } from '../../src/cli/commands/create.ts';
import { parseFlags } from '../../src/cli/parse-flags.ts';
import { driverFromFlags, applyFlagsToSpec, resolveSpec } from '../../src/machine-options/spec-from-flags.ts';
import { driverOptionSpecs } from '../../src/machine-options/option-specs.ts';
import { toSearchQuestion, toQuestions } from '../../src/cli/create-wizard.ts';
import { drivers } from '../../src/drivers/registry.ts';
import {
  coerceOptionValue,
  describeOptions,
  optionsFromEnv,
  parseOptions,
  toArgv,
  toMarkdownTable,
  type OptionSpec,
} from '../../src/machine/options.ts';
import { toCommandLine } from '../../src/ssh/shell.ts';
import { engineOptionSpecs, engineOptions, lifetimeOptionSpecs } from '../../src/machine/spec.ts';
import { catchError } from '../fakes/catch-error.ts';
import { isPosix } from '../fakes/file-modes.ts';
import { anyWords } from './awkward-words.ts';
import { anyValuesFor } from './option-values.ts';

const boat = z.object({
  harbour: z
    .string()
    .min(1)
    .meta({ description: 'Home harbour', ask: 'Which harbour?', env: 'HARBOUR', value: 'name', short: 'H' }),
  owner: z.string().meta({ description: 'Owner', also: ['skipper'] }),
  berths: z.int().min(8).max(99).default(16).meta({ description: 'Berths', ask: 'How many berths?' }),
  rig: z.enum(['sloop', 'ketch']).default('sloop').meta({ description: 'Rig', ask: 'Which rig?' }),
  crew: z.array(z.string()).default([]).meta({ description: 'Crew', value: 'name' }),
  motor: z.boolean().default(false).meta({ description: 'Has a motor', ask: 'A motor?' }),
  engineHours: z.int().optional().meta({ description: 'Hours of the motor' }),
  pin: z.string().optional().meta({ description: 'Code of the lock', ask: 'Code?', secret: true }),
});
const boatOptions = describeOptions(boat, 'boat');
const boatValues = { harbour: 'Kiel', owner: 'Ada' };

const commandWith = (args: z.ZodObject, extraOptions: readonly OptionSpec[] = []): Command =>
  defineCommand({
    name: 'sail',
    summary: '',
    usage: '[name]',
    args,
    extraOptions,
    run: async () => ({ json: null, text: '' }),
  });

describe('an option schema', () => {
  test('gives each option a flag, a variable and a kind', () => {
    expect(boatOptions.map(({ flag, env, kind, valueName }) => `--${flag} $${env} ${kind} <${valueName}>`).join('\n'))
      .toMatchInlineSnapshot(`
        "--boat-harbour $HARBOUR string <name>
        --boat-owner $SLIPWAY_BOAT_OWNER string <value>
        --boat-berths $SLIPWAY_BOAT_BERTHS int <number>
        --boat-rig $SLIPWAY_BOAT_RIG choice <choice>
        --boat-crew $SLIPWAY_BOAT_CREW list <name>
        --boat-motor $SLIPWAY_BOAT_MOTOR boolean <value>
        --boat-engine-hours $SLIPWAY_BOAT_ENGINE_HOURS int <number>
        --boat-pin $SLIPWAY_BOAT_PIN string <value>"
      `);
  });

  test('is printed as a table for the docs', () => {
    expect(toMarkdownTable(boatOptions)).toMatchInlineSnapshot(`
      "| Flag | Environment | Default | Meaning |
      | --- | --- | --- | --- |
      | \`-H, --boat-harbour\` | \`HARBOUR\` | required | Home harbour |
      | \`--boat-owner\` | \`SLIPWAY_BOAT_OWNER\` | required | Owner (also \`--skipper\`) |
      | \`--boat-berths\` | \`SLIPWAY_BOAT_BERTHS\` | \`16\` | Berths |
      | \`--boat-rig\` | \`SLIPWAY_BOAT_RIG\` | \`sloop\` | Rig: \`sloop\` or \`ketch\` |
      | \`--boat-crew\` … | \`SLIPWAY_BOAT_CREW\` |  | Crew |
      | \`--boat-motor\` | \`SLIPWAY_BOAT_MOTOR\` |  | Has a motor |
      | \`--boat-engine-hours\` | \`SLIPWAY_BOAT_ENGINE_HOURS\` |  | Hours of the motor |
      |  | \`SLIPWAY_BOAT_PIN\` |  | Code of the lock |"
    `);
  });

  test('gives questions for options that are not set yet', () => {
    const check = (): true => true;
    const questions = toQuestions(boatOptions, { 'boat-rig': 'ketch' }, {}, check).map(({ validate, ...question }) => ({
      ...question,
      validated: validate !== undefined,
    }));
    expect(questions).toMatchInlineSnapshot(`
      [
        {
          "message": "Which harbour?",
          "name": "boat-harbour",
          "type": "input",
          "validated": true,
        },
        {
          "default": 16,
          "message": "How many berths?",
          "name": "boat-berths",
          "type": "number",
          "validated": true,
        },
        {
          "default": false,
          "message": "A motor?",
          "name": "boat-motor",
          "type": "confirm",
          "validated": true,
        },
        {
          "message": "Code?",
          "name": "boat-pin",
          "type": "password",
          "validated": true,
        },
      ]
    `);
    expect(toQuestions(boatOptions, {}, { HARBOUR: 'Kiel' }, check).map(({ name }) => name)).not.toContain(
      'boat-harbour',
    );
  });

  test('formats values as an argv without defaults and secrets', () => {
    const values = { ...boatValues, berths: 16, rig: 'ketch', crew: ['-x', '', 'Bo'], motor: true, pin: '1234' };
    expect(toArgv(boatOptions, values)).toMatchInlineSnapshot(`
      [
        "--boat-harbour",
        "Kiel",
        "--boat-owner",
        "Ada",
        "--boat-rig",
        "ketch",
        "--boat-crew=-x",
        "--boat-crew=",
        "--boat-crew",
        "Bo",
        "--boat-motor",
      ]
    `);
  });

  test('rejects types that no flag can express', () => {
    expect(() => describeOptions(z.object({ deep: z.object({ a: z.string() }) }))).toThrow(/"deep" must be a flat/);
    expect(() => describeOptions(z.object({ numbers: z.array(z.int()) }))).toThrow(/"numbers" must be a flat/);
  });
});

describe('flags', () => {
  const parse = (...argv: readonly string[]) => parseFlags(commandWith(z.object({}), boatOptions), argv);

  test('set the same option by each of their names', () => {
    expect(parse('--skipper', 'Bo', '--boat-owner', 'Ada').flags).toEqual({ 'boat-owner': 'Ada' });
    expect(parse('--boat-owner', 'Bo').flags).toEqual({ 'boat-owner': 'Bo' });
    expect(parse('--skipper', 'Bo').flags).toEqual({ 'boat-owner': 'Bo' });
    expect(parse('-H', 'Kiel').flags).toEqual({ 'boat-harbour': 'Kiel' });
  });

  test('contain only what was typed, with its type', () => {
    expect(parse('web').flags).toEqual({});
    expect(parse('--boat-berths', '20', '--boat-motor', '--boat-crew', 'a,b', '--boat-crew', 'c').flags).toEqual({
      'boat-berths': 20,
      'boat-motor': true,
      'boat-crew': ['a,b', 'c'],
    });
    expect(parse('--no-boat-motor').flags).toEqual({ 'boat-motor': false });
  });

  test('never take a secret, because every user can read an argv', () => {
    expect(catchError(() => parse('--boat-pin', '1234'))).toMatchObject({ code: 'USAGE' });
    expect(optionsFromEnv(boatOptions, { SLIPWAY_BOAT_PIN: '1234' })).toEqual({ pin: '1234' });
  });

  test('are suggested for a typo', () => {
    expect(catchError(() => parse('--boat-berth', '9'))).toMatchObject({
      code: 'USAGE',
      message: "Unknown option '--boat-berth'",
      hint: 'Did you mean --boat-berths? See: slipway sail --help',
    });
  });
});

describe('variables', () => {
  test('are parsed to their types, and ignored if empty', () => {
    const env = { HARBOUR: '', SLIPWAY_BOAT_BERTHS: '20', SLIPWAY_BOAT_CREW: 'a,b', SLIPWAY_BOAT_MOTOR: 'yes' };
    expect(optionsFromEnv(boatOptions, env)).toEqual({ berths: 20, crew: ['a', 'b'], motor: true });
  });

  test('keep a text of the wrong type, so that parsing reports it', () => {
    const info = boatOptions.find(({ key }) => key === 'motor');
    expect(info && coerceOptionValue(info, 'perhaps')).toBe('perhaps');
    expect(catchError(() => parseOptions(boat, boatOptions, { ...boatValues, motor: 'perhaps' }))?.message).toBe(
      '--boat-motor must be true or false, got "perhaps"',
    );
  });
});

describe('parseOptions', () => {
  const errorMessage = (values: Record<string, unknown>): string | undefined =>
    catchError(() => parseOptions(boat, boatOptions, values))?.message;

  test('reports all problems at once, missing options first, with a hint', () => {
    const error = catchError(() => parseOptions(boat, boatOptions, { berths: 4, rig: 'cat' }));
    expect(`${error?.message}\n${error?.hint}`).toMatchInlineSnapshot(`
      "--boat-harbour and --boat-owner are missing; --boat-berths must be at least 8, got 4; --boat-rig must be one of sloop or ketch, got "cat"
      Add --boat-harbour <name> --boat-owner <value>, or set HARBOUR and SLIPWAY_BOAT_OWNER"
    `);
  });

  test('names the flag, the requirement and the value', () => {
    expect(
      [
        { berths: 4 },
        { berths: 100 },
        { berths: 'many' },
        { berths: 8.5 },
        { rig: 'junk' },
        { harbour: '' },
        { pin: 7 },
      ].map((values) => errorMessage({ ...boatValues, ...values })),
    ).toMatchInlineSnapshot(`
      [
        "--boat-berths must be at least 8, got 4",
        "--boat-berths must be at most 99, got 100",
        "--boat-berths must be a whole number, got "many"",
        "--boat-berths must be a whole number, got 8.5",
        "--boat-rig must be one of sloop or ketch, got "junk"",
        "--boat-harbour must be non-empty text, got """,
        "--boat-pin must be text, got something else",
      ]
    `);
  });
});

describe('a command line', () => {
  test.runIf(isPosix)('passes through a real shell unchanged, whatever it contains', () => {
    fc.assert(
      fc.property(anyWords, (argv) => {
        const out = execFileSync('sh', ['-s'], { input: `printf '%s\\0' x ${toCommandLine(argv)}`, encoding: 'utf8' });
        expect(out.split('\0').slice(1, -1)).toEqual(argv);
      }),
      { numRuns: 20 },
    );
  });
});

const anyDuration = fc
  .tuple(fc.integer({ min: 1, max: 9999 }), fc.constantFrom('s', 'm', 'h', 'd'))
  .map(([count, unit]) => `${count}${unit}`);
const anyLifetime: fc.Arbitrary<Record<string, unknown>> = fc.record(
  { ttl: anyDuration, idleStop: anyDuration },
  { requiredKeys: [] },
);

/** Returns the spec that `create` makes of an argv; `named` is the driver if no flag implies one. */
function specFromArgv(argv: readonly string[], named: string): ReturnType<typeof resolveSpec> {
  const {
    positionals: [name = ''],
    flags,
  } = parseFlags(create as unknown as Command, argv);
  return resolveSpec({
    name,
    driver: driverFromFlags(flags) ?? named,
    flags,
    env: {},
    before: undefined,
    profiles: [],
  });
}

describe.each(drivers.map((driver) => ({ name: driver.name, driver })))('a machine of driver $name', ({ driver }) => {
  test('is formatted as an argv that parses to the same machine', () => {
    const driverSpecs = driverOptionSpecs[driver.name] ?? [];
    fc.assert(
      fc.property(
        anyValuesFor(driver.options, driverSpecs),
        anyValuesFor(engineOptions, engineOptionSpecs),
        anyLifetime,
        (options, engine, life) => {
          const flags = Object.fromEntries([
            ...driverSpecs.map((info) => [info.flag, options[info.key]] as const),
            ...engineOptionSpecs.map((info) => [info.flag, engine[info.key]] as const),
            ...lifetimeOptionSpecs.map((info) => [info.flag, life[info.key]] as const),
          ]);
          const spec = resolveSpec({
            name: 'web',
            driver: driver.name,
            flags,
            env: {},
            before: undefined,
            profiles: [],
          });
          const parsed = specFromArgv(
            [
              'web',
              ...toArgv(driverSpecs, spec.options),
              ...toArgv(engineOptionSpecs, spec.engine),
              ...toArgv(lifetimeOptionSpecs, spec.lifetime ?? {}),
            ],
            driver.name,
          );
          expect(spec.lifetime ?? {}).toEqual(life);
          expect({ ...parsed, id: spec.id }).toEqual(spec);
        },
      ),
      { numRuns: 150 },
    );
  });
});

describe('a spec', () => {
  const flags = { 'generic-ip-address': '192.0.2.1' };
  const spec = resolveSpec({ name: 'web', driver: 'generic', flags, env: {}, before: undefined, profiles: [] });

  test('prefers flags to the old spec, then the environment, then defaults', () => {
    const env = { GENERIC_IP_ADDRESS: '192.0.2.9', GENERIC_SSH_USER: 'ops', GENERIC_SSH_PORT: '2200' };
    const before = { ...spec, options: { ...spec.options, sshUser: 'deploy' } };
    const from = resolveSpec({ name: 'web', driver: 'generic', flags, env, before, profiles: [] });
    expect(from.options).toEqual({ ipAddress: '192.0.2.1', sshUser: 'deploy', sshPort: 22 });
    const fresh = resolveSpec({ name: 'web', driver: 'generic', flags, env, before: undefined, profiles: [] });
    expect(fresh.options).toEqual({ ipAddress: '192.0.2.1', sshUser: 'ops', sshPort: 2200 });
  });

  test('keeps its id and all other values when flags change it', () => {
    const changed = applyFlagsToSpec(spec, { 'engine-label': ['a=b'] });
    expect(changed).toEqual({ ...spec, engine: { ...spec.engine, label: ['a=b'] } });
  });

  test('installs its engine with a script if one is named, and drops a script that is not used', () => {
    expect(applyFlagsToSpec(spec, {}).engine.source).toBe('docker');
    const engineWith = (more: Record<string, string>) =>
      resolveSpec({
        name: 'web',
        driver: 'generic',
        flags: { ...flags, ...more },
        env: {},
        before: undefined,
        profiles: [],
      }).engine;
    const script = { 'engine-install-url': 'https://get.example/x' };
    expect(engineWith(script)).toMatchObject({ source: 'url', installUrl: 'https://get.example/x' });
    expect(engineWith({ ...script, 'engine-source': 'docker' }).installUrl).toBeUndefined();
  });

  test('refuses flags of another driver, and names it', () => {
    expect(catchError(() => applyFlagsToSpec(spec, { 'none-url': 'tcp://x:1', 'none-tls-ca': 'a' }))?.message).toBe(
      '--none-url and --none-tls-ca belong to the driver none, not to generic',
    );
  });

  test('resolves paths against the current folder, and ~ even where no shell does', () => {
    expect(applyFlagsToSpec(spec, { 'generic-ssh-key': '~/.ssh/work' }).options.sshKey).toBe(
      join(homedir(), '.ssh', 'work'),
    );
    expect(applyFlagsToSpec(spec, { 'generic-ssh-key': 'keys/id' }).options.sshKey).toBe(resolve('keys/id'));
  });

  test('gets its driver from the flags, which must belong to one', () => {
    expect(driverFromFlags({ 'generic-ip-address': 'x' })).toBe('generic');
    expect(catchError(() => driverFromFlags({ 'generic-ip-address': 'x', 'none-url': 'y' }))?.message).toContain(
      'generic and none',
    );
    expect(driverFromFlags({ 'engine-port': 1 })).toBeUndefined();
  });
});

describe('a search question', () => {
  const list = async () => [
    { value: 'far', note: 'a long way' },
    { value: 'near', note: 'a step' },
  ];
  const { source, filter } = toSearchQuestion({ name: 'place', type: 'input', message: 'Where?' }, list, 'near');

  test('shows the default first, and filters by what is typed', async () => {
    expect((await source?.(undefined))?.map(({ name }) => name)).toEqual(['near  a step', 'far   a long way']);
    expect((await source?.('LONG'))?.map(({ value }) => value)).toEqual(['far', 'LONG']);
  });

  test('answers with the first match if Enter comes before the list is filtered', async () => {
    await source?.('LONG');
    expect(filter?.('near')).toBe('far');
    expect(filter?.('LONG')).toBe('LONG');
  });

  test('offers what is typed as an answer, once', async () => {
    expect(await source?.('moon')).toEqual([{ value: 'moon', name: 'moon (as typed)' }]);
    expect((await source?.('far'))?.map(({ name }) => name)).toEqual(['far   a long way']);
  });
});

test.each([
  ['env', 'NO_PROXY=a,b', ['NO_PROXY=a,b']],
  [
    'env',
    'NO_PROXY=localhost,.example,10.0.0.0/8,HTTP_PROXY=http://p:1',
    ['NO_PROXY=localhost,.example,10.0.0.0/8', 'HTTP_PROXY=http://p:1'],
  ],
  ['env', 'A=1\nB=2,C=3\n', ['A=1', 'B=2,C=3']],
  ['label', 'zone=a,rack=1', ['zone=a', 'rack=1']],
  ['label', 'zones=a,b', ['zones=a,b']],
  ['opt', 'icc=false,ipv6', ['icc=false', 'ipv6']],
  ['opt', 'dns=1.1.1.1,8.8.8.8\nipv6', ['dns=1.1.1.1,8.8.8.8', 'ipv6']],
  ['registryMirror', 'https://a.example,https://b.example', ['https://a.example', 'https://b.example']],
  ['env', '', []],
])('the list in a variable of --engine-%s is split between its items: %j', (key, text, items) => {
  const spec = engineOptionSpecs.find((candidate) => candidate.key === key);
  expect(spec && coerceOptionValue(spec, text)).toEqual(items);
});
