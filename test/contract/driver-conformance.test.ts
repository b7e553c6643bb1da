import { randomUUID } from 'node:crypto';
import type { CreateCall, ExistingDriver } from '../../src/drivers/contract.ts';
import { loadDriver } from '../../src/drivers/registry.ts';
import { boatDriver } from '../fakes/boat-driver.ts';
import { computerWithPrograms } from '../fakes/executable-scripts.ts';
import { fakeCloud } from '../fakes/fake-cloud-driver.ts';
import { startFakeHost } from '../fakes/fake-host.ts';
import { fakeLocalMachine } from '../fakes/fake-local-driver.ts';
import { describeConformance, describeExistingConformance, type ConformanceSubject } from './driver-conformance.ts';

const call: CreateCall = {
  computer: computerWithPrograms('/nowhere'),
  log: () => {},
  note: () => {},
  signal: new AbortController().signal,
  recordRequest: async () => {},
  clearRequest: async () => {},
};
const boot = { authorizedKey: 'key', hostKey: { private: 'private', public: 'public' }, enginePort: 2376, files: [] };

const loadExistingDriver = async (name: string): Promise<ExistingDriver> => {
  const driver = await loadDriver(name);
  if (driver.kind !== 'existing') throw new Error(`${name} creates machines`);
  return driver;
};

describeExistingConformance('the driver generic', {
  driver: await loadExistingDriver('generic'),
  options: { ipAddress: '192.0.2.10', sshUser: 'admin', sshJump: 'jump@192.0.2.1:2222' },
  call,
});

describeExistingConformance('the driver none', {
  driver: await loadExistingDriver('none'),
  options: { url: 'tcp://192.0.2.10:2376' },
  call,
});

describeExistingConformance('the fake driver of a local engine', {
  driver: boatDriver as unknown as ExistingDriver,
  options: {},
  call,
});

describeConformance(
  'the fake driver of a local machine',
  async (): Promise<ConformanceSubject & AsyncDisposable> => {
    const host = await startFakeHost({ engine: true });
    const { driver } = fakeLocalMachine(host);
    return {
      driver,
      options: {},
      boot,
      call,
      countExisting: async (id) => {
        const { state } = await driver.machines.inspect({ id, name: 'any', options: {} }, call);
        return state === 'missing' ? 0 : 1;
      },
      [Symbol.asyncDispose]: () => host[Symbol.asyncDispose](),
    };
  },
  randomUUID,
);

describeConformance(
  'the fake driver of a cloud',
  async (): Promise<ConformanceSubject & AsyncDisposable> => {
    const cloud = fakeCloud();
    const failAfter = async (n: number): Promise<CreateCall> => {
      let requests = 0;
      const recordRequest = async (): Promise<void> => {
        requests += 1;
        if (requests > n) throw new Error('the request failed');
      };
      return { ...call, recordRequest };
    };
    return {
      driver: cloud.driver,
      options: {},
      boot,
      call,
      failAfter,
      countExisting: async (id) => cloud.createdHosts.filter((host) => host.id === id).length,
      [Symbol.asyncDispose]: () => cloud[Symbol.asyncDispose](),
    };
  },
  randomUUID,
);
