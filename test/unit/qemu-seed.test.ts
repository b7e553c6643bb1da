import { parseTar } from 'nanotar';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { seedOf, type Identity } from '../../src/drivers/qemu/seed.ts';
import { identity } from '../fakes/identity.ts';

const entries = (given: Identity) => parseTar(seedOf(given).bytes);
const text = (given: Identity, name: string): string | undefined =>
  entries(given).find((entry) => entry.name === name)?.text;

afterEach(() => vi.useRealTimers());

describe('a seed', () => {
  test('is the same, byte by byte, for the same machine at another time', () => {
    vi.useFakeTimers({ toFake: ['Date'], now: new Date('2026-01-01T00:00:00Z') });
    const first = seedOf(identity());
    vi.setSystemTime(new Date('2031-07-01T12:34:56Z'));
    const second = seedOf(identity());
    expect(Buffer.from(first.bytes).equals(second.bytes)).toBe(true);
    expect(second.id).toBe(first.id);
  });

  test.each([
    ['its name', { name: 'other' }],
    ['its id', { id: 'ffffffff-ffff-4fff-bfff-ffffffffffff' }],
    ['its user', { user: 'dev' }],
    ['the key that it lets in', { boot: { ...identity().boot, authorizedKey: 'ssh-ed25519 BBBB' } }],
    ['its own key', { boot: { ...identity().boot, hostKey: { private: 'OTHER\n', public: 'ssh-ed25519 CCCC' } } }],
    ['a file', { boot: { ...identity().boot, files: [{ path: '/etc/x', mode: '644', content: '' }] } }],
  ])('has another id with another value of %s', (_what, more: Partial<Identity>) => {
    expect(seedOf(identity(more)).id).not.toBe(seedOf(identity()).id);
  });

  test('has an id that can stand on a kernel’s command line', () => {
    expect(seedOf(identity()).id).toMatch(/^[0-9a-f]{16}$/);
  });

  test('lays all that makes the guest this machine', () => {
    const all = identity();
    expect(entries(all).map(({ name, attrs }) => `${attrs?.mode} ${name}`)).toEqual([
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
    expect(text(all, 'etc/hostname')).toBe('web\n');
    expect(text(all, 'etc/hosts')).toContain('127.0.1.1 web\n');
    // systemd takes 32 hexadecimal digits and nothing else.
    expect(text(all, 'etc/machine-id')).toMatch(/^[0-9a-f]{32}\n$/);
    expect(text(all, 'etc/slipway/user')).toBe('slipway\n');
    expect(text(all, 'etc/slipway/authorized_keys')).toBe(`${all.boot.authorizedKey}\n`);
    expect(text(all, 'etc/ssh/ssh_host_ed25519_key')).toBe(all.boot.hostKey.private);
    expect(text(all, 'etc/ssh/ssh_host_ed25519_key.pub')).toBe(`${all.boot.hostKey.public}\n`);
  });

  test('shows no private key to anyone but root, who owns everything', () => {
    for (const { name, text: content, attrs } of entries(identity())) {
      expect(attrs, name).toMatchObject({ uid: 0, gid: 0, user: 'root', group: 'root' });
      if (content.includes('PRIVATE KEY')) expect(attrs?.mode, name).toBe('0000600');
    }
    expect(entries(identity()).filter(({ text: content }) => content.includes('PRIVATE KEY'))).toHaveLength(2);
  });

  test('leads nowhere but below the root it is unpacked in', () => {
    for (const { name } of entries(identity())) expect(name).not.toMatch(/^\/|(^|\/)\.\.(\/|$)/);
  });

  test('counts bytes and not letters', () => {
    const content = 'Zoë’s engine — 機\n';
    const files = [{ path: '/etc/x', mode: '644', content }];
    expect(text(identity({ boot: { ...identity().boot, files } }), 'etc/x')).toBe(content);
  });

  // Archives grow by blocks of 512 bytes and are rounded up to 10240: one of these lengths fills one to its end.
  test.each(Array.from({ length: 20 }, (_, blocks) => blocks * 512))(
    'ends as an archive ends also with a file of %i bytes, though a disk goes on behind it',
    (length) => {
      const files = [{ path: '/etc/x', mode: '644', content: 'x'.repeat(length) }];
      const { bytes } = seedOf(identity({ boot: { ...identity().boot, files } }));
      expect(bytes.length % 512).toBe(0);
      expect(Buffer.from(bytes.subarray(-1024)).equals(Buffer.alloc(1024))).toBe(true);
    },
  );
});
