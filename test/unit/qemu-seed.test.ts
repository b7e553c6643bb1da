import { parseTar } from 'nanotar';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { seedOf, type GuestIdentity } from '../../src/drivers/qemu/seed.ts';
import { fakeIdentity } from '../fakes/fake-identity.ts';

const seedEntries = (identity: GuestIdentity) => parseTar(seedOf(identity).bytes);
const seedFileText = (identity: GuestIdentity, name: string): string | undefined =>
  seedEntries(identity).find((entry) => entry.name === name)?.text;

afterEach(() => vi.useRealTimers());

describe('seedOf', () => {
  test('returns the same bytes for the same machine at another time', () => {
    vi.useFakeTimers({ toFake: ['Date'], now: new Date('2026-01-01T00:00:00Z') });
    const first = seedOf(fakeIdentity());
    vi.setSystemTime(new Date('2031-07-01T12:34:56Z'));
    const second = seedOf(fakeIdentity());
    expect(Buffer.from(first.bytes).equals(second.bytes)).toBe(true);
    expect(second.id).toBe(first.id);
  });

  test.each([
    ['its name', { name: 'other' }],
    ['its id', { id: 'ffffffff-ffff-4fff-bfff-ffffffffffff' }],
    ['its user', { user: 'dev' }],
    ['the key that may log in', { boot: { ...fakeIdentity().boot, authorizedKey: 'ssh-ed25519 BBBB' } }],
    ['its host key', { boot: { ...fakeIdentity().boot, hostKey: { private: 'OTHER\n', public: 'ssh-ed25519 CCCC' } } }],
    ['a file', { boot: { ...fakeIdentity().boot, files: [{ path: '/etc/x', mode: '644', content: '' }] } }],
  ])('returns another id with another value of %s', (_what, more: Partial<GuestIdentity>) => {
    expect(seedOf(fakeIdentity(more)).id).not.toBe(seedOf(fakeIdentity()).id);
  });

  test("returns an id that fits on a kernel's command line", () => {
    expect(seedOf(fakeIdentity()).id).toMatch(/^[0-9a-f]{16}$/);
  });

  test('returns all files that make the guest this machine', () => {
    const all = fakeIdentity();
    expect(seedEntries(all).map(({ name, attrs }) => `${attrs?.mode} ${name}`)).toEqual([
      '0000644 etc/hostname',
      '0000644 etc/hosts',
      '0000444 etc/machine-id',
      '0000600 etc/ssh/ssh_host_ed25519_key',
      '0000644 etc/ssh/ssh_host_ed25519_key.pub',
      '0000644 etc/slipway/user',
      '0000644 etc/slipway/authorized_keys',
      '0000644 etc/docker/slipway/server-cert.pem',
      '0000600 etc/docker/slipway/server-key.pem',
    ]);
    expect(seedFileText(all, 'etc/hostname')).toBe('web\n');
    expect(seedFileText(all, 'etc/hosts')).toContain('127.0.1.1 web\n');
    // systemd accepts 32 hexadecimal digits and nothing else.
    expect(seedFileText(all, 'etc/machine-id')).toMatch(/^[0-9a-f]{32}\n$/);
    expect(seedFileText(all, 'etc/slipway/user')).toBe('slipway\n');
    expect(seedFileText(all, 'etc/slipway/authorized_keys')).toBe(`${all.boot.authorizedKey}\n`);
    expect(seedFileText(all, 'etc/ssh/ssh_host_ed25519_key')).toBe(all.boot.hostKey.private);
    expect(seedFileText(all, 'etc/ssh/ssh_host_ed25519_key.pub')).toBe(`${all.boot.hostKey.public}\n`);
  });

  test('lets only root read private keys, and root owns every file', () => {
    for (const { name, text: content, attrs } of seedEntries(fakeIdentity())) {
      expect(attrs, name).toMatchObject({ uid: 0, gid: 0, user: 'root', group: 'root' });
      if (content.includes('PRIVATE KEY')) expect(attrs?.mode, name).toBe('0000600');
    }
    expect(seedEntries(fakeIdentity()).filter(({ text: content }) => content.includes('PRIVATE KEY'))).toHaveLength(2);
  });

  test('writes only below the root that it is unpacked in', () => {
    for (const { name } of seedEntries(fakeIdentity())) expect(name).not.toMatch(/^\/|(^|\/)\.\.(\/|$)/);
  });

  test('counts bytes and not characters', () => {
    const content = "Zoë's engine — 機\n";
    const files = [{ path: '/etc/x', mode: '644', content }];
    expect(seedFileText(fakeIdentity({ boot: { ...fakeIdentity().boot, files } }), 'etc/x')).toBe(content);
  });

  // Archives grow by blocks of 512 bytes and are rounded up to 10240: one of these lengths fills an archive exactly.
  test.each(Array.from({ length: 20 }, (_, blocks) => blocks * 512))(
    'ends with two empty blocks also with a file of %i bytes, since the disk continues after them',
    (length) => {
      const files = [{ path: '/etc/x', mode: '644', content: 'x'.repeat(length) }];
      const { bytes } = seedOf(fakeIdentity({ boot: { ...fakeIdentity().boot, files } }));
      expect(bytes.length % 512).toBe(0);
      expect(Buffer.from(bytes.subarray(-1024)).equals(Buffer.alloc(1024))).toBe(true);
    },
  );
});
