import { RETRY_HINT } from '../cloud/errors.ts';
import { canceledError, SlipwayError, type ErrorCode } from '../../errors.ts';
import { describeSource, signInHint, type CredentialsSource } from './credentials-source.ts';

/** An HTTP response that is an error: Google's, or that of a proxy. */
export class GoogleApiError extends Error {
  readonly status: number;
  /** Google's own code for the reason: `rateLimitExceeded`. */
  readonly reason: string;
  /** The code of the newer error format, which is often more precise: `SERVICE_DISABLED`. */
  readonly detailedReason: string;
  constructor(status: number, reason: string, words: string, detailedReason = '') {
    super(words);
    this.name = 'Refused';
    this.status = status;
    this.reason = reason;
    this.detailedReason = detailedReason;
  }
}

type ErrorDocument = {
  readonly error?: {
    readonly message?: unknown;
    readonly status?: unknown;
    readonly errors?: readonly { readonly reason?: unknown }[];
    readonly details?: readonly { readonly reason?: unknown }[];
  };
};

/** Parses Google's error document, or the page that a proxy has sent instead. */
export function responseError(status: number, text: string): GoogleApiError {
  const { error } = parseErrorDocument(text);
  const reason = error?.errors?.[0]?.reason ?? error?.status;
  const detailedReason = error?.details?.map((detail) => detail.reason).find((known) => typeof known === 'string');
  const words = typeof error?.message === 'string' && error.message !== '' ? error.message : `HTTP ${status}`;
  return new GoogleApiError(
    status,
    typeof reason === 'string' ? reason : '',
    words.split('\n')[0] ?? words,
    typeof detailedReason === 'string' ? detailedReason : '',
  );
}

function parseErrorDocument(text: string): ErrorDocument {
  try {
    const document: unknown = JSON.parse(text);
    return typeof document === 'object' && document !== null ? document : {};
  } catch {
    // A proxy's page is not JSON.
    return {};
  }
}

/** The reason of a list that lacks zones or regions which Google could not ask. */
const INCOMPLETE_LIST = 'UNREACHABLE';

/** Returns the error for a list that lacks these places, such as `zones/us-central1-a`: it must not count as empty. */
export function incompleteListError(places: readonly string[]): GoogleApiError {
  return new GoogleApiError(200, INCOMPLETE_LIST, places.join(', ') || 'a zone or region');
}

/** Returns the error for an answer that is not Google's: a proxy or a sign-in page of a network has sent it. */
export function foreignAnswerError(): GoogleApiError {
  return new GoogleApiError(200, 'foreignAnswer', 'the response is not JSON');
}

function causeOf(error: unknown): unknown {
  return error instanceof SlipwayError ? error.cause : error;
}

export function httpStatusOf(error: unknown): number | undefined {
  const cause = causeOf(error);
  return cause instanceof GoogleApiError ? cause.status : undefined;
}

/** Returns whether Google says that this very resource does not exist, and not that the endpoint lacks the method. */
export function isResourceMissing(error: unknown): boolean {
  const cause = causeOf(error);
  return cause instanceof GoogleApiError && cause.status === 404 && cause.reason === 'notFound';
}

/** Returns whether the endpoint lacks a method, as emulators do. */
export function isMethodMissing(error: unknown): boolean {
  return [404, 405, 501].includes(httpStatusOf(error) ?? 0) && !isResourceMissing(error);
}

/** Returns whether the role lacks the permission to ask. What could not be asked is unknown, and Google decides. */
export function isPermissionMissing(error: unknown): boolean {
  const cause = causeOf(error);
  return cause instanceof GoogleApiError && cause.status === 403 && /Required '\S+' permission/.test(cause.message);
}

/** Returns whether an error is about the project itself: then it says nothing about the resources in the project. */
export function isProjectMissing(error: unknown): boolean {
  const cause = causeOf(error);
  return (
    cause instanceof GoogleApiError &&
    [400, 403, 404].includes(cause.status) &&
    (/'projects\/[^'/]+' was not found|unknown project/i.test(cause.message) || isProjectGone(cause))
  );
}

function isProjectGone({ message, detailedReason }: GoogleApiError): boolean {
  return (
    /project\S* (?:"?\S+"? )?(?:has been|was|is) (?:deleted|shut ?down|closed|suspended)/i.test(message) ||
    /^(CONSUMER_INVALID|CONSUMER_SUSPENDED|RESOURCE_PROJECT_INVALID|USER_PROJECT_DENIED)$/.test(detailedReason)
  );
}

/** Returns why another attempt may succeed, in words for the user; undefined if it would not. */
export function transientReasonOf(error: unknown): string | undefined {
  const cause = causeOf(error);
  if (cause instanceof GoogleApiError) {
    if (isCapacityError(cause)) return undefined;
    if (isThrottled(cause)) return 'Compute Engine received too many requests';
    if (cause.reason === 'resourceNotReady') return 'another change to it is in progress';
    return cause.status >= 500 && cause.status !== 501 ? `Compute Engine failed (${cause.status})` : undefined;
  }
  return cause instanceof Error && isNetworkError(cause) ? 'the connection broke' : undefined;
}

function isThrottled({ status, reason }: GoogleApiError): boolean {
  return status === 429 || /rateLimitExceeded|RATE_LIMIT_EXCEEDED|RESOURCE_EXHAUSTED/i.test(reason);
}

/** Returns whether a zone has no room for an instance. Google reports it in an operation, or as HTTP 503. */
function isCapacityError({ reason, message, detailedReason }: GoogleApiError): boolean {
  return [reason, message, detailedReason].some(isCapacityCode);
}

export function isCapacityCode(text: string): boolean {
  return /RESOURCE_POOL_EXHAUSTED|STOCKOUT|RESOURCE_NOT_AVAILABLE|does not have enough resources available/.test(text);
}

/** Returns whether a quota of resources is reached, which another attempt does not change. */
function isQuotaError({ reason, message }: GoogleApiError): boolean {
  return reason === 'quotaExceeded' || /^quota '/i.test(message);
}

function isNetworkError(error: Error): boolean {
  const codeOf = (one: unknown): string => String((one as { code?: unknown } | undefined)?.code ?? '');
  const text = `${error.name} ${error.message} ${codeOf(error)} ${codeOf(error.cause)}`;
  return /ECONNRESET|ECONNREFUSED|EPIPE|ETIMEDOUT|EHOSTUNREACH|ENETUNREACH|socket hang up|network|fetch failed|ENOTFOUND|EAI_AGAIN|timeout|Premature close|abort/i.test(
    text,
  );
}

/** What a request was for: the error says it. */
export type RequestContext = {
  /** The end of a sentence: `looking for its instance`. */
  readonly doing: string;
  readonly project: string;
  readonly credentials: CredentialsSource;
  /** Whether the request creates an instance: then the machine can be created somewhere else. */
  readonly creates: boolean;
  /** The zone of the request; undefined if it has none. */
  readonly zone: string | undefined;
  readonly signal: AbortSignal;
};

type Refusal = {
  readonly matches: (error: GoogleApiError) => boolean;
  readonly code: ErrorCode;
  readonly sentence: (context: RequestContext, error: GoogleApiError) => string;
  readonly hint: (context: RequestContext, error: GoogleApiError) => string;
};

const COMPUTE_API = 'compute.googleapis.com';

/** What Google refuses, the most precise reason first. */
const REFUSALS: readonly Refusal[] = [
  {
    matches: ({ reason }) => reason === INCOMPLETE_LIST,
    code: 'PROVIDER_REFUSED',
    sentence: () => 'Compute Engine could not ask all zones and regions',
    hint: () => 'Run the same command again later: resources there are not in the list',
  },
  {
    matches: ({ reason }) => reason === 'foreignAnswer',
    code: 'PROVIDER_REFUSED',
    sentence: () => 'Something between this computer and Google answered instead of Compute Engine',
    hint: () => 'Sign in to your network, or check HTTPS_PROXY, then try again',
  },
  {
    matches: ({ reason, detailedReason, message }) =>
      reason === 'accessNotConfigured' ||
      detailedReason === 'SERVICE_DISABLED' ||
      /API has not been used in project/.test(message),
    code: 'CREDENTIALS',
    sentence: ({ project }) => `The Compute Engine API is not enabled in the project ${project}`,
    hint: ({ project }) =>
      `Enable it, and wait a few minutes until it takes effect: gcloud services enable ${COMPUTE_API} --project ${project}`,
  },
  {
    matches: ({ detailedReason, message }) =>
      detailedReason === 'BILLING_DISABLED' ||
      /billing (account|to be enabled|must be enabled|is disabled)/i.test(message),
    code: 'CREDENTIALS',
    sentence: ({ project }) => `Billing is off for the project ${project}`,
    hint: ({ project }) =>
      `Link a billing account: gcloud billing accounts list, then gcloud billing projects link ${project} --billing-account ACCOUNT_ID`,
  },
  {
    matches: isProjectMissing,
    code: 'CREDENTIALS',
    sentence: ({ project }) => `The project ${project} does not exist, or it was shut down`,
    hint: ({ project }) =>
      `Check it: gcloud projects describe ${project}. Within 30 days, it can be restored: gcloud projects undelete ${project}`,
  },
  {
    matches: ({ detailedReason, reason, message }) =>
      detailedReason === 'ACCESS_TOKEN_SCOPE_INSUFFICIENT' ||
      reason === 'insufficientPermissions' ||
      /insufficient authentication scopes/i.test(message),
    code: 'CREDENTIALS',
    sentence: () => 'Your Google credentials were issued for other services only',
    hint: ({ credentials }) => signInHint(credentials),
  },
  {
    matches: isCapacityError,
    code: 'CAPACITY',
    sentence: ({ zone }) => capacitySentence(zone),
    hint: capacityHint,
  },
  {
    matches: isQuotaError,
    code: 'QUOTA',
    sentence: ({ project }, { message }) => quotaSentence(project, message),
    hint: (context, { message }) => quotaHint(context, isRegionalQuota(message)),
  },
  {
    matches: ({ status, detailedReason }) => status === 401 || detailedReason === 'ACCOUNT_STATE_INVALID',
    code: 'CREDENTIALS',
    sentence: ({ credentials }) => `Google did not accept your credentials, ${describeSource(credentials)}`,
    hint: ({ credentials }) => signInHint(credentials),
  },
  {
    matches: isOrganizationPolicy,
    code: 'PROVIDER_REFUSED',
    sentence: ({ project }) => policySentence(project),
    hint: (_context, error) => policyHint(error.message),
  },
  {
    matches: ({ status }) => status === 403,
    code: 'CREDENTIALS',
    sentence: ({ credentials }) => `Your Google credentials do not allow this, ${describeSource(credentials)}`,
    hint: ({ project }) =>
      `Give the account the roles in docs/clouds.md: gcloud projects add-iam-policy-binding ${project} --member ACCOUNT --role ROLE`,
  },
];

const ANY_REFUSAL: Refusal = {
  matches: () => true,
  code: 'PROVIDER_REFUSED',
  sentence: () => 'Compute Engine refused',
  hint: () => GENERIC_HINT,
};

/**
 * Returns the error for a failed request. Its message is a sentence of Slipway's, followed by Google's own text;
 * `doing` says what the request was for.
 */
export function toSlipwayError(error: unknown, context: RequestContext): unknown {
  const { doing, signal } = context;
  if (signal.aborted) return canceledError();
  if (error instanceof SlipwayError || !(error instanceof Error)) return error;
  const withOwnText = (code: ErrorCode, sentence: string, hint: string): SlipwayError =>
    new SlipwayError(code, `${sentence} (${doing}): ${error.message.split('\n')[0] ?? ''}`, { hint, cause: error });
  if (!(error instanceof GoogleApiError)) {
    return isNetworkError(error)
      ? withOwnText('PROVIDER_REFUSED', "Google can't be reached", NETWORK_HINT)
      : withOwnText('PROVIDER_REFUSED', "Google's client library failed", RETRY_HINT);
  }
  if (transientReasonOf(error) !== undefined)
    return withOwnText('PROVIDER_REFUSED', 'Compute Engine failed', RETRY_HINT);
  const { code, sentence, hint } = REFUSALS.find(({ matches }) => matches(error)) ?? ANY_REFUSAL;
  return withOwnText(code, sentence(context, error), hint(context, error));
}

const NETWORK_HINT = 'Check the network of this computer, and HTTPS_PROXY if it needs a proxy, then try again';
const GENERIC_HINT = 'Fix what Google names, then try again';

function isOrganizationPolicy({ reason, message }: Pick<GoogleApiError, 'reason' | 'message'>): boolean {
  return reason === 'conditionNotMet' && /constraints?\/\S+ violated/i.test(message);
}

const policySentence = (project: string): string =>
  `A policy of your organization does not allow this in the project ${project}`;

/** Returns what to do about a violated constraint, such as `constraints/compute.vmExternalIpAccess`. */
function policyHint(message: string): string {
  if (/vmExternalIpAccess/.test(message))
    return 'Create the machine without an external address: --gce-address none. This computer must then reach its network';
  if (/trustedImageProjects/.test(message))
    return 'Choose an image that your organization allows: --gce-machine-image projects/PROJECT/global/images/IMAGE';
  if (/requireShieldedVm/.test(message)) return 'Create the machine with secure boot: --gce-secure-boot';
  if (/requireOsLogin/.test(message))
    return 'Log in by OS Login: --gce-os-login --gce-ssh-key FILE --gce-ssh-user USER';
  return 'Ask the administrators of your organization to allow it';
}

/** Parses `Quota 'CPUS' exceeded. Limit: 24.0 in region us-central1.` */
function parseQuota(text: string): { readonly metric?: string; readonly limit?: string; readonly where: string } {
  const [, metric] = /Quota '([^']+)'/i.exec(text) ?? [];
  const [, limit, region] = /Limit: ([\d.]*\d)\.?(?: in region ([\w-]+))?/i.exec(text) ?? [];
  return {
    ...(metric === undefined ? {} : { metric }),
    ...(limit === undefined ? {} : { limit: String(Number(limit)) }),
    where: region === undefined ? '' : ` in ${region}`,
  };
}

function quotaSentence(project: string, text: string): string {
  const { metric, limit, where } = parseQuota(text);
  if (metric === undefined) return `The project ${project} has reached its quota`;
  return `The project ${project} has reached its quota ${metric}${where}${limit === undefined ? '' : ` (${limit})`}`;
}

const isRegionalQuota = (text: string): boolean => parseQuota(text).where !== '';

/** Returns what to do about a reached quota. Another region has its own, but a global quota is the same everywhere. */
export function quotaHint(
  { project, creates }: Pick<RequestContext, 'project' | 'creates'>,
  isRegional: boolean,
): string {
  const request = `Request a higher quota: https://console.cloud.google.com/iam-admin/quotas?project=${project}`;
  return creates && isRegional
    ? `${request}. Or run the same command with a --gce-zone of another region, or a smaller --gce-machine-type`
    : request;
}

const capacitySentence = (zone: string | undefined): string =>
  `Compute Engine has no capacity for this instance in ${zone ?? 'its zone'} at the moment`;

function capacityHint({ creates }: Pick<RequestContext, 'creates'>): string {
  return creates
    ? 'Try again later, or run the same command with another --gce-zone or --gce-machine-type'
    : 'Try again later. An existing machine stays in its zone: a machine in another zone is a new one';
}

/** Returns the error for credentials that gave no token, with the text of Google's library. */
export function tokenError(error: unknown, credentials: CredentialsSource, signal: AbortSignal): unknown {
  if (signal.aborted) return canceledError();
  if (!(error instanceof Error) || error instanceof SlipwayError) return error;
  const text = tokenErrorMessage(error);
  // The token endpoint answered: what it says is no failure of the network.
  const isAnswered = /invalid_|unauthorized_client|account_disabled|access_denied/.test(text);
  if (!isAnswered && transientReasonOf(error) !== undefined) return error;
  return new SlipwayError(
    'CREDENTIALS',
    `Your Google credentials gave no token, ${describeSource(credentials)}: ${text}`,
    {
      hint: signInHint(credentials),
      cause: error,
    },
  );
}

/** Returns the text of a token endpoint (`{"error":"invalid_grant","error_description":…}`), or the library's own. */
function tokenErrorMessage(error: Error): string {
  const { data } = (error as { response?: { data?: unknown } }).response ?? {};
  const { error_description: words, error_subtype: subtype } = (
    typeof data === 'object' && data !== null ? data : {}
  ) as Record<string, unknown>;
  const message = error.message.split('\n')[0] ?? '';
  const more = [words, subtype].filter((part) => typeof part === 'string' && !message.includes(part));
  return [message, ...more].join(', ');
}

/** An operation that ended with an error: what it should have created does not exist. */
class FailedOperation extends Error {}

/**
 * Returns whether Google refused a request for good, so that nothing of it exists or will: not after a lost response or
 * an internal error, which say nothing.
 */
export function isPlainRefusal(error: unknown): boolean {
  const cause = causeOf(error);
  if (cause instanceof FailedOperation) return true;
  if (!(cause instanceof GoogleApiError) || transientReasonOf(cause) !== undefined) return false;
  return isCapacityError(cause) || (cause.status >= 400 && cause.status < 500 && cause.status !== 409);
}

/** Returns the error of an operation that started and failed; its code is in capitals. */
export function operationError(
  { code = '', message = '' }: { readonly code?: string; readonly message?: string },
  context: Pick<RequestContext, 'doing' | 'project' | 'creates' | 'zone'>,
): SlipwayError {
  const { doing, project, zone } = context;
  const words = `${code}${message === '' ? '' : `, ${message}`}`;
  const refuse = (errorCode: ErrorCode, sentence: string, hint: string): SlipwayError =>
    new SlipwayError(errorCode, `${sentence} (${doing}): ${words}`, { hint, cause: new FailedOperation(words) });
  if (/QUOTA/.test(code))
    return refuse('QUOTA', quotaSentence(project, message), quotaHint(context, isRegionalQuota(message)));
  if (isCapacityCode(code)) return refuse('CAPACITY', capacitySentence(zone), capacityHint(context));
  if (/IP_SPACE_EXHAUSTED/.test(code))
    return refuse('CAPACITY', 'The subnetwork has no free address', 'Choose another subnetwork: --gce-subnetwork');
  if (isOrganizationPolicy({ reason: code === 'CONDITION_NOT_MET' ? 'conditionNotMet' : '', message }))
    return refuse('PROVIDER_REFUSED', policySentence(project), policyHint(message));
  return refuse('PROVIDER_REFUSED', 'Compute Engine refused', GENERIC_HINT);
}

/**
 * Resolves to undefined if the requested resource does not exist, and to `unknown` if nobody can say: the endpoint does
 * not have the method, or the role does not allow to ask.
 */
export async function findResource<T>(request: Promise<T>): Promise<T | undefined | 'unknown'> {
  try {
    return await request;
  } catch (error) {
    if (isResourceMissing(error)) return undefined;
    if (isMethodMissing(error) || isPermissionMissing(error)) return 'unknown';
    throw error;
  }
}

export function usageError(message: string, hint: string): SlipwayError {
  return new SlipwayError('USAGE', message, { hint });
}
