import { access } from 'node:fs/promises';
import { z } from 'zod';
import { drivers, loadDriver } from '../../../drivers/registry.ts';
import { buildSpares } from '../../../operations/warm-pool.ts';
import type { MachineSpec } from '../../../machine/model.ts';
import { defineCommand, type Command } from '../../command.ts';
import { SPARE_LOG_VARIABLE } from '../../prewarm.ts';
import { driverOptionSpecs } from '../../../machine-options/option-specs.ts';
import { resolveSpec } from '../../../machine-options/spec-from-flags.ts';

/** The driver that keeps spares, which is the one with an option to use them. */
const SPARE_DRIVER = drivers.find(({ options }) => 'warm' in options.shape)?.name ?? '';

const args = z.object({
  count: z
    .int()
    .min(1)
    .max(20)
    .default(1)
    .meta({ description: 'Number of spares to have ready, including existing ones', value: 'number' }),
});

export const imageWarm: Command<typeof args> = defineCommand({
  name: 'image warm',
  summary: 'Prepare spares, so that create takes only seconds',
  usage: '[image]',
  args,
  extraOptions: driverOptionSpecs[SPARE_DRIVER] ?? [],
  details:
    'Each spare boots once with its own keys and is then suspended to disk. One create with the same image, architecture, CPUs, memory, disk, user and accelerator takes it.',
  async run({ positionals: [image], args: { count }, flags }, { world, env }) {
    const named = image === undefined ? {} : { image };
    const { lifetime: _lifetime, ...spec } = resolveSpec({
      name: 'spare',
      driver: SPARE_DRIVER,
      flags: { ...flags, ...named },
      env,
      before: undefined,
      profiles: [],
    });
    // The create that takes the spare chooses its ports.
    const options: MachineSpec['options'] = { ...spec.options, sshPort: undefined, enginePort: undefined };
    const kind = { ...spec, options };
    const requestLog = env[SPARE_LOG_VARIABLE];
    const isWanted = async (): Promise<boolean> =>
      requestLog === undefined ||
      access(requestLog).then(
        () => true,
        () => false,
      );
    const made = await buildSpares({ kind, count, isWanted }, await loadDriver(SPARE_DRIVER), world);
    const what = count === 1 ? 'A spare machine is' : `${count} spare machines are`;
    return {
      json: { image: kind.options.image, ready: count, made },
      text: `${what} ready${made === 0 ? ' already' : ''}. To list spares: slipway image ls`,
    };
  },
});
