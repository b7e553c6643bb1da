import { access, constants } from 'node:fs/promises';
import { z } from 'zod';
import { SlipwayError } from '../../errors.ts';
import type { SshHop } from '../../machine/model.ts';
import { listSshKeys, listSshConfigHosts } from '../../ssh/openssh-files.ts';
import { defineDriver } from '../contract.ts';

const HOST_KEY_PATTERN = /^(SHA256:[A-Za-z0-9+/]{43}=?|(ssh-|ecdsa-)[\w-]+ [A-Za-z0-9+/]+=*( .*)?)$/;
const JUMP_HOST_PATTERN = /^(?:(?<user>[^@\s:]+)@)?(?<address>\[[0-9a-fA-F:.]+\]|[^@\s:[\]]+)(?::(?<port>\d{1,5}))?$/;
const ADDRESS_PATTERN = /^[a-zA-Z0-9]([a-zA-Z0-9._-]*[a-zA-Z0-9])?$|^[0-9a-fA-F]*:[0-9a-fA-F]*:[0-9a-zA-Z:.%]*$/;
const USER_NAME_PATTERN = /^[^\s@:-][^\s@:]*$/;

export const generic = defineDriver({
  name: 'generic',
  summary: 'a machine that already answers SSH',
  retainedOnRemove: 'the host itself and its engine stay as they are',
  options: z.object({
    ipAddress: z
      .string()
      .regex(
        ADDRESS_PATTERN,
        'an IP address or host name alone (--generic-ssh-port and --generic-ssh-user say the rest)',
      )
      .meta({
        description: 'Address of the host',
        ask: 'Address of the host?',
        env: 'GENERIC_IP_ADDRESS',
        value: 'address',
      }),
    sshUser: z.string().regex(USER_NAME_PATTERN, 'a user name').default('root').meta({
      description: 'User to log in as: root, or one who may use sudo',
      ask: 'Log in as which user?',
      env: 'GENERIC_SSH_USER',
      value: 'user',
    }),
    sshPort: z
      .int()
      .min(1)
      .max(65535)
      .default(22)
      .meta({ description: 'Port of its SSH server', env: 'GENERIC_SSH_PORT', value: 'port' }),
    sshKey: z.string().min(1).optional().meta({
      description: 'Private key; without it the SSH agent, then ~/.ssh/id_*',
      ask: 'With which key?',
      env: 'GENERIC_SSH_KEY',
      value: 'file',
    }),
    sshJump: z
      .string()
      .regex(JUMP_HOST_PATTERN, 'a jump host like user@host:22')
      .optional()
      .meta({ description: 'Jump host to go through, [user@]host[:port]', value: 'host' }),
    sshJumpHostKey: z
      .string()
      .regex(HOST_KEY_PATTERN, 'a fingerprint like SHA256:… or a public key')
      .optional()
      .meta({ description: 'Host key of the jump host', value: 'key' }),
    hostKey: z
      .string()
      .regex(HOST_KEY_PATTERN, 'a fingerprint like SHA256:… or a public key')
      .optional()
      .meta({ description: 'Host key to insist on; without it known_hosts, then the key first seen', value: 'key' }),
  }),
  choices: {
    async ipAddress(_given, { computer }) {
      return (await listSshConfigHosts(computer)).map(({ alias, address, user, port, keyFile, jump }) => ({
        value: address,
        note: [alias === address ? '' : alias, 'of your ~/.ssh/config'].filter(Boolean).join(', '),
        sets: { sshUser: user, sshPort: port, sshKey: keyFile, sshJump: jump },
      }));
    },
    async sshKey(_given, { computer }) {
      const keys = await listSshKeys(computer);
      if (keys.length === 0) return [];
      return [
        { value: '', note: 'what your SSH agent or ~/.ssh offers' },
        ...keys.map((value) => ({ value, note: '' })),
      ];
    },
  },
  shutdownBehavior({ options: { ipAddress } }) {
    return { byItself: 'stopped', costs: `the host ${ipAddress} itself is powered off, and only you can switch it on` };
  },
  changeKindOf(option) {
    // Another address is another host; the rest says how this one is reached.
    return option === 'ipAddress' ? 'replace' : 'live';
  },
  async health() {
    return { usable: true };
  },
  async validate({ options: { sshKey } }) {
    if (sshKey === undefined) return;
    await access(sshKey, constants.R_OK).catch((error: unknown) => {
      throw new SlipwayError('USAGE', `The SSH key ${sshKey} can't be read`, {
        hint: 'Check --generic-ssh-key',
        cause: error,
      });
    });
  },
  async inspect({ options }) {
    const { ipAddress: address, sshPort: port, sshUser: user, sshKey, sshJump, sshJumpHostKey, hostKey } = options;
    const ssh = {
      address,
      port,
      user,
      ...(hostKey === undefined ? {} : { expectedKey: hostKey }),
      ...(sshKey === undefined ? {} : { keyFile: sshKey }),
      ...(sshJump === undefined ? {} : { jump: parseJumpHost(sshJump, user, sshJumpHostKey) }),
    };
    return { state: 'running', host: { address, ssh } };
  },
});

function parseJumpHost(text: string, user: string, expectedKey: string | undefined): SshHop {
  const parts = JUMP_HOST_PATTERN.exec(text)?.groups ?? {};
  return {
    address: (parts.address ?? '').replace(/^\[|\]$/g, ''),
    port: Number(parts.port ?? 22),
    user: parts.user ?? user,
    ...(expectedKey === undefined ? {} : { expectedKey }),
  };
}
