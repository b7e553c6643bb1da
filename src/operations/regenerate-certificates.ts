import type { ReadyMachine } from '../machine/model.ts';
import { requireReady } from '../machine/require-machine.ts';
import { requireSsh } from './guards.ts';
import { provisionMachine } from './provision-machine.ts';
import type { World } from './world.ts';

/**
 * Creates new certificates for the engine and its clients. The machine's CA stays, so that other certificates that it
 * has signed are still accepted; with `all` the CA is new as well. After an interruption, `provision` continues with
 * the stored certificates.
 */
export async function regenerateCertificates(
  name: string,
  { all }: { readonly all: boolean },
  world: World,
): Promise<ReadyMachine> {
  requireSsh(
    requireReady(await world.store.read(name)),
    'regenerate its certificates',
    `Renew them where the engine runs, then connect again: slipway provision ${name} with new values of --none-tls-ca, --none-tls-cert and --none-tls-key`,
  );
  return await provisionMachine(name, (spec) => spec, world, { renewal: all ? 'all' : 'leaves' });
}
