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
export function startFileServer(body: Buffer, ...manners: readonly ResponseBehavior[]): Promise<FileServer> {
  return startFileServerOn('127.0.0.1', body, ...manners);
}

export async function startFileServerOn(
  host: string,
  body: Buffer,
  ...manners: readonly ResponseBehavior[]
): Promise<FileServer> {
  const requests: { path: string; headers: IncomingHttpHeaders }[] = [];
  const server = createServer((request, response) => {
    const manner = manners[Math.min(requests.length, manners.length - 1)] ?? {};
    requests.push({ path: request.url ?? '', headers: request.headers });
    sendResponse(manner.body ?? body, request.headers, response, manner);
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
  asked: IncomingHttpHeaders,
  response: ServerResponse,
  manner: ResponseBehavior,
): void {
  const headers: Record<string, string> = {
    ...(manner.etag === undefined ? {} : { etag: manner.etag }),
    ...(manner.lastModified === undefined ? {} : { 'last-modified': manner.lastModified }),
    ...(manner.location === undefined ? {} : { location: manner.location }),
  };
  if (manner.status !== undefined) {
    response.writeHead(manner.status, headers).end('no');
    return;
  }
  const condition = asked['if-range'];
  const same = condition === undefined || condition === manner.etag || condition === manner.lastModified;
  const wanted = Number(/^bytes=(\d+)-$/.exec(asked.range ?? '')?.[1] ?? 'NaN');
  const ranged = !Number.isNaN(wanted) && same && !manner.ignoresRange;
  if (ranged && wanted >= file.length) {
    response.writeHead(416, { 'content-range': `bytes */${file.length}` }).end();
    return;
  }
  const from = ranged ? (manner.wrongRange ?? wanted) : 0;
  const length = manner.chunked ? {} : { 'content-length': String(file.length - from) };
  const range = ranged ? { 'content-range': `bytes ${from}-${file.length - 1}/${file.length}` } : {};
  response.writeHead(ranged ? 206 : 200, { ...headers, ...length, ...range });
  const part = file.subarray(from, manner.stopAtByte);
  if (manner.stopAtByte === undefined) response.end(part);
  else {
    response.write(part, () => {
      if (manner.onStop !== 'silence') response.destroy();
    });
  }
}
