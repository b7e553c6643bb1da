/** Commands that print a value, and nothing but it, on stdout. */
import { defineOld } from '../command.ts';
import { Failure, failureOf } from '../failure.ts';
import {
  machineNamed,
  mustRun,
  nameIn,
  namesIn,
  readyNamed,
  stateOf,
  withoutDriver,
  knownDriver,
} from '../machines.ts';

export const ip = defineOld({
  name: 'ip',
  summary: 'Get the IP address of a machine',
  operands: '[arg...]',
  flags: [],
  async run({ out, words, world }) {
    const names = await namesIn({ words, world });
    const machines = await Promise.all(names.map(async (name) => machineNamed(name, world)));
    // One line a name, in the order of the names.
    const addresses = await Promise.all(
      machines.map(async (machine) => {
        const address = machine.host?.address;
        if (address === undefined) throw new Failure('Error getting IP address: IP address is not set');
        await mustRun(machine, world).catch((error: unknown) => {
          throw error instanceof Failure ? new Failure(`Error getting IP address: ${error.message}`) : failureOf(error);
        });
        return address;
      }),
    );
    for (const address of addresses) out(address);
  },
});

export const url = defineOld({
  name: 'url',
  summary: 'Get the URL of a machine',
  operands: '[arg...]',
  flags: [],
  async run({ out, words, world }) {
    const machine = await readyNamed(await nameIn({ words, world }), world);
    await mustRun(machine, world);
    out(machine.endpoint.url);
  },
});

export const status = defineOld({
  name: 'status',
  summary: 'Get the status of a machine',
  operands: '[arg...]',
  flags: [],
  async run({ out, words, world }) {
    const machine = await machineNamed(await nameIn({ words, world }), world);
    if (knownDriver(machine.spec.driver) === undefined) throw withoutDriver(machine.spec.driver);
    const { state, look } = await stateOf(machine, world);
    out(state);
    if (state === 'Error') throw new Failure(`error getting state for host ${machine.spec.name}: ${look.trouble}`);
  },
});

export const version = defineOld({
  name: 'version',
  summary: 'Show the Docker Machine version or a machine docker version',
  operands: '[arg...]',
  flags: [],
  async run({ out, version: own, words, world }) {
    const [name, ...more] = words;
    if (more.length > 0) throw new Failure('Error: Expected one machine name as an argument');
    if (name === undefined) return out(own);
    const look = await mustRun(await readyNamed(name, world), world);
    if (look.engine === undefined) throw new Failure(look.trouble);
    out(look.engine);
  },
});
