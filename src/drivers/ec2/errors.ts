import { fixHint, RETRY_HINT } from '../cloud/errors.ts';
import { canceledError, SlipwayError, type ErrorCode } from '../../errors.ts';

/**
 * Returns AWS's code of an error, such as `InvalidGroup.NotFound`; if the request did not reach AWS, the SDK's or
 * Node's name for the error.
 */
export function awsCodeOf(error: unknown): string {
  if (!(error instanceof Error)) return '';
  const { code, Code } = error as { code?: unknown; Code?: unknown };
  const name = String(Code ?? (error.name === 'Error' ? (code ?? '') : error.name));
  // The response is a proxy's, or of a server that failed before it could give a reason.
  return isXmlParseError(error) || name === '' ? `HTTP ${httpStatusOf(error) ?? 'error'}` : name;
}

function isXmlParseError({ message }: Error): boolean {
  return message.includes('XML parse error');
}

function httpStatusOf(error: unknown): number | undefined {
  const { $metadata, $response } = error as {
    $metadata?: { httpStatusCode?: number };
    $response?: { statusCode?: number };
  };
  return $metadata?.httpStatusCode ?? $response?.statusCode;
}

const CREDENTIALS_CODES = new Set([
  'AuthFailure',
  'ExpiredToken',
  'ExpiredTokenException',
  'RequestExpired',
  'InvalidClientTokenId',
  'SignatureDoesNotMatch',
  'MissingAuthenticationToken',
  'IncompleteSignature',
  'CredentialsProviderError',
  'TokenProviderError',
]);
const FORBIDDEN_CODES = /^(UnauthorizedOperation|AccessDenied|AccessDeniedException)$/;
const ACCOUNT_CODES = /^(OptInRequired|Blocked|PendingVerification)$/;
const QUOTA_CODES = /LimitExceeded$|QuotaExceeded$|^MaxSpot\w+Exceeded$/;
const THROTTLED_CODES =
  /^(RequestLimitExceeded|Throttling|ThrottlingException|EC2ThrottledException|RequestThrottled|TooManyRequestsException|SlowDown)$/;
const CAPACITY_CODES = /^(Insufficient\w*Capacity|InsufficientFreeAddressesInSubnet|SpotMaxPriceTooLow|Unsupported)$/;

export type AwsErrorKind =
  'credentials' | 'forbidden' | 'account' | 'throttled' | 'quota' | 'capacity' | 'unreachable' | 'server' | 'refused';

export function errorKindOf(error: unknown): AwsErrorKind {
  const code = awsCodeOf(error);
  const status = httpStatusOf(error);
  if (CREDENTIALS_CODES.has(code)) return 'credentials';
  if (FORBIDDEN_CODES.test(code)) return 'forbidden';
  if (ACCOUNT_CODES.test(code)) return 'account';
  if (THROTTLED_CODES.test(code)) return 'throttled';
  if (CAPACITY_CODES.test(code)) return 'capacity';
  if (QUOTA_CODES.test(code)) return 'quota';
  if (status === undefined || code === 'TimeoutError') return 'unreachable';
  return status >= 500 ? 'server' : 'refused';
}

/** Returns whether the SDK retries after this error: a throttled request, a failure of AWS, a missing response. */
export function isRetryable(error: unknown): boolean {
  return ['throttled', 'server', 'unreachable'].includes(errorKindOf(error)) || (httpStatusOf(error) ?? 0) >= 500;
}

const codeByKind: Readonly<Record<AwsErrorKind, ErrorCode>> = {
  credentials: 'CREDENTIALS',
  forbidden: 'CREDENTIALS',
  account: 'CREDENTIALS',
  throttled: 'PROVIDER_REFUSED',
  quota: 'QUOTA',
  capacity: 'CAPACITY',
  unreachable: 'PROVIDER_REFUSED',
  server: 'PROVIDER_REFUSED',
  refused: 'PROVIDER_REFUSED',
};

const hintByKind: Readonly<Record<AwsErrorKind, string>> = {
  credentials:
    'Check your identity: aws sts get-caller-identity. Set AWS_PROFILE or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or sign in: aws sso login',
  forbidden:
    'Ask the administrator of your AWS account for the permissions that Slipway needs (docs/clouds.md), or use other credentials: set AWS_PROFILE',
  account: 'Check the state of your account and its regions in the AWS console, or choose another --ec2-region',
  throttled: RETRY_HINT,
  quota: 'Request a higher quota (Service Quotas), or choose another --ec2-instance-type or --ec2-region',
  capacity: 'Choose another --ec2-instance-type, change or omit --ec2-zone, or try again later',
  unreachable: 'Check the network, --ec2-region and --ec2-endpoint, then try again',
  server: RETRY_HINT,
  refused: fixHint('AWS'),
};

const messageByKind: Readonly<Record<AwsErrorKind, string>> = {
  credentials: 'AWS did not accept your credentials',
  forbidden: 'Your AWS credentials do not allow this',
  account: 'AWS does not serve your account here yet',
  throttled: 'EC2 received too many requests',
  quota: 'Your AWS account has reached its quota',
  capacity: 'EC2 has no capacity for this instance at the moment',
  unreachable: 'EC2 could not be reached',
  server: 'EC2 failed',
  refused: 'EC2 refused',
};

/**
 * Returns the error for a failed request. Its message is a sentence of Slipway's, followed by AWS's own code and text;
 * `doing` says what the request was for.
 */
export function toSlipwayError(error: unknown, doing: string, signal: AbortSignal, profile?: string): unknown {
  if (error instanceof SlipwayError || !(error instanceof Error)) return error;
  if (signal.aborted || error.name === 'AbortError') return canceledError();
  const kind = errorKindOf(error);
  const profileText = profile === undefined ? '' : ` for the profile "${profile}"`;
  const sentence =
    error.name === 'CredentialsProviderError' ? `There are no AWS credentials${profileText}` : messageByKind[kind];
  const [words = '', encoded] = (
    isXmlParseError(error) ? 'the answer is not from EC2' : (error.message.split('\n')[0] ?? '')
  ).split(/ *Encoded authorization failure message: */);
  return new SlipwayError(
    codeByKind[kind],
    `${sentence} (${doing}): ${awsCodeOf(error)}${words === '' ? '' : `, ${words}`}`,
    {
      hint: hintByKind[kind],
      // This text is half a screen long, and useful only with `aws sts decode-authorization-message`.
      ...(encoded === undefined ? {} : { detail: [`Encoded authorization failure message: ${encoded}`] }),
      cause: error,
    },
  );
}

/** Returns AWS's code of an error, or of the cause of a SlipwayError. */
export function causeAwsCode(error: unknown): string {
  return awsCodeOf(error instanceof SlipwayError ? error.cause : error);
}

/** Returns AWS's own code and text, for use within a sentence. */
export function formatAwsReason(error: unknown): string {
  const { cause } = error instanceof SlipwayError ? error : { cause: error };
  const words = cause instanceof Error ? (cause.message.split('\n')[0] ?? '').replace(/\.$/, '') : '';
  return [causeAwsCode(error), ...(words === '' ? [] : [words])].join(', ');
}
