import { join } from 'node:path';
import { z } from 'zod';
import type { Computer } from '../../computer/computer.ts';
import { SlipwayError } from '../../errors.ts';
import type { ReadyMachine } from '../../machine/model.ts';
import { contextName } from '../../profiles/docker-context.ts';
import { connectShellCommand } from '../../profiles/shell-env.ts';
import { defineCommand, type Command } from '../command.ts';
import { requireReadyMachine } from '../../machine/require-machine.ts';

const args = z.object({});

export const config: Command<typeof args> = defineCommand({
  name: 'config',
  summary: 'Print the docker flags that connect to a machine: docker $(slipway config NAME) ps',
  usage: '<name>',
  args,
  details: 'Prints one flag per line. For more than one command, run slipway use or slipway env instead.',
  async run({ positionals: [name = ''], flags: { json } }, { world: { store, computer } }) {
    const machine = await requireReadyMachine(name, store);
    const flags = dockerFlagsOf(machine, store.paths(name).tls);
    if (json !== true) requireNoSpaces(machine, flags, computer);
    return {
      json: {
        name,
        host: machine.endpoint.url,
        certificates: machine.endpoint.tls ? store.paths(name).tls : null,
        flags,
      },
      text: flags.join('\n'),
    };
  },
});

function dockerFlagsOf({ endpoint }: ReadyMachine, tls: string): readonly string[] {
  const files = ['ca', 'cert', 'key'].map(
    (part) => `--tls${part === 'ca' ? 'cacert' : part}=${join(tls, `${part}.pem`)}`,
  );
  return [...(endpoint.tls ? ['--tlsverify', ...files] : []), `-H=${endpoint.url}`];
}

/** Refuses flags that contain spaces: a shell splits the output of $(…) at spaces, and quotes in it do not help. */
function requireNoSpaces(
  { spec: { name, profiles } }: ReadyMachine,
  flags: readonly string[],
  computer: Computer,
): void {
  const flagWithSpace = flags.find((flag) => /\s/.test(flag));
  if (flagWithSpace === undefined) return;
  const path = flagWithSpace.slice(flagWithSpace.indexOf('=') + 1);
  throw new SlipwayError(
    'LOCAL_FILES',
    `"${path}" contains spaces, at which a shell would split it in $(slipway config ${name})`,
    {
      hint: profiles.includes('docker-context')
        ? `Use the context instead: docker --context ${contextName(name)} ps`
        : `Connect the shell instead: ${connectShellCommand(name, computer)}`,
    },
  );
}
