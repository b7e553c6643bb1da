/** Commands that print a value, and nothing but it, on stdout. */
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
    // One line a name, in the order of the names.
    const addresses = await Promise.all(
      machines.map(async (machine) => {
        const address = machine.host?.address;
        if (address === undefined) throw new DockerMachineError('Error getting IP address: IP address is not set');
        await requireRunning(machine, world).catch((error: unknown) => {
          throw error instanceof DockerMachineError
            ? new DockerMachineError(`Error getting IP address: ${error.message}`)
            : toDockerMachineError(error);
        });
        return address;
      }),
    );
    for (const address of addresses) print(address);
  },
});

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
    const { state, look } = await getMachineState(machine, world);
    print(state);
    if (state === 'Error')
      throw new DockerMachineError(`error getting state for host ${machine.spec.name}: ${look.trouble}`);
  },
});

export const version = defineDockerMachineCommand({
  name: 'version',
  summary: 'Show the Docker Machine version or a machine docker version',
  argsUsage: '[arg...]',
  flags: [],
  async run({ print, version: own, words, world }) {
    const [name, ...more] = words;
    if (more.length > 0) throw new DockerMachineError('Error: Expected one machine name as an argument');
    if (name === undefined) return print(own);
    const look = await requireRunning(await requireReadyMachine(name, world), world);
    if (look.engine === undefined) throw new DockerMachineError(look.trouble);
    print(look.engine);
  },
});
