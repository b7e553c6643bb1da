/** The errors of SSH connections, with what to check or type next. */
import { networkReasonOf, SlipwayError, systemCode } from '../errors.ts';
import type { SshHop, SshTarget } from '../machine/model.ts';
import { fingerprint, formatKey, type HostKeyExpectation, type HostKeyVerdict } from './host-key.ts';

export const CONNECT_SECONDS = 20;

/** An error of the SSH library. `level` says which part of the connection failed. */
export type SshClientError = Error & { level?: string };

/** The keys that were offered to a host, in words, and the key files that can't be used because of a passphrase. */
export type OfferedKeys = { readonly description: string; readonly locked: readonly string[] };

/** Returns the error for a connection that failed before the login was complete. */
export function connectError(hop: SshHop, offered: OfferedKeys, error: SshClientError): SlipwayError {
  if (error.level === 'client-authentication') return loginRefusedError(hop, offered, error);
  const why = error.level === 'client-timeout' ? `no answer within ${CONNECT_SECONDS} s` : networkReasonOf(error);
  return new SlipwayError('SSH_UNREACHABLE', `Can't connect to ${hop.address}:${hop.port} over SSH: ${why}`, {
    hint: `Check the address and the port, that the host is running, and that no firewall blocks the port: ssh -p ${hop.port} ${hop.user}@${hop.address}`,
    cause: error,
  });
}

/** Returns the error for a host that closed the connection before the login was complete, with what the host said. */
export function closedDuringLoginError({ user, address, port }: SshHop, messages: readonly string[]): SlipwayError {
  const detail = messages.flatMap((message) => message.split(/\r?\n/)).filter((line) => line.trim() !== '');
  return new SlipwayError('SSH_UNREACHABLE', `${address}:${port} closed the SSH connection during the login`, {
    hint: `A host that is starting or shutting down does that. Try again in a minute, or see what it says: ssh -p ${port} ${user}@${address}`,
    detail,
  });
}

function loginRefusedError(
  { user, address, port }: SshHop,
  { description, locked }: OfferedKeys,
  cause: SshClientError,
): SlipwayError {
  const [firstLocked] = locked;
  const verb = locked.length === 1 ? 'has' : 'have';
  const passphrase = firstLocked === undefined ? '' : `; ${locked.join(', ')} ${verb} a passphrase`;
  return new SlipwayError(
    'SSH_REFUSED',
    `${user}@${address}:${port} accepted none of the keys offered (${description}${passphrase})`,
    {
      hint:
        firstLocked === undefined
          ? `Specify the right key with --generic-ssh-key and the right user with --generic-ssh-user, or install your key on the host: ssh-copy-id -p ${port} ${user}@${address}`
          : `Add the key to the SSH agent: ssh-add ${firstLocked}`,
      cause,
    },
  );
}

/** Returns the error for a key that was refused: another key was expected, it is revoked, or it can't be checked. */
export function hostKeyRefusedError(
  hop: SshHop,
  offered: string,
  { wanted, unverifiable = [] }: Extract<HostKeyVerdict, { readonly verdict: 'refused' }>,
): SlipwayError {
  const shown = `${hop.address} showed the host key ${formatKey(offered)}`;
  const [reason] = unverifiable;
  if (reason !== undefined)
    return new SlipwayError('HOST_KEY', `${shown}, which can't be checked: ${reason}`, {
      hint: `Compare it with the key that ssh accepts: ssh -p ${hop.port} ${hop.user}@${hop.address} ssh-keygen -lf /etc/ssh/ssh_host_${keyFileType(offered)}_key.pub. If they are equal, pass it: --generic-host-key ${fingerprint(offered)} (for a jump host: --generic-ssh-jump-host-key)`,
      detail: unverifiable.slice(1),
    });
  if (wanted.length === 0)
    return new SlipwayError('HOST_KEY', `${shown}, which your known_hosts has revoked`, {
      hint: `Somebody else may have this key. Create new host keys on the host: rm /etc/ssh/ssh_host_*; ssh-keygen -A. Then pass the new key with --generic-host-key. If the mark is wrong, remove the line: grep @revoked ~/.ssh/known_hosts`,
    });
  return new SlipwayError('HOST_KEY', `${shown}, not ${wanted.map(formatKey).join(' or ')}`, {
    hint: newHostKeyHint(keyFileType(offered)),
  });
}

/** Returns the error for a host that has no key of the type of the expected one, or no longer has it. */
export function hostKeyMissingError(hop: SshHop, { pinned, expected, known }: HostKeyExpectation): SlipwayError {
  const wanted = [pinned ?? expected ?? known].flat();
  return new SlipwayError(
    'HOST_KEY',
    `${hop.address} has no host key of the same type as ${wanted.map(formatKey).join(' or ')}`,
    { hint: newHostKeyHint('*') },
  );
}

function newHostKeyHint(type: string): string {
  return `Another host may be impersonating it. If the host does have a new key, show its fingerprint there: ssh-keygen -lf /etc/ssh/ssh_host_${type}_key.pub, then pass it with --generic-host-key (for a jump host: --generic-ssh-jump-host-key)`;
}

/** Returns a key's type as sshd names its files. */
function keyFileType(key: string): string {
  return /ecdsa/.test(key) ? 'ecdsa' : /rsa/.test(key) ? 'rsa' : 'ed25519';
}

export function tunnelError({ address, port }: SshHop, why: string, cause?: unknown): SlipwayError {
  return new SlipwayError('SSH_UNREACHABLE', `The jump host could not reach ${address}:${port}: ${why}`, {
    hint: 'Check the address as seen from the jump host, and that it allows TCP forwarding',
    cause,
  });
}

/** Returns the error for a connection that was lost while the command with this label ran. */
export function connectionLostError({ address }: SshTarget, label: string): SlipwayError {
  return new SlipwayError('SSH_LOST', `The SSH connection to ${address} was lost during ${label}`, {
    hint: 'To continue, run the same command again',
  });
}

const CHECK_KEY_HINT = 'Specify a private key file with --generic-ssh-key';

export function unusableKeyError(path: string, why: string): SlipwayError {
  return new SlipwayError('USAGE', `${path} is not a private key that SSH can use: ${why}`, { hint: CHECK_KEY_HINT });
}

export function unreadableKeyError(path: string, cause: unknown): SlipwayError {
  const why = systemCode(cause) === 'ENOENT' ? 'the file does not exist' : (cause as Error).message;
  return new SlipwayError('USAGE', `The SSH key ${path} can't be read: ${why}`, { hint: CHECK_KEY_HINT, cause });
}
