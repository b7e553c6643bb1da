import { setMaxListeners } from 'node:events';
import type { Agent as HttpAgent } from 'node:http';
import type { Agent as HttpsAgent } from 'node:https';
import type { EC2Client } from '@aws-sdk/client-ec2';
import { hasProxy } from '../../computer/proxy.ts';
import type { DriverCall } from '../contract.ts';
import { canceledError, reasonOf, SlipwayError } from '../../errors.ts';
import { findSettingsProblem } from './credentials.ts';
import {
  awsCodeOf,
  isRetryable,
  isWithoutCredentials,
  errorKindOf,
  toSlipwayError,
  type RequestPurpose,
} from './errors.ts';
import type { Ec2Options } from './options.ts';

type Ec2Sdk = typeof import('./sdk.ts');

/**
 * A connection to EC2 in one region. Only this file has the SDK's client, so that each of its errors, and of the
 * providers of credentials, reaches others as a SlipwayError.
 */
export type Ec2Connection = {
  readonly sdk: Ec2Sdk;
  readonly call: DriverCall;
  /** Sends a command; rejects with a SlipwayError whose message contains `doing`. */
  send<Out extends object>(doing: string, command: { readonly input: object }): Promise<Out>;
  /** Returns the region of the options or settings; undefined if there is none. Throws if they can't be read. */
  findRegion(): Promise<string | undefined>;
  /** Does the same, but throws USAGE if there is none. */
  requireRegion(): Promise<string>;
  /** Returns the id of the access key that signs requests, which may change between two calls. */
  getAccessKeyId(): Promise<string>;
  /** Returns the endpoint that the user chose, known after the first request; undefined for AWS's own. */
  endpoint(): URL | undefined;
  close(): void;
};

const CONNECT_TIMEOUT_MS = 10_000;
/** A retry uses the same token or name, so that a late response to the first request does no harm. */
const REQUEST_TIMEOUT_MS = 20_000;

export type ConnectionPurpose = RequestPurpose & {
  /** The region, instead of that of the options. */
  readonly region?: string;
};

/** Connects to EC2. Only this function loads the SDK, so that commands for machines of other drivers don't load it. */
async function connectEc2(
  options: Partial<Ec2Options>,
  call: DriverCall,
  { region = options.region, ...purpose }: ConnectionPurpose,
): Promise<Ec2Connection> {
  const sdk = await import('./sdk.ts');
  const regionName = region ?? regionFromEnv(call);
  const maxAttempts = options.retries === -1 ? 1 : Math.max(1, options.retries ?? 8);
  const closed = new AbortController();
  const signal = AbortSignal.any([call.signal, closed.signal]);
  // Each request listens to the signal, and many run at the same time.
  setMaxListeners(0, signal);
  const client = createClient(sdk, options, regionName, maxAttempts, call, await createAgents(call));
  reportRetries(client, { ...call, signal }, maxAttempts > 1);
  const endpoints = watchEndpoint(client);
  const profile = options.profile ?? (call.computer.env.AWS_PROFILE || undefined);
  const getAccessKeyId = async (): Promise<string> => (await client.config.credentials()).accessKeyId;
  const explain = async (error: unknown, doing: string): Promise<unknown> =>
    (isWithoutCredentials(error) ? await findSettingsProblem(call.computer) : undefined) ??
    toSlipwayError(error, {
      ...purpose,
      doing,
      signal: call.signal,
      instanceType: options.instanceType,
      zone: options.zone,
      region: await client.config.region().catch(() => undefined),
      ...(profile === undefined ? {} : { profile }),
      ...(['no credentials', 'file'].includes(errorKindOf(error)) ? {} : await identify(getAccessKeyId)),
    });
  /** Returns the region; undefined if there is none in settings that can be read. */
  const findRegion = async (): Promise<string | undefined> => {
    try {
      return await client.config.region();
    } catch (error) {
      if (call.signal.aborted) throw canceledError();
      const problem = await findSettingsProblem(call.computer);
      if (problem !== undefined) throw problem;
      if (error instanceof Error && error.message === 'Region is missing') return undefined;
      throw invalidRegionError(error);
    }
  };
  return {
    sdk,
    call,
    findRegion,
    async requireRegion() {
      const found = await findRegion();
      if (found === undefined) throw regionRequiredError();
      return found;
    },
    async getAccessKeyId() {
      try {
        return await getAccessKeyId();
      } catch (error) {
        throw await explain(error, 'loading your credentials');
      }
    },
    async send(doing, command) {
      try {
        // The overloads of `send` name each command; this wrapper sends any of them.
        const send = client.send.bind(client) as unknown as (
          command: object,
          options: { abortSignal: AbortSignal },
        ) => Promise<never>;
        return await send(command, { abortSignal: signal });
      } catch (error) {
        throw await explain(error, doing);
      }
    },
    endpoint: () => endpoints.find(({ hostname }) => !/\.(amazonaws\.com(\.cn)?|api\.aws)$/.test(hostname)),
    close() {
      // Aborts requests that still run after another one has failed.
      closed.abort();
      client.destroy();
    },
  };
}

/** Sends a command once per page, with the token of the page before, and returns all pages. */
export async function collectPages<Page extends { readonly NextToken?: string | undefined }>(
  send: (next: { readonly NextToken?: string }) => Promise<Page>,
): Promise<readonly Page[]> {
  const pages: Page[] = [];
  let token: string | undefined;
  do {
    const page = await send(token === undefined ? {} : { NextToken: token });
    pages.push(page);
    token = page.NextToken || undefined;
  } while (token !== undefined);
  return pages;
}

/** The agents that connect through the proxies of the environment, which the SDK ignores; none without a proxy. */
type ProxyAgents = { readonly httpAgent?: HttpAgent; readonly httpsAgent?: HttpsAgent };

async function createAgents({ computer: { env } }: DriverCall): Promise<ProxyAgents> {
  if (!hasProxy(env)) return {};
  const agent = (await import('../../computer/proxy-agent.ts')).createProxyAgent(env);
  return { httpAgent: agent, httpsAgent: agent as HttpsAgent };
}

function createClient(
  sdk: Ec2Sdk,
  options: Partial<Ec2Options>,
  region: string | undefined,
  maxAttempts: number,
  call: DriverCall,
  agents: ProxyAgents,
): EC2Client {
  const isProxied = agents.httpsAgent !== undefined;
  return new sdk.EC2Client({
    ...(region === undefined ? {} : { region }),
    ...(options.profile === undefined ? {} : { profile: options.profile }),
    ...endpointConfig(options),
    maxAttempts,
    retryMode: 'standard',
    logger: sdkLogger(call),
    requestHandler: {
      connectionTimeout: CONNECT_TIMEOUT_MS,
      requestTimeout: REQUEST_TIMEOUT_MS,
      throwOnRequestTimeout: true,
      ...agents,
    },
    // The clients that sign in, such as that of IAM Identity Center, get no request handler of their own otherwise.
    ...(isProxied
      ? {
          credentialDefaultProvider: (init) =>
            sdk.defaultProvider({ ...init, clientConfig: { requestHandler: agents } }),
        }
      : {}),
  });
}

/**
 * Returns a logger that passes on the SDK's warnings, which the SDK would otherwise print. Drops all other lines: they
 * contain requests, such as user data.
 */
function sdkLogger({ log }: DriverCall): Record<'debug' | 'info' | 'warn' | 'error', (text: unknown) => void> {
  const ignore = (): void => {};
  return {
    debug: ignore,
    info: ignore,
    error: ignore,
    warn: (text) => typeof text === 'string' && log(text.replaceAll(/\s+/g, ' ')),
  };
}

/** Returns the region as AWS's own tools read it; undefined where the SDK has to read it from the settings. */
function regionFromEnv({ computer: { env } }: DriverCall): string | undefined {
  return env.AWS_REGION || env.AWS_DEFAULT_REGION || undefined;
}

function endpointConfig({ endpoint, insecureTransport }: Partial<Ec2Options>): { endpoint?: string } {
  if (endpoint === undefined) return {};
  const scheme = insecureTransport === true ? 'http' : 'https';
  return { endpoint: endpoint.includes('://') ? endpoint : `${scheme}://${endpoint}` };
}

function regionRequiredError(): SlipwayError {
  return new SlipwayError('USAGE', 'An AWS region is required: neither --ec2-region nor your AWS settings name one', {
    hint: 'Add --ec2-region eu-central-1, or set AWS_REGION',
  });
}

/** Returns the error for a region that can't be one, such as `eu central 1` in the AWS settings. */
function invalidRegionError(cause: unknown): SlipwayError {
  const [, region] = /region="([^"]*)"/.exec(reasonOf(cause)) ?? [];
  const what = region === undefined ? 'The AWS region could not be found' : `"${region}" is not an AWS region`;
  return new SlipwayError('USAGE', `${what}: ${reasonOf(cause)}`, {
    hint: 'Correct it in your AWS settings: aws configure. Or add --ec2-region eu-central-1, or set AWS_REGION',
    cause,
  });
}

/** Returns the access key for an error about it; nothing if it can't be loaded any more. */
async function identify(getAccessKeyId: () => Promise<string>): Promise<{ readonly accessKeyId?: string }> {
  return await getAccessKeyId().then(
    (accessKeyId) => ({ accessKeyId }),
    () => ({}),
  );
}

/** Returns a list that gets the endpoint of the first request: options, variables and settings can each set one. */
function watchEndpoint(client: EC2Client): readonly URL[] {
  const used: URL[] = [];
  client.middlewareStack.add(
    (next) => async (args) => {
      const { protocol, hostname, port } = args.request as { protocol: string; hostname: string; port?: number };
      if (used.length === 0) used.push(new URL(`${protocol}//${hostname}${port === undefined ? '' : `:${port}`}`));
      return await next(args);
    },
    { step: 'finalizeRequest', priority: 'low', name: 'slipwayWatchEndpoint' },
  );
  return used;
}

/** Shows one note for each kind of failure that the SDK retries silently, and logs each attempt. */
function reportRetries(client: EC2Client, { note, log, signal }: DriverCall, isRetried: boolean): void {
  const noted = new Set<string>();
  client.middlewareStack.add(
    (next, context) => async (args) => {
      try {
        return await next(args);
      } catch (error) {
        const kind = errorKindOf(error);
        if (!signal.aborted && isRetryable(error)) {
          const what = `EC2 ${context.commandName?.replace(/Command$/, '') ?? ''}: ${awsCodeOf(error)}`;
          log(what);
          if (isRetried && !noted.has(kind)) note(`${what}; trying again`);
          noted.add(kind);
        }
        throw error;
      }
    },
    // Added after the SDK's retries in the stack, so that it runs for each attempt.
    { step: 'finalizeRequest', priority: 'low', name: 'slipwayReportRetries' },
  );
}

/** Opens a connection, runs `work` and closes the connection, also if the work fails. */
export async function withEc2<T>(
  options: Partial<Ec2Options>,
  call: DriverCall,
  work: (aws: Ec2Connection) => Promise<T>,
  purpose: ConnectionPurpose = {},
): Promise<T> {
  const aws = await connectEc2(options, call, purpose);
  try {
    return await work(aws);
  } finally {
    aws.close();
  }
}
