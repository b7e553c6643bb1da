/** The verbs that change whether machines run. */
import { killMachine, restartMachine, startMachine, stopMachine } from '../../operations/power.ts';
import {
  defineDockerMachineCommand,
  type DockerMachineInvocation,
  type DockerMachineCommand,
} from '../docker-machine-command.ts';
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
  readonly doing: string;
  readonly done: string;
  /** What there is nothing to do about. */
  readonly noop: { readonly state: string; readonly words: string };
  readonly run: (name: string, world: DockerMachineInvocation['world']) => Promise<unknown>;
  readonly addressNoticeVerb?: string;
};

const powerCommands: readonly PowerCommand[] = [
  {
    name: 'kill',
    summary: 'Kill a machine',
    doing: 'Killing',
    done: 'killed',
    noop: { state: 'Stopped', words: 'already stopped' },
    run: killMachine,
  },
  {
    name: 'start',
    summary: 'Start a machine',
    doing: 'Starting',
    done: 'started',
    noop: { state: 'Running', words: 'already running' },
    run: startMachine,
    addressNoticeVerb: 'Started',
  },
  {
    name: 'stop',
    summary: 'Stop a machine',
    doing: 'Stopping',
    done: 'stopped',
    noop: { state: 'Stopped', words: 'already stopped' },
    run: (name, world) => stopMachine(name, STOP_GRACE_SECONDS, world),
  },
];

export const [kill, start, stop] = powerCommands.map(toCommand) as [
  DockerMachineCommand,
  DockerMachineCommand,
  DockerMachineCommand,
];

function toCommand({
  name: verb,
  summary,
  doing,
  done,
  noop,
  run: work,
  addressNoticeVerb,
}: PowerCommand): DockerMachineCommand {
  return defineDockerMachineCommand({
    name: verb,
    summary,
    argsUsage: '[arg...]',
    flags: [],
    async run(call) {
      const { print, world, worldOf } = call;
      await runForEachMachine(await resolveMachineNames(call), call, async (name) => {
        const machine = await readMachine(name, world);
        print(`${doing} "${name}"...`);
        // Before what its driver can't do: scripts start what may run already.
        if ((await getMachineState(machine, world)).state === noop.state)
          throw new DockerMachineError(`Machine "${name}" is ${noop.words}.`);
        await requireDriverSupport(verb, machine);
        await work(name, worldOf(name));
        print(`Machine "${name}" was ${done}.`);
      });
      if (addressNoticeVerb !== undefined) print(newAddressesNotice(addressNoticeVerb));
    },
  });
}

function newAddressesNotice(what: string): string {
  return `${what} machines may have new IP addresses. You may need to re-run the \`docker-machine env\` command.`;
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
