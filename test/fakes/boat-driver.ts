import { z } from 'zod';
import { defineDriver } from '../../src/drivers/contract.ts';
import type { Program } from '../../src/computer/programs.ts';

const hullProgram: Program = {
  command: 'boat-hull',
  purpose: 'runs local boats',
  packages: { apt: ['boat-hull-bin'] },
  link: 'https://boat.example',
};
export const boatPrograms: readonly Program[] = [
  hullProgram,
  { ...hullProgram, command: 'boat-sail', packages: { apt: ['boat-sail-bin'] } },
];
/** How often the driver has inspected a machine. */
export const inspections = { times: 0 };

/** A local driver that needs two programs; its engine listens on a socket. */
export const boatDriver = defineDriver({
  kind: 'existing',
  name: 'boat',
  summary: 'a local boat',
  priority: 1000,
  options: z.object({
    socket: z.string().default('/boat.sock').meta({ description: 'Socket of the engine', value: 'file' }),
  }),
  programs: () => boatPrograms,
  async diagnose() {
    return [{ what: 'wind', state: 'note', detail: 'from the west' }];
  },
  machines: {
    async inspect({ options }) {
      inspections.times += 1;
      return { state: 'running', host: { address: 'localhost', engine: { url: `unix://${options.socket}` } } };
    },
  },
});
