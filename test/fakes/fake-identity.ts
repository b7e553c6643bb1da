import type { GuestIdentity } from '../../src/drivers/qemu/seed.ts';

/** A first-boot configuration with keys that open nothing. */
export function fakeIdentity(more: Partial<GuestIdentity> = {}): GuestIdentity {
  const key = (of: string): string => `-----BEGIN ${'OPENSSH'} PRIVATE KEY-----\n${of}\n-----END\n`;
  return {
    name: 'web',
    id: '0b6f0d2c-1f3a-4e0e-9d53-6d3f6b1f2a77',
    user: 'slipway',
    boot: {
      authorizedKey: 'ssh-ed25519 AAAALOGIN slipway web',
      hostKey: { private: key('host'), public: 'ssh-ed25519 AAAAHOST' },
      enginePort: 2376,
      files: [
        { path: '/etc/docker/slipway/server-cert.pem', mode: '644', content: 'the certificate\n' },
        { path: '/etc/docker/slipway/server-key.pem', mode: '600', content: key('server') },
      ],
    },
    ...more,
  };
}
