/** The commands that go through a host again. */
import { provisionMachine, regenerateCertificates } from '../../operations/provision.ts';
import { startMachine } from '../../operations/power.ts';
import { upgradeMachine } from '../../operations/upgrade.ts';
import { bootstrap, seed } from '../authority.ts';
import { authorityIn, defineOld, type Call } from '../command.ts';
import { Failure } from '../failure.ts';
import { each, machineNamed, mustDo, namesIn, oldDriver, ownNamed, stateOf } from '../machines.ts';

export const provision = defineOld({
  name: 'provision',
  summary: 'Re-provision existing machines',
  operands: '[arg...]',
  flags: [],
  async run(call) {
    await each(await namesIn(call), call, async (name) => {
      await withAuthority(name, call);
      await provisionMachine(name, (spec) => spec, call.worldOf(name));
    });
  },
});

/** A machine that the old tool made keeps the authority that it was made with; an engine that is known by its URL has nothing to provision. */
async function withAuthority(name: string, { world, root }: Call): Promise<void> {
  const machine = await machineNamed(name, world);
  if (machine.host !== undefined && machine.host.ssh === undefined)
    throw new Failure(
      `${oldDriver(machine.spec.driver)} driver does not support SSH: who runs the engine of "${name}" provisions it`,
    );
  await seed(name, world.store, root);
}

export const regenerateCerts = defineOld({
  name: 'regenerate-certs',
  summary: 'Regenerate TLS Certificates for a machine',
  operands: '[arg...]',
  flags: [
    { names: ['force', 'f'], kind: 'switch', usage: 'Force rebuild and do not prompt' },
    { names: ['client-certs'], kind: 'switch', usage: 'Also regenerate client certificates and CA.' },
  ],
  async run(call) {
    const { ask, out, values, worldOf } = call;
    const names = await namesIn(call);
    for (const name of names) await ownNamed(name, call.world);
    if (
      values.force !== true &&
      !/^y/i.test(await ask('Regenerate TLS machine certs?  Warning: this is irreversible. (y/n): '))
    )
      return;
    out('Regenerating TLS certificates');
    if (values['client-certs'] === true) {
      out('Regenerating local certificates');
      await bootstrap(call.root, authorityIn(call), call.out);
    }
    await each(names, call, async (name) => {
      await withAuthority(name, call);
      await regenerateCertificates(name, { all: false }, worldOf(name));
    });
  },
});

export const upgrade = defineOld({
  name: 'upgrade',
  summary: 'Upgrade a machine to the latest version of Docker',
  operands: '[arg...]',
  flags: [],
  async run(call) {
    const { world, worldOf } = call;
    await each(await namesIn(call), call, async (name) => {
      const machine = await machineNamed(name, world);
      if ((await stateOf(machine, world)).state === 'Stopped') {
        await mustDo('start', machine);
        await startMachine(name, worldOf(name));
      }
      await upgradeMachine(name, { change: undefined, dry: false }, worldOf(name));
    });
  },
});
