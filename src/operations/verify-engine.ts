import { SlipwayError } from '../errors.ts';
import type { ClientCertificates, CreatedMachine, Endpoint } from '../machine/model.ts';
import { verifyEngine } from '../provision/engine-api.ts';
import { readCertificateFiles, loadClientCertificates, writeClientCertificates } from './credentials.ts';
import type { VerifiedMachine } from './client-profiles.ts';
import type { World } from './world.ts';

/** An engine that was just installed or restarted gets this long to answer. */
export const ENGINE_TIMEOUT_SECONDS = 60;
/** Short, since the machine has reported that it is ready; a busy computer may delay the first answer. */
const FIRST_BOOT_TIMEOUT_SECONDS = 5;
/** Short, since an existing engine is running already. */
const EXISTING_ENGINE_TIMEOUT_SECONDS = 10;

/** Returns where clients reach the engine that Slipway runs on this host. */
export function endpointOf({ spec, host }: CreatedMachine): Endpoint {
  const port = host.ssh ? host.enginePort : undefined;
  const address = host.address.includes(':') ? `[${host.address}]` : host.address;
  return { url: `tcp://${address}:${port ?? spec.engine.port}`, tls: true };
}

/** Waits, as a step, until the engine at this endpoint answers; throws `ENGINE_UNREACHABLE` after `seconds`. */
export async function verifyEndpoint(
  endpoint: Endpoint,
  tls: ClientCertificates | undefined,
  seconds: number,
  { progress, signal }: World,
): Promise<void> {
  await progress.step('verify', `Verify the engine at ${endpoint.url}`, () =>
    verifyEngine(endpoint, tls, { signal, seconds }),
  );
}

/**
 * Verifies a machine whose engine started with its configuration and certificates: such a machine needs no visit over
 * SSH. Returns undefined if it needs one all the same, because its image came without an engine or with another version
 * than the spec names.
 */
export async function verifyFirstBoot(created: CreatedMachine, world: World): Promise<VerifiedMachine | undefined> {
  const { source, version } = created.spec.engine;
  if (version !== undefined) return undefined;
  if (source === 'url')
    world.progress.note('The image already has an engine, so the script of --engine-install-url was not run');
  const endpoint = endpointOf(created);
  const machine = { ...created, phase: 'ready', endpoint } as const;
  const tls = await loadClientCertificates(machine, world.store);
  // A silent engine is not a failure yet: the visit over SSH that follows says why it is silent.
  const answers = await world.progress.step('verify', `Verify the engine at ${endpoint.url}`, async () => {
    try {
      await verifyEngine(endpoint, tls, { signal: world.signal, seconds: FIRST_BOOT_TIMEOUT_SECONDS });
      return true;
    } catch (error) {
      if (error instanceof SlipwayError && error.code === 'ENGINE_UNREACHABLE') return false;
      throw error;
    }
  });
  return answers ? { machine, tls } : undefined;
}

/** Connects to an existing engine: copies its certificates to where clients look for them, and verifies it. */
export async function verifyExistingEngine({ spec, host }: CreatedMachine, world: World): Promise<VerifiedMachine> {
  if (!host.engine) throw new Error(`driver ${spec.driver} returned neither an SSH address nor an engine`);
  const { url } = host.engine;
  const endpoint: Endpoint = { url, tls: host.engine.tls !== undefined };
  const tls = host.engine.tls && (await readCertificateFiles(host.engine.tls));
  if (tls) await writeClientCertificates(tls, world.store.paths(spec.name));
  await verifyEndpoint(endpoint, tls, EXISTING_ENGINE_TIMEOUT_SECONDS, world);
  if (!tls && url.startsWith('tcp:'))
    world.progress.note(`${url} requires no client certificate: anyone who can connect to it controls the engine`);
  return { machine: { version: 1, phase: 'ready', spec, host, endpoint }, tls };
}
