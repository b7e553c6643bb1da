import { canceledError, SlipwayError, type ErrorCode } from '../../errors.ts';
import { SIGN_IN_HINT } from './credentials.ts';

/** An answer of Google's that is none to what was asked. */
export class GoogleApiError extends Error {
  readonly status: number;
  /** Its own word for why: `rateLimitExceeded`. */
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

/** Google's document, or what somebody in between has sent instead. */
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
    // A page of a proxy says nothing to us.
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

/** What may pass by itself: the sentence for it, or undefined. */
export function transientReasonOf(error: unknown): string | undefined {
  const cause = causeOf(error);
  if (cause instanceof GoogleApiError) {
    if (isThrottled(cause)) return 'Compute Engine was asked too often';
    if (cause.reason === 'resourceNotReady') return 'another change of it is still going on';
    return cause.status >= 500 && cause.status !== 501 ? `Compute Engine failed (${cause.status})` : undefined;
  }
  return cause instanceof Error && isNetworkError(cause) ? 'the connection broke' : undefined;
}

function isThrottled({ status, reason }: GoogleApiError): boolean {
  return status === 429 || /rateLimitExceeded|RATE_LIMIT_EXCEEDED|RESOURCE_EXHAUSTED/i.test(reason);
}

/** Of resources, which more patience does not change. */
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

/** One sentence of ours with Google's own words, for what `doing` says was wanted. */
export function toSlipwayError(error: unknown, doing: string, signal: AbortSignal): unknown {
  if (signal.aborted) return canceledError();
  if (error instanceof SlipwayError || !(error instanceof Error)) return error;
  const told = (code: ErrorCode, sentence: string, hint: string): SlipwayError =>
    new SlipwayError(code, `${sentence} (${doing}): ${error.message.split('\n')[0] ?? ''}`, { hint, cause: error });
  if (transientReasonOf(error) !== undefined)
    return told(
      'PROVIDER_REFUSED',
      'Compute Engine could not do it just now',
      'Try again in a minute; what exists of the machine is kept',
    );
  // What is neither Google's nor the network's is a mistake of ours.
  if (!(error instanceof GoogleApiError)) return error;
  if (isQuotaError(error)) return told('QUOTA', 'Your project may have no more of these', QUOTA_HINT);
  if (error.status === 401) return told('CREDENTIALS', 'Google did not accept your credentials', SIGN_IN_HINT);
  if (error.status === 403) return told('CREDENTIALS', 'Google did not allow this', PERMISSION_HINT);
  return told('PROVIDER_REFUSED', 'Compute Engine refused', 'Mend what Google names, then try again');
}

export const QUOTA_HINT =
  'Ask Google for more (IAM & Admin, Quotas), or choose another --gce-machine-type or --gce-zone';
/** What was made of a machine by then is where it was asked for, and would be left there. */
const OTHER_ZONE_HINT =
  'undo what is made of it (slipway rm NAME), then create it with another --gce-zone or --gce-machine-type';
const PERMISSION_HINT = 'See who you are: gcloud auth list; the roles that are needed stand in docs/clouds.md';

/** No token came for these credentials: what Google's library says of it. */
export function tokenError(error: unknown, signal: AbortSignal): unknown {
  if (signal.aborted) return canceledError();
  if (!(error instanceof Error) || error instanceof SlipwayError || transientReasonOf(error) !== undefined)
    return error;
  return new SlipwayError('CREDENTIALS', `Your Google credentials brought no token: ${tokenErrorMessage(error)}`, {
    hint: SIGN_IN_HINT,
    cause: error,
  });
}

/** `{"error":"invalid_grant","error_description":…}` of a token's endpoint, or the library's own words. */
function tokenErrorMessage(error: Error): string {
  const { data } = (error as { response?: { data?: unknown } }).response ?? {};
  const { error_description: words } = (typeof data === 'object' && data !== null ? data : {}) as Record<
    string,
    unknown
  >;
  return `${error.message.split('\n')[0] ?? ''}${typeof words === 'string' ? `, ${words}` : ''}`;
}

/** An operation that began and failed: its error says so by words in capitals. */
export function operationError(
  { code = '', message = '' }: { readonly code?: string; readonly message?: string },
  doing: string,
  zone: string,
): SlipwayError {
  const words = `${code}${message === '' ? '' : `, ${message}`}`;
  if (/QUOTA/.test(code))
    return new SlipwayError('QUOTA', `Your project may have no more of these (${doing}): ${words}`, {
      hint: `Ask Google for more (IAM & Admin, Quotas); or ${OTHER_ZONE_HINT}`,
    });
  if (isCapacityCode(code))
    return new SlipwayError('CAPACITY', `Compute Engine has no room for this machine in ${zone} just now: ${words}`, {
      hint: `Try again later; or ${OTHER_ZONE_HINT}`,
    });
  return new SlipwayError('PROVIDER_REFUSED', `Compute Engine refused (${doing}): ${words}`, {
    hint: 'Mend what Google names, then try again',
  });
}

export function isCapacityCode(code: string): boolean {
  return /RESOURCE_POOL_EXHAUSTED|STOCKOUT|RESOURCE_NOT_AVAILABLE/.test(code);
}
