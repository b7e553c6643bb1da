import type { DescribeSecurityGroupsCommandOutput, DescribeVpcsCommandOutput } from '@aws-sdk/client-ec2';
import { SlipwayError } from '../../errors.ts';
import type { Aws } from './client.ts';
import { causeCode } from './instances.ts';
import type { Options } from './options.ts';

/** Accounts that credentials have shown to be of: whoever looks for something that is shown late finds that out once. */
const found = new Map<string, string>();

/**
 * With credentials of another account everything would seem to be gone. For where nothing was found: what is there has said whose
 * it is.
 */
export async function rightAccount(aws: Aws, options: Options): Promise<void> {
  const { account, vpc } = options;
  if (account === undefined || vpc === undefined) return;
  if (found.get(await asker(aws)) === account) return;
  const own = (await ownAccount(aws)) ?? (await ownerOf(aws, vpc, account));
  sameAccount(options, own);
  await isOf(aws, own);
}

/**
 * Whose credentials these are. A VPC or a group may be shared by another account; a group named `default` can't be, so whoever
 * owns it asks. Undefined in a region where the account has no network of its own.
 */
export async function ownAccount(aws: Aws): Promise<string | undefined> {
  const { SecurityGroups = [] }: DescribeSecurityGroupsCommandOutput = await aws.send(
    'finding out whose account this is',
    new aws.sdk.DescribeSecurityGroupsCommand({ Filters: [{ Name: 'group-name', Values: ['default'] }] }),
  );
  return SecurityGroups[0]?.OwnerId;
}

/** Notes that the credentials at hand are of this account. */
export async function isOf(aws: Aws, account: string | undefined): Promise<void> {
  if (account !== undefined && account !== '') found.set(await asker(aws), account);
}

/** By the key, which may be another one the next time, and the server that knows it. */
async function asker({ client, endpoint }: Aws): Promise<string> {
  const { accessKeyId } = await client.config.credentials();
  return `${accessKeyId} ${endpoint()?.host ?? ''}`;
}

/** Refuses credentials of an account that does not know the machine's VPC. */
export async function vpcThere(aws: Aws, { vpc, account }: Options): Promise<void> {
  if (vpc !== undefined) await ownerOf(aws, vpc, account);
}

async function ownerOf(aws: Aws, vpc: string, account: string | undefined): Promise<string | undefined> {
  const { Vpcs = [] }: DescribeVpcsCommandOutput = await aws
    .send<DescribeVpcsCommandOutput>(
      'finding out whose account this is',
      new aws.sdk.DescribeVpcsCommand({ VpcIds: [vpc] }),
    )
    .catch((error: unknown) => {
      if (causeCode(error) !== 'InvalidVpcID.NotFound') throw error;
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

export function sameAccount({ account }: Pick<Options, 'account'>, other: string | undefined): void {
  if (account === undefined || other === undefined || other === '' || account === other) return;
  throw new SlipwayError(
    'CREDENTIALS',
    `Your AWS credentials are of the account ${other}, and this machine is in ${account}`,
    {
      hint: `Use those of ${account}: set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY`,
    },
  );
}
