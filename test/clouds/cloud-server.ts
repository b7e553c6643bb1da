import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Cloud, CloudCall, Guest } from './cloud.ts';

/**
 * An error that the provider's protocol has a document for. `code` is the provider's own word:
 * `InvalidGroup.Duplicate`, `notFound`.
 */
export class ApiError extends Error {
  readonly status: number;
  readonly code: string;
  readonly detailedReason: string | undefined;
  constructor(status: number, code: string, message: string, detailedReason?: string) {
    super(message);
    this.status = status;
    this.code = code;
    this.detailedReason = detailedReason;
  }
}

/** A request, parsed by the provider's protocol; `Request` is what its operations take. */
export type ParsedRequest<Request> = Pick<CloudCall, 'operation' | 'mutates' | 'params'> & {
  readonly request: Request;
};

/** How a provider reads requests and writes answers. */
export type CloudProtocol<Request> = {
  readonly contentType: string;
  /** A request that the protocol can't read fails the test, unless this throws an ApiError. */
  parse(request: IncomingMessage, body: string): ParsedRequest<Request>;
  /** Checks the request's credentials and performs its operation. Throws ApiErrors. */
  perform(call: CloudCall, request: Request, headers: IncomingMessage['headers']): object | Promise<object>;
  formatAnswer(call: CloudCall, result: object): string;
  formatError(error: ApiError): string;
  /** Returns the answer to a request that is not a call of the API, such as one for a token; otherwise undefined. */
  answerOther?(
    request: IncomingMessage,
    body: string,
  ): { readonly status: number; readonly document: string } | undefined;
};

export type CloudServerOptions<Request> = {
  /** The name of the double, for failures. */
  readonly name: string;
  readonly protocol: CloudProtocol<Request>;
  readonly lateness: number;
  readonly bootTime: number;
  /** Returns the guests that still run, to remove them at the end of the test. */
  readonly runningGuests: () => readonly (Guest | undefined)[];
};

/**
 * What the doubles of all clouds share: the server, its calls and faults, resources that show late, and work that
 * continues after an answer.
 */
export type CloudServer = Omit<Cloud, 'env' | 'listAlive'> & {
  /** Returns whether a resource of this age shows in lists. */
  isShown(resource: { readonly made: number }): boolean;
  /** Continues work after the answer. The end of the test waits for it, and its failure fails the test. */
  runInBackground(work: Promise<void>): void;
};

/**
 * Starts a server on 127.0.0.1. A double adds its own fields to the returned object (`Object.assign`), whose hooks
 * tests may set.
 */
export async function startCloudServer<Request>(options: CloudServerOptions<Request>): Promise<CloudServer> {
  const { name, runningGuests } = options;
  const failures: unknown[] = [];
  const backgroundWork = new Set<Promise<void>>();
  const server = createServer((request, response) => {
    answerRequest(cloud, options.protocol, request, response).catch((error: unknown) => {
      failures.push(error);
      // A malformed request may have been answered already.
      if (!response.headersSent) response.destroy();
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const cloud: CloudServer & { readonly calls: CloudCall[] } = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    calls: [],
    onArrival: () => undefined,
    onAnswered: () => {},
    lateness: options.lateness,
    bootTime: options.bootTime,
    isShown: ({ made }) => Date.now() >= made + cloud.lateness,
    runInBackground(work) {
      const watched = work
        .catch((error: unknown) => void failures.push(error))
        .finally(() => backgroundWork.delete(watched));
      backgroundWork.add(watched);
    },
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      server.close();
      while (backgroundWork.size > 0) await Promise.all(backgroundWork);
      for (const guest of runningGuests()) await guest?.remove();
      if (failures.length > 0) throw new AggregateError(failures, `${name} failed: ${failures.map(String).join('; ')}`);
    },
  };
  return cloud;
}

/** Records a request, applies the test's fault, and answers. Rejects with an error that fails the test. */
async function answerRequest<Request>(
  cloud: CloudServer & { readonly calls: CloudCall[] },
  protocol: CloudProtocol<Request>,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const { contentType } = protocol;
  let body = '';
  for await (const chunk of request) body += String(chunk);
  const other = protocol.answerOther?.(request, body);
  if (other !== undefined) return send(response, { contentType, ...other });
  const { request: operationInput, ...parsed } = parseRequest(protocol, request, response, body);
  const call: CloudCall = { n: cloud.calls.length + 1, ...parsed };
  cloud.calls.push(call);
  const fault = await cloud.onArrival(call);
  if (fault?.kind === 'slow') await sleep(fault.ms);
  if (fault?.kind === 'drop request') return void request.socket.destroy();
  let [status, document] = [200, ''];
  try {
    if (fault?.kind === 'refuse') throw new ApiError(fault.status, fault.code, fault.message, fault.detailedReason);
    document = protocol.formatAnswer(call, await protocol.perform(call, operationInput, request.headers));
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    [status, document] = [error.status, protocol.formatError(error)];
  }
  if (fault?.kind === 'drop response') return void request.socket.destroy();
  send(response, { contentType, status, document }, () => cloud.onAnswered(call));
}

/** Parses a request. One that violates the protocol gets the provider's error document, and also fails the test. */
function parseRequest<Request>(
  protocol: CloudProtocol<Request>,
  request: IncomingMessage,
  response: ServerResponse,
  body: string,
): ParsedRequest<Request> {
  try {
    return protocol.parse(request, body);
  } catch (error) {
    const document = protocol.formatError(new ApiError(400, 'invalid', (error as Error).message));
    send(response, { contentType: protocol.contentType, status: 400, document });
    throw error;
  }
}

type Answer = { readonly contentType: string; readonly status: number; readonly document: string };

function send(response: ServerResponse, { contentType, status, document }: Answer, onSent?: () => void): void {
  // A client that was killed does not undo its request.
  response.on('error', () => {});
  response.writeHead(status, { 'content-type': contentType }).end(document, onSent);
}
