import type { MachineSpec, ReadyMachine } from '../../src/machine/model.ts';
import { engineOptions } from '../../src/machine/spec.ts';

export function specNamed(name: string, more: Partial<MachineSpec> = {}): MachineSpec {
  return {
    id: `id-of-${name}`,
    name,
    driver: 'generic',
    options: { ipAddress: '192.0.2.10', sshUser: 'root', sshPort: 22 },
    engine: engineOptions.parse({}),
    profiles: ['docker-context'],
    ...more,
  };
}

export function readyMachine(name: string, more: Partial<Omit<ReadyMachine, 'phase'>> = {}): ReadyMachine {
  return {
    version: 1,
    phase: 'ready',
    spec: specNamed(name),
    host: { address: '192.0.2.10', ssh: { address: '192.0.2.10', port: 22, user: 'root' } },
    endpoint: { url: 'tcp://192.0.2.10:2376', tls: true },
    ...more,
  };
}
