import { getDriver } from '../drivers/registry.ts';
import type { SlipwayError } from '../errors.ts';
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
 * What would make the records what the file says. Nothing is asked of anybody: two machines whose records and file
 * agree are the same. Machines that an earlier apply of this file made and that are no longer in it go only where that
 * is wished for.
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
  const changes = fieldChangesOf(current, wanted.spec);
  const action = actionFor(current, changes);
  return { ...about, changes, current, action, notes: notesFor(current, action, mark, now) };
}

function actionFor({ phase, failure, pendingRestart }: Machine, changes: readonly FieldChange[]): FleetAction {
  if (changes.some(({ how }) => how === 'replace')) return 'replace';
  if (phase !== 'ready') return 'finish';
  return changes.length > 0 || failure !== undefined || pendingRestart !== undefined ? 'change' : 'nothing';
}

function notesFor(before: Machine, deed: FleetAction, mark: string, now: Date): readonly string[] {
  const { spec, failure, pendingRestart, deadline, phase } = before;
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
  if (pendingRestart) notes.push('its restart was begun');
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

/** Lists, field by field as the file names them, what differs between a machine and its wanted spec. */
function fieldChangesOf(current: Machine, wanted: WantedSpec): readonly FieldChange[] {
  const driver = getDriver(current.spec.driver);
  const diff = diffSpecs(current, keepResolvedOptions(current.spec, wanted, driver), driver);
  return diff.map((change) => ({
    field: fieldNameOf(change, driver.name),
    ...(change.section === 'engine' && change.key === 'env'
      ? maskEnvValues(current.spec.engine.env, wanted.engine.env)
      : { from: change.from, to: change.to }),
    how: change.effect,
  }));
}

/** `ec2.type`, `engine.label`, `profiles`, `ttl`: options of a driver and of the engine have a section of their own. */
function fieldNameOf({ section, key }: SpecChange, driver: string): string {
  if (section === 'options') return `${driver}.${key}`;
  return section === 'engine' ? `engine.${key}` : key;
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
