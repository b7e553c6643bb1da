import { reasonOf, SlipwayError } from '../errors.ts';
import { formatDeadline } from '../operations/deadline.ts';
import { getStatus, type MachineStatus } from '../operations/status.ts';
import { readCurrentContextName } from '../profiles/current-context.ts';
import { contextName } from '../profiles/docker-context.ts';
import type { ListedMachine } from '../machine/store.ts';
import type { Cli } from './command.ts';
import { formatTable } from '../terminal/text-output.ts';
import { COLUMN_TITLES, type MachineListRow } from './machine-list-row.ts';

/** How each of these machines is, asked all at once. */
export async function loadRows(
  listed: readonly ListedMachine[],
  { quiet, timeout }: { readonly quiet: boolean; readonly timeout: number },
  cli: Cli,
): Promise<readonly { readonly item: ListedMachine; readonly row: MachineListRow }[]> {
  const current = quiet ? undefined : await readCurrentContext(cli);
  return await Promise.all(listed.map(async (item) => ({ item, row: await loadRow(item, current, timeout, cli) })));
}

function readCurrentContext({ world, say }: Cli): Promise<string | undefined> {
  return readCurrentContextName(world.clientPaths).catch((error: unknown) => {
    // The docker CLI's settings are broken, not the machines.
    if (!(error instanceof SlipwayError)) throw error;
    say(error.message);
    return undefined;
  });
}

async function loadRow(
  item: ListedMachine,
  current: string | undefined,
  seconds: number,
  { world }: Cli,
): Promise<MachineListRow> {
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
  const look: MachineStatus = await getStatus(machine, world, seconds).catch((error: unknown) => {
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
    idleStop: machine.spec.lifetime?.idleStop ?? null,
    trouble: look.trouble,
  };
}

export function toFormatFields(row: MachineListRow): Readonly<Record<keyof typeof COLUMN_TITLES, unknown>> {
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

export function formatRows(rows: readonly MachineListRow[], now: Date): string {
  const mortal = rows.some(({ deadline }) => deadline !== null);
  const ends = ({ deadline }: MachineListRow): readonly string[] =>
    mortal ? [deadline === null ? '' : formatDeadline({ deadline }, now)] : [];
  const cells = rows.map((row) => [
    row.name,
    row.current ? '*' : '',
    row.driver,
    row.state,
    row.url,
    row.engine,
    formatDaysLeft(row.certificateDays),
    ...ends(row),
    row.trouble,
  ]);
  const { Name, Current, Driver, State, URL, Engine, CertificateDays, Deadline, Trouble } = COLUMN_TITLES;
  const ending = mortal ? [Deadline] : [];
  return formatTable([Name, Current, Driver, State, URL, Engine, CertificateDays, ...ending, Trouble], cells);
}

/** The row's trouble has it in words, once it is one. */
function formatDaysLeft(days: number | null): string {
  if (days === null) return '';
  return days < 0 ? 'expired' : `${days} d`;
}
