import { expect, test } from 'vitest';
import { listPublishedPorts } from '../../src/link/published-ports.ts';
import { reconcileForwards } from '../../src/link/reconcile.ts';
import type { Forward, Forwarder, PortRefusal } from '../../src/machine/forward.ts';

const published = listPublishedPorts([
  { Names: ['/web'], Created: 1, Ports: [{ IP: '0.0.0.0', PublicPort: 8080, Type: 'tcp' }] },
  { Names: ['/dns'], Created: 2, Ports: [{ IP: '0.0.0.0', PublicPort: 8080, Type: 'udp' }] },
]);

/** Returns a forwarder that refuses what `refuse` refuses, and lists what it has added. */
function fakeForwarder(refuse: (forward: Forward) => PortRefusal | undefined): Forwarder & { added: string[] } {
  const forwards: Forward[] = [];
  const added: string[] = [];
  return {
    added,
    list: async () => forwards,
    add: async (forward) => {
      const refusal = refuse(forward);
      if (refusal) return refusal;
      forwards.push(forward);
      added.push(`${forward.protocol} ${forward.listen.address}`);
      return undefined;
    },
    remove: async () => {},
  };
}

test('a port that is taken on 127.0.0.1 is not opened on ::1, where it would hide the other program', async () => {
  const forwarder = fakeForwarder(({ protocol, listen }) =>
    protocol === 'tcp' && listen.address === '127.0.0.1' ? { reason: 'taken', user: 'postgres (pid 812)' } : undefined,
  );
  expect(await reconcileForwards(published, forwarder)).toEqual([
    expect.objectContaining({ container: 'web', refusal: { reason: 'taken', user: 'postgres (pid 812)' } }),
    { protocol: 'udp', address: '127.0.0.1', port: 8080, container: 'dns' },
  ]);
  expect(forwarder.added).toEqual(['udp 127.0.0.1', 'udp ::1']);
});

test('a second round finds everything in place, and adds nothing', async () => {
  const forwarder = fakeForwarder(() => undefined);
  const first = await reconcileForwards(published, forwarder);
  expect(await reconcileForwards(published, forwarder)).toEqual(first);
  expect(forwarder.added).toHaveLength(4);
});
