import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Machine } from '../machine/model.ts';
import { formatConfigJson } from './config-json/write.ts';
import type { DockerMachineInvocation } from './docker-machine-command.ts';
import type { SwarmOptions } from './swarm-options.ts';

/** config.json as it is read here. */
export type ConfigJson = {
  readonly HostOptions: {
    readonly EngineOptions: Readonly<Record<string, unknown>> & { readonly Labels: readonly string[] };
    readonly SwarmOptions: SwarmOptions;
    readonly AuthOptions: Readonly<Record<string, unknown>>;
  };
} & Readonly<Record<string, unknown>>;

/** What the old tool would say of a machine: made of the record, with what is its own in the file. */
export async function loadConfigJson(
  machine: Machine,
  { root }: Pick<DockerMachineInvocation, 'root'>,
): Promise<ConfigJson> {
  const existing = await readFile(join(root, 'machines', machine.spec.name, 'config.json'), 'utf8').then(
    (text) => JSON.parse(text) as unknown,
    // Of a record whose file is gone or broken, the record itself has all that matters.
    () => undefined,
  );
  return JSON.parse(formatConfigJson(machine, { root, existing })) as ConfigJson;
}
