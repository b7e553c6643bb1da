import { join } from 'node:path';
import { z } from 'zod';
import { SlipwayError } from '../../errors.ts';
import type { ReadyMachine } from '../../machine/model.ts';
import { contextName } from '../../profiles/docker-context.ts';
import { defineCommand, type Command } from '../command.ts';
import { requireReadyMachine } from '../../machine/require-machine.ts';

const args = z.object({});

export const config: Command<typeof args> = defineCommand({
  name: 'config',
  summary: 'Print the flags that connect the docker CLI to a machine: docker $(slipway config NAME) ps',
  usage: '<name>',
  args,
  details: 'One flag a line, from the record alone. For more than one command: slipway use, or slipway env.',
  async run({ positionals: [name = ''], flags: { json } }, { world: { store } }) {
    const machine = await requireReadyMachine(name, store);
    const flags = dockerFlagsOf(machine, store.paths(name).tls);
    if (json !== true) requireNoSpaces(machine, flags);
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

/** What stands in $(…) is split at spaces, and no quote in it is one. */
function requireNoSpaces({ spec: { name, profiles } }: ReadyMachine, flags: readonly string[]): void {
  const broken = flags.find((flag) => /\s/.test(flag));
  if (broken === undefined) return;
  const path = broken.slice(broken.indexOf('=') + 1);
  throw new SlipwayError(
    'LOCAL_FILES',
    `A shell would take "${path}" apart at its spaces, in $(slipway config ${name})`,
    {
      hint: profiles.includes('docker-context')
        ? `docker --context ${contextName(name)} … does the same`
        : `eval "$(slipway env ${name})" does the same for a whole shell`,
    },
  );
}
