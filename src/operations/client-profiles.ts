import { applyFileChanges } from '../computer/files.ts';
import { findProxy } from '../computer/proxy.ts';
import type { ClientCertificates, MachineSpec, ReadyMachine } from '../machine/model.ts';
import { evalInShell } from '../profiles/shell-env.ts';
import { profilesNamed } from '../profiles/registry.ts';
import type { SaveCheckpoint } from './checkpoint.ts';
import type { World } from './world.ts';

/** A machine whose engine has answered, and the client certificates that the engine accepts; none without TLS. */
export type VerifiedMachine = { readonly machine: ReadyMachine; readonly tls: ClientCertificates | undefined };

/**
 * The last stage of every path to a ready machine: writes the client profiles, then the record of a ready machine, and
 * starts its link.
 */
export async function finishProvision(
  verified: VerifiedMachine,
  world: World,
  save: SaveCheckpoint,
): Promise<ReadyMachine> {
  await writeClientProfiles(verified, world);
  // Saved last: if this run is killed before, the next `create` completes the machine.
  await save(verified.machine);
  for (const note of (await world.links?.start(verified.machine)) ?? []) world.progress.note(note);
  warnOfProxy(verified.machine, world);
  return verified.machine;
}

/** Slipway itself connects to the engine directly, so only this tells the user why docker does not reach it. */
function warnOfProxy({ spec: { name }, endpoint, host }: ReadyMachine, { progress, computer }: World): void {
  if (!/^(tcp|https?):/.test(endpoint.url)) return;
  const proxy = findProxy(new URL(endpoint.tls ? endpoint.url : endpoint.url.replace(/^tcp:/, 'http:')), computer.env);
  if (proxy === undefined) return;
  progress.note(
    `The docker CLI would connect to ${name} through the proxy ${proxy.host} of your environment. To connect directly, add ${host.address} to NO_PROXY, or: ${evalInShell(`slipway env --no-proxy ${name}`, computer)}`,
  );
}

/** Writes the settings with which clients such as the docker CLI find and trust the machine. */
export async function writeClientProfiles(
  { machine, tls }: VerifiedMachine,
  { progress, clientPaths }: World,
): Promise<void> {
  await progress.step('profiles', 'Write client profiles', async () =>
    applyFileChanges(
      profilesNamed(machine.spec.profiles).flatMap((profile) => profile.changesToAdd({ machine, tls, clientPaths })),
    ),
  );
}

/** Removes the settings of profiles that are no longer wanted, where they are this machine's own. */
export async function removeUnwantedProfiles(
  before: MachineSpec,
  { id, name, profiles }: MachineSpec,
  { clientPaths }: World,
): Promise<void> {
  for (const profile of profilesNamed(before.profiles.filter((known) => !profiles.includes(known)))) {
    if ((await profile.findConflict(name, id, clientPaths)) === undefined)
      await applyFileChanges(profile.changesToRemove(name, clientPaths));
  }
}
