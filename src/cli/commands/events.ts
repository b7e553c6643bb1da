import { z } from 'zod';
import { exitCodes, SlipwayError } from '../../errors.ts';
import { invalidFilterError } from '../machine-filter.ts';
import { findNearestWord } from '../../did-you-mean.ts';
import { parseEventTime, followEvents } from '../../operations/follow-events.ts';
import { defineCommand, type Cli, type Command } from '../command.ts';
import { sanitizeLine } from '../../terminal/terminal-text.ts';
import { requireReadyMachine } from '../../machine/require-machine.ts';

const args = z.object({
  since: z.string().optional().meta({ description: 'Show events since this time', value: 'time' }),
  until: z.string().optional().meta({ description: 'Stop at this time', value: 'time' }),
  filter: z
    .array(z.string())
    .default([])
    .meta({ description: 'Filter events as docker events does: type=container', short: 'f', value: 'key=value' }),
});

const KNOWN_FILTERS = [
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
  summary: 'Stream events from the engines of machines, one per line, until Ctrl-C',
  usage: '[names...]',
  args,
  details:
    "Without names, streams from all machines that are ready. Times are those of docker events: seconds since 1970, a date, or a duration ago such as 10m. A lost connection is restored and continues where it stopped, within the last 256 events that an engine keeps. With --json each line is the engine's own document with the machine's name.",
  async run({ positionals, args: { since, until, filter } }, cli) {
    const query = {
      since: since === undefined ? undefined : parseInstant('since', since, cli),
      until: until === undefined ? undefined : parseInstant('until', until, cli),
      filters: parseEventFilters(filter, cli.say),
    };
    const names = await listMachinesToFollow(positionals, cli);
    const { screen, say, world } = cli;
    const onEvent = async (machine: string, { text }: { readonly text: string }): Promise<void> => {
      screen.write(
        `${screen.json ? addMachineName(machine, text) : formatEvent(machine, JSON.parse(text) as object)}\n`,
      );
      await screen.waitUntilDrained();
    };
    const subscription = { query, onEvent, onNotice: (line: string) => say(sanitizeLine(line)) };
    // A query that one engine refuses is refused by all, so the first refusal stops every stream.
    const stop = new AbortController();
    // Each stream has its own signal: Node warns if many listeners share one.
    const signalOf = (): AbortSignal => AbortSignal.any([world.signal, stop.signal]);
    const endings = await Promise.all(
      names.map(async (name) =>
        followEvents(name, subscription, { ...world, signal: signalOf() }).catch((error: unknown) => {
          stop.abort();
          throw error;
        }),
      ),
    );
    return {
      json: undefined,
      text: '',
      ...(endings.includes('unreachable') ? { status: exitCodes.ENGINE_UNREACHABLE } : {}),
    };
  },
});

async function listMachinesToFollow(
  words: readonly string[],
  { world: { store }, say }: Cli,
): Promise<readonly string[]> {
  for (const name of words) await requireReadyMachine(name, store);
  if (words.length > 0) return [...new Set(words)];
  const all = await store.list();
  for (const item of all) if ('broken' in item) say(item.broken.message);
  const ready = all.flatMap((item) => ('machine' in item && item.machine.phase === 'ready' ? [item.name] : []));
  if (ready.length > 0) return ready;
  throw new SlipwayError('MACHINE_NOT_FOUND', 'No machine is ready, so there are no events to stream', {
    hint: 'To create one: slipway create',
  });
}

function parseInstant(flag: string, text: string, { world }: Cli): string {
  const found = parseEventTime(text, world.now());
  if (found !== undefined) return found;
  throw new SlipwayError('USAGE', `Invalid time for --${flag}: ${JSON.stringify(text)}`, {
    hint: `For example: --${flag} 10m, --${flag} 2030-01-31T08:00:00Z, or seconds since 1970`,
  });
}

function parseEventFilters(pairs: readonly string[], say: Cli['say']): Readonly<Record<string, readonly string[]>> {
  const filters = new Map<string, string[]>();
  for (const pair of pairs) {
    const [, key, value] = /^([^=]+)=(.+)$/s.exec(pair) ?? [];
    if (key === undefined || value === undefined)
      throw invalidFilterError(pair, 'For example: --filter type=container --filter event=die');
    if (!KNOWN_FILTERS.includes(key)) say(unknownFilterWarning(key));
    filters.set(key, [...(filters.get(key) ?? []), value]);
  }
  return Object.fromEntries(filters);
}

/** Warns instead of failing: the engine decides which filters it knows, and engines ignore those that they do not. */
function unknownFilterWarning(key: string): string {
  const near = findNearestWord(key, KNOWN_FILTERS);
  const suggestion = near === undefined ? '' : `. Did you mean "${near}"?`;
  return `Unknown filter "${key}": the engine may ignore it${suggestion}`;
}

/** Inserts the machine's name into the engine's own JSON text: parsing it would round large numbers. */
function addMachineName(machine: string, text: string): string {
  const rest = text.slice(1).trimStart();
  return `{"machine":${JSON.stringify(machine)}${rest.startsWith('}') ? '' : ','}${rest}`;
}

type DockerEvent = {
  readonly Type?: unknown;
  readonly Action?: unknown;
  readonly Actor?: { readonly ID?: unknown; readonly Attributes?: unknown } | null;
  readonly time?: unknown;
  readonly timeNano?: unknown;
};

/** Formats an event in one line. Something else may answer in the engine's place and send anything. */
export function formatEvent(machine: string, event: DockerEvent): string {
  const { Type, Action, Actor } = event;
  const id = String(Actor?.ID ?? '').replace(/^(sha256:)?([0-9a-f]{12})[0-9a-f]{52}$/, '$2');
  const attributes = Object.entries(Actor?.Attributes ?? {}).toSorted(([left], [right]) => (left < right ? -1 : 1));
  const words = [formatEventTime(event), machine, String(Type ?? '?'), String(Action ?? '?'), id].map(sanitizeLine);
  const more = attributes.map(([key, value]) => `${sanitizeLine(key)}=${sanitizeLine(String(value))}`).join(', ');
  return [...words.filter((word) => word !== ''), ...(more === '' ? [] : [`(${more})`])].join(' ');
}

function formatEventTime({ time, timeNano }: DockerEvent): string {
  const milliseconds = Number(timeNano) / 1e6 || Number(time) * 1000;
  const date = new Date(milliseconds);
  return Number.isNaN(date.getTime()) ? '?' : date.toISOString();
}
