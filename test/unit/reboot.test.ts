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
  test('boots it over SSH, and ends when the engine of another boot answers', async () => {
    await using all = await createMachineOnHost();
    const progress = recordingProgress();
    expect(await restartMachine('web', 1, all.world({ progress }))).toEqual(all.ready);
    expect(all.host.bootCount).toBe(2);
    expect(all.host.executions).toEqual(['facts.sh', 'reboot.sh', 'facts.sh']);
    expect(progress.ids).toEqual(['connect', 'facts', 'reboot', 'boot', 'verify', 'profiles']);
  });

  test('waits for whatever a host says on its way down and up', async () => {
    await using all = await createMachineOnHost();
    const says = [
      new SlipwayError('SSH_UNREACHABLE', 'no'),
      new SlipwayError('SSH_REFUSED', 'going down'),
      new SlipwayError('SSH_LOST', 'no'),
    ];
    let first = true;
    const connect: World['connect'] = async (...call) => {
      const error = first ? undefined : says.pop();
      first = false;
      if (error) throw error;
      return await all.host.connect(...call);
    };
    await rebootHost(all.ready, all.ssh, all.world({ connect }));
    expect(says).toEqual([]);
  });

  test('of one that goes on as it was says so with what to type next', async () => {
    await using all = await createMachineOnHost();
    all.host.obeysReboot = false;
    const error = await catchRejection(rebootHost(all.ready, all.ssh, all.world(), 0));
    expect(error).toMatchObject({
      code: 'BOOT_FAILED',
      message: 'Machine "web" did not answer within 0 minutes of its reboot: Host 127.0.0.1 has not shut down yet',
    });
    expect(error?.hint).toContain('slipway provision web');
  });

  test('that is stopped by Ctrl-C says that the host boots all the same', async () => {
    await using all = await createMachineOnHost();
    all.host.obeysReboot = false;
    const stop = new AbortController();
    const connect: World['connect'] = async (...call) => {
      if (all.host.executions.includes('reboot.sh')) stop.abort();
      return await all.host.connect(...call);
    };
    const world = all.world({ connect, signal: stop.signal });
    expect(await catchRejection(restartMachine('web', 1, world))).toMatchObject({
      code: 'CANCELED',
      message: 'Interrupted: machine "web" is still rebooting',
      hint: 'To see its state: slipway status web',
    });
  });

  test('believes no other host in its place', async () => {
    await using all = await createMachineOnHost();
    let visits = 0;
    const connect: World['connect'] = async (...call) => {
      visits += 1;
      if (visits > 1) throw new SlipwayError('HOST_KEY', 'another key');
      return await all.host.connect(...call);
    };
    expect((await catchRejection(restartMachine('web', 1, all.world({ connect }))))?.code).toBe('HOST_KEY');
  });

  test("boots nobody else's: what is another machine by now is left alone", async () => {
    await using all = await createMachineOnHost();
    const other = { ...all.ready, spec: { ...all.ready.spec, id: 'another' } };
    const error = await catchRejection(rebootHost(other, all.ssh, all.world()));
    expect([error?.code, all.host.bootCount]).toEqual(['MACHINE_NOT_READY', 1]);
  });
});

test('restart of an engine that somebody else runs is one sentence', async () => {
  await using home = await createTemporaryFolder();
  const world = worldIn(home.path, {
    connect: async () => {
      throw new Error('nothing here may connect');
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
