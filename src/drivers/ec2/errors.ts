import { canceledError, SlipwayError, type ErrorCode } from '../../errors.ts';

/** AWS's own code of an error: `InvalidGroup.NotFound`; the SDK's or Node's name for what never reached AWS. */
export function awsCodeOf(error: unknown): string {
  if (!(error instanceof Error)) return '';
  const { code, Code } = error as { code?: unknown; Code?: unknown };
  const name = String(Code ?? (error.name === 'Error' ? (code ?? '') : error.name));
  // Whoever answered is not EC2: a proxy, or a server that failed before it could say how.
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

/** As the SDK sees it: what was throttled, what has failed on AWS's side, what was not answered. */
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
    'See who AWS takes you for: aws sts get-caller-identity; set AWS_PROFILE or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or sign in: aws sso login',
  forbidden:
    'Ask whoever manages your AWS account for what Slipway needs (docs/clouds.md), or use other credentials: set AWS_PROFILE',
  account: 'See the state of your account and its regions in the console of AWS, or choose another --ec2-region',
  throttled: 'Try again in a minute; what exists of the machine is kept',
  quota: 'Ask AWS for more (Service Quotas), or choose another --ec2-instance-type or --ec2-region',
  capacity: 'Choose another --ec2-instance-type or --ec2-zone, or none, or try again later',
  unreachable: 'Check the network, --ec2-region and --ec2-endpoint, then try again',
  server: 'Try again in a minute; what exists of the machine is kept',
  refused: 'Mend what AWS names, then try again',
};

const messageByKind: Readonly<Record<AwsErrorKind, string>> = {
  credentials: 'AWS did not accept your credentials',
  forbidden: 'Your AWS credentials do not allow this',
  account: 'AWS does not serve your account here yet',
  throttled: 'EC2 was asked too often',
  quota: 'Your AWS account may have no more of these',
  capacity: 'EC2 has no room for this instance just now',
  unreachable: 'EC2 could not be reached',
  server: 'EC2 failed',
  refused: 'EC2 refused',
};

/** One sentence of ours with AWS's own code and words, for what `doing` says was wanted. */
export function toSlipwayError(error: unknown, doing: string, signal: AbortSignal, profile?: string): unknown {
  if (error instanceof SlipwayError || !(error instanceof Error)) return error;
  if (signal.aborted || error.name === 'AbortError') return canceledError();
  const kind = errorKindOf(error);
  const none = error.name === 'CredentialsProviderError';
  const [words = '', encoded] = (
    isXmlParseError(error) ? 'its answer is not of EC2' : (error.message.split('\n')[0] ?? '')
  ).split(/ *Encoded authorization failure message: */);
  return new SlipwayError(
    codeByKind[kind],
    `${none ? `There are no AWS credentials${profile === undefined ? '' : ` of the profile "${profile}"`}` : messageByKind[kind]} (${doing}): ${awsCodeOf(error)}${words === '' ? '' : `, ${words}`}`,
    {
      hint: hintByKind[kind],
      // Of use with `aws sts decode-authorization-message` alone, and half a screen long.
      ...(encoded === undefined ? {} : { detail: [`Encoded authorization failure message: ${encoded}`] }),
      cause: error,
    },
  );
}
