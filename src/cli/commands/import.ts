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
  from: z
    .string()
    .min(1)
    .optional()
    .meta({ description: 'The other store; without it MACHINE_STORAGE_PATH, or ~/.docker/machine', value: 'folder' }),
  all: z.boolean().default(false).meta({ description: 'All that can be taken over' }),
  keep: z.boolean().default(false).meta({ description: 'Leave the machine in the old store as well' }),
  sudoPassword: sudoPasswordOption,
});

/** A machine of the other store, and why it can't be taken over; '' where it can. */
type ImportRow = { readonly name: string; readonly driver: string; readonly address: string; readonly trouble: string };

export const importCommand: Command<typeof args> = defineCommand({
  name: 'import',
  summary: 'Take over machines of docker-machine, or list those that could be',
  usage: '[names...]',
  args,
  details:
    'What they were stays until they are here, and goes then unless you say --keep. Their hosts are visited and not changed: slipway provision does that.',
  async run({ positionals, args: { from, all, keep } }, cli) {
    if (all && positionals.length > 0)
      throw new SlipwayError('USAGE', 'Name the machines, or say --all', { hint: 'slipway import --all' });
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
    if (names.length === 0) return { json: [], text: `Nothing in ${root} can be taken over` };
    requireUniqueNames(names);
    // A name that is wrong stops the command before anything is done.
    for (const name of names) await requireKnownMachine(name, source, root);
    return await runForEach(names, cli, async (name, world) => {
      const { machine, engineProblem } = await importMachine(name, source, { keep }, world);
      const how = machine.spec.profiles.includes('docker-context') ? `: docker --context ${contextName(name)} …` : '';
      return {
        json: { name, url: machine.endpoint.url, kept: keep, trouble: engineProblem ?? '' },
        text:
          engineProblem === undefined
            ? `${name} is here now${how}`
            : `${name} is here now, and its engine does not answer: ${engineProblem}`,
      };
    });
  },
});

async function requireKnownMachine(name: string, { store }: ImportSource, root: string): Promise<void> {
  await store.read(name).catch((error: unknown) => {
    if (!(error instanceof SlipwayError) || error.code !== 'MACHINE_NOT_FOUND') throw error;
    const names =
      error.hint?.startsWith('You have') === true ? error.hint.replace('You have', 'It has') : 'It has no machines';
    throw new SlipwayError('MACHINE_NOT_FOUND', `There is no machine named "${name}" in ${root}`, { hint: names });
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
  return new SlipwayError('MACHINE_EXISTS', 'its name is taken here');
}

function listingResult(rows: readonly ImportRow[], root: string): CommandResult {
  if (rows.length === 0) return { json: rows, text: `There are no machines in ${root}` };
  const able = rows.filter(({ trouble }) => trouble === '');
  const cells = rows.map(({ name, driver, address, trouble }) => [
    name,
    driver,
    address,
    trouble === '' ? 'yes' : `no: ${trouble}`,
  ]);
  const next =
    able.length === 0
      ? ''
      : `To take over all that can be: slipway import --all; or by name: slipway import ${able[0]?.name}`;
  return {
    json: rows,
    text: [formatTable(['NAME', 'DRIVER', 'ADDRESS', 'CAN BE TAKEN OVER'], cells), next].filter(Boolean).join('\n'),
  };
}
