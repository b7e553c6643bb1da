import { resolve } from 'node:path';
import { z } from 'zod';
import { caKeyOf } from '../../docker-machine/authority.ts';
import { isSlipways } from '../../docker-machine/view.ts';
import { openMachineStore } from '../../docker-machine/store.ts';
import { SlipwayError } from '../../errors.ts';
import { importMachine, obstacle, type Source } from '../../operations/import.ts';
import { contextName } from '../../profiles/docker-context.ts';
import { sudoPassword } from '../../machine/spec.ts';
import { defineCommand, type Cli, type Command, type Result } from '../command.ts';
import { table } from '../../terminal/print.ts';
import { namedOnce, onEach } from './each.ts';

const args = z.object({
  from: z
    .string()
    .min(1)
    .optional()
    .meta({ description: 'The other store; without it MACHINE_STORAGE_PATH, or ~/.docker/machine', value: 'folder' }),
  all: z.boolean().default(false).meta({ description: 'All that can be taken over' }),
  keep: z.boolean().default(false).meta({ description: 'Leave the machine in the old store as well' }),
  sudoPassword,
});

/** A machine of the other store, and why it can't be taken over; '' where it can. */
type Row = { readonly name: string; readonly driver: string; readonly address: string; readonly trouble: string };

export const importCommand: Command<typeof args> = defineCommand({
  name: 'import',
  summary: 'Take over machines of docker-machine, or list those that could be',
  words: '[names...]',
  args,
  details:
    'What they were stays until they are here, and goes then unless you say --keep. Their hosts are visited and not changed: slipway provision does that.',
  async run({ words, args: { from, all, keep } }, cli) {
    if (all && words.length > 0)
      throw new SlipwayError('USAGE', 'Name the machines, or say --all', { hint: 'slipway import --all' });
    const root = resolve(from ?? cli.world.places.dockerMachine);
    const store = openMachineStore(root);
    const source: Source = { store, caKeyOf: (name) => caKeyOf(name, store, root), shows: isSlipways };
    const rows = await rowsOf(source, cli);
    if (!all && words.length === 0) return listing(rows, root);
    const names = all ? rows.filter(({ trouble }) => trouble === '').map(({ name }) => name) : words;
    if (names.length === 0) return { json: [], text: `Nothing in ${root} can be taken over` };
    namedOnce(names);
    // A name that is wrong stops the command before anything is done.
    for (const name of names) await known(name, source, root);
    return await onEach(names, cli, async (name, world) => {
      const { machine, silent } = await importMachine(name, source, { keep }, world);
      const how = machine.spec.profiles.includes('docker-context') ? `: docker --context ${contextName(name)} …` : '';
      return {
        json: { name, url: machine.endpoint.url, kept: keep, trouble: silent ?? '' },
        text:
          silent === undefined
            ? `${name} is here now${how}`
            : `${name} is here now, and its engine does not answer: ${silent}`,
      };
    });
  },
});

async function known(name: string, { store }: Source, root: string): Promise<void> {
  await store.read(name).catch((error: unknown) => {
    if (!(error instanceof SlipwayError) || error.code !== 'MACHINE_NOT_FOUND') throw error;
    const names =
      error.hint?.startsWith('You have') === true ? error.hint.replace('You have', 'It has') : 'It has no machines';
    throw new SlipwayError('MACHINE_NOT_FOUND', `There is no machine named "${name}" in ${root}`, { hint: names });
  });
}

async function rowsOf(source: Source, { world }: Cli): Promise<readonly Row[]> {
  const listed = await source.store.list();
  return await Promise.all(
    listed.map(async (item): Promise<Row> => {
      if ('broken' in item) return { name: item.name, driver: '?', address: '', trouble: item.broken.message };
      const { spec, host } = item.machine;
      const error = obstacle(item.machine, source) ?? (await taken(item.name, spec.id, world));
      return { name: item.name, driver: spec.driver, address: host?.address ?? '', trouble: error?.message ?? '' };
    }),
  );
}

async function taken(name: string, id: string, { store }: Cli['world']): Promise<SlipwayError | undefined> {
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

function listing(rows: readonly Row[], root: string): Result {
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
    text: [table(['NAME', 'DRIVER', 'ADDRESS', 'CAN BE TAKEN OVER'], cells), next].filter(Boolean).join('\n'),
  };
}
