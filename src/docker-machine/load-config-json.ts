import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Machine, ReadyMachine } from '../machine/model.ts';
import { formatConfigJson } from './config-json/write.ts';
import type { DockerMachineInvocation } from './docker-machine-command.ts';
import { requireSwarmUrl, type SwarmOptions } from './swarm-options.ts';

/** config.json, with types for the members that the drop-in uses. */
export type ConfigJson = {
  readonly HostOptions: {
    readonly EngineOptions: Readonly<Record<string, unknown>> & { readonly Labels: readonly string[] };
    readonly SwarmOptions: SwarmOptions;
    readonly AuthOptions: Readonly<Record<string, unknown>>;
  };
} & Readonly<Record<string, unknown>>;

/**
 * Returns a machine's config.json as the next save would write it: from the record, with the file's unknown members.
 */
export async function loadConfigJson(
  machine: Machine,
  { root }: Pick<DockerMachineInvocation, 'root'>,
): Promise<ConfigJson> {
  const existing = await readFile(join(root, 'machines', machine.spec.name, 'config.json'), 'utf8').then(
    (text) => JSON.parse(text) as unknown,
    // If the file is missing or unusable, the record is enough.
    () => undefined,
  );
  return JSON.parse(formatConfigJson(machine, { root, existing })) as ConfigJson;
}

/** Returns the URL of the standalone Swarm whose master the machine is. Throws if it is not a master. */
export async function resolveSwarmUrl(
  machine: ReadyMachine,
  call: Pick<DockerMachineInvocation, 'root'>,
): Promise<string> {
  const { HostOptions } = await loadConfigJson(machine, call);
  return requireSwarmUrl(HostOptions.SwarmOptions, machine.host.address, machine.spec.name);
}
