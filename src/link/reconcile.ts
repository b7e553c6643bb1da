import type { Forwarder } from '../machine/forward.ts';
import type { LinkedPort } from './link-state.ts';
import { planForwards } from './plan-forwards.ts';
import type { PublishedPort } from './published-ports.ts';

/**
 * Makes the forwards that exist those that are wanted. Asks what exists each time, so that it can follow any
 * interruption. Returns what became of each wanted port.
 */
export async function reconcileForwards(
  wanted: readonly PublishedPort[],
  forwarder: Forwarder,
): Promise<readonly LinkedPort[]> {
  const { remove, add, keep, shadowed } = planForwards(wanted, await forwarder.list());
  for (const forward of remove) await forwarder.remove(forward);
  const added: LinkedPort[] = [];
  const refused = new Set<string>();
  for (const published of add) {
    const { protocol, listen } = published.forward;
    const port = `${protocol} ${listen.port}`;
    // Behind the two addresses of `localhost`, there must not be two programs.
    if (published.isExtra && refused.has(port)) continue;
    const refusal = await forwarder.add(published.forward);
    if (refusal) refused.add(port);
    if (!published.isExtra) added.push({ ...toLinkedPort(published), ...(refusal ? { refusal } : {}) });
  }
  const others = shadowed
    .filter(({ port }) => !port.isExtra)
    .map(({ port, winner }): LinkedPort => ({
      ...toLinkedPort(port),
      refusal: { reason: 'taken', user: `container ${winner}` },
    }));
  return [...keep.filter(({ isExtra }) => !isExtra).map(toLinkedPort), ...added, ...others].toSorted(comparePorts);
}

function toLinkedPort({ container, forward: { protocol, listen } }: PublishedPort): LinkedPort {
  return { protocol, address: listen.address, port: listen.port, container };
}

function comparePorts(left: LinkedPort, right: LinkedPort): number {
  const keyOf = ({ protocol, address, container }: LinkedPort): string => `${protocol} ${address} ${container}`;
  return left.port - right.port || (keyOf(left) < keyOf(right) ? -1 : 1);
}
