import { SlipwayError } from '../errors.ts';
import type { Look } from '../operations/status.ts';
import { nearest } from '../did-you-mean.ts';
import { listed } from '../machine/options.ts';
import type { Listed } from '../machine/store.ts';

const KEYS = ['name', 'driver', 'state', 'label'] as const;
type Key = (typeof KEYS)[number];

/** What `ls` says of a machine; a record that can’t be read is `broken`. */
export type State = Look['state'] | 'broken';

const STATES: Readonly<Record<State, true>> = {
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

/** Of one key, one must hold; of several keys, each. */
export type Filters = ReadonlyMap<Key, readonly ((item: Listed, state: State | undefined) => boolean)[]>;

/** `driver=ec2`, `label=zone=a`; throws USAGE. */
export function parseFilters(texts: readonly string[]): Filters {
  const filters = new Map<Key, readonly ReturnType<typeof testOf>[]>();
  for (const text of texts) {
    const [, word = '', value = ''] = /^([^=]+)=(.+)$/s.exec(text) ?? [];
    const key = KEYS.find((known) => known === word.toLowerCase());
    if (key === undefined) throw word === '' ? noFilter(text) : unknownKey(word, value);
    filters.set(key, [...(filters.get(key) ?? []), testOf(key, value)]);
  }
  return filters;
}

/** What the record alone says. */
export function passesByRecord(item: Listed, filters: Filters): boolean {
  return [...filters].every(([key, tests]) => key === 'state' || tests.some((test) => test(item, undefined)));
}

/** What only the machine can say; there is nothing to ask where no filter wants it. */
export function passesByState(item: Listed, state: State, filters: Filters): boolean {
  return filters.get('state')?.some((test) => test(item, state)) ?? true;
}

function testOf(key: Key, value: string): (item: Listed, state: State | undefined) => boolean {
  if (key === 'name') {
    const pattern = patternOf(value);
    return ({ name }) => pattern.test(name);
  }
  if (key === 'state') {
    const wanted = stateOf(value);
    return (_item, state) => state === wanted;
  }
  if (key === 'driver') return (item) => 'machine' in item && alike(item.machine.spec.driver, value);
  const [label = '', wanted] = cutOnce(value);
  return (item) =>
    'machine' in item &&
    item.machine.spec.engine.label.some((text) => {
      const [mine, its = ''] = cutOnce(text);
      return mine === label && (wanted === undefined || alike(its, wanted));
    });
}

function cutOnce(text: string): readonly [string, string?] {
  const at = text.indexOf('=');
  return at < 0 ? [text] : [text.slice(0, at), text.slice(at + 1)];
}

function alike(left: string, right: string): boolean {
  return left.toLowerCase() === right.toLowerCase();
}

function patternOf(value: string): RegExp {
  try {
    return new RegExp(value);
  } catch (error) {
    throw new SlipwayError('USAGE', `--filter name=${value} is no regular expression`, {
      hint: 'For example: slipway ls --filter name=^web-',
      cause: error,
    });
  }
}

function stateOf(value: string): State {
  const states = Object.keys(STATES) as readonly State[];
  const state = states.find((known) => alike(known, value));
  if (state) return state;
  throw new SlipwayError('USAGE', `No machine can be in the state ${JSON.stringify(value)}`, {
    hint: hint(nearest(value, states), `States: ${listed(states)}`),
  });
}

function noFilter(text: string): SlipwayError {
  return new SlipwayError('USAGE', `--filter takes KEY=VALUE, got ${JSON.stringify(text)}`, {
    hint: `For example: slipway ls --filter driver=ec2. Keys: ${listed(KEYS)}`,
  });
}

function unknownKey(word: string, value: string): SlipwayError {
  const near = nearest(word, KEYS);
  return new SlipwayError('USAGE', `Machines can’t be filtered by ${JSON.stringify(word)}`, {
    hint: hint(near && `${near}=${value}`, `Keys: ${listed(KEYS)}`),
  });
}

function hint(near: string | undefined, all: string): string {
  return near === undefined ? all : `Did you mean ${near}? ${all}`;
}
