import { canceled, SlipwayError, type ErrorCode } from '../../errors.ts';

/** AWS's own code of an error: `InvalidGroup.NotFound`; the SDK's or Node's name for what never reached AWS. */
export function awsCode(error: unknown): string {
  if (!(error instanceof Error)) return '';
  const { code, Code } = error as { code?: unknown; Code?: unknown };
  return String(Code ?? (error.name === 'Error' ? (code ?? '') : error.name));
}

const CREDENTIALS = new Set([
  'AuthFailure',
  'UnauthorizedOperation',
  'ExpiredToken',
  'ExpiredTokenException',
  'RequestExpired',
  'InvalidClientTokenId',
  'SignatureDoesNotMatch',
  'MissingAuthenticationToken',
  'IncompleteSignature',
  'OptInRequired',
  'Blocked',
  'PendingVerification',
  'CredentialsProviderError',
  'TokenProviderError',
]);
const QUOTA = /LimitExceeded$|QuotaExceeded$/;
const THROTTLED =
  /^(RequestLimitExceeded|Throttling|ThrottlingException|RequestThrottled|TooManyRequestsException|SlowDown)$/;
const CAPACITY =
  /^(InsufficientInstanceCapacity|InsufficientHostCapacity|InsufficientReservedInstanceCapacity|SpotMaxPriceTooLow|InsufficientCapacity|Unsupported)$/;

export type Kind = 'credentials' | 'throttled' | 'quota' | 'capacity' | 'unreachable' | 'server' | 'refused';

export function kindOf(error: unknown): Kind {
  const code = awsCode(error);
  const { $metadata, $response } = error as {
    $metadata?: { httpStatusCode?: number };
    $response?: { statusCode?: number };
  };
  const status = $metadata?.httpStatusCode ?? $response?.statusCode;
  if (CREDENTIALS.has(code)) return 'credentials';
  if (THROTTLED.test(code)) return 'throttled';
  if (CAPACITY.test(code)) return 'capacity';
  if (QUOTA.test(code)) return 'quota';
  if (status === undefined || code === 'TimeoutError') return 'unreachable';
  return status >= 500 ? 'server' : 'refused';
}

const codes: Readonly<Record<Kind, ErrorCode>> = {
  credentials: 'CREDENTIALS',
  throttled: 'PROVIDER_REFUSED',
  quota: 'QUOTA',
  capacity: 'CAPACITY',
  unreachable: 'PROVIDER_REFUSED',
  server: 'PROVIDER_REFUSED',
  refused: 'PROVIDER_REFUSED',
};

const hints: Readonly<Record<Kind, string>> = {
  credentials:
    'See who AWS takes you for: aws sts get-caller-identity; set AWS_PROFILE or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or sign in: aws sso login',
  throttled: 'Try again in a minute; what exists of the machine is kept',
  quota: 'Ask AWS for more (Service Quotas), or choose another --ec2-instance-type or --ec2-region',
  capacity: 'Choose another --ec2-instance-type or --ec2-zone, or none, or try again later',
  unreachable: 'Check the network, --ec2-region and --ec2-endpoint, then try again',
  server: 'Try again in a minute; what exists of the machine is kept',
  refused: 'Mend what AWS names, then try again',
};

const sentences: Readonly<Record<Kind, string>> = {
  credentials: 'AWS did not accept your credentials',
  throttled: 'EC2 was asked too often',
  quota: 'Your AWS account may have no more of these',
  capacity: 'EC2 has no room for this instance just now',
  unreachable: 'EC2 could not be reached',
  server: 'EC2 failed',
  refused: 'EC2 refused',
};

/** One sentence of ours with AWS's own code and words, for what `doing` says was wanted. */
export function refusal(error: unknown, doing: string, signal: AbortSignal): unknown {
  if (error instanceof SlipwayError || !(error instanceof Error)) return error;
  if (signal.aborted || error.name === 'AbortError') return canceled();
  const kind = kindOf(error);
  const none = error.name === 'CredentialsProviderError';
  const words = error.message.split('\n')[0] ?? '';
  return new SlipwayError(
    codes[kind],
    `${none ? 'There are no AWS credentials' : sentences[kind]} (${doing}): ${awsCode(error)}${words === '' ? '' : `, ${words}`}`,
    { hint: hints[kind], cause: error },
  );
}
