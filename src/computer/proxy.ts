import { BlockList, isIP, isIPv6 } from 'node:net';

/** The variables of an environment, of which HTTPS_PROXY, HTTP_PROXY and NO_PROXY count. */
export type ProxyEnvironment = Readonly<Record<string, string | undefined>>;

/**
 * Returns the proxy that HTTPS_PROXY, HTTP_PROXY and NO_PROXY select for a URL, by the rules of Go, in which the docker
 * CLI is written. A `tcp:` URL of an engine counts as `https:`. This computer's own addresses have no proxy.
 */
export function findProxy(url: URL, env: ProxyEnvironment): URL | undefined {
  const variable = url.protocol === 'http:' ? 'HTTP_PROXY' : 'HTTPS_PROXY';
  const text = readVariable(env, variable);
  const host = url.hostname.replace(/^\[|\]$/g, '').toLowerCase();
  if (text === '' || isLoopback(host)) return undefined;
  const port = url.port || (url.protocol === 'http:' ? '80' : '443');
  if (listNoProxy(env).some((entry) => isMatch(entry, host, port))) return undefined;
  return parseProxy(text);
}

/** Returns whether an environment names a proxy for any host. */
export function hasProxy(env: ProxyEnvironment): boolean {
  return readVariable(env, 'HTTPS_PROXY') !== '' || readVariable(env, 'HTTP_PROXY') !== '';
}

/** Returns the entries of NO_PROXY. */
function listNoProxy(env: ProxyEnvironment): readonly string[] {
  return readVariable(env, 'NO_PROXY')
    .split(',')
    .map((entry) => entry.trim().toLowerCase())
    .filter((entry) => entry !== '');
}

function readVariable(env: ProxyEnvironment, name: string): string {
  return env[name] || env[name.toLowerCase()] || '';
}

/** Returns a proxy's URL; undefined for text that is none, and for a SOCKS proxy, which only some programs can use. */
function parseProxy(text: string): URL | undefined {
  const url = text.includes('://') ? text : `http://${text}`;
  return /^https?:/i.test(url) && URL.canParse(url) ? new URL(url) : undefined;
}

function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || (isIP(host) === 4 && host.startsWith('127.'));
}

/** Returns whether an entry of NO_PROXY (`*`, a network, an address or a domain, with a port or without) matches. */
function isMatch(entry: string, host: string, port: string): boolean {
  if (entry === '*') return true;
  if (entry.includes('/')) return isInNetwork(entry, host);
  const [, name = '', onPort] = /^(\[[^\]]+\]|[^:]*)(?::(\d+))?$/.exec(entry) ?? [entry, entry];
  if (onPort !== undefined && onPort !== port) return false;
  const address = name.replace(/^\[|\]$/g, '');
  if (isIP(address) !== 0 || isIP(host) !== 0) return address === host;
  const domain = address.replace(/^\*/, '');
  return domain.startsWith('.') ? host.endsWith(domain) : host === domain || host.endsWith(`.${domain}`);
}

function isInNetwork(network: string, host: string): boolean {
  const [base = '', bits = ''] = network.split('/');
  if (isIP(base) === 0 || isIP(base) !== isIP(host) || !/^\d{1,3}$/.test(bits)) return false;
  const family = isIPv6(base) ? 'ipv6' : 'ipv4';
  if (Number(bits) > (family === 'ipv6' ? 128 : 32)) return false;
  const list = new BlockList();
  list.addSubnet(base, Number(bits), family);
  return list.check(host, family);
}
