import type { OptionChange, DriverManifest } from '../drivers/contract.ts';
import { getDriver } from '../drivers/registry.ts';
import type { SlipwayError } from '../errors.ts';
import { isOptionChanged, allKeysOf } from '../machine/user-options.ts';
import type { EngineSpec, Machine, MachineSpec } from '../machine/model.ts';
import { isSameValue, type OptionValues } from '../machine/options.ts';
import { engineOptions } from '../machine/spec.ts';
import type { ListedMachine } from '../machine/store.ts';
import type { Fleet, WantedMachine, WantedSpec } from './build-fleet.ts';

/** How a field changes: as drivers tell it, or by restarting the engine. */
export type FieldChangeMode = OptionChange | 'engine';

export type FieldChange = {
  readonly field: string;
  readonly from: unknown;
  readonly to: unknown;
  readonly how: FieldChangeMode;
};

export type FleetAction = 'create' | 'finish' | 'change' | 'replace' | 'remove' | 'nothing' | 'broken';

/** What is to be done about one machine, and why. */
export type FleetItem = {
  readonly name: string;
  readonly driver: string;
  readonly action: FleetAction;
  readonly changes: readonly FieldChange[];
  /** Sentences for the user to know before. */
  readonly notes: readonly string[];
  /** The one that is there. */
  readonly current?: Machine;
  readonly wanted?: WantedMachine;
  readonly broken?: SlipwayError;
};

export type FleetPlan = {
  readonly displayPath: string;
  readonly fleetId: string;
  readonly items: readonly FleetItem[];
};

/**
 * What would make the records what the file says. Nothing is asked of anybody: two machines whose records and file agree are the
 * same. Machines that an earlier apply of this file made and that are no longer in it go only where that is wished for.
 */
export function planFleet(
  fleet: Fleet,
  records: readonly ListedMachine[],
  { prune, now }: { readonly prune: boolean; readonly now: Date },
): FleetPlan {
  const known = new Map(records.map((record) => [record.name, record]));
  const wanted = fleet.machines.map((one) => itemFor(one, known.get(one.spec.name), fleet.fleetId, now));
  const names = new Set(fleet.machines.map(({ spec }) => spec.name));
  const gone = prune ? records.flatMap((record) => removalsFor(record, fleet.fleetId, names)) : [];
  return { displayPath: fleet.displayPath, fleetId: fleet.fleetId, items: [...wanted, ...gone] };
}

/** Whether doing it takes something away that only the user can give up. */
export function isDestructive({ action }: FleetItem): boolean {
  return action === 'replace' || action === 'remove';
}

export function hasWork({ action }: FleetItem): boolean {
  return action !== 'nothing';
}

function itemFor(wanted: WantedMachine, record: ListedMachine | undefined, mark: string, now: Date): FleetItem {
  const { name, driver } = wanted.spec;
  const about = { name, driver, changes: [], notes: [], wanted };
  if (!record) return { ...about, action: 'create' };
  if ('broken' in record) return { ...about, action: 'broken', broken: record.broken };
  const current = record.machine;
  const changes = diffMachine(current, wanted.spec);
  const action = actionFor(current, changes);
  return { ...about, changes, current, action, notes: notesFor(current, action, mark, now) };
}

function actionFor({ phase, failure, due }: Machine, changes: readonly FieldChange[]): FleetAction {
  if (changes.some(({ how }) => how === 'replace')) return 'replace';
  if (phase !== 'ready') return 'finish';
  return changes.length > 0 || failure !== undefined || due !== undefined ? 'change' : 'nothing';
}

function notesFor(before: Machine, deed: FleetAction, mark: string, now: Date): readonly string[] {
  const { spec, failure, due, deadline, phase } = before;
  const notes: string[] = [];
  if (deed === 'replace') {
    const driver = getDriver(spec.driver);
    notes.push(
      driver.kind !== 'existing'
        ? 'what is on its disk is lost'
        : (driver.retainedOnRemove ?? 'what it was made of stays as it is'),
    );
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

function removalsFor(record: ListedMachine, mark: string, names: ReadonlySet<string>): readonly FleetItem[] {
  if ('broken' in record || names.has(record.name)) return [];
  const { machine: current } = record;
  if (current.spec.fleet !== mark) return [];
  const { driver } = current.spec;
  return [{ name: record.name, driver, action: 'remove', changes: [], notes: ['no longer in the file'], current }];
}

/** Field by field, what differs between a machine and what is wanted of it. */
export function diffMachine(before: Machine, wanted: WantedSpec): readonly FieldChange[] {
  const { spec } = before;
  if (spec.driver !== wanted.driver) return [{ field: 'driver', from: spec.driver, to: wanted.driver, how: 'replace' }];
  const driver = getDriver(spec.driver);
  return [
    ...optionChanges(driver, spec, wanted),
    ...engineChanges(before, wanted.engine),
    ...diffFields('', { profiles: spec.profiles }, { profiles: wanted.profiles }),
    ...lifetimeChanges(before, wanted),
  ];
}

/** One that its provider removes when it shuts itself down can't be made to stop instead. */
function lifetimeChanges({ spec, ending }: Machine, wanted: WantedSpec): readonly FieldChange[] {
  return diffFields('', spec.life ?? {}, wanted.life ?? {}).map((change) =>
    change.field === 'idleStop' && change.to !== undefined && ending === 'removed'
      ? { ...change, how: 'replace' }
      : change,
  );
}

function optionChanges(driver: DriverManifest, before: MachineSpec, { options }: WantedSpec): readonly FieldChange[] {
  const spec = { ...before, options: withDefaults(driver.options, before.options) };
  const settles = driver.kind === 'cloud';
  return allKeysOf(spec.options, options)
    .filter((key) => isOptionChanged(key, spec, options, settles))
    .map((key) => {
      const [from, to] = [spec.options[key], options[key]];
      return { field: `${driver.name}.${key}`, from, to, how: driver.changeKindOf?.(key, from, to) ?? 'replace' };
    });
}

type OptionParser = { safeParse(values: unknown): { readonly success: boolean; readonly data?: unknown } };

/** With defaults for options that are younger than the record. */
function withDefaults(schema: OptionParser, values: OptionValues): OptionValues {
  const parsed = schema.safeParse(values);
  return parsed.success ? (parsed.data as OptionValues) : values;
}

/** Where an install script or a mirror of packages is, matters to an engine that is to come. */
const INSTALL_ONLY_OPTIONS: ReadonlySet<string> = new Set(['installUrl', 'repositoryUrl', 'repositoryKey']);

function engineChanges({ spec, host }: Machine, wanted: EngineSpec): readonly FieldChange[] {
  const found = diffFields('engine.', withDefaults(engineOptions, spec.engine), wanted);
  return found.map((change): FieldChange => {
    const key = change.field.slice('engine.'.length);
    // The way to it was laid when the machine was made.
    const fixed = key === 'port' && host?.ssh !== undefined && host.enginePort !== undefined;
    const how = fixed ? 'replace' : INSTALL_ONLY_OPTIONS.has(key) ? 'live' : 'engine';
    return key === 'env' ? { ...change, ...maskEnvValues(spec.engine.env, wanted.env), how } : { ...change, how };
  });
}

/** Variables by their names: a proxy's address may hold a password. */
function maskEnvValues(from: readonly string[], to: readonly string[]): Pick<FieldChange, 'from' | 'to'> {
  const nameOf = (pair: string): string => pair.split('=', 1)[0] ?? '';
  const names = new Set(from.map(nameOf));
  const shown = (pair: string): string => {
    const changed = names.has(nameOf(pair)) && !from.includes(pair);
    return `${nameOf(pair)}=…${changed ? ' (another value)' : ''}`;
  };
  return { from: from.map(shown), to: to.map(shown) };
}

function diffFields(prefix: string, from: OptionValues, to: OptionValues): readonly FieldChange[] {
  return allKeysOf(from, to)
    .filter((key) => !isSameValue(from[key], to[key]))
    .map((key) => ({ field: `${prefix}${key}`, from: from[key], to: to[key], how: 'live' }));
}
