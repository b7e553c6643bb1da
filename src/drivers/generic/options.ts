import { z } from 'zod';

const HOST_KEY_PATTERN = /^(SHA256:[A-Za-z0-9+/]{43}=?|(ssh-|ecdsa-)[\w-]+ [A-Za-z0-9+/]+=*( .*)?)$/;
export const JUMP_HOST_PATTERN =
  /^(?:(?<user>[^@\s:]+)@)?(?<address>\[[0-9a-fA-F:.]+\]|[^@\s:[\]]+)(?::(?<port>\d{1,5}))?$/;
const ADDRESS_PATTERN = /^[a-zA-Z0-9]([a-zA-Z0-9._-]*[a-zA-Z0-9])?$|^[0-9a-fA-F]*:[0-9a-fA-F]*:[0-9a-zA-Z:.%]*$/;
const USER_NAME_PATTERN = /^[^\s@:-][^\s@:]*$/;

export const genericOptions = z.object({
  ipAddress: z
    .string()
    .regex(ADDRESS_PATTERN, 'an IP address or host name (use --generic-ssh-user and --generic-ssh-port for the rest)')
    .meta({
      description: 'Address of the host',
      ask: 'Address of the host?',
      env: 'GENERIC_IP_ADDRESS',
      value: 'address',
      example: '192.0.2.10',
    }),
  sshUser: z.string().regex(USER_NAME_PATTERN, 'a user name').default('root').meta({
    description: 'User to log in as: root, or a user who can use sudo',
    ask: 'Log in as which user?',
    env: 'GENERIC_SSH_USER',
    value: 'user',
  }),
  sshPort: z
    .int()
    .min(1)
    .max(65535)
    .default(22)
    .meta({ description: 'Port of the SSH server', env: 'GENERIC_SSH_PORT', value: 'port' }),
  sshKey: z.string().min(1).optional().meta({
    description: "Private key; default: the SSH agent's keys, then ~/.ssh/id_*",
    ask: 'With which key?',
    env: 'GENERIC_SSH_KEY',
    value: 'file',
  }),
  sshJump: z
    .string()
    .regex(JUMP_HOST_PATTERN, 'a jump host like user@host:22')
    .optional()
    .meta({ description: 'Jump host, [user@]host[:port]', value: 'host' }),
  sshJumpHostKey: z
    .string()
    .regex(HOST_KEY_PATTERN, 'a fingerprint like SHA256:… or a public key')
    .optional()
    .meta({ description: 'Host key of the jump host', value: 'key' }),
  hostKey: z.string().regex(HOST_KEY_PATTERN, 'a fingerprint like SHA256:… or a public key').optional().meta({
    description: 'Required host key; default: the key in known_hosts, otherwise the first key that the host shows',
    value: 'key',
  }),
});
export type GenericOptions = z.output<typeof genericOptions>;
