import { readFile } from 'node:fs/promises';
import { z } from 'zod';
import { defineCommand, type Command } from '../command.ts';

const args = z.object({});

export const version: Command<typeof args> = defineCommand({
  name: 'version',
  summary: 'Print the version',
  usage: '',
  args,
  async run(
    _input,
    {
      nodeVersion,
      packageFile,
      world: {
        computer: { platform },
      },
    },
  ) {
    const { version: slipwayVersion } = JSON.parse(await readFile(packageFile, 'utf8')) as { version: string };
    return {
      json: { slipway: slipwayVersion, node: nodeVersion, platform },
      text: `slipway ${slipwayVersion} (Node ${nodeVersion}, ${platform})`,
    };
  },
});
