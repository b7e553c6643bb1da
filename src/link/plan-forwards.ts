import { forwardKey, type Forward } from '../machine/forward.ts';
import type { PublishedPort } from './published-ports.ts';

/** What has to change so that the forwards that exist are those that are wanted. */
export type ForwardPlan = {
  readonly remove: readonly Forward[];
  readonly add: readonly PublishedPort[];
  readonly keep: readonly PublishedPort[];
  /** Ports that another container of the same machine publishes with the same number: `winner` has it. */
  readonly shadowed: readonly { readonly port: PublishedPort; readonly winner: string }[];
};

/**
 * Pure. Compares the forwards that are wanted with those that exist. If two containers publish a port of the same
 * number on different addresses of the machine, the first one gets it: a container that starts later takes no port
 * away.
 */
export function planForwards(wanted: readonly PublishedPort[], present: readonly Forward[]): ForwardPlan {
  const winners = new Map<string, PublishedPort>();
  for (const port of wanted) if (!winners.has(listenKey(port.forward))) winners.set(listenKey(port.forward), port);
  const chosen = [...winners.values()];
  const wantedKeys = new Set(chosen.map(({ forward }) => forwardKey(forward)));
  const presentKeys = new Set(present.map(forwardKey));
  return {
    remove: present.filter((forward) => !wantedKeys.has(forwardKey(forward))),
    add: chosen.filter(({ forward }) => !presentKeys.has(forwardKey(forward))),
    keep: chosen.filter(({ forward }) => presentKeys.has(forwardKey(forward))),
    shadowed: wanted.flatMap((port) => {
      const winner = winners.get(listenKey(port.forward));
      return winner === undefined || winner === port ? [] : [{ port, winner: winner.container }];
    }),
  };
}

function listenKey({ protocol, listen }: Forward): string {
  return `${protocol} ${listen.address} ${listen.port}`;
}
