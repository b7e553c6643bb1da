import { execFileSync } from 'node:child_process';
import { resolve } from 'node:path';
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
  describeOptions as described,
  optionsFromEnv,
  parseOptions,
  toArgv,
  toMarkdownTable,
  type OptionSpec,
} from '../../src/machine/options.ts';
import { toCommandLine } from '../../src/ssh/shell.ts';
import { engineOptionSpecs, engineOptions, lifetimeOptionSpecs } from '../../src/machine/spec.ts';
import { catchError } from '../fakes/catch-error.ts';
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
const boatOptions = described(boat, 'boat');
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

describe('one declaration', () => {
  test('carries a flag, a variable and a kind for each option', () => {
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

  test('becomes the table of the docs', () => {
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

  test('becomes questions for what has one and is still open', () => {
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

  test('becomes an argv that leaves out defaults and secrets', () => {
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

  test('says no to what no flag could carry', () => {
    expect(() => described(z.object({ deep: z.object({ a: z.string() }) }))).toThrow(/"deep" must be a flat/);
    expect(() => described(z.object({ numbers: z.array(z.int()) }))).toThrow(/"numbers" must be a flat/);
  });
});

describe('flags', () => {
  const parse = (...argv: readonly string[]) => parseFlags(commandWith(z.object({}), boatOptions), argv);

  test('fill the same place under each of their names', () => {
    expect(parse('--skipper', 'Bo', '--boat-owner', 'Ada').flags).toEqual({ 'boat-owner': 'Ada' });
    expect(parse('--boat-owner', 'Bo').flags).toEqual({ 'boat-owner': 'Bo' });
    expect(parse('--skipper', 'Bo').flags).toEqual({ 'boat-owner': 'Bo' });
    expect(parse('-H', 'Kiel').flags).toEqual({ 'boat-harbour': 'Kiel' });
  });

  test('hold only what was typed, in its type', () => {
    expect(parse('web').flags).toEqual({});
    expect(parse('--boat-berths', '20', '--boat-motor', '--boat-crew', 'a,b', '--boat-crew', 'c').flags).toEqual({
      'boat-berths': 20,
      'boat-motor': true,
      'boat-crew': ['a,b', 'c'],
    });
    expect(parse('--no-boat-motor').flags).toEqual({ 'boat-motor': false });
  });

  test('never take a secret: what stands in an argv can be read by everybody', () => {
    expect(catchError(() => parse('--boat-pin', '1234'))).toMatchObject({ code: 'USAGE' });
    expect(optionsFromEnv(boatOptions, { SLIPWAY_BOAT_PIN: '1234' })).toEqual({ pin: '1234' });
  });

  test('are suggested when one is nearly right', () => {
    expect(catchError(() => parse('--boat-berth', '9'))).toMatchObject({
      code: 'USAGE',
      message: "Unknown option '--boat-berth'",
      hint: 'Did you mean --boat-berths? See: slipway sail --help',
    });
  });
});

describe('variables', () => {
  test('give what their texts say; an empty one is none', () => {
    const env = { HARBOUR: '', SLIPWAY_BOAT_BERTHS: '20', SLIPWAY_BOAT_CREW: 'a,b', SLIPWAY_BOAT_MOTOR: 'yes' };
    expect(optionsFromEnv(boatOptions, env)).toEqual({ berths: 20, crew: ['a', 'b'], motor: true });
  });

  test('keep a text that is none of its kind, for the parse to name it', () => {
    const info = boatOptions.find(({ key }) => key === 'motor');
    expect(info && coerceOptionValue(info, 'perhaps')).toBe('perhaps');
    expect(catchError(() => parseOptions(boat, boatOptions, { ...boatValues, motor: 'perhaps' }))?.message).toBe(
      '--boat-motor must be true or false, got "perhaps"',
    );
  });
});

describe('what is wrong', () => {
  const complaint = (values: Record<string, unknown>): string | undefined =>
    catchError(() => parseOptions(boat, boatOptions, values))?.message;

  test('is said all at once, the missing first, with what mends it', () => {
    const error = catchError(() => parseOptions(boat, boatOptions, { berths: 4, rig: 'cat' }));
    expect(`${error?.message}\n${error?.hint}`).toMatchInlineSnapshot(`
      "--boat-harbour and --boat-owner are missing; --boat-berths must be at least 8, got 4; --boat-rig must be one of sloop or ketch, got "cat"
      Add --boat-harbour <name> --boat-owner <value>, or set HARBOUR and SLIPWAY_BOAT_OWNER"
    `);
  });

  test('is named by its flag, what it must be, and what it was', () => {
    expect(
      [
        { berths: 4 },
        { berths: 100 },
        { berths: 'many' },
        { berths: 8.5 },
        { rig: 'junk' },
        { harbour: '' },
        { pin: 7 },
      ].map((values) => complaint({ ...boatValues, ...values })),
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
  test('survives a real shell, whatever stands in it', () => {
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

/** What `create` makes of an argv, with the driver that it names where its flags don't. */
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
  test('becomes an argv from which the same machine is made', () => {
    const own = driverOptionSpecs[driver.name] ?? [];
    fc.assert(
      fc.property(
        anyValuesFor(driver.options, own),
        anyValuesFor(engineOptions, engineOptionSpecs),
        anyLifetime,
        (options, engine, life) => {
          const flags = Object.fromEntries([
            ...own.map((info) => [info.flag, options[info.key]] as const),
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
          const again = specFromArgv(
            [
              'web',
              ...toArgv(own, spec.options),
              ...toArgv(engineOptionSpecs, spec.engine),
              ...toArgv(lifetimeOptionSpecs, spec.lifetime ?? {}),
            ],
            driver.name,
          );
          expect(spec.lifetime ?? {}).toEqual(life);
          expect({ ...again, id: spec.id }).toEqual(spec);
        },
      ),
      { numRuns: 150 },
    );
  });
});

describe('a spec', () => {
  const flags = { 'generic-ip-address': '192.0.2.1' };
  const spec = resolveSpec({ name: 'web', driver: 'generic', flags, env: {}, before: undefined, profiles: [] });

  test('takes flags before what the machine was made with, then the environment, then defaults', () => {
    const env = { GENERIC_IP_ADDRESS: '192.0.2.9', GENERIC_SSH_USER: 'ops', GENERIC_SSH_PORT: '2200' };
    const before = { ...spec, options: { ...spec.options, sshUser: 'deploy' } };
    const from = resolveSpec({ name: 'web', driver: 'generic', flags, env, before, profiles: [] });
    expect(from.options).toEqual({ ipAddress: '192.0.2.1', sshUser: 'deploy', sshPort: 22 });
    const fresh = resolveSpec({ name: 'web', driver: 'generic', flags, env, before: undefined, profiles: [] });
    expect(fresh.options).toEqual({ ipAddress: '192.0.2.1', sshUser: 'ops', sshPort: 2200 });
  });

  test('keeps its id and what is not named when flags change it', () => {
    const changed = applyFlagsToSpec(spec, { 'engine-label': ['a=b'] });
    expect(changed).toEqual({ ...spec, engine: { ...spec.engine, label: ['a=b'] } });
  });

  test('takes its engine from a script when one is named, and keeps no script that is not used', () => {
    expect(applyFlagsToSpec(spec, {}).engine.source).toBe('docker');
    const of = (more: Record<string, string>) =>
      resolveSpec({
        name: 'web',
        driver: 'generic',
        flags: { ...flags, ...more },
        env: {},
        before: undefined,
        profiles: [],
      }).engine;
    const script = { 'engine-install-url': 'https://get.example/x' };
    expect(of(script)).toMatchObject({ source: 'url', installUrl: 'https://get.example/x' });
    expect(of({ ...script, 'engine-source': 'docker' }).installUrl).toBeUndefined();
  });

  test('refuses the flags of another driver by name', () => {
    expect(catchError(() => applyFlagsToSpec(spec, { 'none-url': 'tcp://x:1', 'none-tls-ca': 'a' }))?.message).toBe(
      '--none-url and --none-tls-ca belong to the driver none, not to generic',
    );
  });

  test('holds paths as seen from where they were typed', () => {
    expect(applyFlagsToSpec(spec, { 'generic-ssh-key': 'keys/id' }).options.sshKey).toBe(resolve('keys/id'));
  });

  test('is of the one driver that the flags speak of', () => {
    expect(driverFromFlags({ 'generic-ip-address': 'x' })).toBe('generic');
    expect(catchError(() => driverFromFlags({ 'generic-ip-address': 'x', 'none-url': 'y' }))?.message).toContain(
      'generic and none',
    );
    expect(driverFromFlags({ 'engine-port': 1 })).toBeUndefined();
  });
});

describe('a question with a list', () => {
  const list = async () => [
    { value: 'far', note: 'a long way' },
    { value: 'near', note: 'a step' },
  ];
  const { source, filter } = toSearchQuestion({ name: 'place', type: 'input', message: 'Where?' }, list, 'near');

  test('shows what is usual first, and narrows to what is typed', async () => {
    expect((await source?.(undefined))?.map(({ name }) => name)).toEqual(['near  a step', 'far   a long way']);
    expect((await source?.('LONG'))?.map(({ value }) => value)).toEqual(['far', 'LONG']);
  });

  test('answers with the first row for what is typed, where Enter overtook the list', async () => {
    await source?.('LONG');
    expect(filter?.('near')).toBe('far');
    expect(filter?.('LONG')).toBe('LONG');
  });

  test('takes what is typed as it is, once', async () => {
    expect(await source?.('moon')).toEqual([{ value: 'moon', name: 'moon (as typed)' }]);
    expect((await source?.('far'))?.map(({ name }) => name)).toEqual(['far   a long way']);
  });
});
