import { setMaxListeners } from 'node:events';
import type { EC2Client } from '@aws-sdk/client-ec2';
import type { DriverCall } from '../contract.ts';
import { SlipwayError } from '../../errors.ts';
import { awsCodeOf, isRetryable, errorKindOf, toSlipwayError } from './errors.ts';
import type { Ec2Options } from './options.ts';

type Ec2Sdk = typeof import('./sdk.ts');

/** A way to EC2 in one region. */
export type Ec2Connection = {
  readonly sdk: Ec2Sdk;
  readonly client: EC2Client;
  readonly call: DriverCall;
  /** Sends a command; `doing` stands in the sentence of what it is refused with. */
  send<Out extends object>(doing: string, command: { readonly input: object }): Promise<Out>;
  /** The endpoint that somebody chose, known after the first request; undefined for AWS's own. */
  endpoint(): URL | undefined;
  close(): void;
};

const CONNECT_TIMEOUT_MS = 10_000;
/** A call that is asked again is known by its token or its name, so that a late answer does no harm. */
const REQUEST_TIMEOUT_MS = 20_000;

/** The SDK is read here, and only when a machine of this driver is meant. */
export async function connectEc2(
  options: Partial<Ec2Options>,
  call: DriverCall,
  region = options.region,
): Promise<Ec2Connection> {
  const sdk = await import('./sdk.ts');
  const place = region ?? regionFromEnv(call);
  const maxAttempts = options.retries === -1 ? 1 : Math.max(1, options.retries ?? 8);
  const left = new AbortController();
  const signal = AbortSignal.any([call.signal, left.signal]);
  // Each request listens, and many are under way at once.
  setMaxListeners(0, signal);
  const client = new sdk.EC2Client({
    ...(place === undefined ? {} : { region: place }),
    ...(options.profile === undefined ? {} : { profile: options.profile }),
    ...endpointConfig(options),
    maxAttempts,
    retryMode: 'standard',
    logger: sdkLogger(call),
    requestHandler: {
      connectionTimeout: CONNECT_TIMEOUT_MS,
      requestTimeout: REQUEST_TIMEOUT_MS,
      throwOnRequestTimeout: true,
    },
  });
  reportRetries(client, { ...call, signal }, maxAttempts > 1);
  const used = watchEndpoint(client);
  return {
    sdk,
    client,
    call,
    async send(doing, command) {
      try {
        // The overloads of `send` know each command; here any of them will do.
        const send = client.send.bind(client) as unknown as (
          command: object,
          how: { abortSignal: AbortSignal },
        ) => Promise<never>;
        return await send(command, { abortSignal: signal });
      } catch (error) {
        throw toSlipwayError(error, doing, call.signal, options.profile);
      }
    },
    endpoint: () => used.find(({ hostname }) => !/\.(amazonaws\.com(\.cn)?|api\.aws)$/.test(hostname)),
    close() {
      // What was asked at the same time as something that failed is of no use any more.
      left.abort();
      client.destroy();
    },
  };
}

/** The SDK would print its warnings. What it tells of requests holds what they hold, such as user data. */
function sdkLogger({ log }: DriverCall): Record<'debug' | 'info' | 'warn' | 'error', (text: unknown) => void> {
  const nothing = (): void => {};
  return {
    debug: nothing,
    info: nothing,
    error: nothing,
    warn: (text) => typeof text === 'string' && log(text.replaceAll(/\s+/g, ' ')),
  };
}

/** As AWS's own tools have it; where neither is set, the SDK looks into the settings. */
function regionFromEnv({ computer: { env } }: DriverCall): string | undefined {
  return env.AWS_REGION || env.AWS_DEFAULT_REGION || undefined;
}

function endpointConfig({ endpoint, insecureTransport }: Partial<Ec2Options>): { endpoint?: string } {
  if (endpoint === undefined) return {};
  const scheme = insecureTransport === true ? 'http' : 'https';
  return { endpoint: endpoint.includes('://') ? endpoint : `${scheme}://${endpoint}` };
}

/** The region that options or settings name. Undefined where none does, or they can't be read: any region tells of the others then. */
export async function findConfiguredRegion({ client }: Ec2Connection): Promise<string | undefined> {
  return await client.config.region().catch(() => undefined);
}

export async function requireRegion({ client, call }: Ec2Connection): Promise<string> {
  try {
    return await client.config.region();
  } catch (error) {
    if (call.signal.aborted) throw toSlipwayError(error, 'region', call.signal);
    throw new SlipwayError('USAGE', 'No AWS region is chosen: neither --ec2-region nor your AWS settings name one', {
      hint: 'Add --ec2-region eu-central-1, or set AWS_REGION',
      cause: error,
    });
  }
}

/** Endpoints may come from options, variables or settings, each in its own way: what a request really goes to is the answer. */
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

/** The SDK tries again in silence; what it waits for is told once, and every try logged. */
function reportRetries(client: EC2Client, { note, log, signal }: DriverCall, again: boolean): void {
  const told = new Set<string>();
  client.middlewareStack.add(
    (next, context) => async (args) => {
      try {
        return await next(args);
      } catch (error) {
        const kind = errorKindOf(error);
        if (!signal.aborted && isRetryable(error)) {
          const what = `EC2 ${context.commandName?.replace(/Command$/, '') ?? ''}: ${awsCodeOf(error)}`;
          log(what);
          if (again && !told.has(kind)) note(`${what}; trying again`);
          told.add(kind);
        }
        throw error;
      }
    },
    // After the SDK's own retries in the stack, so within each of them.
    { step: 'finalizeRequest', priority: 'low', name: 'slipwayTellTries' },
  );
}

/** Runs work over a way that is closed whatever happens. */
export async function withEc2<T>(
  options: Partial<Ec2Options>,
  call: DriverCall,
  work: (aws: Ec2Connection) => Promise<T>,
  region?: string,
): Promise<T> {
  const aws = await connectEc2(options, call, region);
  try {
    return await work(aws);
  } finally {
    aws.close();
  }
}
