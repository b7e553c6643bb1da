import { SlipwayError } from '../errors.ts';
import type { MachineStatus } from '../operations/status.ts';
import { findNearestWord } from '../did-you-mean.ts';
import { formatList } from '../machine/options.ts';
import type { ListedMachine } from '../machine/store.ts';

const FILTER_KEYS = ['name', 'driver', 'state', 'label'] as const;
type FilterKey = (typeof FILTER_KEYS)[number];

/** The state of a machine in `ls`: `broken` if its record can't be read. */
export type LsState = MachineStatus['state'] | 'broken';

const STATES: Readonly<Record<LsState, true>> = {
  running: true,
  unfinished: true,
  stopped: true,
  suspended: true,
  paused: true,
  missing: true,
  ended: true,
  starting: true,
  'no engine': true,
  unreachable: true,
  broken: true,
};

/** Tests by filter key. A machine matches if, for each key, at least one test passes. */
export type Filters = ReadonlyMap<FilterKey, readonly ((item: ListedMachine, state: LsState | undefined) => boolean)[]>;

/** Parses filters such as `driver=ec2` and `label=zone=a`. Throws USAGE for an unknown key or an invalid value. */
export function parseFilters(texts: readonly string[]): Filters {
  const filters = new Map<FilterKey, readonly ReturnType<typeof createTest>[]>();
  for (const text of texts) {
    const [, word = '', value = ''] = /^([^=]+)=(.+)$/s.exec(text) ?? [];
    const key = FILTER_KEYS.find((known) => known === word.toLowerCase());
    if (key === undefined) throw word === '' ? invalidFilterError(text, FILTER_HINT) : unknownKeyError(word, value);
    filters.set(key, [...(filters.get(key) ?? []), createTest(key, value)]);
  }
  return filters;
}

/** Returns whether a machine's record matches; a filter by state needs the machine itself. */
export function isRecordMatch(item: ListedMachine, filters: Filters): boolean {
  return [...filters].every(([key, tests]) => key === 'state' || tests.some((test) => test(item, undefined)));
}

/** Returns whether a machine's state matches the filters by state, if there are any. */
export function isStateMatch(item: ListedMachine, state: LsState, filters: Filters): boolean {
  return filters.get('state')?.some((test) => test(item, state)) ?? true;
}

function createTest(key: FilterKey, value: string): (item: ListedMachine, state: LsState | undefined) => boolean {
  if (key === 'name') {
    const pattern = parsePattern(value);
    return ({ name }) => pattern.test(name);
  }
  if (key === 'state') {
    const wanted = parseState(value);
    return (_item, state) => state === wanted;
  }
  if (key === 'driver') return (item) => 'machine' in item && isSameIgnoringCase(item.machine.spec.driver, value);
  const [label = '', wanted] = splitOnce(value);
  return (item) =>
    'machine' in item &&
    item.machine.spec.engine.label.some((text) => {
      const [key, labelValue = ''] = splitOnce(text);
      return key === label && (wanted === undefined || isSameIgnoringCase(labelValue, wanted));
    });
}

function splitOnce(text: string): readonly [string, string?] {
  const at = text.indexOf('=');
  return at < 0 ? [text] : [text.slice(0, at), text.slice(at + 1)];
}

function isSameIgnoringCase(left: string, right: string): boolean {
  return left.toLowerCase() === right.toLowerCase();
}

function parsePattern(value: string): RegExp {
  try {
    return new RegExp(value);
  } catch (error) {
    throw new SlipwayError('USAGE', `Invalid regular expression in --filter name=${value}`, {
      hint: 'For example: slipway ls --filter name=^web-',
      cause: error,
    });
  }
}

function parseState(value: string): LsState {
  const states = Object.keys(STATES) as readonly LsState[];
  const state = states.find((known) => isSameIgnoringCase(known, value));
  if (state) return state;
  throw new SlipwayError('USAGE', `Unknown state ${JSON.stringify(value)}`, {
    hint: formatHint(findNearestWord(value, states), `States: ${formatList(states)}`),
  });
}

const FILTER_HINT = `For example: slipway ls --filter driver=ec2. Keys: ${formatList(FILTER_KEYS)}`;

export function invalidFilterError(text: string, hint: string): SlipwayError {
  return new SlipwayError('USAGE', `Invalid --filter ${JSON.stringify(text)}: expected KEY=VALUE`, { hint });
}

function unknownKeyError(word: string, value: string): SlipwayError {
  const near = findNearestWord(word, FILTER_KEYS);
  return new SlipwayError('USAGE', `Unknown filter key ${JSON.stringify(word)}`, {
    hint: formatHint(near && `${near}=${value}`, `Keys: ${formatList(FILTER_KEYS)}`),
  });
}

function formatHint(near: string | undefined, all: string): string {
  return near === undefined ? all : `Did you mean ${near}? ${all}`;
}
