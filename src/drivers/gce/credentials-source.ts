import type { Computer } from '../../computer/computer.ts';

/** Where the credentials come from: messages name it, since the fix differs. */
export type CredentialsSource =
  /** A token in this environment variable. */
  | { readonly kind: 'token'; readonly variable: string }
  /** The user's own sign-in, in gcloud's file or in one that the environment names. */
  | { readonly kind: 'user'; readonly file: string }
  | { readonly kind: 'service account'; readonly file: string; readonly email: string }
  /** Another file, such as that of workload identity federation. */
  | { readonly kind: 'file'; readonly file: string }
  /** The instance of Compute Engine on which Slipway runs. */
  | { readonly kind: 'instance' }
  | { readonly kind: 'none' };

const TOKEN_VARIABLES = ['CLOUDSDK_AUTH_ACCESS_TOKEN', 'GOOGLE_OAUTH_ACCESS_TOKEN'] as const;

/** Returns the token in the environment, as CI sets it, and its variable. */
export function tokenFromEnv({
  env,
}: Pick<Computer, 'env'>): { readonly variable: string; readonly token: string } | undefined {
  const variable = TOKEN_VARIABLES.find((name) => (env[name] ?? '') !== '');
  return variable === undefined ? undefined : { variable, token: env[variable] ?? '' };
}

const SIGN_IN_COMMAND = 'gcloud auth application-default login';

/** Returns the hint for missing or unusable credentials. Every hint names the command that signs in. */
export function signInHint(source: CredentialsSource): string {
  switch (source.kind) {
    case 'token': {
      return `Set ${source.variable} to a new token: gcloud auth print-access-token. Or unset it. Sign in: ${SIGN_IN_COMMAND}`;
    }
    case 'service account': {
      const account = source.email === '' ? 'ACCOUNT' : source.email;
      return `If the account is disabled: gcloud iam service-accounts enable ${account}. If its key was deleted: gcloud iam service-accounts keys create ${source.file} --iam-account ${account}. Sign in as yourself: unset GOOGLE_APPLICATION_CREDENTIALS, then ${SIGN_IN_COMMAND}`;
    }
    case 'instance': {
      return `Give the instance on which Slipway runs a service account with the scope cloud-platform. Sign in as yourself: ${SIGN_IN_COMMAND}`;
    }
    case 'user':
    case 'file': {
      return `Sign in: ${SIGN_IN_COMMAND}`;
    }
    case 'none': {
      return `Sign in: ${SIGN_IN_COMMAND}, or name a service account's file in GOOGLE_APPLICATION_CREDENTIALS`;
    }
  }
}

/** Describes the credentials as a part of a sentence: `the service account ci@… in /home/me/key.json`. */
export function describeSource(source: CredentialsSource): string {
  switch (source.kind) {
    case 'token': {
      return `the token in ${source.variable}`;
    }
    case 'service account': {
      return `the service account ${source.email} in ${source.file}`;
    }
    case 'user': {
      return `your sign-in in ${source.file}`;
    }
    case 'file': {
      return `those in ${source.file}`;
    }
    case 'instance': {
      return 'the service account of the instance on which Slipway runs';
    }
    case 'none': {
      return 'of which there are none';
    }
  }
}
