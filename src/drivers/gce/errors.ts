import { fixHint, RETRY_HINT } from '../cloud/errors.ts';
import { canceledError, SlipwayError, type ErrorCode } from '../../errors.ts';
import { SIGN_IN_HINT } from './credentials.ts';

/** An HTTP response that is an error: Google's, or that of a proxy. */
export class GoogleApiError extends Error {
  readonly status: number;
  /** Google's own code for the reason: `rateLimitExceeded`. */
  readonly reason: string;
  constructor(status: number, reason: string, words: string) {
    super(words);
    this.name = 'Refused';
    this.status = status;
    this.reason = reason;
  }
}

type ErrorDocument = {
  readonly error?: {
    readonly message?: unknown;
    readonly status?: unknown;
    readonly errors?: readonly { readonly reason?: unknown }[];
  };
};

/** Parses Google's error document, or the page that a proxy has sent instead. */
export function responseError(status: number, text: string): GoogleApiError {
  const { error } = parseErrorDocument(text);
  const reason = error?.errors?.[0]?.reason ?? error?.status;
  const words = typeof error?.message === 'string' && error.message !== '' ? error.message : `HTTP ${status}`;
  return new GoogleApiError(status, typeof reason === 'string' ? reason : '', words.split('\n')[0] ?? words);
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

function causeOf(error: unknown): unknown {
  return error instanceof SlipwayError ? error.cause : error;
}

export function httpStatusOf(error: unknown): number | undefined {
  const cause = causeOf(error);
  return cause instanceof GoogleApiError ? cause.status : undefined;
}

/** Returns why another attempt may succeed, in words for the user; undefined if it would not. */
export function transientReasonOf(error: unknown): string | undefined {
  const cause = causeOf(error);
  if (cause instanceof GoogleApiError) {
    if (isThrottled(cause)) return 'Compute Engine received too many requests';
    if (cause.reason === 'resourceNotReady') return 'another change to it is in progress';
    return cause.status >= 500 && cause.status !== 501 ? `Compute Engine failed (${cause.status})` : undefined;
  }
  return cause instanceof Error && isNetworkError(cause) ? 'the connection broke' : undefined;
}

function isThrottled({ status, reason }: GoogleApiError): boolean {
  return status === 429 || /rateLimitExceeded|RATE_LIMIT_EXCEEDED|RESOURCE_EXHAUSTED/i.test(reason);
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

/**
 * Returns the error for a failed request. Its message is a sentence of Slipway's, followed by Google's own text;
 * `doing` says what the request was for.
 */
export function toSlipwayError(error: unknown, doing: string, signal: AbortSignal): unknown {
  if (signal.aborted) return canceledError();
  if (error instanceof SlipwayError || !(error instanceof Error)) return error;
  const withGoogleText = (code: ErrorCode, sentence: string, hint: string): SlipwayError =>
    new SlipwayError(code, `${sentence} (${doing}): ${error.message.split('\n')[0] ?? ''}`, { hint, cause: error });
  if (transientReasonOf(error) !== undefined)
    return withGoogleText('PROVIDER_REFUSED', 'Compute Engine failed', RETRY_HINT);
  // An error that is neither Google's nor the network's is a bug of Slipway.
  if (!(error instanceof GoogleApiError)) return error;
  if (isQuotaError(error)) return withGoogleText('QUOTA', 'Your project has reached its quota', QUOTA_HINT);
  if (error.status === 401)
    return withGoogleText('CREDENTIALS', 'Google did not accept your credentials', SIGN_IN_HINT);
  if (error.status === 403)
    return withGoogleText('CREDENTIALS', 'Your Google credentials do not allow this', PERMISSION_HINT);
  return withGoogleText('PROVIDER_REFUSED', 'Compute Engine refused', fixHint('Google'));
}

export const QUOTA_HINT =
  'Request a higher quota (IAM & Admin, Quotas), or choose another --gce-machine-type or --gce-zone';
/** The resources created so far are in the zone of the record: another zone needs a new machine. */
const OTHER_ZONE_HINT =
  'To use another zone or type: slipway rm NAME, then slipway create NAME with another --gce-zone or --gce-machine-type';
const PERMISSION_HINT = 'Check your identity: gcloud auth list. The required roles are in docs/clouds.md';

/** Returns the error for credentials that gave no token, with the text of Google's library. */
export function tokenError(error: unknown, signal: AbortSignal): unknown {
  if (signal.aborted) return canceledError();
  if (!(error instanceof Error) || error instanceof SlipwayError || transientReasonOf(error) !== undefined)
    return error;
  return new SlipwayError('CREDENTIALS', `Your Google credentials gave no token: ${tokenErrorMessage(error)}`, {
    hint: SIGN_IN_HINT,
    cause: error,
  });
}

/** Returns the text of a token endpoint (`{"error":"invalid_grant","error_description":…}`), or the library's own. */
function tokenErrorMessage(error: Error): string {
  const { data } = (error as { response?: { data?: unknown } }).response ?? {};
  const { error_description: words } = (typeof data === 'object' && data !== null ? data : {}) as Record<
    string,
    unknown
  >;
  return `${error.message.split('\n')[0] ?? ''}${typeof words === 'string' ? `, ${words}` : ''}`;
}

/** Returns the error of an operation that started and failed; its code is in capitals. */
export function operationError(
  { code = '', message = '' }: { readonly code?: string; readonly message?: string },
  doing: string,
  zone: string,
): SlipwayError {
  const words = `${code}${message === '' ? '' : `, ${message}`}`;
  if (/QUOTA/.test(code))
    return new SlipwayError('QUOTA', `Your project has reached its quota (${doing}): ${words}`, {
      hint: `Request a higher quota (IAM & Admin, Quotas). ${OTHER_ZONE_HINT}`,
    });
  if (isCapacityCode(code))
    return new SlipwayError(
      'CAPACITY',
      `Compute Engine has no capacity for this instance in ${zone} at the moment: ${words}`,
      {
        hint: `Try again later. ${OTHER_ZONE_HINT}`,
      },
    );
  return new SlipwayError('PROVIDER_REFUSED', `Compute Engine refused (${doing}): ${words}`, {
    hint: fixHint('Google'),
  });
}

export function isCapacityCode(code: string): boolean {
  return /RESOURCE_POOL_EXHAUSTED|STOCKOUT|RESOURCE_NOT_AVAILABLE/.test(code);
}
