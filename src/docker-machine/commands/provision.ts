/** The commands that change the host of an existing machine. */
import { provisionMachine } from '../../operations/provision-machine.ts';
import { regenerateCertificates } from '../../operations/regenerate-certificates.ts';
import { startMachine } from '../../operations/power.ts';
import { upgradeMachine } from '../../operations/upgrade.ts';
import { ensureAuthority, seedMachineAuthority } from '../machine-authority.ts';
import {
  authorityFilesFrom,
  defineDockerMachineCommand,
  type DockerMachineInvocation,
} from '../docker-machine-command.ts';
import { dockerMachineDriverName } from '../config-json/driver-mappings.ts';
import { DockerMachineError } from '../docker-machine-error.ts';
import {
  runForEachMachine,
  readMachine,
  requireDriverSupport,
  resolveMachineNames,
  requireModifiableMachine,
  getMachineState,
} from '../machine-arguments.ts';

export const provision = defineDockerMachineCommand({
  name: 'provision',
  summary: 'Re-provision existing machines',
  argsUsage: '[arg...]',
  flags: [],
  async run(call) {
    await runForEachMachine(await resolveMachineNames(call), call, async (name) => {
      await prepareAuthority(name, call);
      await provisionMachine(name, (spec) => spec, call.worldOf(name));
    });
  },
});

/**
 * Makes sure that a machine of Docker Machine keeps its certificate authority. Throws for an engine that is known by
 * its URL alone.
 */
async function prepareAuthority(name: string, { world, root }: DockerMachineInvocation): Promise<void> {
  const machine = await readMachine(name, world);
  if (machine.host !== undefined && machine.host.ssh === undefined)
    throw new DockerMachineError(
      `${dockerMachineDriverName(machine.spec.driver)} driver does not support SSH: who runs the engine of "${name}" provisions it`,
    );
  await seedMachineAuthority(name, world.store, root);
}

export const regenerateCerts = defineDockerMachineCommand({
  name: 'regenerate-certs',
  summary: 'Regenerate TLS Certificates for a machine',
  argsUsage: '[arg...]',
  flags: [
    { names: ['force', 'f'], kind: 'switch', usage: 'Force rebuild and do not prompt' },
    { names: ['client-certs'], kind: 'switch', usage: 'Also regenerate client certificates and CA.' },
  ],
  async run(call) {
    const { ask, print, values, worldOf } = call;
    const names = await resolveMachineNames(call);
    for (const name of names) await requireModifiableMachine(name, call.world);
    if (
      values.force !== true &&
      !/^y/i.test(await ask('Regenerate TLS machine certs?  Warning: this is irreversible. (y/n): '))
    )
      return;
    print('Regenerating TLS certificates');
    if (values['client-certs'] === true) {
      print('Regenerating local certificates');
      await ensureAuthority(call.root, authorityFilesFrom(call), call.print);
    }
    await runForEachMachine(names, call, async (name) => {
      await prepareAuthority(name, call);
      await regenerateCertificates(name, { all: false }, worldOf(name));
    });
  },
});

export const upgrade = defineDockerMachineCommand({
  name: 'upgrade',
  summary: 'Upgrade a machine to the latest version of Docker',
  argsUsage: '[arg...]',
  flags: [],
  async run(call) {
    const { world, worldOf } = call;
    await runForEachMachine(await resolveMachineNames(call), call, async (name) => {
      const machine = await readMachine(name, world);
      if ((await getMachineState(machine, world)).state === 'Stopped') {
        await requireDriverSupport('start', machine);
        await startMachine(name, worldOf(name));
      }
      await upgradeMachine(name, { changeSpec: undefined, isDryRun: false }, worldOf(name));
    });
  },
});
