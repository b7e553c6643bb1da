import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Machine } from '../machine/model.ts';
import { configJson } from '../profiles/docker-machine.ts';
import type { Call } from './command.ts';
import type { Swarm } from './swarm.ts';

/** config.json as it is read here. */
export type Config = {
  readonly HostOptions: {
    readonly EngineOptions: Readonly<Record<string, unknown>> & { readonly Labels: readonly string[] };
    readonly SwarmOptions: Swarm;
    readonly AuthOptions: Readonly<Record<string, unknown>>;
  };
} & Readonly<Record<string, unknown>>;

/** What the old tool would say of a machine: made of the record, with what is its own in the file. */
export async function configOf(machine: Machine, { root }: Pick<Call, 'root'>): Promise<Config> {
  const before = await readFile(join(root, 'machines', machine.spec.name, 'config.json'), 'utf8').then(
    (text) => JSON.parse(text) as unknown,
    // Of a record whose file is gone or broken, the record itself has all that matters.
    () => undefined,
  );
  return JSON.parse(configJson(machine, { root, before })) as Config;
}
