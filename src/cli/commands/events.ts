import { z } from 'zod';
import { exitCodes, SlipwayError } from '../../errors.ts';
import { nearest } from '../../did-you-mean.ts';
import { instantOf, listenTo } from '../../operations/follow-events.ts';
import { defineCommand, type Cli, type Command } from '../command.ts';
import { printable } from '../../terminal/printable.ts';
import { readyMachine } from './ready.ts';

const args = z.object({
  since: z.string().optional().meta({ description: 'Begin with what happened since then', value: 'time' }),
  until: z.string().optional().meta({ description: 'End with what happens until then', value: 'time' }),
  filter: z
    .array(z.string())
    .default([])
    .meta({ description: 'Only these, as docker events filters: type=container', short: 'f', value: 'key=value' }),
});

const FILTERS = [
  'config',
  'container',
  'daemon',
  'event',
  'image',
  'label',
  'network',
  'node',
  'plugin',
  'scope',
  'secret',
  'service',
  'type',
  'volume',
];

export const events: Command<typeof args> = defineCommand({
  name: 'events',
  summary: 'Follow what happens on the engines of machines, one event a line, until Ctrl-C',
  words: '[names...]',
  args,
  details:
    'All ready machines, or those named. Times are as in docker events: seconds since 1970, a date, or a time ago such as 10m. A connection that is lost is made anew and goes on where it was, as far as the engine remembers: its last 256 events. With --json each line is the engine’s own document and the name of its machine.',
  async run({ words, args: { since, until, filter } }, cli) {
    const query = {
      since: since === undefined ? undefined : instant('since', since, cli),
      until: until === undefined ? undefined : instant('until', until, cli),
      filters: filtersOf(filter, cli.say),
    };
    const names = await followed(words, cli);
    const { screen, say, world } = cli;
    const take = async (machine: string, { text }: { readonly text: string }): Promise<void> => {
      screen.write(`${screen.json ? named(machine, text) : shownEvent(machine, JSON.parse(text) as object)}\n`);
      await screen.taken();
    };
    const listening = { query, take, say: (line: string) => say(printable(line)) };
    // One question that no engine understands ends all of them.
    const stop = new AbortController();
    // Each has one of its own: Node warns of signals that many listen to.
    const signalOf = (): AbortSignal => AbortSignal.any([world.signal, stop.signal]);
    const ends = await Promise.all(
      names.map(async (name) =>
        listenTo(name, listening, { ...world, signal: signalOf() }).catch((error: unknown) => {
          stop.abort();
          throw error;
        }),
      ),
    );
    return {
      json: undefined,
      text: '',
      ...(ends.includes('unheard') ? { status: exitCodes.ENGINE_UNREACHABLE } : {}),
    };
  },
});

async function followed(words: readonly string[], { world: { store }, say }: Cli): Promise<readonly string[]> {
  for (const name of words) await readyMachine(name, store);
  if (words.length > 0) return [...new Set(words)];
  const all = await store.list();
  for (const item of all) if ('broken' in item) say(item.broken.message);
  const ready = all.flatMap((item) => ('machine' in item && item.machine.phase === 'ready' ? [item.name] : []));
  if (ready.length > 0) return ready;
  throw new SlipwayError('MACHINE_NOT_FOUND', 'There is no machine that is ready, so there is nothing to follow', {
    hint: 'Make one: slipway create',
  });
}

function instant(flag: string, text: string, { world }: Cli): string {
  const found = instantOf(text, world.now());
  if (found !== undefined) return found;
  throw new SlipwayError('USAGE', `--${flag} ${JSON.stringify(text)} is no time`, {
    hint: `For example: --${flag} 10m, --${flag} 2030-01-31T08:00:00Z, or seconds since 1970`,
  });
}

function filtersOf(pairs: readonly string[], say: Cli['say']): Readonly<Record<string, readonly string[]>> {
  const filters = new Map<string, string[]>();
  for (const pair of pairs) {
    const [, key, value] = /^([^=]+)=(.+)$/s.exec(pair) ?? [];
    if (key === undefined || value === undefined) {
      throw new SlipwayError('USAGE', `--filter ${JSON.stringify(pair)} is no pair`, {
        hint: 'For example: --filter type=container --filter event=die',
      });
    }
    if (!FILTERS.includes(key)) say(unknown(key));
    filters.set(key, [...(filters.get(key) ?? []), value]);
  }
  return Object.fromEntries(filters);
}

/** It is the engine's to know them, and engines pass over those that they do not know. */
function unknown(key: string): string {
  const near = nearest(key, FILTERS);
  const mean = near === undefined ? '' : `; did you mean "${near}"?`;
  return `No filter "${key}" of docker events is known here, so an engine may pass over it${mean}`;
}

/** The engine's own words, so that nothing of its numbers is lost. */
function named(machine: string, text: string): string {
  const rest = text.slice(1).trimStart();
  return `{"machine":${JSON.stringify(machine)}${rest.startsWith('}') ? '' : ','}${rest}`;
}

type Event = {
  readonly Type?: unknown;
  readonly Action?: unknown;
  readonly Actor?: { readonly ID?: unknown; readonly Attributes?: unknown } | null;
  readonly time?: unknown;
  readonly timeNano?: unknown;
};

/** What answers in an engine's place may send anything. */
export function shownEvent(machine: string, event: Event): string {
  const { Type, Action, Actor } = event;
  const id = String(Actor?.ID ?? '').replace(/^(sha256:)?([0-9a-f]{12})[0-9a-f]{52}$/, '$2');
  const attributes = Object.entries(Actor?.Attributes ?? {}).toSorted(([left], [right]) => (left < right ? -1 : 1));
  const words = [timeOf(event), machine, String(Type ?? '?'), String(Action ?? '?'), id].map(printable);
  const more = attributes.map(([key, value]) => `${printable(key)}=${printable(String(value))}`).join(', ');
  return [...words.filter((word) => word !== ''), ...(more === '' ? [] : [`(${more})`])].join(' ');
}

function timeOf({ time, timeNano }: Event): string {
  const milliseconds = Number(timeNano) / 1e6 || Number(time) * 1000;
  const date = new Date(milliseconds);
  return Number.isNaN(date.getTime()) ? '?' : date.toISOString();
}
