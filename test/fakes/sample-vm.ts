import type { Vm } from '../../src/drivers/qemu/vm.ts';

export function vmWithId(id: string, more: Partial<Vm> = {}): Vm {
  return {
    version: 1,
    id,
    name: 'web',
    image: 'sha256:0',
    imageFolder: '/images',
    root: '/dev/vda',
    arch: 'amd64',
    accelerator: 'tcg',
    cpus: 2,
    memory: 2048,
    user: 'slipway',
    ports: { ssh: 20_022, engine: 22_376 },
    enginePort: 2376,
    seed: 'abcdef0123456789',
    taken: true,
    ...more,
  };
}
