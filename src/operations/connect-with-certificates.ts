import { writeFileAtomic } from '../computer/files.ts';
import type { SshTarget } from '../machine/model.ts';
import type { Certificates } from '../provision/certificates.ts';
import { knownHostsLine } from '../ssh/host-key.ts';
import { loadOrRenewCertificates, storeCertificates } from './credentials.ts';
import { connectTitle, explainConnectionError, type HostConnection, openSession, retrySsh } from './host-session.ts';
import type { SshProvisionRun, SshMachine } from './provision-run.ts';
import type { World } from './world.ts';

/**
 * Connects to a host and creates its certificates at the same time, since both take equally long. The host's key is
 * pinned, in the record too, as soon as the host has shown it. The caller closes the session.
 */
export async function connectWithCertificates(
  created: SshMachine,
  { machine, retry, save, renewal }: SshProvisionRun,
  world: World,
): Promise<HostConnection & { readonly certificates: Certificates }> {
  const { spec, host } = created;
  const paths = world.store.paths(spec.name);
  const pinHostKey = async (ssh: SshTarget): Promise<void> => {
    await writeFileAtomic(paths.knownHosts, knownHostsLine(ssh) + (ssh.jump ? knownHostsLine(ssh.jump) : ''), 0o600);
    if (machine.phase !== 'ready') await save({ ...created, host: { ...host, ssh } });
  };
  return await world.progress.step('connect', connectTitle(host.ssh, host.address), async (log) => {
    const [connection, certificates] = await Promise.allSettled([
      retrySsh(() => openSession(host.ssh, world, pinHostKey), retry, log, world).catch((error: unknown) => {
        throw explainConnectionError(error, created);
      }),
      loadOrRenewCertificates(spec, host.address, world, renewal),
    ]);
    if (connection.status === 'rejected') throw connection.reason;
    try {
      if (certificates.status === 'rejected') throw certificates.reason;
      await storeCertificates(certificates.value, paths);
      return { ...connection.value, certificates: certificates.value };
    } catch (error) {
      await connection.value.session[Symbol.asyncDispose]();
      throw error;
    }
  });
}
