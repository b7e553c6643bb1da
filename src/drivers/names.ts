/**
 * What drivers are called, themselves and also, for who needs no more of them: what they declare takes three times as long to load
 * as Node takes to start.
 */
export const driverAliases = {
  qemu: [],
  generic: [],
  none: [],
  ec2: ['amazonec2'],
  gce: ['google'],
} as const satisfies Readonly<Record<string, readonly string[]>>;
