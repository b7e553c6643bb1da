/** The errors of SSH connections, with what to check or type next. */
import { fileReasonOf } from '../computer/files.ts';
import { networkReasonOf, SlipwayError } from '../errors.ts';
import type { SshHop, SshTarget } from '../machine/model.ts';
import { fingerprint, formatKey, type HostKeyExpectation, type HostKeyVerdict } from './host-key.ts';
import { quote, quoteWindowsWord } from './shell.ts';

export const CONNECT_SECONDS = 20;

/** An error of the SSH library. `level` says which part of the connection failed. */
export type SshClientError = Error & { level?: string };

/** The keys that were offered to a host, in words, and the key files that can't be used because of a passphrase. */
export type OfferedKeys = {
  readonly description: string;
  readonly locked: readonly string[];
  /** The specified file, if it contains a public key. */
  readonly publicKey?: string;
  /** Whether an SSH agent can hold keys with a passphrase. */
  readonly hasAgent: boolean;
  /** The system of this computer, whose commands the hints name. */
  readonly platform: NodeJS.Platform;
  /** The methods of logging in that the host allows, as far as it told them: `publickey`, `password`. */
  readonly methods?: readonly string[] | undefined;
};

/** How sshd words its refusal of a client that offers more keys than it allows. */
const TOO_MANY_KEYS = /too many authentication failures/i;
/** How the SSH library words that it has no algorithm in common with a host. */
const NO_COMMON_ALGORITHM = /no matching (?!host key)(.+)$/;

/** Returns the error for a connection that failed before the login was complete. */
export function connectError(hop: SshHop, offered: OfferedKeys, error: SshClientError): SlipwayError {
  if (error.level === 'client-authentication' || TOO_MANY_KEYS.test(error.message))
    return loginRefusedError(hop, offered, error);
  const [, algorithm] = NO_COMMON_ALGORITHM.exec(error.message) ?? [];
  if (algorithm !== undefined) return noCommonAlgorithmError(hop, algorithm, error);
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

/** Returns the error for a host that only OpenSSH can talk to. */
function noCommonAlgorithmError({ user, address, port }: SshHop, algorithm: string, cause: unknown): SlipwayError {
  return new SlipwayError('SSH_UNREACHABLE', `${address}:${port} and Slipway have no ${algorithm} in common`, {
    hint: `Slipway uses your own ssh for such a host if it has ssh and ssh-keyscan. To check that ssh connects: ssh -p ${port} ${user}@${address}. Or allow more algorithms on the host: curve25519-sha256, aes256-gcm@openssh.com`,
    cause,
  });
}

/** Returns whether the user's own `ssh` may succeed where the SSH library failed with this error. */
export function isForOpenSsh(error: unknown): error is SlipwayError {
  if (!(error instanceof SlipwayError)) return false;
  return (
    error.code === 'SSH_REFUSED' || (error.cause instanceof Error && NO_COMMON_ALGORITHM.test(error.cause.message))
  );
}

/**
 * Returns the error for a login that neither the SSH library nor `ssh` could complete. `words` is what `ssh` said;
 * undefined if it is not on this computer.
 */
export function openSshRefusedError(
  error: SlipwayError,
  { user, address, port }: SshHop,
  words: readonly string[] | undefined,
): SlipwayError {
  if (words === undefined) return error;
  // ssh names the methods that the host would still accept, after those that it accepted.
  const methods = words.flatMap((line) => /Permission denied \(([\w,-]+)\)/.exec(line)?.[1]?.split(',') ?? []);
  if (methods.length > 0 && !methods.includes('publickey')) {
    const wanted = methods.join(', ');
    return new SlipwayError('SSH_REFUSED', `${user}@${address}:${port} asks for more than a key: ${wanted}`, {
      hint: `Slipway logs in without a person, so it can't answer a password or a second factor. Allow this user to log in with a key alone (in sshd_config on the host: Match User ${user}, AuthenticationMethods publickey), or name another user with --generic-ssh-user`,
      detail: words,
      cause: error,
    });
  }
  const { code, message, hint, cause } = error;
  return new SlipwayError(code, message, { ...(hint === undefined ? {} : { hint }), detail: words, cause });
}

function loginRefusedError(
  { user, address, port }: SshHop,
  { description, locked, publicKey, hasAgent, platform, methods }: OfferedKeys,
  cause: SshClientError,
): SlipwayError {
  const [firstLocked] = locked;
  const verb = locked.length === 1 ? 'has' : 'have';
  const passphrase = firstLocked === undefined ? '' : `; ${locked.join(', ')} ${verb} a passphrase`;
  if (TOO_MANY_KEYS.test(cause.message)) {
    return new SlipwayError(
      'SSH_REFUSED',
      `${user}@${address}:${port} ended the login: too many of the keys offered were wrong (${description}${passphrase})`,
      { hint: 'Specify the right key, which is then offered first: --generic-ssh-key', cause },
    );
  }
  if (publicKey !== undefined) {
    return new SlipwayError('SSH_REFUSED', `${user}@${address}:${port} accepted no key: ${description}`, {
      hint: "Specify the private key with --generic-ssh-key, or add it to the SSH agent. To see the agent's keys: ssh-add -l",
      cause,
    });
  }
  return new SlipwayError(
    'SSH_REFUSED',
    `${user}@${address}:${port} accepted none of the keys offered (${description}${passphrase})`,
    {
      hint:
        firstLocked === undefined
          ? `Specify the right key with --generic-ssh-key and the right user with --generic-ssh-user, or ${installKeyHint({ user, address, port }, methods, platform)}`
          : unlockKeyHint(firstLocked, hasAgent, platform),
      cause,
    },
  );
}

/** Returns how to give a key with a passphrase to the SSH agent. On Windows, the agent is a service. */
function unlockKeyHint(path: string, hasAgent: boolean, platform: NodeJS.Platform): string {
  if (platform !== 'win32')
    return `Add the key to the SSH agent: ${hasAgent ? '' : 'eval "$(ssh-agent)" && '}ssh-add ${quote(path)}`;
  // cmd and PowerShell read double quotes alike.
  const add = `ssh-add ${/^[\w:.\\/-]+$/.test(path) ? path : quoteWindowsWord(path)}`;
  return hasAgent
    ? `Add the key to the SSH agent: ${add}`
    : `Start the SSH agent in a PowerShell that runs as administrator: Set-Service ssh-agent -StartupType Automatic; Start-Service ssh-agent. Then add the key: ${add}`;
}

/** Returns how to make the host accept a key. `ssh-copy-id` logs in with a password, which many hosts refuse. */
function installKeyHint(
  { user, address, port }: SshHop,
  methods: readonly string[] | undefined,
  platform: NodeJS.Platform,
): string {
  const acceptsPasswords =
    methods === undefined ||
    methods.length === 0 ||
    methods.some((method) => ['password', 'keyboard-interactive'].includes(method));
  // Windows has no ssh-copy-id. cmd and PowerShell have type.
  const copyKey =
    platform === 'win32'
      ? `type KEY.pub | ssh -p ${port} ${user}@${address} "mkdir -p .ssh && cat >> .ssh/authorized_keys"`
      : `ssh-copy-id -p ${port} ${user}@${address}`;
  return acceptsPasswords
    ? `install your key on the host: ${copyKey}`
    : `add your public key to ~${user}/.ssh/authorized_keys there by another way, since the host accepts no passwords. If it accepts certificates, renew yours (see it: ssh-keygen -Lf KEY-cert.pub)`;
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
      hint: `Somebody else may have this key. Create new host keys on the host: rm /etc/ssh/ssh_host_*; ssh-keygen -A. Then pass the new key with --generic-host-key. If the mark is wrong, remove the line with @revoked from ~/.ssh/known_hosts`,
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

/** Returns the error for a host or an `ssh` that forwards no port. */
export function forwardingRefusedError({ address }: SshTarget, why: string): SlipwayError {
  return new SlipwayError('SSH_REFUSED', `No port of ${address} can be forwarded over SSH: ${why}`, {
    hint: 'Allow it in /etc/ssh/sshd_config on the host (AllowTcpForwarding yes), or log in with a key file that Slipway can use itself',
  });
}

const CHECK_KEY_HINT = 'Specify a private key file with --generic-ssh-key';

export function unusableKeyError(path: string, why: string): SlipwayError {
  return new SlipwayError('USAGE', `${path} is not a private key that SSH can use: ${why}`, { hint: CHECK_KEY_HINT });
}

export function unreadableKeyError(path: string, cause: unknown): SlipwayError {
  return new SlipwayError('USAGE', `The SSH key ${path} can't be read: ${fileReasonOf(cause)}`, {
    hint: CHECK_KEY_HINT,
    cause,
  });
}
