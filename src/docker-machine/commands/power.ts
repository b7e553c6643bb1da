/** The verbs that change whether machines run. */
import { killMachine, restartMachine, startMachine, stopMachine } from '../../operations/power.ts';
import { defineOld, type Call, type OldCommand } from '../command.ts';
import { Failure } from '../failure.ts';
import { each, machineNamed, mustDo, namesIn, oldDriver, stateOf } from '../machines.ts';

const GRACE_SECONDS = 90;

type Verb = {
  readonly name: 'start' | 'stop' | 'kill';
  readonly summary: string;
  readonly doing: string;
  readonly done: string;
  /** What there is nothing to do about. */
  readonly idle: { readonly state: string; readonly words: string };
  readonly work: (name: string, world: Call['world']) => Promise<unknown>;
  readonly after?: string;
};

const verbs: readonly Verb[] = [
  {
    name: 'kill',
    summary: 'Kill a machine',
    doing: 'Killing',
    done: 'killed',
    idle: { state: 'Stopped', words: 'already stopped' },
    work: killMachine,
  },
  {
    name: 'start',
    summary: 'Start a machine',
    doing: 'Starting',
    done: 'started',
    idle: { state: 'Running', words: 'already running' },
    work: startMachine,
    after: 'Started',
  },
  {
    name: 'stop',
    summary: 'Stop a machine',
    doing: 'Stopping',
    done: 'stopped',
    idle: { state: 'Stopped', words: 'already stopped' },
    work: (name, world) => stopMachine(name, GRACE_SECONDS, world),
  },
];

export const [kill, start, stop] = verbs.map(commandFor) as [OldCommand, OldCommand, OldCommand];

function commandFor({ name: verb, summary, doing, done, idle, work, after }: Verb): OldCommand {
  return defineOld({
    name: verb,
    summary,
    operands: '[arg...]',
    flags: [],
    async run(call) {
      const { out, world, worldOf } = call;
      await each(await namesIn(call), call, async (name) => {
        const machine = await machineNamed(name, world);
        out(`${doing} "${name}"...`);
        // Before what its driver can't do: scripts start what may run already.
        if ((await stateOf(machine, world)).state === idle.state)
          throw new Failure(`Machine "${name}" is ${idle.words}.`);
        await mustDo(verb, machine);
        await work(name, worldOf(name));
        out(`Machine "${name}" was ${done}.`);
      });
      if (after !== undefined) out(newAddresses(after));
    },
  });
}

function newAddresses(what: string): string {
  return `${what} machines may have new IP addresses. You may need to re-run the \`docker-machine env\` command.`;
}

export const restart = defineOld({
  name: 'restart',
  summary: 'Restart a machine',
  operands: '[arg...]',
  flags: [],
  async run(call) {
    const { out, world, worldOf } = call;
    await each(await namesIn(call), call, async (name) => {
      const { host, spec } = await machineNamed(name, world);
      if (host?.ssh === undefined) throw new Failure(`${oldDriver(spec.driver)} driver does not support restart`);
      out(`Restarting "${name}"...`);
      await restartMachine(name, GRACE_SECONDS, worldOf(name));
    });
    out(newAddresses('Restarted'));
  },
});
