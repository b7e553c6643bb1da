import { access, constants } from 'node:fs/promises';
import { fileReasonOf } from '../../computer/files.ts';
import { SlipwayError } from '../../errors.ts';
import type { SshHop } from '../../machine/model.ts';
import { listSshKeys, listSshConfigHosts } from '../../ssh/openssh-files.ts';
import type { ExistingDriverCode } from '../contract.ts';
import { JUMP_HOST_PATTERN, type GenericOptions } from './options.ts';

export const driver: ExistingDriverCode<GenericOptions> = {
  machines: {
    async validate({ options: { sshKey } }) {
      if (sshKey === undefined) return;
      await access(sshKey, constants.R_OK).catch((error: unknown) => {
        throw new SlipwayError('USAGE', `The SSH key ${sshKey} can't be read: ${fileReasonOf(error)}`, {
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
  },
  prompts: {
    async ipAddress(_answers, { computer }) {
      return (await listSshConfigHosts(computer)).map(
        ({ alias, address, user, port, keyFile, jump, unsupportedRoute }) => ({
          value: address,
          note: [
            alias === address ? '' : alias,
            'of your ~/.ssh/config',
            unsupportedRoute === undefined ? '' : `whose ${unsupportedRoute} Slipway does not use`,
          ]
            .filter(Boolean)
            .join(', '),
          sets: { sshUser: user, sshPort: port, sshKey: keyFile, sshJump: jump },
        }),
      );
    },
    async sshKey(_answers, { computer }) {
      const keys = await listSshKeys(computer);
      if (keys.length === 0) return [];
      return [
        { value: '', note: 'what your SSH agent or ~/.ssh offers' },
        ...keys.map((value) => ({ value, note: '' })),
      ];
    },
  },
};

function parseJumpHost(text: string, user: string, expectedKey: string | undefined): SshHop {
  const parts = JUMP_HOST_PATTERN.exec(text)?.groups ?? {};
  return {
    address: (parts.address ?? '').replace(/^\[|\]$/g, ''),
    port: Number(parts.port ?? 22),
    user: parts.user ?? user,
    ...(expectedKey === undefined ? {} : { expectedKey }),
  };
}
