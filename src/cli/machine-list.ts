import { reasonOf, SlipwayError } from '../errors.ts';
import { formatDeadline } from '../operations/deadline.ts';
import { getStatus, type MachineStatus } from '../operations/status.ts';
import { readCurrentContextName } from '../profiles/current-context.ts';
import { contextName } from '../profiles/docker-context.ts';
import type { ListedMachine } from '../machine/store.ts';
import type { Cli } from './command.ts';
import { formatPorts, loadPublishedPorts } from './published-ports.ts';
import { formatTable } from '../terminal/text-output.ts';
import { COLUMN_TITLES, type MachineListRow } from './machine-list-row.ts';

/** Loads the state of each machine; all machines are queried at the same time. */
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
    // Broken settings of the docker CLI must not hide the machines.
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
      ports: [],
      trouble: item.broken.message,
    };
  }
  const { machine } = item;
  const status: MachineStatus = await getStatus(machine, world, seconds).catch((error: unknown) => {
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
    state: status.state,
    url: machine.endpoint?.url ?? '',
    engine: status.engine ?? '',
    certificateDays: status.days ?? null,
    deadline: machine.deadline ?? null,
    idleStop: machine.spec.lifetime?.idleStop ?? null,
    ports: await loadPublishedPorts(machine, status.state === 'running', world),
    trouble: status.trouble,
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
    Ports: formatPorts(row.ports),
    Trouble: row.trouble,
  };
}

export function formatRows(rows: readonly MachineListRow[], now: Date): string {
  const hasDeadline = rows.some(({ deadline }) => deadline !== null);
  const hasPorts = rows.some(({ ports }) => ports.length > 0);
  const deadlineCells = ({ deadline }: MachineListRow): readonly string[] =>
    hasDeadline ? [deadline === null ? '' : formatDeadline({ deadline }, now)] : [];
  const cells = rows.map((row) => [
    row.name,
    row.current ? '*' : '',
    row.driver,
    row.state,
    row.url,
    row.engine,
    formatDaysLeft(row.certificateDays),
    ...deadlineCells(row),
    ...(hasPorts ? [formatPorts(row.ports)] : []),
    row.trouble,
  ]);
  const { Name, Current, Driver, State, URL, Engine, CertificateDays, Deadline, Ports, Trouble } = COLUMN_TITLES;
  const someTitles = [...(hasDeadline ? [Deadline] : []), ...(hasPorts ? [Ports] : [])];
  return formatTable([Name, Current, Driver, State, URL, Engine, CertificateDays, ...someTitles, Trouble], cells);
}

/** Formats the days until certificates expire; the row's `trouble` explains expired ones. */
function formatDaysLeft(days: number | null): string {
  if (days === null) return '';
  return days < 0 ? 'expired' : `${days} d`;
}
