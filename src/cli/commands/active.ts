import { z } from 'zod';
import { SlipwayError } from '../../errors.ts';
import type { Ready } from '../../machine/model.ts';
import { currentContext } from '../../profiles/current-context.ts';
import { contextName, contextOwner } from '../../profiles/docker-context.ts';
import { defineCommand, type Cli, type Command } from '../command.ts';

const args = z.object({});

export const active: Command<typeof args> = defineCommand({
  name: 'active',
  summary: 'Print the machine that the docker CLI talks to in this shell; exit status 3 when it is none',
  words: '',
  args,
  details:
    'Goes by what the docker CLI goes by: DOCKER_HOST, then DOCKER_CONTEXT, then its current context. No machine is asked.',
  async run(_given, cli) {
    const target = await targetOf(cli);
    const machine = await machineAt(target, cli);
    if (machine) {
      const { spec, endpoint } = machine;
      return { json: { name: spec.name, url: endpoint.url, by: target.by }, text: spec.name };
    }
    throw new SlipwayError(
      'MACHINE_NOT_FOUND',
      `The docker CLI talks to no machine of yours here, but to ${inWords(target)}`,
      {
        hint: 'Point it at one: slipway use NAME, or for this shell: eval "$(slipway env NAME)"',
      },
    );
  },
});

type Target = { readonly by: 'DOCKER_HOST' | 'DOCKER_CONTEXT' | 'current context'; readonly value: string | undefined };

/** In the docker CLI's own order, in which DOCKER_HOST stands above all contexts. */
async function targetOf({ env, world }: Cli): Promise<Target> {
  if (env.DOCKER_HOST) return { by: 'DOCKER_HOST', value: env.DOCKER_HOST };
  if (env.DOCKER_CONTEXT) return { by: 'DOCKER_CONTEXT', value: env.DOCKER_CONTEXT };
  return { by: 'current context', value: await currentContext(world.places) };
}

function inWords({ by, value = 'default' }: Target): string {
  return by === 'current context' ? `what its context "${value}" names` : `what ${by} names: ${value}`;
}

async function machineAt({ by, value }: Target, { env, world: { store, places } }: Cli): Promise<Ready | undefined> {
  if (value === undefined) return undefined;
  const ready = (await store.list()).flatMap((item) =>
    'machine' in item && item.machine.phase === 'ready' ? [item.machine] : [],
  );
  if (by === 'DOCKER_HOST') {
    const there = ready.filter(({ endpoint }) => endpoint.url === value.replace(/\/$/, ''));
    // Several may be by one URL, and `env` has said which is meant.
    return there.find(({ spec }) => spec.name === env.DOCKER_MACHINE_NAME) ?? there[0];
  }
  const id = await contextOwner(value, places);
  return ready.find(({ spec }) => contextName(spec.name) === value && spec.id === id);
}
