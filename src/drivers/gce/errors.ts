import { canceled, SlipwayError, type ErrorCode } from '../../errors.ts';

/** The client numbers errors as HTTP does or as gRPC does, by where they come from. */
const HTTP: Readonly<Record<number, number>> = {
  1: 499,
  3: 400,
  4: 504,
  5: 404,
  6: 409,
  7: 403,
  8: 429,
  9: 412,
  13: 500,
  14: 503,
  16: 401,
};

export function statusOf(error: unknown): number | undefined {
  const cause = error instanceof SlipwayError ? error.cause : error;
  const { code } = (cause ?? {}) as { code?: unknown };
  const number = typeof code === 'string' && /^\d+$/.test(code) ? Number(code) : code;
  return typeof number === 'number' ? (HTTP[number] ?? number) : undefined;
}

/** Google's sentence, without the client's prefix. */
function wordsOf(error: Error): string {
  return (error.message.split('\n')[0] ?? '').replace(/^\d+ [A-Z_]+: /, '');
}

/** What may pass by itself: the sentence for it, or undefined. */
export function passing(error: unknown): string | undefined {
  const status = statusOf(error);
  const cause = error instanceof SlipwayError ? error.cause : error;
  const words = cause instanceof Error ? wordsOf(cause) : '';
  if (status === 429 || /rate ?limit exceeded/i.test(words)) return 'Compute Engine was asked too often';
  if (status !== undefined && status >= 500) return `Compute Engine failed (${status})`;
  if (status === undefined && cause instanceof Error && isNetwork(cause)) return 'the connection broke';
  return undefined;
}

function isNetwork(error: Error): boolean {
  const text = `${error.message} ${String((error as { code?: unknown }).code ?? '')} ${String((error.cause as { code?: unknown })?.code ?? '')}`;
  return /ECONNRESET|ECONNREFUSED|EPIPE|ETIMEDOUT|socket hang up|network|fetch failed|ENOTFOUND|EAI_AGAIN|timeout|Premature close|aborted/i.test(
    text,
  );
}

const CREDENTIALS =
  /could not load the default credentials|invalid_grant|unable to detect a project|invalid authentication/i;
const SIGN_IN =
  'Sign in: gcloud auth application-default login, or name a service account’s file in GOOGLE_APPLICATION_CREDENTIALS';

/** One sentence of ours with Google's own words, for what `doing` says was wanted. */
export function refusal(error: unknown, doing: string, signal: AbortSignal): unknown {
  if (signal.aborted) return canceled();
  if (error instanceof SlipwayError || !(error instanceof Error)) return error;
  const words = wordsOf(error);
  const status = statusOf(error);
  const told = (code: ErrorCode, sentence: string, hint: string): SlipwayError =>
    new SlipwayError(code, `${sentence} (${doing}): ${words}`, { hint, cause: error });
  if (CREDENTIALS.test(words)) return told('CREDENTIALS', 'There are no Google credentials that work', SIGN_IN);
  if (status === 401) return told('CREDENTIALS', 'Google did not accept your credentials', SIGN_IN);
  if (status === 403 && !/rate ?limit/i.test(words))
    return told(
      'CREDENTIALS',
      'Google did not allow this',
      'See who you are: gcloud auth list; the roles that are needed stand in docs/clouds.md',
    );
  if (/quota/i.test(words) && status !== 429)
    return told(
      'QUOTA',
      'Your project may have no more of these',
      'Ask Google for more (IAM & Admin, Quotas), or choose another --gce-machine-type or --gce-zone',
    );
  if (passing(error) !== undefined)
    return told(
      'PROVIDER_REFUSED',
      'Compute Engine could not do it just now',
      'Try again in a minute; what exists of the machine is kept',
    );
  return told('PROVIDER_REFUSED', 'Compute Engine refused', 'Mend what Google names, then try again');
}

/** An operation that began and failed: its error says so by words in capitals. */
export function operationFailed(
  { code = '', message = '' }: { readonly code?: string; readonly message?: string },
  doing: string,
  zone: string,
): SlipwayError {
  const words = `${code}${message === '' ? '' : `, ${message}`}`;
  if (/QUOTA/.test(code))
    return new SlipwayError('QUOTA', `Your project may have no more of these (${doing}): ${words}`, {
      hint: 'Ask Google for more (IAM & Admin, Quotas), or choose another --gce-machine-type or --gce-zone',
    });
  if (isCapacity(code))
    return new SlipwayError('CAPACITY', `Compute Engine has no room for this machine in ${zone} just now: ${words}`, {
      hint: 'Choose another zone: --gce-zone, or another --gce-machine-type, or try again later',
    });
  return new SlipwayError('PROVIDER_REFUSED', `Compute Engine refused (${doing}): ${words}`, {
    hint: 'Mend what Google names, then try again',
  });
}

export function isCapacity(code: string): boolean {
  return /RESOURCE_POOL_EXHAUSTED|STOCKOUT|RESOURCE_NOT_AVAILABLE/.test(code);
}
