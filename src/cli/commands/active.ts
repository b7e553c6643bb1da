import { z } from 'zod';
import { SlipwayError } from '../../errors.ts';
import type { ReadyMachine } from '../../machine/model.ts';
import { readCurrentContextName } from '../../profiles/current-context.ts';
import { contextName, readContextOwner } from '../../profiles/docker-context.ts';
import { connectShellCommand } from '../../profiles/shell-env.ts';
import { defineCommand, type Cli, type Command } from '../command.ts';

const args = z.object({});

export const active: Command<typeof args> = defineCommand({
  name: 'active',
  summary: 'Print the machine that docker uses in this shell',
  usage: '',
  args,
  details:
    'Reads what the docker CLI reads: DOCKER_HOST, then DOCKER_CONTEXT, then the current context. Exits with status 3 if docker uses none of your machines.',
  async run(_input, cli) {
    const target = await findDockerTarget(cli);
    const machine = await findMachineAt(target, cli);
    if (machine) {
      const { spec, endpoint } = machine;
      return { json: { name: spec.name, url: endpoint.url, by: target.by }, text: spec.name };
    }
    throw new SlipwayError(
      'MACHINE_NOT_FOUND',
      `docker uses none of your machines in this shell, but ${formatTarget(target)}`,
      {
        hint: `To use one: slipway use NAME. For this shell only: ${connectShellCommand(undefined, cli.world.computer)}`,
      },
    );
  },
});

type DockerTarget = {
  readonly by: 'DOCKER_HOST' | 'DOCKER_CONTEXT' | 'current context';
  readonly value: string | undefined;
};

/** Finds the target in the docker CLI's own order, in which DOCKER_HOST overrides all contexts. */
async function findDockerTarget({ env, world }: Cli): Promise<DockerTarget> {
  if (env.DOCKER_HOST) return { by: 'DOCKER_HOST', value: env.DOCKER_HOST };
  if (env.DOCKER_CONTEXT) return { by: 'DOCKER_CONTEXT', value: env.DOCKER_CONTEXT };
  return { by: 'current context', value: await readCurrentContextName(world.clientPaths) };
}

function formatTarget({ by, value = 'default' }: DockerTarget): string {
  return by === 'current context' ? `its context "${value}"` : `${by}=${value}`;
}

async function findMachineAt(
  { by, value }: DockerTarget,
  { env, world: { store, clientPaths } }: Cli,
): Promise<ReadyMachine | undefined> {
  if (value === undefined) return undefined;
  const ready = (await store.list()).flatMap((item) =>
    'machine' in item && item.machine.phase === 'ready' ? [item.machine] : [],
  );
  if (by === 'DOCKER_HOST') {
    const matches = ready.filter(({ endpoint }) => endpoint.url === value.replace(/\/$/, ''));
    // Several machines may have this URL; the output of `env` names the one that is meant.
    return matches.find(({ spec }) => spec.name === env.DOCKER_MACHINE_NAME) ?? matches[0];
  }
  const id = await readContextOwner(value, clientPaths);
  return ready.find(({ spec }) => contextName(spec.name) === value && spec.id === id);
}
