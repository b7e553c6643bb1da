import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { Computer } from '../../computer/computer.ts';
import { fileReasonOf, localFileError } from '../../computer/files.ts';
import { canceledError, SlipwayError, systemCode } from '../../errors.ts';
import type { DriverCall, DriverHealth } from '../contract.ts';
import { signInHint, tokenFromEnv, type CredentialsSource } from './credentials-source.ts';
import { gcloudConfigDir, readGcloudSetting } from './gcloud-settings.ts';

type GoogleAuthSdk = typeof import('./sdk.ts');

/** The part of Google's own auth client that this driver uses. */
export type GoogleAuthClient = {
  readonly universeDomain: string;
  getRequestHeaders(url?: string): Promise<Headers>;
  readonly transporter: {
    request(options: object): Promise<{ readonly status: number; readonly data: unknown }>;
  };
};

const CLOUD_PLATFORM_SCOPE = 'https://www.googleapis.com/auth/cloud-platform';
/**
 * A metadata server responds within milliseconds; without one, packets to its address are lost without an error.
 */
const METADATA_TIMEOUT_MS = 1500;
const DETECTION_OVERRIDES = ['none', 'assume-present'];

/** Returns the file that the environment names, or the one that gcloud writes; undefined if there is neither. */
async function findCredentialsFile(computer: Computer): Promise<string | undefined> {
  const named = computer.env.GOOGLE_APPLICATION_CREDENTIALS;
  if (named) return named;
  const file = join(gcloudConfigDir(computer), 'application_default_credentials.json');
  return (await hasFile(file)) ? file : undefined;
}

/** Returns whether a file exists; true also for one that can't be asked, so that its use reports why. */
async function hasFile(file: string): Promise<boolean> {
  return stat(file).then(
    () => true,
    (error: unknown) => !['ENOENT', 'ENOTDIR'].includes(systemCode(error) ?? ''),
  );
}

/** Returns whether there are credentials, as far as that can be known without a request. */
async function hasCredentials(computer: Computer): Promise<boolean> {
  return tokenFromEnv(computer) !== undefined || (await findCredentialsFile(computer)) !== undefined;
}

/**
 * Returns where the credentials come from, for messages. Sends no request, and never throws: what is wrong with a file
 * is reported when it is used.
 */
export async function findCredentialsSource(computer: Computer): Promise<CredentialsSource> {
  const known = tokenFromEnv(computer);
  if (known) return { kind: 'token', variable: known.variable };
  const file = await findCredentialsFile(computer);
  if (file === undefined) return { kind: computer.env.METADATA_SERVER_DETECTION === 'none' ? 'none' : 'instance' };
  const { type, client_email: email } = await readCredentialsFile(file).catch((): CredentialsFile => ({}));
  if (type === 'authorized_user') return { kind: 'user', file };
  if (type === 'service_account') return { kind: 'service account', file, email: String(email ?? '') };
  return { kind: 'file', file };
}

/** Returns whether Google's own chain would find credentials, as far as that can be known without a request. */
export async function checkCredentials(computer: Computer): Promise<DriverHealth> {
  if (await hasCredentials(computer)) return { usable: true };
  return {
    usable: false,
    reason: "there are no Google credentials in the environment or in gcloud's folder",
    fix: 'gcloud auth application-default login, or set GOOGLE_APPLICATION_CREDENTIALS',
  };
}

/**
 * Signs in by Google's own chain: a token, a file, or the metadata server of a Google instance. Fails within seconds if
 * there is none of them.
 */
export async function createAuthClient(sdk: GoogleAuthSdk, call: DriverCall): Promise<GoogleAuthClient> {
  const known = tokenFromEnv(call.computer);
  if (known) {
    const client = new sdk.OAuth2Client();
    client.setCredentials({ access_token: known.token });
    return client as unknown as GoogleAuthClient;
  }
  const file = await findCredentialsFile(call.computer);
  const auth = new sdk.GoogleAuth({
    scopes: [CLOUD_PLATFORM_SCOPE],
    ...(file === undefined ? {} : await checkKeyFile(file)),
  });
  // As the package's clients do: a service account signs its own token, without a request for one.
  Object.assign(auth, { useJWTAccessWithScope: true });
  if (file === undefined && !(await hasMetadataServer(call))) throw noCredentialsError();
  return (await auth.getClient()) as unknown as GoogleAuthClient;
}

function noCredentialsError(cause?: unknown): SlipwayError {
  return new SlipwayError('CREDENTIALS', "There are no Google credentials in your environment or in gcloud's folder", {
    hint: signInHint({ kind: 'none' }),
    cause,
  });
}

async function checkKeyFile(file: string): Promise<{ readonly keyFilename: string }> {
  await readCredentialsFile(file);
  return { keyFilename: file };
}

type CredentialsFile = {
  readonly project_id?: unknown;
  readonly quota_project_id?: unknown;
  readonly type?: unknown;
  readonly client_email?: unknown;
};

async function readCredentialsFile(file: string): Promise<CredentialsFile> {
  try {
    const content = JSON.parse(await readFile(file, 'utf8')) as CredentialsFile | null;
    if (content?.type !== undefined) return content;
    throw new SyntaxError('no type');
  } catch (error) {
    const code = systemCode(error);
    if (code !== undefined && code !== 'ENOENT') throw localFileError(file, error, 'read');
    const why = error instanceof SyntaxError ? 'has no Google credentials' : `can't be read: ${fileReasonOf(error)}`;
    throw new SlipwayError('CREDENTIALS', `${file} ${why}`, { hint: signInHint({ kind: 'file', file }), cause: error });
  }
}

/**
 * Returns whether Slipway runs on a Google instance. Reads the same variables as Google's clients, but waits only
 * briefly.
 */
async function hasMetadataServer({ computer: { env }, signal }: DriverCall): Promise<boolean> {
  const known = DETECTION_OVERRIDES.indexOf(env.METADATA_SERVER_DETECTION ?? '');
  if (known >= 0) return known === 1;
  return (await readMetadata('instance', env, signal)) !== undefined;
}

async function readMetadata(path: string, env: Computer['env'], signal: AbortSignal): Promise<string | undefined> {
  const host = env.GCE_METADATA_IP || env.GCE_METADATA_HOST || '169.254.169.254';
  try {
    const answer = await fetch(`http://${host}/computeMetadata/v1/${path}`, {
      headers: { 'metadata-flavor': 'Google' },
      signal: AbortSignal.any([signal, AbortSignal.timeout(METADATA_TIMEOUT_MS)]),
    });
    return answer.ok && answer.headers.get('metadata-flavor') === 'Google' ? await answer.text() : undefined;
  } catch {
    if (signal.aborted) throw canceledError();
    // No route, a refusal, a timeout: Slipway does not run on a Google instance.
    return undefined;
  }
}

/**
 * Returns the project that the settings name: the environment's, the credentials', gcloud's, or that of the instance on
 * which Slipway runs. Throws if none of them names one.
 */
export async function resolveProject(call: DriverCall): Promise<string> {
  const { computer, signal } = call;
  const { env } = computer;
  const named = env.GOOGLE_CLOUD_PROJECT || env.GCLOUD_PROJECT || env.CLOUDSDK_CORE_PROJECT;
  if (named) return named;
  const file = tokenFromEnv(computer) === undefined ? await findCredentialsFile(computer) : undefined;
  const content = file === undefined ? {} : await readCredentialsFile(file);
  const found = [
    content.project_id,
    await readGcloudSetting(computer, 'core', 'project'),
    content.quota_project_id,
  ].find((project) => typeof project === 'string' && project !== '');
  if (typeof found === 'string') return found;
  const hasServer = env.METADATA_SERVER_DETECTION !== 'none' && !(await hasCredentials(computer));
  const instanceProject = hasServer ? await readMetadata('project/project-id', env, signal) : undefined;
  if (instanceProject !== undefined) return instanceProject;
  if (!(await hasCredentials(computer))) throw noCredentialsError();
  throw new SlipwayError(
    'USAGE',
    'A Google Cloud project is required: neither --gce-project nor your settings name one',
    { hint: 'Add --gce-project my-project-42, or set GOOGLE_CLOUD_PROJECT' },
  );
}
