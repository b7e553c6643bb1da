import { once } from 'node:events';
import { createServer, type IncomingHttpHeaders, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

/** How the server answers one request; further requests get the last answer. */
export type ResponseBehavior = {
  readonly status?: number;
  /** Stops at this byte of the file: closes the connection, or sends nothing more. */
  readonly stopAtByte?: number;
  readonly onStop?: 'cut' | 'silence';
  readonly etag?: string;
  readonly lastModified?: string;
  /** Sends the whole file, ignoring the requested range. */
  readonly ignoresRange?: boolean;
  /** Sends this range instead of the requested one. */
  readonly wrongRange?: number;
  readonly body?: Buffer;
  readonly location?: string;
  /** Leaves out the length. */
  readonly chunked?: boolean;
};

export type FileServer = AsyncDisposable & {
  readonly url: string;
  readonly requests: readonly { readonly path: string; readonly headers: IncomingHttpHeaders }[];
};

/** Serves one file with the given answers. */
export function startFileServer(body: Buffer, ...behaviors: readonly ResponseBehavior[]): Promise<FileServer> {
  return startFileServerOn('127.0.0.1', body, ...behaviors);
}

export async function startFileServerOn(
  host: string,
  body: Buffer,
  ...behaviors: readonly ResponseBehavior[]
): Promise<FileServer> {
  const requests: { path: string; headers: IncomingHttpHeaders }[] = [];
  const server = createServer((request, response) => {
    const behavior = behaviors[Math.min(requests.length, behaviors.length - 1)] ?? {};
    requests.push({ path: request.url ?? '', headers: request.headers });
    sendResponse(behavior.body ?? body, request.headers, response, behavior);
  });
  server.listen(0, host);
  await once(server, 'listening');
  return {
    url: `http://${host}:${(server.address() as AddressInfo).port}/disk.qcow2`,
    requests,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
}

function sendResponse(
  file: Buffer,
  requestHeaders: IncomingHttpHeaders,
  response: ServerResponse,
  behavior: ResponseBehavior,
): void {
  const headers: Record<string, string> = {
    ...(behavior.etag === undefined ? {} : { etag: behavior.etag }),
    ...(behavior.lastModified === undefined ? {} : { 'last-modified': behavior.lastModified }),
    ...(behavior.location === undefined ? {} : { location: behavior.location }),
  };
  if (behavior.status !== undefined) {
    response.writeHead(behavior.status, headers).end('no');
    return;
  }
  const condition = requestHeaders['if-range'];
  const same = condition === undefined || condition === behavior.etag || condition === behavior.lastModified;
  const wanted = Number(/^bytes=(\d+)-$/.exec(requestHeaders.range ?? '')?.[1] ?? 'NaN');
  const ranged = !Number.isNaN(wanted) && same && !behavior.ignoresRange;
  if (ranged && wanted >= file.length) {
    response.writeHead(416, { 'content-range': `bytes */${file.length}` }).end();
    return;
  }
  const from = ranged ? (behavior.wrongRange ?? wanted) : 0;
  const length = behavior.chunked ? {} : { 'content-length': String(file.length - from) };
  const range = ranged ? { 'content-range': `bytes ${from}-${file.length - 1}/${file.length}` } : {};
  response.writeHead(ranged ? 206 : 200, { ...headers, ...length, ...range });
  const part = file.subarray(from, behavior.stopAtByte);
  if (behavior.stopAtByte === undefined) response.end(part);
  else {
    response.write(part, () => {
      if (behavior.onStop !== 'silence') response.destroy();
    });
  }
}
