import { z } from 'zod';
import { SlipwayError } from '../../errors.ts';
import type { ReadyMachine } from '../../machine/model.ts';
import { readCurrentContextName } from '../../profiles/current-context.ts';
import { contextName, readContextOwner } from '../../profiles/docker-context.ts';
import { defineCommand, type Cli, type Command } from '../command.ts';

const args = z.object({});

export const active: Command<typeof args> = defineCommand({
  name: 'active',
  summary: 'Print the machine that the docker CLI talks to in this shell; exit status 3 when it is none',
  usage: '',
  args,
  details:
    'Goes by what the docker CLI goes by: DOCKER_HOST, then DOCKER_CONTEXT, then its current context. No machine is asked.',
  async run(_given, cli) {
    const target = await findDockerTarget(cli);
    const machine = await findMachineAt(target, cli);
    if (machine) {
      const { spec, endpoint } = machine;
      return { json: { name: spec.name, url: endpoint.url, by: target.by }, text: spec.name };
    }
    throw new SlipwayError(
      'MACHINE_NOT_FOUND',
      `The docker CLI talks to no machine of yours here, but to ${formatTarget(target)}`,
      {
        hint: 'Point it at one: slipway use NAME, or for this shell: eval "$(slipway env NAME)"',
      },
    );
  },
});

type DockerTarget = {
  readonly by: 'DOCKER_HOST' | 'DOCKER_CONTEXT' | 'current context';
  readonly value: string | undefined;
};

/** In the docker CLI's own order, in which DOCKER_HOST stands above all contexts. */
async function findDockerTarget({ env, world }: Cli): Promise<DockerTarget> {
  if (env.DOCKER_HOST) return { by: 'DOCKER_HOST', value: env.DOCKER_HOST };
  if (env.DOCKER_CONTEXT) return { by: 'DOCKER_CONTEXT', value: env.DOCKER_CONTEXT };
  return { by: 'current context', value: await readCurrentContextName(world.clientPaths) };
}

function formatTarget({ by, value = 'default' }: DockerTarget): string {
  return by === 'current context' ? `what its context "${value}" names` : `what ${by} names: ${value}`;
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
    const there = ready.filter(({ endpoint }) => endpoint.url === value.replace(/\/$/, ''));
    // Several may be by one URL, and `env` has said which is meant.
    return there.find(({ spec }) => spec.name === env.DOCKER_MACHINE_NAME) ?? there[0];
  }
  const id = await readContextOwner(value, clientPaths);
  return ready.find(({ spec }) => contextName(spec.name) === value && spec.id === id);
}
