import { reasonOf, SlipwayError } from '../errors.ts';
import { shownDeadline } from '../operations/deadline.ts';
import { lookAt, type Look } from '../operations/status.ts';
import { currentContext } from '../profiles/current-context.ts';
import { contextName } from '../profiles/docker-context.ts';
import type { Listed } from '../machine/store.ts';
import type { Cli } from './command.ts';
import { table } from '../terminal/print.ts';
import { TITLES, type Row } from './row.ts';

/** How each of these machines is, asked all at once. */
export async function rowsOf(
  listed: readonly Listed[],
  { quiet, timeout }: { readonly quiet: boolean; readonly timeout: number },
  cli: Cli,
): Promise<readonly { readonly item: Listed; readonly row: Row }[]> {
  const current = quiet ? undefined : await currentOf(cli);
  return await Promise.all(listed.map(async (item) => ({ item, row: await rowOf(item, current, timeout, cli) })));
}

function currentOf({ world, say }: Cli): Promise<string | undefined> {
  return currentContext(world.places).catch((error: unknown) => {
    // The docker CLI's settings are broken, not the machines.
    if (!(error instanceof SlipwayError)) throw error;
    say(error.message);
    return undefined;
  });
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
      trouble: reasonOf(error),
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

export function fieldsOf(row: Row): Readonly<Record<keyof typeof TITLES, unknown>> {
  return {
    Name: row.name,
    Current: row.current ? '*' : '',
    Driver: row.driver,
    State: row.state,
    URL: row.url,
    Engine: row.engine,
    CertificateDays: row.certificateDays ?? '',
    Deadline: row.deadline ?? '',
    IdleStop: row.idleStop ?? '',
    Trouble: row.trouble,
  };
}

export function shown(rows: readonly Row[], now: Date): string {
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
    shownDays(row.certificateDays),
    ...ends(row),
    row.trouble,
  ]);
  const { Name, Current, Driver, State, URL, Engine, CertificateDays, Deadline, Trouble } = TITLES;
  const ending = mortal ? [Deadline] : [];
  return table([Name, Current, Driver, State, URL, Engine, CertificateDays, ...ending, Trouble], cells);
}

/** The row’s trouble has it in words, once it is one. */
function shownDays(days: number | null): string {
  if (days === null) return '';
  return days < 0 ? 'expired' : `${days} d`;
}
