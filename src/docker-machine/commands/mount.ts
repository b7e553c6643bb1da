import { mounted, unmounted } from '../../cli/commands/mount.ts';
import { meetHost } from '../../operations/pin-host-key.ts';
import { defineOld } from '../command.ts';
import { Failure, failureOf } from '../failure.ts';
import { PROGRAM } from '../help.ts';
import { machineNamed } from '../machines.ts';
import { mustBeUp } from './ssh.ts';

export const mount = defineOld({
  name: 'mount',
  summary: 'Mount or unmount a directory from a machine with SSHFS.',
  operands: '[arg...]',
  lendsStdout: true,
  details: 'Arguments are [machine:][path] [mountpoint]',
  flags: [{ names: ['unmount', 'u'], kind: 'switch', usage: 'Unmount instead of mount' }],
  async run(call) {
    const { env, say, values, words, world } = call;
    const [what, where, ...more] = words;
    if (what === undefined || more.length > 0) throw new Failure('Improper number of arguments');
    const [, name = 'default', path = what] = /^([^/:]+):(.*)$/s.exec(what) ?? [];
    if (values.unmount === true) return (await unmounted(where ?? path, { world }).catch(told)).status ?? 0;
    await machineNamed(name, world);
    await mustBeUp(name, call, 'mount');
    await meetHost(name, world).catch(told);
    const side = `${name}:${path}`;
    return (
      (await mounted(side, where, false, { world, say, env, program: PROGRAM, interactive: false }).catch(told))
        .status ?? 0
    );
  },
});

function told(error: unknown): never {
  throw failureOf(error);
}
