import type { DescribeSecurityGroupsCommandOutput, DescribeVpcsCommandOutput } from '@aws-sdk/client-ec2';
import { SlipwayError } from '../../errors.ts';
import type { Ec2Connection } from './client.ts';
import { causeAwsCode } from './errors.ts';
import type { Ec2Options } from './options.ts';

/** The account of each set of credentials, so that a command that waits for a resource asks for it only once. */
const accountByCredentials = new Map<string, string>();

/**
 * Refuses credentials of another account than the machine's, with which every resource would seem to be gone. Called
 * only if nothing was found: a resource that shows proves that the account is right.
 */
export async function requireMachineAccount(aws: Ec2Connection, options: Ec2Options): Promise<void> {
  const { account, vpc } = options;
  if (account === undefined || vpc === undefined) return;
  if (accountByCredentials.get(await getCredentialsKey(aws)) === account) return;
  const current = (await findAccountId(aws)) ?? (await getVpcOwner(aws, vpc, account));
  requireSameAccount(options, current);
  await rememberAccount(aws, current);
}

/**
 * Returns the account of the credentials: the owner of the group `default`, which can't be shared, unlike a VPC or
 * another group. Undefined in a region where the account has no network of its own.
 */
export async function findAccountId(aws: Ec2Connection): Promise<string | undefined> {
  const { SecurityGroups = [] }: DescribeSecurityGroupsCommandOutput = await aws.send(
    'finding out the account of your credentials',
    new aws.sdk.DescribeSecurityGroupsCommand({ Filters: [{ Name: 'group-name', Values: ['default'] }] }),
  );
  return SecurityGroups[0]?.OwnerId;
}

/** Remembers the account of the current credentials. */
export async function rememberAccount(aws: Ec2Connection, account: string | undefined): Promise<void> {
  if (account !== undefined && account !== '') accountByCredentials.set(await getCredentialsKey(aws), account);
}

/** Returns whether this is an account id of AWS. Other servers with EC2's protocol may have other ids, or none. */
export const isAwsAccountId = (account: string | undefined): account is string => /^\d{12}$/.test(account ?? '');

/** Returns the access key, which may change between two calls, together with the server that accepts it. */
async function getCredentialsKey(aws: Ec2Connection): Promise<string> {
  return `${await aws.getAccessKeyId()} ${aws.endpoint()?.host ?? ''}`;
}

/** Refuses credentials of an account that does not have the machine's VPC. */
export async function requireVpcInAccount(aws: Ec2Connection, { vpc, account }: Ec2Options): Promise<void> {
  if (vpc !== undefined) await getVpcOwner(aws, vpc, account);
}

async function getVpcOwner(aws: Ec2Connection, vpc: string, account: string | undefined): Promise<string | undefined> {
  const { Vpcs = [] }: DescribeVpcsCommandOutput = await aws
    .send<DescribeVpcsCommandOutput>(
      'finding out the account of your credentials',
      new aws.sdk.DescribeVpcsCommand({ VpcIds: [vpc] }),
    )
    .catch((error: unknown) => {
      if (causeAwsCode(error) !== 'InvalidVpcID.NotFound') throw error;
      throw new SlipwayError(
        'CREDENTIALS',
        `The account of your AWS credentials has no ${vpc}, where this machine is${account === undefined ? '' : ` (account ${account})`}`,
        { hint: credentialsHint(account ?? 'its account'), cause: error },
      );
    });
  return Vpcs[0]?.OwnerId;
}

export function requireSameAccount({ account }: Pick<Ec2Options, 'account'>, current: string | undefined): void {
  if (account === undefined || current === undefined || current === '' || account === current) return;
  throw new SlipwayError(
    'CREDENTIALS',
    `Your AWS credentials belong to the account ${current}, and this machine is in ${account}`,
    { hint: credentialsHint(account) },
  );
}

const credentialsHint = (account: string): string =>
  `Use the credentials of ${account}: set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY`;
