import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { generateKeyPairSync } from 'node:crypto';
import type { FirstBootConfig, CreateCall, Target } from '../../src/drivers/contract.ts';
import { optionsSchema, type GceOptions } from '../../src/drivers/gce/options.ts';
import { createTemporaryFolder } from '../fakes/temporary-folder.ts';
import { type Gce, startGce } from './gce-double.ts';
import { noGuests } from './guests.ts';
import { createRecordingCall } from './recording-call.ts';
import { API_PATH, PROJECT } from './compute-catalog.ts';

export const MACHINE_ID = '3f9a2c41-1d05-4e00-8000-00000000abcd';
export const BOOT: FirstBootConfig = {
  authorizedKey: 'ssh-ed25519 AAAAlogin slipway web',
  hostKey: { private: 'PRIVATE KEY OF THE FIRST VISIT\n', public: 'ssh-ed25519 AAAAhost' },
  enginePort: 2376,
  files: [],
};

/** A double of Compute Engine and calls of the driver to it, without any variable of this process's environment. */
export type GceFixture = AsyncDisposable & {
  readonly cloud: Gce;
  readonly call: CreateCall;
  readonly notes: string[];
  /** The requests that the driver recorded before it sent them. */
  readonly recordedRequests: string[];
  /** How often the driver cleared them, because nothing of them exists. */
  readonly clearedRequests: string[];
  readonly folder: string;
  /** Returns a machine with these options, resolved or not. */
  newTarget(given?: Partial<GceOptions>, more?: Partial<Target<GceOptions>>): Target<GceOptions>;
  /** Returns a call with other environment variables. */
  callWith(env: Readonly<Record<string, string>>): CreateCall;
  /** Starts a server that answers every request with this page, as the sign-in page of a network does. */
  callBehindPage(page: string): Promise<AsyncDisposable & { readonly url: string; readonly call: CreateCall }>;
};

export async function startGceFixture(): Promise<GceFixture> {
  const [cloud, folder] = await Promise.all([startGce({ guests: noGuests(), bootTime: 5 }), createTemporaryFolder()]);
  const notes: string[] = [];
  const recordedRequests: string[] = [];
  const clearedRequests: string[] = [];
  const callWith = (env: Readonly<Record<string, string>>): CreateCall =>
    createRecordingCall(
      {
        platform: 'linux',
        arch: 'x64',
        env: { HOME: folder.path, METADATA_SERVER_DETECTION: 'none', ...env },
        home: join(folder.path, '.slipway'),
        templates: fileURLToPath(new URL('../../templates/', import.meta.url)),
      },
      { notes, recordedRequests, clearedRequests },
    );
  return {
    cloud,
    call: callWith(cloud.env),
    callWith,
    async callBehindPage(page) {
      const server = createServer((_request, response) =>
        response.writeHead(200, { 'content-type': 'text/html' }).end(page),
      );
      server.listen(0, '127.0.0.1');
      await once(server, 'listening');
      return {
        url: `http://127.0.0.1:${(server.address() as AddressInfo).port}${API_PATH}`,
        call: callWith(cloud.env),
        async [Symbol.asyncDispose]() {
          server.closeAllConnections();
          server.close();
        },
      };
    },
    notes,
    recordedRequests,
    clearedRequests,
    folder: folder.path,
    newTarget: (given = {}, more = {}) => ({
      id: MACHINE_ID,
      name: 'web',
      // The driver resolves the rest.
      options: optionsSchema.parse({ endpoint: `${cloud.url}${API_PATH}`, ...given }) as GceOptions,
      ...more,
    }),
    async [Symbol.asyncDispose]() {
      await folder[Symbol.asyncDispose]();
      await cloud[Symbol.asyncDispose]();
    },
  };
}

/** Creates a made-up service account: the content of its file, and the public key by which the double recognizes it. */
export function createServiceAccount(cloud: Gce): { readonly content: string; readonly publicKey: string } {
  const { privateKey, publicKey } = generateKeyPairSync('rsa', {
    modulusLength: 2048,
    privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
    publicKeyEncoding: { type: 'spki', format: 'pem' },
  });
  const content = {
    type: 'service_account',
    project_id: PROJECT,
    private_key_id: 'key-1',
    private_key: privateKey,
    client_email: `ci@${PROJECT}.iam.gserviceaccount.com`,
    client_id: '1',
    token_uri: `${cloud.url}/token`,
    universe_domain: 'googleapis.com',
  };
  return { content: JSON.stringify(content), publicKey };
}
