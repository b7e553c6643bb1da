import type { DescribeSecurityGroupsCommandOutput, DescribeVpcsCommandOutput } from '@aws-sdk/client-ec2';
import { SlipwayError } from '../../errors.ts';
import type { Ec2Connection } from './client.ts';
import { causeAwsCode } from './instances.ts';
import type { Ec2Options } from './options.ts';

/** Accounts that credentials have shown to be of: whoever looks for something that is shown late finds that out once. */
const accountByCredentials = new Map<string, string>();

/**
 * With credentials of another account everything would seem to be gone. For where nothing was found: what is there has said whose
 * it is.
 */
export async function requireMachineAccount(aws: Ec2Connection, options: Ec2Options): Promise<void> {
  const { account, vpc } = options;
  if (account === undefined || vpc === undefined) return;
  if (accountByCredentials.get(await getCredentialsKey(aws)) === account) return;
  const own = (await findAccountId(aws)) ?? (await getVpcOwner(aws, vpc, account));
  requireSameAccount(options, own);
  await rememberAccount(aws, own);
}

/**
 * Whose credentials these are. A VPC or a group may be shared by another account; a group named `default` can't be, so whoever
 * owns it asks. Undefined in a region where the account has no network of its own.
 */
export async function findAccountId(aws: Ec2Connection): Promise<string | undefined> {
  const { SecurityGroups = [] }: DescribeSecurityGroupsCommandOutput = await aws.send(
    'finding out whose account this is',
    new aws.sdk.DescribeSecurityGroupsCommand({ Filters: [{ Name: 'group-name', Values: ['default'] }] }),
  );
  return SecurityGroups[0]?.OwnerId;
}

/** Notes that the credentials at hand are of this account. */
export async function rememberAccount(aws: Ec2Connection, account: string | undefined): Promise<void> {
  if (account !== undefined && account !== '') accountByCredentials.set(await getCredentialsKey(aws), account);
}

/** By the key, which may be another one the next time, and the server that knows it. */
async function getCredentialsKey({ client, endpoint }: Ec2Connection): Promise<string> {
  const { accessKeyId } = await client.config.credentials();
  return `${accessKeyId} ${endpoint()?.host ?? ''}`;
}

/** Refuses credentials of an account that does not know the machine's VPC. */
export async function requireVpcInAccount(aws: Ec2Connection, { vpc, account }: Ec2Options): Promise<void> {
  if (vpc !== undefined) await getVpcOwner(aws, vpc, account);
}

async function getVpcOwner(aws: Ec2Connection, vpc: string, account: string | undefined): Promise<string | undefined> {
  const { Vpcs = [] }: DescribeVpcsCommandOutput = await aws
    .send<DescribeVpcsCommandOutput>(
      'finding out whose account this is',
      new aws.sdk.DescribeVpcsCommand({ VpcIds: [vpc] }),
    )
    .catch((error: unknown) => {
      if (causeAwsCode(error) !== 'InvalidVpcID.NotFound') throw error;
      throw new SlipwayError(
        'CREDENTIALS',
        `The account of your AWS credentials has no ${vpc}, where this machine is${account === undefined ? '' : ` (account ${account})`}`,
        {
          hint: `Use the credentials of ${account ?? 'its account'}: set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY`,
          cause: error,
        },
      );
    });
  return Vpcs[0]?.OwnerId;
}

export function requireSameAccount({ account }: Pick<Ec2Options, 'account'>, other: string | undefined): void {
  if (account === undefined || other === undefined || other === '' || account === other) return;
  throw new SlipwayError(
    'CREDENTIALS',
    `Your AWS credentials are of the account ${other}, and this machine is in ${account}`,
    {
      hint: `Use those of ${account}: set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY`,
    },
  );
}
