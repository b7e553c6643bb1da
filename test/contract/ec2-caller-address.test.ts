import { describe, expect, test } from 'vitest';
import { findCallerCidr } from '../../src/drivers/cloud/caller-ip.ts';
import { catchRejection } from '../fakes/catch-error.ts';
import { recordingCall } from '../clouds/ec2-fixture.ts';

/** Names an address service where nothing listens. */
const UNREACHABLE_ENV = { SLIPWAY_ADDRESS_URL: 'http://127.0.0.1:9/' };

function callWithEnv(env: Readonly<Record<string, string>>): ReturnType<typeof recordingCall> {
  const call = recordingCall('/nowhere');
  return { ...call, computer: { ...call.computer, env } };
}

describe("the caller's address", () => {
  test('is the local one on the route to a private network', async () => {
    expect(await findCallerCidr(undefined, '--flag', callWithEnv(UNREACHABLE_ENV), '127.9.0.0/16')).toBe(
      '127.0.0.1/32',
    );
  });

  test('comes from a service when no route leads to that network', async () => {
    const error = await catchRejection(findCallerCidr(undefined, '--flag', callWithEnv(UNREACHABLE_ENV), 'nothing'));
    expect(error).toMatchObject({
      code: 'PROVIDER_REFUSED',
      message: expect.stringContaining('http://127.0.0.1:9/ did not answer with one'),
      hint: expect.stringContaining('--flag 198.51.100.7/32'),
    });
  });
});
