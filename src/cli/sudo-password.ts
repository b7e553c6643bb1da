import { z } from 'zod';

/** For every command that works on a host. A variable and a question only: an argv is read by all processes. */
export const sudoPassword = z.string().optional().meta({
  description: 'Password for sudo on the host, where it asks for one',
  secret: true,
  env: 'SLIPWAY_SUDO_PASSWORD',
});
