import { describe, expect, test } from 'vitest';
import { callerBlock } from '../../src/drivers/cloud/caller-ip.ts';
import { rejected } from '../fakes/caught.ts';
import { calling } from '../clouds/ec2-driver.ts';

/** A service that tells addresses, where nobody listens. */
const NOBODY = { SLIPWAY_ADDRESS_URL: 'http://127.0.0.1:9/' };

function askedWith(env: Readonly<Record<string, string>>): ReturnType<typeof calling> {
  const call = calling('/nowhere');
  return { ...call, computer: { ...call.computer, env } };
}

describe('the address from which a machine is called', () => {
  test('is our side of the way to its private network, when it is reached there', async () => {
    expect(await callerBlock(undefined, '--flag', askedWith(NOBODY), '127.9.0.0/16')).toBe('127.0.0.1/32');
  });

  test('is asked of a service where no way leads to that network', async () => {
    const error = await rejected(callerBlock(undefined, '--flag', askedWith(NOBODY), 'nothing'));
    expect(error).toMatchObject({
      code: 'PROVIDER_REFUSED',
      message: expect.stringContaining('http://127.0.0.1:9/ did not tell it'),
      hint: expect.stringContaining('--flag 198.51.100.7/32'),
    });
  });
});
