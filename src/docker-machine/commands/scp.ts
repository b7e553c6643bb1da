import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { writeWhole } from '../../computer/files.ts';
import { attached, routeTo, scpArgv, sideOf, type Side } from '../../cli/openssh.ts';
import { meetHost } from '../../operations/pin-host-key.ts';
import { sshConfig, type Route } from '../../profiles/ssh-options.ts';
import { quote } from '../../ssh/shell.ts';
import { defineOld, type Call } from '../command.ts';
import { Failure, failureOf } from '../failure.ts';
import { mustBeUp } from './ssh.ts';

export const scp = defineOld({
  name: 'scp',
  summary: 'Copy files between machines',
  operands: '[arg...]',
  lendsStdout: true,
  details: 'Arguments are [[user@]machine:][path] [[user@]machine:][path].',
  flags: [
    { names: ['recursive', 'r'], kind: 'switch', usage: 'Copy files recursively (required to copy directories)' },
    {
      names: ['delta', 'd'],
      kind: 'switch',
      usage: 'Reduce amount of data sent over network by sending only the differences (uses rsync)',
    },
    {
      names: ['quiet', 'q'],
      kind: 'switch',
      usage: 'Disables the progress meter as well as warning and diagnostic messages from ssh',
    },
  ],
  async run(call) {
    const { values, words, world } = call;
    if (words.length !== 2) throw new Failure('Improper number of arguments');
    const names = await world.store.names();
    const [from, to] = words.map((word) => operand(word, names)) as [Operand, Operand];
    if (from.side.machine === undefined && to.side.machine === undefined)
      throw new Failure('Error: Neither side names a machine; write NAME:path');
    const routes = await routesTo([from, to], call);
    const folder = await mkdtemp(join(tmpdir(), 'docker-machine-scp-'));
    try {
      const config = join(folder, 'config');
      await writeWhole(config, sshConfig(routes), 0o600);
      const flags = [...(values.recursive === true ? ['-r'] : []), ...(values.quiet === true ? ['-q'] : [])];
      const [program, argv] =
        values.delta === true
          ? (['rsync', rsyncArgv(from, to, flags, config)] as const)
          : ([
              'scp',
              scpArgv(
                { from: from.side, to: to.side, routes, flags, windows: world.computer.platform === 'win32' },
                config,
              ),
            ] as const);
      return await attached(program, argv, world.signal).catch((error: unknown) => {
        throw failureOf(error);
      });
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  },
});

type Operand = { readonly side: Side; readonly user: string | undefined };

/** `localhost:` is this computer. */
function operand(word: string, names: readonly string[]): Operand {
  const [, user, bare = word] = /^([^@:/]+)@([^:/]+:.*)$/s.exec(word) ?? [];
  const side = sideOf(bare, names);
  if (side.machine === 'localhost' && !names.includes('localhost'))
    return { side: { path: side.path }, user: undefined };
  return { side, user };
}

async function routesTo(operands: readonly Operand[], call: Call): Promise<Readonly<Record<string, Route>>> {
  const { world } = call;
  const routes: Record<string, Route> = {};
  for (const { side, user } of operands) {
    const { machine: name } = side;
    if (name === undefined) continue;
    await mustBeUp(name, call, 'copy files');
    try {
      await meetHost(name, world);
      const route = await routeTo(name, world.store);
      routes[name] = user === undefined ? route : { ...route, target: { ...route.target, user } };
    } catch (error) {
      throw failureOf(error, name);
    }
  }
  return routes;
}

/** rsync takes one remote side, and the way there as a command line. */
function rsyncArgv(from: Operand, to: Operand, flags: readonly string[], config: string): readonly string[] {
  if (from.side.machine !== undefined && to.side.machine !== undefined)
    throw new Failure('Error: --delta copies between this computer and a machine, not between two machines');
  const place = ({ side: { machine, path } }: Operand): string =>
    machine === undefined ? (/^[^/]*:/.test(path) ? `./${path}` : path) : `${machine}:${path}`;
  const progress = flags.includes('-q') ? [] : ['--progress'];
  return [...progress, '-e', `ssh -F ${quote(config)}`, ...flags, '--', place(from), place(to)];
}
