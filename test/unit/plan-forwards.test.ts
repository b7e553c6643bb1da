import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { planForwards } from '../../src/link/plan-forwards.ts';
import { listPublishedPorts, type PublishedPort } from '../../src/link/published-ports.ts';
import { forwardKey, type Forward } from '../../src/machine/forward.ts';

const address = fc.constantFrom('0.0.0.0', '127.0.0.1', '127.0.0.2', '::1', '10.0.2.15');
const forward: fc.Arbitrary<Forward> = fc.record({
  protocol: fc.constantFrom('tcp' as const, 'udp' as const),
  listen: fc.record({ address, port: fc.integer({ min: 80, max: 84 }) }),
  target: fc.record({ address, port: fc.integer({ min: 80, max: 84 }) }),
});
const published: fc.Arbitrary<PublishedPort> = fc.record({ container: fc.constantFrom('web', 'db', 'dns'), forward });
const forwards = fc.uniqueArray(forward, { selector: forwardKey, maxLength: 12 });
const listenKey = ({ protocol, listen }: Forward): string => `${protocol} ${listen.address} ${listen.port}`;

/** Applies a plan as the link does: removes first, then adds. Fails where a port would be opened twice. */
function apply(present: readonly Forward[], { remove, add }: ReturnType<typeof planForwards>): readonly Forward[] {
  const removed = new Set(remove.map(forwardKey));
  const after = present.filter((one) => !removed.has(forwardKey(one)));
  for (const { forward: added } of add) {
    expect(after.map(listenKey)).not.toContain(listenKey(added));
    after.push(added);
  }
  return after;
}

describe('planForwards', () => {
  test('leads from any forwards to the wanted ones, opens no port twice, and then changes nothing more', () => {
    fc.assert(
      fc.property(fc.array(published), forwards, (wanted, before) => {
        // No system opens one port twice.
        const present = [...new Map(before.map((one) => [listenKey(one), one])).values()];
        const after = apply(present, planForwards(wanted, present));
        expect(new Set(after.map(listenKey))).toEqual(new Set(wanted.map(({ forward: one }) => listenKey(one))));
        const wantedKeys = wanted.map(({ forward: one }) => forwardKey(one));
        for (const one of after) expect(wantedKeys).toContain(forwardKey(one));
        const again = planForwards(wanted, after);
        expect([...again.add, ...again.remove]).toEqual([]);
      }),
    );
  });

  test('says of each wanted port what becomes of it, exactly once', () => {
    fc.assert(
      fc.property(fc.array(published), forwards, (wanted, present) => {
        const { add, keep, shadowed } = planForwards(wanted, present);
        const said = [...add, ...keep, ...shadowed.map(({ port }) => port)];
        expect(said).toHaveLength(wanted.length);
        expect(new Set(said)).toEqual(new Set(wanted));
      }),
    );
  });

  test('a container that starts later takes no port away', () => {
    const port = (IP: string): object => ({ IP, PublicPort: 80, Type: 'tcp' });
    const wanted = listPublishedPorts([
      { Names: ['/young'], Created: 9, Ports: [port('127.0.0.1')] },
      { Names: ['/old'], Created: 5, Ports: [port('0.0.0.0')] },
    ]);
    const { add, shadowed } = planForwards(wanted, []);
    expect(add.map(({ container }) => container)).toEqual(['old', 'old']);
    expect(shadowed.map(({ port: { container }, winner }) => [container, winner])).toEqual([
      ['young', 'old'],
      ['young', 'old'],
    ]);
  });

  test('removes a forward whose target has changed before it opens the port again', () => {
    const listen = { address: '127.0.0.1', port: 80 };
    const before: Forward = { protocol: 'tcp', listen, target: { address: '127.0.0.1', port: 80 } };
    const after: Forward = { ...before, target: { address: '0.0.0.0', port: 80 } };
    expect(planForwards([{ container: 'web', forward: after }], [before])).toMatchObject({
      remove: [before],
      add: [{ forward: after }],
    });
  });
});
