/** Which ports the containers of a machine publish, and the forwards that make them reachable on this computer. */
import { isLoopback, type Forward, type PortAddress } from '../machine/forward.ts';

/** A port that a container publishes, and the forward for it. */
export type PublishedPort = {
  readonly container: string;
  readonly forward: Forward;
  /** Forwards the same port from `::1`, for programs that try only the first address of `localhost`. */
  readonly isExtra?: true;
};

/** The fields of `GET /containers/json` that the link reads. */
type Container = { readonly name: string; readonly created: number; readonly ports: readonly ContainerPort[] };
type ContainerPort = { readonly protocol: 'tcp' | 'udp'; readonly address: string; readonly port: number };

export const DEFAULT_LISTEN_ADDRESS = '127.0.0.1';
/** An engine names these as the address of a port that it opens on all addresses of its host. */
const ANY_IPV4 = '0.0.0.0';
const ANY_IPV6 = '::';

/**
 * Pure. Returns the ports that containers publish, those of older containers first. A loopback address is the same one
 * on this computer; the ports of all other addresses are opened on `listenAddress`.
 */
export function listPublishedPorts(
  containers: unknown,
  listenAddress: string = DEFAULT_LISTEN_ADDRESS,
): readonly PublishedPort[] {
  return parseContainers(containers)
    .toSorted((left, right) => left.created - right.created || (left.name < right.name ? -1 : 1))
    .flatMap(({ name, ports }) =>
      mergeAddressFamilies(ports).flatMap((port) => {
        const forward = toForward(port, listenAddress);
        const published = { container: name, forward };
        if (forward.listen.address !== DEFAULT_LISTEN_ADDRESS) return [published];
        const extra = { ...forward, listen: { ...forward.listen, address: '::1' } };
        return [published, { container: name, forward: extra, isExtra: true as const }];
      }),
    );
}

function toForward({ protocol, address, port }: ContainerPort, listenAddress: string): Forward {
  const target: PortAddress = { address: address === ANY_IPV6 ? '::1' : address, port };
  return { protocol, listen: { address: isLoopback(address) ? address : listenAddress, port }, target };
}

/** Keeps one of two ports that an engine opens with the same number for IPv4 and for IPv6. */
function mergeAddressFamilies(ports: readonly ContainerPort[]): readonly ContainerPort[] {
  const has = (wanted: ContainerPort): boolean => ports.some((port) => portKey(port) === portKey(wanted));
  const merged = ports.filter((port) => port.address !== ANY_IPV6 || !has({ ...port, address: ANY_IPV4 }));
  return [...new Map(merged.map((port) => [portKey(port), port])).values()];
}

function portKey({ protocol, address, port }: ContainerPort): string {
  return `${protocol} ${address} ${port}`;
}

/** Reads the answer of an engine. Something else may answer in the engine's place and send anything. */
function parseContainers(answer: unknown): readonly Container[] {
  return listOf(answer).map(({ Id, Names, Created, Ports }) => ({
    name: nameOf(Names) ?? String(Id ?? '?').slice(0, 12),
    created: Number(Created) || 0,
    ports: listOf(Ports).flatMap(parsePort),
  }));
}

function parsePort({ IP, PublicPort, Type }: Fields): readonly ContainerPort[] {
  const port = Number(PublicPort);
  if ((Type !== 'tcp' && Type !== 'udp') || !Number.isInteger(port) || port < 1 || port > 65_535) return [];
  return [{ protocol: Type, address: typeof IP === 'string' && IP !== '' ? IP : ANY_IPV4, port }];
}

/** A container has one name of its own, `/web`, and others by links of other containers: `/shop/web`. */
function nameOf(names: unknown): string | undefined {
  const own = (Array.isArray(names) ? names : []).map(String).find((name) => /^\/[^/]+$/.test(name));
  return own?.slice(1);
}

type Fields = Readonly<Record<string, unknown>>;

function listOf(value: unknown): readonly Fields[] {
  return (Array.isArray(value) ? value : []).filter(
    (item): item is Fields => typeof item === 'object' && item !== null,
  );
}
