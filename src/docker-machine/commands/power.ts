/** The commands that start and stop machines. */
import { killMachine, restartMachine, startMachine, stopMachine } from '../../operations/power.ts';
import type { World } from '../../operations/world.ts';
import { defineDockerMachineCommand, type DockerMachineCommand } from '../docker-machine-command.ts';
import { dockerMachineDriverName } from '../config-json/driver-mappings.ts';
import { DockerMachineError } from '../docker-machine-error.ts';
import {
  runForEachMachine,
  readMachine,
  requireDriverSupport,
  resolveMachineNames,
  getMachineState,
} from '../machine-arguments.ts';

const STOP_GRACE_SECONDS = 90;

type PowerCommand = {
  readonly name: 'start' | 'stop' | 'kill';
  readonly summary: string;
  /** The verb in the line before the action: `Starting "web"...` */
  readonly progressVerb: string;
  /** The verb in the line after it: `Machine "web" was started.` */
  readonly pastVerb: string;
  /** The state in which the action has no effect, and the error that says so. */
  readonly noop: { readonly state: string; readonly message: string };
  readonly run: (name: string, world: World) => Promise<unknown>;
  /** The verb of the notice that addresses may have changed, if the action changes them. */
  readonly addressNoticeVerb?: string;
};

const powerCommands: readonly PowerCommand[] = [
  {
    name: 'kill',
    summary: 'Kill a machine',
    progressVerb: 'Killing',
    pastVerb: 'killed',
    noop: { state: 'Stopped', message: 'already stopped' },
    run: killMachine,
  },
  {
    name: 'start',
    summary: 'Start a machine',
    progressVerb: 'Starting',
    pastVerb: 'started',
    noop: { state: 'Running', message: 'already running' },
    run: startMachine,
    addressNoticeVerb: 'Started',
  },
  {
    name: 'stop',
    summary: 'Stop a machine',
    progressVerb: 'Stopping',
    pastVerb: 'stopped',
    noop: { state: 'Stopped', message: 'already stopped' },
    run: (name, world) => stopMachine(name, STOP_GRACE_SECONDS, world),
  },
];

export const [kill, start, stop] = powerCommands.map(toCommand) as [
  DockerMachineCommand,
  DockerMachineCommand,
  DockerMachineCommand,
];

function toCommand({
  name: action,
  summary,
  progressVerb,
  pastVerb,
  noop,
  run: changePower,
  addressNoticeVerb,
}: PowerCommand): DockerMachineCommand {
  return defineDockerMachineCommand({
    name: action,
    summary,
    argsUsage: '[arg...]',
    flags: [],
    async run(call) {
      const { print, world, worldOf } = call;
      await runForEachMachine(await resolveMachineNames(call), call, async (name) => {
        const machine = await readMachine(name, world);
        print(`${progressVerb} "${name}"...`);
        // Checked before the driver's support, since scripts also start machines that are running already.
        if ((await getMachineState(machine, world)).state === noop.state)
          throw new DockerMachineError(`Machine "${name}" is ${noop.message}.`);
        await requireDriverSupport(action, machine);
        await changePower(name, worldOf(name));
        print(`Machine "${name}" was ${pastVerb}.`);
      });
      if (addressNoticeVerb !== undefined) print(newAddressesNotice(addressNoticeVerb));
    },
  });
}

function newAddressesNotice(pastVerb: string): string {
  return `${pastVerb} machines may have new IP addresses. You may need to re-run the \`docker-machine env\` command.`;
}

export const restart = defineDockerMachineCommand({
  name: 'restart',
  summary: 'Restart a machine',
  argsUsage: '[arg...]',
  flags: [],
  async run(call) {
    const { print, world, worldOf } = call;
    await runForEachMachine(await resolveMachineNames(call), call, async (name) => {
      const { host, spec } = await readMachine(name, world);
      if (host?.ssh === undefined)
        throw new DockerMachineError(`${dockerMachineDriverName(spec.driver)} driver does not support restart`);
      print(`Restarting "${name}"...`);
      await restartMachine(name, STOP_GRACE_SECONDS, worldOf(name));
    });
    print(newAddressesNotice('Restarted'));
  },
});
