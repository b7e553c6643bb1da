import { Agent as HttpAgent, globalAgent as httpAgent, type ClientRequest } from 'node:http';
import { globalAgent as httpsAgent } from 'node:https';
import { Agent, type AgentConnectOpts } from 'agent-base';
import { HttpsProxyAgent } from 'https-proxy-agent';
import { findProxy, type ProxyEnvironment } from './proxy.ts';

/** Connects each request through the proxy that the environment selects for its host, or directly. */
class EnvironmentProxyAgent extends Agent {
  readonly #env: ProxyEnvironment;
  readonly #agents = new Map<string, HttpAgent>();

  constructor(env: ProxyEnvironment) {
    super();
    this.#env = env;
  }

  override connect(_request: ClientRequest, { secureEndpoint, host, port }: AgentConnectOpts): HttpAgent {
    const name = host?.includes(':') === true ? `[${host}]` : host;
    const proxy = findProxy(new URL(`${secureEndpoint ? 'https' : 'http'}://${name}:${port}`), this.#env);
    if (proxy === undefined) return secureEndpoint ? httpsAgent : httpAgent;
    const agent = this.#agents.get(proxy.href) ?? new HttpsProxyAgent(proxy);
    this.#agents.set(proxy.href, agent);
    return agent;
  }

  override destroy(): void {
    for (const agent of this.#agents.values()) agent.destroy();
    super.destroy();
  }
}

/** Creates an agent for requests of `node:http` and `node:https` that uses the proxies of this environment. */
export function createProxyAgent(env: ProxyEnvironment): HttpAgent {
  return new EnvironmentProxyAgent(env);
}
