import { expect, test } from 'vitest';
import { imageOwnerOf, defaultSshUserOf } from '../../src/drivers/ec2/images.ts';
import { optionsSchema } from '../../src/drivers/ec2/options.ts';

test.each([
  ['ubuntu-24.04', 'eu-central-1', '099720109477'],
  ['ubuntu-24.04', 'cn-northwest-1', '837727238323'],
  ['ubuntu-22.04', 'us-gov-west-1', '513442679011'],
  ['debian-13', 'us-east-1', '136693071363'],
  ['debian-13', 'us-gov-east-1', undefined],
] as const)('images of %s in %s belong to the account %s', (image, region, owner) => {
  expect(imageOwnerOf(image, region)).toBe(owner);
});

test.each([
  [{ OwnerId: '136693071363', Name: 'whatever' }, 'admin'],
  [{ OwnerId: '837727238323', Name: 'whatever' }, 'ubuntu'],
  [{ OwnerId: '123456789012', Name: 'our-ubuntu-24.04' }, 'ubuntu'],
  [{ OwnerId: '123456789012', Name: 'our-debian' }, 'admin'],
  [{ OwnerId: '137112412989', Name: 'al2023-ami-2023', ImageOwnerAlias: 'amazon' }, 'ec2-user'],
  [{}, 'admin'],
] as const)('the default SSH user of the image %j is %s', (image, user) => {
  expect(defaultSshUserOf(image, optionsSchema.parse({ ami: 'ami-0123' }))).toBe(user);
});

test('the default SSH user of a known image does not depend on its owner', () => {
  expect(defaultSshUserOf({ OwnerId: '123456789012' }, optionsSchema.parse({ image: 'ubuntu-24.04' }))).toBe('ubuntu');
});
