import { describe, expect, test } from 'vitest';
import { SlipwayError } from '../../src/errors.ts';
import { createMachine } from '../../src/operations/create.ts';
import { rebootHost } from '../../src/operations/reboot.ts';
import { restartMachine } from '../../src/operations/power.ts';
import type { World } from '../../src/operations/world.ts';
import type { SshTarget } from '../../src/machine/model.ts';
import { catchRejection } from '../fakes/catch-error.ts';
import { createTemporaryFolder } from '../fakes/temporary-folder.ts';
import { startFakeHost } from '../fakes/fake-host.ts';
import { readyMachine, specNamed } from '../fakes/sample-machine.ts';
import { recordingProgress, worldIn } from '../fakes/test-world.ts';

async function createMachineOnHost() {
  const home = await createTemporaryFolder();
  const host = await startFakeHost({ engine: true });
  const world = (more: Partial<World> = {}): World => worldIn(home.path, { connect: host.connect, ...more });
  const spec = specNamed('web', { options: { ipAddress: host.address, sshUser: 'root', sshPort: 22 } });
  const ready = await createMachine({ ...spec, engine: { ...spec.engine, port: host.port } }, world());
  host.executions.length = 0;
  return {
    host,
    world,
    ready,
    ssh: ready.host.ssh as SshTarget,
    async [Symbol.asyncDispose]() {
      await host[Symbol.asyncDispose]();
      await home[Symbol.asyncDispose]();
    },
  };
}

describe("restart of a host that its driver can't start", () => {
  test('reboots it over SSH, and ends when the engine answers after the new boot', async () => {
    await using fixture = await createMachineOnHost();
    const progress = recordingProgress();
    expect(await restartMachine('web', 1, fixture.world({ progress }))).toEqual(fixture.ready);
    expect(fixture.host.bootCount).toBe(2);
    expect(fixture.host.executions).toEqual(['facts.sh', 'reboot.sh', 'facts.sh']);
    expect(progress.ids).toEqual(['connect', 'facts', 'reboot', 'boot', 'verify', 'profiles']);
  });

  test('keeps waiting through all connection errors during the reboot', async () => {
    await using fixture = await createMachineOnHost();
    const errors = [
      new SlipwayError('SSH_UNREACHABLE', 'no'),
      new SlipwayError('SSH_REFUSED', 'going down'),
      new SlipwayError('SSH_LOST', 'no'),
    ];
    let first = true;
    const connect: World['connect'] = async (...call) => {
      const error = first ? undefined : errors.pop();
      first = false;
      if (error) throw error;
      return await fixture.host.connect(...call);
    };
    await rebootHost(fixture.ready, fixture.ssh, fixture.world({ connect }));
    expect(errors).toEqual([]);
  });

  test('reports a host that does not reboot, with a hint', async () => {
    await using fixture = await createMachineOnHost();
    fixture.host.obeysReboot = false;
    const error = await catchRejection(rebootHost(fixture.ready, fixture.ssh, fixture.world(), 0));
    expect(error).toMatchObject({
      code: 'BOOT_FAILED',
      message: 'Machine "web" did not answer within 0 minutes of its reboot: Host 127.0.0.1 has not shut down yet',
    });
    expect(error?.hint).toContain('slipway provision web');
  });

  test('that is interrupted says that the host still reboots', async () => {
    await using fixture = await createMachineOnHost();
    fixture.host.obeysReboot = false;
    const stop = new AbortController();
    const connect: World['connect'] = async (...call) => {
      if (fixture.host.executions.includes('reboot.sh')) stop.abort();
      return await fixture.host.connect(...call);
    };
    const world = fixture.world({ connect, signal: stop.signal });
    expect(await catchRejection(restartMachine('web', 1, world))).toMatchObject({
      code: 'CANCELED',
      message: 'Interrupted: machine "web" is still rebooting',
      hint: 'To see its state: slipway status web',
    });
  });

  test('fails at once if another host answers', async () => {
    await using fixture = await createMachineOnHost();
    let connections = 0;
    const connect: World['connect'] = async (...call) => {
      connections += 1;
      if (connections > 1) throw new SlipwayError('HOST_KEY', 'another key');
      return await fixture.host.connect(...call);
    };
    expect((await catchRejection(restartMachine('web', 1, fixture.world({ connect }))))?.code).toBe('HOST_KEY');
  });

  test('does not reboot a host that belongs to another machine now', async () => {
    await using fixture = await createMachineOnHost();
    const other = { ...fixture.ready, spec: { ...fixture.ready.spec, id: 'another' } };
    const error = await catchRejection(rebootHost(other, fixture.ssh, fixture.world()));
    expect([error?.code, fixture.host.bootCount]).toEqual(['MACHINE_NOT_READY', 1]);
  });
});

test('restart refuses an engine without a host', async () => {
  await using home = await createTemporaryFolder();
  const world = worldIn(home.path, {
    connect: async () => {
      throw new Error('this test must not connect');
    },
  });
  const url = 'tcp://192.0.2.1:2376';
  const spec = specNamed('old', { driver: 'none', options: { url } });
  await world.store.write(readyMachine('old', { spec, host: { address: '192.0.2.1', engine: { url } } }));
  expect(await catchRejection(restartMachine('old', 1, world))).toMatchObject({
    code: 'DRIVER_UNSUPPORTED',
    message: 'The driver none can\'t restart machine "old"',
  });
});
