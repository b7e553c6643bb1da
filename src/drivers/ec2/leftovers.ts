import { ownerIdOf } from '../cloud/batch.ts';
import { sharedResourceName } from '../cloud/resource-names.ts';
import { formatArgument } from '../cloud/format-argument.ts';
import type { Leftovers, Target } from '../contract.ts';
import { consoleHostOf } from './errors.ts';
import type { Ec2Options } from './options.ts';

/** Returns what an EC2 machine may have left, from its record alone. */
export function describeLeftovers(target: Target<Ec2Options>): Leftovers {
  const { options, batch } = target;
  const { region = '', account } = options;
  const group = sharedResourceName(ownerIdOf(target));
  const parts = [
    `${formatInstance(target)} with its disk`,
    ...(options.spot ? ['its spot request'] : []),
    ...formatKeyPair(target),
    ...(options.securityGroupReadonly && options.securityGroup.length > 0 ? [] : [`the security group ${group}`]),
  ];
  const where = `in ${region}${account === undefined ? '' : ` of the account ${account}`}`;
  const tag = `all with the tag slipway-id=${ownerIdOf(target)}`;
  const shared = batch ? '; the other machines of its batch have the same tag and security group' : '';
  return {
    resources: `${parts.slice(0, -1).join(', ')}${parts.length > 1 ? ' and ' : ''}${parts.at(-1)}, ${where}, ${tag}${shared}`,
    search: formatSearch(target),
    command: ['slipway gc', ...accountFlags(options)].join(' '),
  };
}

function formatInstance({ host, adoptedResource }: Target<Ec2Options>): string {
  const id = host?.instance ?? adoptedResource?.split('/')[0];
  const address = host === undefined ? '' : ` (${host.address})`;
  return id === undefined ? `an instance${address}` : `the instance ${id}${address}`;
}

/** The key pair of an instance that another tool created has a name only until the instance is tagged. */
function formatKeyPair({ adoptedResource }: Target<Ec2Options>): readonly string[] {
  const [, ...name] = adoptedResource?.split('/') ?? [];
  return name.length === 0 ? [] : [`the key pair ${name.join('/')}`];
}

function formatSearch(target: Target<Ec2Options>): string {
  const { region = '', endpoint, profile } = target.options;
  const id = target.host?.instance;
  const filter = id === undefined ? `tag:slipway-id=${ownerIdOf(target)}` : `instanceId=${id}`;
  const command = [
    'aws ec2 describe-instances',
    ...(profile === undefined ? [] : [`--profile ${formatArgument(profile)}`]),
    `--region ${region}`,
    ...(endpoint === undefined ? [] : [`--endpoint-url ${formatArgument(endpoint)}`]),
    `--filters Name=tag:slipway-id,Values=${ownerIdOf(target)}`,
  ].join(' ');
  if (endpoint !== undefined) return `To look for them: ${command}`;
  return `To look for them, open https://${region}.${consoleHostOf(region)}/ec2/home?region=${region}#Instances:${filter} or run: ${command}`;
}

/** The flags with which `gc` asks the same account and region, now that no record names them. */
function accountFlags({ region, profile, endpoint, insecureTransport }: Ec2Options): readonly string[] {
  return [
    ...(profile === undefined ? [] : [`--ec2-profile ${formatArgument(profile)}`]),
    ...(region === undefined ? ['--driver ec2'] : [`--ec2-region ${region}`]),
    ...(endpoint === undefined ? [] : [`--ec2-endpoint ${formatArgument(endpoint)}`]),
    ...(insecureTransport ? ['--ec2-insecure-transport'] : []),
  ];
}
