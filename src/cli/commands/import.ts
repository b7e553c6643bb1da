import { resolve } from 'node:path';
import { z } from 'zod';
import { readCaKey } from '../../docker-machine/machine-authority.ts';
import { isManagedBySlipway } from '../../docker-machine/config-json/mark.ts';
import { openDockerMachineStore } from '../../docker-machine/docker-machine-store.ts';
import { SlipwayError } from '../../errors.ts';
import { importMachine, notImportableError, type ImportSource } from '../../operations/import.ts';
import { contextName } from '../../profiles/docker-context.ts';
import { sudoPasswordOption } from '../../machine/spec.ts';
import { defineCommand, type Cli, type Command, type CommandResult } from '../command.ts';
import { formatTable } from '../../terminal/text-output.ts';
import { requireUniqueNames, runForEach } from './for-each-machine.ts';

const args = z.object({
  from: z.string().min(1).optional().meta({
    description: "Docker Machine's folder; the default is MACHINE_STORAGE_PATH, or ~/.docker/machine",
    value: 'folder',
  }),
  all: z.boolean().default(false).meta({ description: 'Import all machines that can be imported' }),
  keep: z.boolean().default(false).meta({ description: 'Keep the machine in the old store as well' }),
  sudoPassword: sudoPasswordOption,
});

/** A machine of Docker Machine's store, and why it can't be imported; '' if it can. */
type ImportRow = { readonly name: string; readonly driver: string; readonly address: string; readonly trouble: string };

export const importCommand: Command<typeof args> = defineCommand({
  name: 'import',
  summary: 'Import machines from Docker Machine, or list those that can be imported',
  usage: '[names...]',
  args,
  details:
    'A machine leaves the old store once it is imported, unless you add --keep. Slipway connects to its host and does not change it; to do so, run slipway provision.',
  async run({ positionals, args: { from, all, keep } }, cli) {
    if (all && positionals.length > 0)
      throw new SlipwayError('USAGE', "Machine names and --all can't be used together", {
        hint: 'To import all: slipway import --all',
      });
    const root = resolve(from ?? cli.world.clientPaths.dockerMachine);
    const store = openDockerMachineStore(root);
    const source: ImportSource = {
      store,
      readCaKey: (name) => readCaKey(name, store, root),
      isViewOf: isManagedBySlipway,
    };
    const rows = await loadImportRows(source, cli);
    if (!all && positionals.length === 0) return listingResult(rows, root);
    const names = all ? rows.filter(({ trouble }) => trouble === '').map(({ name }) => name) : positionals;
    if (names.length === 0) return { json: [], text: `No machine in ${root} can be imported` };
    requireUniqueNames(names);
    // A wrong name stops the command before it changes anything.
    for (const name of names) await requireKnownMachine(name, source, root);
    return await runForEach(names, cli, async (name, world) => {
      const { machine, engineProblem } = await importMachine(name, source, { keep }, world);
      const example = machine.spec.profiles.includes('docker-context')
        ? `: docker --context ${contextName(name)} ps`
        : '';
      return {
        json: { name, url: machine.endpoint.url, kept: keep, trouble: engineProblem ?? '' },
        text:
          engineProblem === undefined
            ? `${name} is imported${example}`
            : `${name} is imported, but its engine does not answer: ${engineProblem}`,
      };
    });
  },
});

async function requireKnownMachine(name: string, { store }: ImportSource, root: string): Promise<void> {
  await store.read(name).catch((error: unknown) => {
    if (!(error instanceof SlipwayError) || error.code !== 'MACHINE_NOT_FOUND') throw error;
    throw new SlipwayError('MACHINE_NOT_FOUND', `Machine "${name}" does not exist in ${root}`, {
      hint: 'To list its machines: slipway import',
    });
  });
}

async function loadImportRows(source: ImportSource, { world }: Cli): Promise<readonly ImportRow[]> {
  const listed = await source.store.list();
  return await Promise.all(
    listed.map(async (item): Promise<ImportRow> => {
      if ('broken' in item) return { name: item.name, driver: '?', address: '', trouble: item.broken.message };
      const { spec, host } = item.machine;
      const error = notImportableError(item.machine, source) ?? (await findNameTakenError(item.name, spec.id, world));
      return { name: item.name, driver: spec.driver, address: host?.address ?? '', trouble: error?.message ?? '' };
    }),
  );
}

async function findNameTakenError(
  name: string,
  id: string,
  { store }: Cli['world'],
): Promise<SlipwayError | undefined> {
  const owner = await store.find(name).then(
    (machine) => (machine ? machine.spec.id : id),
    (error: unknown) => {
      if (error instanceof SlipwayError) return undefined;
      throw error;
    },
  );
  if (owner === id) return undefined;
  return new SlipwayError('MACHINE_EXISTS', 'another machine here has this name');
}

function listingResult(rows: readonly ImportRow[], root: string): CommandResult {
  if (rows.length === 0) return { json: rows, text: `No machines in ${root}` };
  const importable = rows.filter(({ trouble }) => trouble === '');
  const cells = rows.map(({ name, driver, address, trouble }) => [
    name,
    driver,
    address,
    trouble === '' ? 'yes' : `no: ${trouble}`,
  ]);
  const next =
    importable.length === 0
      ? ''
      : `To import all: slipway import --all. To import one: slipway import ${importable[0]?.name}`;
  return {
    json: rows,
    text: [formatTable(['NAME', 'DRIVER', 'ADDRESS', 'CAN BE IMPORTED'], cells), next].filter(Boolean).join('\n'),
  };
}
