/** The commands that print one value to stdout, and nothing else. */
import type { Machine } from '../../machine/model.ts';
import type { World } from '../../operations/world.ts';
import { defineDockerMachineCommand } from '../docker-machine-command.ts';
import { DockerMachineError, toDockerMachineError } from '../docker-machine-error.ts';
import {
  readMachine,
  requireRunning,
  resolveMachineName,
  resolveMachineNames,
  requireReadyMachine,
  getMachineState,
  driverNotFoundError,
  findDriverName,
} from '../machine-arguments.ts';

export const ip = defineDockerMachineCommand({
  name: 'ip',
  summary: 'Get the IP address of a machine',
  argsUsage: '[arg...]',
  flags: [],
  async run({ print, words, world }) {
    const names = await resolveMachineNames({ words, world });
    const machines = await Promise.all(names.map(async (name) => readMachine(name, world)));
    const addresses = await Promise.all(machines.map(async (machine) => resolveAddress(machine, world)));
    // Scripts match the lines with the names by their order.
    for (const address of addresses) print(address);
  },
});

async function resolveAddress(machine: Machine, world: World): Promise<string> {
  const address = machine.host?.address;
  if (address === undefined) throw new DockerMachineError('Error getting IP address: IP address is not set');
  await requireRunning(machine, world).catch((error: unknown) => {
    throw error instanceof DockerMachineError
      ? new DockerMachineError(`Error getting IP address: ${error.message}`)
      : toDockerMachineError(error);
  });
  return address;
}

export const url = defineDockerMachineCommand({
  name: 'url',
  summary: 'Get the URL of a machine',
  argsUsage: '[arg...]',
  flags: [],
  async run({ print, words, world }) {
    const machine = await requireReadyMachine(await resolveMachineName({ words, world }), world);
    await requireRunning(machine, world);
    print(machine.endpoint.url);
  },
});

export const status = defineDockerMachineCommand({
  name: 'status',
  summary: 'Get the status of a machine',
  argsUsage: '[arg...]',
  flags: [],
  async run({ print, words, world }) {
    const machine = await readMachine(await resolveMachineName({ words, world }), world);
    if (findDriverName(machine.spec.driver) === undefined) throw driverNotFoundError(machine.spec.driver);
    const { state, status: machineStatus } = await getMachineState(machine, world);
    print(state);
    if (state === 'Error')
      throw new DockerMachineError(`error getting state for host ${machine.spec.name}: ${machineStatus.trouble}`);
  },
});

export const version = defineDockerMachineCommand({
  name: 'version',
  summary: 'Show the Docker Machine version or a machine docker version',
  argsUsage: '[arg...]',
  flags: [],
  async run({ print, version: programVersion, words, world }) {
    const [name, ...extra] = words;
    if (extra.length > 0) throw new DockerMachineError('Error: Expected one machine name as an argument');
    if (name === undefined) return print(programVersion);
    const machineStatus = await requireRunning(await requireReadyMachine(name, world), world);
    if (machineStatus.engine === undefined) throw new DockerMachineError(machineStatus.trouble);
    print(machineStatus.engine);
  },
});
