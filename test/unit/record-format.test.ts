import { describe, expect, test } from 'vitest';
import type { Machine } from '../../src/machine/model.ts';
import { decodeHost, decodeMachine, encodeHost, encodeMachine } from '../../src/machine/record-format.ts';
import { readyMachine, specNamed } from '../fakes/sample-machine.ts';

const hop = {
  address: '192.0.2.1',
  port: 22,
  user: 'ops',
  hostKey: 'ssh-ed25519 A',
  bootstrapHostKey: 'ssh-ed25519 B',
};
const host = { address: '192.0.2.1', ssh: { ...hop, keyFile: '/k', jump: hop } };
const machine: Machine = {
  ...readyMachine('web', {
    host,
    spec: specNamed('web', { lifetime: { ttl: '4h' }, userOptions: { zone: 'a' }, options: { life: 1, due: 2 } }),
  }),
  deadline: '2026-11-24T14:00:00.000Z',
  onShutdown: 'removed',
  deadlinePending: true,
  pendingRestart: true,
  adoptedResource: 'i-1',
};

describe('encodeMachine', () => {
  test('writes the keys that records have had since version 1', () => {
    expect(encodeMachine(machine)).toMatchObject({
      version: 1,
      ending: 'removed',
      untold: true,
      due: 'restart',
      adopts: 'i-1',
      spec: { life: { ttl: '4h' }, given: { zone: 'a' }, options: { life: 1, due: 2 } },
      host: { ssh: { birthKey: 'ssh-ed25519 B', jump: { birthKey: 'ssh-ed25519 B' } } },
    });
    expect(JSON.stringify(encodeMachine(machine))).not.toMatch(
      /lifetime|userOptions|bootstrapHostKey|onShutdown|pending|adoptedResource/i,
    );
  });

  test('writes the last request of a machine whose creation has not finished', () => {
    const lastRequest = { what: 'instance', at: '2026-11-24T10:00:00.000Z' };
    const creating: Machine = { version: 1, phase: 'creating', spec: specNamed('web'), lastRequest };
    expect(encodeMachine(creating)).toMatchObject({ asked: lastRequest });
    expect(decodeMachine(encodeMachine(creating))).toEqual(creating);
  });

  test('keeps the order of the keys, so that a file changes only where the machine does', () => {
    const { adopts, ...rest } = encodeMachine(machine);
    const reordered = { adopts, ...rest } as ReturnType<typeof encodeMachine>;
    expect(Object.keys(encodeMachine(decodeMachine(reordered)))).toEqual(Object.keys(reordered));
  });
});

describe('decodeMachine', () => {
  test('returns the machine that was encoded', () => {
    expect(decodeMachine(encodeMachine(machine))).toEqual(machine);
    expect(decodeHost(encodeHost(host))).toEqual(host);
  });

  test('keeps members that this version does not know, so that writing the record loses nothing', () => {
    const record = { ...encodeMachine(machine), later: { life: 1 } };
    expect(encodeMachine(decodeMachine(record))).toEqual(record);
  });
});
