import type { Change, Driver } from '../drivers/contract.ts';
import { driverNamed } from '../drivers/registry.ts';
import type { SlipwayError } from '../errors.ts';
import { differs, keysOf } from '../machine/user-options.ts';
import type { EngineSpec, Machine, MachineSpec } from '../machine/model.ts';
import { same, type Values } from '../machine/options.ts';
import { engineOptions } from '../machine/spec.ts';
import type { Listed } from '../machine/store.ts';
import type { Fleet, Wanted, WantedSpec } from './fleet.ts';

/** How a field changes: as drivers tell it, or by restarting the engine. */
export type How = Change | 'engine';

export type FieldChange = { readonly field: string; readonly from: unknown; readonly to: unknown; readonly how: How };

export type Deed = 'create' | 'finish' | 'change' | 'replace' | 'remove' | 'nothing' | 'broken';

/** What is to be done about one machine, and why. */
export type Item = {
  readonly name: string;
  readonly driver: string;
  readonly deed: Deed;
  readonly changes: readonly FieldChange[];
  /** Sentences for the user to know before. */
  readonly notes: readonly string[];
  /** The one that is there. */
  readonly before?: Machine;
  readonly wanted?: Wanted;
  readonly broken?: SlipwayError;
};

export type FleetPlan = { readonly shown: string; readonly mark: string; readonly items: readonly Item[] };

/**
 * What would make the records what the file says. Nothing is asked of anybody: two machines whose records and file agree are the
 * same. Machines that an earlier apply of this file made and that are no longer in it go only where that is wished for.
 */
export function planFleet(
  fleet: Fleet,
  records: readonly Listed[],
  { prune, now }: { readonly prune: boolean; readonly now: Date },
): FleetPlan {
  const known = new Map(records.map((record) => [record.name, record]));
  const wanted = fleet.wanted.map((one) => itemFor(one, known.get(one.spec.name), fleet.mark, now));
  const names = new Set(fleet.wanted.map(({ spec }) => spec.name));
  const gone = prune ? records.flatMap((record) => leftover(record, fleet.mark, names)) : [];
  return { shown: fleet.shown, mark: fleet.mark, items: [...wanted, ...gone] };
}

/** Whether doing it takes something away that only the user can give up. */
export function losesSomething({ deed }: Item): boolean {
  return deed === 'replace' || deed === 'remove';
}

export function hasWork({ deed }: Item): boolean {
  return deed !== 'nothing';
}

function itemFor(wanted: Wanted, record: Listed | undefined, mark: string, now: Date): Item {
  const { name, driver } = wanted.spec;
  const about = { name, driver, changes: [], notes: [], wanted };
  if (!record) return { ...about, deed: 'create' };
  if ('broken' in record) return { ...about, deed: 'broken', broken: record.broken };
  const before = record.machine;
  const changes = changesOf(before, wanted.spec);
  const deed = deedFor(before, changes);
  return { ...about, changes, before, deed, notes: notesFor(before, deed, mark, now) };
}

function deedFor({ phase, failure, due }: Machine, changes: readonly FieldChange[]): Deed {
  if (changes.some(({ how }) => how === 'replace')) return 'replace';
  if (phase !== 'ready') return 'finish';
  return changes.length > 0 || failure !== undefined || due !== undefined ? 'change' : 'nothing';
}

function notesFor(before: Machine, deed: Deed, mark: string, now: Date): readonly string[] {
  const { spec, failure, due, deadline, phase } = before;
  const notes: string[] = [];
  if (deed === 'replace') {
    const driver = driverNamed(spec.driver);
    notes.push(driver.create ? 'what is on its disk is lost' : (driver.stays ?? 'what it was made of stays as it is'));
    if (spec.fleet !== mark) notes.push('this file did not make it');
  }
  if (phase === 'ready' && failure) notes.push(`its last change was stopped: ${failure.message}`);
  if (due) notes.push('its restart was begun');
  if (deadline !== undefined && new Date(deadline) <= now && deed !== 'replace')
    notes.push(
      `it ended at its deadline; more time: slipway extend ${spec.name} 2h; a new one: slipway rm ${spec.name}, then apply`,
    );
  return notes;
}

function leftover(record: Listed, mark: string, names: ReadonlySet<string>): readonly Item[] {
  if ('broken' in record || names.has(record.name)) return [];
  const { machine: before } = record;
  if (before.spec.fleet !== mark) return [];
  const { driver } = before.spec;
  return [{ name: record.name, driver, deed: 'remove', changes: [], notes: ['no longer in the file'], before }];
}

/** Field by field, what differs between a machine and what is wanted of it. */
export function changesOf(before: Machine, wanted: WantedSpec): readonly FieldChange[] {
  const { spec } = before;
  if (spec.driver !== wanted.driver) return [{ field: 'driver', from: spec.driver, to: wanted.driver, how: 'replace' }];
  const driver = driverNamed(spec.driver);
  return [
    ...optionChanges(driver, spec, wanted),
    ...engineChanges(before, wanted.engine),
    ...fields('', { profiles: spec.profiles }, { profiles: wanted.profiles }),
    ...lifeChanges(before, wanted),
  ];
}

/** One that its provider removes when it shuts itself down can't be made to stop instead. */
function lifeChanges({ spec, ending }: Machine, wanted: WantedSpec): readonly FieldChange[] {
  return fields('', spec.life ?? {}, wanted.life ?? {}).map((change) =>
    change.field === 'idleStop' && change.to !== undefined && ending === 'removed'
      ? { ...change, how: 'replace' }
      : change,
  );
}

function optionChanges(driver: Driver, before: MachineSpec, { options }: WantedSpec): readonly FieldChange[] {
  const spec = { ...before, options: complete(driver.options, before.options) };
  const settles = driver.settle !== undefined;
  return keysOf(spec.options, options)
    .filter((key) => differs(key, spec, options, settles))
    .map((key) => {
      const [from, to] = [spec.options[key], options[key]];
      return { field: `${driver.name}.${key}`, from, to, how: driver.changeOf?.(key, from, to) ?? 'replace' };
    });
}

type Parser = { safeParse(values: unknown): { readonly success: boolean; readonly data?: unknown } };

/** With defaults for options that are younger than the record. */
function complete(schema: Parser, values: Values): Values {
  const parsed = schema.safeParse(values);
  return parsed.success ? (parsed.data as Values) : values;
}

/** Where an install script or a mirror of packages is, matters to an engine that is to come. */
const BEFORE_THE_ENGINE: ReadonlySet<string> = new Set(['installUrl', 'repositoryUrl', 'repositoryKey']);

function engineChanges({ spec, host }: Machine, wanted: EngineSpec): readonly FieldChange[] {
  const found = fields('engine.', complete(engineOptions, spec.engine), wanted);
  return found.map((change): FieldChange => {
    const key = change.field.slice('engine.'.length);
    // The way to it was laid when the machine was made.
    const fixed = key === 'port' && host?.ssh !== undefined && host.enginePort !== undefined;
    const how = fixed ? 'replace' : BEFORE_THE_ENGINE.has(key) ? 'live' : 'engine';
    return key === 'env' ? { ...change, ...masked(spec.engine.env, wanted.env), how } : { ...change, how };
  });
}

/** Variables by their names: a proxy's address may hold a password. */
function masked(from: readonly string[], to: readonly string[]): Pick<FieldChange, 'from' | 'to'> {
  const nameOf = (pair: string): string => pair.split('=', 1)[0] ?? '';
  const names = new Set(from.map(nameOf));
  const shown = (pair: string): string => {
    const changed = names.has(nameOf(pair)) && !from.includes(pair);
    return `${nameOf(pair)}=…${changed ? ' (another value)' : ''}`;
  };
  return { from: from.map(shown), to: to.map(shown) };
}

function fields(prefix: string, from: Values, to: Values): readonly FieldChange[] {
  return keysOf(from, to)
    .filter((key) => !same(from[key], to[key]))
    .map((key) => ({ field: `${prefix}${key}`, from: from[key], to: to[key], how: 'live' }));
}
