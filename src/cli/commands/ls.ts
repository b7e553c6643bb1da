import { z } from 'zod';
import { SlipwayError } from '../../errors.ts';
import { shownDeadline } from '../../lifecycle/life.ts';
import { lookAt, type Look } from '../../look.ts';
import { currentContext } from '../../provision/profiles/current-context.ts';
import { contextName } from '../../provision/profiles/docker-context.ts';
import type { Listed } from '../../store.ts';
import { defineCommand, type Cli, type Command, type Result } from '../command.ts';
import { table } from '../print.ts';
import { watch } from '../watch.ts';

const args = z.object({
  quiet: z.boolean().default(false).meta({ description: 'Print names only; asks no machine', short: 'q' }),
  timeout: z
    .int()
    .min(1)
    .max(600)
    .default(5)
    .meta({ description: 'Seconds that a machine may take to answer', short: 't', value: 'seconds' }),
  watch: z.boolean().default(false).meta({ description: 'Look again and again, until Ctrl-C', short: 'w' }),
  interval: z
    .int()
    .min(1)
    .max(3600)
    .default(2)
    .meta({ description: 'Seconds between two looks, with --watch', value: 'seconds' }),
});

type Row = {
  readonly name: string;
  readonly current: boolean;
  readonly driver: string;
  readonly state: string;
  readonly url: string;
  readonly engine: string;
  readonly certificateDays: number | null;
  readonly deadline: string | null;
  readonly idleStop: string | null;
  readonly trouble: string;
};

export const ls: Command<typeof args> = defineCommand({
  name: 'ls',
  summary: 'List machines, and how each of them is',
  words: '',
  args,
  async run({ args: given }, cli) {
    return given.watch ? await watch(() => listing(given, cli), given.interval, cli) : await listing(given, cli);
  },
});

async function listing({ quiet, timeout }: z.output<typeof args>, cli: Cli): Promise<Result> {
  const listed = await cli.world.store.list();
  if (quiet) return { json: listed.map(({ name }) => name), text: listed.map(({ name }) => name).join('\n') };
  const current = await currentContext(cli.world.places).catch((error: unknown) => {
    // The docker CLI's settings are broken, not the machines.
    if (!(error instanceof SlipwayError)) throw error;
    cli.say(error.message);
    return undefined;
  });
  const rows = await Promise.all(listed.map((item) => rowOf(item, current, timeout, cli)));
  if (rows.length === 0) return { json: rows, text: 'No machines yet. Make one: slipway create' };
  return { json: rows, text: shown(rows, cli.world.now()) };
}

function shown(rows: readonly Row[], now: Date): string {
  const mortal = rows.some(({ deadline }) => deadline !== null);
  const ends = ({ deadline }: Row): readonly string[] =>
    mortal ? [deadline === null ? '' : shownDeadline({ deadline }, now)] : [];
  const cells = rows.map((row) => [
    row.name,
    row.current ? '*' : '',
    row.driver,
    row.state,
    row.url,
    row.engine,
    ...ends(row),
    row.trouble,
  ]);
  const head = ['NAME', 'CURRENT', 'DRIVER', 'STATE', 'URL', 'ENGINE', ...(mortal ? ['DEADLINE'] : []), 'TROUBLE'];
  return table(head, cells);
}

async function rowOf(item: Listed, current: string | undefined, seconds: number, { world }: Cli): Promise<Row> {
  const isCurrent = current === contextName(item.name);
  if ('broken' in item) {
    return {
      name: item.name,
      current: isCurrent,
      driver: '?',
      state: 'broken',
      url: '',
      engine: '',
      certificateDays: null,
      deadline: null,
      idleStop: null,
      trouble: item.broken.message,
    };
  }
  const { machine } = item;
  const look: Look = await lookAt(machine, world, seconds).catch((error: unknown) => {
    // One machine whose files can't be read must not hide the others.
    if (world.signal.aborted) throw error;
    return {
      state: 'unreachable',
      engine: undefined,
      days: undefined,
      trouble: error instanceof Error ? error.message : String(error),
    };
  });
  return {
    name: item.name,
    current: isCurrent,
    driver: machine.spec.driver,
    state: look.state,
    url: machine.endpoint?.url ?? '',
    engine: look.engine ?? '',
    certificateDays: look.days ?? null,
    deadline: machine.deadline ?? null,
    idleStop: machine.spec.life?.idleStop ?? null,
    trouble: look.trouble,
  };
}
