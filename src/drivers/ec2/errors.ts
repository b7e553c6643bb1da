import { fixHint, RETRY_HINT } from '../cloud/errors.ts';
import { formatArgument } from '../cloud/format-argument.ts';
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
  'InvalidSignatureException',
  'RequestTimeTooSkewed',
  'UnrecognizedClientException',
]);
/** Errors of the SDK's own search for credentials; no request to EC2 was sent. */
const NO_CREDENTIALS_CODES = new Set([
  'CredentialsProviderError',
  'TokenProviderError',
  'ProviderError',
  'ExpiredTokenError',
  'UnauthorizedException',
]);
const FORBIDDEN_CODES = /^(UnauthorizedOperation|AccessDenied|AccessDeniedException)$/;
const ACCOUNT_CODES = /^(OptInRequired|Blocked|PendingVerification)$/;
const QUOTA_CODES = /LimitExceeded$|QuotaExceeded$|^MaxSpot\w+Exceeded$/;
const THROTTLED_CODES =
  /^(RequestLimitExceeded|Throttling|ThrottlingException|EC2ThrottledException|RequestThrottled|TooManyRequestsException|SlowDown)$/;
const CAPACITY_CODES = /^(Insufficient\w*Capacity|InsufficientFreeAddressesInSubnet|SpotMaxPriceTooLow|Unsupported)$/;

export type AwsErrorKind =
  | 'file'
  | 'no credentials'
  | 'credentials'
  | 'forbidden'
  | 'account'
  | 'throttled'
  | 'quota'
  | 'capacity'
  | 'unreachable'
  | 'server'
  | 'refused';

export function errorKindOf(error: unknown): AwsErrorKind {
  const code = awsCodeOf(error);
  const status = httpStatusOf(error);
  if (isFileError(error)) return 'file';
  if (NO_CREDENTIALS_CODES.has(code)) return 'no credentials';
  if (CREDENTIALS_CODES.has(code)) return 'credentials';
  if (FORBIDDEN_CODES.test(code)) return 'forbidden';
  if (ACCOUNT_CODES.test(code)) return 'account';
  if (THROTTLED_CODES.test(code)) return 'throttled';
  if (CAPACITY_CODES.test(code)) return 'capacity';
  if (QUOTA_CODES.test(code)) return 'quota';
  if (status === undefined || code === 'TimeoutError') return 'unreachable';
  return status >= 500 ? 'server' : 'refused';
}

/** Returns whether the SDK could not read a file, such as the one that AWS_WEB_IDENTITY_TOKEN_FILE names. */
function isFileError(error: unknown): error is Error & { readonly path: string } {
  if (!(error instanceof Error)) return false;
  const { path, syscall } = error as { readonly path?: unknown; readonly syscall?: unknown };
  return typeof path === 'string' && /^(open|read|stat)$/.test(String(syscall));
}

/** Returns whether the SDK found no credentials at all. */
export function isWithoutCredentials(error: unknown): boolean {
  return errorKindOf(error) === 'no credentials' && NO_CREDENTIALS.test((error as Error).message);
}

const NO_CREDENTIALS = /^Could not (load|resolve) credentials/;

/** Returns whether the SDK retries after this error: a throttled request, a failure of AWS, a missing response. */
export function isRetryable(error: unknown): boolean {
  return ['throttled', 'server', 'unreachable'].includes(errorKindOf(error)) || (httpStatusOf(error) ?? 0) >= 500;
}

const codeByKind: Readonly<Record<AwsErrorKind, ErrorCode>> = {
  file: 'CREDENTIALS',
  'no credentials': 'CREDENTIALS',
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

/** What a request is for. Hints name only what the user can change then. */
export type RequestPurpose = {
  /** The command creates a machine, so its options can be others. */
  readonly isCreate?: boolean;
  /** The machine that the command starts, whose type can change. */
  readonly machine?: string;
};

export type FailedRequest = RequestPurpose & {
  /** What the request was for: `looking for its VPC`. */
  readonly doing: string;
  readonly signal: AbortSignal;
  /** The region of the request; undefined if there is none. */
  readonly region?: string | undefined;
  /** The machine's options, of which a hint names another value. */
  readonly instanceType?: string | undefined;
  readonly zone?: string | undefined;
  /** The profile of the AWS settings; undefined for none. */
  readonly profile?: string;
  /** The access key of the request; undefined if none was found. */
  readonly accessKeyId?: string;
};

type Explanation = { readonly sentence: string; readonly hint: string };

const OTHER_CREDENTIALS = 'To use other credentials, set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY';
const PERMISSIONS_HINT =
  'Ask the administrator of your AWS account for the permissions that Slipway needs (docs/clouds.md), or use other credentials: set AWS_PROFILE';

/** Says what failed, in a sentence of Slipway's, and what the user can do next. */
const explanations: Readonly<Record<AwsErrorKind, (error: Error, request: FailedRequest) => Explanation>> = {
  file: (error) => ({
    sentence: `Your AWS credentials could not be loaded: ${isFileError(error) ? error.path : 'a file'} could not be read`,
    hint: `Check the file, and the variable or setting that names it. ${OTHER_CREDENTIALS}`,
  }),
  'no credentials': explainMissingCredentials,
  credentials: (error, request) =>
    explainClockSkew(error) ?? {
      sentence: 'AWS did not accept your credentials',
      hint: `${identify(request)}Check who you are: aws sts get-caller-identity. ${OTHER_CREDENTIALS}`,
    },
  forbidden: (_, request) => ({
    sentence: 'Your AWS credentials do not allow this',
    hint: `${identify(request)}${PERMISSIONS_HINT}`,
  }),
  account: (_, request) => ({
    sentence: 'AWS does not serve your account here yet',
    hint: `${identify(request)}Check the state of your account and its regions in the AWS console${request.isCreate ? ', or choose another region: --ec2-region us-east-1' : `. ${OTHER_CREDENTIALS}`}`,
  }),
  throttled: () => ({ sentence: 'EC2 received too many requests', hint: RETRY_HINT }),
  quota: (error, request) => ({
    sentence: 'Your AWS account has reached its quota',
    hint: quotaHint(awsCodeOf(error), request),
  }),
  capacity: (error, request) => ({
    sentence: 'EC2 has no capacity for this instance at the moment',
    hint: capacityHint(awsCodeOf(error), request),
  }),
  unreachable: (_, { isCreate = false }) => ({
    sentence: 'EC2 could not be reached',
    hint: isCreate
      ? 'Check the network, --ec2-region and --ec2-endpoint, then try again'
      : 'Check the network, then try again',
  }),
  server: () => ({ sentence: 'EC2 failed', hint: RETRY_HINT }),
  refused: () => ({ sentence: 'EC2 refused', hint: fixHint('AWS') }),
};

/**
 * Returns what to do about a reached quota: where to request a higher one, and which other options have a quota of
 * their own. Another type often has none: all types of a usual family share one quota of vCPUs.
 */
function quotaHint(code: string, { isCreate = false, region, instanceType }: FailedRequest): string {
  const service = /^(SecurityGroup|Rules)/.test(code)
    ? 'vpc'
    : /^(Volume|MaxIOPS|MaxStorage)/.test(code)
      ? 'ebs'
      : 'ec2';
  const console = region === undefined ? 'in the Service Quotas console' : quotaPageOf(service, region);
  const request = `Request a higher quota${region === undefined ? '' : ':'} ${console}`;
  if (!isCreate) return request;
  const otherRegion = `--ec2-region ${region === 'us-east-1' ? 'us-east-2' : 'us-east-1'}`;
  if (code === 'SecurityGroupLimitExceeded')
    return `${request}. Or remove what is left over: slipway gc. Or use a security group of yours that allows your address: --ec2-security-group web --ec2-security-group-readonly`;
  if (code === 'SecurityGroupsPerInterfaceLimitExceeded') return `${request}. Or name fewer: --ec2-security-group`;
  if (code === 'RulesPerSecurityGroupLimitExceeded')
    return `${request}. Or allow fewer addresses and ports: --ec2-allow-cidr, --ec2-open-port`;
  const spot = code.startsWith('MaxSpot') ? ' Or omit --ec2-spot: on-demand instances have another quota.' : '';
  const type =
    code === 'InstanceLimitExceeded'
      ? ` Or choose another type: --ec2-instance-type ${otherTypeThan(instanceType)}.`
      : '';
  return `${request}.${spot}${type} Or choose another region, which has its own quotas: ${otherRegion}`;
}

function quotaPageOf(service: string, region: string): string {
  return `https://${region}.${consoleHostOf(region)}/servicequotas/home/services/${service}/quotas`;
}

/** Returns the domain of AWS's console in the partition of a region. */
export function consoleHostOf(region: string): string {
  if (region.startsWith('cn-')) return 'console.amazonaws.cn';
  return region.startsWith('us-gov-') ? 'console.amazonaws-us-gov.com' : 'console.aws.amazon.com';
}

/** Returns a small instance type of the same architecture, for an example in a hint. */
export function otherTypeThan(type = ''): string {
  const isArm = /^[a-z]+\d+g[a-z]*\./.test(type);
  const [first = '', second = ''] = isArm ? ['t4g.small', 't4g.medium'] : ['t3a.small', 't3.small'];
  return type === first ? second : first;
}

function capacityHint(code: string, { isCreate = false, machine, instanceType, zone = '' }: FailedRequest): string {
  const type = otherTypeThan(instanceType);
  if (machine !== undefined)
    return `Try again later, or change its type: slipway provision ${machine} --ec2-instance-type ${type}`;
  if (!isCreate) return 'Try again later';
  if (code === 'InsufficientFreeAddressesInSubnet') return 'Choose another subnet: --ec2-subnet subnet-0123';
  if (code === 'SpotMaxPriceTooLow') return 'Offer more: --ec2-spot-price 0.05';
  return `Try again later, or choose another type or zone: --ec2-instance-type ${type}, --ec2-zone ${zone.endsWith('b') ? 'a' : 'b'}`;
}

/** Explains why the SDK found no credentials: an expired sign-in needs another command than a missing profile. */
function explainMissingCredentials({ message }: Error, { profile }: FailedRequest): Explanation {
  const ofProfile = profile === undefined ? '' : ` for the profile "${profile}"`;
  const flag = profile === undefined ? '' : ` --profile ${formatArgument(profile)}`;
  if (/\bsso\b.*(session|token|expired)|aws sso login|session token not found/i.test(message))
    return {
      sentence: `Your sign-in to AWS (SSO) has expired${ofProfile}`,
      hint: `Sign in again: aws sso login${flag}. ${OTHER_CREDENTIALS}`,
    };
  if (/\baws login\b|login session/i.test(message))
    return {
      sentence: `Your sign-in to AWS has expired${ofProfile}`,
      hint: `Sign in again: aws login${flag}. ${OTHER_CREDENTIALS}`,
    };
  const isNone = NO_CREDENTIALS.test(message);
  return {
    sentence: `${isNone ? 'There are no AWS credentials' : 'Your AWS credentials could not be loaded'}${ofProfile}`,
    hint: `Set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; or sign in: aws sso login${flag}`,
  };
}

/** AWS accepts no signature that is older than this. */
const MAX_CLOCK_SKEW_MS = 5 * 60_000;

/** Explains a signature that AWS refuses because of this computer's clock; undefined if the clock is right. */
function explainClockSkew(error: Error): Explanation | undefined {
  const { $response } = error as { $response?: { headers?: Readonly<Record<string, string>> } };
  const serverTime = Date.parse($response?.headers?.date ?? '');
  const isNamed = /^(RequestTimeTooSkewed|RequestExpired)$/.test(awsCodeOf(error));
  const skew = Date.now() - serverTime;
  if (!isNamed && !(Math.abs(skew) > MAX_CLOCK_SKEW_MS)) return undefined;
  const minutes = Math.round(Math.abs(skew) / 60_000);
  const difference = minutes > 0 ? `${minutes} min ${skew > 0 ? 'ahead of' : 'behind'}` : 'different from';
  return {
    sentence: `AWS did not accept your credentials: this computer's clock is ${difference} its own`,
    hint: "Set this computer's clock, then try again",
  };
}

/** Returns a sentence about whose request was refused; '' if that is unknown. */
function identify({ profile, accessKeyId }: FailedRequest): string {
  const names = [
    ...(accessKeyId === undefined ? [] : [`the access key ${accessKeyId}`]),
    ...(profile === undefined ? [] : [`the profile "${profile}"`]),
  ];
  return names.length === 0 ? '' : `You use ${names.join(' of ')}. `;
}

/**
 * Returns the error for a failed request. Its message is a sentence of Slipway's, followed by AWS's own code and text.
 */
export function toSlipwayError(error: unknown, request: FailedRequest): unknown {
  if (error instanceof SlipwayError) return error;
  if (request.signal.aborted || (error instanceof Error && error.name === 'AbortError')) return canceledError();
  const failure = error instanceof Error ? error : new Error(String(error));
  const kind = errorKindOf(failure);
  const { sentence, hint } = explanations[kind](failure, request);
  const [words = '', encoded] = (
    isXmlParseError(failure) ? 'the answer is not from EC2' : (failure.message.split('\n')[0] ?? '')
  ).split(/ *Encoded authorization failure message: */);
  return new SlipwayError(
    codeByKind[kind],
    `${sentence} (${request.doing}): ${awsCodeOf(failure)}${words === '' ? '' : `, ${words}`}`,
    {
      hint,
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
