import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { generateKeyPairSync } from 'node:crypto';
import type { Boot, MakingCall, Target } from '../../src/drivers/contract.ts';
import { options, type Options } from '../../src/drivers/gce/options.ts';
import { temporaryFolder } from '../fakes/folder.ts';
import { type Gce, startGce } from './gce.ts';
import { noGuests } from './guests.ts';
import { API, PROJECT } from './compute-world.ts';

export const ID = '3f9a2c41-1d05-4e00-8000-00000000abcd';
export const BOOT: Boot = {
  authorizedKey: 'ssh-ed25519 AAAAlogin slipway web',
  hostKey: { private: 'PRIVATE KEY OF THE FIRST VISIT\n', public: 'ssh-ed25519 AAAAhost' },
  enginePort: 2376,
  files: [],
};

/** The driver's side of a call, with a double at the other end and nothing of this process's environment. */
export type Bench = AsyncDisposable & {
  readonly cloud: Gce;
  readonly call: MakingCall;
  readonly notes: string[];
  /** What was written down before something was asked for. */
  readonly asked: string[];
  readonly folder: string;
  /** A machine whose flags are these, settled or not. */
  target(given?: Partial<Options>, more?: Partial<Target<Options>>): Target<Options>;
  /** The same side with other variables. */
  callWith(env: Readonly<Record<string, string>>): MakingCall;
};

export async function gceBench(): Promise<Bench> {
  const [cloud, folder] = await Promise.all([startGce({ guests: noGuests(), bootTime: 5 }), temporaryFolder()]);
  const notes: string[] = [];
  const asked: string[] = [];
  const callWith = (env: Readonly<Record<string, string>>): MakingCall => ({
    computer: {
      platform: 'linux',
      arch: 'x64',
      env: { HOME: folder.path, METADATA_SERVER_DETECTION: 'none', ...env },
      home: join(folder.path, '.slipway'),
      templates: fileURLToPath(new URL('../../templates/', import.meta.url)),
    },
    log: () => {},
    note: (text) => void notes.push(text),
    signal: new AbortController().signal,
    asking: async (what) => void asked.push(what),
  });
  return {
    cloud,
    call: callWith(cloud.env),
    callWith,
    notes,
    asked,
    folder: folder.path,
    target: (given = {}, more = {}) => ({
      id: ID,
      name: 'web',
      options: options.parse({ endpoint: `${cloud.url}${API}`, ...given }),
      ...more,
    }),
    async [Symbol.asyncDispose]() {
      await folder[Symbol.asyncDispose]();
      await cloud[Symbol.asyncDispose]();
    },
  };
}

/** The file of a made-up service account, and the public half by which the double knows it. */
export function serviceAccount(cloud: Gce): { readonly content: string; readonly publicKey: string } {
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
