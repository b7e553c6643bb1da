import type { Vm } from '../../src/drivers/qemu/vm.ts';

export function vmWithId(id: string, more: Partial<Vm> = {}): Vm {
  return {
    id,
    name: 'web',
    imageDigest: 'sha256:0',
    imageFolder: '/images',
    root: '/dev/vda',
    arch: 'amd64',
    accelerator: 'tcg',
    cpus: 2,
    memory: 2048,
    user: 'slipway',
    ports: { ssh: 20_022, engine: 22_376 },
    enginePort: 2376,
    seedId: 'abcdef0123456789',
    seedApplied: true,
    ...more,
  };
}
