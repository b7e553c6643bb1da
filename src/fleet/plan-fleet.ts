import { getDriver } from '../drivers/registry.ts';
import type { SlipwayError } from '../errors.ts';
import { isLoginKey } from '../machine/engine-logins.ts';
import type { Machine } from '../machine/model.ts';
import type { ListedMachine } from '../machine/store.ts';
import { type ChangeEffect, diffSpecs, keepResolvedOptions, type SpecChange } from '../operations/diff-specs.ts';
import type { Fleet, WantedMachine, WantedSpec } from './build-fleet.ts';

export type FieldChange = {
  readonly field: string;
  readonly from: unknown;
  readonly to: unknown;
  readonly how: ChangeEffect;
};

export type FleetAction = 'create' | 'finish' | 'change' | 'replace' | 'remove' | 'nothing' | 'broken';

/** What apply does for one machine, and why. */
export type FleetItem = {
  readonly name: string;
  readonly driver: string;
  readonly action: FleetAction;
  readonly changes: readonly FieldChange[];
  /** Sentences that the user should read before applying. */
  readonly notes: readonly string[];
  /** The machine as recorded; undefined if none exists. */
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
 * Plans what makes the records match the file. Compares with the records only and queries no machine. With `prune`, the
 * plan also removes machines that an apply of this file created and that are no longer in it.
 */
export function planFleet(
  fleet: Fleet,
  records: readonly ListedMachine[],
  { prune, now }: { readonly prune: boolean; readonly now: Date },
): FleetPlan {
  const known = new Map(records.map((record) => [record.name, record]));
  const items = fleet.machines.map((wanted) => itemFor(wanted, known.get(wanted.spec.name), fleet.fleetId, now));
  const names = new Set(fleet.machines.map(({ spec }) => spec.name));
  const removals = prune ? records.flatMap((record) => removalsFor(record, fleet.fleetId, names)) : [];
  return { displayPath: fleet.displayPath, fleetId: fleet.fleetId, items: [...items, ...removals] };
}

/** Tells whether an action loses data, so that only the user may decide on it. */
export function isDestructive({ action }: FleetItem): boolean {
  return action === 'replace' || action === 'remove';
}

export function hasWork({ action }: FleetItem): boolean {
  return action !== 'nothing';
}

function itemFor(wanted: WantedMachine, record: ListedMachine | undefined, fleetId: string, now: Date): FleetItem {
  const { name, driver } = wanted.spec;
  const item = { name, driver, changes: [], notes: [], wanted };
  if (!record) return { ...item, action: 'create' };
  if ('broken' in record) return { ...item, action: 'broken', broken: record.broken };
  const current = record.machine;
  const changes = fieldChangesOf(current, wanted.spec);
  const action = actionFor(current, changes);
  return { ...item, changes, current, action, notes: notesFor(current, action, fleetId, now) };
}

function actionFor({ phase, failure, pendingRestart }: Machine, changes: readonly FieldChange[]): FleetAction {
  if (changes.some(({ how }) => how === 'replace')) return 'replace';
  if (phase !== 'ready') return 'finish';
  return changes.length > 0 || failure !== undefined || pendingRestart !== undefined ? 'change' : 'nothing';
}

function notesFor(current: Machine, action: FleetAction, fleetId: string, now: Date): readonly string[] {
  const { spec, failure, pendingRestart, deadline, phase } = current;
  const notes: string[] = [];
  if (action === 'replace') {
    const driver = getDriver(spec.driver);
    notes.push(
      driver.kind !== 'existing'
        ? 'all data on its disk is lost'
        : (driver.retainedOnRemove ?? 'the host itself stays as it is'),
    );
    if (spec.fleet !== fleetId) notes.push('it was not created from this file');
  }
  if (phase === 'ready' && failure) notes.push(`its last change did not complete: ${failure.message}`);
  if (pendingRestart) notes.push('its restart did not complete');
  if (deadline !== undefined && new Date(deadline) <= now && action !== 'replace')
    notes.push(
      `it ended at its deadline; to extend it: slipway extend ${spec.name} 2h; to create it again: slipway rm ${spec.name}, then slipway apply`,
    );
  return notes;
}

function removalsFor(record: ListedMachine, fleetId: string, names: ReadonlySet<string>): readonly FleetItem[] {
  if ('broken' in record || names.has(record.name)) return [];
  const { machine: current } = record;
  if (current.spec.fleet !== fleetId) return [];
  const { driver } = current.spec;
  return [{ name: record.name, driver, action: 'remove', changes: [], notes: ['no longer in the file'], current }];
}

/** Lists, field by field as the file names them, what differs between a machine and its wanted spec. */
function fieldChangesOf(current: Machine, wanted: WantedSpec): readonly FieldChange[] {
  const driver = getDriver(current.spec.driver);
  const diff = diffSpecs(current, keepResolvedOptions(current.spec, wanted, driver), driver);
  return diff.map((change) => ({
    field: fieldNameOf(change, driver.name),
    ...(change.section === 'engine' && change.key === 'env'
      ? maskEnvValues(current.spec.engine.env, wanted.engine.env)
      : change.section === 'engine' && isLoginKey(change.key)
        ? { from: maskLogin(change.from), to: maskLogin(change.to) }
        : { from: change.from, to: change.to }),
    how: change.effect,
  }));
}

/** Returns a field's name as in the file: `ec2.type`, `engine.label`, `profiles`, `ttl`. */
function fieldNameOf({ section, key }: SpecChange, driver: string): string {
  if (section === 'options') return `${driver}.${key}`;
  return section === 'engine' ? `engine.${key}` : key;
}

function maskLogin(login: unknown): string | undefined {
  return login === undefined ? undefined : '…';
}

/** Shows variables without their values: a proxy's URL may contain a password. */
function maskEnvValues(from: readonly string[], to: readonly string[]): Pick<FieldChange, 'from' | 'to'> {
  const nameOf = (pair: string): string => pair.split('=', 1)[0] ?? '';
  const names = new Set(from.map(nameOf));
  const mask = (pair: string): string => {
    const changed = names.has(nameOf(pair)) && !from.includes(pair);
    return `${nameOf(pair)}=…${changed ? ' (another value)' : ''}`;
  };
  return { from: from.map(mask), to: to.map(mask) };
}
