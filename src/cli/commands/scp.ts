import { join } from 'node:path';
import { z } from 'zod';
import { writeFileAtomic } from '../../computer/files.ts';
import { createTemporaryWorkFolder } from '../../computer/work-folder.ts';
import { SlipwayError } from '../../errors.ts';
import { formatSshConfig, type SshRoute } from '../../ssh/openssh-options.ts';
import { defineCommand, type Command } from '../command.ts';
import { prepareSshRoute, scpArgv, parsePathSpec } from '../../openssh/openssh-command.ts';
import { runInTerminal } from '../../terminal/run-program.ts';

const args = z.object({
  recursive: z.boolean().default(false).meta({ description: 'Copy folders and their content', short: 'r' }),
  preserve: z.boolean().default(false).meta({ description: 'Keep times and modes', short: 'p' }),
  compress: z.boolean().default(false).meta({ description: 'Compress the transfer', short: 'C' }),
  quiet: z.boolean().default(false).meta({ description: 'Show no progress', short: 'q' }),
});

export const scp: Command<typeof args> = defineCommand({
  name: 'scp',
  summary: 'Copy files to, from or between machines with scp',
  usage: '<from> <to>',
  args,
  details:
    'Uses your own scp with the pinned host key. NAME:path is a path on a machine; any other path is local. Write a local name that contains a colon as ./a:b. A copy between two machines passes through this computer. Exits with the exit status of scp.',
  async run({ positionals, args: { recursive, preserve, compress, quiet }, flags: { json } }, { world }) {
    const { store, computer } = world;
    const machines = await store.listNames();
    const [from, to] = [parsePathSpec(positionals[0] ?? '', machines), parsePathSpec(positionals[1] ?? '', machines)];
    const names = [from, to].flatMap(({ machine }) => machine ?? []);
    if (names.length === 0) {
      throw new SlipwayError('USAGE', 'Neither path names a machine: expected NAME:path', {
        hint: `For example: slipway scp ${machines[0] ?? 'web'}:/etc/os-release .`,
      });
    }
    const routes: Record<string, SshRoute> = {};
    for (const name of names) routes[name] ??= await prepareSshRoute(name, world);
    const switches = Object.entries({ '-r': recursive, '-p': preserve, '-C': compress, '-q': quiet || json === true });
    const copy = {
      from,
      to,
      routes,
      flags: switches.filter(([, isOn]) => isOn).map(([flag]) => flag),
      windows: computer.platform === 'win32',
    };
    await using work = await createTemporaryWorkFolder('slipway-scp-', world.debug);
    const config = join(work.folder, 'config');
    await writeFileAtomic(config, formatSshConfig(routes), 0o600);
    const status = await runInTerminal('scp', scpArgv(copy, config), world);
    return { json: { from: positionals[0], to: positionals[1], status }, text: '', status };
  },
});
